"""Results of a shifted evaluation as a CSV file and as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from diagnose.evaluation.shift_results import MEAN, ShiftResult
from diagnose.slice_images import CLEAN
from mrisim.files import write_text


def write_results(path: Path, results: Sequence[ShiftResult]) -> None:
    """Write one row for each model, shift and finding; numbers with six digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(ShiftResult)])
    for result in results:
        writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in result.record.values()])
    write_text(path, text.getvalue())


def result_lines(results: Sequence[ShiftResult]) -> list[str]:
    """Return the results as text: clean by finding, then AUROC, drop and retained discrimination by kind and level."""
    lines: list[str] = []
    for group in dict.fromkeys((result.run, result.adaptation, result.recon) for result in results):
        rows = [result for result in results if (result.run, result.adaptation, result.recon) == group]
        lines += ["", f"{group[0]}  ({group[2]}, {group[1]})", *_clean_lines(rows)]
        means = [row for row in rows if row.finding == MEAN]
        if means:
            lines += _shift_lines(means)
        else:
            lines.append("  no finding is learnt (clean AUROC of 0.80 or more): no statement about robustness")
    lines += [
        "",
        "95 % intervals: bootstrap over patients, of one trained model each. They hold no variance of seeds:",
        "no statement about norms. Scores on the embedded cohort are simulation results.",
    ]
    return lines


def _clean_lines(rows: Sequence[ShiftResult]) -> list[str]:
    lines = ["  clean AUROC"]
    for row in rows:
        if row.level == 0 and row.kind == _clean_kind(rows) and row.finding != MEAN:
            mark = "" if row.learnt else "   not learnt: left out of the means below"
            lines.append(f"    {row.finding:12} {_with_interval(row.auroc, row.low, row.high)}{mark}")
            if row.no_interval:
                lines[-1] += f"   no interval: {row.no_interval}"
    return lines


def _clean_kind(rows: Sequence[ShiftResult]) -> str:
    return CLEAN if any(row.kind == CLEAN for row in rows) else next(row.kind for row in rows if row.level == 0)


def _shift_lines(means: Sequence[ShiftResult]) -> list[str]:
    """Return two lines for each kind: AUROC with its interval; drop, and retained discrimination."""
    clean = next(row for row in means if row.level == 0 and row.kind == _clean_kind(means))
    levels = sorted({row.level for row in means if row is not clean})
    by_place = {(row.kind, row.level): row for row in means if row is not clean}
    lines = [
        f"  AUROC, {MEAN} findings, with interval; below it the drop, and the retained share of (AUROC - 1/2)",
        f"    clean {_with_interval(clean.auroc, clean.low, clean.high)}",
        f"    {'kind':14}" + "".join(f"{'level ' + str(level):24}" for level in levels),
    ]
    for kind in dict.fromkeys(kind for kind, _ in by_place):
        rows = [by_place.get((kind, level)) for level in levels]
        areas = [_with_interval(row.auroc, row.low, row.high) if row else "" for row in rows]
        drops = [f"{-row.drop:+.3f}, {row.retained:.0%} retained" if row else "" for row in rows]
        lines.append(f"    {kind:14}" + "".join(f"{text:24}" for text in areas).rstrip())
        lines.append(f"    {'':14}" + "".join(f"{text:24}" for text in drops).rstrip())
    return lines


def _with_interval(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.3f}" if low is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"
