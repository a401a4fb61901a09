"""The networks of learned reconstruction by name and size, and what is kept beside their weights."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from torch import nn

from diagnose.checkpoint import SavedModel
from diagnose.networks.unet import WIDTHS, ImageScaled, unet
from diagnose.networks.varnet import SENSITIVITY_WIDTH, varnet
from diagnose.networks.varnet import SIZES as VARNET_SIZES
from diagnose.networks.vit import SIZES as VIT_SIZES
from diagnose.networks.vit import vision_transformer
from diagnose.norms import NORMS, ChannelLayerNorm, NormLayer, norm_layer, plain_instance_norm
from diagnose.reconstruction.masks import MaskPattern
from mrisim.errors import ConfigError

PUBLISHED = "published"
"""The norm layer of each network's paper: instance norm without parameters; in the ViT, layer norm over channels."""

VARNETS = {"varnet-xsmall": (2, 8), **VARNET_SIZES}
"""Cascades and width. The xsmall one is ours, for one core: 1,446,084 parameters."""

NETWORKS = (*WIDTHS, *VARNETS, *VIT_SIZES)
NORM_NAMES = (PUBLISHED, *NORMS)


class ReconstructionArchitecture(BaseModel):
    """What must be known to build the network again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str
    """One of `NETWORKS`."""
    norm: str = PUBLISHED

    @property
    def label(self) -> str:
        """The architecture in words."""
        return f"{self.network}, norm {self.norm}"

    def build(self, seed: int = 0) -> nn.Module:
        """Return the network with freshly initialised weights; U-Net and ViT between a z-score and its undoing.

        Raises
        ------
        ConfigError
            If the network is unknown, or norm and width do not go together.
        """
        try:
            if self.network in WIDTHS:
                width = WIDTHS[self.network]
                return ImageScaled(unet(self._norm_layer(width), seed=seed, width=width))
            if self.network in VIT_SIZES:
                size = VIT_SIZES[self.network]
                layer = ChannelLayerNorm if self.norm == PUBLISHED else self._norm_layer(size[0])
                return ImageScaled(vision_transformer(layer, seed=seed, size=size))
            if self.network in VARNETS:
                n_cascades, width = VARNETS[self.network]
                return varnet(
                    self._norm_layer(width), seed=seed, n_cascades=n_cascades, width=width,
                    sensitivity_norm_layer=self._norm_layer(SENSITIVITY_WIDTH),
                )  # fmt: skip
        except ValueError as error:
            raise ConfigError(str(error)) from None
        raise ConfigError(f"network is {self.network!r}; expected one of {', '.join(NETWORKS)}")

    def _norm_layer(self, width: int) -> NormLayer:
        return plain_instance_norm if self.norm == PUBLISHED else norm_layer(self.norm, width=width)


class ReconstructionModel(SavedModel):
    """The JSON beside the weights of a reconstruction network."""

    architecture: ReconstructionArchitecture
    acceleration: int
    mask: MaskPattern
    train_on: tuple[str, ...]
    """The distributions that it was trained on."""
    validation_ssim: float
