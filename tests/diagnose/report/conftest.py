"""A study of four tiny trainings on a tiny cohort, by the real functions: small, with every part of a study."""

import json
from pathlib import Path

import pytest

from diagnose.analysis.analyse import analyse_study
from diagnose.drift.analyse import DriftRequest, analyse_drift
from diagnose.evaluate import evaluate
from diagnose.report import write_report
from diagnose.run_folder import DataLocation
from diagnose.study.runs import study_runs
from diagnose.study.spec import make_study
from diagnose.testing import SMALL, write_cohort
from diagnose.train import fit

REQUEST = {
    "name": "tiny", "question": "Does <gn> lose less than bn?", "norms": ["bn", "gn"], "seeds": [1, 2],
    "train": {**SMALL, "epochs": 8},
    "evaluation": {"kinds": ["noise", "motion"], "levels": [0, 1, 4], "adaptations": ["frozen", "prediction-time"]},
}  # fmt: skip


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study, drift included; read-only."""
    place = tmp_path_factory.mktemp("studies")
    cohort = write_cohort(place / "cohort")
    (cohort / "dataset.json").write_text(json.dumps({"origin": "simulated by a test"}))
    spec, folder = make_study(REQUEST), place / "tiny-study"
    folder.mkdir()
    (folder / "study.yaml").write_text(spec.yaml_text())
    location, runs = DataLocation(cohort), [(run.folder(folder), run.spec) for run in study_runs(spec)]
    for run, train in runs:
        fit(train, location, run)
    folders = [run for run, _ in runs]
    evaluate(folders, spec.evaluation.request(), folder / "evaluation")
    analyse_drift(folders, DriftRequest(("noise",), (4,), n_slices=16), folder / "drift")
    analyse_study(folder)
    return folder


@pytest.fixture(scope="session")
def page(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its report, in a folder of its own."""
    return write_report(study, tmp_path_factory.mktemp("report"))
