"""The small cohort, made once, a cache of its own, and the `diagnose` program."""

import io
import signal
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from diagnose.cli import main
from diagnose.testing import write_cohort


class Done(NamedTuple):
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def diagnose() -> Callable[..., Done]:
    """The program, in this process (importing torch anew for every command would take most of the time)."""

    def run(*arguments: str, cwd: Path) -> Done:
        out, error, code = io.StringIO(), io.StringIO(), 0
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
        with chdir(cwd), redirect_stdout(out), redirect_stderr(error), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["diagnose", *arguments])
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        return Done(code, out.getvalue(), error.getvalue())

    return run


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small cohort; read-only."""
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Keep cached images out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRISIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
