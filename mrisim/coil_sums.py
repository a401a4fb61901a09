"""Passes over the coils of one slice, memory read once: compiled for the host, whole-array steps for a GPU."""

import math

import numba
import numpy as np

from mrisim.fourier import Array, array_module


def root_sum_of_squares(images: Array) -> Array:
    """Return sqrt(sum_c |x_c|^2): (..., coil, rows, columns) -> (..., rows, columns) float32."""
    if isinstance(images, np.ndarray) and images.dtype.kind == "c":
        stacks = np.ascontiguousarray(images).reshape(-1, *images.shape[-3:])
        magnitude = np.empty((len(stacks), *images.shape[-2:]), np.float32)
        for stack, out in zip(stacks, magnitude, strict=True):
            _root_sum_of_squares(stack.view(stack.real.dtype), out)
        return magnitude.reshape(*images.shape[:-3], *images.shape[-2:])
    xp, double = array_module(images), {"dtype": np.float64}  # as the loop below: the square of 1e-24 is a number
    return xp.sqrt(xp.sum(xp.square(images.real, **double) + xp.square(images.imag, **double), axis=-3)).astype(
        np.float32
    )


def acquired_samples(kspace: Array, sampled: np.ndarray) -> tuple[Array, bool]:
    """Return a copy in complex64 that is zero where nothing was acquired, and whether what was acquired is finite.

    Parameters
    ----------
    kspace : (..., coil, readout, phase_encode), complex
    sampled : (readout, phase_encode), bool
    """
    if isinstance(kspace, np.ndarray) and kspace.dtype == np.complex64 and kspace.ndim == 3:
        copy = np.empty(kspace.shape, np.complex64)
        # Real and imaginary parts have a mask each: a loop over reals is in vector instructions, one over pairs is not.
        of_reals = np.repeat(sampled, 2, axis=1)
        nothing = _copy_acquired(np.ascontiguousarray(kspace).view(np.float32), of_reals, copy.view(np.float32))
        return copy, bool(nothing == 0)
    xp = array_module(kspace)
    copy = xp.where(xp.asarray(sampled), kspace, 0).astype(np.complex64, copy=False)
    return copy, bool(xp.isfinite(copy).all())


def energy_of_slices(kspace: Array) -> Array:
    """Return sum |y|^2 over coils and samples: (..., coil, readout, phase_encode) -> (...)."""
    xp = array_module(kspace)
    slices = xp.ascontiguousarray(kspace).view(kspace.real.dtype).reshape(-1, 2 * math.prod(kspace.shape[-3:]))
    # a product of reals reads memory once; a norm makes complex products, or takes the parts apart
    return xp.stack([xp.dot(one, one) for one in slices]).reshape(kspace.shape[:-3])


def energy_of_lines(kspace: np.ndarray) -> np.ndarray:
    """Return sum |y|^2 of each phase-encode line in double precision: (coil, readout, line) -> (line,)."""
    energy = np.zeros(kspace.shape[-1])
    kspace = np.ascontiguousarray(kspace)
    _line_energy(kspace.view(kspace.real.dtype), energy)
    return energy


