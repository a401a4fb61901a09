"""The compiled loops of `mrisim.gridding`: positions, weighted sums of 6 x 6 samples, and what is done with them."""

import math

import numba
import numpy as np

from mrisim.gridding_vectors import (
    BUNDLE,
    COILS,
    LANES,
    STRIP,
    change_eight,
    fetch,
    see_four,
    slices_apart,
    weighted_of_bundle,
    weighted_of_one,
)

OVERSAMPLING = 2
STEPS = 512
"""Entries of the kernel's table between two samples; linear in between, which is right to 1e-6 of a weight."""
BORDER = (2, 6)
"""Periodic samples before and after each axis of a grid: taps then need no wrap, nor do loads of `LANES` values."""
MAPS = 8
"""Maps under which a strip is interpolated before coils see it: their changes are then still in the nearest caches."""
AHEAD = 8
"""Samples of a column from the first one under the kernel to those of the next rows of pixels, not asked for yet."""
FETCHED = 4
"""Pixels in a line of the cache, as far as their samples go: 64 bytes of 8 each, two a pixel."""


@numba.njit(inline="always")
def _positions(grid, lanes, matrix, offset, shape, row, begin, n, room):
    """Find the first sample, and the table entries, of n pixels of one row; `room` is that of `_room`."""
    first, row_entry, column_entry, row_rest, column_rest = room
    n_rows, n_columns = shape
    border = BORDER[0] + BORDER[1]
    n_grid_rows, n_grid_columns = grid.shape[1] - border, grid.shape[2] // (2 * lanes) - border
    stride, width, steps = np.int32(grid.shape[2]), np.int32(2 * lanes), np.float32(STEPS)
    turn_rows, turn_columns = 1 / n_grid_rows, 1 / n_grid_columns
    p, q = row - n_rows // 2, begin - n_columns // 2
    row_at = OVERSAMPLING * (matrix[0, 0] * p + matrix[0, 1] * q - offset[0] + n_rows // 2)
    column_at = OVERSAMPLING * (matrix[1, 0] * p + matrix[1, 1] * q - offset[1] + n_columns // 2)
    row_pace, column_pace = OVERSAMPLING * matrix[0, 1], OVERSAMPLING * matrix[1, 1]
    row_end, column_end = row_at + (n - 1) * row_pace, column_at + (n - 1) * column_pace
    lowest, highest = min(row_at, row_end), max(row_at, row_end)
    leftmost, rightmost = min(column_at, column_end), max(column_at, column_end)
    # of most strips no pixel comes from beyond an edge; the loop is compiled for those by themselves
    wraps = lowest < 0 or highest >= n_grid_rows or leftmost < 0 or rightmost >= n_grid_columns
    for i in range(n):
        source_row, source_column = row_at + i * row_pace, column_at + i * column_pace
        if wraps:
            source_row -= n_grid_rows * math.floor(source_row * turn_rows)
            source_column -= n_grid_columns * math.floor(source_column * turn_columns)
        sample_row, sample_column = np.int32(source_row), np.int32(source_column)
        row_step = np.float32(source_row - sample_row) * steps
        column_step = np.float32(source_column - sample_column) * steps
        first[i] = sample_row * stride + width * sample_column
        row_entry[i], column_entry[i] = np.int32(row_step), np.int32(column_step)
        row_rest[i], column_rest[i] = row_step - np.int32(row_step), column_step - np.int32(column_step)


@numba.njit(inline="always")
def _one(grid, index, table, room, n, apart):
    """Interpolate n pixels of a slice alone at the positions in `room`: apart[0]."""
    first, row_entry, column_entry, row_rest, column_rest = room
    of_slice = index * grid.shape[1] * grid.shape[2]
    for i in range(n):
        weighted_of_one(
            grid, of_slice + np.int64(first[i]), table, np.int64(row_entry[i]), row_rest[i],
            np.int64(column_entry[i]), column_rest[i], apart, np.int64(2 * i),
        )  # fmt: skip


@numba.njit(inline="always")
def _bundle(grid, index, table, room, n, sums, apart):
    """Interpolate n pixels of a bundle of slices at the positions in `room`: apart[slice]."""
    first, row_entry, column_entry, row_rest, column_rest = room
    of_bundle = index * grid.shape[1] * grid.shape[2]
    for i in range(n):
        weighted_of_bundle(
            grid, of_bundle + np.int64(first[i]), table, np.int64(row_entry[i]), row_rest[i],
            np.int64(column_entry[i]), column_rest[i], sums, np.int64(LANES * i),
        )  # fmt: skip
    for i in range(0, n, BUNDLE):
        slices_apart(sums, np.int64(LANES * i), apart, np.int64(2 * i))  # type: ignore[call-arg]


@numba.njit(inline="always")
def _room():
    """Return arrays for the positions of a strip: three of int32, two of float32."""
    return (
        np.empty(STRIP, np.int32),
        np.empty(STRIP, np.int32),
        np.empty(STRIP, np.int32),
        np.empty(STRIP, np.float32),
        np.empty(STRIP, np.float32),
    )


@numba.njit(nogil=True, cache=True)
def lay_side_by_side(grid, bundles):
    """Fill bundles (bundle, rows, columns, slice of the bundle) from a grid (slice, rows, columns), and with zeros."""
    for index in range(bundles.shape[0]):
        first = index * BUNDLE
        n = min(BUNDLE, grid.shape[0] - first)
        for row in range(grid.shape[1]):
            for column in range(grid.shape[2]):
                for place in range(n):
                    bundles[index, row, column, place] = grid[first + place, row, column]
                for place in range(n, BUNDLE):
                    bundles[index, row, column, place] = 0


@numba.njit(nogil=True, cache=True, error_model="numpy")
def resample(grid, table, matrix, offset, values):
    """Fill values (slice, rows, columns x 2) from a grid (slice, rows, columns x 2)."""
    n_slices, n_rows, n_columns = values.shape[0], values.shape[1], values.shape[2] // 2
    room, apart = _room(), np.empty((1, 2 * STRIP), grid.dtype)
    # Strip by strip: the samples that one row shares with the next are then still in the nearest cache.
    for begin in range(0, n_columns, STRIP):
        n = min(STRIP, n_columns - begin)
        for row in range(n_rows):
            _positions(grid, 1, matrix, offset, (n_rows, n_columns), row, begin, n, room)
            for index in range(n_slices):
                soon = (index * grid.shape[1] + AHEAD) * grid.shape[2]
                for i in range(0, n, FETCHED):
                    for sample_row in range(OVERSAMPLING):
                        fetch(grid, soon + sample_row * grid.shape[2] + np.int64(room[0][i]))  # type: ignore[call-arg]
                _one(grid, index, table, room, n, apart)
                for i in range(2 * n):
                    values[index, row, 2 * begin + i] = apart[0, i]


@numba.njit(nogil=True, error_model="numpy")
def _change_strip(grid, lanes, table, matrices, offsets, still, row, begin, wave, first_map, work, changes):
    """Fill changes (slice, map, columns x 2) with (a strip of a row under some maps, less that at rest) x wave."""
    n_slices, n_maps, n_columns = changes.shape[0], min(MAPS, len(matrices) - first_map), still.shape[2] // 2
    room, sums, apart = work
    n = min(STRIP, n_columns - begin)
    for place in range(n_maps):
        line = first_map + place
        _positions(grid, lanes, matrices[line], offsets[line], (still.shape[1], n_columns), row, begin, n, room)
        wave_at = 2 * (line * n_columns + begin)
        for index in range(n_slices):
            if lanes == 1:
                _one(grid, index, table, room, n, apart)
            elif index % BUNDLE == 0:
                _bundle(grid, index // BUNDLE, table, room, n, sums, apart)
            moved_at = (index % lanes) * apart.shape[1]
            still_at = 2 * ((index * still.shape[1] + row) * n_columns + begin)
            at = 2 * STRIP * (index * MAPS + place)
            for i in range(0, 2 * n - LANES + 1, LANES):
                change_eight(  # type: ignore[call-arg]
                    changes, np.int64(at + i), apart, np.int64(moved_at + i),
                    still, np.int64(still_at + i), wave, np.int64(wave_at + i),
                )  # fmt: skip
            for i in range(n - n % BUNDLE, n):
                column = 2 * (begin + i)
                real = apart[index % lanes, 2 * i] - still[index, row, column]
                imaginary = apart[index % lanes, 2 * i + 1] - still[index, row, column + 1]
                wave_real, wave_imaginary = wave[line, column], wave[line, column + 1]
                changes[index, place, 2 * i] = real * wave_real - imaginary * wave_imaginary
                changes[index, place, 2 * i + 1] = real * wave_imaginary + imaginary * wave_real


@numba.njit(nogil=True, cache=True, error_model="numpy")
def encode_changes(grid, lanes, table, matrices, offsets, still, wave, csm, hybrid, places):
    """Set hybrid[slice, coil, row, places[map]] to csm (slice, coil, row, column) times the changes under each map.

    One call for all rows: a thread that came back after every row would wait for the interpreter as often.
    """
    n_slices, n_coils, n_rows, n_columns = csm.shape
    n_maps = len(places)
    work = _room(), np.zeros(STRIP * LANES, grid.dtype), np.empty((BUNDLE, 2 * STRIP), grid.dtype)
    changes = np.zeros((n_slices, MAPS, 2 * STRIP), grid.dtype)
    # zeros beyond the last coil and the last column: sums over them need no end of their own
    n_strips, n_fours = -(-n_columns // STRIP), -(-n_coils // COILS)
    maps = np.zeros((n_slices, n_fours * COILS, n_strips * STRIP), csm.dtype)
    seen = np.empty((n_slices, n_maps, n_fours * COILS), csm.dtype)
    of_maps, of_seen = maps.view(grid.dtype), seen.view(grid.dtype)
    for row in range(n_rows):
        maps[:, :n_coils, :n_columns] = csm[:, :, row]
        seen[:] = 0
        # Strip by strip: all poses of a strip look at nearly the same samples.
        for begin in range(0, n_columns, STRIP):
            for first_map in range(0, n_maps, MAPS):
                _change_strip(grid, lanes, table, matrices, offsets, still, row, begin, wave, first_map, work, changes)
                for index in range(n_slices):
                    for coil in range(0, n_fours * COILS, COILS):
                        for place in range(min(MAPS, n_maps - first_map)):
                            see_four(  # type: ignore[call-arg]
                                of_maps, np.int64(2 * ((index * n_fours * COILS + coil) * maps.shape[2] + begin)),
                                changes, np.int64(2 * STRIP * (index * MAPS + place)),
                                of_seen, np.int64(2 * ((index * n_maps + first_map + place) * n_fours * COILS + coil)),
                            )  # fmt: skip
        for index in range(n_slices):
            for coil in range(n_coils):
                for line in range(n_maps):
                    hybrid[index, coil, row, places[line]] = seen[index, line, coil]
