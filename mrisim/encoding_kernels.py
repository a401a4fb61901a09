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


@numba.njit(nogil=True, cache=True, error_model="numpy")
def normal_of_samples(image, out, maps, mask, radices, twiddles, row_radices, row_twiddles, tiles, tile):
    """Apply S^H F^H P F S to an image (row, column x 2).

    maps : (coil, tile of columns, floats), flat
    mask : (tile of rows, column, 16), flat; rows and columns in the order of their plans, 0 beyond the last row.
    radices, twiddles, row_radices, row_twiddles
        Of the transforms along the first axis, and along the second.
    tiles : room for three images; each tile of it has whole sixteens of rows. Zeros.
    tile : room for whole sixteens of columns. Zeros.
    """
    n_rows, n_columns = image.shape[0], image.shape[1] // 2
    n_row_tiles, n_column_tiles = (n_rows + LANES - 1) // LANES, (n_columns + LANES - 1) // LANES
    size, slab = n_rows * ROW, n_row_tiles * LANES * ROW
    n_coils, places, one = maps.size // (size * n_column_tiles), np.arange(n_rows), np.float32(1)
    seen, total = n_column_tiles * slab, 2 * n_column_tiles * slab
    for index in range(n_column_tiles):
        columns_to_tile(image, index * LANES, tiles, seen + index * slab, places, _REAL, _IMAGINARY)
    tiles[total:] = 0
    for coil in range(n_coils):
        for index in range(n_column_tiles):
            of_coil, begin = (coil * n_column_tiles + index) * size, index * slab
            for at in range(0, size, ROW):
                _multiply(maps, of_coil + at, tiles, seen + begin + at, tiles, begin + at)
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
                _add_conjugate(maps, of_coil + at, tiles, begin + at, tiles, total + begin + at)
    for index in range(n_column_tiles):
        tile_to_columns(tiles, total + index * slab, places, _REAL, _IMAGINARY, one, out, index * LANES)


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def conjugate_gradient_step(x, residual, direction, image, power, damping):
    """Take one step for every block (block, real), in place; `image` is A times the direction, `power` |residual|^2."""
    damping = np.float32(damping)
    for block in range(power.size):
        curvature = np.float32(0)
        for i in range(x.shape[1]):
            image[block, i] += damping * direction[block, i]
            curvature += direction[block, i] * image[block, i]
        # A block that is solved, or empty, has no direction left.
        step = power[block] / curvature if curvature > 0 else np.float32(0)
        left = np.float32(0)
        for i in range(x.shape[1]):
            x[block, i] += step * direction[block, i]
            residual[block, i] -= step * image[block, i]
            left += residual[block, i] * residual[block, i]
        turn = left / power[block] if power[block] > 0 else np.float32(0)
        power[block] = left
        for i in range(x.shape[1]):
            direction[block, i] = residual[block, i] + turn * direction[block, i]
