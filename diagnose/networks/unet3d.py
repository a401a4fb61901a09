"""3-D U-Net for brain tumours: four contrasts in, one map of logits a tumour class out.

The second paper names a 3-D U-Net and nothing else of it. What is built here is an inference: the widespread course
network without any normalisation, which fits the paper's two arms (layer norm, none) and its three classes. It has
16,318,307 parameters without a norm, as that one; with `ln`, `ln-channel`, `bn`, `gn` or `in`, 4,672 more, two for each
of the 2,336 normalised channels. Order in a block: convolution, norm, ReLU (inferred too).

Limits: the inferred network starts from Keras' Glorot weights; `he` is the default here, because without a norm the
scale of a Glorot start depends on the widths, and the comparison would then be of starts too.

References
----------
Cicek et al., 3D U-Net, 2016. arXiv:1606.06650
Rawat and Kumar, ICCIDS 2022, 10.1007/978-3-031-16364-7_10 (the second paper; its abstract only).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diagnose.networks.initialisation import Scheme, built
from diagnose.norms import NormLayer


class DoubleConv(nn.Sequential):
    """Two 3 x 3 x 3 convolutions with bias, each followed by norm and ReLU."""

    def __init__(self, n_input: int, n_middle: int, n_output: int, norm_layer: NormLayer):
        super().__init__(
            nn.Conv3d(n_input, n_middle, 3, padding=1), norm_layer(n_middle), nn.ReLU(),
            nn.Conv3d(n_middle, n_output, 3, padding=1), norm_layer(n_output), nn.ReLU(),
        )  # fmt: skip


class UNet3d(nn.Module):
    """Encoder and decoder with skip connections; build it with `unet3d`."""

    def __init__(self, norm_layer: NormLayer, *, width: int, depth: int, n_input_channels: int, n_classes: int):
        super().__init__()
        self.depth = depth
        widths = [width * 2**level for level in range(depth)]
        inputs = [n_input_channels, *(2 * n for n in widths[:-1])]
        self.down = nn.ModuleList(DoubleConv(m, n, 2 * n, norm_layer) for m, n in zip(inputs, widths, strict=True))
        # from the level below come 2 * (2 n) channels, over the skip connection 2 n
        self.up = nn.ModuleList(DoubleConv(6 * n, 2 * n, 2 * n, norm_layer) for n in reversed(widths[:-1]))
        self.head = nn.Conv3d(2 * width, n_classes, 1)

    @property
    def multiple(self) -> int:
        """What every side of the input must be a multiple of."""
        return 2 ** (self.depth - 1)

    def forward(self, volumes: Tensor) -> Tensor:
        """Return the logits of every class.

        Parameters
        ----------
        volumes : Tensor
            Shape (volume, n_input_channels, x, y, z).

        Returns
        -------
        Tensor
            Shape (volume, n_classes, x, y, z): a sigmoid each, so that classes are not forced to exclude one another.

        Raises
        ------
        ValueError
            If a side is no multiple of ``2**(depth - 1)``, or a single voxel is left at the bottom.
        """
        check_sides(tuple(volumes.shape[2:]), self.multiple)
        skips: list[Tensor] = []
        x = volumes
        for level, block in enumerate(self.down):
            x = block(_halved(x) if level else x)
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = block(torch.cat([_doubled(x), skip], dim=1))
        return self.head(x)


def check_sides(shape: tuple[int, ...], multiple: int) -> None:
    """Refuse a volume (x, y, z) that does not halve down to the bottom of the network.

    Raises
    ------
    ValueError
        If a side is no multiple, or if one voxel would be left, which instance norm maps to its bias.
    """
    if len(shape) != 3 or any(side % multiple or side == 0 for side in shape):
        raise ValueError(f"the volume is {shape}; expected three sides that are multiples of {multiple}")
    if all(side == multiple for side in shape):
        raise ValueError(f"the volume is {shape}; expected more than one voxel at the bottom, a side above {multiple}")


def _halved(x: Tensor) -> Tensor:
    """Take the maximum of each 2 x 2 x 2 voxels; on a GPU, torch refuses its own pooling in deterministic mode."""
    for axis in (2, 3, 4):
        even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
        x = torch.maximum(even, odd)
    return x


def _doubled(x: Tensor) -> Tensor:
    """Repeat each voxel twice along each axis: torch refuses its own upsampling in deterministic mode."""
    n_volumes, n_channels, *sides = x.shape
    a, b, c = sides
    repeated = x[:, :, :, None, :, None, :, None].expand(n_volumes, n_channels, a, 2, b, 2, c, 2)
    return repeated.reshape(n_volumes, n_channels, 2 * a, 2 * b, 2 * c)


def unet3d(
    norm_layer: NormLayer,
    *,
    seed: int,
    width: int = 32,
    depth: int = 4,
    n_input_channels: int = 4,
    n_classes: int = 3,
    scheme: Scheme = "he",
) -> UNet3d:
    """Build and initialise a 3-D U-Net; the defaults are those of the inferred network.

    Parameters
    ----------
    norm_layer : Callable[[int], nn.Module]
        From ``diagnose.norms.norm_layer(name, width=width, n_axes=3)``.
    seed : int
        Weights depend on it and on the layer's name alone: they are the same for every norm.
    width : int
        Channels of the first convolution; each level ends with twice as many as its first convolution has.
    depth : int
        Levels, 2 or more; the volume is halved ``depth - 1`` times.
    n_input_channels, n_classes : int
        Contrasts, and tumour classes without the background.
    scheme : str
        Of `diagnose.networks.initialisation.built`.

    Raises
    ------
    ValueError
        If the seed is negative, or the depth below 2.
    """
    if depth < 2:
        raise ValueError(f"depth is {depth}; expected 2 or more levels")
    return built(
        lambda: UNet3d(
            norm_layer, width=width, depth=depth, n_input_channels=n_input_channels, n_classes=n_classes
        ),
        seed=seed,
        scheme=scheme,
    )  # fmt: skip
