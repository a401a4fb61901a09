"""What a norm layer does at test time: its frozen statistics, or others. Only batch norm has any to choose.

    frozen             the running statistics of training, on data of the weighted sampler
    precise-bn         re-estimated on clean training images at natural prevalence
    prediction-time    of the batch at hand, in one of two orders, mixed with N pseudo-images of the source

References
----------
Nado et al., Evaluating Prediction-Time Batch Normalization for Robustness under Covariate Shift, 2020. arXiv:2006.10963
Schneider et al., Improving robustness against common corruptions by covariate shift adaptation, 2020. arXiv:2006.16971
Wu and Johnson, Rethinking "Batch" in BatchNorm (precise BN), 2021. arXiv:2105.07576
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from diagnose.tasks.findings import predict
from diagnose.torch_device import device_of
from mrisim.errors import ConfigError
from mrisim.seeding import stream

Order = Literal["random", "exam"]
Moment = Literal["mean", "variance"]
MOMENTS: tuple[Moment, ...] = ("mean", "variance")
ALL_LAYERS = slice(None)
Scale = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Adaptation:
    """How the statistics of batch norm are found at test time."""

    name: Literal["frozen", "precise-bn", "prediction-time"] = "frozen"
    order: Order = "random"
    """Of prediction-time: batches at random over the split, or one exam at a time."""
    batch_size: int = 32
    """Images in a batch; with ``exam``, at most."""
    n_pseudo: float | None = 0.0
    """N: the source's statistics weigh as much as N images; 0 = the batch alone; None = not chosen yet."""
    auto: bool = False
    """N is chosen for each model on validation data (`diagnose.evaluation.pseudo_count`)."""

    @property
    def label(self) -> str:
        """Name in the prediction table."""
        if self.name == "prediction-time":
            n_pseudo = "auto" if self.auto else f"{self.n_pseudo:g}"
            return f"prediction-time-{self.order}-batch{self.batch_size}-pseudo{n_pseudo}"
        return self.name


def parse_adaptation(text: str) -> Adaptation:
    """Read ``frozen``, ``precise-bn``, ``prediction-time:random:32`` or ``prediction-time:exam:8:16`` (batch, N).

    ``auto`` in the place of N leaves it to the validation data of each model.

    Raises
    ------
    ConfigError
        If it is none of these.
    """
    name, *rest = text.split(":")
    try:
        if name in ("frozen", "precise-bn") and not rest:
            return Adaptation(name)  # type: ignore[arg-type]
        if name == "prediction-time" and len(rest) <= 3 and (not rest or rest[0] in ("random", "exam")):
            order: Order = "exam" if rest[:1] == ["exam"] else "random"
            batch_size = int(rest[1]) if len(rest) > 1 else 32
            auto = rest[2:] == ["auto"]
            n_pseudo = float(rest[2]) if len(rest) > 2 and not auto else 0.0
            if batch_size >= 1 and 0 <= n_pseudo < float("inf"):
                return Adaptation("prediction-time", order, batch_size, None if auto else n_pseudo, auto)
    except ValueError:
        pass
    raise ConfigError(
        f"adaptation is {text!r}; expected frozen, precise-bn, or prediction-time[:random|exam[:BATCH[:N|auto]]]"
    )


def batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the layers that an adaptation acts on: none but in a network with batch norm."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def running_statistics(layer: nn.BatchNorm2d) -> tuple[Tensor, Tensor, Tensor]:
    """Return running mean, running variance and number of batches: the layer's own tensors, not copies."""
    mean, variance, n_batches = layer.running_mean, layer.running_var, layer.num_batches_tracked
    assert mean is not None and variance is not None and n_batches is not None, "every batch norm here tracks them"
    return mean, variance, n_batches


@contextmanager
def restored_statistics(network: nn.Module) -> Iterator[None]:
    """Put the running statistics back at the end of the block."""
    layers = batch_norms(network)
    before = [([tensor.clone() for tensor in running_statistics(layer)], layer.momentum) for layer in layers]
    try:
        yield
    finally:
        for layer, (tensors, momentum) in zip(layers, before, strict=True):
            for tensor, value in zip(running_statistics(layer), tensors, strict=True):
                tensor.copy_(value)
            layer.momentum = momentum


