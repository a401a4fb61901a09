"""The device that networks run on: torch's own CUDA, which `mrisim.fourier.resolve_device` (CuPy) knows nothing of."""

from __future__ import annotations

import os
import re

import torch
from torch import nn

from mrisim.errors import ConfigError

CPU = "cpu"


def resolve_device(device: str) -> str:
    """Return the device that "auto" stands for here, or the device itself once it is known to work.

    On CUDA, convolutions in float32 are computed in float32 from here on (torch would take TF32, 10 bits of mantissa),
    and cuBLAS sums in one order.

    Parameters
    ----------
    device : str
        auto, cpu, cuda or cuda:N.

    Raises
    ------
    ConfigError
        If it is none of these, or there is no such device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else CPU
    if device == CPU:
        return device
    if not re.fullmatch(r"cuda(:\d+)?", device):
        raise ConfigError(f"device is {device!r}; expected 'auto', 'cpu', 'cuda' or 'cuda:N'")
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= n_devices:
        raise ConfigError(f"device is {device!r}, and torch {torch.__version__} finds {n_devices}; expected 'cpu'")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at cuBLAS's first call
    torch.backends.cudnn.allow_tf32 = False
    return device


def gpu_name(device: str) -> str | None:
    """Return what a GPU calls itself, as in "NVIDIA H100 80GB HBM3"; None for the CPU."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else None


def device_of(network: nn.Module) -> torch.device:
    """Return where the weights of a network lie, and its inputs have to go; one without weights is on the CPU."""
    weights = next(network.parameters(), None)
    return torch.device(CPU) if weights is None else weights.device
