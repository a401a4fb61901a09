"""Checkpoints: what is written comes back, and what is not a checkpoint of ours is refused."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from diagnose.checkpoint import Architecture, ModelDescription, load_model, save_model
from diagnose.input_scaling import InputScaling
from diagnose.reconstruction.architectures import ReconstructionArchitecture, ReconstructionModel
from diagnose.reconstruction.request import ReconstructionSpec
from diagnose.reconstruction.trained_run import ReconstructionRun
from diagnose.segmentation.request import SegmentationModel, SegmentationSpec, VolumeArchitecture
from diagnose.segmentation.trained_run import SegmentationRun
from diagnose.trained_model import TrainedModel
from diagnose.training.spec import TrainSpec
from mrisim.errors import ConfigError, DataError

ARCHITECTURE = Architecture(norm="bn", depth=18, width=4, stem_stride=1, pooled_size=2, n_heads=3)


class _Bomb:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    network = ARCHITECTURE.build(seed=3)
    with torch.no_grad():
        network(torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0)))  # moves the running statistics
    description = ModelDescription(
        architecture=ARCHITECTURE,
        findings=("a", "b", "c"),
        scaling=InputScaling(name="cohort", offset=0.3, spread=2.0),
        image_shape=(16, 16),
        seed=3,
        epoch=7,
        validation_auroc=0.9,
    )
    save_model(tmp_path, network, description)
    return tmp_path


def test_weights_statistics_and_description_come_back(saved: Path):
    network, description = load_model(saved)
    fresh = ARCHITECTURE.build(seed=3)
    with torch.no_grad():
        fresh(torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0)))
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), fresh.state_dict().values(), strict=True)
    )
    assert not network.training
    assert description.scaling == InputScaling(name="cohort", offset=0.3, spread=2.0) and description.epoch == 7
    assert len(description.weights_sha256) == 64
    other, _ = load_model(saved / "model.safetensors")
    assert torch.equal(other.stem.weight, network.stem.weight)


def test_equal_networks_give_equal_bytes(saved: Path, tmp_path: Path):
    network, description = load_model(saved)
    save_model(tmp_path / "again", network, description)
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (saved / "model.safetensors").read_bytes()


@pytest.mark.parametrize("change", [{"norm": "gn"}, {"width": 8}, {"depth": 34}, {"n_heads": 4}, {"pooled_size": 1}])
def test_weights_of_another_architecture_are_refused(saved: Path, change: dict[str, object]):
    content = json.loads((saved / "model.json").read_text())
    content["architecture"] |= change
    (saved / "model.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"the weights are of another architecture: \S+ is .*expected"):
        load_model(saved)


DIAGNOSIS = ModelDescription(
    architecture=ARCHITECTURE.model_copy(update={"norm": "gn"}), findings=("a", "b", "c"),
    scaling=InputScaling(name="raw"), image_shape=(16, 16), seed=0, epoch=0, validation_auroc=0.9,
)  # fmt: skip
SEGMENTATION = SegmentationModel(
    architecture=VolumeArchitecture(norm="gn", width=4, depth=2), scaling="brain", patch_shape=(8, 8, 8), overlap=0.25,
    seed=0, epoch=0, validation_dice=0.9,
)  # fmt: skip
RECONSTRUCTION = ReconstructionModel(
    architecture=ReconstructionArchitecture(network="unet-xsmall", norm="gn"), acceleration=4, mask="equispaced",
    train_on=("knee-pd-3t",), seed=0, epoch=0, validation_ssim=0.9,
)  # fmt: skip


@pytest.mark.parametrize(
    ("load", "spec", "description"),
    [
        (TrainedModel.load, TrainSpec(norm="gn", width=4, stem_stride=1, pooled_size=2), DIAGNOSIS),
        (SegmentationRun.load, SegmentationSpec(norm="gn", width=4, depth=2, patch_shape=(8, 8, 8)), SEGMENTATION),
        (ReconstructionRun.load, ReconstructionSpec(norm="gn"), RECONSTRUCTION),
    ],
    ids=["diagnosis", "segmentation", "reconstruction"],
)
def test_a_whole_pair_of_another_norm_is_not_taken_for_the_run_s(tmp_path: Path, load, spec, description):
    run = tmp_path / "run"
    other = description.model_copy(
        update={"architecture": description.architecture.model_copy(update={"norm": "bn"})},
    )
    save_model(run, other.architecture.build(), other)
    (run / "config.yaml").write_text(yaml.safe_dump({"task": spec.task} | spec.model_dump(mode="json")))
    (run / "DONE").touch()
    with pytest.raises(DataError, match=r"in run are of another architecture: norm is 'bn'; expected 'gn', as in its"):
        load(run)
    save_model(run, description.architecture.build(), description)
    assert load(run).description.architecture == description.architecture


@pytest.mark.parametrize("n_bytes", [4, 300, -1])
def test_a_truncated_file_is_refused(saved: Path, n_bytes: int):
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:n_bytes])
    with pytest.raises(DataError, match=r"truncated or damaged|no safetensors file"):
        load_model(saved)


def test_a_changed_weight_is_refused(saved: Path):
    weights = saved / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DataError, match="another SHA-256"):
        load_model(saved)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_is_refused_unread(saved: Path, tmp_path: Path, writer: str):
    weights, trace = saved / "model.safetensors", tmp_path / "exploded"
    if writer == "pickle":
        weights.write_bytes(pickle.dumps({"stem": np.zeros(3), "bomb": _Bomb(trace)}))
    else:
        torch.save({"bomb": _Bomb(trace)}, weights)
    with pytest.raises(DataError, match=r"is a pickle .*refused unread"):
        load_model(saved)
    assert not trace.exists()
    pickle.loads(pickle.dumps(_Bomb(trace)))  # the bomb would have worked
    assert trace.exists()


def test_a_folder_without_model_and_an_unknown_norm_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"holds no model.safetensors; expected a run folder"):
        load_model(tmp_path)
    with pytest.raises(ConfigError, match="norm is 'frn'; expected one of bn, gn, ln, in, none"):
        ARCHITECTURE.model_copy(update={"norm": "frn"}).build()
