"""What the training loop asks of a task: a network, batches that are a function of the epoch, a measure to validate by.

The loop knows no images and no labels. A task is opened in three steps, `check_request`, `load_data` and `prepare` of
its module in `diagnose.tasks`: the first refuses what no data could make right, before a cohort is made; the second
finds and checks files before anything is written; the third reads and makes what training needs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from diagnose.checkpoint import SavedModel
from diagnose.training.distributed import ProcessGroup
from diagnose.training.execution import Execution
from mrisim.errors import UsageError

BatchLoss = Callable[[nn.Module, slice, Execution], Tensor]
"""The mean loss over a run of places in an epoch's order, in training formats; with a gradient."""
Interruptible = Callable[[nn.Module], AbstractContextManager[None]]
"""While a network predicts in this context, the run may be stopped between two batches."""


class TrainingData(Protocol):
    """The data of a run: found, checked and named by their content, not yet read."""

    @property
    def identity(self) -> str:
        """Hash of content, labels and split."""

    @property
    def lock(self) -> dict[str, Any]:
        """Content of data.lock.json."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or assumed, a line each."""

    def split_csv(self) -> str:
        """Return the split file: who is trained, validated and tested on."""


@dataclass(frozen=True)
class Validated:
    """What validation found: higher is better."""

    mean: float
    parts: dict[str, float] = field(default_factory=dict)
    """By finding, class or data set."""
    loss: float | None = None
    """On the same data, where the task measures it; lower is better."""


class Task(Protocol):
    """A training that the loop can carry out."""

    measure: str
    """Name of what validation gives, as in "AUROC"."""
    keeps_every_epoch: bool
    """Whether the weights of every epoch stay, beside the best."""

    @property
    def n_items(self) -> int:
        """How many items an epoch has."""

    def build(self) -> nn.Module:
        """Return the network, freshly initialised from the run's seed."""

    def choose_execution(self, network: nn.Module, n_items: int, device: str) -> Execution:
        """Return the formats of steps over so many items on a device; refuse data that do not fit the network."""

    def begin_epoch(self, epoch: int, folder: Path, group: ProcessGroup) -> BatchLoss:
        """Order, draw and corrupt the items of an epoch: a function of seed and epoch alone."""

    def validate(self, network: nn.Module, execution: Execution) -> Validated:
        """Measure the network on clean validation data."""

    def description(self, epoch: int, value: float) -> SavedModel:
        """Return what is written beside the weights of an epoch."""

    def close(self, folder: Path) -> None:
        """Give back what the epochs held, threads and files, however the training ended."""

    def finish(self, folder: Path, execution: Execution, interruptible: Interruptible) -> dict[str, Any]:
        """Predict with the best weights, write what a finished run holds, return the content of results.json."""


TASKS = ("classification", "segmentation", "reconstruction")


def task_module(name: str) -> Any:
    """Return the module of a task, `TASKS` names them.

    Each has ``SPEC`` (the type of its request), ``DEFAULT_DATA`` (the embedded cohort it trains on: a `CohortSpec` or a
    `CohortCollection`), ``METHODS`` (what stands beside a run in its table: no run may have such a name),
    ``check_request``, ``load_data``, ``prepare``, ``estimate`` and ``lines_of``, called as those of
    `diagnose.tasks.classification`.

    Raises
    ------
    UsageError
        If there is no such task.
    """
    if name not in TASKS:
        raise UsageError(f"task is {name!r}; expected one of {', '.join(TASKS)}")
    return import_module(f"diagnose.tasks.{name}")
