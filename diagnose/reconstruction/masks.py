"""Which k-space lines a reconstruction is given: the third paper's masks, made by the simulator's own undersampling.

Equispaced lines, every R-th from a random offset, and a share of calibration lines at the centre that shrinks with R:
0.16, 0.12, 0.08, 0.04, 0.02 of the lines at R = 2, 3, 4, 8, 16. Calibration lines come on top, so at R = 4 a share of
0.25 + 0.75 * 0.08 = 0.31 is kept, a true acceleration of 3.2. Random lines: 1 / R in all, calibration lines among them.

Of an even number of calibration lines, N//2 - n/2 is the first; fastMRI's own block is one line higher where N is odd.

A mask of a test volume follows from its file's name; a mask of training from epoch, file and slice. No other state.

References
----------
Zbontar et al. 2018, arXiv:1811.08839; Lin and Heckel, ICML 2024, PMLR 235:30018-30041, arXiv:2312.10271.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from mrisim.artifacts.undersampling import EQUISPACED_ACS_FRACTION, Undersampling
from mrisim.errors import ConfigError, DataError
from mrisim.scan import Acquisition, Scan
from mrisim.seeding import stream

MaskPattern = Literal["equispaced", "random"]


def draw_mask(
    sampled_lines: np.ndarray, acceleration: int, pattern: MaskPattern = "equispaced", *, rng: np.random.Generator
) -> np.ndarray:
    """Return which lines are kept.

    Parameters
    ----------
    sampled_lines : bool array (phase_encode,)
        Lines that the scanner acquired: padding is neither kept nor counted.
    acceleration : int
        One of the table: 2, 3, 4, 8, 16.
    pattern : str
    rng : numpy Generator

    Returns
    -------
    bool array (phase_encode,)

    Raises
    ------
    ConfigError
        If the acceleration is not in the table, or the pattern is unknown.
    DataError
        If ``sampled_lines`` is no line mask, or leaves out the centre.
    """
    if acceleration not in EQUISPACED_ACS_FRACTION:
        known = ", ".join(map(str, EQUISPACED_ACS_FRACTION))
        raise ConfigError(f"acceleration is {acceleration}; expected one of {known}, whose calibration share is known")
    if pattern not in ("equispaced", "random"):
        raise ConfigError(f"pattern is {pattern!r}; expected equispaced or random")
    lines = np.asarray(sampled_lines)
    if lines.ndim != 1 or lines.dtype != bool or not lines.any():
        raise DataError(
            f"sampled_lines is {lines.dtype} of shape {lines.shape}; expected bool (phase_encode,), some of them True"
        )
    if not lines[len(lines) // 2]:
        raise DataError(f"line {len(lines) // 2} of {len(lines)} was not acquired; expected k-space with its centre")
    # the artifact reads no more of a scan than its grid of acquired samples: one readout row of it is enough
    grid = Scan(
        np.zeros((1, 1, 1, len(lines)), np.complex64), Acquisition(fov_mm=(1.0, 1.0)), sampled=lines[None].copy()
    )
    spec = Undersampling(acceleration=acceleration, pattern=pattern, acs_fraction=EQUISPACED_ACS_FRACTION[acceleration])
    return spec.sampled_after(grid, spec.draw(grid, rng=rng))[0]


def volume_mask_stream(file: str, *, seed: int = 0) -> np.random.Generator:
    """Return the generator of a test volume's one mask: a function of the file's name without folder, and the seed."""
    return stream(seed, "reconstruction mask", _stem(file))


def training_mask_stream(file: str, slice_index: int, epoch: int, *, seed: int = 0) -> np.random.Generator:
    """Return the generator of a training slice's mask, a new one in every epoch."""
    return stream(seed, "training mask", _stem(file), slice_index, epoch)


def _stem(file: str) -> str:
    return file.rsplit("/", 1)[-1].removesuffix(".h5")
