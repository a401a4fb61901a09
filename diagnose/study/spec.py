"""What a study asks: norms x input scalings x seeds x training shifts, judged under the same shifts of the test split.

All that inference needs is in here, resolved and written to ``study.yaml`` before the first run: the primary endpoint,
the reference, the compared norms, and the one scaling and training shift that they are compared in.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from diagnose.input_scaling import ScalingName
from diagnose.study.plans import DriftPlan, EvaluationPlan, InferencePlan, Seed, StudyPart, TuningPlan, distinct
from diagnose.training.spec import TrainSpec
from mrisim.errors import ConfigError, DataError

STUDY = "study.yaml"
RUNS, TUNING_RUNS, EVALUATION, DRIFT = "runs", "tuning", "evaluation", "drift"

FACTORS = ("norm", "scaling", "train_shift", "seed")
"""Fields of `TrainSpec` that a study varies; all others are equal for all its runs, but for what tuning chooses."""


class StudySpec(StudyPart):
    """A study, resolved."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    question: str = Field(min_length=1)
    norms: tuple[str, ...] = Field(min_length=1)
    apart: tuple[str, ...] = ()
    """Norms that are trained and shown, and stay out of the confirmatory comparison."""
    scalings: tuple[ScalingName, ...] = Field(default=("z-score",), min_length=1)
    seeds: tuple[Seed, ...] = Field(min_length=1)
    """Each trained once with every norm, so that norms are compared seed by seed."""
    train_shifts: tuple[str, ...] = Field(default=("",), min_length=1)
    train: dict[str, Any] = Field(default_factory=dict)
    """Fields of `TrainSpec`, equal for all runs."""
    tuning: TuningPlan | None = None
    evaluation: EvaluationPlan = Field(default_factory=EvaluationPlan)
    drift: DriftPlan | None = None
    """Resolved: at the highest level of the evaluation where nothing else is asked; null leaves it out."""
    inference: InferencePlan
    n_threads: int = Field(default=1, ge=1)
    """Of each worker. Part of the request: sums, and so the weights, depend on it."""

    @model_validator(mode="before")
    @classmethod
    def _resolve_inference(cls, values: Any) -> Any:
        """Fill in what follows from the rest, so that study.yaml says it."""
        if not isinstance(values, dict):
            return values
        from mrisim.artifacts import KINDS

        values, given = dict(values), values.get("inference", {})
        try:
            evaluation = EvaluationPlan.model_validate(values.get("evaluation", {}))
        except ValidationError:
            return values  # reported, with its place, when the field is validated
        if not isinstance(given, dict):
            return values
        reference = given.get("reference", InferencePlan.model_fields["reference"].default)
        norms = values.get("norms")
        values["inference"] = {
            "compared": [norm for norm in norms if norm != reference] if isinstance(norms, list | tuple) else [],
            "scaling": _first(values.get("scalings"), "z-score"),
            "train_shift": _first(values.get("train_shifts"), ""),
            "reconstruction": evaluation.reconstructions[0],
            # Image-domain kinds stand beside the endpoint, unless a plan names them.
            "kinds": [kind for kind in evaluation.kinds if kind in KINDS] or evaluation.kinds,
            "levels": [level for level in evaluation.levels if level > 0],
            **given,
        }
        drift, highest = values.get("drift", {}), max(evaluation.levels, default=0)
        if isinstance(drift, dict):
            values["drift"] = {"levels": [highest], **drift} if drift or highest else None
        return values

    @field_validator("norms", "apart", "scalings", "seeds", "train_shifts")
    @classmethod
    def _no_repeats(cls, entries: tuple[Any, ...], info: Any) -> tuple[Any, ...]:
        return distinct(entries, info.field_name)

    @field_validator("train")
    @classmethod
    def _resolve_train(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in values:
            if name in FACTORS:
                raise ValueError(f"{name} is varied by the study; expected it in the study's lists, not in train")
            if name not in TrainSpec.model_fields:
                known = (field for field in TrainSpec.model_fields if field not in FACTORS)
                raise ValueError(f"{name}: no such setting; expected one of {', '.join(known)}")
        try:
            spec = TrainSpec(**values)
        except ValidationError as error:
            raise ValueError(_first_problem(error)) from None
        return {name: value for name, value in spec.model_dump().items() if name not in FACTORS}

    @model_validator(mode="after")
    def _check(self) -> StudySpec:
        for norm in self.all_norms:
            for shift in self.train_shifts:
                _checked_train(norm=norm, train_shift=shift)
        for norm in self.apart:
            if norm in self.norms:
                raise ValueError(f"{norm} is among norms and apart; expected it in one of them")
        if self.tuning is not None and self.tuning.seed in self.seeds:
            raise ValueError(f"tuning.seed {self.tuning.seed} is one of the study's seeds; expected another one")
        self._check_inference()
        return self

    def _check_inference(self) -> None:
        plan = self.inference
        for what, got, allowed in (
            ("reference", (plan.reference,), self.norms),
            ("compared", plan.compared, tuple(norm for norm in self.norms if norm != plan.reference)),
            ("scaling", (plan.scaling,), self.scalings),
            ("train_shift", (plan.train_shift,), self.train_shifts),
            ("reconstruction", (plan.reconstruction,), self.evaluation.reconstructions),
            ("kinds", plan.kinds, self.evaluation.kinds),
            ("levels", plan.levels, self.evaluation.levels),
        ):
            for value in got:
                if value not in allowed:
                    raise ValueError(
                        f"inference.{what} is {value!r}; expected one of {', '.join(map(repr, allowed))}, "
                        "which the study has"
                    )

    @property
    def all_norms(self) -> tuple[str, ...]:
        """The norms that are trained: those of the comparison, then those apart."""
        return self.norms + self.apart

    @property
    def seeds_note(self) -> str:
        """What the number of seeds allows to be said; empty from 5 on."""
        from diagnose.statistics.multireader import ADVISED_SEEDS

        n_seeds = len(self.seeds)
        if n_seeds >= ADVISED_SEEDS:
            return ""
        return f"{n_seeds} seed{'s' if n_seeds > 1 else ''}: exploratory"

    @property
    def label(self) -> str:
        """Default name of the folder: the study's name and a hash of the request."""
        return f"{self.name}__{self._digest('')[:8]}"

    def identity(self, data_identity: str) -> str:
        """Return the hash of the request on these data."""
        return self._digest(data_identity)

    def _digest(self, data_identity: str) -> str:
        content = json.dumps({"study": self.model_dump(mode="json"), "data": data_identity}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def yaml_text(self) -> str:
        """Return the request as YAML, every default written out."""
        import yaml

        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)


def make_study(values: dict[str, Any], settings: list[str] | tuple[str, ...] = ()) -> StudySpec:
    """Build a study from values and from ``a.b=value`` settings, which win.

    Raises
    ------
    ConfigError
        If a name is unknown or a value cannot be used; the message names it.
    """
    import yaml

    values = json.loads(json.dumps(values))
    for text in settings:
        name, equals, value = text.partition("=")
        *parents, last = name.split(".")
        if not equals or not all((*parents, last)):
            raise ConfigError(f"--set {text}: expected NAME=VALUE, as in train.epochs=10 or seeds=[1,2]")
        place = values
        for parent in parents:
            if place.get(parent) is None:
                place[parent] = {}
            place = place[parent]
            if not isinstance(place, dict):
                raise ConfigError(f"--set {name}: {parent} has no settings of its own")
        try:
            place[last] = yaml.safe_load(value) if value else ""
        except yaml.YAMLError:
            raise ConfigError(f"--set {name}: {value!r} is no YAML value") from None
    try:
        return StudySpec.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_first_problem(error)) from None


def read_study(file: Path, settings: list[str] | tuple[str, ...] = ()) -> StudySpec:
    """Read a study file, or the ``study.yaml`` of a study's folder.

    Raises
    ------
    DataError
        If it is not there or no YAML.
    ConfigError
        If it asks for something that cannot be.
    """
    import yaml

    if file.is_dir():
        file = file / STUDY
    if not file.is_file():
        raise DataError(f"{file.name} is not there; expected a study file (YAML), or the folder of a study")
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{file.name} cannot be read as YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise DataError(f"{file.name} holds no settings; expected name, question, norms, seeds, ...")
    return make_study(values, settings)


def _checked_train(**values: Any) -> None:
    try:
        TrainSpec(**values)
    except ValidationError as error:
        raise ValueError(_first_problem(error)) from None


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    if isinstance(first["input"], dict):  # the whole request: its own message says what is wrong with it
        return f"{place}: {reason}" if place else reason
    return f"{place or 'the request'}: {reason} (got {first['input']!r})"


def _first(entries: Any, default: str) -> Any:
    return entries[0] if isinstance(entries, list | tuple) and entries else default
