"""The leading eigenvectors of a Hermitian matrix, found while other threads go on.

SciPy's `eigh` holds the interpreter's lock until LAPACK is done, so that files corrupted side by side wait for each
other; the same routine, ZHEEVR, is called here through the pointer that SciPy gives to compiled code.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

_N_ARGUMENTS = 23


def eigenvectors_above(matrix: np.ndarray, bound: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues of a Hermitian matrix that lie above a bound, ascending, and their vectors as columns.

    Parameters
    ----------
    matrix : complex array (n, n)
        Finite; its lower triangle is read.
    bound : float
        Below infinity.

    Returns
    -------
    eigenvalues : float64 array (k,)
    vectors : complex128 array (n, k)
        Of unit norm.

    Raises
    ------
    numpy.linalg.LinAlgError
        If LAPACK does not find them.

    References
    ----------
    ZHEEVR: Dhillon & Parlett 2004, 10.1016/j.laa.2003.12.028.
    """
    n = len(matrix)
    values, vectors = np.empty(n), np.empty((n, n), complex, order="F")
    # Whole numbers of eight bytes: LAPACK reads and writes the lower four, where it is built for four.
    size, unused, n_found, failure = (np.array(number) for number in (n, 0, 0, 0))
    lower, upper, tolerance = np.array(float(bound)), np.array(np.inf), np.array(0.0)
    supports, work_on = np.empty(2 * n, np.int64), np.array(matrix, complex, order="F")

    def call(*workspaces: np.ndarray, ask: bool = False) -> None:
        sized = [part for space in workspaces for part in (space, np.array(-1 if ask else len(space)))]
        problem = size, work_on, size, lower, upper, unused, unused, tolerance
        arguments = (*problem, n_found, values, vectors, size, supports, *sized, failure)
        _zheevr()(b"V", b"V", b"L", *(argument.ctypes.data for argument in arguments))

    best = np.empty(1, complex), np.empty(1), np.zeros(1, np.int64)
    call(*best, ask=True)
    call(*(np.empty(int(part[0].real), part.dtype) for part in best))
    if failure:
        raise np.linalg.LinAlgError(f"ZHEEVR ended with {failure.astype(np.int32)} on a matrix of {matrix.shape}")
    return values[:n_found], vectors[:, :n_found]


@cache
def _zheevr() -> Any:
    import scipy.linalg.cython_lapack  # noqa: F401  (the address below is looked up in it)
    from numba.extending import get_cython_function_address

    address = get_cython_function_address("scipy.linalg.cython_lapack", "zheevr")
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * _N_ARGUMENTS)(address)
