"""Adaptations of batch norm: closed forms, limits, and that nothing is left behind."""

import numpy as np
import pytest
import torch
from torch import nn

from diagnose.adapt import (
    Adaptation,
    batch_norms,
    batches,
    parse_adaptation,
    predict_adapted,
    prediction_time_statistics,
    reestimate_statistics,
)  # fmt: skip
from diagnose.checkpoint import Architecture
from mrisim.errors import ConfigError

EXAMS = np.repeat([f"exam{i}" for i in range(6)], 5)


def scale(images: np.ndarray) -> np.ndarray:
    return np.asarray(images, np.float32)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(2.0, 3.0, (30, 16, 17)).astype(np.float32)


@pytest.fixture
def network(images: np.ndarray) -> nn.Module:
    """A network with batch norm whose running statistics are of other images."""
    built = Architecture(norm="bn", depth=18, width=4, stem_stride=1, pooled_size=2, n_heads=2).build(seed=1)
    built.train()
    with torch.no_grad():
        for _ in range(8):
            built(0.1 * torch.from_numpy(images[:8])[:, None])
    return built.eval()


def statistics(network: nn.Module) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in network.state_dict().values()]


@pytest.mark.parametrize("text", ["precise-bn", "prediction-time:random:7", "prediction-time:exam:5:16"])
def test_the_network_is_left_as_it_was(network: nn.Module, images: np.ndarray, text: str):
    before = statistics(network)
    logits = predict_adapted(network, images, scale, parse_adaptation(text), exams=EXAMS, train_images=images)
    assert logits.shape == (30, 2, 2) and np.isfinite(logits).all()
    assert all(torch.equal(a, b) for a, b in zip(before, network.state_dict().values(), strict=True))
    assert not any(layer._forward_pre_hooks for layer in batch_norms(network)) and not network.training


def test_prediction_time_is_what_batch_norm_does_in_training(network: nn.Module, images: np.ndarray):
    adaptation = Adaptation("prediction-time", "exam", batch_size=5)
    logits = predict_adapted(network, images, scale, adaptation, exams=EXAMS)
    network.train()
    with torch.no_grad():
        for exam in range(6):
            rows = slice(5 * exam, 5 * exam + 5)
            expected = network(torch.from_numpy(images[rows])[:, None]).numpy()
            np.testing.assert_allclose(logits[rows], expected, rtol=2e-4, atol=2e-5)


def test_many_pseudo_images_are_frozen_and_one_layer_mixes_as_written(network: nn.Module, images: np.ndarray):
    frozen = predict_adapted(network, images, scale, Adaptation(), exams=EXAMS)
    almost = predict_adapted(network, images, scale, Adaptation("prediction-time", "random", 8, 1e9), exams=EXAMS)
    np.testing.assert_allclose(almost, frozen, rtol=1e-3, atol=1e-4)
    layer = nn.BatchNorm2d(1).eval()
    layer.running_mean.fill_(5.0)
    layer.running_var.fill_(4.0)
    batch = torch.from_numpy(images[:6])[:, None]
    with prediction_time_statistics(layer, n_pseudo=18.0), torch.no_grad():
        found = layer(batch)
    mean, variance = (18 * 5 + 6 * batch.mean()) / 24, (18 * 4 + 6 * batch.var(correction=0)) / 24
    torch.testing.assert_close(found, (batch - mean) / torch.sqrt(variance + 1e-5), rtol=1e-5, atol=1e-5)
    assert layer.running_mean.item() == 5.0 and layer.running_var.item() == 4.0


def test_precise_statistics_are_the_average_over_batches(images: np.ndarray):
    layer = nn.BatchNorm2d(1)
    reestimate_statistics(layer, images, scale, batch_size=10)
    assert layer.running_mean.item() == pytest.approx(images.mean(), rel=1e-5)
    # Of the batches' unbiased variances; within a part in a hundred that of all pixels.
    assert layer.running_var.item() == pytest.approx(images.var(), rel=1e-2)


def test_precise_bn_undoes_a_change_of_scale_that_frozen_does_not(images: np.ndarray):
    """One normalised layer: a gain leaves it, up to eps, once its statistics are of images with that gain."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(16, 4), nn.Unflatten(1, (2, 2)),
    ).eval()  # fmt: skip
    precise = Adaptation("precise-bn")
    adapted = predict_adapted(network, images, scale, precise, exams=EXAMS, train_images=images)
    again = predict_adapted(network, 10 * images, scale, precise, exams=EXAMS, train_images=10 * images)
    np.testing.assert_allclose(adapted, again, rtol=1e-3, atol=1e-4)
    frozen = [predict_adapted(network, gain * images, scale, Adaptation(), exams=EXAMS) for gain in (1, 10)]
    assert np.abs(frozen[0] - frozen[1]).max() > 0.5


def test_batches_cover_each_image_once_and_exams_stay_apart():
    for adaptation in (Adaptation("prediction-time", "random", 7), Adaptation("prediction-time", "exam", 3)):
        parts = batches(30, adaptation, EXAMS)
        assert sorted(np.concatenate(parts).tolist()) == list(range(30))
        assert max(map(len, parts)) <= adaptation.batch_size
        n_exams = {len(set(EXAMS[part])) for part in parts}
        assert n_exams == {1} if adaptation.order == "exam" else max(n_exams) > 3


def test_norms_without_running_statistics_are_not_touched(images: np.ndarray):
    network = Architecture(norm="gn", depth=18, width=4, stem_stride=1, pooled_size=2, n_heads=2).build(seed=1).eval()
    frozen = predict_adapted(network, images, scale, Adaptation(), exams=EXAMS)
    other = predict_adapted(network, images, scale, Adaptation("prediction-time"), exams=EXAMS)
    assert np.array_equal(frozen, other)


@pytest.mark.parametrize(
    "text", ["tent", "prediction-time:sorted", "prediction-time:exam:0", "precise-bn:3", "prediction-time:random:8:-1"]
)
def test_unknown_adaptations_are_refused(text: str):
    with pytest.raises(ConfigError, match="expected frozen, precise-bn, or prediction-time"):
        parse_adaptation(text)
