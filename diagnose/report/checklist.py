"""Rows of CLAIM and FUTURE-AI that a study can fill from its own files; the rest is the author's.

The topics are in our words and without item numbers: the rows are an aid to fill the published forms, not those forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from diagnose.report import sections_plain, sections_reproduce
from diagnose.report.study_folder import StudyRecord


@dataclass(frozen=True)
class ChecklistRow:
    """One topic; without an answer, the author completes it."""

    frame: str
    topic: str
    answer: str = ""


AUTHOR_ROWS = (
    ("CLAIM", "clinical background, intended use, and the role of the model in care"),
    ("CLAIM", "ethics approval, consent, and registration of the study"),
    ("CLAIM", "eligibility of patients, dates and sites of data collection"),
    ("CLAIM", "who annotated, with which experience, and how readers agreed"),
    ("CLAIM", "how the size of the study was chosen"),
    ("CLAIM", "comparison with radiologists, and external testing"),
    ("CLAIM", "funding and conflicts of interest"),
    ("FUTURE-AI", "fairness: attributes of patients, and results by subgroup"),
    ("FUTURE-AI", "universality: evaluation at other sites, on real scanners"),
    ("FUTURE-AI", "usability: user requirements, and evaluation with users"),
    ("FUTURE-AI", "explainability: need for it, and its evaluation"),
    ("FUTURE-AI", "governance: risk management, monitoring, and periodic audit"),
)


def checklist_rows(record: StudyRecord) -> list[ChecklistRow]:
    """Return all rows, the filled ones of each frame first."""
    asked = dict(sections_plain.asked_section(record)["facts"])
    facts = dict(sections_reproduce.reproduce_section(record)["facts"])
    filled = [("CLAIM", *row) for row in (*_data_rows(record, asked), *_result_rows(record, asked, facts))]
    filled += [("FUTURE-AI", *row) for row in _robustness_rows(record, asked, facts)]
    rows = [ChecklistRow(*row) for row in filled] + [ChecklistRow(*row) for row in AUTHOR_ROWS]
    return sorted(rows, key=lambda row: (row.frame, not row.answer))


def _data_rows(record: StudyRecord, asked: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (topic, answer) on question, data and networks."""
    spec = record.spec
    simulated = record.analysis is not None and record.analysis["simulated"]
    placed = "; labels of the simulated cohort are those that its generator placed" if simulated else ""
    prepared = f"input scaling {', '.join(spec.scalings)}; crop {spec.train['crop'] or 'none'}"
    trained = f"batch {spec.train['batch']}, weighted sampler, stop after {spec.train['patience']} epochs"
    return [
        ("question and hypothesis", spec.question),
        ("data source", _source(record)),
        ("preprocessing", f"{prepared}; reconstruction {', '.join(spec.evaluation.reconstructions)}"),
        ("reference standard", f"label map {spec.train['label_map']}{placed}"),
        ("how data were split, and by which unit", asked.get("Patients", "")),
        ("the model, its input and output", asked["Network"]),
        (
            "initialisation and training",
            f"seeds {asked['Seeds']}; {trained} without a better validation AUROC",
        ),
        ("how the final model was chosen", "best mean AUROC on clean validation"),
    ]


def _result_rows(record: StudyRecord, asked: Mapping[str, str], facts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (topic, answer) on statistics, results and software; what is not analysed yet is left open."""
    metrics, failures = "", ""
    if record.analysis is not None:
        metrics = (
            "AUROC, balanced accuracy at a threshold of clean validation, ECE, Brier score; 95 % intervals over "
            "patients, and over seeds where there are several"
        )
        n_flips = len(record.analysis["worst_flips"]["flips"])
        failures = f"{n_flips} worst flips in report.html; chosen for being bad, no sample"
    return [
        ("metrics and their uncertainty", metrics),
        ("statistical methods, fixed in advance", asked["Primary endpoint"]),
        ("robustness or sensitivity analysis", asked["Shifts of the test split"]),
        ("failure analysis", failures),
        ("software, and how to run it again", f"{facts.get('Versions', '')}; `diagnose study study.yaml`"),
    ]


def _robustness_rows(record: StudyRecord, asked: Mapping[str, str], facts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (topic, answer) on variation and traceability."""
    plan = record.spec.evaluation
    levels = ", ".join(map(str, plan.levels))
    evaluated = "" if record.analysis is None else "AUROC by kind and level with intervals; simulated variation only"
    traced = [f"{name} {facts[name]}" for name in ("Data lock", "Source commit", "Level table") if name in facts]
    return [
        (
            "robustness: sources of variation named",
            f"kinds {', '.join(plan.kinds)}; levels {levels}; all simulated in k-space or on the image",
        ),
        ("robustness: training under variation", asked["Training data"]),
        ("robustness: evaluation under variation", evaluated),
        ("traceability: data, code and model versions", "; ".join(traced)),
    ]


def _source(record: StudyRecord) -> str:
    """Return what is known of the data; of real data only the author knows the source."""
    if record.analysis is None or record.analysis["simulated"] is None:
        return ""
    if record.analysis["simulated"]:
        return "a simulated cohort: " + ("the embedded one of mrisim" if record.is_embedded else "written by mrisim")
    return ""
