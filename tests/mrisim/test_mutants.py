"""One mutant of every kind dies in CI; `python tests/mutants.py`, or the slow test here, kills them all."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "mutants.py"


def _mutants() -> dict:
    specification = importlib.util.spec_from_file_location("mutants", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules["mutants"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module.MUTANTS


def _run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True)


def test_every_kind_names_at_least_five_mutants() -> None:
    from mrisim.artifacts import KINDS

    mutants = _mutants()
    assert all(len(mutants[kind]) >= 5 for kind in KINDS)


def test_every_mutant_names_text_that_is_there_once() -> None:
    package = SCRIPT.parents[1] / "mrisim"
    for kind, mutants in _mutants().items():
        for mutant in mutants:
            assert (package / mutant.file).read_text().count(mutant.old) == 1, f"{kind}: {mutant.name}"


@pytest.mark.parametrize("kind", ["noise", "motion", "ghosting", "spikes", "undersampling", "bias-field"])
def test_a_mutant_of_each_kind_dies(kind: str) -> None:
    result = _run("--kind", kind, "--sample", "1")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_all_mutants_die() -> None:
    result = _run()
    assert result.returncode == 0, result.stdout + result.stderr
