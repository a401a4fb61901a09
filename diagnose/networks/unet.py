"""U-Net on images, as in fastMRI's baseline and the third paper, and that paper's scaling around a network.

Four poolings; xsmall, small and large differ in the width alone: 10, 32 and 128 channels, which is 757,501, 7,756,097
and 124,093,697 parameters with the published norm layer (instance norm without parameters).

References
----------
Ronneberger et al., U-Net, 2015. arXiv:1505.04597; Zbontar et al. 2018, arXiv:1811.08839; Lin and Heckel, ICML 2024,
PMLR 235:30018-30041, arXiv:2312.10271.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diagnose.networks.initialisation import built
from diagnose.norms import NormLayer, plain_instance_norm

WIDTHS = {"unet-xsmall": 10, "unet-small": 32, "unet-large": 128}
"""Channels of the first level of the three sizes of the third paper."""

SLOPE = 0.2
VARIANCE_FLOOR = 1e-30
"""Below any image's: a raw fastMRI magnitude is about 1e-4. It keeps an empty slice from becoming 0 / 0."""


class ConvBlock(nn.Sequential):
    """Two 3 x 3 convolutions without bias, each followed by norm and leaky ReLU."""

    def __init__(self, n_input: int, n_output: int, norm_layer: NormLayer):
        super().__init__(
            nn.Conv2d(n_input, n_output, 3, padding=1, bias=False), norm_layer(n_output), nn.LeakyReLU(SLOPE),
            nn.Conv2d(n_output, n_output, 3, padding=1, bias=False), norm_layer(n_output), nn.LeakyReLU(SLOPE),
        )  # fmt: skip


class UpBlock(nn.Sequential):
    """A transposed convolution that doubles the sides, followed by norm and leaky ReLU."""

    def __init__(self, n_input: int, n_output: int, norm_layer: NormLayer):
        super().__init__(
            nn.ConvTranspose2d(n_input, n_output, 2, stride=2, bias=False), norm_layer(n_output), nn.LeakyReLU(SLOPE)
        )


class UNet(nn.Module):
    """Encoder and decoder with skip connections; build it with `unet`."""

    def __init__(self, norm_layer: NormLayer, *, width: int, n_pools: int, n_input_channels: int, n_channels_out: int):
        super().__init__()
        self.n_pools = n_pools
        widths = [width * 2**level for level in range(n_pools + 1)]
        inputs = [n_input_channels, *widths[:-1]]
        self.down = nn.ModuleList(ConvBlock(m, n, norm_layer) for m, n in zip(inputs, widths, strict=True))
        self.rise = nn.ModuleList(UpBlock(2 * n, n, norm_layer) for n in reversed(widths[:-1]))
        self.up = nn.ModuleList(ConvBlock(2 * n, n, norm_layer) for n in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, n_channels_out, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map (image, n_input_channels, rows, columns) to (image, n_channels_out, rows, columns).

        Any sides do: the last odd row or column that a pooling drops is, on the way up, the mirror image at that edge.

        Raises
        ------
        ValueError
            If a side is too short for the poolings, or one pixel would be left at the bottom.
        """
        check_sides(tuple(images.shape[2:]), self.n_pools)
        skips: list[Tensor] = []
        x = images
        for level, block in enumerate(self.down):
            x = block(nn.functional.avg_pool2d(x, 2) if level else x)
            skips.append(x)
        for rise, block, skip in zip(self.rise, self.up, reversed(skips[:-1]), strict=True):
            x = rise(x)
            x = block(torch.cat([_filled_to(x, tuple(skip.shape[2:])), skip], dim=1))
        return self.head(x)


def _filled_to(x: Tensor, sides: tuple[int, ...]) -> Tensor:
    """Mirror one row or column where a side is one short; on a GPU, torch refuses its own in deterministic mode."""
    for axis, side in zip((2, 3), sides, strict=True):
        if x.shape[axis] < side:
            x = torch.cat([x, x.narrow(axis, x.shape[axis] - 2, 1)], dim=axis)
    return x


def check_sides(shape: tuple[int, ...], n_pools: int) -> None:
    """Refuse an image (rows, columns) of which nothing, or a single pixel, is left after the poolings."""
    left = [side >> n_pools for side in shape]
    if len(left) != 2 or min(left) < 1 or max(left) < 2:
        raise ValueError(
            f"the image is {shape}; expected two sides of at least {2**n_pools}, one of them of {2 ** (n_pools + 1)}, "
            f"for {n_pools} poolings"
        )


def unet(
    norm_layer: NormLayer = plain_instance_norm,
    *,
    seed: int,
    width: int = WIDTHS["unet-xsmall"],
    n_pools: int = 4,
    n_input_channels: int = 1,
    n_channels_out: int = 1,
) -> UNet:
    """Build and initialise a U-Net; the defaults are the third paper's smallest.

    Parameters
    ----------
    norm_layer : Callable[[int], nn.Module]
        The published layer, or one of `diagnose.norms.norm_layer` made for the same width.
    seed : int
        Weights depend on it and on the layer's name alone, drawn as torch does by default.
    width : int
        Channels of the first level; see `WIDTHS`.
    n_pools : int
        Each halves the sides and doubles the channels.
    n_input_channels, n_channels_out : int

    Raises
    ------
    ValueError
        If the seed is negative.
    """
    return built(
        lambda: UNet(
            norm_layer, width=width, n_pools=n_pools, n_input_channels=n_input_channels, n_channels_out=n_channels_out
        ),
        seed=seed,
        scheme="torch",
    )  # fmt: skip


class ImageScaled(nn.Module):
    """A network between a z-score of each image and its undoing, so that it meets, and gives, any scale of magnitudes.

    The third paper puts it around U-Net and ViT.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map images (image, channel, rows, columns); mean and standard deviation are over all but the first axis."""
        scaled, mean, std = z_score(images.flatten(1))
        return self.network(scaled.reshape(images.shape)) * std[..., None, None] + mean[..., None, None]


def z_score(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return values over the last axis with mean 0 and standard deviation 1, and the mean and deviation taken out."""
    mean = values.mean(dim=-1, keepdim=True)
    std = values.var(dim=-1, keepdim=True).clamp_min(VARIANCE_FLOOR).sqrt()
    return (values - mean) / std, mean, std
