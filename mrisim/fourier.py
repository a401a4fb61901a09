"""The one Fourier pair of the project - centred, orthonormal, DC at index N//2 - and the device that it runs on.

    S(k) = 1/sqrt(N) sum_r x(r) exp(-2 pi i k r / N),   r, k = -(N//2) ... N - N//2 - 1

on the last two axes (readout, phase encode). Complex noise therefore has the same standard deviation in k-space and in
the image, for even and for odd N. BART's ``fft -u`` and ``sigpy.fft`` use the same convention.
"""

import math
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from mrisim import gpu_probe
from mrisim.errors import ConfigError

Array = Any
"""A numpy or CuPy array; the functions here return the type that they were given."""

IMAGE_AXES = (-2, -1)


def array_module(array: Array) -> ModuleType:
    """Return numpy, or CuPy where the array lies on a GPU."""
    if isinstance(array, np.ndarray):
        return np
    import cupy

    return cupy


def plain_fft(
    array: Array, axes: tuple[int, ...] = IMAGE_AXES, *, ortho: bool = True, overwrite: bool = False
) -> Array:
    """Return sum_r x(r) exp(-2 pi i k r / N), over sqrt(N) if `ortho`, r and k counted from sample 0; precision kept.

    Parameters
    ----------
    array : complex array
    axes : tuple of int
    ortho : bool
    overwrite : bool
        The array is not needed any more.
    """
    return _transformed(array, axes, inverse=False, ortho=ortho, centred=False, overwrite=overwrite)


def plain_ifft(
    array: Array, axes: tuple[int, ...] = IMAGE_AXES, *, ortho: bool = True, overwrite: bool = False
) -> Array:
    """Undo `plain_fft`."""
    return _transformed(array, axes, inverse=True, ortho=ortho, centred=False, overwrite=overwrite)


def centred_fft(image: Array, axes: tuple[int, ...] = IMAGE_AXES, *, overwrite: bool = False) -> Array:
    """Transform an image to k-space: centred, orthonormal, precision kept.

    Parameters
    ----------
    image : complex array of shape (..., readout, phase_encode)
    axes : tuple of int
        The axes to transform.
    overwrite : bool
        The image is not needed any more.

    Returns
    -------
    complex array of the same shape
    """
    return _transformed(image, axes, inverse=False, ortho=True, centred=True, overwrite=overwrite)


def centred_ifft(kspace: Array, axes: tuple[int, ...] = IMAGE_AXES, *, overwrite: bool = False) -> Array:
    """Transform k-space to an image: the inverse, and the adjoint, of `centred_fft`."""
    return _transformed(kspace, axes, inverse=True, ortho=True, centred=True, overwrite=overwrite)


def filtered(array: Array, factors: np.ndarray, axis: int, *, overwrite: bool = False) -> Array:
    """Multiply the spectrum of one axis: transform, multiply, transform back.

    Parameters
    ----------
    array : (..., rows, columns), complex
    factors : (n,), complex, on the host
        From frequency 0 on, in the order of the FFT (`signed_frequency`).
    axis : int
        -2 or -1.
    overwrite : bool
        The array is not needed any more.
    """
    from mrisim import host_fft

    if host_fft.possible(array, (axis,)):
        return host_fft.filtered(array, factors, axis, overwrite=overwrite)
    spectrum = plain_fft(array, (axis,), ortho=False, overwrite=overwrite)
    on_axis = factors.astype(array.dtype).reshape(-1, *[1] * (-1 - axis))
    spectrum *= array_module(array).asarray(on_axis)
    return plain_ifft(spectrum, (axis,), ortho=False, overwrite=True)


