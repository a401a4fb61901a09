"""The diverse-training experiment: its plans are requests that exist, and its tables say what the rows say."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from diagnose.reconstruction.quality_table import QualityRow
from diagnose.reconstruction.request import ReconstructionSpec
from diagnose.training.spec import make_spec

FOLDER = Path(__file__).parents[1] / "experiments" / "diverse_training"


@pytest.fixture(scope="module")
def modules():
    """The script's own modules, which belong to no package."""
    names = ("plan", "claims", "tables")
    sys.path.insert(0, str(FOLDER))
    try:
        yield {name: __import__(name) for name in names}
    finally:
        sys.path.remove(str(FOLDER))
        for name in names:
            sys.modules.pop(name, None)


def settings_of(name: str) -> dict:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", ["laptop", "paper"])
def test_every_planned_run_is_a_request_that_exists_and_has_a_name_of_its_own(modules, name):
    settings, plan = settings_of(name), modules["plan"]
    runs = plan.planned_runs(settings)
    assert len({run.name for run in runs}) == len(runs) and not any("|" in run.name for run in runs)
    for run in runs:
        command = plan.training_command(run, settings, Path("runs"), None)
        values = dict(word.removeprefix("--set=").split("=", 1) for word in command if word.startswith("--set="))
        train_on = tuple(command[place + 1] for place, word in enumerate(command) if word == "--train-on")
        spec = make_spec(
            {"train_on": train_on}, [f"{key}={value}" for key, value in values.items()], ReconstructionSpec
        )
        assert spec.train_on == run.train_on and spec.epochs == run.epochs and spec.selection == run.selection
    assert len(settings["pairs"]) == 3
    for p, q in settings["pairs"].values():
        arms = {(run.train_on, run.seed) for run in runs if run.arm == "main"}
        assert {(names, seed) for names in ((p,), (q,), (p, q)) for seed in settings["seeds"]} <= arms


def test_the_evaluations_begin_with_the_encoder_and_hold_all_runs(modules):
    settings, plan = settings_of("laptop"), modules["plan"]
    runs = plan.planned_runs(settings)
    found = plan.evaluations(settings, runs)
    everybody, _ = found["test"]
    assert everybody[0].train_on == ("knee-pd-3t", "brain-t2-3t") and set(everybody) == set(runs)
    assert all("knee-pd-3t" in run.train_on for run in found["shifts"][0])


def rows_of(run: str, distribution: str, values) -> list[QualityRow]:
    row = QualityRow("", "", "test", run, 3, distribution, "clean", 0, "output", 0.5, 30.0, 0.1)
    return [replace(row, item=f"{k}", patient=f"p{k}", ssim=float(value)) for k, value in enumerate(values)]


def test_pairs_are_compared_on_their_own_and_on_other_distributions(modules):
    run = modules["plan"].PlannedRun
    rng = np.random.default_rng(0)
    planned, rows = [], []
    levels = {("P",): {"P": 0.9, "Q": 0.5, "R": 0.4}, ("Q",): {"P": 0.5, "Q": 0.9, "R": 0.6},
              ("P", "Q"): {"P": 0.9, "Q": 0.88, "R": 0.7}}  # fmt: skip
    patients = rng.normal(0, 0.03, 30)
    for train_on, means in levels.items():
        for seed in range(3):
            planned.append(run("unet-xsmall", train_on, seed, 4))
            for name, mean in means.items():
                rows += rows_of(planned[-1].name, name, mean + patients + 1e-3 * rng.normal(size=30))
    measured = modules["claims"].Measured(rows, planned)
    found = modules["claims"].pair_comparisons(measured, {"pair": ["P", "Q"]})
    (beyond,) = [one for one in found if one.claim == "2 beyond the better one"]
    assert (beyond.reference, beyond.distribution, beyond.verdict) == ("Q alone", "R", "better")
    found.remove(beyond)
    verdicts = {(one.claim[0], one.reference, one.other, one.distribution): one.verdict for one in found}
    assert verdicts == {
        ("1", "P alone", "P+Q", "P"): "no difference seen",
        ("1", "Q alone", "P+Q", "Q"): "worse",
        ("2", "P alone", "P+Q", "R"): "better",
        ("2", "Q alone", "P+Q", "R"): "better",
        ("0", "P alone", "Q alone", "P"): "worse",
        ("0", "Q alone", "P alone", "Q"): "worse",
    }
    gain = next(one for one in found if (one.reference, one.distribution) == ("Q alone", "R"))
    assert gain.difference == pytest.approx(0.1, abs=2e-3) and gain.n_patients == 30 and gain.n_seeds == 3


def test_what_is_lost_after_the_best_epoch(modules):
    points = [
        {"run": "a", "distribution": name, "epoch": str(epoch), "in_distribution": str(name == "P"), "ssim": str(ssim)}
        for name, values in {"P": (0.7, 0.8, 0.9), "R": (0.5, 0.6, 0.45)}.items()
        for epoch, ssim in reversed(list(enumerate(values)))
    ]
    inside, outside = modules["claims"].overfitting(points)
    assert (inside["best_epoch"], inside["lost_since_best"]) == (3, 0.0)
    assert (outside["best_epoch"], outside["n_epochs"]) == (2, 3)
    assert outside["lost_since_best"] == pytest.approx(0.15)
