"""The compiled normal operator S^H F^H P F S of SENSE, and the step of conjugate gradients, for the host.

Coil by coil, everything between the image that comes in and the image that goes out lies in tiles
(`mrisim.lane_vectors`): the maps are laid out so once, the spectrum is masked in the order that the transform leaves it
in, and nothing is ever shifted, reordered, or interleaved.
"""

import numba
import numpy as np
from numba import types

from mrisim.fft_kernels import from_frequencies, through_frequencies, to_frequencies
from mrisim.lane_vectors import LANES, ROW, constant, instructions, intrinsic
from mrisim.tiles import columns_to_tile, rows_to_tile, tile_to_columns, tile_to_rows

_REAL, _IMAGINARY = 0, LANES


@intrinsic
def _multiply(typing_context, maps, at_maps, image, at_image, tile, at):
    """Set sixteen samples of a tile to map times image."""
    signature = types.void(maps, types.int64, image, types.int64, tile, types.int64)

    def write(vectors, maps, at_maps, image, at_image, tile, at):
        product = vectors.multiply(vectors.load_pair(maps, at_maps), vectors.load_pair(image, at_image))
        vectors.store_pair(product, tile, at)

    return instructions(signature, write)


@intrinsic
def _add_conjugate(typing_context, maps, at_maps, tile, at, total, at_total):
    """Add conj(map) times sixteen samples whose parts are exchanged to a total."""
    signature = types.void(maps, types.int64, tile, types.int64, total, types.int64)

    def write(vectors, maps, at_maps, tile, at, total, at_total):
        imaginary_part, real_part = vectors.load_pair(tile, at)
        product = vectors.multiply_conjugate(vectors.load_pair(maps, at_maps), (real_part, imaginary_part))
        vectors.store_pair(vectors.add(vectors.load_pair(total, at_total), product), total, at_total)

    return instructions(signature, write)


