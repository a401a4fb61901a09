"""Vector instructions of `mrisim.gridding_kernels`: weighted sums of 6 x 6 samples, changes, and what coils see.

Numba's vectoriser sees neither the sum over taps nor the pairs of real and imaginary parts, so the sums are written in
vector instructions, in two ways. A slice alone: one load of 16 reals holds a row's six complex samples, rows are added
before columns. A bundle of eight slices that lie side by side: one load holds a sample of all of them, and the weights,
which are most of the work of a slice alone, are made once.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mrisim.kernel_cache import forget_stale_kernels

forget_stale_kernels()

WIDTH = 6
"""Samples under the kernel of `mrisim.kaiser_bessel`."""
TAP_LANES = 8
"""Places of an entry of its table: six weights and two zeros."""
LANES = 16
BUNDLE = LANES // 2
"""Slices side by side in a grid."""
STRIP = 64
"""Pixels of a row at a time."""
COILS = 4
"""Coils that see a strip at once: twice as many sums go on side by side as an instruction takes cycles."""


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


weighted_of_one, weighted_of_bundle = _weighted(_sum_of_one), _weighted(_sums_of_bundle)


@intrinsic
def slices_apart(typing_context, sums, at, apart, place):
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
def change_eight(typing_context, values, at, moved, moved_at, still, still_at, wave, wave_at):
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
def see_four(typing_context, maps, at, changes, change_at, seen, seen_at):
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
        for group in range(0, 2 * STRIP, LANES):
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
def fetch(typing_context, grid, at):
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
