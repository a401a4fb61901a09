"""Leading eigenvectors through LAPACK's pointer: SciPy's own to the last bit, and without the interpreter's lock."""

import threading
import time

import numpy as np
import pytest
import scipy.linalg

from mrisim.eigenvectors import eigenvectors_above


def hermitian(n: int) -> np.ndarray:
    rng = np.random.default_rng(n)
    parts = rng.standard_normal((2, n, n))
    return parts[0] + parts[0].T + 1j * (parts[1] - parts[1].T)


@pytest.mark.parametrize("n", [1, 2, 7, 61])
@pytest.mark.parametrize("share", [0.2, 1])
def test_they_are_those_of_scipy(n, share):
    matrix = hermitian(n)
    every = np.linalg.eigvalsh(matrix)
    bound = every[-max(1, round(share * n))] - 1e-6
    before = matrix.copy()
    values, vectors = eigenvectors_above(matrix, bound)
    expected = scipy.linalg.eigh(matrix, subset_by_value=(bound, np.inf))
    np.testing.assert_array_equal(matrix, before)
    np.testing.assert_array_equal(values, expected[0])
    np.testing.assert_array_equal(vectors, expected[1])
    np.testing.assert_allclose(values, every[-max(1, round(share * n)) :], rtol=1e-10)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-12 * n * np.abs(every).max())


def test_none_above():
    values, vectors = eigenvectors_above(hermitian(5), 1e3)
    assert values.shape == (0,) and vectors.shape == (5, 0)


def test_the_triangle_that_is_read_and_other_layouts():
    matrix = hermitian(9)
    expected = eigenvectors_above(matrix, 0)
    for same in (np.asfortranarray(matrix), matrix[::-1][::-1], np.tril(matrix)):
        for got, wanted in zip(eigenvectors_above(same, 0), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
    single = eigenvectors_above(matrix.astype(np.complex64), 0)[0]
    assert single.dtype == float
    np.testing.assert_allclose(single, expected[0], rtol=1e-5)


def test_a_failure_of_lapack_is_an_error():
    with pytest.raises(np.linalg.LinAlgError, match=r"ZHEEVR ended with -8 on a matrix of \(3, 3\)"):
        eigenvectors_above(np.eye(3), np.inf)


def test_other_threads_go_on():
    ticks, waiting = [], threading.Event()
    matrix = hermitian(400)

    def tick() -> None:
        while not waiting.wait(0.001):
            ticks.append(time.perf_counter())

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        begun = time.perf_counter()
        eigenvectors_above(matrix, -np.inf)
        ended = time.perf_counter()
    finally:
        waiting.set()
        thread.join()
    during = sum(begun + 0.2 * (ended - begun) < moment < ended - 0.2 * (ended - begun) for moment in ticks)
    assert during > 2, (during, ended - begun)
