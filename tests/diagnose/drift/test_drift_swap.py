"""Swapped batch-norm statistics: identity, prediction-time batch norm, closed forms, and their results."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from diagnose.adapt import Adaptation, batch_norms, predict_adapted, running_statistics
from diagnose.checkpoint import Architecture
from diagnose.dataset import SliceTable
from diagnose.drift.statistic_swap import (
    BOTH,
    FROZEN,
    Swap,
    normalised_by,
    stored_statistics,
    swapped_statistics,
    swaps,
    with_transplants,
)  # fmt: skip
from diagnose.drift.swap_results import SwapResult, swap_results
from diagnose.evaluation.shift_results import MEAN
from diagnose.tasks.findings import predict
from mrisim.errors import ConfigError


def scale(images: np.ndarray) -> np.ndarray:
    return np.asarray(images, np.float32)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(2.0, 3.0, (30, 16, 17)).astype(np.float32)


@pytest.fixture
def network(images: np.ndarray) -> nn.Module:
    """A network whose running statistics are of other images."""
    built = Architecture(norm="bn", depth=18, width=4, stem_stride=1, pooled_size=2, n_heads=2).build(seed=1).train()
    with torch.no_grad():
        for _ in range(8):
            built(0.1 * torch.from_numpy(images[:8])[:, None])
    return built.eval()


@pytest.fixture
def one_layer(images: np.ndarray) -> nn.Module:
    """Pixels, one batch norm that knows them, and a linear readout of each."""
    layer = nn.BatchNorm2d(1, eps=0.0)
    network = nn.Sequential(OrderedDict(norm1=layer, flat=nn.Flatten(1), head=nn.Linear(16 * 17, 4)))
    network.add_module("findings", nn.Unflatten(1, (2, 2)))
    layer.running_mean.fill_(float(images.mean(dtype=float)))
    layer.running_var.fill_(float(images.var(dtype=float)))
    return network.eval()


def logits_after(network: nn.Module, images: np.ndarray, swap: Swap) -> np.ndarray:
    statistics = swapped_statistics(network, images, scale, swap)
    with normalised_by(network, statistics):
        return predict(network, images, scale, batch_size=len(images))


def named(swap: str, n_layers: int = 16, k: int = 2) -> Swap:
    return next(entry for entry in swaps(n_layers, (k,)) if entry.name == swap)


def test_the_stored_statistics_are_the_identity_bit_for_bit(network: nn.Module, images: np.ndarray):
    frozen = predict(network, images, scale)
    with normalised_by(network, stored_statistics(network)):
        assert np.array_equal(predict(network, images, scale), frozen)
    assert np.array_equal(predict(network, images, scale), frozen)


@pytest.mark.parametrize("swap", swaps(16, (1, 5)), ids=lambda swap: swap.name)
def test_the_network_is_left_as_it_was_and_only_what_is_named_is_replaced(
    network: nn.Module, images: np.ndarray, swap: Swap
):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    stored, found = stored_statistics(network), swapped_statistics(network, images, scale, swap)
    logits_after(network, images, swap)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    k = int(swap.name.partition("-")[2] or 16)
    layers = range(16 - k, 16) if swap.name.startswith("last") else range(k)
    for place, (old, new) in enumerate(zip(stored, found, strict=True)):
        changed = [not torch.equal(a, b) for a, b in zip(old, new, strict=True)]
        inside = place in layers
        assert changed == [inside and swap.name != "variance", inside and swap.name != "mean"]


def test_both_is_prediction_time_batch_norm_over_the_whole_set(network: nn.Module, images: np.ndarray):
    """Exactly that of `diagnose.adapt`; and that of torch's own training mode, which is other code."""
    swapped = logits_after(network, images, named(BOTH))
    whole = Adaptation("prediction-time", "random", batch_size=len(images))
    assert np.array_equal(swapped, predict_adapted(network, images, scale, whole, exams=np.arange(len(images))))
    network.train()
    with torch.no_grad():
        expected = network(torch.from_numpy(images)[:, None]).numpy()
    np.testing.assert_allclose(swapped, expected, rtol=2e-4, atol=2e-5)


