"""Networks by name: published sizes, norms, and what is refused."""

import pytest
import torch

from diagnose.networks.unet import ImageScaled
from diagnose.networks.varnet import VarNet
from diagnose.reconstruction.architectures import NETWORKS, NORM_NAMES, ReconstructionArchitecture
from mrisim.errors import ConfigError

COUNTS = {
    "unet-xsmall": 757_501, "unet-small": 7_756_097, "unet-large": 124_093_697, "varnet-small": 9_212_090,
    "varnet-large": 29_936_966, "vit-small": 8_029_000, "vit-large": 127_188_068,
}  # fmt: skip


def n_parameters(name: str) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in ReconstructionArchitecture(network=name).build().parameters())


def test_published_parameter_counts_are_met():
    assert {name: n_parameters(name) for name in COUNTS} == COUNTS
    assert set(NETWORKS) - set(COUNTS) == {"varnet-xsmall"}


def test_networks_on_images_are_scaled_and_a_varnet_is_not():
    for name in ("unet-xsmall", "vit-small"):
        assert isinstance(ReconstructionArchitecture(network=name).build(), ImageScaled)
    small = ReconstructionArchitecture(network="varnet-xsmall").build(seed=3)
    assert isinstance(small, VarNet) and len(small.cascades) == 2
    assert n_parameters("varnet-xsmall") == sum(parameter.numel() for parameter in small.parameters())


@pytest.mark.parametrize("norm", [name for name in NORM_NAMES if name != "published"])
@pytest.mark.parametrize("network", ["unet-xsmall", "varnet-xsmall"])
def test_every_norm_replaces_the_published_one(network, norm):
    published = ReconstructionArchitecture(network=network).build(seed=1).state_dict()
    other = ReconstructionArchitecture(network=network, norm=norm).build(seed=1).state_dict()
    convolutions = {name: weight for name, weight in published.items() if weight.ndim == 4}
    assert all(torch.equal(weight, other[name]) for name, weight in convolutions.items())
    assert len(other) >= len(published) and (norm == "none") == (len(other) == len(published))


def test_what_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="network is 'resnet'; expected one of unet-xsmall"):
        ReconstructionArchitecture(network="resnet").build()