def reestimate_statistics(
    network: nn.Module, images: np.ndarray, scale: Scale, *, batch_size: int = 64, max_images: int = 2048
) -> None:
    """Replace the running statistics by the average over batches of images (image, rows, columns), in place.

    Each batch is normalised by itself on its way to the next layer, as in training; all weigh the same. The images are
    drawn without replacement from a fixed stream: natural prevalence, whatever the sampler of the training was.
    """
    layers = batch_norms(network)
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's name for a cumulative average
    order = stream(0, "precise-bn").permutation(len(images))[:max_images]
    # A short last batch would weigh as much as a full one.
    n_batches = max(1, len(order) // batch_size)
    was_training = network.training
    network.train()
    with torch.no_grad():
        for rows in np.array_split(order[: n_batches * batch_size], n_batches):
            network(torch.from_numpy(scale(images[np.sort(rows)]))[:, None].to(device_of(network)))
    network.train(was_training)


@contextmanager
def prediction_time_statistics(
    network: nn.Module, n_pseudo: float, *, moments: Sequence[Moment] = MOMENTS, layers: slice = ALL_LAYERS
) -> Iterator[None]:
    """Normalise each batch by (N source + n batch) / (N + n), mean and variance alike, in evaluation mode.

    The running statistics of the source are those at the start of the block; they stand again at its end. Inside the
    block, after a forward pass, they are those that its batch was normalised by.

    Parameters
    ----------
    network : nn.Module
    n_pseudo : float
        N.
    moments : sequence of str
        Only these are mixed; the other one stays the source's.
    layers : slice
        Only these batch norms, in the order in which the network names them, are touched.
    """
    source = {layer: [tensor.clone() for tensor in running_statistics(layer)] for layer in batch_norms(network)[layers]}

    def mix(layer: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        (batch,) = inputs
        n_images = batch.shape[0]
        running_mean, running_variance, _ = running_statistics(layer)
        mean, variance, _ = source[layer]
        # Biased, as batch norm divides in training: the statistics of these very pixels.
        batch_variance, batch_mean = torch.var_mean(batch.float(), dim=(0, 2, 3), correction=0)
        weight = n_images / (n_pseudo + n_images)
        if "mean" in moments:
            running_mean.copy_(weight * batch_mean + (1 - weight) * mean)
        if "variance" in moments:
            running_variance.copy_(weight * batch_variance + (1 - weight) * variance)

    hooks = [layer.register_forward_pre_hook(mix) for layer in source]
    try:
        with restored_statistics(network):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def predict_adapted(
    network: nn.Module,
    images: np.ndarray,
    scale: Scale,
    adaptation: Adaptation,
    *,
    exams: np.ndarray,
    train_images: np.ndarray | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> np.ndarray:
    """Return the logits (image, finding, 2) of a split under an adaptation; the network is left as it was.

    Parameters
    ----------
    network : nn.Module
    images : float array (image, rows, columns)
    scale : callable
        The model's input scaling.
    adaptation : Adaptation
    exams : array (image,)
        Identifier of each image's exam, for the order ``exam``.
    train_images : float array, optional
        Clean training images; needed by precise-bn.
    memory_format : torch.memory_format

    Limits
    ------
    Prediction-time statistics see the other images of the batch: an image's score is not its own any more. Batches are
    those of a fixed stream; another order gives other scores.
    """
    if adaptation.name == "frozen" or not batch_norms(network):
        return predict(network, images, scale, memory_format=memory_format)
    with restored_statistics(network):
        if adaptation.name == "precise-bn":
            if train_images is None:
                raise ConfigError("precise-bn needs the clean training images; expected them")
            reestimate_statistics(network, train_images, scale)
            return predict(network, images, scale, memory_format=memory_format)
        if adaptation.n_pseudo is None:
            raise ConfigError(f"{adaptation.label} has no N yet; expected the choice on validation data first")
        logits: np.ndarray | None = None
        with prediction_time_statistics(network, adaptation.n_pseudo):
            for rows in batches(len(images), adaptation, exams):
                part = predict(network, images[rows], scale, batch_size=len(rows), memory_format=memory_format)
                if logits is None:
                    logits = np.empty((len(images), *part.shape[1:]), np.float32)
                logits[rows] = part
    assert logits is not None
    return logits


def batches(n_images: int, adaptation: Adaptation, exams: np.ndarray) -> list[np.ndarray]:
    """Return the images of each batch, ascending: at random over the split, or one exam (or a part of it) at a time.

    Parts are of nearly equal size, so that no batch has one image where its exam has more.
    """
    size = adaptation.batch_size
    if adaptation.order == "random":
        order = stream(0, "prediction-time order").permutation(n_images)
        return [np.sort(part) for part in np.array_split(order, -(-n_images // size))]
    groups = [np.flatnonzero(exams == exam) for exam in dict.fromkeys(exams.tolist())]
    return [part for group in groups for part in np.array_split(group, -(-len(group) // size))]
