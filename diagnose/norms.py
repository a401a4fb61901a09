"""The norm layers under comparison: one table, one calling convention, nothing different but the norm.

Every layer is made by ``norm_layer(n_channels)``. `bn`, `gn`, `ln` and `in` agree in eps (1e-5), in having one weight
(start 1) and one bias (start 0) per channel, and so in parameter count; a comparison of libraries' defaults would not
(timm's layer norm has eps 1e-6, torch's instance norm has no parameters).

References
----------
Wu and He, Group Normalization (bn, ln, in and gn as one family), 2018. arXiv:1803.08494
"""

from collections.abc import Callable

from torch import nn

NormLayer = Callable[[int], nn.Module]

EPS = 1e-5
"""PyTorch's default of batch norm and group norm, and the paper's."""


def _batch_norm(n_channels: int, n_groups: int) -> nn.Module:
    return nn.BatchNorm2d(n_channels, eps=EPS)


def _group_norm(n_channels: int, n_groups: int) -> nn.Module:
    if n_channels % n_groups:
        raise ValueError(f"gn with {n_groups} groups cannot divide {n_channels} channels; expected a multiple")
    if n_groups == 1:
        raise ValueError(f"gn with 1 group over {n_channels} channels would be ln; expected a width of 4 or more")
    if n_groups == n_channels:
        raise ValueError(f"gn with {n_groups} groups over {n_channels} channels would be in; use fewer groups")
    return nn.GroupNorm(n_groups, n_channels, eps=EPS)


def _layer_norm(n_channels: int, n_groups: int) -> nn.Module:
    # The paper's 'layer': over channel, height and width together. Not the per-position layer norm of transformers.
    return nn.GroupNorm(1, n_channels, eps=EPS)


def _instance_norm(n_channels: int, n_groups: int) -> nn.Module:
    if n_channels == 1:
        raise ValueError("in over 1 channel would be ln; expected 2 channels or more")
    # The same function as nn.InstanceNorm2d(affine=True), 1.2-1.3 times faster on contiguous tensors.
    return nn.GroupNorm(n_channels, n_channels, eps=EPS)


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
"""Names of the norms, the reference (bn) first."""

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
    "in": "statistics only; GroupNorm(C, C), contiguous memory format",
    "none": "no statistics and no affine: 2C parameters fewer per layer, and another scale of activations at the start",
}


def norm_layer(name: str, *, width: int) -> NormLayer:
    """Return the factory ``n_channels -> module`` of a norm.

    Parameters
    ----------
    name : str
        One of `NORMS`.
    width : int
        Channels of the network's first stage. `gn` takes ``width // 2`` groups in all stages: 32 at the paper's width
        of 64 and 8 at 16, that is two channels per group in the first stage at every width.

    Returns
    -------
    Callable[[int], torch.nn.Module]
        Takes input of shape (image, channel, height, width).

    Raises
    ------
    ValueError
        If the name is unknown, or (from the factory too) if the layer would be the same function as another norm.
    """
    if name not in _MAKERS:
        raise ValueError(f"norm is {name!r}; expected one of {', '.join(NORMS)}")
    if width < 4 or width % 2:
        raise ValueError(f"width is {width}; expected an even number of 4 or more, so that gn is neither ln nor in")
    make, n_groups = _MAKERS[name], width // 2
    return lambda n_channels: make(n_channels, n_groups)


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
