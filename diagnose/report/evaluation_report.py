"""The report of an evaluation of segmentation or reconstruction: one HTML page that needs no network.

That of diagnosis is the report of its study (`diagnose.report.page`).
"""

from __future__ import annotations

import base64
import json
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

from diagnose.evaluation.runs import REQUEST, RUNS_FILE
from diagnose.report import PAGE, RECORD
from diagnose.report.page import ORIGINS, render
from diagnose.report.sections_plain import LIMITS, NO_SCANNER, PROCEDURAL
from diagnose.report.tables import Cell, Table
from diagnose.report.task_results import POOLED, TaskResults
from diagnose.report.wording import sentence
from mrisim import __version__
from mrisim.errors import DataError
from mrisim.files import sha256_of_file, write_text

READERS = {
    "segmentation": "diagnose.report.segmentation_results",
    "reconstruction": "diagnose.report.reconstruction_results",
}
"""Task -> module with its ``results_of``."""


def is_evaluation(folder: Path) -> bool:
    """Return whether a folder holds an evaluation of a task that has its report from here."""
    request = folder / REQUEST
    return request.is_file() and _read(request).get("task") in READERS


def write_evaluation_report(folder: Path, out: Path | None = None) -> Path:
    """Write ``report.html`` and ``report.json`` from the files of an evaluation's folder.

    Parameters
    ----------
    folder : Path
        Of `diagnose evaluate`, finished.
    out : Path, optional
        ``FOLDER/report`` by default.

    Returns
    -------
    Path
        ``report.html``.

    Raises
    ------
    DataError
        If a part of the evaluation is missing or damaged.
    """
    request = _read(folder / REQUEST)
    runs = _read(folder / RUNS_FILE)
    configs = {entry["run"]: entry["config"] for entry in runs["runs"]}
    results = import_module(READERS[request["task"]]).results_of(folder, configs)
    page = _view(folder, request, runs, results)
    out = out or folder / "report"
    write_text(out / RECORD, json.dumps(_record(page, results), indent=1) + "\n")
    write_text(out / PAGE, render(page))
    return out / PAGE


def _view(folder: Path, request: dict[str, Any], runs: dict[str, Any], results: TaskResults) -> dict[str, Any]:
    """Return all that the template shows."""
    flag, badge, flag_title, flag_text = ORIGINS[runs["simulated"]]
    asked = {
        "facts": [
            ("Task", request["task"]),
            ("Artifacts", ", ".join(request["kinds"]) or "none"),
            ("Levels", ", ".join(map(str, request["levels"]))),
            ("Level table", request["level_table"]),
            *results.facts,
        ],
        "lines": [],
        "findings": None,
        "request": json.dumps(request, indent=1),
        "request_name": REQUEST,
    }
    clean = {"min_auroc": "", "note": POOLED, "tables": results.clean[:1], "others": results.clean[1:], "runs": []}
    simulated = (PROCEDURAL, NO_SCANNER) if runs["simulated"] is not False else ()
    limits = [*map(sentence, runs.get("notes", ())), *simulated, *LIMITS]
    pictures = [{"text": text, "uri": _data_uri(folder / name)} for name, text in results.figures]
    contents: dict[str, tuple[str, dict[str, Any]]] = {
        "asked": ("What was asked", asked),
        "clean": ("Clean performance", clean),
        "dose": ("Dose and response", _dose(results)),
        "figures": ("Over the training, and between distributions", {"pictures": pictures}),
        "limits": ("What this cannot tell you", {"lines": limits}),
        "reproduce": ("Hashes, and the command", _reproduce(folder, request, results)),
    }
    sections = [
        {"id": key, "title": title, "missing": "", "command": "", **content}
        for key, (title, content) in contents.items()
        if key != "figures" or pictures
    ]
    return {
        "name": folder.resolve().name, "what": "Evaluation", "question": results.question,
        "state": f"{len(runs['runs'])} runs", "unfinished": "", "version": __version__, "one_seed": False, "answer": [],
        "answer_figure": "", "answer_note": "", "flag": flag, "badge": badge, "flag_title": flag_title,
        "flag_text": flag_text, "sections": sections, "beside": RECORD,
    }  # fmt: skip


def _dose(results: TaskResults) -> dict[str, Any]:
    if not results.panels:
        return {"missing": "No artifact was asked for: clean volumes alone."}
    return {
        "text": "Means against the dose. Bands are 95 % intervals over patients, each for one point and not for the "
        "whole curve. A level is a physical dose, not a grade of ugliness.",
        "numbers": "mean and interval", "legend": results.legend, "panels": results.panels,
        "tables": results.numbers, "others": [],
    }  # fmt: skip


def _reproduce(folder: Path, request: dict[str, Any], results: TaskResults) -> dict[str, Any]:
    command = " \\\n    ".join(["diagnose evaluate", *_words(request), f"--out {shlex.quote(folder.name)}"])
    hashes = tuple((name, (Cell(sha256_of_file(folder / name), mark="hash"),)) for name in (REQUEST, *results.files))
    weights = tuple(
        (name, (Cell(value, mark="hash"),))
        for name, value in zip(request["runs"], request["weights_sha256"], strict=True)
    )
    return {
        "commands": f"{command}\ndiagnose report {shlex.quote(folder.name)}",
        "from": "From the run folders, which lie where the evaluation was made:",
        "facts": [],
        "hashes": Table("Files of this evaluation", "file", ("SHA-256",), hashes, scores=False),
        "runs": Table("Runs", "run", ("SHA-256 of the weights",), weights, scores=False),
    }


def _words(request: dict[str, Any]) -> list[str]:
    """Return the arguments that ask for the same again; what only one task knows, where it was asked."""
    words = [shlex.quote(run) for run in request["runs"]]
    words += [f"--kind {kind}" for kind in request["kinds"]]
    words += [f"--levels {','.join(map(str, request['levels']))}"]
    if request.get("reconstructions", ["rss"]) != ["rss"]:
        words.append(f"--recon {','.join(request['reconstructions'])}")
    words += [f"--test-on {shlex.quote(name)}" for name in request.get("test_on", ())]
    words += ["--every-epoch"] * bool(request.get("every_epoch"))
    return [*words, f"--seed {request['seed']}"]


def _record(page: dict[str, Any], results: TaskResults) -> dict[str, Any]:
    """Return the page's content without its figures, as JSON values."""

    def content(table: Table) -> dict[str, Any]:
        body = {name: [[cell.text, cell.below] for cell in cells] for name, cells in table.rows}
        return {"caption": table.caption, "columns": list(table.columns), "rows": body}

    return {
        "name": page["name"], "question": page["question"], "flag": page["flag"],
        "sections": [{"title": section["title"], "missing": section["missing"]} for section in page["sections"]],
        "facts": dict(results.facts),
        "limits": next(section["lines"] for section in page["sections"] if section["id"] == "limits"),
        "tables": [content(table) for table in (*results.clean, *results.numbers)],
    }  # fmt: skip


def _data_uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"{path.parent.name} has no {path.name}; expected a finished folder of `diagnose evaluate`")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise DataError(f"{path.name} in {path.parent.name} is damaged; expected a JSON object")
    return content
