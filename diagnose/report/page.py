"""The page: sections in their order, filled into the templates; one file that needs no network and no script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from diagnose.analysis.analyse import SIMULATED_FLAG, UNKNOWN_FLAG
from diagnose.report import sections, sections_cases, sections_decisions, sections_plain, sections_reproduce
from diagnose.report.arms import Arms
from diagnose.report.pictures import Pictures
from diagnose.report.study_folder import StudyRecord
from diagnose.report.tables import Cell, Table
from diagnose.report.wording import interval, number, p_value, sentence, signed, stopped, verdict
from diagnose.run_folder import is_simulated
from mrisim import __version__

TITLES = {
    "asked": "What was asked",
    "corruptions": "What the corruptions look like",
    "clean": "Clean performance",
    "dose": "Dose and response",
    "primary": "Primary result",
    "heat": "Where the difference lies",
    "adaptation": "What a norm does at test time",
    "drift": "Why: drift inside the network",
    "calibration": "Calibration",
    "operating": "Decisions at the operating point",
    "flips": "Worst flips",
    "limits": "What this cannot tell you",
    "reproduce": "Environment, hashes, and the command",
}
ORIGINS = {
    True: (
        SIMULATED_FLAG,
        "simulation result",
        "Simulation result.",
        "The images are simulated, and no score here says how a model does on patients.",
    ),
    False: ("", "", "", ""),
    None: (UNKNOWN_FLAG, "origin unknown", "Origin unknown.", "It is not known whether the images are simulated."),
}
"""By whether the images are simulated: flag of the record, badge at every score, title and text of the notice."""
NOT_EVALUATED = "Not there yet: the study is not evaluated and analysed."


def view(record: StudyRecord, pictures: Pictures) -> dict[str, Any]:
    """Return all that the templates show: JSON values but for tables, figures as SVG text, pictures as data URIs."""
    analysis = record.analysis
    content: dict[str, Any] = {
        "asked": sections_plain.asked_section(record),
        "corruptions": sections_plain.corruptions_section(record, pictures.sheet, pictures.missing),
        "limits": sections_plain.limits_section(record),
        "reproduce": sections_reproduce.reproduce_section(record),
        "drift": sections_cases.drift_section(record),
    }
    if analysis is not None:
        arms = Arms.of(analysis)
        content |= {
            "clean": sections.clean_section(analysis, arms),
            "dose": sections.dose_section(analysis, arms),
            "primary": sections.primary_section(analysis, arms),
            "heat": sections.heat_section(analysis, arms),
            "adaptation": sections.adaptation_section(analysis, arms),
            "calibration": sections_decisions.calibration_section(analysis, arms),
            "operating": sections_decisions.operating_section(analysis, arms),
            "flips": sections_cases.flips_section(analysis, pictures),
        }
    elif record.runs:
        content["clean"] = _clean_of_runs(record)
    empty = {"missing": NOT_EVALUATED}
    return {
        "name": record.spec.name,
        "what": "Study",
        "beside": "report.json, model_card.md, checklist.md",
        "question": record.spec.question,
        "state": record.state,
        "unfinished": "" if record.is_finished else f"Unfinished: {record.state}.",
        "version": __version__,
        **_headline(record),
        "sections": [
            {"id": key, "title": title, "missing": "", "command": ""} | content.get(key, empty)
            for key, title in TITLES.items()
        ],
    }


def _headline(record: StudyRecord) -> dict[str, Any]:
    """Return what stands above all sections."""
    analysis = record.analysis
    headline: dict[str, Any] = {"one_seed": False, "answer": [], "answer_figure": "", "answer_note": ""}
    simulated = is_simulated([run.folder for run in record.runs]) if analysis is None else analysis["simulated"]
    headline |= dict(zip(("flag", "badge", "flag_title", "flag_text"), ORIGINS[simulated], strict=True))
    if analysis is None:
        return headline
    seeds = {seed for arm in analysis["arms"] if arm["role"] == "primary" for seed in arm["seeds"]}
    answer = [_answer(entry) for entry in analysis["primary"]["comparisons"]]
    return headline | {
        "one_seed": len(seeds) == 1,
        "answer": answer or ["No norm is compared: see the notes of the analysis."],
        "answer_figure": sections.answer_figure(analysis),
        "answer_note": f"{sentence(analysis['plan']['endpoint'])} {stopped(analysis['adaptation_text'])}",
    }


def _answer(entry: Mapping[str, Any]) -> str:
    """Return one comparison as a sentence: number first, then what it allows to be said."""
    numbers = f"{entry['norm']} \N{MINUS SIGN} {entry['reference_norm']}: {signed(entry['difference'])}"
    if entry["low"] is not None:
        numbers += f" {interval(entry['low'], entry['high'])}"
    if entry["p_holm"] is not None:
        numbers += f", p (Holm) {p_value(entry['p_holm'])}"
    weakness = stopped(entry["message"]) if entry["p_holm"] is not None else ""
    return f"{numbers}: {verdict(entry)}. {weakness}".strip()


def _clean_of_runs(record: StudyRecord) -> dict[str, Any]:
    """Return the clean results that finished runs left themselves, where there is no analysis yet."""
    findings = list(record.runs[0].results["clean_auroc"])
    rows = tuple(
        (
            run.name,
            tuple(
                Cell(
                    number(entry["auroc"]), interval(entry["low"], entry["high"]), "" if entry["learnt"] else "unlearnt"
                )
                for entry in (run.results["clean_auroc"][finding] for finding in findings)
            ),
        )
        for run in record.runs
    )
    table = Table("Clean AUROC of each finished run, with intervals over patients", "run", tuple(findings), rows)
    return {"min_auroc": "", "note": "Finished runs only.", "tables": [table], "others": [], "runs": []}


def render(page: Mapping[str, Any]) -> str:
    """Return the page as HTML."""
    return template("page.html").render(page=page)


def template(name: str) -> Template:
    """Return a template of this package; HTML is escaped, Markdown is not."""
    environment = Environment(
        loader=PackageLoader("diagnose.report", "templates"),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"shade": _shade, "cell": _markdown_cell}
    return environment.get_template(name)


def _shade(value: float) -> str:
    """Return a background: blue where better, orange where worse, the stronger the larger."""
    return f"rgba(var({'--better' if value >= 0 else '--worse'}), {0.72 * min(1, abs(value)):.2f})"


def _markdown_cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
