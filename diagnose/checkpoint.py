"""Trained networks on disk: weights as safetensors, everything else as JSON beside them. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from diagnose.input_scaling import InputScaling
from diagnose.networks.preact_resnet import PreActResNet, preact_resnet
from diagnose.norms import norm_layer
from mrisim.errors import ConfigError, DataError
from mrisim.files import write_text, written_whole

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"


class Architecture(BaseModel):
    """What must be known to build the network again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Literal["preact-resnet"] = "preact-resnet"
    norm: str
    depth: int
    width: int
    stem_stride: int
    pooled_size: int
    n_heads: int

    @property
    def label(self) -> str:
        """The architecture in words."""
        return f"{self.network}-{self.depth}, norm {self.norm}, width {self.width}"

    def build(self, seed: int = 0) -> PreActResNet:
        """Return the network with freshly initialised weights.

        Raises
        ------
        ConfigError
            If norm and width do not go together, or the norm is unknown.
        """
        try:
            return preact_resnet(
                self.depth,
                norm_layer(self.norm, width=self.width),
                seed=seed,
                width=self.width,
                stem_stride=self.stem_stride,
                pooled_size=self.pooled_size,
                n_heads=self.n_heads,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from None


class SavedModel(BaseModel):
    """The JSON beside the weights; each task adds what its predictions depend on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    architecture: Any
    """Has ``build(seed)`` and ``label``."""
    seed: int
    epoch: int
    """0-based epoch that the weights are from."""
    weights_sha256: str = ""


class ModelDescription(SavedModel):
    """The JSON beside the weights of a diagnosis network."""

    architecture: Architecture
    findings: tuple[str, ...]
    """Meaning of the heads, in order."""
    scaling: InputScaling
    image_shape: tuple[int, int]
    validation_auroc: float


Description = TypeVar("Description", bound=SavedModel)


def epoch_folder(run: Path, epoch: int) -> Path:
    """Return where a run that keeps every epoch has the weights of one (0-based)."""
    return run / "epochs" / f"{epoch + 1:03d}"


def save_model(folder: Path, network: torch.nn.Module, description: SavedModel) -> None:
    """Write weights and description, each whole; the description is last, and holds the hash of the weights."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}
    content = save(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / WEIGHTS) as partial:
        partial.write_bytes(content)
    described = description.model_copy(update={"weights_sha256": hashlib.sha256(content).hexdigest()})
    write_text(folder / DESCRIPTION, described.model_dump_json(indent=2) + "\n")


def load_model(path: Path) -> tuple[PreActResNet, ModelDescription]:
    """Read a trained diagnosis network; see `load_network`."""
    return load_network(path, ModelDescription)


def load_network(path: Path, description_type: type[Description]) -> tuple[Any, Description]:
    """Read a trained network.

    Parameters
    ----------
    path : Path
        A run folder, or the ``.safetensors`` file in it.
    description_type : type
        The task's own description.

    Returns
    -------
    network : nn.Module
        In evaluation mode.
    description : SavedModel

    Raises
    ------
    DataError
        If a file is missing, a pickle (refused unread), truncated, of another architecture, or not the one described.
    """
    weights = path / WEIGHTS if path.is_dir() else path
    if not weights.is_file():
        raise DataError(f"{path.name} holds no {WEIGHTS}; expected a run folder of `diagnose train`")
    content = weights.read_bytes()
    _refuse_other_formats(content, weights.name)
    described = weights.with_name(DESCRIPTION)
    if not described.is_file():
        raise DataError(f"{weights.name} has no {DESCRIPTION} beside it; expected the pair that a run writes")
    try:
        description = description_type.model_validate_json(described.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{DESCRIPTION}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    network = description.architecture.build()
    tensors = _tensors(content, weights.name)
    _check_fit(network, tensors, description.architecture.label)
    if hashlib.sha256(content).hexdigest() != description.weights_sha256:
        raise DataError(
            f"{weights.name} is not the file that {DESCRIPTION} describes (another SHA-256); expected the pair"
        )
    network.load_state_dict(tensors)
    return network.eval(), description


def check_architecture(run: str, description: SavedModel, request: BaseModel) -> None:
    """Refuse a checkpoint of another architecture than its run asked for: it would be judged under that run's name.

    Parameters
    ----------
    run : str
        Name for messages.
    description : SavedModel
    request : BaseModel
        What ``config.yaml`` holds; its fields are called as those of the architecture.

    Raises
    ------
    DataError
    """
    asked = request.model_dump()
    for name, value in description.architecture.model_dump().items():
        if name in asked and value != asked[name]:
            raise DataError(
                f"the weights in {run} are of another architecture: {name} is {value!r}; expected {asked[name]!r}, as "
                "in its config.yaml"
            )


def _refuse_other_formats(content: bytes, name: str) -> None:
    """Tell by the first bytes: safetensors is 8 bytes of length, then JSON."""
    if content[:4] == b"PK\x03\x04" or (content[:1] == b"\x80" and content[8:9] != b"{"):
        raise DataError(
            f"{name} is a pickle (a PyTorch .pt or .ckpt): refused unread, it can run code; expected safetensors"
        )
    if len(content) < 9 or content[8:9] != b"{":
        raise DataError(f"{name} is no safetensors file ({len(content)} bytes); expected the weights that a run writes")


def _tensors(content: bytes, name: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(content)
    except SafetensorError as error:
        raise DataError(f"{name} is truncated or damaged ({error}); expected the file as it was written") from None


def _check_fit(network: torch.nn.Module, tensors: dict[str, torch.Tensor], architecture: str) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected == found:
        return
    name = sorted(set(expected.items()) ^ set(found.items()))[0][0]
    raise DataError(
        f"the weights are of another architecture: {name} is {found.get(name, 'missing')}; expected "
        f"{expected.get(name, 'no such array')} in {architecture}"
    )
