"""The inferred 3-D U-Net: its size, its parts, and what it refuses."""

import pytest
import torch

from diagnose.networks.unet3d import _doubled, _halved, unet3d
from diagnose.norms import VOLUME_NORMS, norm_layer


def small(norm="gn", **changes):
    values = {"seed": 0, "width": 4, "depth": 3, "n_input_channels": 2, "n_classes": 3} | changes
    return unet3d(norm_layer(norm, width=4, n_axes=3), **values)


def n_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("norm", VOLUME_NORMS)
def test_parameters_are_those_of_the_inferred_network(norm):
    with torch.device("meta"):
        network = unet3d(norm_layer(norm, width=32, n_axes=3), seed=0)
    assert n_parameters(network) == (16_318_307 if norm == "none" else 16_318_307 + 2 * 2336)


def test_pooling_and_upsampling_equal_torch():
    x = torch.randn(2, 3, 6, 4, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(_halved(x), torch.nn.functional.max_pool3d(x, 2), rtol=0, atol=0)
    torch.testing.assert_close(_doubled(x), torch.nn.functional.interpolate(x, scale_factor=2), rtol=0, atol=0)


@pytest.mark.parametrize("norm", VOLUME_NORMS)
def test_every_norm_maps_unequal_sides_and_passes_a_gradient_to_every_parameter(norm):
    network = small(norm)
    x = torch.randn(1, 2, 16, 8, 12, generator=torch.Generator().manual_seed(1))
    logits = network(x)
    assert logits.shape == (1, 3, 16, 8, 12)
    logits.square().sum().backward()
    dead = [
        name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert not dead


def test_skip_connections_reach_the_output():
    network = small("none")
    x = torch.randn(1, 2, 8, 8, 8, generator=torch.Generator().manual_seed(2))
    before = network(x)
    with torch.no_grad():
        network.down[0][0].weight.mul_(2)
        network.down[1][0].weight.div_(2)  # undone below the first level: what changes comes over the first skip
        network.down[0][0].bias.mul_(2)
    assert (network(x) - before).abs().max() > 1e-3


@pytest.mark.parametrize("norm", VOLUME_NORMS)
def test_weights_depend_on_the_seed_and_not_on_the_norm_or_on_torch(norm):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = dict(small("none").named_parameters())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    again, other = dict(small(norm).named_parameters()), dict(small(norm, seed=1).named_parameters())
    for name, parameter in first.items():
        assert torch.equal(parameter, again[name]), name
        assert not parameter.any() or not torch.equal(parameter, other[name]), name


def test_without_a_norm_he_keeps_the_scale_and_the_convolutions_have_its_variance():
    network = unet3d(norm_layer("none", width=8, n_axes=3), seed=0, width=8, depth=3)
    weight = network.down[2][3].weight  # (64, 32, 3, 3, 3): 55,296 draws
    assert weight.var().item() == pytest.approx(2 / (32 * 27), rel=0.03)
    glorot = unet3d(norm_layer("none", width=8, n_axes=3), seed=0, width=8, depth=3, scheme="glorot")
    assert glorot.down[2][3].weight.var().item() == pytest.approx(2 / ((32 + 64) * 27), rel=0.03)
    x = torch.randn(1, 4, 16, 16, 16, generator=torch.Generator().manual_seed(3))
    assert 0.1 < network(x).std().item() < 10


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 8, 6), r"\(8, 8, 6\); expected three sides that are multiples of 4"),
        ((4, 4, 4), "more than one voxel at the bottom"),
    ],
)
def test_a_volume_that_does_not_halve_is_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        small()(torch.zeros(1, 2, *shape))


def test_depth_seed_and_scheme_are_checked():
    with pytest.raises(ValueError, match="depth is 1"):
        small(depth=1)
    with pytest.raises(ValueError, match="seed is -1"):
        small(seed=-1)
    with pytest.raises(ValueError, match="scheme is 'xavier'; expected one of torch, he, glorot, transformer"):
        small(scheme="xavier")
