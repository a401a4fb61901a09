"""Hypothesis strategies and operator laws for those who test k-space code: ours, and yours.

Hypothesis is imported here, so this module needs the test extra: ``pip install "mrisim-diagnose[test]"``. Nothing else
in the package imports it.

    from hypothesis import given
    from mrisim.testing import artifacts, assert_adjoint, scans

    @given(scan=scans(), spec=artifacts())
    def test_my_reconstruction_survives(scan, spec): ...

The shapes are awkward on purpose: odd and even, never square, one coil and one slice among them, and a number of coils
that differs from every other axis longer than one, so that a swapped axis cannot pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
from numpy.typing import DTypeLike

from mrisim.artifacts import KINDS, ArtifactSpec
from mrisim.scan import Acquisition, ObjectModel, Scan

COMPLEX_TYPES: tuple[DTypeLike, ...] = (np.complex64, np.complex128)
SCALES = (1e-6, 1.0, 1e3)
"""Measured k-space comes in any unit; fastMRI's magnitudes are about 1e-4."""
MAX_LINES = 21
"""Longest image axis drawn: long enough for an echo train and for calibration lines, short enough for dense sums."""

_VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "noise": ({}, {"coil_correlation": 0.0}, {"coil_correlation": 0.4}),
    "motion": (
        {},
        {"trajectory": "sudden", "ordering": "sequential"},
        {"trajectory": "drift", "ordering": "centric"},
        {"trajectory": "periodic", "ordering": "interleaved", "frequency_hz": 0.21},
        {"recenter": False},
        {"rotation_weight": 0.0},
    ),
    "ghosting": (
        {},
        {"delay_us": 3.0},
        {"mode": "pulsation", "modulated": "gain"},
        {"mode": "pulsation", "modulated": "phase", "ordering": "tse"},
    ),
    "spikes": ({}, {"n_spikes": 1}),
    "undersampling": ({}, {"pattern": "equispaced"}, {"pattern": "variable-density"}, {"acs_fraction": 0.0}),
    "bias-field": ({},),
}
"""Parameter sets beside the level, by kind; a kind that is not listed is drawn with its defaults."""


def tolerance(dtype: DTypeLike, n_operations: int = 1) -> float:
    """Return the relative error that a few Fourier transforms and products in this precision may leave."""
    return 30 * n_operations * float(np.finfo(dtype).eps)


def relative_difference(got: np.ndarray, expected: np.ndarray) -> float:
    """Return ||got - expected|| / ||expected||; where nothing is expected, ||got||."""
    assert got.shape == expected.shape, f"shape is {got.shape}; expected {expected.shape}"
    scale = float(np.linalg.norm(expected))
    return float(np.linalg.norm(got - expected)) / (scale or 1.0)


def dft_matrix(n: int) -> np.ndarray:
    """Return the centred orthonormal DFT of length n as a plain matrix (frequency, position), double precision.

    Both indices are signed: position r and frequency k run from -(n // 2), so that 0 stands at index n // 2.
    """
    signed = np.arange(n) - n // 2
    return np.exp(-2j * np.pi * np.outer(signed, signed) / n) / np.sqrt(n)


def encoded(image: np.ndarray, csm: np.ndarray) -> np.ndarray:
    """Return the k-space F S x of an image in its coils by plain sums, double precision.

    Parameters
    ----------
    image : (slice, readout, phase_encode)
    csm : (slice, coil, readout, phase_encode)
    """
    rows, columns = (dft_matrix(n) for n in image.shape[-2:])
    return rows @ (csm * image[:, None]) @ columns.T


def modelled_scan(
    image: np.ndarray,
    csm: np.ndarray,
    *,
    dtype: DTypeLike = np.complex64,
    noise: np.ndarray | None = None,
    sampled: np.ndarray | None = None,
    **acquisition: Any,
) -> Scan:
    """Return the scan y = P (F S x + n) that carries x and S as its exact object model.

    Parameters
    ----------
    image : (slice, readout, phase_encode)
    csm : (slice, coil, readout, phase_encode)
    dtype : complex dtype
    noise : (slice, coil, readout, phase_encode), optional
        n, which no object explains.
    sampled : (readout, phase_encode), bool, optional
    **acquisition
        Fields of the `Acquisition`; the default field of view has pixels of 1 mm.
    """
    kspace = encoded(image, csm) if noise is None else encoded(image, csm) + noise
    if sampled is None:
        sampled = np.ones(image.shape[-2:], bool)
    image, csm = image.astype(dtype), csm.astype(dtype)
    return Scan(
        kspace=np.where(sampled, kspace, 0).astype(dtype),
        acquisition=Acquisition(**{"fov_mm": tuple(map(float, image.shape[-2:])), **acquisition}),
        sampled=sampled,
        csm=csm,
        object_model=ObjectModel(image, csm, (0.0,) * len(image), "true", False),
    )


