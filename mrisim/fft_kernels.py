"""Compiled Fourier transforms of sixteen signals at a time, in a tile (`mrisim.lane_vectors`) that stays in the cache.

Cooley and Tukey's in mixed radix, in place: decimation in frequency leaves the frequencies in an order of their own,
`mrisim.host_fft.Plan` knows it; the transposed form takes that order and leaves samples in theirs.

References
----------
Cooley & Tukey 1965, 10.1090/S0025-5718-1965-0178586-1; Gentleman & Sande 1966, 10.1145/1464291.1464352.
"""

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from mrisim.lane_vectors import (
    ALIGNED,
    CONTRACT,
    LANES,
    ROW,
    VECTOR,
    Complex,
    Vectors,
    constant,
    instructions,
    intrinsic,
)
from mrisim.tiles import columns_to_tile, rows_to_tile, tile_to_columns, tile_to_rows

RADICES = (4, 2, 3, 5, 7)
"""Those whose butterflies are written out."""
LONGEST = 127
"""Prime factors up to here have a loop over their sums. Lengths with longer ones are left to SciPy."""


def _dft(vectors: Vectors, samples: list[Complex]) -> list[Complex]:
    """Return sum_j x_j exp(-2 pi i j k / p) for every k."""
    p = len(samples)
    if p == 2:
        return [vectors.add(*samples), vectors.subtract(*samples)]
    if p == 4:
        even = _dft(vectors, samples[0::2])
        odd = _dft(vectors, samples[1::2])
        second, fourth = vectors.around(even[1], odd[1])
        return [vectors.add(even[0], odd[0]), second, vectors.subtract(even[0], odd[0]), fourth]
    # An odd p: x_j and x_(p-j) share a cosine, and a sine but for its sign.
    half = range(1, p // 2 + 1)
    sums = [vectors.add(samples[j], samples[p - j]) for j in half]
    differences = [vectors.subtract(samples[j], samples[p - j]) for j in half]
    spectrum = [samples[0]] * p
    for total in sums:
        spectrum[0] = vectors.add(spectrum[0], total)
    for k in half:
        cosines, sines = samples[0], (ir.Constant(VECTOR, [0.0] * LANES),) * 2
        for j, total, difference in zip(half, sums, differences, strict=True):
            cosine, sine = (
                ir.Constant(VECTOR, [float(np.float32(wave(2 * math.pi * (j * k % p) / p)))] * LANES)
                for wave in (math.cos, math.sin)
            )
            cosines = vectors.add(cosines, vectors.scale(cosine, total))
            sines = vectors.add(sines, vectors.scale(sine, difference))
        spectrum[k], spectrum[p - k] = vectors.around(cosines, sines)
    return spectrum


def _stage(transposed: bool) -> Any:
    """Return the intrinsic of one stage: all butterflies of a radix on blocks of `length` samples.

    Decimation in frequency multiplies what leaves a butterfly by its twiddle factors, its transpose what enters.
    """

    @intrinsic
    def stage(typing_context, tile, begin, radix, n, length, twiddles, at):
        integer = types.int64
        signature = types.void(tile, integer, integer, integer, integer, twiddles, integer)

        def write(vectors, tile, begin, radix, n, length, twiddles, at):
            builder = vectors.builder
            n_blocks = builder.sdiv(n, length)
            for p in RADICES:
                chosen, n_butterflies = builder.icmp_signed("==", radix, constant(p)), builder.sdiv(length, constant(p))
                with builder.if_then(chosen), cgutils.for_range(builder, n_butterflies) as butterfly:
                    place = builder.add(at, builder.mul(butterfly.index, constant(2 * (p - 1))))
                    places = [builder.add(place, constant(2 * q)) for q in range(p - 1)]
                    factors = [vectors.spread_pair(twiddles, place) for place in places]
                    with cgutils.for_range(builder, n_blocks) as block:
                        first = builder.add(builder.mul(block.index, length), butterfly.index)
                        first = builder.add(begin, builder.mul(first, constant(ROW)))
                        stride = builder.mul(n_butterflies, constant(ROW))
                        _butterfly(vectors, tile, first, stride, factors, transposed)

        return instructions(signature, write)

    return stage


def _butterfly(vectors: Vectors, tile: Any, first: Any, stride: Any, factors: list[Complex], transposed: bool) -> None:
    """Transform samples that lie a stride apart, in place."""
    places = [first]
    for _ in factors:
        places.append(vectors.builder.add(places[-1], stride))

    def turned(samples: list[Complex]) -> list[Complex]:
        turns = zip(samples[1:], factors, strict=True)
        return [samples[0], *(vectors.multiply(sample, factor) for sample, factor in turns)]

    samples = [vectors.load_pair(tile, place) for place in places]
    samples = _dft(vectors, turned(samples)) if transposed else turned(_dft(vectors, samples))
    for place, sample in zip(places, samples, strict=True):
        vectors.store_pair(sample, tile, place)


_frequency_stage, _transposed_stage = _stage(False), _stage(True)


@intrinsic
def _masked_stage(typing_context, tile, begin, radix, n, mask, at):
    """Do the last stage, multiply the frequencies with mask[at:], exchange their parts, do the first stage back.

    A block is one butterfly there, and has no twiddle factors.
    """
    integer = types.int64
    signature = types.void(tile, integer, integer, integer, mask, integer)

    def write(vectors, tile, begin, radix, n, mask, at):
        builder = vectors.builder
        for p in RADICES:
            chosen = builder.icmp_signed("==", radix, constant(p))
            with builder.if_then(chosen), cgutils.for_range(builder, builder.sdiv(n, radix)) as block:
                first = builder.mul(block.index, constant(p * LANES))
                weights = [
                    vectors.load(mask, builder.add(at, builder.add(first, constant(LANES * q)))) for q in range(p)
                ]
                first = builder.add(begin, builder.add(first, first))
                places = [builder.add(first, constant(ROW * q)) for q in range(p)]
                spectrum = _dft(vectors, [vectors.load_pair(tile, place) for place in places])
                kept = [vectors.scale(weight, one)[::-1] for weight, one in zip(weights, spectrum, strict=True)]
                for place, sample in zip(places, _dft(vectors, kept), strict=True):
                    vectors.store_pair(sample, tile, place)

    return instructions(signature, write)


@intrinsic
def _turn(typing_context, source, at, factors, of_factor, target, to):
    """Set target[to:] to the sample source[at:] times one complex number, factors[of_factor:]."""
    signature = types.void(source, types.int64, factors, types.int64, target, types.int64)

    def write(vectors, source, at, factors, of_factor, target, to):
        factor = vectors.spread_pair(factors, of_factor)
        vectors.store_pair(vectors.multiply(vectors.load_pair(source, at), factor), target, to)

    return instructions(signature, write)


@intrinsic
def _fold(typing_context, room, first, second, total):
    """Set two samples of the room to their sum and their difference, and add the sum to a third."""
    signature = types.void(room, types.int64, types.int64, types.int64)

    def write(vectors, room, first, second, total):
        one, other = vectors.load_pair(room, first), vectors.load_pair(room, second)
        vectors.store_pair(vectors.add(one, other), room, first)
        vectors.store_pair(vectors.subtract(one, other), room, second)
        vectors.store_pair(vectors.add(vectors.load_pair(room, total), vectors.add(one, other)), room, total)

    return instructions(signature, write)


@intrinsic
def _pair_of_sums(typing_context, room, p, k, waves, at, below, above):
    """Set two samples of the room to the sums for k and p - k over the first p, folded; waves[at:] turn by 1 / p."""
    signature = types.void(room, types.int64, types.int64, waves, types.int64, types.int64, types.int64)

    def write(vectors, room, p, k, waves, at, below, above):
        builder = vectors.builder
        zero = ir.Constant(VECTOR, [0.0] * LANES)
        sums = [cgutils.alloca_once(builder, VECTOR) for _ in range(4)]
        for place, value in zip(sums, (*vectors.load_pair(room, constant(0)), zero, zero), strict=True):
            builder.store(value, place)
        turn = cgutils.alloca_once(builder, ir.IntType(64))
        builder.store(k, turn)
        with cgutils.for_range(builder, builder.lshr(p, constant(1))) as loop:
            j = builder.add(loop.index, constant(1))
            turns = builder.load(turn)
            wave = builder.add(at, builder.add(turns, turns))
            cosine, sine = vectors.spread_pair(waves, wave)
            one = vectors.load_pair(room, builder.mul(j, constant(ROW)))
            other = vectors.load_pair(room, builder.mul(builder.sub(p, j), constant(ROW)))
            parts = (*vectors.scale(cosine, one), *vectors.scale(sine, other))
            for place, part in zip(sums, parts, strict=True):
                builder.store(builder.fadd(builder.load(place), part, flags=CONTRACT), place)
            turns = builder.add(turns, k)
            turns = builder.select(builder.icmp_signed("<", turns, p), turns, builder.sub(turns, p))
            builder.store(turns, turn)
        cosines, sines = (tuple(builder.load(place) for place in sums[first : first + 2]) for first in (0, 2))
        # the sines are those of -2 pi j / p
        after, before = vectors.around(cosines, sines)
        vectors.store_pair(before, room, below)
        vectors.store_pair(after, room, above)

    return instructions(signature, write)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _long_stage(tile, begin, p, n, length, twiddles, at, transposed):
    """Do what a stage does for any odd p; twiddles[at:] begin with exp(-2 pi i j / p) for every j."""
    room = np.empty(2 * p * ROW + LANES, np.float32)
    room = room[(-room.ctypes.data % ALIGNED) // 4 :]
    n_butterflies, zero = length // p, np.int64(0)
    for butterfly in range(n_butterflies):
        factors = at + 2 * p + 2 * (p - 1) * butterfly - 2
        for block in range(n // length):
            first, stride = begin + ROW * (block * length + butterfly), ROW * n_butterflies
            for j in range(p):
                _turn(tile, first + j * stride, twiddles, factors + 2 * j if transposed and j else at, room, ROW * j)
            _turn(room, zero, twiddles, at, room, p * ROW)
            for j in range(1, p // 2 + 1):
                _fold(room, j * ROW, (p - j) * ROW, p * ROW)
            for k in range(1, p // 2 + 1):
                _pair_of_sums(room, p, np.int64(k), twiddles, at, (p + k) * ROW, (2 * p - k) * ROW)
            for k in range(p):
                turned = k and not transposed
                _turn(room, (p + k) * ROW, twiddles, factors + 2 * k if turned else at, tile, first + k * stride)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def to_frequencies(tile, begin, radices, twiddles):
    """Transform the tile that begins at tile[begin]; samples in their order, frequencies in the plan's."""
    _stages(tile, begin, radices, twiddles, radices.size)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def from_frequencies(tile, begin, radices, twiddles):
    """Apply the transpose of `to_frequencies`: the same transform of what lies in the plan's order."""
    _transposed_stages(tile, begin, radices, twiddles, radices.size)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def through_frequencies(tile, begin, radices, twiddles, mask, at):
    """Transform, multiply with mask[at:] in the plan's order, exchange real and imaginary parts, and transform again.

    The exchange makes the way back an inverse, once the parts are exchanged again.
    """
    n = np.int64(1)
    for radix in radices:
        n *= radix
    n_around = radices.size - 1
    _stages(tile, begin, radices, twiddles, n_around)
    _masked_stage(tile, begin, radices[-1], n, mask, at)
    _transposed_stages(tile, begin, radices, twiddles, n_around)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _stages(tile, begin, radices, twiddles, n_stages):
    n = np.int64(1)
    for radix in radices:
        n *= radix
    length, at = n, np.int64(0)
    for radix in radices[:n_stages]:
        if radix > RADICES[-1]:
            _long_stage(tile, begin, radix, n, length, twiddles, at, False)
            at += 2 * radix
        else:
            _frequency_stage(tile, begin, radix, n, length, twiddles, at)
        at += 2 * (radix - 1) * (length // radix)
        length //= radix


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _transposed_stages(tile, begin, radices, twiddles, n_stages):
    n, length, at = np.int64(1), np.int64(1), np.int64(twiddles.size)
    for radix in radices:
        n *= radix
    for place in range(radices.size - 1, -1, -1):
        radix = radices[place]
        at -= 2 * (radix - 1) * length + (2 * radix if radix > RADICES[-1] else 0)
        length *= radix
        if place >= n_stages:
            continue
        if radix > RADICES[-1]:
            _long_stage(tile, begin, radix, n, length, twiddles, at, True)
        else:
            _transposed_stage(tile, begin, radix, n, length, twiddles, at)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def transform_columns(source, target, tile, real, imaginary, scale, radices, twiddles, place_in, place_out):
    """Transform the columns of an image (row, column x 2) into another, or into itself."""
    begin = np.int64(0)
    for column in range(0, source.shape[1] // 2, LANES):
        columns_to_tile(source, column, tile, begin, place_in, real, imaginary)
        to_frequencies(tile, begin, radices, twiddles)
        tile_to_columns(tile, begin, place_out, real, imaginary, scale, target, column)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def transform_rows(source, target, tile, real, imaginary, scale, radices, twiddles, place_in, place_out):
    """Transform the rows of an image (row, column x 2) into another, or into itself."""
    begin = np.int64(0)
    for row in range(0, source.shape[0], LANES):
        rows_to_tile(source, row, tile, begin, place_in, real, imaginary)
        to_frequencies(tile, begin, radices, twiddles)
        tile_to_rows(tile, begin, place_out, real, imaginary, scale, target, row)


@intrinsic
def _weigh(typing_context, tile, at, factors, of_factor):
    """Multiply tile[at:] with one complex number, factors[of_factor:], and exchange its parts."""
    signature = types.void(tile, types.int64, factors, types.int64)

    def write(vectors, tile, at, factors, of_factor):
        product = vectors.multiply(vectors.load_pair(tile, at), vectors.spread_pair(factors, of_factor))
        vectors.store_pair(product[::-1], tile, at)

    return instructions(signature, write)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _filter(tile, n, radices, twiddles, factors):
    """Transform, multiply with complex factors in the plan's order, and transform back; parts exchanged."""
    to_frequencies(tile, 0, radices, twiddles)
    for frequency in range(n):
        _weigh(tile, ROW * frequency, factors, 2 * frequency)
    from_frequencies(tile, 0, radices, twiddles)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def filter_columns(source, target, tile, radices, twiddles, factors, places):
    """Multiply the spectra of the columns of an image (row, column x 2): into another image, or into itself."""
    n, begin = np.int64(source.shape[0]), np.int64(0)
    for column in range(0, source.shape[1] // 2, LANES):
        columns_to_tile(source, column, tile, begin, places, 0, LANES)
        _filter(tile, n, radices, twiddles, factors)
        tile_to_columns(tile, begin, places, LANES, 0, np.float32(1), target, column)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def filter_rows(source, target, tile, radices, twiddles, factors, places):
    """Multiply the spectra of the rows of an image (row, column x 2): into another image, or into itself."""
    n, begin = np.int64(source.shape[1] // 2), np.int64(0)
    for row in range(0, source.shape[0], LANES):
        rows_to_tile(source, row, tile, begin, places, 0, LANES)
        _filter(tile, n, radices, twiddles, factors)
        tile_to_rows(tile, begin, places, LANES, 0, np.float32(1), target, row)
