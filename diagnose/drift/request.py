"""What a drift analysis asks: which shifts of which split, how many slices, and which swaps of statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from diagnose.evaluation.released_artifacts import LEVELS, released_table_version
from diagnose.slice_images import CLEAN, Shift
from diagnose.trained_model import level_table_version
from mrisim.seeding import stream

GAINS = (0.5, 2.0, 3.0)
"""Factors of the control: a receiver gain that the image keeps and a diagnosis should not see."""


@dataclass(frozen=True)
class DriftRequest:
    """Which shifts are analysed, and how."""

    kinds: tuple[str, ...]
    levels: tuple[int, ...]
    """0 is clean: it is always there, as the reference."""
    reconstructions: tuple[str, ...] = ("rss",)
    split: str = "test"
    seed: int = 0
    """Of the corruptions; that of `diagnose evaluate`, to explain its numbers."""
    n_slices: int = 256
    """Statistics are of so many slices, drawn at random; of all where there are fewer."""
    swap: bool = True
    n_swapped: tuple[int, ...] = (2, 8)
    """The k of the swaps of the first and the last k batch norms."""

    @property
    def cells(self) -> tuple[tuple[Shift, float], ...]:
        """Every shift and factor; for each reconstruction the clean images first, and the control last."""
        cells = []
        for recon in self.reconstructions:
            cells.append((Shift(CLEAN, 0, recon, self.seed), 1.0))
            cells += [
                (Shift(kind, level, recon, self.seed), 1.0) for kind in self.kinds for level in self.levels if level > 0
            ]
            cells += [(Shift(CLEAN, 0, recon, self.seed), gain) for gain in GAINS]
        return tuple(cells)

    @property
    def shifts(self) -> tuple[Shift, ...]:
        """Every shift once."""
        return tuple(dict.fromkeys(shift for shift, _ in self.cells))

    def record(self) -> dict[str, Any]:
        """Return the request as JSON values."""
        released = {"released_levels": released_table_version()} if set(self.kinds) & set(LEVELS) else {}
        return released | {
            "kinds": list(self.kinds),
            "levels": list(self.levels),
            "reconstructions": list(self.reconstructions),
            "split": self.split,
            "seed": self.seed,
            "gains": list(GAINS),
            "n_slices": self.n_slices,
            "swap": self.swap,
            "n_swapped": list(self.n_swapped) if self.swap else [],
            "level_table": level_table_version(),
        }


def drawn_slices(n_slices: int, n_wanted: int) -> np.ndarray:
    """Return the slices that statistics are taken of, ascending: drawn without replacement from a fixed stream."""
    return np.sort(stream(0, "drift slices").permutation(n_slices)[:n_wanted])
