"""Compiled: one axis of an image on a twice finer grid, its spectrum times a real factor; for the host.

The samples between the given ones are an inverse transform of their own, of the spectrum times exp(i pi f / n): no
zeros are transformed, and the spectrum stays in the order that the transform leaves it in.
"""

import numba
import numpy as np
from numba import types

from mrisim.fft_kernels import from_frequencies, to_frequencies
from mrisim.lane_vectors import LANES, ROW, constant, instructions, intrinsic
from mrisim.tiles import columns_to_tile, rows_to_tile, tile_to_columns, tile_to_rows


@intrinsic
def _between(typing_context, tile, at, factors, of_factor, between):
    """Set tile[at:] to a frequency times a real factor, tile[between:] times a complex one, parts exchanged."""
    integer = types.int64
    signature = types.void(tile, integer, factors, integer, integer)

    def write(vectors, tile, at, factors, of_factor, between):
        one = vectors.load_pair(tile, at)
        complex_factor = vectors.spread_pair(factors, vectors.builder.add(of_factor, constant(1)))
        vectors.store_pair(vectors.scale(vectors.spread(factors, of_factor), one)[::-1], tile, at)
        vectors.store_pair(vectors.multiply(one, complex_factor)[::-1], tile, between)

    return instructions(signature, write)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _refine(tile, n, radices, twiddles, factors):
    """Turn n samples into those of the finer grid, parts exchanged: n at the given places, then n between them."""
    to_frequencies(tile, 0, radices, twiddles)
    for frequency in range(n):
        _between(tile, ROW * frequency, factors, 3 * frequency, ROW * (n + frequency))
    from_frequencies(tile, 0, radices, twiddles)
    from_frequencies(tile, n * ROW, radices, twiddles)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def finer_columns(image, fine, tile, radices, twiddles, factors, places_out):
    """Refine the columns of an image (row, column x 2): fine has the rows that `places_out` names."""
    n, real, imaginary = np.int64(image.shape[0]), 0, LANES
    places_in = np.arange(n)
    for column in range(0, image.shape[1] // 2, LANES):
        columns_to_tile(image, column, tile, 0, places_in, real, imaginary)
        _refine(tile, n, radices, twiddles, factors)
        tile_to_columns(tile, 0, places_out, imaginary, real, np.float32(1), fine, column)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def finer_rows(image, fine, tile, radices, twiddles, factors, places_out):
    """Refine the rows of an image (row, column x 2): fine has the columns that `places_out` names."""
    n, real, imaginary = np.int64(image.shape[1] // 2), 0, LANES
    places_in = np.arange(n)
    for row in range(0, image.shape[0], LANES):
        rows_to_tile(image, row, tile, 0, places_in, real, imaginary)
        _refine(tile, n, radices, twiddles, factors)
        tile_to_rows(tile, 0, places_out, imaginary, real, np.float32(1), fine, row)
