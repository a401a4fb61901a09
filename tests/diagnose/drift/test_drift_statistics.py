"""Activation statistics: closed forms, laws of each norm, and the order of layers."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from diagnose.checkpoint import Architecture
from diagnose.drift.activation_statistics import (
    QUANTILES,
    Moments,
    drift_between,
    measure,
    n_groups_of,
    norm_positions,
    sample_quantiles,
)  # fmt: skip
from diagnose.norms import NORMS


def scale(images: np.ndarray) -> np.ndarray:
    return np.asarray(images, np.float32)


@pytest.fixture
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(2.0, 3.0, (70, 16, 17)) * rng.uniform(0.5, 2, (70, 1, 1))).astype(np.float32)


def network_of(norm: str) -> nn.Module:
    """A network whose affine parameters and running statistics are not those of the start."""
    built = Architecture(norm=norm, depth=18, width=4, stem_stride=1, pooled_size=2, n_heads=2).build(seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    for layer in norm_positions(built).values():
        if norm != "none":
            layer.weight.data.uniform_(0.5, 2.0, generator=generator)
            layer.bias.data.uniform_(-1.0, 1.0, generator=generator)
        if norm == "bn":
            layer.running_mean.uniform_(-1.0, 1.0, generator=generator)
            layer.running_var.uniform_(0.5, 3.0, generator=generator)
    return built


def of_one_layer(images: np.ndarray, layer: nn.Module) -> Moments:
    network = nn.Sequential(OrderedDict(norm1=layer, pool=nn.Flatten(2), head=nn.LazyLinear(2))).eval()
    network(torch.zeros(1, 1, *images.shape[1:]))
    return measure(network, images, scale)["norm1"].before


def test_moments_of_a_set_are_those_of_all_its_pixels(images: np.ndarray):
    """More images than a batch; images differ in spread, so that the mean of variances alone would be wrong."""
    moments = of_one_layer(images + np.arange(70, dtype=np.float32)[:, None, None], nn.Identity())
    pixels = images + np.arange(70, dtype=np.float32)[:, None, None]
    assert moments.mean.shape == (70, 1)
    np.testing.assert_allclose(moments.variance[:, 0], pixels.var(axis=(1, 2)), rtol=1e-5)
    mean, variance = moments.of_set()
    assert mean[0] == pytest.approx(pixels.mean(dtype=float), rel=1e-6)
    assert variance[0] == pytest.approx(pixels.var(dtype=float), rel=1e-6)


def test_moments_of_groups_are_what_group_norm_divides_by():
    pixels = np.random.default_rng(1).normal(size=(3, 6, 5, 7)) * np.arange(1, 7)[:, None, None] + 4
    moments = Moments(pixels.mean(axis=(2, 3)), pixels.var(axis=(2, 3))).of_groups(2)
    groups = pixels.reshape(3, 2, -1)
    np.testing.assert_allclose(moments.mean, groups.mean(axis=2))
    np.testing.assert_allclose(moments.variance, groups.var(axis=2))
    normalised = nn.functional.group_norm(torch.from_numpy(pixels), 2, eps=0).numpy().reshape(3, 2, -1)
    expected = (groups - moments.mean[..., None]) / np.sqrt(moments.variance[..., None])
    np.testing.assert_allclose(normalised, expected, rtol=1e-9, atol=1e-9)


def test_drift_is_in_reference_standard_deviations_and_logarithms_of_variance():
    reference = (np.array([1.0, -2.0, 5.0]), np.array([4.0, 9.0, 0.0]))
    found = (np.array([2.0, -8.0, 6.0]), np.array([16.0, 9.0 / 16, 1.0]))
    drift = drift_between(found, reference)
    assert drift.mean_shift == pytest.approx((1 / 2 + 6 / 3) / 2)
    assert drift.log_variance_ratio == pytest.approx((np.log(4) - np.log(16)) / 2)
    assert drift.abs_log_variance_ratio == pytest.approx((np.log(4) + np.log(16)) / 2)
    assert (drift.n_channels, drift.n_constant_channels) == (3, 1), "a channel without spread is counted, not averaged"
    nothing = drift_between((np.ones(2), np.zeros(2)), (np.ones(2), np.ones(2)))
    assert (nothing.n_constant_channels, nothing.mean_shift, nothing.log_variance_ratio) == (2, None, None)


def test_the_first_layer_sees_gain_and_offset_in_closed_form(images: np.ndarray):
    """Input a x + b in front of the norm: mean shift |(a - 1) m + b| / s, log variance ratio 2 ln a."""
    clean, moved = (of_one_layer(x, nn.Identity()).of_set() for x in (images, 3 * images + 5))
    drift = drift_between(moved, clean)
    mean, spread = images.mean(dtype=float), images.std(dtype=float)
    assert drift.mean_shift == pytest.approx((2 * mean + 5) / spread, rel=1e-5)
    assert drift.log_variance_ratio == pytest.approx(2 * np.log(3), rel=1e-5)


def test_single_images_are_measured_against_the_clean_set(images: np.ndarray):
    clean = of_one_layer(images, nn.Identity())
    means, spreads = sample_quantiles(of_one_layer(2 * images, nn.Identity()), clean.of_set())
    mean, spread = images.mean(dtype=float), images.std(dtype=float)
    expected = (2 * images.mean(axis=(1, 2), dtype=float) - mean) / spread
    np.testing.assert_allclose(means, np.quantile(expected, QUANTILES), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(spreads, np.quantile(2 * images.std(axis=(1, 2)) / spread, QUANTILES), rtol=1e-4)
    assert sample_quantiles(clean, (np.ones(1), np.zeros(1))) == ([None] * 5, [None] * 5)


@pytest.mark.parametrize("norm", NORMS)
def test_layers_stand_in_the_order_of_their_use_and_hooks_are_gone(norm: str, images: np.ndarray):
    network = network_of(norm)
    used: list[nn.Module] = []
    for layer in norm_positions(network).values():
        layer.register_forward_hook(lambda layer, *_: used.append(layer))
    with torch.no_grad():
        network(torch.from_numpy(images[:2])[:, None])
    assert used == list(norm_positions(network).values()) and len(used) == 16
    for layer in used:
        layer._forward_hooks.clear()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    measured = measure(network, images, scale)
    assert list(measured) == list(norm_positions(network))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(layer._forward_hooks for layer in used)


@pytest.mark.parametrize("norm", NORMS)
def test_what_each_norm_does_to_drift(norm: str, images: np.ndarray):
    """Frozen batch norm hands it on, channel by channel; instance norm removes it; no norm does nothing."""
    network = network_of(norm)
    clean, moved = (measure(network, x, scale) for x in (images, 2 * images + 1))
    for name in clean:
        before, after = (
            drift_between(getattr(moved[name], side).of_set(), getattr(clean[name], side).of_set())
            for side in ("before", "after")
        )
        itself = drift_between(clean[name].before.of_set(), clean[name].before.of_set())
        assert (itself.mean_shift, itself.log_variance_ratio) == (0, 0)
        assert before.mean_shift is not None and after.mean_shift is not None and after.log_variance_ratio is not None
        if norm in ("bn", "none"):
            assert after.mean_shift == pytest.approx(before.mean_shift, rel=1e-4)
            assert after.log_variance_ratio == pytest.approx(before.log_variance_ratio, rel=1e-4)
        if norm == "in":
            assert after.mean_shift < 1e-5 and abs(after.log_variance_ratio) < 1e-3
    first = next(iter(clean))
    assert drift_between(moved[first].before.of_set(), clean[first].before.of_set()).mean_shift > 0.1


def test_groups_are_those_of_the_layer():
    for norm, n_groups in (("bn", 4), ("gn", 2), ("ln", 1), ("in", 4), ("none", 4)):
        assert n_groups_of(next(iter(norm_positions(network_of(norm)).values())), 4) == n_groups


def test_a_network_without_named_norms_is_refused():
    with pytest.raises(ValueError, match="has no module called norm"):
        norm_positions(nn.Sequential(nn.Conv2d(1, 2, 3)))
