"""The classical baseline: l1-wavelet least squares by SigPy's algebra, its regularisation tuned for each distribution.

Coil maps are estimated from the calibration lines of the mask, as a scanner would; a file's own maps are not used.

References
----------
Lustig et al. 2007, 10.1002/mrm.21391.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from diagnose.reconstruction.paired_volumes import PairedVolume
from diagnose.reconstruction.quality_table import ZERO_FILLED
from diagnose.reconstruction.ssim import volume_ssim

METHOD = "l1-wavelet"
METHODS = (ZERO_FILLED, METHOD)
"""Names in tables of image quality that no run may have."""
GRID = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Regularisations that are tried, for data scaled so that the zero-filled image is about 1."""
N_ITERATIONS = 40


@dataclass(frozen=True)
class Tuning:
    """The regularisation that is best on validation, and what the others gave."""

    regularisation: float
    ssim: dict[float, float]
    """Regularisation -> mean SSIM of the validation volumes."""


def l1_wavelet(paired: PairedVolume, mask: np.ndarray, regularisations: Sequence[float]) -> list[np.ndarray]:
    """Reconstruct a volume with each regularisation, from the lines of a mask.

    Parameters
    ----------
    paired : PairedVolume
    mask : bool array (phase_encode,)
    regularisations : sequence of float

    Returns
    -------
    list of float32 arrays (slice, rows, columns)
        Of the target's shape, in the intensity of the root sum of squares.

    Raises
    ------
    DataError
        If the file cannot be read, or the calibration lines give no maps.
    """
    from mrisim.calibration import estimate_csm
    from mrisim.formats.fastmri import read
    from mrisim.fourier import resize_centred
    from mrisim.reconstruct import reconstruct

    scan = read(paired.volume.path)
    sampled = scan.sampled & mask
    scan = replace(scan, kspace=np.where(sampled, scan.kspace, 0), sampled=sampled, csm=None)
    csm = estimate_csm(scan)
    images = [
        reconstruct(scan, METHOD, csm=csm, regularisation=value, n_iterations=N_ITERATIONS).magnitude
        for value in regularisations
    ]
    return [resize_centred(image, paired.target_shape) for image in images]


def tune(
    volumes: Sequence[PairedVolume],
    mask_of: Callable[[PairedVolume], np.ndarray],
    target_of: Callable[[PairedVolume], np.ndarray],
    grid: Sequence[float] = GRID,
) -> Tuning:
    """Choose the regularisation of a distribution on its validation volumes, by mean SSIM."""
    scores = np.array(
        [
            [volume_ssim(image, target_of(paired)).mean() for image in l1_wavelet(paired, mask_of(paired), grid)]
            for paired in volumes
        ]
    ).mean(axis=0)
    return Tuning(grid[int(np.argmax(scores))], dict(zip(grid, scores.tolist(), strict=True)))
