"""The device of networks: which there are, what goes there, what is refused; a GPU gives the same as the CPU."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from diagnose.adapt import Adaptation, predict_adapted
from diagnose.checkpoint import Architecture
from diagnose.drift import activation_statistics, cell
from diagnose.drift.analyse import analyse_drift
from diagnose.drift.request import DriftRequest
from diagnose.drift.statistic_swap import Swap, swapped_statistics
from diagnose.evaluate import evaluate
from diagnose.evaluation.prediction_table import read_table
from diagnose.evaluation.request import EvaluationRequest
from diagnose.networks.unet import unet
from diagnose.reconstruction.similarity import features
from diagnose.run_folder import DataLocation
from diagnose.segmentation.request import SegmentationSpec, architecture_of
from diagnose.segmentation.whole_volumes import Windows, predict_logits
from diagnose.tasks import classification
from diagnose.tasks.findings import predict
from diagnose.testing import SMALL
from diagnose.torch_device import device_of, resolve_device
from diagnose.train import fit
from diagnose.training.distributed import ProcessGroup
from diagnose.training.execution import Execution, deterministic_kernels
from diagnose.training.loop import Interrupted, Watch
from diagnose.training.spec import TrainSpec
from mrisim.errors import ConfigError

NETWORK = Architecture(norm="bn", depth=18, width=4, stem_stride=1, pooled_size=2, n_heads=2)
IMAGES = np.zeros((2, 32, 32), np.float32)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def small_spec(**changes: object) -> TrainSpec:
    return TrainSpec(**{**SMALL, "norm": "bn", "epochs": 1, **changes})


def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch):
    for found, expected in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=found: found)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
        monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
        assert resolve_device("auto") == expected
        assert torch.backends.cudnn.allow_tf32 is not found
    with pytest.raises(ConfigError, match=r"device is 'cuda:1', and torch .* finds 1"):
        resolve_device("cuda:1")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:0", ""])
def test_an_unknown_device_is_refused(name: str):
    with pytest.raises(ConfigError, match="expected 'auto', 'cpu', 'cuda' or 'cuda:N'"):
        resolve_device(name)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("command", ["train", "evaluate", "study", "drift"])
def test_a_gpu_that_is_not_there_is_one_line(
    command: str, cohort: Path, tmp_path: Path, diagnose: Callable[..., object]
):
    run = (
        fit(small_spec(), DataLocation(cohort), tmp_path / "trained").folder
        if command in ("evaluate", "drift")
        else None
    )
    (tmp_path / "study.yaml").write_text("name: x\nquestion: why?\nnorms: [bn, gn]\nseeds: [1]\nscalings: [z-score]\n")
    request = {"train": ["--data", str(cohort)], "study": ["study.yaml", "--data", str(cohort)]}
    done = diagnose(command, *request.get(command, [str(run)]), "--out", "out", "--device", "cuda", cwd=tmp_path)
    assert done.returncode == ConfigError.exit_code and not (tmp_path / "out").exists()
    (line,) = done.stderr.splitlines()
    assert line.startswith("diagnose: device is 'cuda', and torch")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("command", [["train"], ["study", "study.yaml"], ["demo"]])
def test_a_gpu_that_is_not_there_is_refused_before_a_cohort_is_made(
    command: list[str], tmp_path: Path, diagnose: Callable[..., object], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MRISIM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "study.yaml").write_text("name: x\nquestion: why?\nnorms: [bn, gn]\nseeds: [1]\nscalings: [z-score]\n")
    done = diagnose(*command, "--device", "cuda", cwd=tmp_path)
    assert done.returncode == ConfigError.exit_code and not (tmp_path / "cache").exists()
    (line,) = done.stderr.splitlines()
    assert line.startswith("diagnose: device is 'cuda', and torch")


def test_a_step_takes_everything_to_the_device(cohort: Path, step_off_the_cpu: Callable[..., None]):
    table = classification.load_data(small_spec(), DataLocation(cohort))
    step_off_the_cpu(classification.prepare(small_spec(), table, None, n_threads=1, group=ProcessGroup()))


def test_images_go_where_the_weights_lie():
    """On the meta device, which takes inputs and gives no numbers back: every path ends in an error after its start."""
    network = NETWORK.build().to("meta")
    assert device_of(network).type == "meta" and device_of(torch.nn.ReLU()).type == "cpu"
    segmenter = architecture_of(SegmentationSpec()).build(0).to("meta")
    encoder = unet(seed=0, width=4, n_pools=2).to("meta")
    seen: list[str] = []
    for convolution in (module for root in (network, segmenter, encoder) for module in root.modules()):
        if isinstance(convolution, torch.nn.Conv2d | torch.nn.Conv3d):
            convolution.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].device.type))
    adapted = partial(predict_adapted, network, IMAGES, np.asarray, exams=np.arange(2), train_images=IMAGES)
    for action in (
        lambda: predict(network, IMAGES, np.asarray),
        lambda: adapted(Adaptation("prediction-time", batch_size=2)),
        lambda: adapted(Adaptation("precise-bn")),
        lambda: predict_logits(segmenter, np.zeros((4, 32, 32, 32), np.float32), Windows((32, 32, 32), 0.0)),
        lambda: features(encoder, IMAGES),
        lambda: activation_statistics.measure(network, IMAGES, np.asarray),
        lambda: swapped_statistics(network, IMAGES, np.asarray, Swap("both")),
    ):
        seen.clear()
        with pytest.raises(RuntimeError, match="meta"):
            action()
        assert set(seen) == {"meta"}


def test_statistics_of_activations_come_back_from_the_device():
    """The meta device gives no numbers back: who brings them to the CPU first meets torch's own error."""
    layer = torch.nn.BatchNorm2d(3).to("meta")
    for action in (
        lambda: activation_statistics._joined([torch.zeros((2, 4, 3), device="meta")]),
        lambda: cell._running(layer),
    ):
        with pytest.raises(NotImplementedError, match="meta tensor"):
            action()


