"""Memory that runs out in one file: that file has failed, in one line, and the others are done."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
from sigpy.linop import Identity

from mrisim import batch
from mrisim import job as job_module
from mrisim.corrupt import Request
from mrisim.errors import DataError
from mrisim.items import Item
from mrisim.job import Job, Report, attempt
from mrisim.out_of_memory import memory_errors_named

TOO_LARGE = 1 << 50
LESS = "try fewer --workers, or a part of the --slices at a time"


def cuda_error(text: str) -> RuntimeError:
    """Return an error as CuPy's libraries raise it."""
    return type("CUFFTError", (RuntimeError,), {"__module__": "cupy.cuda.cufft"})(text)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), f"this machine is out of memory; {LESS}"),
        (MemoryError("no 8 bytes.\nmore"), f"this machine is out of memory: no 8 bytes; {LESS}"),
        (
            cuda_error("CUFFT_ALLOC_FAILED"),
            "the GPU is out of memory: CUFFT_ALLOC_FAILED; try fewer --workers, or --device cpu",
        ),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 1 GiB"),
            "the GPU is out of memory: Tried to allocate 20.00 MiB; try fewer --workers, or --device cpu",
        ),
    ],
)
def test_it_is_one_line_whatever_it_led_to(error: Exception, line: str) -> None:
    with pytest.raises(DataError) as named, memory_errors_named():
        raise error
    assert str(named.value) == line
    with pytest.raises(DataError) as named, memory_errors_named():
        raise RuntimeError("Exceptions from <an operator>") from error
    assert str(named.value) == line


def test_what_sigpy_makes_of_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = Identity((3,))
    monkeypatch.setattr(operator, "_apply", lambda _: np.empty(TOO_LARGE))
    with pytest.raises(RuntimeError, match="Exceptions from"):
        operator(np.zeros(3))
    with (
        pytest.raises(
            DataError, match=r"^this machine is out of memory: Unable to allocate .* for an array with shape"
        ),
        memory_errors_named(),
    ):
        operator(np.zeros(3))


@pytest.mark.parametrize("error", [RuntimeError("a mistake"), ValueError("memory"), KeyError("MemoryError")])
def test_other_errors_are_left_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as found, memory_errors_named():
        raise error
    assert found.value is error


def test_the_other_files_are_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def process(item: Item, *_: object, **__: object) -> Report:
        if item.item_id == "b":
            np.empty(TOO_LARGE)
        return Report(item.item_id, (item.item_id,))

    monkeypatch.setattr(job_module, "process", process)
    reports = batch.run([Item(name, None) for name in "abc"], Job(()), tmp_path, n_workers=2)
    assert [(report.outputs, report.exit_code) for report in reports] == [(("a",), 0), ((), 4), (("c",), 0)]
    assert reports[1].failures[0].startswith("this machine is out of memory: Unable to allocate 8.00 PiB")


def test_the_arrays_on_the_way_are_gone_when_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref[np.ndarray]] = []

    def process(*_: object, **__: object) -> Report:
        image = np.zeros(8)
        held.append(weakref.ref(image))
        np.empty(TOO_LARGE)
        return Report(str(image))

    monkeypatch.setattr(job_module, "process", process)
    at_release = []
    monkeypatch.setattr(job_module, "release_memory", lambda device: at_release.append(held[0]()))
    gc.disable()
    try:
        assert attempt(Item("a", None), Job((), device="cuda"), Path()).failures
    finally:
        gc.enable()
    assert at_release == [None]


def test_an_estimate_and_a_command_say_so(monkeypatch: pytest.MonkeyPatch, mrisim) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError("no 8 bytes")

    released = []
    monkeypatch.setattr(batch, "load", no_memory)
    monkeypatch.setattr(batch, "release_memory", released.append)
    with pytest.raises(DataError, match="out of memory: no 8 bytes"):
        batch.estimate([Item("a", None)], Job((Request("noise", 1),), device="cuda"))
    assert released == ["cuda"]
    monkeypatch.setattr("mrisim.describe_scan.describe", no_memory)
    outcome = mrisim("info", "scan.h5")
    assert outcome.code == 4 and outcome.err == f"mrisim: this machine is out of memory: no 8 bytes; {LESS}\n"
