"""The network of the paper: its size, its wiring, and an initialisation that norms do not touch."""

import pytest
import torch
from torch import nn

from diagnose.networks.preact_resnet import PreActBottleneck, pool, preact_resnet
from diagnose.norms import NORMS, norm_layer


def network(depth=18, norm="bn", seed=0, **options):
    options = {"width": 8, "stem_stride": 2, "pooled_size": 2, **options}
    return preact_resnet(depth, norm_layer(norm, width=options["width"]), seed=seed, **options)


def images_of(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def n_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("norm", ["bn", "gn", "ln", "in"])
def test_resnet18_of_the_paper_has_its_number_of_parameters(norm):
    model = preact_resnet(18, norm_layer(norm, width=64), seed=0)
    assert n_parameters(model) == 11_574_472
    assert n_parameters(model.heads) == 409_608


@pytest.mark.parametrize(
    ("depth", "n_blocks", "n_norms"), [(18, [2, 2, 2, 2], 16), (34, [3, 4, 6, 3], 32), (50, [3, 4, 6, 3], 48)]
)
def test_depths(depth, n_blocks, n_norms):
    model = network(depth)
    assert [len(stage) for stage in model.stages] == n_blocks
    # Two or three norms a block, none after the stem, none before the heads.
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == n_norms
    assert model.heads[0].in_features == 64 * (4 if depth == 50 else 1) * 4


def test_parameters_of_the_deeper_networks_follow_from_their_blocks():
    def basic(n_input, n_output):
        shortcut = n_input * n_output if n_input != n_output else 0
        return 2 * n_input + 9 * n_input * n_output + 2 * n_output + 9 * n_output**2 + shortcut

    def bottleneck(n_input, n_planes):
        shortcut = n_input * 4 * n_planes if n_input != 4 * n_planes else 0
        convolutions = n_input * n_planes + 9 * n_planes**2 + 4 * n_planes**2
        return 2 * n_input + 4 * n_planes + convolutions + shortcut

    for depth, size, expansion in ((34, basic, 1), (50, bottleneck, 4)):
        total, n_input = 9 * 8, 8
        for stage, n_blocks in enumerate((3, 4, 6, 3)):
            for _ in range(n_blocks):
                total += size(n_input, 8 * 2**stage)
                n_input = expansion * 8 * 2**stage
        total += 4 * 2 * (n_input * 4 + 1)
        assert n_parameters(network(depth)) == total


def test_a_block_is_its_formula():
    for depth in (18, 50):
        block = network(depth, "none").stages[1][0]
        x = images_of(2, block.conv1.in_channels, 9, 7)
        convolutions = [block.conv1, block.conv2] + ([block.conv3] if isinstance(block, PreActBottleneck) else [])
        expected = x
        for convolution in convolutions:
            expected = convolution(expected.clamp(min=0))
        expected = expected + block.shortcut(x.clamp(min=0))  # from the pre-activated tensor
        torch.testing.assert_close(block(x), expected)
        assert block(x).shape[-2:] == (5, 4)
    identity = network(18, "none").stages[0][0]
    assert identity.shortcut is None
    nn.init.zeros_(identity.conv2.weight)
    x = images_of(2, 8, 5, 5)
    torch.testing.assert_close(identity(x), x)  # the identity path passes no norm and no ReLU


@pytest.mark.parametrize("options", [{}, {"stem_stride": 1}, {"n_input_channels": 5}, {"n_heads": 3, "pooled_size": 3}])
def test_output_shape_and_finite_gradients(options):
    model = network(**options)
    images = images_of(3, options.get("n_input_channels", 1), 48, 64)
    logits = model(images)
    assert logits.shape == (3, options.get("n_heads", 4), 2)
    logits.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_heads_are_separate_linear_maps_of_one_pooled_map():
    model = network(18, "none").eval()
    images = images_of(2, 1, 32, 32)
    features = model.stages(model.stem(images))
    assert features.shape == (2, 64, 2, 2)
    expected = torch.stack([features.flatten(1) @ head.weight.T + head.bias for head in model.heads], dim=1)
    torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize("depth", [18, 50])
def test_all_norms_start_from_the_same_convolutions_and_heads(depth):
    reference = {name: value for name, value in network(depth).named_parameters() if "norm" not in name}
    assert len(reference) > 20
    for norm in NORMS[1:]:
        torch.manual_seed(99)  # whatever the global generator holds
        weights = {name: value for name, value in network(depth, norm).named_parameters() if "norm" not in name}
        assert weights.keys() == reference.keys()
        assert all(torch.equal(weights[name], reference[name]) for name in reference)


def test_seed_moves_every_weight_and_construction_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = network(seed=0), network(seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for (name, one), other in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other) == ("norm" in name)


def test_initialisation_is_kaiming_normal_fan_out_and_streams_are_independent():
    model = preact_resnet(18, norm_layer("bn", width=64), seed=3)
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    samples = []
    for module in convolutions.values():
        fan_out = module.out_channels * module.kernel_size[0] ** 2
        scaled = module.weight.detach().flatten() * (fan_out / 2) ** 0.5
        # mean 0 and standard deviation 1, within five standard errors
        assert abs(scaled.mean()) < 5 / len(scaled) ** 0.5
        assert abs(scaled.std() - 1) < 5 / (2 * len(scaled)) ** 0.5
        samples.append(scaled[:576])
    correlations = torch.corrcoef(torch.stack(samples)).fill_diagonal_(0)
    assert correlations.abs().max() < 5 / 576**0.5
    head = model.heads[1].weight.detach()
    assert head.abs().max() <= 51_200**-0.5
    assert head.std() == pytest.approx(51_200**-0.5 / 3**0.5, rel=0.01)


@pytest.mark.parametrize("shape", [(6, 6), (6, 9), (7, 5)])
def test_pool_is_adaptive_average_pooling(shape):
    features = images_of(2, 3, *shape)
    torch.testing.assert_close(pool(features, 3), nn.functional.adaptive_avg_pool2d(features, 3))


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match="the last feature map is 1 x 2; expected at least 2"):
        network(pooled_size=1)(torch.zeros(1, 1, 16, 32))
    with pytest.raises(ValueError, match=r"4 x 4; expected at least 10 on a side \(pooled size 10\)"):
        network(pooled_size=10)(torch.zeros(1, 1, 64, 64))


def test_unknown_depth_and_negative_seed_are_refused():
    with pytest.raises(ValueError, match="depth is 101; expected one of 18, 34, 50"):
        network(101)
    with pytest.raises(ValueError, match="seed is -1"):
        network(seed=-1)
