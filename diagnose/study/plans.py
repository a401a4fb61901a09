"""The parts of a study's request: tuning grid, shifts of the test split, drift, confirmatory comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from diagnose.input_scaling import ScalingName
from diagnose.statistics.metrics import LEARNT_AUROC
from mrisim.errors import ConfigError

if TYPE_CHECKING:
    from diagnose.drift.request import DriftRequest
    from diagnose.evaluation.request import EvaluationRequest

Level = Annotated[int, Field(ge=0, le=5)]
Seed = Annotated[int, Field(ge=0)]


class StudyPart(BaseModel):
    """Frozen, and nothing in it that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class TuningPlan(StudyPart):
    """The same grid for every norm, one seed, chosen by the mean AUROC of clean validation alone."""

    lr: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
    weight_decay: tuple[Annotated[float, Field(ge=0)], ...] = Field(min_length=1)
    seed: Seed
    """None of the study's: the run that won the grid was lucky, and may not be judged again."""


class EvaluationPlan(StudyPart):
    """The shifts of the test split."""

    kinds: tuple[str, ...] = ("all",)
    levels: tuple[Level, ...] = (0, 1, 2, 3, 4, 5)
    reconstructions: tuple[str, ...] = ("rss",)
    adaptations: tuple[str, ...] = ("frozen",)
    """What norm layers do at test time (`diagnose.adapt`); all but `frozen` act on batch norm alone."""
    seed: Seed = 0
    """Of the corruptions."""
    validation_shifts: bool = False
    """Shift the validation split too, so that the report can show operating points re-tuned on it."""

    @field_validator("kinds")
    @classmethod
    def _kinds_exist(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        from diagnose.slice_images import check_kinds

        try:
            return tuple(check_kinds(kinds))
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @field_validator("reconstructions")
    @classmethod
    def _reconstructions_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        from mrisim.reconstruct import RECONSTRUCTIONS

        for name in names:
            if name not in RECONSTRUCTIONS:
                raise ValueError(f"reconstruction is {name!r}; expected some of {', '.join(RECONSTRUCTIONS)}")
        return distinct(names, "reconstructions")

    @field_validator("adaptations")
    @classmethod
    def _adaptations_exist(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        from diagnose.adapt import parse_adaptation

        try:
            for text in texts:
                parse_adaptation(text)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if "frozen" not in texts:
            raise ValueError(f"adaptations are {list(texts)}; expected frozen among them, which every norm has")
        return distinct(texts, "adaptations")

    def request(self) -> EvaluationRequest:
        """Return the plan as `diagnose.evaluate.evaluate` takes it."""
        from diagnose.adapt import parse_adaptation
        from diagnose.evaluation.request import EvaluationRequest

        adaptations = tuple(parse_adaptation(text) for text in self.adaptations)
        return EvaluationRequest(
            self.kinds, self.levels, self.reconstructions, self.seed, adaptations, self.validation_shifts
        )

    @property
    def n_parts(self) -> int:
        """Splits under shifts that are predicted: clean validation, and the shifts of test and validation."""
        request = self.request()
        return 1 + len(request.shifts) + (len(request.shifts_of_validation) if self.validation_shifts else 0)


class DriftPlan(StudyPart):
    """Why a shift hurts, for the report: one run of each norm of the comparison (`diagnose.drift`)."""

    levels: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field(min_length=1)
    n_slices: int = Field(default=256, ge=2)
    """Of the test split, of which statistics are taken."""
    swap: bool = True
    """Replace batch norm's statistics by those of the shifted images."""
    n_swapped: tuple[Annotated[int, Field(ge=1)], ...] = (2, 8)
    """Also in the first and the last so many layers alone."""

    def request(self, evaluation: EvaluationPlan, reconstruction: str) -> DriftRequest:
        """Return the plan as `diagnose.drift.analyse.analyse_drift` takes it; images are those of the evaluation."""
        from diagnose.drift.request import DriftRequest

        return DriftRequest(
            evaluation.kinds, self.levels, (reconstruction,), seed=evaluation.seed, n_slices=self.n_slices,
            swap=self.swap, n_swapped=self.n_swapped,
        )  # fmt: skip


class InferencePlan(StudyPart):
    """The confirmatory comparison, and what stands beside it; the rest is descriptive.

    Endpoint: AUROC averaged over the learnt findings, the kinds and the levels, each with equal weight; its difference
    to the reference norm over paired seeds; Holm's correction over the compared norms and nothing else.
    """

    endpoint: Literal["mean AUROC over learnt findings, kinds and levels"] = (
        "mean AUROC over learnt findings, kinds and levels"
    )
    reference: str = "bn"
    compared: tuple[str, ...]
    """The family of Holm's correction."""
    correction: Literal["holm"] = "holm"
    secondary: tuple[Literal["clean AUROC"], Literal["degradation"]] = ("clean AUROC", "degradation")
    """Of the same comparisons; not corrected."""
    operating_point: Literal["miss rate below 0.1 on clean validation"] = "miss rate below 0.1 on clean validation"
    """Of each run and finding; re-tuned on shifted validation it stands apart."""
    scaling: ScalingName
    train_shift: str
    reconstruction: str
    adaptation: Literal["frozen"] = "frozen"
    kinds: tuple[str, ...]
    levels: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field(min_length=1)
    learnt_auroc: float = Field(default=LEARNT_AUROC, gt=0.5, lt=1)


def distinct(entries: tuple[Any, ...], what: str) -> tuple[Any, ...]:
    """Return the entries of a list of the request.

    Raises
    ------
    ValueError
        If one is there twice.
    """
    if len(set(entries)) < len(entries):
        raise ValueError(f"{what} are {list(entries)}; expected each one once")
    return entries
