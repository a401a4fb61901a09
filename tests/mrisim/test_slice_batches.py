"""Slices at once: the images of each alone, the choice, the errors, and a GPU's memory between files."""

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mrisim import job as job_module
from mrisim.artifacts import KINDS
from mrisim.corrupt import corrupt
from mrisim.errors import ConfigError, DataError
from mrisim.fourier import release_memory
from mrisim.items import Item
from mrisim.job import Job, Report, attempt
from mrisim.phantoms.default import default_scan
from mrisim.reconstruct import RECONSTRUCTIONS, reconstruct
from mrisim.scan import Scan
from mrisim.slice_batches import COPIES, MOST, SHARE, batches, corrupted_at_once, slices_at_once
from mrisim.testing import relative_difference
from mrisim.worker_threads import worker_threads


def undersampled(*, whole_lines: bool = True) -> Scan:
    """Five slices of very different strength and their maps, one of them without any signal."""
    one = default_scan(matrix=(48, 40))
    under = corrupt(one, [KINDS["undersampling"].at_level(2)]).scan
    sampled = under.sampled
    if not whole_lines:
        sampled = np.random.default_rng(0).random(sampled.shape) < 0.6
        sampled[16:32, 12:28] = True
    strength = np.array([1, 1e-3, 0, 50, 1], np.float32)[:, None, None, None]
    rolled = np.concatenate([np.roll(one.kspace, shift, axis=1) for shift in range(5)])
    return replace(
        under,
        kspace=np.where(sampled, strength * rolled, 0).astype(np.complex64),
        csm=np.concatenate([np.roll(one.csm, shift, axis=3) for shift in range(5)]),
        sampled=sampled,
        slice_ids=(3, 4, 5, 6, 7),
        reference=None,
    )


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
@pytest.mark.parametrize("whole_lines", [True, False])
def test_at_once_gives_the_images_of_each_alone(name: str, whole_lines: bool):
    scan = undersampled(whole_lines=whole_lines)
    alone = reconstruct(scan, name)
    for at_once in (2, 5):
        together = reconstruct(scan, name, at_once=at_once)
        assert not together.image[2].any() and alone.image[0].any()
        for index in (0, 1, 3, 4):
            assert relative_difference(together.image[index], alone.image[index]) < 2e-4, (name, index)
        np.testing.assert_allclose(together.relative_error, alone.relative_error, rtol=2e-3, atol=1e-6)


def test_what_fails_among_several_is_named():
    scan = undersampled()
    with pytest.raises(DataError, match=r"kspace of slice 6 holds NaN"):
        broken = scan.kspace.copy()
        broken[3, 0, 24, 20] = np.nan
        reconstruct(replace(scan, kspace=broken), "sense", at_once=5)
    with pytest.raises(DataError, match="sense of slice 7: the coil maps have a largest root sum of squares of 0"):
        maps = scan.csm.copy()
        maps[4] = 0
        reconstruct(replace(scan, csm=maps), "sense", at_once=3)
    with pytest.raises(ConfigError, match="at_once is 0; expected 1 or more slices"):
        reconstruct(scan, "rss", at_once=0)


def test_batches_cover_every_slice_once():
    assert list(batches(3, 1)) == [0, 1, 2]
    assert [np.arange(7)[place].tolist() for place in batches(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]


class Pool:
    """A memory pool of CuPy that counts, or its cache of plans."""

    def __init__(self, free: int = 0):
        self.free, self.n_released = free, 0

    def free_bytes(self) -> int:
        return self.free

    def free_all_blocks(self) -> None:
        self.n_released += 1

    clear = free_all_blocks


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """CuPy's side of the memory, without CuPy: 1 GB free, and 1 GB in the pool."""
    pools = SimpleNamespace(device=Pool(free=2**30), pinned=Pool(), plans=Pool())
    cuda = SimpleNamespace(
        Device=lambda index: nullcontext(), runtime=SimpleNamespace(memGetInfo=lambda: (2**30, 80 * 2**30))
    )
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(
        cuda=cuda, fft=SimpleNamespace(config=SimpleNamespace(get_plan_cache=lambda: pools.plans)),
        get_default_memory_pool=lambda: pools.device, get_default_pinned_memory_pool=lambda: pools.pinned,
    ))  # fmt: skip
    return pools


@pytest.mark.usefixtures("gpu")
def test_the_memory_of_a_gpu_decides():
    megabyte = 2**20
    assert slices_at_once(megabyte, "cpu") == 1
    assert slices_at_once(megabyte, "cuda") == MOST
    assert slices_at_once(20 * megabyte, "cuda:1") == int(SHARE * 2048 / (COPIES * 20)) == 4
    assert slices_at_once(10**6 * megabyte, "cuda") == 1


@pytest.mark.usefixtures("gpu")
def test_workers_side_by_side_share_the_memory_of_a_gpu():
    n_bytes = 5 * 2**20
    alone = int(SHARE * 2048 / (COPIES * 5))
    assert slices_at_once(n_bytes, "cuda") == alone == 17
    with worker_threads(4) as pool:
        assert set(pool.map(lambda _: slices_at_once(n_bytes, "cuda"), range(8))) == {alone // 4}
        assert slices_at_once(n_bytes, "cuda") == alone, "this thread is none of the workers"
    with worker_threads(1) as pool:
        assert pool.submit(slices_at_once, n_bytes, "cuda").result() == alone


def test_how_many_slices_are_corrupted_at_once():
    small, medium, large, huge = 4 * 96 * 96 * 8, 8 * 320 * 320 * 8, 15 * 480 * 480 * 8, 32 * 768 * 768 * 8
    of_all = [
        [corrupted_at_once(n_bytes, device, sharing=sharing) for n_bytes in (small, medium, large, huge)]
        for device, sharing in (("cpu", False), ("cpu", True), ("cuda", False), ("cuda:1", True))
    ]
    assert of_all == [[10, 1, 1, 1], [10, 8, 8, 1], [MOST, MOST, 9, 1], [MOST, MOST, 9, 1]]


def test_memory_is_given_back_after_every_file(gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    release_memory("cpu")
    assert gpu.device.n_released == 0

    def process(item: Item, *_: object, **__: object) -> Report:
        if item.item_id == "bad":
            raise DataError("bad")
        return Report(item.item_id)

    monkeypatch.setattr(job_module, "process", process)
    for name in ("good", "bad"):
        attempt(Item(name, None), Job((), device="cuda"), Path())
    assert gpu.device.n_released == gpu.pinned.n_released == gpu.plans.n_released == 2