def signed_frequency(n: int) -> np.ndarray:
    """Return the signed integer frequencies of an axis in the order of the FFT: 0, 1 ... -2, -1; -n/2 for even n."""
    return (np.arange(n) + n // 2) % n - n // 2


def _transformed(
    array: Array, axes: tuple[int, ...], *, inverse: bool, ortho: bool, centred: bool, overwrite: bool
) -> Array:
    """Transform on the array's device: by compiled loops where they can, else by SciPy, or by CuPy on a GPU."""
    from mrisim import host_fft

    if host_fft.possible(array, axes):
        n = math.prod(array.shape[axis] for axis in axes)
        scale = n**-0.5 if ortho else 1 / n if inverse else 1.0
        return host_fft.transform(array, axes, inverse=inverse, scale=scale, centred=centred, overwrite=overwrite)
    xp, library = array_module(array), _library_of(array)
    options = {"overwrite_x": overwrite or centred} if xp is np else {}
    if centred:
        array = xp.fft.ifftshift(array, axes)
    transform = library.ifftn if inverse else library.fftn
    spectrum = transform(array, axes=axes, norm="ortho" if ortho else "backward", **options)
    return xp.fft.fftshift(spectrum, axes) if centred else spectrum


def _library_of(array: Array) -> ModuleType:
    if isinstance(array, np.ndarray):
        # scipy keeps complex64; numpy.fft without norm="ortho" computes in double inside.
        import scipy.fft

        return scipy.fft
    import cupy.fft

    return cupy.fft


def resize_centred(array: Array, shape: tuple[int, int]) -> Array:
    """Crop or zero-pad the last two axes about the centre pixel N//2, which stays the centre pixel."""
    xp = array_module(array)
    resized = xp.zeros((*array.shape[:-2], *shape), dtype=array.dtype)
    source, target = zip(*(_centred_overlap(n, m) for n, m in zip(array.shape[-2:], shape, strict=True)), strict=True)
    resized[(..., *target)] = array[(..., *source)]
    return resized


def _centred_overlap(n_source: int, n_target: int) -> tuple[slice, slice]:
    n_before = min(n_source // 2, n_target // 2)
    n_after = min(n_source - n_source // 2, n_target - n_target // 2)
    source, target = n_source // 2, n_target // 2
    return slice(source - n_before, source + n_after), slice(target - n_before, target + n_after)


def to_device(array: Array, device: str) -> Array:
    """Copy an array to `device` ("cpu", "cuda" or "cuda:1"); an array that is there already is returned as it is.

    Raises
    ------
    ConfigError
        If the device is not known, or CuPy or its GPU is missing.
    """
    if device == "cpu":
        return array if isinstance(array, np.ndarray) else array.get()
    index = _cuda_index(device)
    cupy = _cupy_for(device)
    try:
        with cupy.cuda.Device(index):
            return cupy.asarray(array)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise ConfigError(f"device is {device!r}; expected a CUDA device that works, got: {error}") from None


def _cupy_for(device: str) -> ModuleType:
    try:
        import cupy
    except ImportError as error:
        reason = "is not installed here" if gpu_probe.is_missing(error) else f"fails: {gpu_probe.one_line(error)}"
        raise ConfigError(f"device is {device!r}; expected 'cpu', because CuPy {reason}") from None
    return cupy


def current_device(device: str) -> AbstractContextManager[object]:
    """Return a context in which new arrays of a thread come to lie on a GPU, and its kernels run there.

    CuPy refuses work on arrays of another GPU than the current one, which is the first unless it is told.
    """
    if device == "cpu":
        return nullcontext()
    import cupy

    return cupy.cuda.Device(_cuda_index(device))


def resolve_device(device: str, say: Callable[[str], object] = warnings.warn) -> str:
    """Return the device that "auto" stands for here, or the device itself once it is known to compute.

    Parameters
    ----------
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    say : callable
        Told in one line why "auto" passes over a GPU that is there.

    Raises
    ------
    ConfigError
        If the device is not known, or does not compute.
    """
    if device == "auto":
        reason = gpu_probe.trouble(0) if gpu_probe.is_there() else None
        if reason:
            say(f"the GPU is not used, because it does not compute ({reason}); working on the CPU")
        return "cuda" if reason == "" else "cpu"
    if device != "cpu":
        index = _cuda_index(device)
        _cupy_for(device)
        if reason := gpu_probe.trouble(index):
            raise ConfigError(f"device is {device!r}; expected a CUDA device that works, got: {reason}")
    return device


def free_memory_bytes(device: str) -> int:
    """Return the memory of a GPU that nobody holds, CuPy's own pool counted as free."""
    import cupy

    with current_device(device):
        return int(cupy.cuda.runtime.memGetInfo()[0] + cupy.get_default_memory_pool().free_bytes())


@cache
def keep_freed_memory() -> None:
    """Let the C library keep some tens of MB that arrays have freed: given back, every page is asked for anew.

    In glibc, freeing one block of nearly 32 MB raises the size from which blocks are mapped and freed memory is
    trimmed (M_MMAP_THRESHOLD in mallopt(3)); the block is never written, and so never real. Elsewhere nothing happens.
    Measured on 8 coils of 320 x 320: 25 ms to corrupt a slice instead of 35, 70 ms instead of 94 for 30 steps of SENSE.
    """
    np.empty(31 << 20, np.uint8)


def release_memory(device: str) -> None:
    """Give back what CuPy keeps of freed arrays and for this thread's FFTs: the next file, or a neighbour, finds it."""
    if device == "cpu":
        return
    import cupy

    with current_device(device):
        # each plan has its work area in the pool, and keeps the block around it
        cupy.fft.config.get_plan_cache().clear()
        cupy.get_default_memory_pool().free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()


def _cuda_index(device: str) -> int:
    name, _, index = device.partition(":")
    if name != "cuda" or (index and not index.isdigit()):
        raise ConfigError(f"device is {device!r}; expected 'auto', 'cpu', 'cuda' or 'cuda:N'")
    return int(index or 0)
