"""Vector instructions for compiled loops that hold sixteen signals side by side, each in a lane of its own.

Such signals lie in a *tile* (n, 2, `LANES`) of float32: of sample 0 the sixteen real parts and the sixteen imaginary
parts, then those of sample 1, and so on. No instruction looks across signals, whatever the length.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic as typed_intrinsic

from mrisim.kernel_cache import forget_stale_kernels

forget_stale_kernels()

LANES = 16
ROW = 2 * LANES
"""Floats of one sample of a tile."""
PAIRS = LANES // 2
"""Complex numbers in a vector where real and imaginary parts alternate."""
CONTRACT = ("contract",)
"""A product and a sum may be one instruction."""
VECTOR = ir.VectorType(ir.FloatType(), LANES)
ALIGNED, ANYWHERE = 4 * LANES, 4
"""Bytes."""

Complex = tuple[Any, Any]

intrinsic: Any = typed_intrinsic
"""Numba's own, whose calls a type checker takes for those of the Python function, typing context and all."""


def constant(value: int) -> Any:
    """Return a constant of LLVM."""
    return ir.Constant(ir.IntType(64), value)


class Vectors:
    """Vector instructions on float32."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def load(self, pointer: Any, index: Any, align: int = ALIGNED) -> Any:
        """Return the values from pointer[index] on."""
        return self.builder.load(self._address(pointer, index), align=align)

    def store(self, vector: Any, pointer: Any, index: Any, align: int = ALIGNED) -> None:
        """Write a vector to pointer[index] and on."""
        self.builder.store(vector, self._address(pointer, index), align=align)

    def load_pair(self, pointer: Any, index: Any) -> Complex:
        """Return one sample of a tile."""
        return self.load(pointer, index), self.load(pointer, self.builder.add(index, constant(LANES)))

    def store_pair(self, pair: Complex, pointer: Any, index: Any) -> None:
        """Write one sample of a tile."""
        self.store(pair[0], pointer, index)
        self.store(pair[1], pointer, self.builder.add(index, constant(LANES)))

    def _address(self, pointer: Any, index: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(pointer, [index]), VECTOR.as_pointer())

    def spread(self, pointer: Any, index: Any) -> Any:
        """Return a vector of pointer[index]."""
        return self.spread_value(self.builder.load(self.builder.gep(pointer, [index]), align=4))

    def spread_pair(self, pointer: Any, index: Any) -> Complex:
        """Return one complex number, pointer[index] and the next, in every lane."""
        return self.spread(pointer, index), self.spread(pointer, self.builder.add(index, constant(1)))

    def spread_value(self, value: Any) -> Any:
        """Return a vector of one value."""
        empty = ir.Constant(VECTOR, ir.Undefined)
        first = self.builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
        return self.pick(first, empty, [0] * LANES)

    def pick(self, one: Any, other: Any, lanes: list[int]) -> Any:
        """Return some lanes of two vectors; those of the second count from the end of the first."""
        return self.builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), LANES), lanes))

    def add(self, a: Complex, b: Complex) -> Complex:
        """Return a + b."""
        return tuple(self.builder.fadd(x, y, flags=CONTRACT) for x, y in zip(a, b, strict=True))

    def subtract(self, a: Complex, b: Complex) -> Complex:
        """Return a - b."""
        return tuple(self.builder.fsub(x, y, flags=CONTRACT) for x, y in zip(a, b, strict=True))

    def scale(self, factor: Any, a: Complex) -> Complex:
        """Return a times a real vector."""
        return tuple(self.builder.fmul(factor, x, flags=CONTRACT) for x in a)

    def multiply(self, a: Complex, b: Complex) -> Complex:
        """Return a b."""
        times, plus, minus = self.builder.fmul, self.builder.fadd, self.builder.fsub
        real = minus(times(a[0], b[0], flags=CONTRACT), times(a[1], b[1], flags=CONTRACT), flags=CONTRACT)
        return real, plus(times(a[0], b[1], flags=CONTRACT), times(a[1], b[0], flags=CONTRACT), flags=CONTRACT)

    def multiply_conjugate(self, a: Complex, b: Complex) -> Complex:
        """Return conj(a) b."""
        times, plus, minus = self.builder.fmul, self.builder.fadd, self.builder.fsub
        real = plus(times(a[0], b[0], flags=CONTRACT), times(a[1], b[1], flags=CONTRACT), flags=CONTRACT)
        return real, minus(times(a[0], b[1], flags=CONTRACT), times(a[1], b[0], flags=CONTRACT), flags=CONTRACT)

    def around(self, a: Complex, b: Complex) -> tuple[Complex, Complex]:
        """Return a - i b and a + i b."""
        plus, minus = self.builder.fadd, self.builder.fsub
        below = plus(a[0], b[1], flags=CONTRACT), minus(a[1], b[0], flags=CONTRACT)
        return below, (minus(a[0], b[1], flags=CONTRACT), plus(a[1], b[0], flags=CONTRACT))

    def transposed(self, rows: list[Any]) -> list[Any]:
        """Turn rows of lanes into columns: blocks of 2 x 2, then 4 x 4, 8 x 8 and 16 x 16."""
        for distance in (1, 2, 4, 8):
            for first in (index for index in range(LANES) if not index & distance):
                one, other = rows[first], rows[first + distance]
                lower = [lane if not lane & distance else LANES + lane - distance for lane in range(LANES)]
                upper = [lane + distance if not lane & distance else LANES + lane for lane in range(LANES)]
                rows[first], rows[first + distance] = self.pick(one, other, lower), self.pick(one, other, upper)
        return rows


def instructions(signature: Any, write: Callable[..., None]) -> tuple[Any, Any]:
    """Return what an intrinsic without a result has to: its signature, and what writes its instructions.

    Parameters
    ----------
    signature : signature of numba
    write : callable
        Takes `Vectors`, the pointer of each array, and every other argument as it is.
    """

    def generate(context, builder, signature, arguments):
        kinds = zip(signature.args, arguments, strict=True)
        write(Vectors(builder), *(_operand(context, builder, kind, value) for kind, value in kinds))
        return context.get_dummy_value()

    return signature, generate


def _operand(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.Array):
        return context.make_array(kind)(context, builder, value=value).data
    return value
