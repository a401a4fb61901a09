"""The project's Fourier pair on torch tensors, so that gradients pass: centred, orthonormal, DC at index N//2.

The same operators as `mrisim.fourier`, on the last two axes (readout, phase_encode); a test holds them together.
"""

from __future__ import annotations

import torch
from torch import Tensor

AXES = (-2, -1)
POWER_FLOOR = 1e-30
"""Smallest power that has a root here: the slope of the root at zero is infinite, and raw magnitudes are about 1e-4."""


def centred_fft(image: Tensor) -> Tensor:
    """Transform images (..., readout, phase_encode) to k-space."""
    return torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(image, AXES), dim=AXES, norm="ortho"), AXES)


def centred_ifft(kspace: Tensor) -> Tensor:
    """Transform k-space to images: the inverse, and the adjoint, of `centred_fft`."""
    return torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(kspace, AXES), dim=AXES, norm="ortho"), AXES)


def rss_image(kspace: Tensor) -> Tensor:
    """Return the root sum of squares over coils: (slice, coil, readout, phase_encode) loses its coil axis.

    Where nothing is, the image is 1e-15 in place of 0, and its gradient 0 in place of infinite.
    """
    return root_sum_of_squares(centred_ifft(kspace))


def root_sum_of_squares(coil_images: Tensor) -> Tensor:
    """Return the root over the squares of complex images (..., coil, readout, phase_encode), floored as `rss_image`."""
    power = (coil_images.real.square() + coil_images.imag.square()).sum(dim=-3)
    return power.clamp_min(POWER_FLOOR).sqrt()


def crop_centred(images: Tensor, shape: tuple[int, int]) -> Tensor:
    """Cut (..., rows, columns) to a shape about the centre pixel N//2, which stays the centre pixel.

    Raises
    ------
    ValueError
        If the shape is larger than the image.
    """
    rows, columns = images.shape[-2:]
    if shape[0] > rows or shape[1] > columns or min(shape) < 1:
        raise ValueError(f"the crop is {shape}; expected at most the image, {(rows, columns)}")
    top, left = rows // 2 - shape[0] // 2, columns // 2 - shape[1] // 2
    return images[..., top : top + shape[0], left : left + shape[1]]
