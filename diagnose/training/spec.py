"""What a training run is asked to do: the whole request, frozen, and the hash that names its folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from diagnose.dataset import DataRequest
from diagnose.input_scaling import ScalingName
from mrisim.errors import ConfigError


class LoopSpec(BaseModel):
    """What every training run has, whatever its task; ``seed`` moves initialisation and the order of items only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: ClassVar[str]
    """Name of its module in `diagnose.tasks`."""
    largest_gradient: ClassVar[float | None] = None
    """Norm to which gradients are clipped."""

    norm: str
    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    lr: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: str = "one-cycle"
    patience: int = Field(default=10, ge=1)
    """Epochs without a better validation after which training stops."""
    seed: int = Field(default=0, ge=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    memory_format: Literal["auto", "contiguous", "channels-last"] = "auto"

    @field_validator("norm")
    @classmethod
    def _norm_exists(cls, norm: str) -> str:
        from diagnose.norms import NORMS

        if norm not in NORMS:
            raise ValueError(f"norm is {norm!r}; expected one of {', '.join(NORMS)}")
        return norm

    def identity(self, data_identity: str) -> str:
        """Return the hash of the request on these data: what names the folder and decides whether a run is the same."""
        content = json.dumps({**self.model_dump(), "data": data_identity}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


class TrainSpec(LoopSpec):
    """A training run of slice-level diagnosis; but for ``norm`` and ``seed``, all is equal for all runs of a study.

    The defaults are those of the embedded cohort (96 x 96). The paper's setting is width 64, stem_stride 1,
    pooled_size 10, scaling raw, max_shift_px 0, schedule constant, lr 1e-5, weight_decay 1e-4, epochs 200, patience 5.
    """

    task: ClassVar[str] = "classification"

    norm: str = "gn"
    depth: Literal[18, 34, 50] = 18
    width: int = Field(default=16, ge=4)
    stem_stride: int = Field(default=2, ge=1)
    pooled_size: int = Field(default=3, ge=1)

    label_map: str = "fastmri_plus_knee_4way"
    split_seed: int = Field(default=0, ge=0)
    drop_incomplete: bool = False
    crop: int | None = Field(default=None, ge=8)
    scaling: ScalingName = "z-score"
    train_shift: str = ""
    """"" (clean), KIND:LEVEL, KIND:random, or random: what training k-space goes through, anew each epoch."""
    corruption_seed: int = Field(default=0, ge=0)

    epochs: int = Field(default=30, ge=1)
    batch: int = Field(default=32, ge=2)
    lr: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    max_shift_px: int = Field(default=4, ge=0)
    """Random translation of training images, in pixels."""

    @field_validator("train_shift")
    @classmethod
    def _shift_exists(cls, text: str) -> str:
        from mrisim.artifacts import spec_class

        kind, colon, level = text.partition(":")
        if text in ("", "random"):
            return text
        if not colon or (level != "random" and level not in tuple("012345")):
            raise ValueError(f"train shift is {text!r}; expected KIND:LEVEL (0..5), KIND:random, or random")
        try:
            spec_class(kind)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return text

    def data_request(self, root: Path, labels: Path | None = None, split: Path | None = None) -> DataRequest:
        """Return the data side of the request. Paths are no part of a run's identity, the content of the files is."""
        return DataRequest(root, labels, self.label_map, split, self.split_seed, self.drop_incomplete)


Spec = TypeVar("Spec", bound=LoopSpec)


def make_spec(values: dict[str, Any], settings: list[str], spec_type: type[Spec] = TrainSpec) -> Spec:  # type: ignore[assignment]
    """Build a request from values and from ``name=value`` settings, which win.

    Raises
    ------
    ConfigError
        If a name is unknown or a value cannot be used; the message names it.
    """
    import yaml

    values = dict(values)
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--set {text}: expected NAME=VALUE")
        if name not in spec_type.model_fields:
            raise ConfigError(f"--set {name}: no such setting; expected one of {', '.join(spec_type.model_fields)}")
        # YAML 1.1 takes 2e-3 for a text; pydantic makes a number of it.
        values[name] = yaml.safe_load(value) if value else ""
    try:
        return spec_type(**values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the request"
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{place}: {reason} (got {first['input']!r})") from None
