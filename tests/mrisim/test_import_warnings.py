"""A CuPy without NCCL and cuDNN, which nothing here needs: no program repeats its advice, no test fails of it."""

import os
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest

from mrisim import dask_executor
from mrisim.errors import ConfigError
from mrisim.import_warnings import NOT_NEEDED, ignore_import_warnings

ROOT = Path(__file__).parents[2]
DOUBLE = Path(__file__).parent / "cupy_double"
SAID = [
    "\nnccl library could not be loaded.\n\nReason: ImportError (libnccl.so.2)\n",
    "\ncudnn library could not be loaded.\n\nReason: ImportError (libcudnn.so.8)\n",
    "Importing cupy.cuda.cudnn failed. For more details, see the error stack below:\nlibcudnn.so.8",
    "Importing cupy.cuda.nccl failed. For more details, see the error stack below:\nlibnccl.so.2",
]


def program(code: str) -> str:
    """Return what Python says on standard error while it runs code, with the double in place of CuPy."""
    path = os.pathsep.join([str(DOUBLE), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        cwd=ROOT,
        input="",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_sigpy_says_it_and_no_more_once_it_is_ignored() -> None:
    said = program("import sigpy")
    assert "nccl library could not be loaded" in said and "Importing cupy.cuda.cudnn failed" in said
    assert not program("from mrisim.import_warnings import *; ignore_import_warnings(); import sigpy")


@pytest.mark.parametrize("name", ["mrisim.cli", "diagnose.cli"])
def test_no_program_repeats_it(name: str) -> None:
    assert not program(f"import {name} as cli\ncli.app = lambda: __import__('sigpy')\ncli.main()")


def test_no_worker_process_repeats_it() -> None:
    assert not program(
        "import types\nfrom diagnose.study import worker\n"
        "task = types.SimpleNamespace(values={'folder': 'f'}, action='train')\n"
        "worker.Task, worker._watch = types.SimpleNamespace(of_text=lambda text: (task, 0)), lambda *_: None\n"
        "worker.ACTIONS['train'] = lambda *_: __import__('sigpy')\nworker.main()"
    )
    with warnings.catch_warnings():
        warnings.resetwarnings()  # those of pyproject.toml are set here, too
        with pytest.raises(ConfigError, match="a Dask worker has mrisim"):
            dask_executor._attempt_on_worker(None, None, Path(), "another version")  # type: ignore[arg-type]
        assert {found[1].pattern for found in warnings.filters if found[1]} >= set(NOT_NEEDED)


@pytest.mark.parametrize("text", SAID)
def test_exactly_this_is_ignored(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ignore_import_warnings()
        warnings.warn(text, stacklevel=1)
        for other in (text.replace("cudnn", "cufft").replace("nccl", "cublas"), "before: " + text):
            with pytest.raises(UserWarning):
                warnings.warn(other, stacklevel=1)
        with pytest.raises(DeprecationWarning):
            warnings.warn(text, DeprecationWarning, stacklevel=1)


def test_the_tests_ignore_what_the_programs_ignore() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert options["filterwarnings"][-len(NOT_NEEDED) :] == [f"ignore:{text}:UserWarning" for text in NOT_NEEDED]
