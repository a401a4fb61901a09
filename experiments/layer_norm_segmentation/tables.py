"""Tables of the experiment: each claim of the paper beside what was measured, gains by norm, Dice under artifacts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from diagnose.segmentation.brats_releases import CLASSES
from diagnose.segmentation.dice_table import DiceBlock, read_dice_table, write_dice_table
from diagnose.segmentation.norm_gains import NormGain, norm_gains
from diagnose.statistics.inference import holm
from mrisim.files import write_text

PAPER = {
    "oedema": {"dice": 0.90, "relative_gain": 0.075},
    "non-enhancing": {"dice": 0.74, "relative_gain": 0.125},
    "enhancing": {"dice": 0.95, "relative_gain": 0.015},
}
"""Layer norm against none, on validation; whether the gains are relative or absolute is not said."""
PAPER_LOSS = -0.32
TUNED = "tuned"
"""Each norm at the best of its learning rates, by validation."""
NAMES = (*CLASSES, "mean")

Blocks = dict[tuple[str, str, int], DiceBlock]
"""By run, kind and level."""


class Runs:
    """What the runs and their evaluation say."""

    def __init__(self, settings: dict[str, Any], planned: Sequence[Any], runs: Path, evaluation: Path):
        """Read the frozen table and the metrics of every run."""
        self.settings, self.seeds, self.reference = settings, settings["seeds"], settings["reference"]
        self.frozen = [*_clean_test(planned, runs), *_shifted(evaluation)]
        self.blocks: Blocks = {(block.cell.run, block.cell.kind, block.cell.level): block for block in self.frozen}
        self.patients = self.frozen[0].patients
        self.shifts = list(dict.fromkeys((block.cell.kind, block.cell.level) for block in self.frozen))
        self.history = {
            run.name: [json.loads(line) for line in (runs / run.name / "metrics.jsonl").read_text().splitlines()]
            for run in planned
        }
        self.arms: dict[str, dict[str, str]] = {
            arm: {norm: arm for norm in entry["norms"]} for arm, entry in settings["arms"].items()
        }
        self.tuned = self._tuned()
        if len(set(self.tuned.values())) > 1:  # else it is one of the arms
            self.arms[TUNED] = self.tuned

    def _tuned(self) -> dict[str, str]:
        """Return the arm with the highest mean validation Dice, of each norm that every arm has."""
        everywhere = [norm for norm in next(iter(self.arms.values())) if all(norm in arm for arm in self.arms.values())]
        return {norm: max(self.arms, key=lambda arm: self.validation(arm, norm)) for norm in everywhere}

    def validation(self, arm: str, norm: str) -> float:
        """Return the best validation Dice of an epoch, averaged over seeds."""
        return float(
            np.mean([max(entry["val_dice_mean"] for entry in self.history[name]) for name in self.names(arm, norm)])
        )

    def shifts_of(self, arm: str) -> list[tuple[str, int]]:
        """Return the shifts, clean first, under which all runs of an arm were evaluated."""
        runs = [run for norm in self.arms[arm] for run in self.names(arm, norm)]
        return [shift for shift in self.shifts if all((run, *shift) in self.blocks for run in runs)]

    def names(self, arm: str, norm: str) -> list[str]:
        """Return the runs of a norm in an arm, by seed."""
        return [f"{self.arms[arm][norm]}-{norm}-seed{seed}" for seed in self.seeds]

    def dice(self, arm: str, shifts: Sequence[tuple[str, int]], name: str) -> np.ndarray:
        """Return (norm, seed, case): Dice of a class, or of the classes' mean, averaged over shifts."""
        column = slice(None) if name == "mean" else slice(NAMES.index(name), NAMES.index(name) + 1)
        return np.array(
            [
                [
                    np.mean([self.blocks[run, *shift].dice[:, column].mean(axis=1) for shift in shifts], axis=0)
                    for run in self.names(arm, norm)
                ]
                for norm in self.arms[arm]
            ]
        )

    def gains(self, arm: str, shifts: Sequence[tuple[str, int]], name: str) -> list[NormGain]:
        """Return every norm of an arm beside the reference."""
        return norm_gains(self.dice(arm, shifts, name), self.patients, list(self.arms[arm]), self.reference)


