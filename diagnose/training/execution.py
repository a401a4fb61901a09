"""How a network runs on this machine: device, number and memory format by a measured probe, deterministic kernels.

bfloat16 pays where the CPU multiplies it (AMX, AVX512-BF16) and is many times slower elsewhere; channels-last pays for
convolutions, not for every norm. So both are measured, for the norm at hand.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import product
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from diagnose.torch_device import CPU
from mrisim.errors import ConfigError
from mrisim.fourier import keep_freed_memory

Network = TypeVar("Network", bound=nn.Module)

MIN_GAIN = 1.15
"""A format other than float32 and contiguous must be this much faster to be taken: clocks are noisy."""
MIN_ROUNDS, MAX_ROUNDS, PROBE_S = 3, 12, 3.0
"""Of the probe: steps of every candidate, by turns; more than the fewest only within so many seconds."""
SAFE_CHANNELS = 16
"""oneDNN computes in blocks of so many channels."""


class Execution(BaseModel):
    """Device, formats and threads of a run; stored, so that a resumed run goes on with the same ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = CPU
    precision: str = "float32"
    memory_format: str = "contiguous"
    n_threads: int = 1
    n_processes: int = 1
    """Of torchrun; each has so many threads."""
    milliseconds: dict[str, float] = {}
    """Of a training step in the probe, by "precision memory_format"."""

    @property
    def torch_memory_format(self) -> torch.memory_format:
        """The memory format as torch names it."""
        return torch.channels_last if self.memory_format == "channels-last" else torch.contiguous_format

    def laid_out(self, network: Network) -> Network:
        """Return the network, its weights moved to device and memory format.

        Freed memory is kept from here on. Measured, one thread, width 16: 90 ms a bfloat16 step of gn instead of 105
        to 120, 130 in float32 instead of 160 to 190.
        """
        if self.device == CPU:
            keep_freed_memory()
        network.to(self.device)
        network.to(memory_format=self.torch_memory_format)  # type: ignore[call-overload]  # missing in torch's stubs
        return network

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of a training step."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)


def choose_execution(
    network: nn.Module, batch_shape: tuple[int, ...], *, precision: str, memory_format: str, device: str = CPU
) -> Execution:
    """Return the fastest formats for training steps of a network; "auto" leaves one open.

    Parameters
    ----------
    network : nn.Module
        Copied; its weights and statistics stay as they are.
    batch_shape : tuple of int
        (image, channel, rows, columns).
    precision, memory_format : str
    device : str
        Where to run; a choice that is made (`diagnose.torch_device`).

    Raises
    ------
    ConfigError
        If channels-last is asked for where it is not safe.
    """
    precisions = ("float32", "bfloat16") if precision == "auto" else (precision,)
    formats = ("contiguous", "channels-last") if memory_format == "auto" else (memory_format,)
    if not channels_last_is_safe(network):
        if memory_format == "channels-last":
            raise ConfigError(
                "channels-last writes beyond its memory in torch's strided 1 x 1 convolutions of these widths; "
                f"expected a width that is a multiple of {SAFE_CHANNELS}, or memory_format=contiguous"
            )
        formats = ("contiguous",)
    candidates = [
        Execution(device=device, precision=number, memory_format=layout, n_threads=torch.get_num_threads())
        for number, layout in product(precisions, formats)
    ]
    if len(candidates) == 1:
        return candidates[0]
    times = shortest_by_turns([_training_step(network, batch_shape, candidate) for candidate in candidates])
    best = candidates[0]
    if times[0] > MIN_GAIN * min(times):
        best = candidates[times.index(min(times))]
    measured = {
        f"{candidate.precision} {candidate.memory_format}": round(1e3 * seconds, 2)
        for candidate, seconds in zip(candidates, times, strict=True)
    }
    return best.model_copy(update={"milliseconds": measured})


def channels_last_is_safe(network: nn.Module) -> bool:
    """Return whether torch's channels-last kernels can be trusted with a network's convolutions.

    Measured with torch 2.13 on an AVX-512 CPU: the backward pass of Conv2d(8, 16, 1, stride=2) corrupts the heap in
    channels-last (crash at `free`, float32 and bfloat16 alike); with 16 channels or a multiple it does not.
    """
    strided = [
        module
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.stride != (1, 1)
    ]
    return all(module.in_channels % SAFE_CHANNELS == 0 for module in strided)


def shortest_by_turns(steps: Sequence[Callable[[], object]]) -> list[float]:
    """Return the shortest time of each step, in s; the first of each, which sets things up, does not count.

    By turns, forwards and back: a machine that is busy for some seconds would else decide which one wins. Between
    `MIN_ROUNDS` and `MAX_ROUNDS` of each; no new round after `PROBE_S`.
    """
    for step in steps:
        step()
    times: list[list[float]] = [[] for _ in steps]
    begun = time.perf_counter()
    for number in range(MAX_ROUNDS):
        if number >= MIN_ROUNDS and time.perf_counter() - begun > PROBE_S:
            break
        for step, seconds in list(zip(steps, times, strict=True))[:: 1 if number % 2 == 0 else -1]:
            started = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - started)
    return [min(seconds) for seconds in times]


def _training_step(network: nn.Module, batch_shape: tuple[int, ...], execution: Execution) -> Callable[[], None]:
    """Return what takes one training step of a copy of the network."""
    trial = execution.laid_out(copy.deepcopy(network)).train()
    images = (
        torch.linspace(-2, 2, batch_shape[-1])
        .expand(batch_shape)
        .contiguous(memory_format=execution.torch_memory_format)
        .to(execution.device)
    )

    def step() -> None:
        with execution.autocast():
            result = trial(images).float().square().mean()
        result.backward()
        float(result.detach())  # a GPU returns before it has computed
        trial.zero_grad(set_to_none=True)

    return step


@contextmanager
def deterministic_kernels(device: str = CPU) -> Iterator[None]:
    """Refuse operations without a deterministic implementation for a while; what held before holds afterwards.

    Off the CPU, torch lacks some (adaptive pooling, the gradient of interpolation): there it warns instead, and a
    resumed run is promised to be the same up to rounding only.

    Torch would also fill all new memory with NaN then, to show who reads it too early: 3 to 7 % of a training step.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    deterministic: Any = torch.utils.deterministic  # torch's stubs do not know what it holds
    filled_before = deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=device != CPU)
    deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        deterministic.fill_uninitialized_memory = filled_before