def combine(images: np.ndarray, csm: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit one image to coil images: x = sum_c conj(S_c) i_c / sum_c |S_c|^2.

    Parameters
    ----------
    images, csm : (coil, rows, columns), complex64
    seen : (rows, columns), bool
        x is 0 elsewhere.

    Returns
    -------
    x : (rows, columns), complex64
    residual : float
        sum |i_c - S_c x|^2
    """
    image = np.empty(images.shape[1:], np.complex64)
    image_pairs, csm_pairs = (np.ascontiguousarray(part).view(np.float32) for part in (images, csm))
    return image, float(_combine(image_pairs, csm_pairs, seen, image.view(np.float32)))


def weighted_sum(images: np.ndarray, csm: np.ndarray) -> np.ndarray:
    """Return sum_c conj(S_c) i_c: (coil, rows, columns), complex64, twice -> (rows, columns)."""
    image = np.zeros(images.shape[1:], np.complex64)
    image_pairs, csm_pairs = (np.ascontiguousarray(part).view(np.float32) for part in (images, csm))
    _weighted_sum(image_pairs, csm_pairs, image.view(np.float32))
    return image


def energy_of_misfit(lines: np.ndarray, kspace: np.ndarray, sampled: np.ndarray) -> float:
    """Return sum |P l - y|^2 of one coil: (readout, phase_encode), complex64, complex64 and bool."""
    line_pairs, kspace_pairs = (np.ascontiguousarray(part).view(np.float32) for part in (lines, kspace))
    return float(_energy_of_misfit(line_pairs, kspace_pairs, sampled))


def set_lines(target: Array, lines: np.ndarray, source: Array, picked: np.ndarray) -> None:
    """Set target[..., lines] to source[..., picked]; both complex, C-contiguous."""
    if isinstance(target, np.ndarray):
        _set_lines(target.reshape(-1, target.shape[-1]), lines, source.reshape(-1, source.shape[-1]), picked)
        return
    xp = array_module(target)
    target[..., xp.asarray(lines)] = source[..., xp.asarray(picked)]


def add_to_lines(kspace: Array, lines: np.ndarray, change: Array, sampled: np.ndarray) -> None:
    """Add a change (..., readout, line) to some lines of the k-space, in place, where they were acquired.

    Parameters
    ----------
    kspace : (..., readout, phase_encode), complex, C-contiguous
    lines : (line,), int
    change : (..., readout, line), complex
    sampled : (readout, phase_encode), bool
    """
    if not lines.size:
        return
    if isinstance(kspace, np.ndarray):
        coils, changes = (array.reshape(-1, *array.shape[-2:]) for array in (kspace, change))
        _add_to_lines(coils, changes, lines, sampled)
        return
    xp = array_module(kspace)
    columns, acquired = xp.asarray(lines), xp.asarray(sampled[:, lines])
    at_rest = kspace[..., columns]
    # where, not a sum with zero: minus zero would lose its sign
    kspace[..., columns] = xp.where(acquired, at_rest + change, at_rest)


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _weighted_sum(images, csm, image):
    for row in range(image.shape[0]):
        for coil in range(images.shape[0]):
            for i in range(image.shape[1] // 2):
                s_real, s_imaginary = csm[coil, row, 2 * i], csm[coil, row, 2 * i + 1]
                real, imaginary = images[coil, row, 2 * i], images[coil, row, 2 * i + 1]
                image[row, 2 * i] += s_real * real + s_imaginary * imaginary
                image[row, 2 * i + 1] += s_real * imaginary - s_imaginary * real


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _energy_of_misfit(lines, kspace, sampled):
    energy = 0.0
    for row in range(sampled.shape[0]):
        of_row = np.float32(0)
        for i in range(sampled.shape[1]):
            kept = np.float32(1) if sampled[row, i] else np.float32(0)
            real = kept * lines[row, 2 * i] - kspace[row, 2 * i]
            imaginary = kept * lines[row, 2 * i + 1] - kspace[row, 2 * i + 1]
            of_row += real**2 + imaginary**2
        energy += float(of_row)
    return energy


@numba.njit(nogil=True, cache=True)
def _set_lines(target, lines, source, picked):
    for row in range(target.shape[0]):
        for i in range(lines.size):
            target[row, lines[i]] = source[row, picked[i]]


@numba.njit(nogil=True, cache=True)
def _add_to_lines(kspace, change, lines, sampled):
    for coil in range(kspace.shape[0]):
        for row in range(kspace.shape[1]):
            for i in range(lines.size):
                if sampled[row, lines[i]]:
                    kspace[coil, row, lines[i]] += change[coil, row, i]


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _copy_acquired(kspace, sampled, copy):
    nothing = np.float32(0)
    for coil in range(kspace.shape[0]):
        for row in range(kspace.shape[1]):
            for i in range(kspace.shape[2]):
                kept = kspace[coil, row, i] if sampled[row, i] else np.float32(0)
                copy[coil, row, i] = kept
                nothing += kept * np.float32(0)  # NaN from the first NaN or Inf on
    return nothing


@numba.njit(nogil=True, cache=True, fastmath=True)
def _root_sum_of_squares(images, magnitude):
    n_coils, (n_rows, n_columns) = images.shape[0], magnitude.shape
    power = np.empty(n_columns)  # double: the square of 1e-20 is still a number
    for row in range(n_rows):
        power[:] = 0
        for coil in range(n_coils):
            for i in range(n_columns):
                real, imaginary = np.float64(images[coil, row, 2 * i]), np.float64(images[coil, row, 2 * i + 1])
                power[i] += real**2 + imaginary**2
        for i in range(n_columns):
            magnitude[row, i] = np.sqrt(power[i])


@numba.njit(nogil=True, cache=True)
def _line_energy(kspace, energy):
    for coil in range(kspace.shape[0]):
        for row in range(kspace.shape[1]):
            for i in range(energy.size):
                energy[i] += np.float64(kspace[coil, row, 2 * i]) ** 2 + np.float64(kspace[coil, row, 2 * i + 1]) ** 2


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _combine(images, csm, seen, image):
    n_coils, n_rows, width = images.shape
    n_columns = width // 2
    power = np.empty(n_columns, np.float32)
    energy = 0.0
    for row in range(n_rows):
        power[:] = 0
        image[row] = 0
        for coil in range(n_coils):
            for i in range(n_columns):
                s_real, s_imaginary = csm[coil, row, 2 * i], csm[coil, row, 2 * i + 1]
                real, imaginary = images[coil, row, 2 * i], images[coil, row, 2 * i + 1]
                power[i] += s_real**2 + s_imaginary**2
                image[row, 2 * i] += s_real * real + s_imaginary * imaginary
                image[row, 2 * i + 1] += s_real * imaginary - s_imaginary * real
        for i in range(n_columns):
            inverse = np.float32(1) / power[i] if seen[row, i] else np.float32(0)
            image[row, 2 * i] *= inverse
            image[row, 2 * i + 1] *= inverse
        for coil in range(n_coils):
            for i in range(n_columns):
                s_real, s_imaginary = csm[coil, row, 2 * i], csm[coil, row, 2 * i + 1]
                real, imaginary = image[row, 2 * i], image[row, 2 * i + 1]
                left_real = np.float64(images[coil, row, 2 * i] - (s_real * real - s_imaginary * imaginary))
                left_imaginary = np.float64(images[coil, row, 2 * i + 1] - (s_real * imaginary + s_imaginary * real))
                energy += left_real**2 + left_imaginary**2
    return energy