def _clean_test(planned: Sequence[Any], runs: Path) -> list[DiceBlock]:
    """Return the clean test split of every run, from its own table."""
    found = [block for run in planned for block in read_dice_table(runs / run.name / "predictions.csv.gz")]
    names = {run.name for run in planned}
    return [block for block in found if block.cell.run in names and block.cell.split == "test"]


def _shifted(evaluation: Path) -> list[DiceBlock]:
    """Return the shifted blocks of the evaluation; its clean ones are those of the runs."""
    return [block for block in read_dice_table(evaluation / "predictions.csv.gz") if block.cell.level > 0]


def write_tables(settings: dict[str, Any], planned: Sequence[Any], runs: Path, evaluation: Path, out: Path) -> None:
    """Write results/: gains, shifted Dice, curves, claims, the figure, and the frozen table that they come from."""
    found = Runs(settings, planned, runs, evaluation)
    out.mkdir(parents=True, exist_ok=True)
    gains, shifted = gain_rows(found), shifted_rows(found)
    write_csv(out / "gains.csv", gains)
    write_csv(out / "shifted.csv", shifted)
    write_csv(out / "curves.csv", curve_rows(found))
    baselines = baseline_rows(runs / planned[0].name / "predictions.csv.gz")
    write_csv(out / "baselines.csv", baselines)
    summary = {
        "name": settings["name"],
        "origin": "simulated: every score is a simulation result",
        "n_test_patients": len(set(found.patients)),
        "seeds": found.seeds,
        "weakness": "3 seeds: intervals over seeds and patients are exploratory, at least 5 seeds are advised",
        "learning_rate_by_validation": {norm: settings["arms"][arm]["lr"] for norm, arm in found.tuned.items()},
        "claims": claims(found),
    }  # fmt: skip
    write_text(out / "claims.json", json.dumps(summary, indent=2) + "\n")
    draw_curves(found, out / "loss_curves.png")
    write_dice_table(out / "dice.csv.gz", found.frozen)


def gain_rows(found: Runs) -> list[dict[str, Any]]:
    """Return clean and shifted Dice with gains by arm, norm and class; p is Holm's over the norms of an arm."""
    rows = []
    for arm in found.arms:
        clean, *others = found.shifts_of(arm)
        sets = {"clean": [clean], "artifacts": others}
        for condition, shifts in sets.items():
            for name in NAMES if shifts else ():
                records = [gain.record for gain in found.gains(arm, shifts, name)]
                tested = [record for record in records if record.get("p") is not None]
                for record, p in zip(tested, holm([record["p"] for record in tested]), strict=True):
                    record["p_holm"] = float(p)
                rows += [{"arm": arm, "condition": condition, "class": name, **record} for record in records]
    return rows


def shifted_rows(found: Runs) -> list[dict[str, Any]]:
    """Return the mean Dice of each norm by kind and level, with its gain over the reference."""
    rows = []
    for arm in found.arms:
        for kind, level in found.shifts_of(arm)[1:]:
            for name in NAMES:
                clean = found.dice(arm, [("clean", 0)], name).mean(axis=(1, 2))
                for gain, before in zip(found.gains(arm, [(kind, level)], name), clean, strict=True):
                    row = {"arm": arm, "kind": kind, "level": level, "class": name, **gain.record}
                    row["change_from_clean"] = gain.dice - float(before)
                    rows.append(row)
    return rows


def curve_rows(found: Runs) -> list[dict[str, Any]]:
    """Return the course of every run."""
    return [
        {
            "run": name, "epoch": entry["epoch"] + 1, "train_loss": entry["train_loss"], "val_loss": entry["val_loss"],
            **{f"val_dice_{part}": value for part, value in entry["val_dice"].items()},
            "val_dice_mean": entry["val_dice_mean"],
        }
        for name, history in found.history.items()
        for entry in history
    ]  # fmt: skip