@pytest.mark.usefixtures("no_gpu")
def test_a_cell_of_another_device_is_made_again(cohort: Path, tmp_path: Path):
    run = fit(small_spec(), DataLocation(cohort), tmp_path / "run").folder
    request = DriftRequest((), (), n_slices=8, swap=False)
    made = analyse_drift([run], request, tmp_path / "out", device="auto")
    first, *others = sorted((made.folder / "cells").iterdir())
    content = json.loads(first.read_text())
    assert content["device"] == "cpu"
    first.write_text(json.dumps(content | {"device": "cuda"}))
    written = [path.stat().st_mtime_ns for path in others]
    assert analyse_drift([run], request, made.folder).drift == made.drift
    assert json.loads(first.read_text()) == content
    assert [path.stat().st_mtime_ns for path in others] == written


@pytest.mark.usefixtures("no_gpu")
def test_a_run_goes_on_where_it_began(cohort: Path, tmp_path: Path):
    file = tmp_path / "run" / "env.json"
    with pytest.raises(Interrupted):
        fit(small_spec(), DataLocation(cohort), tmp_path / "run", watch=Watch(stop=file.exists))
    environment = json.loads(file.read_text())
    assert environment["execution"]["device"] == "cpu"
    environment["execution"]["device"] = "cuda"
    file.write_text(json.dumps(environment))
    with pytest.raises(ConfigError, match=r"the run was begun on cuda: device is 'cuda'.*--overwrite or another --out"):
        fit(small_spec(), DataLocation(cohort), tmp_path / "run")


def test_off_the_cpu_kernels_without_a_fixed_order_are_a_warning():
    with deterministic_kernels("cuda"):
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        with deterministic_kernels():
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device, or torch has no support for it")
def test_a_gpu_predicts_what_the_cpu_predicts(cohort: Path, tmp_path: Path):
    run = fit(small_spec(precision="float32"), DataLocation(cohort), tmp_path / "run", device="cuda").folder
    request = EvaluationRequest(("motion",), (0, 3))
    scores = []
    for device in ("cpu", "cuda"):
        found = evaluate([run], request, tmp_path / device, device=device)
        scores.append(np.concatenate([block.scores for block in read_table(found.folder / "predictions.csv.gz")]))
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-4 * np.abs(scores[0]).max())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device, or torch has no support for it")
def test_drift_on_a_gpu_is_that_of_the_cpu(cohort: Path, tmp_path: Path):
    run = fit(small_spec(precision="float32"), DataLocation(cohort), tmp_path / "run").folder
    request = DriftRequest(("noise",), (5,), n_slices=20, n_swapped=(2,))
    cpu, gpu = (analyse_drift([run], request, tmp_path / device, device=device) for device in ("cpu", "cuda"))
    for name in ("mean_shift", "log_variance_ratio"):
        values = [np.array([row[name] for row in found.drift], float) for found in (cpu, gpu)]
        np.testing.assert_allclose(values[1], values[0], atol=1e-3)
    assert [row["swap"] for row in gpu.swap] == [row["swap"] for row in cpu.swap]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device, or torch has no support for it")
def test_a_step_on_a_gpu_is_that_of_the_cpu():
    images = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    gradients = []
    for device in ("cpu", resolve_device("cuda")):
        network = Execution(device=device).laid_out(NETWORK.build(0)).train()
        network(images.to(device)).square().mean().backward()
        gradients.append([parameter.grad.cpu() for parameter in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(one.abs().max()))
