"""What an installation has: versions as installed, and nothing called working that does not work."""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from mrisim import doctor


def installed(monkeypatch: pytest.MonkeyPatch, name: str, module: object) -> str:
    """Return what is said of a package that is installed, and is this when it is imported."""
    monkeypatch.setattr(doctor, "version", lambda distribution: "1.0")
    monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    return doctor.examine_one(name)


def stand_in(name: str, **content: object) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    return module


def a_cupy(n_devices: int) -> ModuleType:
    runtime = SimpleNamespace(
        getDeviceCount=lambda: n_devices, getDeviceProperties=lambda number: {"name": f"GPU {number}".encode()}
    )
    return stand_in("cupy", cuda=SimpleNamespace(runtime=runtime))


def a_torch(names: tuple[str, ...], built_for: str | None, total: float = 4.0) -> ModuleType:
    cuda = SimpleNamespace(
        is_available=lambda: bool(names), device_count=lambda: len(names), get_device_name=names.__getitem__
    )
    return stand_in(
        "torch", cuda=cuda, version=SimpleNamespace(cuda=built_for), ones=lambda n, device: np.full(1, total)
    )


def test_versions_are_those_installed_and_sigpy_and_torch_are_tried(mrisim) -> None:
    record = json.loads(mrisim("doctor", "--json").out)
    for name in ("numpy", "sigpy", "torch", "safetensors", "pydantic", "jinja2", "h5py"):
        assert record["packages"][name] == version(name)
    assert record["tried"]["sigpy"] in ("works, without CuPy", "works, with CuPy")
    expected = "works on " if torch.cuda.is_available() else "works on the CPU alone: built "
    assert record["tried"]["torch"].startswith(expected)
    text = mrisim("doctor").out
    assert f"torch: {record['tried']['torch']}\n" in text and f"jinja2 {version('jinja2')}" in text
    assert record["free_disk_gb"] > 0 and record["n_cpus"] >= 1


def test_a_package_that_is_not_there_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: doctor.ABSENT)
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert doctor.examine_one("cupy") == "not installed: the simulator runs on the CPU (extras gpu12, gpu13)"
    assert doctor.examine_one("torch") == "not installed"


def test_a_package_that_cannot_be_imported_does_not_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cupy.py").write_text("raise ImportError('libnvrtc.so.12: no such file\\nlong advice')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(doctor, "version", lambda distribution: "14.2")
    expected = "installed, and does not work: ImportError: libnvrtc.so.12: no such file"
    assert doctor.examine_one("cupy") == expected


@pytest.mark.parametrize(
    ("name", "module", "said"),
    [
        ("cupy", a_cupy(0), "installed, no device found: everything runs on the CPU"),
        ("torch", a_torch((), None), "works on the CPU alone: built without CUDA"),
        ("torch", a_torch((), "12.8"), "works on the CPU alone: built for CUDA 12.8, no device found"),
        ("torch", a_torch(("H100", "H200"), "12.8"), "works on H100, H200, CUDA 12.8"),
        ("torch", a_torch(("H100",), "12.8", total=0.0), "installed, and does not work: ArithmeticError: a sum on"),
        ("sigpy", stand_in("sigpy", fft=lambda x: x), "installed, and does not work: ArithmeticError: the Fourier"),
        ("sigpy", stand_in("sigpy"), "installed, and does not work: AttributeError: module 'sigpy' has no attribute"),
    ],
)
def test_what_is_said_is_what_a_package_does(
    monkeypatch: pytest.MonkeyPatch, name: str, module: ModuleType, said: str
) -> None:
    assert installed(monkeypatch, name, module).startswith(said)


@pytest.mark.parametrize(
    ("troubles", "said"),
    [
        (("", ""), "works on GPU 0, GPU 1"),
        (("", "an FFT: ImportError"), "works on GPU 0; does not work on GPU 1: an FFT: ImportError"),
        (("a kernel: wrong",), "does not work on GPU 0: a kernel: wrong"),
    ],
)
def test_every_gpu_is_tried(monkeypatch: pytest.MonkeyPatch, troubles: tuple[str, ...], said: str) -> None:
    monkeypatch.setattr(doctor.gpu_probe, "probe", troubles.__getitem__)
    assert installed(monkeypatch, "cupy", a_cupy(len(troubles))) == said
