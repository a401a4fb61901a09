"""The compiled loops of `mrisim.gridding`: positions, weighted sums of 6 x 6 samples, and what is done with them.

Numba's vectoriser sees neither the sum over taps nor the pairs of real and imaginary parts, so the sums are written in
vector instructions, in two ways. A slice alone: one load of 16 reals holds a row's six complex samples, rows are added
before columns. A bundle of eight slices that lie side by side: one load holds a sample of all of them, and the weights,
which are most of the work of a slice alone, are made once.
"""

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# Numba's cache asks for the age of this file alone: whatever is compiled in is set here.
OVERSAMPLING = 2
WIDTH = 6
"""Samples under the kernel of `mrisim.kaiser_bessel`."""
STEPS = 512
"""Entries of its table between two samples; linear in between, which is right to 1e-6 of a weight."""
TAP_LANES = 8
"""Places of an entry: six weights and two zeros."""
BORDER = (2, 6)
"""Periodic samples before and after each axis of a grid: taps then need no wrap, nor do loads of `LANES` values."""
LANES = 16
BUNDLE = LANES // 2
"""Slices side by side in a grid."""
_BLOCK = 64
MAPS = 8
"""Maps under which a strip is interpolated before coils see it: their changes are then still in the nearest caches."""
COILS = 4
"""Coils that see a strip at once: twice as many sums go on side by side as an instruction takes cycles."""
AHEAD = 8
"""Samples of a column from the first one under the kernel to those of the next rows of pixels, not asked for yet."""
FETCHED = 4
"""Pixels in a line of the cache, as far as their samples go: 64 bytes of 8 each, two a pixel."""


class _Vectors:
    """Vector instructions on values of one real type."""

    def __init__(self, context: Any, builder: Any, real: types.Float) -> None:
        self._builder, self._is_double = builder, real == types.float64
        self.values = ir.VectorType(context.get_value_type(real), LANES)
        self._taps = ir.VectorType(ir.FloatType(), TAP_LANES)

    def load(self, pointer: Any, index: Any, vector: Any | None = None) -> Any:
        """Return the values from pointer[index] on."""
        vector = self.values if vector is None else vector
        address = self._builder.bitcast(self._builder.gep(pointer, [index]), vector.as_pointer())
        return self._builder.load(address, align=4)

    def pick(self, vector: Any, lanes: list[int]) -> Any:
        """Return some lanes of a vector in a new order."""
        return self.pick_from(vector, ir.Constant(vector.type, ir.Undefined), lanes)

    def pick_from(self, vector: Any, other: Any, lanes: list[int]) -> Any:
        """Return some lanes of two vectors; those of the second count from the end of the first."""
        order = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
        return self._builder.shuffle_vector(vector, other, order)

    def pick_pairs(self, vector: Any, other: Any, pairs: list[int]) -> Any:
        """Return some complex numbers of two vectors, as `pick_from` does lanes."""
        return self.pick_from(vector, other, [2 * pair + part for pair in pairs for part in (0, 1)])

    def multiply_add(self, a: Any, b: Any, total: Any | None) -> Any:
        """Return a b + total, rounded once: left to the compiler, a slice alone and a bundle could differ in a bit."""
        if total is None:
            return self._builder.fmul(a, b)
        vector = total.type
        name = f"llvm.fma.v{vector.count}f{64 if vector.element == ir.DoubleType() else 32}"
        fused = cgutils.get_or_insert_function(self._builder.module, ir.FunctionType(vector, [vector] * 3), name)
        return self._builder.call(fused, [a, b, total])

    def weights(self, table: Any, entry: Any, rest: Any) -> Any:
        """Return the weights of a table entry, and of a rest to the next one."""
        builder = self._builder
        index = builder.mul(entry, ir.Constant(ir.IntType(64), 2 * TAP_LANES))
        at_entry = self.load(table, index, self._taps)
        increment = self.load(table, builder.add(index, ir.Constant(ir.IntType(64), TAP_LANES)), self._taps)
        empty = ir.Constant(self._taps, ir.Undefined)
        spread = self.pick(builder.insert_element(empty, rest, ir.Constant(ir.IntType(32), 0)), [0] * TAP_LANES)
        total = self.multiply_add(spread, increment, at_entry)
        return builder.fpext(total, ir.VectorType(ir.DoubleType(), TAP_LANES)) if self._is_double else total

    def sums(self, rows: list[Any]) -> Any:
        """Return the sums over the lanes of eight vectors in one vector."""
        for half in (8, 4, 2):  # each vector then holds the sums of twice as many, of half as many lanes each
            lower, upper = ([lane for lane in range(2 * LANES) if lane & half == part] for part in (0, half))
            rows = [
                self._builder.fadd(self.pick_from(one, other, lower), self.pick_from(one, other, upper))
                for one, other in zip(rows[::2], rows[1::2], strict=True)
            ]
        (row,) = rows
        even, odd = (self.pick(row, list(range(part, LANES, 2))) for part in (0, 1))
        return self._builder.fadd(even, odd)

    def store(self, vector: Any, pointer: Any, index: Any) -> None:
        """Write a vector to pointer[index] and on."""
        address = self._builder.bitcast(self._builder.gep(pointer, [index]), vector.type.as_pointer())
        self._builder.store(vector, address, align=4)


