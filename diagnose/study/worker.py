"""One piece of a study's work in a process of its own: a training run, or a share of the evaluation or of the drift.

The request is one JSON object on standard input. The process ends at SIGTERM, its state saved, and by itself when the
study that started it is gone: a killed study leaves nobody behind who writes into its folder.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from diagnose.run_folder import DataLocation
from diagnose.torch_device import CPU
from diagnose.training.loop import Interrupted, Watch
from mrisim.errors import MrisimError
from mrisim.import_warnings import ignore_import_warnings


@dataclass(frozen=True)
class Task:
    """What a worker is to do."""

    name: str
    action: str
    """``train``, ``evaluate`` or ``drift``."""
    location: DataLocation
    n_threads: int
    values: dict[str, Any]
    """train: folder, spec; the others: runs, out, shard, n_shards, and what is asked."""
    device: str = CPU

    def text(self) -> str:
        """Return the task as JSON, bound to this process as the study."""
        places = {name: None if path is None else str(path) for name, path in vars(self.location).items()}
        return json.dumps(asdict(self) | {"location": places, "study_process": os.getpid()})

    @property
    def resources(self) -> dict[str, Any]:
        """Threads and device, as `diagnose.train.fit` and `diagnose.evaluate.evaluate` take them."""
        return {"n_threads": self.n_threads, "device": self.device}

    @classmethod
    def of_text(cls, text: str) -> tuple[Task, int]:
        """Return the task that a text describes, and the process of its study."""
        fields = json.loads(text)
        study_process = fields.pop("study_process")
        places = {name: Path(path) for name, path in fields.pop("location").items() if path is not None}
        return cls(location=DataLocation(**places), **fields), study_process


def _train(task: Task, watch: Watch) -> None:
    from diagnose.train import fit
    from diagnose.training.spec import TrainSpec

    spec, folder = TrainSpec(**task.values["spec"]), Path(task.values["folder"])
    fit(spec, task.location, folder, **task.resources, watch=watch)


def _evaluate(task: Task, watch: Watch) -> None:
    from diagnose.evaluate import OpenEvaluation
    from diagnose.study.plans import EvaluationPlan

    values = task.values
    request = EvaluationPlan(**values["request"]).request()
    runs = [Path(run) for run in values["runs"]]
    evaluation = OpenEvaluation.begin(runs, request, Path(values["out"]), data=task.location, **task.resources)
    evaluation.make_parts(watch, shard=values["shard"], n_shards=values["n_shards"])


def _drift(task: Task, watch: Watch) -> None:
    from diagnose.drift.analyse import make_share
    from diagnose.study.plans import DriftPlan, EvaluationPlan

    values = task.values
    request = DriftPlan(**values["drift"]).request(EvaluationPlan(**values["evaluation"]), values["reconstruction"])
    make_share(
        [Path(run) for run in values["runs"]], request, Path(values["out"]), data=task.location, **task.resources,
        watch=watch, shard=values["shard"], n_shards=values["n_shards"],
    )  # fmt: skip


def _watch(study_process: int, action: str, say: Callable[[str], None]) -> Watch:
    """Return a watch that stops at SIGTERM and when the study is gone."""
    asked: list[int] = []
    # ctrl-C reaches the whole group; the study then asks each worker to save its state.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def note(number: int, _frame: Any) -> None:
        asked.append(number)
        if action != "train":  # a shift is whole or not there: nothing to save
            raise Interrupted("stopped; the shifts that are done are kept")

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, note)

    def stop() -> bool:
        return bool(asked) or os.getppid() != study_process

    watch = Watch(say, stop=stop)
    return replace(watch, images=watch.between_volumes)


ACTIONS: dict[str, Callable[[Task, Watch], None]] = {"train": _train, "evaluate": _evaluate, "drift": _drift}


def main() -> None:
    """Do the task on standard input; a foreseen error is one line on standard error and its exit code."""
    ignore_import_warnings()
    task, study_process = Task.of_text(sys.stdin.read())
    place = task.values.get("folder") or task.values["out"]

    def say(text: object) -> None:
        # Logs hold no path of this machine.
        print(str(text).replace(place, Path(place).name), file=sys.stderr, flush=True)

    watch = _watch(study_process, task.action, say)
    try:
        ACTIONS[task.action](task, watch)
    except MrisimError as error:
        say(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
