"""Weights before training: a function of the seed and of each layer's name, so that no norm layer can shift another's.

Torch's global generator is neither read nor moved. Norm layers keep weight 1 and bias 0.

References
----------
He et al., Delving Deep into Rectifiers, 2015. arXiv:1502.01852
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

Scheme = Literal["torch", "he", "glorot", "transformer"]
SCHEMES: tuple[str, ...] = get_args(Scheme)
Network = TypeVar("Network", bound=nn.Module)
_LAYERS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)


def built(build: Callable[[], Network], *, seed: int, scheme: Scheme) -> Network:
    """Return what ``build`` makes, its weights drawn from named streams; on the meta device, nothing is drawn.

    Parameters
    ----------
    build : callable
        Makes the network; what it draws is overwritten and leaves no trace.
    seed : int
    scheme : str
        For convolutions and linear layers: `torch` is that library's default (uniform within 1 / sqrt(fan in), bias
        too); `he` normal with variance 2 / fan in, bias 0, which keeps the scale through ReLUs without any norm;
        `glorot` uniform with variance 2 / (fan in + fan out), bias 0, the default of Keras; `transformer` normal with
        standard deviation 0.02 cut at 2, bias 0, for linear layers and free parameters, and `torch` for the others.

    Raises
    ------
    ValueError
        If the seed is negative or the scheme unknown.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 or more")
    if scheme not in SCHEMES:
        raise ValueError(f"scheme is {scheme!r}; expected one of {', '.join(SCHEMES)}")
    with torch.random.fork_rng(devices=[]):
        network = build()
    if any(parameter.is_meta for parameter in network.parameters()):
        return network
    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, _LAYERS):
                _fill(module.weight, module.bias, _generator(seed, name), _scheme_of(module, scheme))
        if scheme == "transformer":
            for name, parameter in network.named_parameters():
                if name.endswith("embedding"):
                    _truncated_normal(parameter, _generator(seed, name))
    return network


def _generator(seed: int, name: str) -> torch.Generator:
    key = hashlib.sha256(f"initialisation;{seed};{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)


def _scheme_of(module: nn.Module, scheme: Scheme) -> Scheme:
    return "torch" if scheme == "transformer" and not isinstance(module, nn.Linear) else scheme


def _fill(weight: Tensor, bias: Tensor | None, generator: torch.Generator, scheme: Scheme) -> None:
    # torch counts the fan-in of a transposed convolution by its output channels, and so does this
    fan_in = weight[0].numel()
    if scheme == "torch":
        for part in (weight, bias):
            if part is not None:
                nn.init.uniform_(part, -(fan_in**-0.5), fan_in**-0.5, generator=generator)
        return
    if scheme == "he":
        nn.init.normal_(weight, std=(2 / fan_in) ** 0.5, generator=generator)
    elif scheme == "glorot":
        nn.init.xavier_uniform_(weight, generator=generator)
    else:
        _truncated_normal(weight, generator)
    if bias is not None:
        nn.init.zeros_(bias)


def _truncated_normal(parameter: Tensor, generator: torch.Generator) -> None:
    nn.init.trunc_normal_(parameter, std=0.02, a=-2, b=2, generator=generator)
