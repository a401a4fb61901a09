"""Threads side by side: one thread of BLAS each, the interpreter soon, and everything set back afterwards."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import numpy as np
import pytest
import scipy.linalg  # noqa: F401  # brings the second BLAS
from threadpoolctl import ThreadpoolController

from mrisim.artifacts import spec_class
from mrisim.artifacts.noise import Noise
from mrisim.corrupt import corrupt
from mrisim.testing import modelled_scan
from mrisim.worker_threads import HANDOVER_S, SIDE_BY_SIDE, n_side_by_side, worker_threads

N_FOUND = 2
"""Threads of BLAS that a user's program would have had."""


def _blas_threads() -> set[int]:
    return {blas["num_threads"] for blas in ThreadpoolController().select(user_api="blas").info()}


@pytest.fixture(autouse=True)
def _as_a_user_finds_it() -> Iterator[None]:
    """The tests themselves run with one thread of BLAS."""
    with ThreadpoolController().limit(limits=N_FOUND, user_api="blas"):
        assert _blas_threads() == {N_FOUND}
        yield


def test_blas_computes_in_the_thread_that_calls_it():
    with worker_threads(2) as pool:
        assert set.union(*pool.map(lambda _: _blas_threads(), range(4))) == {1}
        assert list(pool.map(lambda _: sys.getswitchinterval(), range(4))) == pytest.approx(4 * [HANDOVER_S])
    assert _blas_threads() == {N_FOUND}


def test_one_pool_in_another_leaves_the_outer_one_as_it_was():
    before = sys.getswitchinterval()
    with worker_threads(1):
        for _ in range(100):  # what gets lost each time would add up
            with worker_threads(2):
                assert _blas_threads() == {1}
        assert _blas_threads() == {1} and sys.getswitchinterval() == pytest.approx(HANDOVER_S)
    assert _blas_threads() == {N_FOUND} and sys.getswitchinterval() == pytest.approx(before)


def test_the_last_to_leave_sets_back_what_the_first_found():
    before = sys.getswitchinterval()
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        for thread, step, n_expected in (
            (first, SIDE_BY_SIDE.__enter__, 1),
            (second, SIDE_BY_SIDE.__enter__, 1),
            (first, SIDE_BY_SIDE.__exit__, 1),  # not the order of a stack
            (second, SIDE_BY_SIDE.__exit__, N_FOUND),
        ):
            thread.submit(step).result()
            assert _blas_threads() == {n_expected}
            assert sys.getswitchinterval() == pytest.approx(before if n_expected == N_FOUND else HANDOVER_S)


@pytest.mark.parametrize("n_threads", [0, 1, 3])
def test_a_pool_has_the_threads_asked_for_and_one_at_least(n_threads: int):
    n_expected = max(1, n_threads)
    together = Barrier(n_expected, timeout=20)  # passed by as many threads at once
    with worker_threads(n_threads) as pool:
        assert sorted(pool.map(lambda _: together.wait(), range(n_expected))) == list(range(n_expected))
        assert pool._max_workers == n_expected


def test_an_error_inside_sets_back_too_and_the_next_one_finds_it_so():
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), worker_threads(2) as pool:
            pool.submit(lambda: 1 / 0).result()
        assert _blas_threads() == {N_FOUND}


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_scan_is_corrupted_with_one_thread_of_blas(n_threads: int, monkeypatch: pytest.MonkeyPatch):
    seen = set()
    apply = Noise.apply

    def noted(self, scan, latents):
        seen.update(_blas_threads())
        return apply(self, scan, latents)

    monkeypatch.setattr(Noise, "apply", noted)
    image = np.random.default_rng(0).normal(size=(2, 16, 16))
    scan = modelled_scan(image, np.ones((2, 3, 16, 16)))
    corrupt(scan, [spec_class("noise").at_level(3, n_coils=scan.n_coils)], n_threads=n_threads)
    assert seen == {1} and _blas_threads() == {N_FOUND}


def test_a_scan_has_the_same_samples_whatever_else_the_program_corrupts():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(1, 96, 96)) + 1j * rng.normal(size=(1, 96, 96))
    csm = rng.normal(size=(1, 8, 96, 96)) + 1j * rng.normal(size=(1, 8, 96, 96))
    scan, motion = modelled_scan(image, csm), [spec_class("motion").at_level(3, n_coils=8)]

    def samples(seed: int) -> bytes:
        return corrupt(scan, motion, seed=seed).scan.kspace.tobytes()

    alone = [samples(seed) for seed in range(9)]
    with ThreadPoolExecutor(3) as callers:
        assert list(callers.map(samples, range(9))) == alone
    assert _blas_threads() == {N_FOUND}


def test_samples_do_not_depend_on_how_many_threads_blas_would_have():
    """With two they did, in the last bits: a replay on a machine with another number of cores was not bit-exact."""
    rng = np.random.default_rng(2)
    image = rng.normal(size=(1, 96, 96)) + 1j * rng.normal(size=(1, 96, 96))
    csm = rng.normal(size=(1, 8, 96, 96)) + 1j * rng.normal(size=(1, 8, 96, 96))
    motion = [spec_class("motion").at_level(3, n_coils=8)]
    scan = replace(modelled_scan(image, csm), csm=None, object_model=None)  # maps are estimated
    with_two = corrupt(scan, motion).scan.kspace
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        with_one = corrupt(scan, motion).scan.kspace
    assert with_one.tobytes() == with_two.tobytes()


def test_the_blas_of_scipy_is_held_to_it_though_nothing_has_loaded_it_yet():
    code = """
from mrisim.worker_threads import worker_threads
with worker_threads(1):
    import scipy.linalg
    from threadpoolctl import threadpool_info
    print({blas["num_threads"] for blas in threadpool_info() if blas["user_api"] == "blas"})
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "{1}\n"


def test_a_thread_knows_how_many_work_beside_it():
    def of_an_own_pool() -> int:
        with worker_threads(3) as own:
            return own.submit(n_side_by_side).result()

    assert n_side_by_side() == 1
    with worker_threads(2) as pool:
        assert [pool.submit(work).result() for work in (n_side_by_side, of_an_own_pool, n_side_by_side)] == [2, 6, 2]
    with worker_threads(0) as pool:
        assert pool.submit(n_side_by_side).result() == 1
    assert n_side_by_side() == 1
