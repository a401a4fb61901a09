"""Compiled: lay columns or rows of an image side by side in a tile (`mrisim.lane_vectors`), and take them out again."""

from typing import Any

import numba
import numpy as np
from numba import types

from mrisim.lane_vectors import ANYWHERE, LANES, PAIRS, ROW, constant, instructions, intrinsic


@intrinsic
def _split(typing_context, source, at, tile, to, real, imaginary):
    """Take sixteen complex numbers source.flat[at:] apart, into tile[to + real:] and tile[to + imaginary:]."""
    integer = types.int64
    signature = types.void(source, integer, tile, integer, integer, integer)

    def write(vectors, source, at, tile, to, real, imaginary):
        builder = vectors.builder
        first, second = (vectors.load(source, index, ANYWHERE) for index in (at, builder.add(at, constant(LANES))))
        for part, place in enumerate((real, imaginary)):
            lanes = vectors.pick(first, second, [2 * lane + part for lane in range(LANES)])
            vectors.store(lanes, tile, builder.add(to, place))

    return instructions(signature, write)


@intrinsic
def _join(typing_context, tile, at, real, imaginary, scale, target, to):
    """Undo `_split`, times a real number."""
    integer = types.int64
    signature = types.void(tile, integer, integer, integer, types.float32, target, integer)

    def write(vectors, tile, at, real, imaginary, scale, target, to):
        builder = vectors.builder
        parts = tuple(vectors.load(tile, builder.add(at, place)) for place in (real, imaginary))
        parts = vectors.scale(vectors.spread_value(scale), parts)
        for half in range(2):
            lanes = [half * PAIRS + lane // 2 + LANES * (lane % 2) for lane in range(LANES)]
            place = builder.add(to, constant(half * LANES))
            vectors.store(vectors.pick(*parts, lanes), target, place, ANYWHERE)

    return instructions(signature, write)


@intrinsic
def _split_rows(typing_context, source, at, stride, tile, begin, places, first, real, imaginary):
    """Take eight complex numbers of sixteen rows apart: number k becomes sample places[first + k] of the tile."""
    integer = types.int64
    signature = types.void(source, integer, integer, tile, integer, places, integer, integer, integer)

    def write(vectors, source, at, stride, tile, begin, places, first, real, imaginary):
        builder = vectors.builder
        starts = [builder.add(at, builder.mul(stride, constant(row))) for row in range(LANES)]
        columns = vectors.transposed([vectors.load(source, start, ANYWHERE) for start in starts])
        for pair in range(PAIRS):
            sample = builder.load(builder.gep(places, [builder.add(first, constant(pair))]))
            sample = builder.add(begin, builder.mul(sample, constant(ROW)))
            for part, place in enumerate((real, imaginary)):
                vectors.store(columns[2 * pair + part], tile, builder.add(sample, place))

    return instructions(signature, write)


@intrinsic
def _join_rows(typing_context, tile, begin, places, first, real, imaginary, scale, target, to, stride):
    """Undo `_split_rows`, times a real number."""
    integer = types.int64
    signature = types.void(tile, integer, places, integer, integer, integer, types.float32, target, integer, integer)

    def write(vectors, tile, begin, places, first, real, imaginary, scale, target, to, stride):
        builder = vectors.builder
        factor = vectors.spread_value(scale)
        columns: list[Any] = []
        for pair in range(PAIRS):
            sample = builder.load(builder.gep(places, [builder.add(first, constant(pair))]))
            sample = builder.add(begin, builder.mul(sample, constant(ROW)))
            parts = tuple(vectors.load(tile, builder.add(sample, place)) for place in (real, imaginary))
            columns += vectors.scale(factor, parts)
        for row, values in enumerate(vectors.transposed(columns)):
            vectors.store(values, target, builder.add(to, builder.mul(stride, constant(row))), ANYWHERE)

    return instructions(signature, write)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def columns_to_tile(image, column, tile, begin, places, real, imaginary):
    """Lay sixteen columns of an image (row, column x 2), or what is left of it and zeros, side by side."""
    width, n_lanes = np.int64(image.shape[1]), min(LANES, image.shape[1] // 2 - column)
    flat = image.reshape(-1)
    for row in range(image.shape[0]):
        to = begin + ROW * places[row]
        if n_lanes == LANES:
            _split(flat, width * row + 2 * column, tile, to, real, imaginary)
        else:
            for lane in range(LANES):
                within = lane < n_lanes
                tile[to + real + lane] = image[row, 2 * (column + lane)] if within else 0
                tile[to + imaginary + lane] = image[row, 2 * (column + lane) + 1] if within else 0


@numba.njit(nogil=True, cache=True, error_model="numpy")
def tile_to_columns(tile, begin, places, real, imaginary, scale, image, column):
    """Undo `columns_to_tile`, times a real number."""
    width, n_lanes = np.int64(image.shape[1]), min(LANES, image.shape[1] // 2 - column)
    flat = image.reshape(-1)
    for row in range(image.shape[0]):
        at = begin + ROW * places[row]
        if n_lanes == LANES:
            _join(tile, at, real, imaginary, scale, flat, width * row + 2 * column)
        else:
            for lane in range(n_lanes):
                image[row, 2 * (column + lane)] = scale * tile[at + real + lane]
                image[row, 2 * (column + lane) + 1] = scale * tile[at + imaginary + lane]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def rows_to_tile(image, row, tile, begin, places, real, imaginary):
    """Lay sixteen rows of an image (row, column x 2), or what is left of it and zeros, side by side."""
    width, n_lanes = np.int64(image.shape[1]), min(LANES, image.shape[0] - row)
    flat, n_columns = image.reshape(-1), image.shape[1] // 2
    n_whole = n_columns // PAIRS * PAIRS if n_lanes == LANES else 0
    for column in range(0, n_whole, PAIRS):
        at = width * row + 2 * column
        _split_rows(flat, at, width, tile, begin, places, np.int64(column), real, imaginary)
    for column in range(n_whole, n_columns):
        to = begin + ROW * places[column]
        for lane in range(LANES):
            within = lane < n_lanes
            tile[to + real + lane] = image[row + lane, 2 * column] if within else 0
            tile[to + imaginary + lane] = image[row + lane, 2 * column + 1] if within else 0


@numba.njit(nogil=True, cache=True, error_model="numpy")
def tile_to_rows(tile, begin, places, real, imaginary, scale, image, row):
    """Undo `rows_to_tile`, times a real number."""
    width, n_lanes = np.int64(image.shape[1]), min(LANES, image.shape[0] - row)
    flat, n_columns = image.reshape(-1), image.shape[1] // 2
    n_whole = n_columns // PAIRS * PAIRS if n_lanes == LANES else 0
    for column in range(0, n_whole, PAIRS):
        to = width * row + 2 * column
        _join_rows(tile, begin, places, np.int64(column), real, imaginary, scale, flat, to, width)
    for column in range(n_whole, n_columns):
        at = begin + ROW * places[column]
        for lane in range(n_lanes):
            image[row + lane, 2 * column] = scale * tile[at + real + lane]
            image[row + lane, 2 * column + 1] = scale * tile[at + imaginary + lane]
