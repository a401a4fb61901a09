"""What a command would cost, before anything is done: time and disk, from small measurements on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from diagnose.dataset import SliceTable
from diagnose.slice_images import Shift, make_images
from diagnose.torch_device import CPU
from diagnose.training.execution import choose_execution

BYTES_PER_PIXEL = 4


@dataclass(frozen=True)
class Cost:
    """An estimate and what it is an estimate of."""

    record: dict[str, Any]

    @property
    def lines(self) -> list[str]:
        """The estimate as text."""
        return [_line(name, value) for name, value in self.record.items()]


def _line(name: str, value: Any) -> str:
    if name == "n_bytes":
        return f"disk in all: {value / 1e6:.0f} MB"
    return f"{name.replace('_', ' ')}: {value}"


def slice_counts(table: SliceTable) -> dict[str, str]:
    """Return patients and slices of each split as text, by its name."""
    parts = {split: table.of_split(split) for split in ("train", "val", "test")}
    return {
        split: f"{len(set(part.patients.tolist()))} patients, {len(part.volumes)} files, {len(part.labels)} slices"
        for split, part in parts.items()
    }


def seconds_per_image(table: SliceTable, shifts: list[Shift], crop: int | None, n_threads: int) -> float:
    """Measure what one image of each shift costs together, in s, on one volume."""
    volume = table.volumes[0]
    # Imports and compiled kernels do not count: each kind and reconstruction has its own.
    for shift in {(shift.kind, shift.reconstruction): shift for shift in shifts}.values():
        make_images(volume, shift, crop=crop)
    total = 0.0
    for shift in shifts:
        started = time.perf_counter()
        make_images(volume, shift, crop=crop)
        total += (time.perf_counter() - started) / volume.n_slices
    return total / n_threads


def training_seconds(
    network: torch.nn.Module, batch_shape: tuple[int, ...], n_slices: int, *, device: str, memory_format: str = "auto"
) -> float:
    """Return the time of training steps over so many items, in s, in the formats that a run would choose."""
    execution = choose_execution(network, batch_shape, precision="auto", memory_format=memory_format, device=device)
    return min(execution.milliseconds.values()) / 1e3 / batch_shape[0] * n_slices


def where(device: str, n_threads: int) -> str:
    """Return what training steps run on, as text."""
    return f"{n_threads} threads" if device == CPU else device


def image_bytes(table: SliceTable, shape: tuple[int, int], n_images_each: int = 1) -> int:
    """Return the disk space of the cached images of a table."""
    return int(BYTES_PER_PIXEL * len(table.labels) * np.prod(shape) * n_images_each)


def as_time(seconds: float) -> str:
    """Return a time with a unit that fits."""
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
