"""The bar of an epoch: on a terminal alone, with epoch, loss and time left, gone before anything else is said."""

import io
import json
import re
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from diagnose.cli_progress import batch_progress
from diagnose.testing import SMALL

EPOCH_LINE = r"epoch \d/2  loss \d\.\d{3}  validation AUROC \d\.\d{3}(  best)?  \(\d+\.\d s\)"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    """Keeps what is written, and says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name, value in {"TERM": "xterm", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def train(cohort: Path, folder: Path) -> list[str]:
    settings = [f"--set={name}={value}" for name, value in SMALL.items()]
    return ["train", "--data", str(cohort), *settings, "--threads", "1", "--out", str(folder)]


def test_without_a_terminal_there_are_the_lines_and_nothing_else(
    cohort: Path, tmp_path: Path, diagnose: Callable[..., object]
):
    done = diagnose(*train(cohort, tmp_path / "run"), cwd=tmp_path)
    assert done.returncode == 0
    first, *epochs = done.stderr.splitlines()
    assert first.startswith("training gn, seed 0, in ") and len(epochs) == 2
    assert all(re.fullmatch(EPOCH_LINE, line) for line in epochs)


def test_on_a_terminal_a_bar_moves_batch_by_batch_and_goes(
    cohort: Path, tmp_path: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
):
    from diagnose.cli import main

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    monkeypatch.setattr(sys, "argv", ["diagnose", *train(cohort, tmp_path / "run")])
    with redirect_stderr(terminal), pytest.raises(SystemExit) as end:
        main()
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert not end.value.code
    # A carriage return, or a move of the cursor, begins each drawing of a bar.
    drawn = [text for text in re.split(r"[\r\n]", CONTROL.sub("", terminal.getvalue())) if text.strip()]
    bars = [
        text for text in drawn if re.match(r"epoch \d/2 [━╸╺ ]+ *\d/6 +loss \d\.\d{3} +(-:--:--|\d+:\d\d:\d\d)", text)
    ]
    lines = [text for text in drawn if re.match(EPOCH_LINE, text)]
    assert len(lines) == 2
    for number, entry in enumerate(map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()), 1):
        of_epoch = [text for text in bars if text.startswith(f"epoch {number}/2")]
        assert of_epoch and f"6/6 loss {entry['train_loss']:.3f}" in of_epoch[-1]
        assert drawn.index(of_epoch[-1]) < drawn.index(lines[number - 1])
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") == 2, "the cursor is back"


def test_the_bar_says_what_it_is_told_and_is_taken_away_at_a_stop(terminal: Terminal):
    with redirect_stderr(terminal), pytest.raises(KeyboardInterrupt), batch_progress(30) as tell:
        for done in (4, 5, 6):
            tell(3, done, 400, 1 / done)
            sys.stderr.flush()
        raise KeyboardInterrupt
    assert "epoch 3/30" in terminal.getvalue() and "6/400 loss 0.167" in CONTROL.sub("", terminal.getvalue())
    assert terminal.getvalue().count("\x1b[?25h") == 1 and not isinstance(sys.stderr, Terminal)