@intrinsic
def _transpose(typing_context, source, at, target, to):
    """Transpose sixteen samples of sixteen signals: what was sample k of signal l becomes sample l of signal k."""
    signature = types.void(source, types.int64, target, types.int64)

    def write(vectors, source, at, target, to):
        builder = vectors.builder
        for part in (_REAL, _IMAGINARY):
            places = [constant(ROW * sample + part) for sample in range(LANES)]
            rows = [vectors.load(source, builder.add(at, place)) for place in places]
            for place, row in zip(places, vectors.transposed(rows), strict=True):
                vectors.store(row, target, builder.add(to, place))

    return instructions(signature, write)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def lay_out_columns(image, tiles):
    """Lay an image (row, column x 2) out in tiles of sixteen columns."""
    places, size = np.arange(image.shape[0]), image.shape[0] * ROW
    for index in range(tiles.size // size):
        columns_to_tile(image, index * LANES, tiles, index * size, places, _REAL, _IMAGINARY)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def lay_out_rows(image, tiles):
    """Lay an image (row, column x 2) out in tiles of sixteen rows."""
    places, size = np.arange(image.shape[1] // 2), image.shape[1] // 2 * ROW
    for index in range(tiles.size // size):
        rows_to_tile(image, index * LANES, tiles, index * size, places, _REAL, _IMAGINARY)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def normal_of_lines(image, out, maps, mask, radices, twiddles, tile):
    """Apply S^H F^H P F S along the rows of an image (row, column x 2).

    maps : (coil, tile of rows, floats), flat; mask : (column in the plan's order x 16)
    tile : room for three tiles.
    """
    n_columns = image.shape[1] // 2
    size, n_tiles = n_columns * ROW, (image.shape[0] + LANES - 1) // LANES
    places, n_coils, seen, total, one = (
        np.arange(n_columns),
        maps.size // (size * n_tiles),
        size,
        2 * size,
        np.float32(1),
    )
    for index in range(n_tiles):
        rows_to_tile(image, index * LANES, tile, seen, places, _REAL, _IMAGINARY)
        tile[total : total + size] = 0
        for coil in range(n_coils):
            of_coil = (coil * n_tiles + index) * size
            for at in range(0, size, ROW):
                _multiply(maps, of_coil + at, tile, seen + at, tile, at)
            through_frequencies(tile, 0, radices, twiddles, mask, 0)
            for at in range(0, size, ROW):
                _add_conjugate(maps, of_coil + at, tile, at, tile, total + at)
        tile_to_rows(tile, total, places, _REAL, _IMAGINARY, one, out, index * LANES)


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def conjugate_gradient_step(x, residual, direction, image, power, damping):
    """Take one step for every block (block, real), in place; `image` is A times the direction, `power` |residual|^2."""
    damping = np.float32(damping)
    for block in range(power.size):
        curvature = np.float32(0)
        for i in range(x.shape[1]):
            curvature += direction[block, i] * (image[block, i] + damping * direction[block, i])
        # A block that is solved, or empty, has no direction left.
        step = power[block] / curvature if curvature > 0 else np.float32(0)
        left = np.float32(0)
        for i in range(x.shape[1]):
            x[block, i] += step * direction[block, i]
            residual[block, i] -= step * (image[block, i] + damping * direction[block, i])
            left += residual[block, i] * residual[block, i]
        turn = left / power[block] if power[block] > 0 else np.float32(0)
        power[block] = left
        for i in range(x.shape[1]):
            direction[block, i] = residual[block, i] + turn * direction[block, i]


@numba.njit(nogil=True, error_model="numpy")
def _normal_in_tiles(seen, total, shape, maps, mask, radices, twiddles, row_radices, row_twiddles, tiles, tile):
    """Apply S^H F^H P F S to an image of a shape that is seen in tiles of sixteen columns, and lies in total so."""
    n_rows, n_columns = shape
    n_row_tiles, n_column_tiles = (n_rows + LANES - 1) // LANES, (n_columns + LANES - 1) // LANES
    size, slab = n_rows * ROW, n_row_tiles * LANES * ROW
    total[:] = 0
    for coil in range(maps.size // (size * n_column_tiles)):
        for index in range(n_column_tiles):
            of_coil, begin = (coil * n_column_tiles + index) * size, index * slab
            for at in range(0, size, ROW):
                _multiply(maps, of_coil + at, seen, begin + at, tiles, begin + at)
            to_frequencies(tiles, begin, radices, twiddles)
        for row_tile in range(n_row_tiles):
            block = row_tile * LANES * ROW
            for index in range(n_column_tiles):
                _transpose(tiles, index * slab + block, tile, index * LANES * ROW)
            through_frequencies(tile, 0, row_radices, row_twiddles, mask, row_tile * n_columns * LANES)
            for index in range(n_column_tiles):
                _transpose(tile, index * LANES * ROW, tiles, index * slab + block)
        for index in range(n_column_tiles):
            of_coil, begin = (coil * n_column_tiles + index) * size, index * slab
            from_frequencies(tiles, begin, radices, twiddles)
            for at in range(0, size, ROW):
                _add_conjugate(maps, of_coil + at, tiles, begin + at, total, begin + at)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _to_tiles(image, tiles):
    """Lay an image (row, column x 2) out in tiles of sixteen columns, each of whole sixteens of rows."""
    places, slab = np.arange(image.shape[0]), (image.shape[0] + LANES - 1) // LANES * LANES * ROW
    for index in range(tiles.size // slab):
        columns_to_tile(image, index * LANES, tiles, index * slab, places, _REAL, _IMAGINARY)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _from_tiles(tiles, image):
    """Undo `_to_tiles`."""
    places, slab = np.arange(image.shape[0]), (image.shape[0] + LANES - 1) // LANES * LANES * ROW
    for index in range(tiles.size // slab):
        tile_to_columns(tiles, index * slab, places, _REAL, _IMAGINARY, np.float32(1), image, index * LANES)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def normal_of_samples(image, out, maps, mask, radices, twiddles, row_radices, row_twiddles, tiles, tile):
    """Apply S^H F^H P F S to an image (row, column x 2).

    maps : (coil, tile of columns, floats), flat
    mask : (tile of rows, column, 16), flat; rows and columns in the order of their plans, 0 beyond the last row.
    radices, twiddles, row_radices, row_twiddles
        Of the transforms along the first axis, and along the second.
    tiles : (3 or more, floats): room for images in tiles of sixteen columns and whole sixteens of rows. Zeros at first.
    tile : room for whole sixteens of columns. Zeros at first.
    """
    shape = (image.shape[0], image.shape[1] // 2)
    _to_tiles(image, tiles[1])
    _normal_in_tiles(
        tiles[1], tiles[2], shape, maps, mask, radices, twiddles, row_radices, row_twiddles, tiles[0], tile
    )
    _from_tiles(tiles[2], out)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def solve_samples(
    right, power, out, n_iterations, damping, maps, mask, radices, twiddles, row_radices, row_twiddles, tiles, tile
):
    """Solve (S^H F^H P F S + damping) out = right by conjugate gradients, for images (row, column x 2).

    What `normal_of_samples` does at every call, to lay an image out and back, is done once. Its arguments, and
    power : (1,): |right|^2, which becomes that of what is left
    tiles : (5, floats)
    """
    shape = (right.shape[0], right.shape[1] // 2)
    work, image, x, residual, direction = tiles[0], tiles[1:2], tiles[2:3], tiles[3:4], tiles[4:5]
    x[:] = 0
    _to_tiles(right, residual[0])
    direction[:] = residual
    for _ in range(n_iterations):
        _normal_in_tiles(
            direction[0], image[0], shape, maps, mask, radices, twiddles, row_radices, row_twiddles, work, tile
        )
        conjugate_gradient_step(x, residual, direction, image, power, damping)
    _from_tiles(x[0], out)
