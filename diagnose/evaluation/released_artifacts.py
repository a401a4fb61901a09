"""The five image-domain artifacts as the first paper's public code applies them, beside the true k-space kinds.

They act on the reconstructed magnitude image with one integer severity p, and are named `madaan-...` so that nobody
takes them for physics: `madaan-motion` is one rigid move without any ghost, `madaan-field` holds a random gain of
exp(U(-p, p)), the spike of `madaan-spike` has no partner and is as strong as the sum of all pixels times U(-p, p).
`--kind all` does not hold them; `--kind madaan` is all five.

Every function takes and returns float32 images (1, rows, columns), leaves its input as it is, and returns it unchanged
at p = 0. Draws are made in units of p: all severities share them.

Limits
------
The severities of the paper's figures are not public. `LEVELS` is ours but for `madaan-rice`, which takes five of the
values {2, 4, 5, 10, 15, 20, 25} % that the same laboratory's earlier study used, both ends among them.
`madaan-motion` counts its translation in pixels, as the code does: at fewer than its 320 pixels the same p moves more.
Pixels may become negative (real parts are taken, not moduli), as they do there.

References
----------
Madaan et al., normalization schemes under MR artifacts, MIDL 2023, PMLR 227:1726-1750; effect of its code with
TorchIO 0.18.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from scipy import ndimage

from mrisim.errors import ConfigError

LEVELS: dict[str, tuple[int, int, int, int, int]] = {
    "madaan-rice": (2, 5, 10, 15, 25),
    "madaan-motion": (1, 2, 3, 4, 5),
    "madaan-ghosting": (1, 2, 3, 4, 5),
    "madaan-spike": (1, 2, 3, 4, 5),
    "madaan-field": (1, 2, 3, 4, 5),
}
"""Severity p of the levels 1 to 5 of each kind; p = 0 at level 0."""
ALL_RELEASED = "madaan"
"""Name of all five together."""
TABLE_VERSION = "madaan-1"

DEGREES_PER_P, PIXELS_PER_P = 5.0, 2.0
GHOST_SPACING = 7
FIELD_ORDER = 3
FIELD_POWERS = tuple((i, j) for i in range(FIELD_ORDER + 1) for j in range(FIELD_ORDER + 1 - i))
"""(power of X, power of Y) of the ten terms, the constant first."""


def severity(kind: str, level: int) -> int:
    """Return p of a level from 0 to 5.

    Raises
    ------
    ConfigError
        If there is no such kind or level.
    """
    if kind not in LEVELS:
        raise ConfigError(f"kind is {kind!r}; expected one of {', '.join(LEVELS)}, or {ALL_RELEASED} for all")
    if not 0 <= level <= len(LEVELS[kind]):
        raise ConfigError(f"level is {level}; expected 0 to {len(LEVELS[kind])}")
    return LEVELS[kind][level - 1] if level else 0


def apply_released(image: np.ndarray, kind: str, p: int, *, rng: np.random.Generator) -> np.ndarray:
    """Put one artifact on one slice.

    Parameters
    ----------
    image : float array (1, rows, columns)
        Magnitudes.
    kind : str
        One of `LEVELS`.
    p : int
        Severity, 0 or more.
    rng : numpy.random.Generator

    Returns
    -------
    float32 array (1, rows, columns)

    Raises
    ------
    ConfigError
        If the kind does not exist, p is negative or no integer, or the image has another shape.
    """
    severity(kind, 0)
    if isinstance(p, bool) or not isinstance(p, int | np.integer) or p < 0:
        raise ConfigError(f"severity is {p!r}; expected an integer of 0 or more")
    if image.ndim != 3 or image.shape[0] != 1:
        raise ConfigError(f"image has shape {image.shape}; expected (1, rows, columns)")
    if p == 0:
        return np.array(image, np.float32)
    return _DRAWN[kind](image, int(p), rng)


def add_rice(image: np.ndarray, p: float, noise: np.ndarray) -> np.ndarray:
    """Return the modulus after complex noise of standard deviation s = p / 100 * max(image) in each part.

    `noise` (2, rows, columns) is standard normal; the expected square is image^2 + 2 s^2.
    """
    s = p / 100 * float(image.max())
    return np.hypot(image + s * noise[0], s * noise[1]).astype(np.float32)


def move(image: np.ndarray, rotation_deg: float, translation_px: tuple[float, float]) -> np.ndarray:
    """Return the image under one rigid move: the pixel at x shows what was at R (x - c) + c + t.

    R turns rows towards columns by `rotation_deg` about the centre c, t is (rows, columns); interpolation is linear,
    and what lies outside is the image's minimum. The k-space of the two poses is never mixed: for a single slice the
    released code mixes along an axis of length 1.
    """
    rows, columns = image.shape[1:]
    centre = (np.array([rows, columns]) - 1)[:, None, None] / 2
    y, x = np.indices((rows, columns)) - centre
    cosine, sine = np.cos(np.deg2rad(rotation_deg)), np.sin(np.deg2rad(rotation_deg))
    source = np.stack([cosine * y - sine * x, sine * y + cosine * x]) + centre
    source += np.array(translation_px)[:, None, None]
    return ndimage.map_coordinates(
        image[0].astype(np.float64), source, order=1, mode="constant", cval=float(image.min())
    )[None].astype(np.float32)  # fmt: skip


def ghost(image: np.ndarray, p: float, axis: int) -> np.ndarray:
    """Return the real part after every 7th k-space line, from index 0, is multiplied by 1 - p.

    The spectrum is fftshift(fftn(image)); lines are counted along `axis` (0 rows, 1 columns), and the centre line stays
    as it was. p = 1 removes the lines, p = 2 turns their sign, more amplifies them.
    """
    spectrum = _spectrum(image)
    lines = np.moveaxis(spectrum, axis, 0)
    centre = lines[len(lines) // 2].copy()
    lines[::GHOST_SPACING] *= 1 - p
    lines[len(lines) // 2] = centre
    return _real_image(spectrum)


def spike(image: np.ndarray, strength: float, position: tuple[int, int]) -> np.ndarray:
    """Return the real part after `strength` times the spectrum's maximum is added at one k-space position.

    The maximum is NumPy's for complex numbers, the largest real part: of magnitudes, the centre, the sum of the image.
    """
    spectrum = _spectrum(image)
    spectrum[position] += strength * spectrum.max()
    return _real_image(spectrum)


def multiply_field(image: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Return the image times exp(sum c_ij X^i Y^j) with i + j <= 3; X and Y run from -1 to 1 along rows and columns.

    `coefficients` (10,) go with `FIELD_POWERS`. The constant is one of them: also a random gain.
    """
    x, y = (np.linspace(-1, 1, n) for n in image.shape[1:])
    exponent = sum(c * np.outer(x**i, y**j) for c, (i, j) in zip(coefficients, FIELD_POWERS, strict=True))
    return (image * np.exp(exponent)).astype(np.float32)


