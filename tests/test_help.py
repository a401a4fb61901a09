"""What the help of both programs shows is what was written: Rich reads :B: as an emoji and [default: 3] as a style."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from rich.emoji import Emoji
from rich.text import Text

from diagnose.cli import app as diagnose
from mrisim.cli import app as mrisim


def help_texts(command: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield every help text below a command, and where it stands."""
    yield path, command.help or ""
    for parameter in command.params:
        yield f"{path} {parameter.name}", getattr(parameter, "help", None) or ""
    for name, below in getattr(command, "commands", {}).items():
        yield from help_texts(below, f"{path} {name}")


@pytest.mark.parametrize(("program", "name"), [(mrisim, "mrisim"), (diagnose, "diagnose")], ids=["mrisim", "diagnose"])
def test_no_help_text_holds_an_emoji(program: typer.Typer, name: str) -> None:
    texts = dict(help_texts(typer.main.get_command(program), name))
    assert sum(map(bool, texts.values())) > 40
    assert not {place: text for place, text in texts.items() if Emoji.replace(text) != text or not text.isascii()}


@pytest.mark.parametrize(("program", "name"), [(mrisim, "mrisim"), (diagnose, "diagnose")], ids=["mrisim", "diagnose"])
def test_no_help_text_loses_what_stands_in_brackets(program: typer.Typer, name: str) -> None:
    texts = dict(help_texts(typer.main.get_command(program), name))
    assert not {place: text for place, text in texts.items() if Text.from_markup(text).plain != text}


def test_the_help_of_corrupt_shows_how_slices_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(mrisim, ["corrupt", "--help"]).output
    assert "Only the slices A:B, as in Python." in shown and "Default: 3." in shown
    assert not [character for character in shown if ord(character) > 0x2600]  # above the lines of the boxes
