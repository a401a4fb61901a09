"""A study of four tiny trainings on a tiny cohort, by the real functions: small, with every part of a study."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diagnose.analysis.analyse import analyse_study
from diagnose.drift.analyse import DriftRequest, analyse_drift
from diagnose.evaluate import evaluate
from diagnose.reconstruction.quality_table import QualityRow, write_quality
from diagnose.report import write_report
from diagnose.run_folder import DataLocation
from diagnose.segmentation.dice_table import DiceBlock, DiceCell, write_dice_table
from diagnose.segmentation.shifted_dice import dice_results, write_dice_results
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


PATIENTS = tuple(f"p{number:02d}" for number in range(12))
CLASSES = ("oedema", "non-enhancing", "enhancing")


def described(folder: Path, task: str, configs: dict[str, dict], kinds: list[str], simulated: bool | None) -> None:
    request = {
        "task": task, "kinds": kinds, "levels": [0, 3], "seed": 0, "level_table": "1-abc", "runs": list(configs),
        "weights_sha256": ["ab" * 32] * len(configs),
    }  # fmt: skip
    (folder / "request.json").write_text(json.dumps(request))
    runs = [{"run": name, "config": config} for name, config in configs.items()]
    (folder / "runs.json").write_text(json.dumps({"runs": runs, "simulated": simulated}))


@pytest.fixture
def dice_evaluation(tmp_path: Path) -> Path:
    """Two norms, ln with two seeds: Dice is .8 or .6 for ln, .4 for none; noise takes a half."""
    folder = tmp_path / "dice"
    folder.mkdir()
    dice = {"ln0": 0.8, "ln1": 0.6, "none0": 0.4}
    blocks = [
        DiceBlock(
            DiceCell(run, "test", kind, level, "1-abc"), PATIENTS, PATIENTS, CLASSES,
            np.full((len(PATIENTS), 3), value * factor), np.ones((len(PATIENTS), 3), int),
        )
        for run, value in dice.items()
        for kind, level, factor in (("clean", 0, 1.0), ("noise", 3, 0.5))
    ]  # fmt: skip
    write_dice_table(folder / "predictions.csv.gz", blocks)
    write_dice_results(folder / "results.csv", dice_results(blocks))
    configs = {run: {"norm": run.rstrip("01"), "seed": int(run[-1])} for run in dice}
    described(folder, "segmentation", configs, ["noise"], True)
    return folder


@pytest.fixture
def quality_evaluation(tmp_path: Path) -> Path:
    """Two networks on two distributions, and zero-filling; clean only, with one picture."""
    folder = tmp_path / "quality"
    folder.mkdir()
    ssim = {"a": (0.9, 0.7), "b": (0.8, 0.85), "zero-filled": (0.6, 0.5)}
    rows = [
        QualityRow(f"{patient}-{name}", patient, "test", run, None, name, "clean", 0, "output", value, 30.0, 0.1)
        for run, values in ssim.items()
        for name, value in zip(("knee", "brain"), values, strict=True)
        for patient in PATIENTS
    ]
    write_quality(folder / "quality.csv.gz", rows)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "curves.png")
    configs = {
        name: {"network": "unet-xsmall", "train_on": train_on, "selection": "joint", "fraction": None, "seed": 0}
        for name, train_on in (("a", ["knee"]), ("b", ["knee", "brain"]))
    }
    described(folder, "reconstruction", configs, [], None)
    return folder