def _drawn_rice(image: np.ndarray, p: int, rng: np.random.Generator) -> np.ndarray:
    return add_rice(image, p, rng.standard_normal((2, *image.shape[1:])))


def _drawn_move(image: np.ndarray, p: int, rng: np.random.Generator) -> np.ndarray:
    turn, *shift = rng.uniform(-1, 1, size=3).tolist()
    return move(image, DEGREES_PER_P * p * turn, (PIXELS_PER_P * p * shift[0], PIXELS_PER_P * p * shift[1]))


def _drawn_ghost(image: np.ndarray, p: int, rng: np.random.Generator) -> np.ndarray:
    return ghost(image, p, int(rng.integers(2)))


def _drawn_spike(image: np.ndarray, p: int, rng: np.random.Generator) -> np.ndarray:
    row, column = (int(rng.integers(n)) for n in image.shape[1:])
    return spike(image, p * rng.uniform(-1, 1), (row, column))


def _drawn_field(image: np.ndarray, p: int, rng: np.random.Generator) -> np.ndarray:
    return multiply_field(image, p * rng.uniform(-1, 1, size=len(FIELD_POWERS)))


_DRAWN: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "madaan-rice": _drawn_rice,
    "madaan-motion": _drawn_move,
    "madaan-ghosting": _drawn_ghost,
    "madaan-spike": _drawn_spike,
    "madaan-field": _drawn_field,
}


def _spectrum(image: np.ndarray) -> np.ndarray:
    return np.fft.fftshift(np.fft.fftn(image[0].astype(np.float64)))


def _real_image(spectrum: np.ndarray) -> np.ndarray:
    return np.fft.ifftn(np.fft.ifftshift(spectrum)).real[None].astype(np.float32)


def released_table_version() -> str:
    """Return version and hash of `LEVELS`: what a prediction table states where the simulator's levels do not apply."""
    return f"{TABLE_VERSION}-{hashlib.sha256(json.dumps(LEVELS, sort_keys=True).encode()).hexdigest()[:8]}"


@cache
def released_code_hash() -> str:
    """Hash this file: kept images must not outlive a correction of it."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
