"""How close a reconstructed volume is to its target: SSIM, PSNR, NRMSE, with or without matched intensities."""

from __future__ import annotations

import numpy as np

from diagnose.reconstruction.ssim import volume_ssim
from mrisim.errors import DataError
from mrisim.quality import nrmse, psnr

METRICS = ("ssim", "psnr_db", "nrmse")


def reconstruction_quality(images: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return the three metrics of one volume, their peak and data range the maximum of the target volume.

    Parameters
    ----------
    images, targets : (slice, rows, columns)
        Magnitudes.

    Returns
    -------
    dict
        ``ssim`` (mean over slices), ``psnr_db`` and ``nrmse`` (over all pixels of the volume; no gain is fitted).

    Raises
    ------
    DataError
        If shapes differ or pixels are not finite, or as `diagnose.reconstruction.ssim.volume_ssim`.
    """
    _check(images, targets)
    return {
        "ssim": float(volume_ssim(images, targets).mean()),
        "psnr_db": psnr(images, targets),
        "nrmse": nrmse(images, targets),
    }


def with_intensities_of(images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return each slice scaled and shifted to its target's mean and standard deviation, float32.

    The third paper does this before it measures on foreign distributions: a gain or an offset of the output is then no
    error. It uses the target, so it is a diagnosis of the error and not a reconstruction; say so beside the numbers.

    Parameters
    ----------
    images, targets : (slice, rows, columns)

    Raises
    ------
    DataError
        If shapes differ or pixels are not finite, or a slice of the images has no contrast.
    """
    _check(images, targets)
    images, targets = (np.asarray(part, np.float64) for part in (images, targets))
    axes = (-2, -1)
    spread = images.std(axis=axes, keepdims=True)
    if not (spread > 0).all():
        empty = int(np.flatnonzero(spread.ravel() == 0)[0])
        raise DataError(f"slice {empty} of the image has no contrast; expected some, to match that of the target")
    centred = (images - images.mean(axis=axes, keepdims=True)) / spread
    matched = centred * targets.std(axis=axes, keepdims=True) + targets.mean(axis=axes, keepdims=True)
    return matched.astype(np.float32)


def _check(images: np.ndarray, targets: np.ndarray) -> None:
    if images.shape != targets.shape or images.ndim != 3:
        raise DataError(f"the image is {images.shape} and its target {targets.shape}; expected one shape for both")
    if not (np.isfinite(images).all() and np.isfinite(targets).all()):
        raise DataError("the image or its target holds NaN or Inf; expected finite pixels")
