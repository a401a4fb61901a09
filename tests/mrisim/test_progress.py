"""What is said while something takes long."""

import sys

import numba
import pytest

from mrisim.progress import announce_compiling


@pytest.mark.parametrize(("terminal", "n_lines"), [(True, 1), (False, 0)])
def test_a_first_run_says_once_on_a_terminal_that_it_compiles(capsys, monkeypatch, terminal: bool, n_lines: int):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    announce_compiling()
    assert capsys.readouterr().err == ""
    doubled = numba.njit(lambda x: 2 * x)
    assert doubled(2) == 4 and doubled(2.5) == 5.0 and doubled(3) == 6
    said = capsys.readouterr().err.splitlines()
    assert said == ["compiling for this machine, once: up to half a minute"] * n_lines