def _sum_of_one(vectors, builder, grid, stride, first, row_weights, column_weights):
    """Return real and imaginary part of one slice's sum."""
    total = None
    for tap in range(WIDTH):
        total = vectors.multiply_add(vectors.pick(row_weights, [tap] * LANES), vectors.load(grid, first), total)
        first = builder.add(first, stride)
    total = builder.fmul(total, vectors.pick(column_weights, [lane // 2 for lane in range(LANES)]))
    for half in (8, 4, 2):
        lower, upper = (vectors.pick(total, list(range(start, start + half))) for start in (0, half))
        total = builder.fadd(lower, upper)
    return total


def _sums_of_bundle(vectors, builder, grid, stride, first, row_weights, column_weights):
    """Return real and imaginary parts of the sums of all slices of a bundle, added in the order of `_sum_of_one`."""
    of_rows = [vectors.pick(row_weights, [tap] * LANES) for tap in range(WIDTH)]
    columns = []
    for column in range(WIDTH):
        total, sample = None, builder.add(first, ir.Constant(ir.IntType(64), column * LANES))
        for of_row in of_rows:
            total = vectors.multiply_add(of_row, vectors.load(grid, sample), total)
            sample = builder.add(sample, stride)
        columns.append(builder.fmul(total, vectors.pick(column_weights, [column] * LANES)))
    for half in (4, 2, 1):
        columns = [
            builder.fadd(column, columns[place + half]) if place + half < len(columns) else column
            for place, column in enumerate(columns[:half])
        ]
    return columns[0]


def _weighted(sum_of):
    """Return the intrinsic that writes such a sum from grid.flat[first] on, each axis weighted, into sums.flat[at:]."""

    @intrinsic
    def weighted(typing_context, grid, first, table, row_entry, row_rest, column_entry, column_rest, sums, at):
        signature = types.void(
            grid, types.int64, table, types.int64, types.float32, types.int64, types.float32, sums, types.int64
        )

        def generate(context, builder, signature, arguments):
            of_grid, first, of_table, row_entry, row_rest, column_entry, column_rest, of_sums, at = arguments
            grid, table, sums = (
                context.make_array(signature.args[place])(context, builder, value=value)
                for place, value in ((0, of_grid), (2, of_table), (7, of_sums))
            )
            vectors = _Vectors(context, builder, signature.args[0].dtype)
            row_weights = vectors.weights(table.data, row_entry, row_rest)
            column_weights = vectors.weights(table.data, column_entry, column_rest)
            stride = builder.extract_value(grid.shape, 2)
            total = sum_of(vectors, builder, grid.data, stride, first, row_weights, column_weights)
            vectors.store(total, sums.data, at)
            return context.get_dummy_value()

        return signature, generate

    return weighted


_weighted_of_one, _weighted_of_bundle = _weighted(_sum_of_one), _weighted(_sums_of_bundle)


@intrinsic
def _slices_apart(typing_context, sums, at, apart, place):
    """Turn eight pixels of eight slices, sums.flat[at:], into rows of eight pixels, apart[:, place:]."""
    signature = types.void(sums, types.int64, apart, types.int64)

    def generate(context, builder, signature, arguments):
        of_sums, at, of_apart, place = arguments
        sums = context.make_array(signature.args[0])(context, builder, value=of_sums)
        apart = context.make_array(signature.args[2])(context, builder, value=of_apart)
        vectors = _Vectors(context, builder, signature.args[0].dtype)
        places = [builder.add(at, ir.Constant(ir.IntType(64), LANES * pixel)) for pixel in range(BUNDLE)]
        rows = [vectors.load(sums.data, one) for one in places]
        for distance in (1, 2, 4):  # blocks of 2 x 2, 4 x 4, 8 x 8 are transposed
            for first in (index for index in range(BUNDLE) if not index & distance):
                second = first + distance
                one, other = rows[first], rows[second]
                rows[first] = vectors.pick_pairs(
                    one, other, [pair if not pair & distance else BUNDLE + pair - distance for pair in range(BUNDLE)]
                )
                rows[second] = vectors.pick_pairs(
                    one, other, [pair + distance if not pair & distance else BUNDLE + pair for pair in range(BUNDLE)]
                )
        stride = builder.extract_value(apart.shape, 1)
        for index, row in enumerate(rows):
            of_slice = builder.mul(stride, ir.Constant(ir.IntType(64), index))
            vectors.store(row, apart.data, builder.add(place, of_slice))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _change_eight(typing_context, values, at, moved, moved_at, still, still_at, wave, wave_at):
    """Set eight complex numbers of values.flat to (moved - still) * wave, each from its own place on."""
    signature = types.void(values, types.int64, moved, types.int64, still, types.int64, wave, types.int64)

    def generate(context, builder, signature, arguments):
        values, *sources = (
            context.make_array(signature.args[place])(context, builder, value=arguments[place])
            for place in range(0, 8, 2)
        )
        vectors = _Vectors(context, builder, signature.args[0].dtype)
        moved, still, wave = (
            vectors.load(array.data, index) for array, index in zip(sources, arguments[3::2], strict=True)
        )
        change = builder.fsub(moved, still)
        contract = ("contract",)
        product = builder.fmul(change, vectors.pick(wave, [lane - lane % 2 for lane in range(LANES)]), flags=contract)
        swapped = vectors.pick(change, [lane ^ 1 for lane in range(LANES)])
        crossed = builder.fmul(swapped, vectors.pick(wave, [lane | 1 for lane in range(LANES)]), flags=contract)
        real, imaginary = builder.fsub(product, crossed, flags=contract), builder.fadd(product, crossed, flags=contract)
        order = [lane if lane % 2 == 0 else LANES + lane for lane in range(LANES)]
        vectors.store(vectors.pick_from(real, imaginary, order), values.data, arguments[1])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _see_four(typing_context, maps, at, changes, change_at, seen, seen_at):
    """Add to seen.flat[seen_at:] what four coils, maps.flat[at:] and the next rows, see of one strip of changes."""
    signature = types.void(maps, types.int64, changes, types.int64, seen, types.int64)

    def generate(context, builder, signature, arguments):
        of_maps, at, of_changes, change_at, of_seen, seen_at = arguments
        maps, changes, seen = (
            context.make_array(signature.args[place])(context, builder, value=value)
            for place, value in ((0, of_maps), (2, of_changes), (4, of_seen))
        )
        vectors = _Vectors(context, builder, signature.args[0].dtype)
        stride = builder.extract_value(maps.shape, 2)
        signs = ir.Constant(vectors.values, [1.0, -1.0] * (LANES // 2))
        totals = [None] * (2 * COILS)
        for group in range(0, 2 * _BLOCK, LANES):
            change = vectors.load(changes.data, builder.add(change_at, ir.Constant(ir.IntType(64), group)))
            factors = builder.fmul(change, signs), vectors.pick(change, [lane ^ 1 for lane in range(LANES)])
            one = builder.add(at, ir.Constant(ir.IntType(64), group))
            for coil in range(COILS):
                of_coil = vectors.load(maps.data, one)
                for part, factor in enumerate(factors):  # their sums over the lanes are real and imaginary part
                    totals[2 * coil + part] = vectors.multiply_add(of_coil, factor, totals[2 * coil + part])
                one = builder.add(one, stride)
        eight = vectors.sums(totals)
        vectors.store(builder.fadd(vectors.load(seen.data, seen_at, eight.type), eight), seen.data, seen_at)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _fetch(typing_context, grid, at):
    """Ask for the line of the cache that holds grid.flat[at]: it is on its way while other pixels are summed."""
    signature = types.void(grid, types.int64)

    def generate(context, builder, signature, arguments):
        grid = context.make_array(signature.args[0])(context, builder, value=arguments[0])
        number = ir.IntType(32)
        place = builder.bitcast(builder.gep(grid.data, [arguments[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch")
        builder.call(fetch, [place, number(0), number(3), number(1)])  # to read, into the nearest cache, data
        return context.get_dummy_value()

    return signature, generate


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
        _weighted_of_one(
            grid, of_slice + np.int64(first[i]), table, np.int64(row_entry[i]), row_rest[i],
            np.int64(column_entry[i]), column_rest[i], apart, np.int64(2 * i),
        )  # fmt: skip


@numba.njit(inline="always")
def _bundle(grid, index, table, room, n, sums, apart):
    """Interpolate n pixels of a bundle of slices at the positions in `room`: apart[slice]."""
    first, row_entry, column_entry, row_rest, column_rest = room
    of_bundle = index * grid.shape[1] * grid.shape[2]
    for i in range(n):
        _weighted_of_bundle(
            grid, of_bundle + np.int64(first[i]), table, np.int64(row_entry[i]), row_rest[i],
            np.int64(column_entry[i]), column_rest[i], sums, np.int64(LANES * i),
        )  # fmt: skip
    for i in range(0, n, BUNDLE):
        _slices_apart(sums, np.int64(LANES * i), apart, np.int64(2 * i))  # type: ignore[call-arg]


@numba.njit(inline="always")
def _room():
    """Return arrays for the positions of a strip: three of int32, two of float32."""
    return (
        np.empty(_BLOCK, np.int32),
        np.empty(_BLOCK, np.int32),
        np.empty(_BLOCK, np.int32),
        np.empty(_BLOCK, np.float32),
        np.empty(_BLOCK, np.float32),
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
    room, apart = _room(), np.empty((1, 2 * _BLOCK), grid.dtype)
    # Strip by strip: the samples that one row shares with the next are then still in the nearest cache.
    for begin in range(0, n_columns, _BLOCK):
        n = min(_BLOCK, n_columns - begin)
        for row in range(n_rows):
            _positions(grid, 1, matrix, offset, (n_rows, n_columns), row, begin, n, room)
            for index in range(n_slices):
                soon = (index * grid.shape[1] + AHEAD) * grid.shape[2]
                for i in range(0, n, FETCHED):
                    for sample_row in range(OVERSAMPLING):
                        _fetch(grid, soon + sample_row * grid.shape[2] + np.int64(room[0][i]))  # type: ignore[call-arg]
                _one(grid, index, table, room, n, apart)
                for i in range(2 * n):
                    values[index, row, 2 * begin + i] = apart[0, i]


@numba.njit(nogil=True, error_model="numpy")
def _change_strip(grid, lanes, table, matrices, offsets, still, row, begin, wave, first_map, work, changes):
    """Fill changes (slice, map, columns x 2) with (a strip of a row under some maps, less that at rest) x wave."""
    n_slices, n_maps, n_columns = changes.shape[0], min(MAPS, len(matrices) - first_map), still.shape[2] // 2
    room, sums, apart = work
    n = min(_BLOCK, n_columns - begin)
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
            at = 2 * _BLOCK * (index * MAPS + place)
            for i in range(0, 2 * n - LANES + 1, LANES):
                _change_eight(  # type: ignore[call-arg]
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
    work = _room(), np.zeros(_BLOCK * LANES, grid.dtype), np.empty((BUNDLE, 2 * _BLOCK), grid.dtype)
    changes = np.zeros((n_slices, MAPS, 2 * _BLOCK), grid.dtype)
    # zeros beyond the last coil and the last column: sums over them need no end of their own
    n_strips, n_fours = -(-n_columns // _BLOCK), -(-n_coils // COILS)
    maps = np.zeros((n_slices, n_fours * COILS, n_strips * _BLOCK), csm.dtype)
    seen = np.empty((n_slices, n_maps, n_fours * COILS), csm.dtype)
    of_maps, of_seen = maps.view(grid.dtype), seen.view(grid.dtype)
    for row in range(n_rows):
        maps[:, :n_coils, :n_columns] = csm[:, :, row]
        seen[:] = 0
        # Strip by strip: all poses of a strip look at nearly the same samples.
        for begin in range(0, n_columns, _BLOCK):
            for first_map in range(0, n_maps, MAPS):
                _change_strip(grid, lanes, table, matrices, offsets, still, row, begin, wave, first_map, work, changes)
                for index in range(n_slices):
                    for coil in range(0, n_fours * COILS, COILS):
                        for place in range(min(MAPS, n_maps - first_map)):
                            _see_four(  # type: ignore[call-arg]
                                of_maps, np.int64(2 * ((index * n_fours * COILS + coil) * maps.shape[2] + begin)),
                                changes, np.int64(2 * _BLOCK * (index * MAPS + place)),
                                of_seen, np.int64(2 * ((index * n_maps + first_map + place) * n_fours * COILS + coil)),
                            )  # fmt: skip
        for index in range(n_slices):
            for coil in range(n_coils):
                for line in range(n_maps):
                    hybrid[index, coil, row, places[line]] = seen[index, line, coil]
