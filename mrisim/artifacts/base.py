"""What every artifact kind is: a frozen, serialisable spec that draws latents once and applies them exactly.

    spec = Motion.at_level(3, n_coils=8)          what is asked for, in physical units
    latents = spec.draw(scan, rng=rng)            every random number, as a small dataclass of arrays
    corrupted = spec.apply(scan, latents)         deterministic; the input is never changed

The severity only scales the unit latents, so that a higher level is never milder on the same image.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mrisim.errors import ConfigError
from mrisim.scan import Scan

N_LEVELS = 5


class Stage(IntEnum):
    """Where in the signal path a kind acts: kinds compose in this order, whatever order they are named in.

    The receive coils come before the pose because both act on one object model: y + F S' T x - F S x needs S' first.
    """

    COILS = 1
    POSE = 2
    SAMPLING = 3
    LINE_ERRORS = 4
    INTERFERENCE = 5
    NOISE = 6


@dataclass(frozen=True)
class Check:
    """One law of a kind, evaluated on this device: what a closed form expects and what came out."""

    law: str
    expected: float
    got: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the result lies within the tolerance."""
        return bool(abs(self.got - self.expected) <= self.tolerance)


class ArtifactSpec(BaseModel):
    """Base of every kind's spec. Subclasses give `kind`, the parameters with units and bounds, and the class facts."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    kind: str
    level: int | None = Field(default=None, ge=0, le=N_LEVELS, description="The level this spec was made from, if any.")

    stage: ClassVar[Stage]
    scope: ClassVar[Literal["volume", "slice"]]
    """Whether the latents are drawn once for the volume or anew for each slice."""
    severity: ClassVar[str]
    """Name of the parameter that the level sets."""
    identity: ClassVar[float]
    """Value of that parameter at which the kind does nothing."""
    needs_object_model: ClassVar[bool] = False
    slices_share: ClassVar[bool] = False
    """Whether slices that are corrupted together cost less than each alone, even where they leave the cache."""
    latents_type: ClassVar[type]
    only_where: ClassVar[dict[str, tuple[str, str]]] = {}
    """Parameters that mean something where another one has a certain value: (that one's name, value) by name."""

    @classmethod
    def at_level(cls, level: int, *, n_coils: int = 8, **parameters: Any) -> Self:
        """Return the spec of a level; given parameters override the level's.

        Raises
        ------
        ConfigError
            If the level is not 0..5, or a parameter has no effect beside the others.
        pydantic.ValidationError
            If a parameter is unknown or out of bounds.
        """
        if level not in range(N_LEVELS + 1):
            raise ConfigError(f"level of {kind_name(cls)} is {level}; expected 0 (off) to {N_LEVELS}")
        ladder, severity = cls.ladder(parameters)
        value = cls.identity if level == 0 else level_value(ladder, level, n_coils)
        spec = cls(**{"level": level, severity: value, **parameters})
        for name in parameters:
            other, needed = cls.only_where.get(name, ("", ""))
            if other and getattr(spec, other) != needed:
                raise ConfigError(
                    f"{kind_name(cls)}.{name} has no effect where {other} is {getattr(spec, other)}; expected {needed}"
                )
        return spec

    @classmethod
    def ladder(cls, parameters: dict[str, Any]) -> tuple[str, str]:
        """Return the name of the level table, and of the parameter it sets, for a spec with these parameters."""
        return kind_name(cls), cls.severity

    @property
    def is_identity(self) -> bool:
        """Whether this spec leaves every scan as it is."""
        return bool(getattr(self, self.severity) == self.identity)

    @abstractmethod
    def draw(self, scan: Scan, *, rng: np.random.Generator) -> Any:
        """Draw the latents; they do not depend on the severity."""

    @abstractmethod
    def apply(self, scan: Scan, latents: Any) -> Scan:
        """Return the corrupted scan."""

    def sampled_after(self, scan: Scan, latents: Any) -> np.ndarray:
        """Return which samples are acquired once this kind has acted: (readout, phase_encode), bool."""
        return scan.sampled

    @classmethod
    @abstractmethod
    def oracle(cls, device: str) -> tuple[Check, ...]:
        """Evaluate this kind's closed-form laws on a device."""


def kind_name(spec: type[ArtifactSpec]) -> str:
    """Return the `kind` literal of a spec class."""
    return str(spec.model_fields["kind"].default)


@cache
def level_table() -> dict[str, Any]:
    """Return the committed level table, as `mrisim calibrate` wrote it."""
    return json.loads(files("mrisim.artifacts").joinpath("levels.json").read_text(encoding="utf-8"))


def level_value(kind: str, level: int, n_coils: int) -> float:
    """Return the severity of a level; a table for several coil numbers is interpolated in log(coils)."""
    entry = level_table()["kinds"][kind]
    columns = [row[level - 1] for row in entry["values"]]
    if len(columns) == 1:
        return float(columns[0])
    position = np.interp(np.log(n_coils), np.log(entry["n_coils"]), np.arange(len(columns)))
    below = int(min(position, len(columns) - 2))
    fraction = float(position) - below
    return float(columns[below] * (1 - fraction) + columns[below + 1] * fraction)
