"""A CuPy that is missing, broken or without a driver: what "auto" makes of it, and what an explicit device is told."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mrisim import gpu_probe
from mrisim.errors import ConfigError
from mrisim.fourier import resolve_device

NO_LIBRARY = "raise ImportError('''\n=====\nFailed to import CuPy.\n\nlibcudart.so.12: no such file''')"
NO_PART = "import a_part_that_is_not_there"
NO_DRIVER = """
class cuda:
    class runtime:
        class CUDARuntimeError(RuntimeError): pass
        def getDeviceCount():
            raise cuda.runtime.CUDARuntimeError("cudaErrorInsufficientDriver: insufficient")
    class Device:
        def __init__(self, index): cuda.runtime.getDeviceCount()
"""
NO_DEVICE = NO_DRIVER.replace(
    'raise cuda.runtime.CUDARuntimeError("cudaErrorInsufficientDriver: insufficient")', "return 0"
)


@pytest.fixture
def cupy_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Put a source in place of CuPy's."""

    def put(source: str) -> None:
        (tmp_path / "cupy.py").write_text(source)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    gpu_probe.trouble.cache_clear()
    yield put
    sys.modules.pop("cupy", None)
    gpu_probe.trouble.cache_clear()


def test_without_cupy_auto_is_the_cpu_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    said: list[str] = []
    assert resolve_device("auto", said.append) == "cpu" and not said
    with pytest.raises(ConfigError, match=r"^device is 'cuda'; expected 'cpu', because CuPy is not installed here$"):
        resolve_device("cuda")


@pytest.mark.parametrize("source", [NO_DRIVER, NO_DEVICE])
def test_without_a_driver_or_a_device_auto_is_the_cpu_and_says_nothing(cupy_is, source: str) -> None:
    cupy_is(source)
    said: list[str] = []
    assert resolve_device("auto", said.append) == "cpu" and not said


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (NO_LIBRARY, "ImportError: Failed to import CuPy."),
        (NO_PART, "ModuleNotFoundError: No module named 'a_part_that_is_not_there'"),
    ],
)
def test_a_cupy_that_cannot_be_imported_is_told(cupy_is, source: str, reason: str) -> None:
    cupy_is(source)
    said: list[str] = []
    assert resolve_device("auto", said.append) == "cpu"
    assert said == [f"the GPU is not used, because it does not compute (CuPy: {reason}); working on the CPU"]
    with pytest.raises(ConfigError) as error:
        resolve_device("cuda:1")
    assert str(error.value) == f"device is 'cuda:1'; expected 'cpu', because CuPy fails: {reason}"


def test_whoever_does_not_listen_is_warned(cupy_is) -> None:
    cupy_is(NO_LIBRARY)
    with pytest.warns(UserWarning, match="the GPU is not used"):
        assert resolve_device("auto") == "cpu"