def test_one_layer_in_closed_form(one_layer: nn.Module, images: np.ndarray):
    """Centred input times a: variance alone undoes it. Input plus b: mean alone does. Both undo a x + b."""
    clean = predict(one_layer, images, scale)
    mean = np.float32(images.mean(dtype=float))
    scaled = mean + np.float32(2.5) * (images - mean)
    shifted = images + np.float32(1.5)
    for name, undone in (("variance", scaled), ("mean", shifted), (BOTH, 2.5 * images + 1.5)):
        np.testing.assert_allclose(logits_after(one_layer, undone, named(name)), clean, rtol=1e-4, atol=1e-4)
    (stored,) = stored_statistics(one_layer)
    ((found_mean, found_variance),) = swapped_statistics(one_layer, scaled, scale, named("variance"))
    assert torch.equal(found_mean, stored[0]) and found_variance.item() == pytest.approx(2.5**2 * stored[1].item())
    ((found_mean, found_variance),) = swapped_statistics(one_layer, shifted, scale, named("mean"))
    assert torch.equal(found_variance, stored[1]) and found_mean.item() == pytest.approx(stored[0].item() + 1.5)
    # The wrong one undoes nothing.
    for name, kept in (("mean", scaled), ("variance", shifted)):
        np.testing.assert_allclose(
            logits_after(one_layer, kept, named(name)), predict(one_layer, kept, scale), rtol=1e-4, atol=1e-4
        )
        assert np.abs(predict(one_layer, kept, scale) - clean).max() > 0.1


def test_first_and_last_are_counted_from_the_input(images: np.ndarray):
    """Three batch norms with other running statistics: a first-1 swap makes a gain invisible behind the first."""
    layers = OrderedDict((f"norm{place}", nn.BatchNorm2d(1, eps=0.0)) for place in (1, 2, 3))
    network = nn.Sequential(layers).eval()
    for place, layer in enumerate(layers.values()):
        layer.running_mean.fill_(place + 1.0)
        layer.running_var.fill_(4.0 + place)
    for gain in (1.0, 3.0):
        found = swapped_statistics(network, gain * images, scale, named("first-1", 3, 1))
        assert found[0][0].item() == pytest.approx(gain * images.mean(dtype=float), rel=1e-5)
        assert [values[0].item() for values in found[1:]] == [2.0, 3.0]
        found = swapped_statistics(network, gain * images, scale, named("last-1", 3, 1))
        assert [values[0].item() for values in found[:2]] == [1.0, 2.0]
        # What enters the third layer, through two frozen ones: ((g m - 1) / 2 - 2) / sqrt 5.
        arrives = ((gain * images.mean(dtype=float) - 1) / 2 - 2) / 5**0.5
        assert found[2][0].item() == pytest.approx(arrives, rel=1e-4)


