"""What an evaluation is asked for: kinds, levels, reconstructions, and what the networks do at test time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diagnose.adapt import Adaptation
from diagnose.evaluation.pseudo_count import validation_shifts
from diagnose.evaluation.released_artifacts import LEVELS, released_table_version
from diagnose.slice_images import CLEAN, Shift
from diagnose.trained_model import level_table_version
from mrisim.errors import ConfigError


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate under which shifts."""

    kinds: tuple[str, ...]
    levels: tuple[int, ...]
    """0 is clean: it is always evaluated, once for each reconstruction."""
    reconstructions: tuple[str, ...] = ("rss",)
    seed: int = 0
    """Of the corruptions; equal for all runs of a study."""
    adaptations: tuple[Adaptation, ...] = (Adaptation(),)
    validation_shifts: bool = False
    """Shift the validation split too, by corruptions of its own seed: to re-tune an operating point on, for example."""

    @property
    def shifts(self) -> tuple[Shift, ...]:
        """Every shift of the test split, the clean one of each reconstruction first."""
        shifts = []
        for recon in self.reconstructions:
            shifts.append(Shift(CLEAN, 0, recon, self.seed))
            shifts += [
                Shift(kind, level, recon, self.seed) for kind in self.kinds for level in self.levels if level > 0
            ]
        return tuple(shifts)

    @property
    def shifts_of_validation(self) -> tuple[Shift, ...]:
        """The same kinds, levels and reconstructions with the seed of validation, without the clean ones."""
        return validation_shifts(self.shifts, self.seed)

    def record(self) -> dict[str, Any]:
        """Return the request as JSON values."""
        more: dict[str, Any] = {}
        if set(self.kinds) & set(LEVELS):
            more["released_levels"] = released_table_version()
        if self.validation_shifts:
            more["validation_shifts"] = True
        return more | {
            "kinds": list(self.kinds),
            "levels": list(self.levels),
            "reconstructions": list(self.reconstructions),
            "seed": self.seed,
            "adaptations": [adaptation.label for adaptation in self.adaptations],
            "level_table": level_table_version(),
        }

    def check_validation(self) -> None:
        """Refuse to shift validation by nothing.

        Raises
        ------
        ConfigError
        """
        wants = [adaptation.label for adaptation in self.adaptations if adaptation.auto]
        wants += ["validation_shifts"] * self.validation_shifts
        if wants and not self.shifts_of_validation:
            raise ConfigError(f"{wants[0]} needs shifted validation images; expected a level above 0")