@st.composite
def complex_arrays(
    draw: st.DrawFn,
    shape: Sequence[int] | st.SearchStrategy[tuple[int, ...]],
    *,
    dtypes: Sequence[DTypeLike] = COMPLEX_TYPES,
    scales: Sequence[float] = SCALES,
) -> np.ndarray:
    """Draw a complex array: Gaussian, one impulse, a constant, purely real, or half empty, at any scale.

    Parameters
    ----------
    shape : sequence of int, or a strategy of them
    dtypes : sequence of complex dtypes
    scales : sequence of float
        What the values are multiplied by.
    """
    size = tuple(draw(shape) if isinstance(shape, st.SearchStrategy) else shape)
    dtype, scale = draw(st.sampled_from(dtypes)), draw(st.sampled_from(scales))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.normal(size=size) + 1j * rng.normal(size=size)
    content = draw(st.sampled_from(["gaussian", "impulse", "constant", "real", "half empty"]))
    if content == "impulse":
        impulse = np.zeros(size, complex)
        index = tuple(rng.integers(0, n) for n in size)
        impulse[index] = values[index]
        values = impulse
    elif content == "constant":
        values = np.full(size, values.flat[0])
    elif content == "real":
        values = values.real + 0j
    elif content == "half empty":
        values = np.where(rng.random(size) < 0.5, values, 0)
    return (scale * values).astype(dtype)


@st.composite
def image_shapes(draw: st.DrawFn, *, min_side: int = 5, max_side: int = MAX_LINES) -> tuple[int, int]:
    """Draw (readout, phase_encode): odd or even, never square."""
    readout = draw(st.integers(min_side, max_side))
    return readout, draw(st.integers(min_side, max_side).filter(lambda n: n != readout))


@st.composite
def scans(
    draw: st.DrawFn,
    *,
    max_slices: int = 3,
    max_coils: int = 4,
    dtypes: Sequence[DTypeLike] = COMPLEX_TYPES,
    scales: Sequence[float] = SCALES,
    sampling: Sequence[str] = ("full", "padded", "masked lines", "padded and masked"),
    measured_noise: bool = True,
) -> Scan:
    """Draw a small scan y = P F S x + n of a smooth random object in smooth random coils.

    Its `csm` are the true maps, and its `object_model` is the exact decomposition, so that every kind can be applied as
    it is. Unacquired samples are zero. Timing, field of view and echo train are drawn as well.

    Parameters
    ----------
    max_slices, max_coils : int
        One slice and one coil are always among the draws. `max_coils` is at most 4.
    dtypes, scales : sequence
        Precision and unit of the k-space.
    sampling : sequence of str
        From "full", "padded" (empty columns on either side), "masked lines", "padded and masked".
    measured_noise : bool
        Whether noise that no object model explains may be in the k-space.
    """
    n_coils = draw(st.integers(1, max_coils))
    n_slices = draw(st.integers(1, max_slices).filter(lambda n: n == 1 or n != n_coils))
    matrix = draw(image_shapes())
    dtype, scale = np.dtype(draw(st.sampled_from(dtypes))), draw(st.sampled_from(scales))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image = scale * np.stack([_smooth_object(matrix, rng) for _ in range(n_slices)])
    csm = np.stack([_smooth_maps(n_coils, matrix, rng) for _ in range(n_slices)])
    noise = np.zeros((n_slices, n_coils, *matrix), complex)
    if measured_noise and draw(st.booleans()):
        noise = rng.normal(size=noise.shape) + 1j * rng.normal(size=noise.shape)
        noise *= 0.02 * np.sqrt(np.mean(np.abs(encoded(image, csm)) ** 2))
    scan = modelled_scan(
        image,
        csm,
        dtype=dtype,
        noise=noise,
        sampled=_sampled(draw(st.sampled_from(sampling)), matrix, rng),
        fov_mm=(draw(st.sampled_from([180.0, 256.0])), draw(st.sampled_from([180.0, 220.0]))),
        repetition_time_ms=draw(st.sampled_from([310.0, 2800.0])),
        echo_train_length=draw(st.sampled_from([1, 3, 8])),
    )
    if not draw(st.booleans()):
        return scan
    factor = np.eye(n_coils) + 0.3 * (rng.normal(size=(n_coils, n_coils)) + 1j * rng.normal(size=(n_coils, n_coils)))
    return replace(scan, noise_covariance=factor @ factor.conj().T)


