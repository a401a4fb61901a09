"""What is made of the rows of an evaluation: means with intervals, curves over epochs, robustness, similarity."""

from __future__ import annotations

import csv
import gzip
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.reconstruction.classical import Tuning
from diagnose.reconstruction.measuring import Bench, Crop
from diagnose.reconstruction.quality import METRICS
from diagnose.reconstruction.quality_table import CLEAN, OUTPUT, ZERO_FILLED, QualityRow, mean_quality, write_quality
from diagnose.reconstruction.robustness import expected_quality
from diagnose.reconstruction.similarity import encoder_of, features, nearest_similarity
from diagnose.reconstruction.trained_run import MeasuredData, ReconstructionRun
from diagnose.training.loop import Watch
from mrisim.files import write_text, written_whole

MIN_ON_LINE = 4
"""Different networks trained on P alone below which no line is drawn: seeds alone differ too little to give a slope."""


@dataclass(frozen=True)
class CellSummary:
    """One method on one distribution under one shift: the mean of a metric over test volumes, and its gain."""

    run: str
    train_on: str
    distribution: str
    kind: str
    level: int
    intensities: str
    metric: str
    n_patients: int
    mean: float
    low: float | None
    high: float | None
    gain: float | None
    """Mean difference to zero-filling, paired by volume; None for zero-filling itself."""
    gain_low: float | None
    gain_high: float | None

    @property
    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class CurvePoint:
    """Mean SSIM of the validation volumes of a distribution after an epoch."""

    run: str
    train_on: str
    epoch: int
    distribution: str
    in_distribution: bool
    ssim: float


@dataclass(frozen=True)
class RobustnessPoint:
    """A network trained on P and Q beside the line through those trained on P alone; see `robustness`."""

    network: str
    p: str
    q: str
    run: str
    n_on_line: int
    slope: float
    intercept: float
    residual_std: float
    ssim_p: float
    ssim_q: float
    effective_robustness: float


@dataclass(frozen=True)
class SimilarityRow:
    """How near a distribution's test slices are to a run's training slices, and how good their images are."""

    run: str
    train_on: str
    encoder: str
    distribution: str
    n_slices: int
    similarity: float
    """Mean over slices of the cosine with the nearest training slice."""


@dataclass(frozen=True, eq=False)
class EvaluationTables:
    """All tables of an evaluation."""

    rows: tuple[QualityRow, ...]
    cells: tuple[CellSummary, ...]
    curves: tuple[CurvePoint, ...]
    robustness: tuple[RobustnessPoint, ...]
    similarity: tuple[SimilarityRow, ...]
    crops: tuple[Crop, ...]
    tunings: Mapping[str, Tuning]
    networks: Mapping[str, str]
    """Name of each run's network."""

    @classmethod
    def of(
        cls, rows: Sequence[QualityRow], crops: Sequence[Crop], similarity: Sequence[SimilarityRow],
        tunings: Mapping[str, Tuning], models: Sequence[ReconstructionRun],
    ) -> EvaluationTables:  # fmt: skip
        """Summarise the rows."""
        trained = {model.name: model.spec.train_on for model in models}
        curves = curve_points(rows, trained)
        return cls(
            tuple(rows), tuple(cell_summaries(rows, trained)), tuple(curves),
            tuple(robustness_points(rows, curves, models)), tuple(similarity), tuple(crops), tunings,
            {model.name: model.spec.network for model in models},
        )  # fmt: skip


def cell_summaries(rows: Sequence[QualityRow], trained: Mapping[str, Sequence[str]]) -> list[CellSummary]:
    """Return the means of every method, distribution, shift and metric on test, and the gain over zero-filling."""
    groups: dict[tuple[Any, ...], list[QualityRow]] = defaultdict(list)
    for row in rows:
        if row.split == "test":
            groups[row.run, row.distribution, row.kind, row.level, row.intensities].append(row)
    found = []
    for (run, *cell), part in groups.items():
        distribution, kind, level, intensities = cell
        trivial = groups[ZERO_FILLED, distribution, kind, level, intensities] if run != ZERO_FILLED else None
        for metric in METRICS:
            mean = mean_quality(part, metric)
            gain = None if trivial is None else mean_quality(part, metric, minus=trivial)
            gained = (None, None, None) if gain is None else (gain.value, gain.low, gain.high)
            found.append(
                CellSummary(
                    run, "+".join(trained.get(run, ())), distribution, kind, level, intensities, metric,
                    len({row.patient for row in part}), mean.value, mean.low, mean.high, *gained,
                )
            )  # fmt: skip
    return found


def curve_points(rows: Sequence[QualityRow], trained: Mapping[str, Sequence[str]]) -> list[CurvePoint]:
    """Return the mean validation SSIM of each run, epoch and distribution."""
    values: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for row in rows:
        if row.split == "val" and row.epoch is not None:
            values[row.run, row.epoch, row.distribution].append(row.ssim)
    return [
        CurvePoint(
            run, "+".join(trained[run]), epoch, distribution, distribution in trained[run], float(np.mean(ssim))
        )
        for (run, epoch, distribution), ssim in values.items()
    ]  # fmt: skip


