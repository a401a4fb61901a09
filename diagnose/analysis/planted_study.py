"""For tests, ours and others': the prediction blocks of a study whose effects of norm, seed and patient are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from diagnose.analysis.arms import FROZEN, PUBLISHED_PREFIX, RunFactors
from diagnose.evaluation.prediction_table import Cell, PredictionBlock
from diagnose.slice_images import CLEAN
from mrisim.seeding import stream


@dataclass(frozen=True)
class PlantedStudy:
    """Scores are normal: separation x label, and random parts of seed, patient and slice.

    A norm's ``effect`` is added to its separation under shift, its ``head_start`` to all of its separations.
    """

    norms: tuple[str, ...] = ("bn", "gn")
    n_seeds: int = 5
    n_patients: int = 60
    n_slices: int = 3
    findings: tuple[str, ...] = ("acl", "mtear")
    kinds: tuple[str, ...] = ("noise", "motion")
    levels: tuple[int, ...] = (1, 3)
    effect: Mapping[str, float] = field(default_factory=dict)
    head_start: Mapping[str, float] = field(default_factory=dict)
    adaptations: Mapping[str, float] = field(default_factory=dict)
    """Of bn, beside frozen: what each adds to its separation under shift."""
    scalings: tuple[str, ...] = ("z-score",)
    clean_separation: float = 2.4
    drop_by_level: float = 0.25
    seed_sd: float = 0.12
    interaction_sd: float = 0.08
    patient_sd: float = 0.4
    seed: int = 0
    """Of everything that is drawn."""

    @property
    def runs(self) -> dict[str, RunFactors]:
        """Every run by its name."""
        return {
            f"{norm}__{scaling}__seed{seed}": RunFactors(norm, scaling, "", seed)
            for norm in self.norms
            for scaling in self.scalings
            for seed in range(self.n_seeds)
        }

    def blocks(self) -> list[PredictionBlock]:
        """Return clean validation rows, clean test rows and shifted test rows of every run."""
        exams = {split: self._exams(split) for split in ("val", "test")}
        of_seed = stream(self.seed, "effects of seeds").normal(size=self.n_seeds) * self.seed_sd
        return [block for name in self.runs for block in self._run_blocks(name, exams, of_seed)]

    def _exams(self, split: str) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
        """Return items, patients and labels (slice, finding); half of the patients have each finding."""
        rng = stream(self.seed, "labels", split)
        numbers = np.repeat(np.arange(self.n_patients), self.n_slices)
        positive = np.stack([rng.permutation(self.n_patients) < self.n_patients / 2 for _ in self.findings], axis=1)
        present = rng.random((len(numbers), len(self.findings))) < 0.5
        present[:: self.n_slices] = True
        items = tuple(f"{split}_{n:03d}/{k % self.n_slices:03d}" for k, n in enumerate(numbers))
        return items, np.array([f"{split}-{n}" for n in numbers]), (present & positive[numbers]).astype(np.int8)

    def _run_blocks(
        self, name: str, exams: Mapping[str, tuple[tuple[str, ...], np.ndarray, np.ndarray]], of_seed: np.ndarray
    ) -> Iterator[PredictionBlock]:
        run = self.runs[name]
        rng = stream(self.seed, "scores", name)
        own = of_seed[run.seed] + self.interaction_sd * rng.normal() + self.head_start.get(run.norm, 0.0)
        added = {FROZEN: 0.0} | (dict(self.adaptations) if run.norm == "bn" else {})
        places = [("val", CLEAN, 0), ("test", CLEAN, 0)]
        places += [("test", kind, level) for kind in self.kinds for level in self.levels]
        for adaptation, gain in added.items():
            for split, kind, level in places:
                items, patients, labels = exams[split]
                separation = self.clean_separation + own
                if level:
                    separation += self.effect.get(run.norm, 0.0) + gain - self.drop_by_level * level
                scores = separation * labels + self._noise(run, split, (kind, level), labels.shape)
                version = f"{PUBLISHED_PREFIX}planted" if kind.startswith(PUBLISHED_PREFIX) else "planted"
                cell = Cell(name, split, kind, level, "rss", adaptation, version)
                yield PredictionBlock(cell, items, patients, self.findings, scores.astype(np.float32), labels)

    def _noise(self, run: RunFactors, split: str, place: tuple[str, int], shape: tuple[int, int]) -> np.ndarray:
        """Return random parts: of patient and slice, shared by all runs or not, by all cells or not."""
        n_patients = shape[0] // self.n_slices

        def by_patient(*names: str | int) -> np.ndarray:
            drawn = stream(self.seed, "patients", split, *names).normal(size=(n_patients, shape[1]))
            return np.repeat(drawn, self.n_slices, axis=0)

        def by_slice(*names: str | int) -> np.ndarray:
            return stream(self.seed, "slices", split, *names).normal(size=shape)

        who = (run.norm, run.seed, run.scaling)
        patients = self.patient_sd * (by_patient() + by_patient(*who)) / np.sqrt(2)
        return (
            patients + 0.6 * by_slice() + 0.4 * by_slice(*who) + 0.4 * by_slice(*place) + 0.3 * by_slice(*who, *place)
        )