@st.composite
def artifacts(
    draw: st.DrawFn,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    levels: Sequence[int] = (1, 2, 3, 4, 5),
    n_coils: int = 8,
) -> ArtifactSpec:
    """Draw the spec of any kind at any of the levels, in any of the kind's modes that 2-D data allow."""
    kind = draw(st.sampled_from(list(kinds)))
    parameters = draw(st.sampled_from(_VARIANTS.get(kind, ({},))))
    return KINDS[kind].at_level(draw(st.sampled_from(list(levels))), n_coils=n_coils, **parameters)


def scaled(scan: Scan, factor: complex) -> Scan:
    """Return the scan in another unit: k-space and object model times a factor."""
    model = scan.object_model
    if model is not None:
        model = replace(model, image=_times(model.image, factor))
    return replace(scan, kspace=_times(scan.kspace, factor), object_model=model)


def assert_linear(
    operator: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    *,
    a: complex = 0.7 - 1.3j,
    b: complex = -2.1 + 0.4j,
) -> None:
    """Assert A(a x + b y) = a A x + b A y."""
    together = operator((a * x + b * y).astype(x.dtype))
    apart = a * operator(x) + b * operator(y)
    assert together.shape == apart.shape, f"shape is {together.shape}; expected {apart.shape}"
    size = abs(a) * np.linalg.norm(operator(x)) + abs(b) * np.linalg.norm(operator(y))
    error = np.linalg.norm(together - apart)
    assert error <= tolerance(x.dtype) * size, f"not linear: relative error {error / size:.2e}"


def assert_adjoint(
    operator: Callable[[np.ndarray], np.ndarray],
    adjoint: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
) -> None:
    """Assert <A x, y> = <x, A^H y>; the shapes first, because a product of flattened arrays cannot see a wrong one."""
    forward, backward = operator(x), adjoint(y)
    assert forward.shape == y.shape, f"operator gives shape {forward.shape}; expected {y.shape}"
    assert backward.shape == x.shape, f"adjoint gives shape {backward.shape}; expected {x.shape}"
    left = np.vdot(y.astype(complex), forward.astype(complex))
    right = np.vdot(backward.astype(complex), x.astype(complex))
    size = np.linalg.norm(forward) * np.linalg.norm(y) + np.linalg.norm(x) * np.linalg.norm(backward)
    assert abs(left - right) <= tolerance(x.dtype) * size, f"not adjoint: {left} and {right}"


def assert_isometric(operator: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> None:
    """Assert ||A x|| = ||x||."""
    before, after = float(np.linalg.norm(x)), float(np.linalg.norm(operator(x)))
    assert abs(after - before) <= tolerance(x.dtype) * before, f"norm is {after}; expected {before}"


def _times(array: np.ndarray, factor: complex) -> np.ndarray:
    return (array * np.asarray(factor, array.dtype)).astype(array.dtype)


def _smooth_object(matrix: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return an ellipse with texture and a slow phase: a foreground, and air around it."""
    rows, columns = _coordinates(matrix)
    inside = (rows / 0.75) ** 2 + (columns / 0.7) ** 2 < 1
    texture = 1 + 0.3 * rng.normal(size=matrix)
    phase = rng.normal() + rng.normal() * rows + rng.normal() * columns
    return np.where(inside, texture * np.exp(1j * phase), 0)


def _smooth_maps(n_coils: int, matrix: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    rows, columns = _coordinates(matrix)
    maps = np.empty((n_coils, *matrix), complex)
    for coil in range(n_coils):
        row, column = rng.uniform(-1, 1, 2)
        magnitude = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 2)
        maps[coil] = magnitude * np.exp(1j * (rng.uniform(0, 2 * np.pi) + rng.normal() * rows + rng.normal() * columns))
    return maps


def _coordinates(matrix: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = (2 * (np.arange(n) - n // 2) / n for n in matrix)
    return rows[:, None], columns[None, :]


def _sampled(pattern: str, matrix: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    n_lines = matrix[1]
    lines = np.ones(n_lines, bool)
    if "padded" in pattern:
        before, after = rng.integers(0, max(1, n_lines // 5), 2)
        lines[:before] = False
        lines[n_lines - after - 1 :] = False
    if "masked" in pattern:
        lines &= rng.random(n_lines) < 0.7
    centre = n_lines // 2
    lines[centre - 1 : centre + 2] = True
    return np.broadcast_to(lines, matrix).copy()


def encoding_problem(
    shape: tuple[int, int, int], kind: str, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return random maps, a mask, an image and k-space: (coil, readout, line), the mask of "lines" or of "samples"."""
    rng = np.random.default_rng(seed)

    def draw(size: tuple[int, ...]) -> np.ndarray:
        return (rng.normal(size=size) + 1j * rng.normal(size=size)).astype(np.complex64)

    keep = rng.random(shape[2] if kind == "lines" else shape[1:]) < 0.6
    return draw(shape), np.broadcast_to(keep, shape[1:]).copy(), draw(shape[1:]), draw(shape)
