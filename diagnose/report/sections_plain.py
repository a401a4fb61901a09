"""Sections of the report that hold no score: what was asked, what corruptions look like, how to do it again, limits."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from diagnose.analysis.arms import PUBLISHED_PREFIX
from diagnose.report.pictures import Sheet
from diagnose.report.study_folder import StudyRecord
from diagnose.report.tables import Cell, Table
from diagnose.report.wording import percent, sentence
from diagnose.run_folder import SPLIT

Section = dict[str, Any]
DOSES = {
    "snr": "SNR {:g}",
    "rms": "{:g} mm and \N{DEGREE SIGN} RMS",
    "phase_rad": "{:g} rad",
    "amplitude_ratio": "stripe x {:.3f}",
    "acceleration": "R = {:g}",
    "range_ratio": "gain 1 : {:g}",
}
"""What a level sets, by its parameter in the level table; short, because it stands below a picture."""
FINAL = "Fixed in study.yaml before training."
LIMITS = (
    "Corruptions here are simulated. Simulated motion flatters: in-plane rigid moves between lines, no through-plane "
    "motion, no spin history, no swallowing or breathing. A model that stands these may fall to the real ones.",
    "Artifacts come one at a time and at fixed doses; in a clinic they come together, and mostly mild.",
    "One reconstruction pipeline of ours stands for what scanners do; vendors filter, interpolate and correct.",
)
PROCEDURAL = (
    "The anatomy is procedural. Its lesions, its noise and what makes it hard are of our making: no score here says "
    "how a model does on patients, and the order of the norms may be another one there."
)
NO_SCANNER = (
    "No data of a real scanner entered: sites, vendors, coils and field strengths vary only as the "
    "virtual scanner does."
)
SIMULATED_LIMITS = (
    PROCEDURAL,
    "The findings are as frequent as the generator was told; a clinic's prevalence is another, which moves "
    "calibration and predictive values.",
    NO_SCANNER,
)


def asked_section(record: StudyRecord) -> Section:
    """Return the question, the design and the endpoint."""
    spec, plan = record.spec, record.spec.inference
    others = [norm for norm in spec.all_norms if norm not in (plan.reference, *plan.compared)]
    train = spec.train
    facts = [
        ("Question", spec.question),
        (
            "Primary endpoint",
            f"{plan.endpoint}; difference to {plan.reference} over paired seeds; Holm's correction over "
            f"{', '.join(plan.compared) or 'nothing'}. {FINAL}",
        ),
        (
            "Compared",
            f"{', '.join(plan.compared) or 'no norm'} against {plan.reference}, input scaling {plan.scaling}, "
            f"{_training(plan.train_shift)}, reconstruction {plan.reconstruction}, statistics of training",
        ),
        ("Trained as well", ", ".join(others)),
        ("Input scalings", ", ".join(spec.scalings)),
        ("Training data", ", ".join(_training(shift) for shift in spec.train_shifts)),
        (
            "Seeds",
            f"{', '.join(map(str, spec.seeds))} (initialisation and batch order, and nothing else)"
            + (f"; {spec.seeds_note}" if spec.seeds_note else ""),
        ),
        (
            "Network",
            f"PreActResNet-{train['depth']}, width {train['width']}, stem stride {train['stem_stride']}, "
            f"at most {train['epochs']} epochs, AdamW, lr {train['lr']:g}, weight decay {train['weight_decay']:g}",
        ),
        (
            "Tuning",
            ""
            if spec.tuning is None
            else f"the same grid for every norm, by clean validation alone, seed "
            f"{spec.tuning.seed}: lr {_listed(spec.tuning.lr)}, weight decay {_listed(spec.tuning.weight_decay)}",
        ),
        (
            "Shifts of the test split",
            f"{', '.join(spec.evaluation.kinds)}; levels {_listed(spec.evaluation.levels)}; "
            f"reconstructions {', '.join(spec.evaluation.reconstructions)}; seed {spec.evaluation.seed}, "
            "the same pixels for every run",
        ),
        ("At test time", ", ".join(spec.evaluation.adaptations)),
        ("Patients", _patients(record)),
    ]
    return {
        "facts": [(name, text) for name, text in facts if text],
        "findings": _findings(record),
        "request": spec.yaml_text(),
        "request_name": "study.yaml",
    }


def _training(shift: str) -> str:
    return f"training corrupted by {shift}" if shift else "clean training"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _patients(record: StudyRecord) -> str:
    """Return patients by split, from the split that the first run keeps."""
    if not record.runs:
        return ""
    patients: dict[str, set[str]] = {}
    text = (record.runs[0].folder / SPLIT).read_text(encoding="utf-8")
    for row in csv.DictReader(io.StringIO(text)):
        patients.setdefault(row["split"], set()).add(row["patient_key"])
    counts = ", ".join(f"{len(patients.get(split, ()))} {split}" for split in ("train", "val", "test"))
    return f"{counts}; every patient is in one split only"


def _findings(record: StudyRecord) -> Table | None:
    if record.analysis is None:
        return None
    data = record.analysis["data"]
    refused = any(entry["refusal"] for entry in data["findings"])
    rows = []
    for entry in data["findings"]:
        cells = [
            Cell(f"{entry['n_positive_slices']} ({percent(entry['prevalence'])})"),
            Cell(str(entry["n_positive_patients"])),
            Cell(str(entry["n_negative_patients"])),
        ]
        rows.append((entry["finding"], (*cells, *((Cell(entry["refusal"], mark="words"),) if refused else ()))))
    columns = (
        "slices with it",
        "patients with it",
        "patients with a slice without it",
        *(("no interval",) if refused else ()),
    )
    caption = f"Test split: {data['n_patients']} patients, {data['n_slices']} slices"
    return Table(caption, "finding", columns, tuple(rows), scores=False)


def corruptions_section(record: StudyRecord, sheet: Sheet | None, no_pictures: str) -> Section:
    """Return the contact sheet: one slice, every kind and level, one window."""
    published = any(kind.startswith(PUBLISHED_PREFIX) for kind in record.spec.evaluation.kinds)
    section: Section = {
        "published": PUBLISHED_PREFIX if published else "",
        "sheet": [],
        "no_pictures": no_pictures,
    }
    if sheet is None:
        return section
    levels = sorted({level for pictures in sheet.pictures.values() for level in pictures})
    known = _known_kinds()
    for kind, pictures in sheet.pictures.items():
        summary, doses = known[kind]
        row = [
            {
                "level": level,
                "uri": pictures[level],
                "dose": "" if level == 0 else doses[level - 1],
                "alt": f"{kind}, level {level} of 5" if level else f"clean image, beside {kind}",
            }
            for level in levels
        ]
        section["sheet"].append({"kind": kind, "summary": summary, "pictures": row})
    recon = record.spec.inference.reconstruction
    section |= {
        "levels": levels,
        "last_level": levels[-1],
        "height": sheet.shape[0],
        "width": sheet.shape[1],
        "caption": f"Slice {sheet.item}, {recon}, corruption seed {record.spec.evaluation.seed}, {sheet.shape[0]} x "
        f"{sheet.shape[1]} pixels; window 0 to {sheet.window:.3g}, the 99.5th percentile of the clean image.",
    }
    return section


def _known_kinds() -> dict[str, tuple[str, list[str]]]:
    """Return what each kind does, and what its levels 1 to 5 set; of 8 coils where that matters."""
    from diagnose.evaluation.released_artifacts import LEVELS
    from mrisim.kinds import describe_kinds

    known = {}
    for kind in describe_kinds():
        table = kind["levels"]
        values = table["values"][table["n_coils"].index(8) if len(table["values"]) > 1 else 0]
        dose = DOSES.get(table["parameter"], f"{table['parameter'].replace('_', ' ')} {{:g}}")
        known[kind["kind"]] = (kind["summary"], [dose.format(value) for value in values])
    for name, severities in LEVELS.items():
        known[name] = ("On the image, as released with the first paper.", [f"p = {value}" for value in severities])
    return known


def limits_section(record: StudyRecord) -> Section:
    """Return what no number of this page can say."""
    analysis = record.analysis
    simulated = SIMULATED_LIMITS if analysis is None or analysis["simulated"] is not False else ()
    return {"lines": [*simulated, *LIMITS, *(map(sentence, analysis["cannot_tell"]) if analysis is not None else ())]}
