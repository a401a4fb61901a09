"""The state of a training run between two steps: everything that the next step depends on, saved and found again."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from diagnose.training.spec import LoopSpec
from mrisim.errors import DataError
from mrisim.files import written_whole

STATE = "last.ckpt"
ARCHIVE = b"PK\x03\x04"
"""What every file of `torch.save` begins with: it is a zip archive."""
RISE = 0.01
"""Share of the steps of one-cycle-linear in which the rate rises."""


@dataclass
class TrainingState:
    """Network, optimiser, schedule and place. Batches are functions of seed and epoch, so no generator is in here."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    epoch: int = 0
    n_batches_done: int = 0
    """Of the epoch that is under way."""
    loss_sum: float = 0.0
    """Over its items so far."""
    best_value: float = -math.inf
    best_epoch: int = -1
    history: list[dict[str, Any]] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Write the state whole."""
        content = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": {
                # The schedule's own functions are code; numbers and texts are all that is kept.
                name: value
                for name, value in self.scheduler.state_dict().items()
                if isinstance(value, int | float | str | bool | list | tuple | type(None))
            },
            "epoch": self.epoch,
            "n_batches_done": self.n_batches_done,
            "loss_sum": self.loss_sum,
            "best_value": self.best_value,
            "best_epoch": self.best_epoch,
            "history": self.history,
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)  # to a file, torch turns a full disk into an error without a name
        with written_whole(folder / STATE) as partial:
            partial.write_bytes(buffer.getvalue())

    def restore(self, folder: Path) -> bool:
        """Take up the state of a folder; False if there is none.

        Raises
        ------
        DataError
            If the file is damaged, holds more than tensors and numbers, or is of another network.
        """
        file = folder / STATE
        if not file.is_file():
            return False
        try:
            content = _content(file.read_bytes())
            self.network.load_state_dict(content["network"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.scheduler.load_state_dict(content["scheduler"])
            self.epoch, self.n_batches_done = content["epoch"], content["n_batches_done"]
            self.loss_sum, self.history = content["loss_sum"], content["history"]
            self.best_value, self.best_epoch = content["best_value"], content["best_epoch"]
        except Exception as error:
            first = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            raise DataError(
                f"{STATE} cannot be taken up ({first}); expected the state of this run, --overwrite or another --out"
            ) from None
        return True


def _content(state: bytes) -> dict[str, Any]:
    """Return what a state holds. Nothing but tensors, numbers and texts is unpickled.

    torch's own refusal of anything else says how to load it all the same, and it warns of formats that we never write.
    """
    if not state.startswith(ARCHIVE):
        raise ValueError("no archive of torch: refused unread")
    try:
        content: dict[str, Any] = torch.load(io.BytesIO(state), map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise ValueError("it holds more than tensors and numbers: refused, it can run code") from None
    return content


def new_state(network: nn.Module, spec: LoopSpec, n_batches: int) -> TrainingState:
    """Return the state before the first step: AdamW (Adam where weight_decay is 0), one-cycle or a constant rate.

    one-cycle-linear is the third paper's: 1 % of the steps rise from lr / 25, the others fall back to it.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=spec.lr, weight_decay=spec.weight_decay)
    scheduler: torch.optim.lr_scheduler.LRScheduler
    if spec.schedule.startswith("one-cycle"):
        total_steps = spec.epochs * n_batches
        shape: dict[str, Any] = {}
        if spec.schedule == "one-cycle-linear":
            # torch divides by the rising steps less one: two at least, where there are so many
            rise = max(RISE, 2 / total_steps) if total_steps > 2 else 1 / 3
            shape = {"anneal_strategy": "linear", "pct_start": rise, "div_factor": 25, "final_div_factor": 1}
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=spec.lr, total_steps=total_steps, cycle_momentum=False, **shape
        )
    else:
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, _constant)
    return TrainingState(network, optimizer, scheduler)


def _constant(_step: int) -> float:
    return 1.0
