"""Fourier transforms of complex64 arrays on the host, along the last two axes: `mrisim.fft_kernels` driven."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mrisim import fft_kernels
from mrisim.fft_kernels import LONGEST, RADICES
from mrisim.lane_vectors import LANES, ROW

ALIGNMENT = 64
"""Bytes: a load that crosses a line of the cache is two."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How the transform of one length is made."""

    radices: np.ndarray
    """int64; their product is the length."""
    twiddles: np.ndarray
    """float32: exp(-2 pi i j q / m) for each stage, j = 0 ... m / p - 1 and q = 1 ... p - 1; m = n, n / p, ...

    A radix p that has no butterfly of its own begins with exp(-2 pi i j / p), j = 0 ... p - 1.
    """
    order: np.ndarray
    """int64: the frequency that each sample of a transformed tile is."""


@lru_cache(maxsize=64)
def plan(n: int) -> Plan | None:
    """Return how to transform n samples, or None for one sample and where a prime factor of n is too large."""
    radices, rest = [], n
    for radix in (*RADICES, *range(RADICES[-1] + 2, LONGEST + 1, 2)):
        while rest % radix == 0:
            radices.append(radix)
            rest //= radix
    if rest != 1 or n == 1:
        return None
    radices.sort(key=lambda radix: (radix <= RADICES[-1], radix != 4))  # the long ones first
    twiddles, order, length, distance = [np.zeros(0)], np.zeros(1, np.int64), n, 1
    for radix in radices:
        if radix > RADICES[-1]:
            twiddles.append(_waves(np.arange(radix) / radix))
        twiddles.append(_waves(np.multiply.outer(np.arange(length // radix), np.arange(1, radix)) / length))
        order = np.add.outer(order, distance * np.arange(radix)).ravel()
        length, distance = length // radix, distance * radix
    return Plan(np.array(radices, np.int64), np.concatenate(twiddles).astype(np.float32), order)


def _waves(turns: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(2 * np.pi * turns), -np.sin(2 * np.pi * turns)], axis=-1).ravel()


@lru_cache(maxsize=128)
def _places(n: int, centred: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return where in the tile a sample goes, and where the frequency that is to stand in each place comes from."""
    the_plan = plan(n)
    assert the_plan is not None
    place = (np.arange(n) - (n // 2 if centred else 0)) % n
    return place, np.argsort(the_plan.order)[place]


def possible(array: Any, axes: tuple[int, ...]) -> bool:
    """Tell whether `transform` can do it: an array of the host, complex64, and lengths without a long prime factor."""
    return (
        isinstance(array, np.ndarray)
        and array.dtype == np.complex64
        and array.ndim >= 2
        and array.size > 0
        and all(axis in (-2, -1) and plan(array.shape[axis]) is not None for axis in axes)
    )


def transform(
    array: np.ndarray, axes: tuple[int, ...], *, inverse: bool, scale: float, centred: bool, overwrite: bool
) -> np.ndarray:
    """Return scale * sum_r x(r) exp(-+ 2 pi i k r / N) along some of the last two axes.

    Parameters
    ----------
    array : (..., rows, columns), complex64
        As `possible` demands.
    axes : tuple of -2 and -1
    inverse : bool
        + in the exponent.
    scale : float
    centred : bool
        r and k count from sample N//2 on; else from sample 0.
    overwrite : bool
        The result may be written into the array.
    """
    source, target = _source_and_target(array, overwrite)
    real, imaginary = (LANES, 0) if inverse else (0, LANES)  # exp(+i) is exp(-i) with the parts exchanged
    images, results = _images_in(source), _images_in(target)
    steps = []
    for axis in axes:
        n = array.shape[axis]
        the_plan = plan(n)
        assert the_plan is not None
        kernel = fft_kernels.transform_columns if axis == -2 else fft_kernels.transform_rows
        steps.append((kernel, (the_plan.radices, the_plan.twiddles, *_places(n, centred))))
    tile = aligned((max(array.shape[axis] for axis in axes) * ROW,))
    for image, result in zip(images, results, strict=True):
        for kernel, arguments in steps:
            last = kernel is steps[-1][0]
            kernel(image, result, tile, real, imaginary, np.float32(scale if last else 1), *arguments)
            image = result
    return target


def filtered(array: np.ndarray, factors: np.ndarray, axis: int, *, overwrite: bool) -> np.ndarray:
    """Return the array with the spectrum of one axis multiplied, transformed there and back tile by tile.

    Parameters
    ----------
    array : (..., rows, columns), complex64
        As `possible` demands.
    factors : (n,), complex
        From frequency 0 on, in the order of the FFT.
    axis : int
        -2 or -1.
    overwrite : bool
        The result may be written into the array.
    """
    source, target = _source_and_target(array, overwrite)
    n = array.shape[axis]
    the_plan = plan(n)
    assert the_plan is not None
    in_order = (factors[the_plan.order] / n).astype(np.complex64).view(np.float32)
    kernel = fft_kernels.filter_columns if axis == -2 else fft_kernels.filter_rows
    tile, places = aligned((n * ROW,)), np.arange(n)
    images, results = _images_in(source), _images_in(target)
    for image, result in zip(images, results, strict=True):
        kernel(image, result, tile, the_plan.radices, the_plan.twiddles, in_order, places)
    return target


def _source_and_target(array: np.ndarray, overwrite: bool) -> tuple[np.ndarray, np.ndarray]:
    source = np.ascontiguousarray(array)
    # Of a subclass (a file mapped to memory) the contiguous array is a view.
    target = source if overwrite or not np.may_share_memory(source, array) else np.empty_like(source)
    return source, target


def _images_in(array: np.ndarray) -> np.ndarray:
    """Return (image, row, column x 2), float32."""
    return array.reshape(-1, *array.shape[-2:]).view(np.float32)


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Return an empty float32 array whose vectors begin with a line of the cache."""
    n_bytes = 4 * int(np.prod(shape))
    room = np.empty(n_bytes + ALIGNMENT, np.uint8)
    begin = -room.ctypes.data % ALIGNMENT
    return room[begin : begin + n_bytes].view(np.float32).reshape(shape)
