"""End-to-end variational network: undersampled multi-coil k-space in, complete multi-coil k-space out.

A cascade is one step of gradient descent on || M (k - y) ||^2 / 2 + prior, its prior's gradient learnt:

    k <- k - step * M (k - y) - E G(R k),    R k = sum_c conj(S_c) F^-1 k_c,    E x = F (S x) = R^H x

with y the measured samples, M the mask, S the coil sensitivity maps and G a U-Net on the coil-combined image. The maps
come from a second U-Net on the images of the calibration lines, coil by coil, divided by their root sum of squares, so
that R E x = x where the maps are not zero.

Small: 8 cascades of width 12, 9,212,090 parameters; large: 12 cascades of width 18, 29,936,966 (sensitivity net: 8).

References
----------
Sriram et al., End-to-End Variational Networks for Accelerated MRI Reconstruction, 2020. arXiv:2004.06688
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diagnose.networks.initialisation import built
from diagnose.networks.unet import UNet, z_score
from diagnose.norms import NormLayer, plain_instance_norm
from diagnose.reconstruction.torch_fourier import centred_fft, centred_ifft, root_sum_of_squares

SIZES = {"varnet-small": (8, 12), "varnet-large": (12, 18)}
"""Cascades, and width of their U-Nets, of the two sizes of the third paper."""

SENSITIVITY_WIDTH = 8


def combine_coils(kspace: Tensor, csm: Tensor) -> Tensor:
    """Return R k: (slice, coil, readout, phase_encode) -> images (slice, readout, phase_encode)."""
    return (csm.conj() * centred_ifft(kspace)).sum(dim=1)


def expand_coils(images: Tensor, csm: Tensor) -> Tensor:
    """Return E x, the adjoint of `combine_coils`: images (slice, readout, phase_encode) -> k-space with a coil axis."""
    return centred_fft(csm * images[:, None])


def calibration_lines(mask: Tensor) -> Tensor:
    """Return which lines form the symmetric run of sampled lines about the centre N//2: (slice, phase_encode), bool.

    Raises
    ------
    ValueError
        If the lines N//2 - 1 and N//2 of a slice are not both sampled: there is nothing to calibrate with.
    """
    n_lines = mask.shape[-1]
    centre = n_lines // 2
    before = mask[:, :centre].flip(-1).int().cumprod(dim=-1).sum(dim=-1)
    after = mask[:, centre:].int().cumprod(dim=-1).sum(dim=-1)
    n_each_side = torch.minimum(before, after)
    if bool((n_each_side == 0).any()):
        raise ValueError(
            f"the mask leaves out line {centre - 1} or {centre} of {n_lines}; expected calibration lines at the centre"
        )
    distance = torch.arange(n_lines, device=mask.device)[None] - centre
    return (distance >= -n_each_side[:, None]) & (distance < n_each_side[:, None])


class ComplexUNet(nn.Module):
    """A U-Net on complex images: two channels, each z-scored over its image and scaled back behind the network."""

    def __init__(self, norm_layer: NormLayer, *, width: int, n_pools: int):
        super().__init__()
        self.multiple = 2**n_pools
        self.unet = UNet(norm_layer, width=width, n_pools=n_pools, n_input_channels=2, n_channels_out=2)

    def forward(self, images: Tensor) -> Tensor:
        """Map complex (image, rows, columns) to the same shape; zeros around it fill the sides up for the poolings."""
        rows, columns = images.shape[-2:]
        scaled, mean, std = z_score(torch.stack([images.real, images.imag], dim=1).flatten(2))
        top, left = -rows % self.multiple // 2, -columns % self.multiple // 2
        bottom, right = -rows % self.multiple - top, -columns % self.multiple - left
        padded = nn.functional.pad(scaled.unflatten(2, (rows, columns)), (left, right, top, bottom))
        mapped = self.unet(padded)[..., top : top + rows, left : left + columns]
        real, imag = (mapped.float() * std[..., None] + mean[..., None]).unbind(dim=1)
        return torch.complex(real, imag)


class SensitivityMaps(nn.Module):
    """Coil sensitivity maps from the calibration lines of the k-space that is reconstructed."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, kspace: Tensor, mask: Tensor) -> Tensor:
        """Return maps (slice, coil, readout, phase_encode), the squares of their moduli adding up to 1 over coils."""
        lines = calibration_lines(mask)[:, None, None, :]
        images = centred_ifft(torch.where(lines, kspace, 0))
        maps = self.network(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        return maps / root_sum_of_squares(maps)[:, None]


class Cascade(nn.Module):
    """One step: soft data consistency with a learnt step width, and a learnt gradient of the prior."""

    def __init__(self, prior_gradient: nn.Module):
        super().__init__()
        self.prior_gradient = prior_gradient
        self.step = nn.Parameter(torch.ones(1))

    def forward(self, kspace: Tensor, measured: Tensor, lines: Tensor, csm: Tensor) -> Tensor:
        """Return the next k-space; ``lines`` is the mask as (slice, 1, 1, phase_encode)."""
        misfit = torch.where(lines, kspace - measured, 0)
        gradient = expand_coils(self.prior_gradient(combine_coils(kspace, csm)), csm)
        return kspace - self.step * misfit - gradient


class VarNet(nn.Module):
    """Sensitivity maps, then cascades; build it with `varnet`."""

    def __init__(self, sensitivity: nn.Module, cascades: list[Cascade]):
        super().__init__()
        self.sensitivity = sensitivity
        self.cascades = nn.ModuleList(cascades)

    def forward(self, kspace: Tensor, mask: Tensor) -> Tensor:
        """Complete k-space.

        Parameters
        ----------
        kspace : complex64 Tensor
            Shape (slice, coil, readout, phase_encode); samples outside the mask are not read.
        mask : bool Tensor
            Shape (slice, phase_encode) or (phase_encode,): the lines that were measured.

        Returns
        -------
        complex64 Tensor
            Shape of the k-space; `diagnose.reconstruction.torch_fourier.rss_image` makes its image.

        Raises
        ------
        ValueError
            If the shapes do not fit, or the mask has no calibration lines.
        """
        if kspace.ndim != 4 or not kspace.is_complex():
            raise ValueError(
                f"kspace has shape {tuple(kspace.shape)} and dtype {kspace.dtype}; "
                "expected complex (slice, coil, readout, phase_encode)"
            )
        n_slices, n_lines = kspace.shape[0], kspace.shape[-1]
        if tuple(mask.shape) not in ((n_lines,), (n_slices, n_lines)) or mask.dtype != torch.bool:
            raise ValueError(
                f"mask has shape {tuple(mask.shape)} and dtype {mask.dtype}; "
                f"expected bool of ({n_lines},) or ({n_slices}, {n_lines}) for this k-space"
            )
        mask = mask.expand(n_slices, n_lines)
        lines = mask[:, None, None, :]
        measured = torch.where(lines, kspace, 0)
        csm = self.sensitivity(measured, mask)
        estimate = measured
        for cascade in self.cascades:
            estimate = cascade(estimate, measured, lines, csm)
        return estimate


def varnet(
    norm_layer: NormLayer = plain_instance_norm,
    *,
    seed: int,
    n_cascades: int = SIZES["varnet-small"][0],
    width: int = SIZES["varnet-small"][1],
    n_pools: int = 4,
    sensitivity_norm_layer: NormLayer | None = None,
) -> VarNet:
    """Build and initialise a variational network; the defaults are the third paper's smaller one.

    Parameters
    ----------
    norm_layer : Callable[[int], nn.Module]
        The published layer, or one of `diagnose.norms.norm_layer` made for ``width``.
    seed : int
        Weights depend on it and on the layer's name alone.
    n_cascades, width, n_pools : int
        Number of cascades, channels of the first level of their U-Nets, and poolings of all U-Nets.
    sensitivity_norm_layer : Callable[[int], nn.Module], optional
        Of the sensitivity network, made for `SENSITIVITY_WIDTH`; the same as ``norm_layer`` by default, which fails
        for a group norm whose groups do not divide that width.

    Raises
    ------
    ValueError
        If the seed is negative, or there is no cascade.
    """
    if n_cascades < 1:
        raise ValueError(f"n_cascades is {n_cascades}; expected 1 or more")

    def build() -> VarNet:
        sensitivity = ComplexUNet(sensitivity_norm_layer or norm_layer, width=SENSITIVITY_WIDTH, n_pools=n_pools)
        cascades = [Cascade(ComplexUNet(norm_layer, width=width, n_pools=n_pools)) for _ in range(n_cascades)]
        return VarNet(SensitivityMaps(sensitivity), cascades)

    return built(build, seed=seed, scheme="torch")
