"""Group norm that does not fall off the fast path in channels-last memory, which convolutions on a CPU prefer.

Measured with torch 2.13, one thread, bfloat16, 32 images of 16 channels, 48 x 48, two channels a group: torch's own
backward pass takes 16 ms in channels-last and 0.4 in contiguous memory; this one 0.3.
"""

from typing import Any

import torch
from torch import Tensor, nn

from diagnose.group_norm_kernels import normalise, normalise_backward

MAX_REPEATS = 8
"""Positions side by side in a row of the kernels."""


class GroupNorm(nn.GroupNorm):
    """torch.nn.GroupNorm, the same function and parameters, in the memory format of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (image, channel, ...)."""
        if not _is_channels_last(x):
            return super().forward(x)
        if x.device.type == "cpu" and _have_kernel(x, self.weight, self.bias):
            normalised: Tensor = _OnChannelsLast.apply(x, self.weight, self.bias, self.num_groups, self.eps)
            return normalised
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


class _OnChannelsLast(torch.autograd.Function):
    """Normalisation by compiled loops, and its derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, n_groups: int, eps: float) -> Tensor:
        y = torch.empty_like(x)
        mean, rstd = (torch.empty((x.shape[0], n_groups)) for _ in range(2))
        parameters = weight.detach().numpy(), bias.detach().numpy()
        normalise(_rows(x), *parameters, eps, _rows(y), mean.numpy(), rstd.numpy())
        ctx.save_for_backward(x, weight, mean, rstd)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, weight, mean, rstd = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        x_gradient, weight_gradient, bias_gradient = (torch.empty_like(tensor) for tensor in (x, weight, weight))
        statistics, sums = (mean.numpy(), rstd.numpy()), (weight_gradient.numpy(), bias_gradient.numpy())
        normalise_backward(_rows(gradient), _rows(x), weight.detach().numpy(), *statistics, _rows(x_gradient), *sums)
        return x_gradient, weight_gradient, bias_gradient, None, None


def _is_channels_last(x: Tensor) -> bool:
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _have_kernel(x: Tensor, *parameters: Tensor | None) -> bool:
    return x.dtype in (torch.float32, torch.bfloat16) and all(
        one is not None and one.dtype == torch.float32 and one.shape == (x.shape[1],) for one in parameters
    )


def _rows(x: Tensor) -> Any:
    """Return the memory of a channels-last tensor as an array (image, row, positions times channels)."""
    n_images, n_channels, height, width = x.shape
    repeats = next(n for n in (MAX_REPEATS, 4, 2, 1) if height * width % n == 0)
    memory = x.detach().permute(0, 2, 3, 1)
    if x.dtype == torch.bfloat16:  # which NumPy does not know
        memory = memory.view(torch.uint16)
    return memory.numpy().reshape(n_images, height * width // repeats, repeats * n_channels)
