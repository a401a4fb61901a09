"""What a run of learned reconstruction is asked to do: network, masks, and which distributions it is trained on."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from diagnose.reconstruction.architectures import NETWORKS, NORM_NAMES, PUBLISHED, ReconstructionArchitecture
from diagnose.reconstruction.data_selection import SKEWED_FRACTION
from diagnose.reconstruction.distributions import filters_of
from diagnose.reconstruction.masks import MaskPattern
from diagnose.training.spec import LoopSpec
from mrisim.artifacts.undersampling import EQUISPACED_ACS_FRACTION
from mrisim.errors import ConfigError


class ReconstructionSpec(LoopSpec):
    """A training run of learned reconstruction.

    The defaults are those of the embedded cohorts (96 x 96). The third paper's setting for its smaller networks is
    batch 1, epochs 60, and unet-small, varnet-small or vit-small.
    """

    task: ClassVar[str] = "reconstruction"
    largest_gradient: ClassVar[float | None] = 1.0

    norm: str = PUBLISHED
    network: str = "unet-xsmall"
    acceleration: int = 4
    mask: MaskPattern = "equispaced"
    mask_seed: int = Field(default=0, ge=0)
    train_on: tuple[str, ...] = Field(default=("knee-pd-3t",), min_length=1)
    """Names, or attribute filters, of distributions; see `diagnose.reconstruction.distributions`."""
    selection: Literal["joint", "separate", "skewed", "subset"] = "joint"
    """Joint: all of each. Separate: a joint one of a single distribution, and said to be. Skewed: all of the first and
    a fraction of the second. Subset: a fraction of each. Fractions are of patients."""
    fraction: float | None = Field(default=None, gt=0, le=1)
    selection_seed: int = Field(default=0, ge=0)
    split_seed: int = Field(default=0, ge=0)

    epochs: int = Field(default=20, ge=1)
    batch: int = Field(default=4, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    schedule: Literal["one-cycle-linear", "one-cycle", "constant"] = "one-cycle-linear"
    patience: int = Field(default=1000, ge=1)
    """By default no early stop: every epoch's weights are kept, to see what happens after the best one."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """An SSIM near 1 is finer than bfloat16's three digits."""
    memory_format: Literal["auto", "contiguous", "channels-last"] = "contiguous"

    @field_validator("norm")
    @classmethod
    def _norm_exists(cls, norm: str) -> str:
        if norm not in NORM_NAMES:
            raise ValueError(f"norm is {norm!r}; expected one of {', '.join(NORM_NAMES)}")
        return norm

    @field_validator("network")
    @classmethod
    def _network_exists(cls, network: str) -> str:
        if network not in NETWORKS:
            raise ValueError(f"network is {network!r}; expected one of {', '.join(NETWORKS)}")
        return network

    @field_validator("acceleration")
    @classmethod
    def _acceleration_is_in_the_table(cls, acceleration: int) -> int:
        if acceleration not in EQUISPACED_ACS_FRACTION:
            known = ", ".join(map(str, EQUISPACED_ACS_FRACTION))
            raise ValueError(f"acceleration is {acceleration}; expected one of {known}")
        return acceleration

    @field_validator("train_on")
    @classmethod
    def _distributions_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError(f"a distribution is named twice in {', '.join(names)}; expected each once")
        for name in names:
            try:
                filters_of(name)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return names

    @model_validator(mode="after")
    def _selection_fits(self) -> Self:
        n = len(self.train_on)
        if self.selection == "skewed" and n != 2:
            raise ValueError(f"skewed training is on {n} distributions; expected two, the second one reduced")
        if self.selection == "separate" and n != 1:
            raise ValueError(f"separate training is on {n} distributions; expected one, and a run for each")
        if self.selection == "subset" and self.fraction is None:
            raise ValueError("subset training has no fraction; expected one, as in fraction=0.25")
        if self.selection in ("joint", "separate") and self.fraction is not None:
            raise ValueError(f"fraction is {self.fraction} in {self.selection} training; expected skewed or subset")
        if self.network.startswith("varnet") and self.precision == "bfloat16":
            raise ValueError("a varnet has complex Fourier transforms, which bfloat16 has none of; expected float32")
        return self

    @property
    def part_of(self) -> tuple[float, ...]:
        """Fraction of the patients of each distribution that are trained on."""
        if self.selection == "subset":
            return (float(self.fraction or 1),) * len(self.train_on)
        if self.selection == "skewed":
            return 1.0, self.fraction or SKEWED_FRACTION
        return (1.0,) * len(self.train_on)

    @property
    def architecture(self) -> ReconstructionArchitecture:
        """The network that is asked for."""
        return ReconstructionArchitecture(network=self.network, norm=self.norm)
