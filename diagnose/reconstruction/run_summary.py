"""What a finished reconstruction run says of itself: quality on test volumes like those of training, and zero-filled.

Intervals are over patients: volumes of one patient are drawn together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diagnose.reconstruction.architectures import ReconstructionModel
from diagnose.reconstruction.paired_volumes import PairedVolume
from diagnose.reconstruction.quality import METRICS, reconstruction_quality
from diagnose.reconstruction.quality_table import CLEAN, OUTPUT, ZERO_FILLED, QualityRow, mean_quality
from diagnose.statistics.clustered_auc import Estimate

UNITS = {"ssim": "", "psnr_db": " dB", "nrmse": ""}


def quality_row(
    paired: PairedVolume, images: Any, targets: Any, *, run: str, distribution: str, epoch: int | None = None,
    kind: str = CLEAN, level: int = 0, intensities: str = OUTPUT,
) -> QualityRow:  # fmt: skip
    """Measure one volume: images and targets (slice, rows, columns)."""
    volume = paired.volume
    return QualityRow(
        volume.stem, volume.patient, volume.split, run, epoch, distribution, kind, level, intensities,
        **reconstruction_quality(images, targets),
    )  # fmt: skip


def summarise(rows: Sequence[QualityRow], run: str, description: ReconstructionModel) -> dict[str, Any]:
    """Return the content of results.json from the rows of the run and of zero-filling."""
    by_distribution = {}
    for name in dict.fromkeys(row.distribution for row in rows):
        here = [row for row in rows if row.distribution == name]
        own, trivial = ([row for row in here if row.run == method] for method in (run, ZERO_FILLED))
        by_distribution[name] = {
            "n_test_patients": len({row.patient for row in own}),
            "n_test_volumes": len(own),
            **{
                metric: {
                    "network": record_of(mean_quality(own, metric)),
                    "zero_filled": record_of(mean_quality(trivial, metric)),
                    "difference": record_of(mean_quality(own, metric, minus=trivial)),
                }
                for metric in METRICS
            },
        }
    return {
        "network": description.architecture.network,
        "norm": description.architecture.norm,
        "seed": description.seed,
        "train_on": list(description.train_on),
        "best_epoch": description.epoch,
        "validation_ssim": description.validation_ssim,
        "test": by_distribution,
    }


def record_of(estimate: Estimate) -> dict[str, Any]:
    """Return an estimate as JSON values."""
    return {"mean": estimate.value, "low": estimate.low, "high": estimate.high, "reason": estimate.reason}


def lines_of(results: dict[str, Any]) -> list[str]:
    """Return results.json as text."""
    lines = [f"test quality with 95 % patient-bootstrap intervals (weights of epoch {results['best_epoch'] + 1}):"]
    for name, entry in results["test"].items():
        lines.append(f"  {name}: {entry['n_test_patients']} patients, {entry['n_test_volumes']} volumes")
        for metric in METRICS:
            own, trivial, difference = (entry[metric][part] for part in ("network", "zero_filled", "difference"))
            lines.append(
                f"    {metric.removesuffix('_db'):5} {own['mean']:.3f}{UNITS[metric]}, zero-filled "
                f"{trivial['mean']:.3f}, difference {difference['mean']:+.3f} {_interval(difference)}"
            )
    return lines


def _interval(record: dict[str, Any]) -> str:
    if record["low"] is None:
        return f"(no interval: {record['reason']})"
    return f"[{record['low']:+.3f}, {record['high']:+.3f}]"