def baseline_rows(predictions: Path) -> list[dict[str, Any]]:
    """Return what the trivial segmentations score on the clean test split."""
    rows = []
    for block in read_dice_table(predictions):
        if block.cell.run in ("all-background", "threshold"):
            values = [*block.dice.mean(axis=0), block.dice.mean()]
            rows += [
                {"baseline": block.cell.run, "class": name, "dice": float(value)}
                for name, value in zip(NAMES, values, strict=True)
            ]
    return rows


def claims(found: Runs) -> list[dict[str, Any]]:
    """Return each claim of the paper beside what was measured, and whether it was reproduced."""
    result = []
    for arm in found.arms:
        for name, stated in PAPER.items():
            measured = next(gain.record for gain in found.gains(arm, [("clean", 0)], name) if gain.norm == "ln")
            reached = verdict(measured["gain_low"], measured["gain_high"], expected_sign=1)
            result.append(_claim(arm, f"Dice of {name}", stated, measured, reached))
        for which, choose in (("last epoch", lambda losses: losses[-1]), ("lowest", min)):
            loss = loss_ratio(found, arm, choose)
            reached = verdict(loss["low"], loss["high"], expected_sign=-1)
            result.append(_claim(arm, f"validation loss, {which}", PAPER_LOSS, loss, reached))
    return result


def _claim(arm: str, claim: str, paper: Any, measured: dict[str, Any], reached: str) -> dict[str, Any]:
    return {"arm": arm, "claim": f"layer norm against none: {claim}", "paper": paper, "measured": measured,
            "verdict": reached}  # fmt: skip


def verdict(low: float | None, high: float | None, *, expected_sign: int) -> str:
    """Return whether an interval shows the sign that the paper states."""
    if low is None or high is None:
        return "no interval: no statement"
    if low > 0 or high < 0:
        return "reproduced in direction" if np.sign(low) == expected_sign else "not reproduced: the opposite sign"
    return "not reproduced: the interval holds zero"


def loss_ratio(found: Runs, arm: str, choose: Any) -> dict[str, Any]:
    """Return the change of validation loss from the reference to layer norm, paired by seed; interval over seeds."""
    losses = {
        norm: np.array([
            choose([entry["val_loss"] for entry in found.history[run]]) for run in found.names(arm, norm)
        ])
        for norm in (found.reference, "ln")
    }  # fmt: skip
    logs = np.log(losses["ln"] / losses[found.reference])
    half = student_t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs)) if len(logs) > 1 else None
    return {
        "loss_reference": float(losses[found.reference].mean()),
        "loss_layer_norm": float(losses["ln"].mean()),
        "relative_change": float(np.expm1(logs.mean())),
        "low": None if half is None else float(np.expm1(logs.mean() - half)),
        "high": None if half is None else float(np.expm1(logs.mean() + half)),
    }


def draw_curves(found: Runs, path: Path) -> None:
    """Draw training and validation loss of every norm of every arm, from the first seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    arms = found.settings["arms"]
    figure = Figure(figsize=(9, 3.2 * len(arms)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(arms), 2, squeeze=False, sharex=True, sharey=True)
    for row, (arm, entry) in zip(axes, arms.items(), strict=True):
        for norm in entry["norms"]:
            history = found.history[found.names(arm, norm)[0]]
            epochs = [line["epoch"] + 1 for line in history]
            for axis, name in zip(row, ("train_loss", "val_loss"), strict=True):
                axis.plot(epochs, [line[name] for line in history], label=norm)
        row[0].set(ylabel="soft Dice loss", title=f"training patches, learning rate {entry['lr']:g}")
        row[1].set(title=f"whole validation volumes, learning rate {entry['lr']:g}")
        row[1].legend(fontsize=8)
    for axis in axes[-1]:
        axis.set(xlabel="epoch")
    figure.suptitle(f"Loss curves of one seed ({found.seeds[0]}); embedded cohort, simulated", fontsize=10)
    figure.savefig(path, dpi=110)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows of one kind; numbers with five digits, nothing where a row has no value."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.5g}" if isinstance(value, float) else value for name, value in row.items()})
    write_text(path, text.getvalue())