def robustness_points(
    rows: Sequence[QualityRow], curves: Sequence[CurvePoint], models: Sequence[ReconstructionRun]
) -> list[RobustnessPoint]:
    """Return every network trained on two distributions beside the line of those trained on one of them, P.

    The points are those after every epoch on validation, where there are curves, else those of the test split.
    """
    ssim: dict[tuple[str, int, str], float]
    if curves:
        ssim = {(point.run, point.epoch, point.distribution): point.ssim for point in curves}
    else:
        values: dict[tuple[str, int, str], list[float]] = defaultdict(list)
        for row in rows:
            if (row.split, row.kind, row.intensities) == ("test", CLEAN, OUTPUT) and row.epoch is not None:
                values[row.run, row.epoch, row.distribution].append(row.ssim)
        ssim = {key: float(np.mean(part)) for key, part in values.items()}
    found = []
    measured = {distribution for _, _, distribution in ssim}
    for model in models:
        if len(model.spec.train_on) != 2 or not measured.issuperset(model.spec.train_on):
            continue
        for p, q in (model.spec.train_on, model.spec.train_on[::-1]):
            alone = {m.name for m in models if m.spec.train_on == (p,) and m.spec.network == model.spec.network}
            line = [(ssim[key], ssim[key[0], key[1], q]) for key in ssim if key[0] in alone and key[2] == p]
            epoch = model.description.epoch
            if (model.name, epoch, p) not in ssim or len({on_p for on_p, _ in line}) < MIN_ON_LINE:
                continue
            expected = expected_quality(*np.array(line).T)
            on_p, on_q = ssim[model.name, epoch, p], ssim[model.name, epoch, q]
            found.append(
                RobustnessPoint(
                    model.spec.network, p, q, model.name, len(line), expected.slope, expected.intercept,
                    expected.residual_std, on_p, on_q, float(expected.effective_robustness(on_p, on_q)),
                )
            )  # fmt: skip
    return found


def similarity_rows(
    models: Sequence[ReconstructionRun], found: MeasuredData, bench: Bench, watch: Watch
) -> list[SimilarityRow]:
    """Return how near each distribution is to each run's training data, in the features of the first run's U-Net."""
    source = next((model for model in models if encoder_of(model.network) is not None), None)
    if source is None:
        watch.say("no run has a U-Net: nothing to measure similarity with")
        return []
    encoder = encoder_of(source.network)
    assert encoder is not None
    watch.say("similarity")
    known: dict[str, np.ndarray] = {}

    def vectors(volumes: Iterable[Any]) -> np.ndarray:
        for paired in volumes:
            if paired.volume.file not in known:
                known[paired.volume.file] = features(encoder, bench.target(paired))
        return np.concatenate([known[paired.volume.file] for paired in volumes])

    rows = []
    for model in models:
        train = vectors(found.trained_on[model.name])
        for name, volumes in found.parts["test"].items():
            nearest = nearest_similarity(train, vectors(volumes))
            rows.append(
                SimilarityRow(
                    model.name, "+".join(model.spec.train_on), source.name, name, len(nearest), float(nearest.mean())
                )
            )
    return rows


def write_tables(folder: Path, tables: EvaluationTables) -> None:
    """Write the frozen table, and the summaries that are not empty."""
    from diagnose.reconstruction.evaluation_figures import draw_figures

    write_quality(folder / "quality.csv.gz", tables.rows)
    tuned = [
        {"distribution": name, "regularisation": value, "validation_ssim": ssim, "chosen": value == one.regularisation}
        for name, one in tables.tunings.items()
        for value, ssim in one.ssim.items()
    ]
    summaries: dict[str, Sequence[Any]] = {
        "matrix.csv": tables.cells,
        "curves.csv": tables.curves,
        "effective_robustness.csv": tables.robustness,
        "similarity.csv": tables.similarity,
        "regularisation.csv": tuned,
    }
    for name, rows in summaries.items():
        if rows:
            write_text(folder / name, csv_of([row if isinstance(row, dict) else asdict(row) for row in rows]))
    if tables.crops:
        text = csv_of([asdict(crop) for crop in tables.crops])
        with written_whole(folder / "findings.csv.gz") as partial:
            partial.write_bytes(gzip.compress(text.encode(), compresslevel=6, mtime=0))
    draw_figures(folder, tables)


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV, numbers to seven digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(f"{value:.7g}" if isinstance(value, float) else value for value in row.values())
    return text.getvalue()


def result_lines(tables: EvaluationTables) -> list[str]:
    """Return the SSIM of every method on every distribution as text."""
    clean = [one for one in tables.cells if (one.kind, one.intensities, one.metric) == (CLEAN, OUTPUT, "ssim")]
    lines = ["SSIM on the clean test volumes, 95 % patient-bootstrap intervals; gain over zero-filling:"]
    for run in dict.fromkeys(one.run for one in clean):
        lines.append(run)
        for one in clean:
            if one.run == run:
                interval = "(no interval: few patients)" if one.low is None else f"[{one.low:.3f}, {one.high:.3f}]"
                gain = "" if one.gain is None else f"  gain {one.gain:+.3f}"
                lines.append(f"  {one.distribution:16} {one.mean:.3f} {interval}{gain}")
    return lines
