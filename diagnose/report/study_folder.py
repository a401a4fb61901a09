"""What lies in the folder of a study: request, runs, analysis, drift; and whether it is finished."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnose.analysis.analyse import ANALYSIS, SCHEMA
from diagnose.evaluate import PREDICTIONS
from diagnose.evaluation.runs import REQUEST
from diagnose.run_folder import DONE, EMBEDDED, LOCATION
from diagnose.study.spec import EVALUATION, RUNS, STUDY, StudySpec, read_study
from mrisim.errors import DataError
from mrisim.files import sha256_of_file

DRIFT = "drift.json"
_RUN_FILES = ("model.json", "results.json", "env.json", "data.lock.json")


@dataclass(frozen=True)
class RunRecord:
    """A finished run, from the files that it left."""

    folder: Path
    config: dict[str, Any]
    model: dict[str, Any]
    results: dict[str, Any]
    environment: dict[str, Any]
    lock: dict[str, Any]
    """The data that it was trained on."""

    @property
    def data_identity(self) -> str:
        """SHA-256 of the lock (as `diagnose.dataset.SliceTable.identity`)."""
        return hashlib.sha256(json.dumps(self.lock, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """Name of its folder, as in the prediction table."""
        return self.folder.name


@dataclass(frozen=True)
class StudyRecord:
    """All that a report is made from; no pixel of it."""

    folder: Path
    spec: StudySpec
    runs: tuple[RunRecord, ...]
    """The finished ones, by norm in the order of the study, then scaling, training shift and seed."""
    analysis: dict[str, Any] | None
    drift: dict[str, Any] | None
    request: dict[str, Any]
    """Of the evaluation; empty where there is none."""

    @property
    def n_planned(self) -> int:
        """Runs that the study asks for."""
        spec = self.spec
        return len(spec.all_norms) * len(spec.scalings) * len(spec.train_shifts) * len(spec.seeds)

    @property
    def is_finished(self) -> bool:
        """All runs are there, and the analysis."""
        return len(self.runs) == self.n_planned and self.analysis is not None

    @property
    def state(self) -> str:
        """One line: runs, evaluation, analysis."""
        if self.analysis is not None:
            rest = "evaluated and analysed"
        else:
            evaluated = (self.folder / EVALUATION / PREDICTIONS).is_file()
            rest = "evaluated, not analysed" if evaluated else "not evaluated"
        return f"{len(self.runs)} of {self.n_planned} runs finished, {rest}"

    @property
    def is_embedded(self) -> bool:
        """The runs were trained on the embedded cohort, which every machine can make."""
        places = [_json(run.folder / LOCATION) for run in self.runs]
        return bool(places) and all(place == {"root": EMBEDDED} for place in places)

    @property
    def places(self) -> tuple[str, ...]:
        """What the user named as data: root, labels, split; nothing for the embedded cohort."""
        known = [place for place in (_json(run.folder / LOCATION) for run in self.runs) if place]
        if self.is_embedded:
            return ()
        # Where a path would name the user, nothing is kept: a data set and its labels are the usual case.
        return tuple(known[0]) if known else ("root", "labels")

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of the files that the report was made from, by name."""
        names = (STUDY, f"{EVALUATION}/{PREDICTIONS}", ANALYSIS, DRIFT, f"drift/{DRIFT}")
        return {name: sha256_of_file(self.folder / name) for name in names if (self.folder / name).is_file()}


def read_folder(folder: Path) -> StudyRecord:
    """Read a study's folder.

    Raises
    ------
    DataError
        If it is no study, or its analysis is of another version of this program.
    ConfigError
        If study.yaml asks for something that cannot be.
    """
    if not folder.is_dir():
        raise DataError(f"{folder.name} is not a folder; expected that of a study (`diagnose study`)")
    spec = read_study(folder)
    analysis, drift = _json(folder / ANALYSIS), _json(folder / DRIFT) or _json(folder / "drift" / DRIFT)
    if analysis is not None and analysis.get("schema") != SCHEMA:
        raise DataError(f"{ANALYSIS} has schema {analysis.get('schema')!r}; expected {SCHEMA}: analyse the study again")
    return StudyRecord(
        folder, spec, _runs(folder / RUNS, spec), analysis, drift, _json(folder / EVALUATION / REQUEST) or {}
    )


def _runs(folder: Path, spec: StudySpec) -> tuple[RunRecord, ...]:
    import yaml

    runs = []
    for run in sorted(path for path in folder.glob("*") if (path / DONE).exists()):
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        parts = [_json(run / name) for name in _RUN_FILES]
        for part, name in zip(parts, _RUN_FILES, strict=True):
            if part is None:
                raise DataError(f"{run.name} has no {name}; expected a finished run folder")
        runs.append(RunRecord(run, config, *parts))  # type: ignore[arg-type]  # none is None
    order = {norm: place for place, norm in enumerate(spec.all_norms)}

    def place(run: RunRecord) -> tuple[Any, ...]:
        config = run.config
        return (
            order.get(config["norm"], len(order)),
            config["scaling"],
            config["train_shift"],
            config["seed"],
            run.name,
        )

    return tuple(sorted(runs, key=place))


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        content = None
    if not isinstance(content, dict):
        raise DataError(f"{path.name} in {path.parent.name} is damaged; expected a JSON object")
    return content
