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
from diagnose.training.distributed import ProcessGroup
from diagnose.training.execution import Execution
from diagnose.training.task import Task


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
def step_off_the_cpu() -> Callable[[Task], None]:
    """Take a training step with the weights on the meta device, which refuses every input that is not there too.

    So a tensor that training forgets on the CPU, and a GPU would refuse, shows without a GPU.
    """

    def step(task: Task) -> None:
        network = Execution(device="meta").laid_out(task.build()).train()
        loss = task.begin_epoch(0, Path(), ProcessGroup())
        with pytest.raises(RuntimeError, match="meta"):
            loss(network, slice(0, 2), Execution())
        loss(network, slice(0, 2), Execution(device="meta")).backward()
        assert {parameter.grad.device.type for parameter in network.parameters()} == {"meta"}

    return step


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
