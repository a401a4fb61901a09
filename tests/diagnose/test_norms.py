"""The norm layers differ in the norm and in nothing else."""

import pytest
import torch
from torch import nn

from diagnose.norms import NORMS, VOLUME_NORMS, describe_norms, norm_layer


def images(n_channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.5, 3, n_channels)[None, :, None, None]  # channels that no two norms treat alike
    return scale * torch.randn(5, n_channels, 7, 6, generator=generator) + scale


def test_table_is_pinned():
    rows = {row["name"]: row for row in describe_norms()}
    assert tuple(rows) == NORMS == ("bn", "gn", "ln", "in", "none")
    shared = {"eps": 1e-5, "affine": True, "n_parameters": 128, "weight_start": 1.0, "bias_start": 0.0}
    for name in ("bn", "gn", "ln", "in"):
        assert {key: rows[name][key] for key in shared} == shared
    assert {name: row["n_groups"] for name, row in rows.items()} == {
        "bn": None,
        "gn": 32,
        "ln": 1,
        "in": 64,
        "none": None,
    }
    assert [name for name, row in rows.items() if row["running_statistics"]] == ["bn"]
    assert rows["none"]["n_parameters"] == 0
    assert rows["none"]["affine"] is False
    assert "2C parameters fewer" in rows["none"]["difference"]


@pytest.mark.parametrize(("width", "n_groups"), [(64, 32), (32, 16), (16, 8), (4, 2)])
def test_group_norm_keeps_two_channels_per_group_in_the_first_stage(width, n_groups):
    make = norm_layer("gn", width=width)
    for stage in range(4):
        assert make(width * 2**stage).num_groups == n_groups
    assert describe_norms(width)[1]["n_groups"] == n_groups


def normalise(x, dims):
    """The textbook norm: subtract the mean and divide by the biased standard deviation over ``dims``."""
    return (x - x.mean(dims, keepdim=True)) / torch.sqrt(x.var(dims, unbiased=False, keepdim=True) + 1e-5)


def test_each_norm_is_its_textbook_formula():
    x = images(16)
    grouped = normalise(x.reshape(5, 8, 2, 7, 6), (2, 3, 4)).reshape(x.shape)
    expected = {
        "bn": normalise(x, (0, 2, 3)),
        "gn": grouped,
        "ln": normalise(x, (1, 2, 3)),
        "in": normalise(x, (2, 3)),
        "none": x,
    }
    for name in NORMS:
        layer = norm_layer(name, width=16)(16).train()
        torch.testing.assert_close(layer(x), expected[name], rtol=1e-4, atol=1e-4)


def test_instance_norm_equals_torch_instance_norm():
    x, reference = images(6), nn.InstanceNorm2d(6, affine=True)
    torch.testing.assert_close(norm_layer("in", width=16)(6)(x), reference(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [4, 16, 64])
def test_no_two_norms_are_the_same_function(width):
    x = images(width)
    outputs = [norm_layer(name, width=width)(width).train()(x) for name in NORMS]
    for index, one in enumerate(outputs):
        for other in outputs[index + 1 :]:
            assert (one - other).abs().max() > 0.05


def test_only_batch_norm_carries_a_gain_into_its_output():
    x = images(16)
    for name in NORMS:
        layer = norm_layer(name, width=16)(16)
        layer.train()(x)
        layer.eval()
        change = ((layer(3 * x) - layer(x)).norm() / layer(x).norm()).item()
        assert change > 1.5 if name in ("bn", "none") else change < 1e-3


def test_unknown_norm_lists_the_norms():
    with pytest.raises(ValueError, match="norm is 'batch'; expected one of bn, gn, ln, in, none"):
        norm_layer("batch", width=64)


@pytest.mark.parametrize(
    ("name", "width", "n_channels", "message"),
    [
        ("gn", 2, 2, "width is 2; expected an even number of 4 or more"),
        ("gn", 7, 7, "width is 7"),
        ("gn", 64, 32, "gn with 32 groups over 32 channels would be in"),
        ("gn", 64, 48, "cannot divide 48 channels"),
        ("in", 64, 1, "in over 1 channel would be ln"),
    ],
)
def test_a_norm_that_would_be_another_is_refused(name, width, n_channels, message):
    with pytest.raises(ValueError, match=message):
        norm_layer(name, width=width)(n_channels)


def volumes(n_channels, seed=0):
    """Channels and positions of unlike scale, so that no two norms treat them alike."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.5, 3, n_channels)[None, :, None, None, None] * torch.linspace(0.5, 2, 6)
    return scale * torch.randn(3, n_channels, 5, 4, 6, generator=generator) + scale


def test_each_norm_of_volumes_is_its_textbook_formula():
    x = volumes(16)
    expected = {
        "none": x,
        "ln": normalise(x, (1, 2, 3, 4)),
        "ln-channel": normalise(x, (1,)),
        "bn": normalise(x, (0, 2, 3, 4)),
        "gn": normalise(x.reshape(3, 8, 2, 5, 4, 6), (2, 3, 4, 5)).reshape(x.shape),
        "in": normalise(x, (2, 3, 4)),
    }
    assert tuple(expected) == VOLUME_NORMS
    for name in VOLUME_NORMS:
        layer = norm_layer(name, width=16, n_axes=3)(16).train()
        torch.testing.assert_close(layer(x), expected[name], rtol=1e-4, atol=1e-4)
        assert sum(parameter.numel() for parameter in layer.parameters()) == (0 if name == "none" else 32)


def test_no_two_norms_of_volumes_are_the_same_function():
    x = volumes(8)
    outputs = [norm_layer(name, width=8, n_axes=3)(8).train()(x) for name in VOLUME_NORMS]
    for index, one in enumerate(outputs):
        for other in outputs[index + 1 :]:
            assert (one - other).abs().max() > 0.05


def test_weight_and_bias_of_the_channel_norm_belong_to_channels():
    x, layer = volumes(8), norm_layer("ln-channel", width=8, n_axes=3)(8)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(8.0))
        layer.bias.copy_(-torch.arange(8.0))
    channels = torch.arange(8.0)[None, :, None, None, None]
    torch.testing.assert_close(layer(x), channels * normalise(x, (1,)) - channels, rtol=1e-4, atol=1e-4)


def test_volumes_have_their_own_names():
    with pytest.raises(ValueError, match="norm is 'ln-channel'; expected one of bn, gn, ln, in, none"):
        norm_layer("ln-channel", width=16)
    with pytest.raises(ValueError, match="norm is 'layer'; expected one of none, ln, ln-channel, bn, gn, in"):
        norm_layer("layer", width=16, n_axes=3)
    with pytest.raises(ValueError, match="ln-channel over 1 channel would be a constant"):
        norm_layer("ln-channel", width=16, n_axes=3)(1)