def test_a_later_layer_is_measured_behind_the_swapped_earlier_ones(network: nn.Module, images: np.ndarray):
    """Self-consistent: with all layers swapped, each output has the layer's own bias and weight as mean and spread."""
    statistics = swapped_statistics(network, images, scale, named(BOTH))
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, inputs: seen.append(torch.var_mean(inputs[0], (0, 2, 3), correction=0))
        )
        for layer in batch_norms(network)
    ]
    with normalised_by(network, statistics):
        predict(network, images, scale, batch_size=len(images))
    for hook in hooks:
        hook.remove()
    for (variance, mean), values in zip(seen, statistics, strict=True):
        torch.testing.assert_close(mean, values[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(variance, values[1], rtol=1e-4, atol=1e-6)


def test_transplants_take_one_moment_of_the_adapted_network_and_the_other_of_the_frozen(
    network: nn.Module, images: np.ndarray
):
    stored, both = stored_statistics(network), swapped_statistics(network, images, scale, named(BOTH))
    own = swapped_statistics(network, images, scale, named("mean"))
    found = with_transplants(stored, {BOTH: both, "mean": own})
    assert list(found) == [BOTH, "mean", "mean-transplanted", "variance-transplanted"]
    for place in range(16):
        for name, sources in (("mean-transplanted", (both, stored)), ("variance-transplanted", (stored, both))):
            assert all(torch.equal(found[name][place][i], sources[i][place][i]) for i in (0, 1))
    assert torch.equal(own[0][0], both[0][0]), "nothing lies in front of the first layer"
    assert not torch.allclose(own[9][0], both[9][0], rtol=0.1), "and a swap that is self-consistent differs behind it"


@pytest.mark.parametrize("k", [0, 16, 17])
def test_a_swap_of_no_or_all_layers_is_refused(k: int):
    with pytest.raises(ConfigError, match="expected 1 to 15"):
        swaps(16, (2, k))


def made_scores(n_patients: int = 40) -> tuple[dict[str, np.ndarray], SliceTable]:
    """Scores of three swaps for two findings, the second not learnt."""
    rng = np.random.default_rng(3)
    labels = (rng.random((2 * n_patients, 2)) < 0.4).astype(np.int8)
    noise = rng.normal(size=labels.shape)
    scores = {FROZEN: noise + 0.3 * labels, "variance": noise + 2 * labels, BOTH: noise + 2 * labels}
    table = SliceTable((), ("a", "b"), labels, np.arange(2 * n_patients) // 2, np.arange(2 * n_patients) % 2, {})
    return scores, table


class _PatientsOnly(SliceTable):
    """A table without files: a patient is a number."""

    @property
    def patients(self) -> np.ndarray:
        return self.volume_of_slice


def table_of(table: SliceTable) -> SliceTable:
    return _PatientsOnly(**{name: getattr(table, name) for name in SliceTable.__dataclass_fields__})


def find(results: list[SwapResult], swap: str, finding: str) -> SwapResult:
    (found,) = [row for row in results if (row.swap, row.finding) == (swap, finding)]
    return found


def test_differences_are_paired_and_means_are_over_learnt_findings():
    scores, table = made_scores()
    results = swap_results(scores, table_of(table), {"a": True, "b": False})
    areas = {name: roc_auc_score(table.labels[:, 0], values[:, 0]) for name, values in scores.items()}
    variance, frozen = find(results, "variance", "a"), find(results, FROZEN, "a")
    assert variance.auroc == pytest.approx(areas["variance"]) and frozen.auroc == pytest.approx(areas[FROZEN])
    assert variance.minus_frozen == pytest.approx(areas["variance"] - areas[FROZEN])
    assert variance.minus_frozen_low is not None and variance.minus_frozen_low > 0
    assert (variance.minus_both, variance.minus_both_low, variance.minus_both_high) == (0, 0, 0), "the same scores"
    assert (frozen.minus_frozen, frozen.minus_frozen_low, frozen.minus_frozen_high) == (0, 0, 0)
    assert frozen.minus_both_high is not None and frozen.minus_both_high < 0
    mean = find(results, "variance", MEAN)
    assert mean.auroc == pytest.approx(areas["variance"]) and not find(results, FROZEN, "b").learnt
    assert not [row for row in swap_results(scores, table_of(table), {"a": False, "b": False}) if row.finding == MEAN]


def test_few_patients_get_no_interval_and_the_reason():
    scores, table = made_scores(n_patients=8)
    row = find(swap_results(scores, table_of(table), {"a": True, "b": True}), BOTH, "a")
    assert row.low is None and row.minus_frozen_high is None and "at least 10 are needed" in row.no_interval


def test_statistics_are_not_shared_with_the_network(network: nn.Module):
    stored = stored_statistics(network)
    mean, _, _ = running_statistics(batch_norms(network)[0])
    stored[0][0].add_(1)
    assert not torch.equal(stored[0][0], mean)
