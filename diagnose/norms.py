"""The norm layers under comparison: one table, one calling convention, nothing different but the norm.

Every layer is made by ``norm_layer(n_channels)``. `bn`, `gn`, `ln` and `in` agree in eps (1e-5), in having one weight
(start 1) and one bias (start 0) per channel, and so in parameter count; a comparison of libraries' defaults would not
(timm's layer norm has eps 1e-6, torch's instance norm has no parameters).

Volumes (image, channel, x, y, z) take the same layers, over three axes in place of two, and one more, `ln-channel`:
"layer norm" of a 3-D network may mean either (the second paper does not say which).

References
----------
Wu and He, Group Normalization (bn, ln, in and gn as one family), 2018. arXiv:1803.08494
Ba, Kiros and Hinton, Layer Normalization, 2016. arXiv:1607.06450
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from diagnose.group_norm import GroupNorm

NormLayer = Callable[[int], nn.Module]

EPS = 1e-5
"""PyTorch's default of batch norm and group norm, and the paper's."""


def _batch_norm(n_channels: int, n_groups: int) -> nn.Module:
    return nn.BatchNorm2d(n_channels, eps=EPS)


def _volume_batch_norm(n_channels: int, n_groups: int) -> nn.Module:
    return nn.BatchNorm3d(n_channels, eps=EPS)


def _group_norm(n_channels: int, n_groups: int) -> nn.Module:
    if n_channels % n_groups:
        raise ValueError(f"gn with {n_groups} groups cannot divide {n_channels} channels; expected a multiple")
    if n_groups == 1:
        raise ValueError(f"gn with 1 group over {n_channels} channels would be ln; expected a width of 4 or more")
    if n_groups == n_channels:
        raise ValueError(f"gn with {n_groups} groups over {n_channels} channels would be in; use fewer groups")
    return GroupNorm(n_groups, n_channels, eps=EPS)


def _layer_norm(n_channels: int, n_groups: int) -> nn.Module:
    # The paper's 'layer': over channel, height and width together. Not the per-position layer norm of transformers.
    return GroupNorm(1, n_channels, eps=EPS)


def _instance_norm(n_channels: int, n_groups: int) -> nn.Module:
    if n_channels == 1:
        raise ValueError("in over 1 channel would be ln; expected 2 channels or more")
    # The same function as nn.InstanceNorm2d(affine=True), faster in either memory format.
    return GroupNorm(n_channels, n_channels, eps=EPS)


class ChannelLayerNorm(nn.Module):
    """Layer norm of transformers: over the channels at each position, for each image, with one weight per channel.

    It keeps no contrast between positions that scales all channels alike: a voxel's overall magnitude is lost.
    """

    def __init__(self, n_channels: int):
        super().__init__()
        if n_channels < 2:
            raise ValueError(f"ln-channel over {n_channels} channel would be a constant; expected 2 channels or more")
        self.eps = EPS
        self.weight = nn.Parameter(torch.ones(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (image, channel, ...); any number of axes may follow the channels."""
        # nn.LayerNorm normalises the last axes, and those of a feature map are positions.
        normalised = nn.functional.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, self.eps)
        return normalised.movedim(-1, 1)


def _channel_layer_norm(n_channels: int, n_groups: int) -> nn.Module:
    return ChannelLayerNorm(n_channels)


def _no_norm(n_channels: int, n_groups: int) -> nn.Module:
    return nn.Identity()


_MAKERS: dict[str, Callable[[int, int], nn.Module]] = {
    "bn": _batch_norm,
    "gn": _group_norm,
    "ln": _layer_norm,
    "in": _instance_norm,
    "none": _no_norm,
}

NORMS = tuple(_MAKERS)
"""Names of the norms of images, the reference (bn) first."""

_VOLUME_MAKERS = {**_MAKERS, "bn": _volume_batch_norm, "ln-channel": _channel_layer_norm}

VOLUME_NORMS = ("none", "ln", "ln-channel", "bn", "gn", "in")
"""Names of the norms of volumes, the reference of the second paper (none) first."""

_STATISTICS = {
    "bn": "over batch, height, width, for each channel; frozen running statistics at test time",
    "gn": "over height, width and the channels of a group, for each image",
    "ln": "over channel, height, width, for each image",
    "in": "over height, width, for each image and channel",
    "none": "none",
}

_DIFFERENCES = {
    "bn": "the reference; the only one with running statistics and the only one whose images see each other",
    "gn": "statistics only; width / 2 groups in every stage, so 2 channels per group in the first",
    "ln": "statistics only; GroupNorm(1, C)",
    "in": "statistics only; GroupNorm(C, C)",
    "none": "no statistics and no affine: 2C parameters fewer per layer, and another scale of activations at the start",
}


def norm_layer(name: str, *, width: int, n_axes: Literal[2, 3] = 2) -> NormLayer:
    """Return the factory ``n_channels -> module`` of a norm.

    Parameters
    ----------
    name : str
        One of `NORMS` for images, of `VOLUME_NORMS` for volumes.
    width : int
        Channels of the network's first stage. `gn` takes ``width // 2`` groups in all stages: 32 at the paper's width
        of 64 and 8 at 16, that is two channels per group in the first stage at every width.
    n_axes : int
        2 for images, 3 for volumes.

    Returns
    -------
    Callable[[int], torch.nn.Module]
        Takes input of shape (image, channel, height, width), or (image, channel, x, y, z) with ``n_axes=3``.

    Raises
    ------
    ValueError
        If the name is unknown, or (from the factory too) if the layer would be the same function as another norm.
    """
    makers, names = (_VOLUME_MAKERS, VOLUME_NORMS) if n_axes == 3 else (_MAKERS, NORMS)
    if name not in makers:
        raise ValueError(f"norm is {name!r}; expected one of {', '.join(names)}")
    if width < 4 or width % 2:
        raise ValueError(f"width is {width}; expected an even number of 4 or more, so that gn is neither ln nor in")
    make, n_groups = makers[name], width // 2
    return lambda n_channels: make(n_channels, n_groups)


def plain_instance_norm(n_channels: int) -> nn.Module:
    """Return the norm of the third paper's U-Net: over height and width, for each image and channel, no parameters.

    Not one of the norms under comparison (`in` has a weight and a bias): the published networks have this layer, and
    their parameter counts are met with no other.
    """
    if n_channels == 1:
        raise ValueError("instance norm over 1 channel would be ln; expected 2 channels or more")
    return GroupNorm(n_channels, n_channels, eps=EPS, affine=False)


def describe_norms(width: int = 64) -> list[dict[str, object]]:
    """Return the table of `diagnose norms --json`, read off the layers themselves at ``width`` channels.

    Returns
    -------
    list of dict
        Keys name, module, n_groups (None where there are none), statistics, eps, affine, n_parameters (per layer of
        ``width`` channels), weight_start, bias_start, running_statistics, difference.
    """
    rows: list[dict[str, object]] = []
    for name in NORMS:
        layer = norm_layer(name, width=width)(width)
        weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
        rows.append(
            {
                "name": name,
                "module": type(layer).__name__,
                "n_groups": getattr(layer, "num_groups", None),
                "statistics": _STATISTICS[name],
                "eps": getattr(layer, "eps", None),
                "affine": weight is not None,
                "n_parameters": sum(parameter.numel() for parameter in layer.parameters()),
                "weight_start": None if weight is None else float(weight.detach().mean()),
                "bias_start": None if bias is None else float(bias.detach().mean()),
                "running_statistics": getattr(layer, "running_mean", None) is not None,
                "difference": _DIFFERENCES[name],
            }
        )
    return rows
