"""Whether a GPU computes: one kernel, one transform and one matrix product, held to the host's.

CuPy's wheels come without the CUDA libraries for these three: it is imported, and sees the GPU, where all of them fail.
"""

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

WORK: dict[str, Callable[[ModuleType], Any]] = {
    "a kernel": lambda xp: xp.arange(4).sum(),  # NVRTC
    "an FFT": lambda xp: xp.fft.fftn(xp.arange(4)),  # cuFFT
    # cuBLAS; an inner length of 1 would be a kernel
    "a complex matrix product": lambda xp: (xp.arange(6).reshape(2, 3) * 1j) @ (xp.arange(6).reshape(3, 2) * 1j),
}
"""What is done for the simulator on a GPU, as NumPy and CuPy both do it."""


def is_there() -> bool:
    """Tell whether CuPy is installed and sees a GPU, or is too broken to say; not whether either works."""
    try:
        import cupy
    except ImportError as error:
        return not is_missing(error)
    try:
        return int(cupy.cuda.runtime.getDeviceCount()) > 0
    except cupy.cuda.runtime.CUDARuntimeError:  # CuPy without a driver
        return False


def is_missing(error: ImportError) -> bool:
    """Tell whether an import failed because CuPy is not installed, rather than for a part of it."""
    return isinstance(error, ModuleNotFoundError) and error.name == "cupy"


@cache
def trouble(index: int) -> str:
    """Return what keeps a GPU from computing, in one line; nothing where it computes. Tried once a process."""
    return probe(index)


def probe(index: int) -> str:
    """Try a GPU now: what keeps it from computing, in one line, or nothing."""
    doing = "CuPy"
    try:
        import cupy

        with cupy.cuda.Device(index):
            for doing, work in WORK.items():
                if not np.allclose(work(cupy).get(), work(np)):
                    return f"{doing}: the result is wrong"
    except Exception as error:  # whatever a broken installation, or its driver, comes up with
        return f"{doing}: {one_line(error)}"
    return ""


def one_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message that says something."""
    said = [line.strip() for line in str(error).splitlines() if any(letter.isalnum() for letter in line)]
    return f"{type(error).__name__}: {said[0] if said else 'no reason given'}"
