"""Structural similarity as fastMRI defines it, as a loss with a gradient and as a number a slice.

Uniform window of 7 x 7, unbiased variances, k1 = 0.01, k2 = 0.03, windows wholly inside the image, data range = the
maximum of the target *volume*. `mrisim.quality.ssim` is the same number averaged over a volume; both agree with
scikit-image to 1e-6.

References
----------
Wang et al. 2004, 10.1109/TIP.2003.819861; Zbontar et al. 2018, arXiv:1811.08839.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mrisim.errors import DataError

WINDOW, K1, K2 = 7, 0.01, 0.03


def ssim_of_slices(images: Tensor, targets: Tensor, data_range: Tensor) -> Tensor:
    """Return the structural similarity of each slice, differentiable in the images.

    Parameters
    ----------
    images, targets : Tensor
        Shape (slice, rows, columns).
    data_range : Tensor
        Shape (slice,): maximum of the volume that each slice is from.

    Returns
    -------
    Tensor
        Shape (slice,), float64: means of squares and squares of means are subtracted, which costs single precision
        three digits.

    Raises
    ------
    ValueError
        If shapes differ, or an image is smaller than the window.
    """
    if images.shape != targets.shape or images.ndim != 3:
        raise ValueError(
            f"images are {tuple(images.shape)} and targets {tuple(targets.shape)}; expected one (slice, rows, columns)"
        )
    if min(images.shape[1:]) < WINDOW:
        raise ValueError(f"images are {tuple(images.shape[1:])}; expected sides of at least the window, {WINDOW}")
    if data_range.shape != images.shape[:1]:
        raise ValueError(f"data_range has shape {tuple(data_range.shape)}; expected ({images.shape[0]},)")
    # the similarity does not change when both are divided by one number, and nothing then depends on the scale
    scale = data_range.double()[:, None, None]
    x, y = images.double() / scale, targets.double() / scale
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    variances = unbiased * (_window_mean(x * x) - mean_x**2 + _window_mean(y * y) - mean_y**2)
    covariance = unbiased * (_window_mean(x * y) - mean_x * mean_y)
    luminance = (2 * mean_x * mean_y + K1**2) / (mean_x**2 + mean_y**2 + K1**2)
    structure = (2 * covariance + K2**2) / (variances + K2**2)
    return (luminance * structure).mean(dim=(-2, -1))


def _window_mean(images: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(images[:, None], WINDOW, stride=1)[:, 0]


def ssim_loss(images: Tensor, targets: Tensor, data_range: Tensor) -> Tensor:
    """Return 1 - structural similarity, averaged over slices: a scalar in the images' precision.

    Parameters and errors as `ssim_of_slices`. The similarity falls short of 1 by a square near the target, so the
    gradient there vanishes.
    """
    return (1 - ssim_of_slices(images, targets, data_range)).mean().to(images.dtype)


def volume_ssim(images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the structural similarity of each slice of one volume, as a result table wants it.

    Parameters
    ----------
    images, targets : (slice, rows, columns)
        A whole volume, because the data range is the maximum of the target.

    Returns
    -------
    float64 array (slice,)

    Raises
    ------
    DataError
        If the shapes differ, an image is smaller than the window, or the target holds no signal.
    """
    peak = float(np.max(targets))
    if not (np.isfinite(peak) and peak > 0):
        raise DataError(f"the target's maximum is {peak}; expected a magnitude image with signal")
    x, y = (torch.from_numpy(np.array(part, np.float64)) for part in (images, targets))
    try:
        return ssim_of_slices(x, y, torch.full((len(y),), peak, dtype=torch.float64)).numpy()
    except ValueError as error:
        raise DataError(str(error)) from None
