"""What a run of segmentation is asked to do, and what is kept beside its weights."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from diagnose.checkpoint import SavedModel
from diagnose.networks.unet3d import UNet3d, check_sides, unet3d
from diagnose.norms import VOLUME_NORMS, norm_layer
from diagnose.segmentation.brats_releases import CHANNELS, CLASSES
from diagnose.segmentation.volume_scaling import VolumeScaling
from diagnose.training.spec import LoopSpec
from mrisim.errors import ConfigError


class SegmentationSpec(LoopSpec):
    """A training run of brain tumour segmentation; but for ``norm`` and ``seed``, all is equal for all runs of a study.

    The defaults are those of the embedded cohort (voxels of 4 x 4 x 3 mm). The setting that the second paper is
    inferred to have had is width 32, depth 4, patch_shape [160, 160, 16], min_tumour_fraction 0.05, scaling slice,
    mirror false, schedule constant, lr 1e-5, batch 1.
    """

    task: ClassVar[str] = "segmentation"

    norm: str = "ln"
    width: int = Field(default=8, ge=4)
    """Channels of the first convolution."""
    depth: int = Field(default=3, ge=2)
    patch_shape: tuple[int, int, int] = (32, 32, 32)
    """(x, y, z) in voxels, of training patches and of the sliding window."""
    patches_per_epoch: int = Field(default=48, ge=1)
    min_tumour_fraction: float = Field(default=0.002, ge=0, le=1)
    """Share of tumour that every training patch has at least."""
    mirror: bool = True
    """Whether a training patch is turned left to right by chance."""
    scaling: VolumeScaling = "brain"
    overlap: float = Field(default=0.25, ge=0, lt=1)
    """Of neighbouring windows, as a share of the patch."""
    release: str = "auto"
    """Year of BraTS that names and labels are of; auto cannot tell 2024 from 2023 and then means 2023."""
    split_seed: int = Field(default=0, ge=0)

    epochs: int = Field(default=30, ge=1)
    batch: int = Field(default=2, ge=1)
    lr: float = Field(default=3e-3, gt=0)
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    memory_format: Literal["contiguous"] = "contiguous"

    @field_validator("norm")
    @classmethod
    def _norm_exists(cls, norm: str) -> str:
        if norm not in VOLUME_NORMS:
            raise ValueError(f"norm is {norm!r}; expected one of {', '.join(VOLUME_NORMS)}")
        return norm

    @model_validator(mode="after")
    def _patch_halves(self) -> Self:
        check_sides(self.patch_shape, 2 ** (self.depth - 1))
        return self


class VolumeArchitecture(BaseModel):
    """What must be known to build a segmentation network again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Literal["unet3d"] = "unet3d"
    norm: str
    width: int
    depth: int
    n_input_channels: int = len(CHANNELS)
    n_classes: int = len(CLASSES)

    @property
    def label(self) -> str:
        """The architecture in words."""
        return f"{self.network} of depth {self.depth}, norm {self.norm}, width {self.width}"

    def build(self, seed: int = 0) -> UNet3d:
        """Return the network with freshly initialised weights.

        Raises
        ------
        ConfigError
            If norm and width do not go together, or the norm is unknown.
        """
        try:
            return unet3d(
                norm_layer(self.norm, width=self.width, n_axes=3), seed=seed, width=self.width, depth=self.depth,
                n_input_channels=self.n_input_channels, n_classes=self.n_classes,
            )  # fmt: skip
        except ValueError as error:
            raise ConfigError(str(error)) from None


class SegmentationModel(SavedModel):
    """The JSON beside the weights of a segmentation network."""

    architecture: VolumeArchitecture
    channels: tuple[str, ...] = CHANNELS
    classes: tuple[str, ...] = CLASSES
    """Meaning of the maps, in order."""
    scaling: VolumeScaling
    patch_shape: tuple[int, int, int]
    overlap: float
    validation_dice: float


def architecture_of(spec: SegmentationSpec) -> VolumeArchitecture:
    """Return the architecture that a request asks for."""
    return VolumeArchitecture(norm=spec.norm, width=spec.width, depth=spec.depth)
