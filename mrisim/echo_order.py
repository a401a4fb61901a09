"""When each phase-encode line is acquired: shots, echo trains, orderings."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mrisim.scan import Scan

Ordering = Literal["sequential", "centric", "interleaved", "tse"]


@dataclass(frozen=True)
class EchoOrder:
    """The acquisition of the lines of one scan; every array has one entry per phase-encode column.

    Columns that were not acquired have shot and echo -1 and time nan.
    """

    shot_of_line: np.ndarray
    echo_of_line: np.ndarray
    time_ms: np.ndarray
    """Time of the line's echo after the start of the first shot."""


def echo_order(scan: Scan, ordering: Ordering = "tse") -> EchoOrder:
    """Tell the time of every acquired line of a scan.

    sequential
        One line a shot, from the lowest to the highest phase encode.
    centric
        One line a shot, from the centre outwards, alternating sides, the positive side first.
    interleaved
        One line a shot, every second line first, then the others.
    tse
        Echo train: k-space is cut into `echo_train_length` contiguous bands; echo e of shot s acquires the s-th line of
        its band, and the train runs through the bands from one edge to the other. Where the lines do not fill the last
        shots, the bands differ by one line.

    Parameters
    ----------
    scan : Scan
        Repetition time, echo spacing and echo-train length are those of its acquisition.
    ordering : {"sequential", "centric", "interleaved", "tse"}

    Notes
    -----
    Limits: the ordering of a measured scan is unknown (formats do not store it); "tse" is an assumption that the
    sidecar records. All slices share one time course.

    References
    ----------
    Bernstein, King & Zhou, Handbook of MRI Pulse Sequences, 2004, chapter 16 (echo trains).
    """
    lines, n_lines_total = scan.sampled_lines, scan.matrix[1]
    rank = np.arange(lines.size)
    if ordering == "tse":
        n_shots = -(-lines.size // max(1, scan.acquisition.echo_train_length))
        band_edges = np.linspace(0, lines.size, -(-lines.size // n_shots) + 1).round().astype(int)
        echo = np.searchsorted(band_edges, rank, side="right") - 1
        shot = rank - band_edges[echo]
    else:
        echo = np.zeros_like(rank)
        shot = np.empty_like(rank)
        shot[_one_line_a_shot(lines, n_lines_total // 2, ordering)] = rank
    order = EchoOrder(
        shot_of_line=np.full(n_lines_total, -1),
        echo_of_line=np.full(n_lines_total, -1),
        time_ms=np.full(n_lines_total, np.nan),
    )
    order.shot_of_line[lines] = shot
    order.echo_of_line[lines] = echo
    acquisition = scan.acquisition
    order.time_ms[lines] = shot * acquisition.repetition_time_ms + echo * acquisition.echo_spacing_ms
    return order


def _one_line_a_shot(lines: np.ndarray, centre: int, ordering: Ordering) -> np.ndarray:
    """Return the ranks of the lines in the order of their acquisition."""
    rank = np.arange(lines.size)
    if ordering == "sequential":
        return rank
    if ordering == "interleaved":
        return np.concatenate([rank[0::2], rank[1::2]])
    signed = lines - centre
    return np.lexsort((-signed, np.abs(signed)))
