"""The section of the report that says how to make it again: commands, versions, hashes of data, tables and weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from diagnose.report.study_folder import RunRecord, StudyRecord
from diagnose.report.tables import Cell, Table
from diagnose.report.wording import number

Section = dict[str, Any]
OPTIONS = {"root": "--data DIR", "labels": "--labels CSV", "split": "--split CSV"}
"""What the command is told of data that are not the embedded cohort, by their name in location.json."""


def reproduce_section(record: StudyRecord) -> Section:
    """Return the commands, versions and hashes."""
    facts = [
        ("Data lock", _joined(run.data_identity for run in record.runs)),
        ("Split", _joined(run.lock.get("split_sha256", "") for run in record.runs)),
        ("Labels", _joined(run.lock.get("labels_sha256", "") for run in record.runs)),
        ("Level table", _joined(level_tables(record))),
        *_environment(record.runs),
    ]
    hashes = tuple((name, (Cell(value, mark="hash"),)) for name, value in record.hashes.items())
    return {
        "from": "From the study file, which is stored with the results and holds seeds, split, levels and settings:",
        "commands": commands(record),
        "facts": [(name, value) for name, value in facts if value],
        "hashes": Table("Files of this study", "file", ("SHA-256",), hashes, scores=False),
        "runs": _run_table(record.runs),
    }


def level_tables(record: StudyRecord) -> list[str]:
    """Return the versions that the evaluation names: that of k-space kinds, then that of image-domain ones."""
    return [str(record.request[name]) for name in ("level_table", "released_levels") if name in record.request]


def commands(record: StudyRecord) -> str:
    """Return what makes study and report again, from a copy of study.yaml."""
    name = record.spec.label
    data = "".join(f" {option}" for place, option in OPTIONS.items() if place in record.places)
    # Kernels of another device add in another order: the weights would be others.
    devices = {run.environment.get("execution", {}).get("device", "cpu") for run in record.runs}
    device = "".join(f" --device {device}" for device in sorted(devices - {"cpu"}))
    return f"diagnose study study.yaml{data}{device} --out {name}\ndiagnose report {name}"


def _environment(runs: Sequence[RunRecord]) -> list[tuple[str, str]]:
    versions: dict[str, list[str]] = {}
    for run in runs:
        environment = run.environment
        for name, value in environment["versions"].items():
            versions.setdefault(name, []).append(value)
    text = ", ".join(f"{name} {_joined(values)}" for name, values in versions.items())
    python = _joined(
        f"Python {run.environment['python']}, {run.environment['system']} {run.environment['machine']}" for run in runs
    )
    commit = _joined(
        (run.environment.get("git_commit") or "") + (" with changes" if run.environment.get("git_dirty") else "")
        for run in runs
    )
    return [("Versions", text), ("Platform", python), ("Source commit", commit)]


def _joined(values: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(value for value in values if value))


def _run_table(runs: Sequence[RunRecord]) -> Table:
    rows = []
    for run in runs:
        execution = run.environment.get("execution", {})
        rows.append(
            (
                run.name,
                (
                    Cell(f"{run.config['lr']:g}"),
                    Cell(f"{run.config['weight_decay']:g}"),
                    Cell(str(run.model["epoch"] + 1)),
                    Cell(number(run.model["validation_auroc"])),
                    Cell(f"{execution.get('precision', '')} {execution.get('memory_format', '')}"),
                    Cell(run.model["weights_sha256"], mark="hash"),
                ),
            )
        )
    columns = ("lr", "weight decay", "best epoch", "validation AUROC", "formats", "SHA-256 of the weights")
    return Table("Runs", "run", columns, tuple(rows))
