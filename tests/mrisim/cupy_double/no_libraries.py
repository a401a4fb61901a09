"""A GPU that is seen and does not compute, as CuPy's wheels leave it without CUDA's libraries.

Run by `test_gpu_path.py`.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import cupy
import pytest

from mrisim import cli, doctor, gpu_probe
from mrisim.errors import ConfigError
from mrisim.fourier import resolve_device

NO_CUFFT = 'Failure finding "libcufft.so.12 or libcufft.so.11": No such file: libcufft.so.12'


@pytest.fixture(autouse=True)
def not_tried_yet() -> Iterator[None]:
    gpu_probe.trouble.cache_clear()
    yield
    gpu_probe.trouble.cache_clear()


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


BROKEN = {
    "a kernel: RuntimeError: CuPy failed to load libnvrtc.so.12": (
        cupy, "arange", raising(RuntimeError("\n=====\nCuPy failed to load libnvrtc.so.12\nadvice"))
    ),
    f"an FFT: ImportError: {NO_CUFFT}": (cupy.fft, "fftn", raising(ImportError(f"{NO_CUFFT}\nand so on"))),
    "a complex matrix product: ImportError: no reason given": (cupy.ndarray, "__matmul__", raising(ImportError("\n"))),
    "an FFT: the result is wrong": (cupy.fft, "fftn", lambda array: array),
}  # fmt: skip


@pytest.mark.parametrize("reason", BROKEN)
def test_auto_is_the_cpu_an_explicit_device_is_refused_and_doctor_tells(
    reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*BROKEN[reason])
    monkeypatch.setattr(doctor, "version", lambda name: "14.2.0")
    said: list[str] = []
    assert resolve_device("auto", said.append) == "cpu"
    assert said == [f"the GPU is not used, because it does not compute ({reason}); working on the CPU"]
    with pytest.raises(ConfigError) as error:
        resolve_device("cuda:1")
    assert str(error.value) == f"device is 'cuda:1'; expected a CUDA device that works, got: {reason}"
    assert len(re.findall(f"does not work on [^:]+: {re.escape(reason)}", doctor.examine_one("cupy"))) == 2


def test_a_gpu_is_tried_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: Counter[int] = Counter()
    monkeypatch.setattr(gpu_probe, "probe", lambda index: tried.update([index]) or "")
    assert [resolve_device(name) for name in ("auto", "cuda", "cuda:1", "cuda:0", "cuda:1", "cpu")] == [
        "cuda", "cuda", "cuda:1", "cuda:0", "cuda:1", "cpu"
    ]  # fmt: skip
    assert tried == {0: 1, 1: 1}


@pytest.mark.parametrize(("device", "code"), [("auto", 0), ("cuda", 3)])
def test_the_command_says_so_once(
    device: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    monkeypatch.setattr(cupy.fft, "fftn", raising(ImportError(NO_CUFFT)))
    options = ["--kind", "noise", "--out", str(tmp_path / "out"), "--device", device]
    monkeypatch.setattr(sys, "argv", ["mrisim", "corrupt", *options])
    try:
        cli.main()
        ended = 0
    except SystemExit as end:
        ended = int(end.code or 0)
    assert ended == code
    told = [line for line in capsys.readouterr().err.splitlines() if NO_CUFFT in line]
    assert len(told) == 1 and told[0].startswith("the GPU is not used" if device == "auto" else "mrisim: device is")
