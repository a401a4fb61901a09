"""Folders as git-annex and file servers leave them: links to nothing, files that may not be read, pipes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from mrisim import formats
from mrisim.errors import DataError
from mrisim.formats.bart import write_cfl
from mrisim.items import find_items

PREAMBLE = bytes(128) + b"DICM"


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch):
    """Take the permission to read from files of some names, from root too."""
    names, opened = set(), Path.open

    def refused(path: Path, *mode: str, **options: object) -> object:
        if path.name in names:
            raise PermissionError(errno.EACCES, "permission denied", str(path))
        return opened(path, *mode, **options)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(Path, "open", refused)
    return names


def names_below(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in formats.input_files(folder)]


def test_what_cannot_be_opened_is_an_input_where_its_name_says_so(tmp_path: Path, closed: set[str]) -> None:
    for name in ("lost.h5", "lost.cfl", "lost.hdr", "lost.dcm", "alone.hdr", "notes", "link.txt"):
        (tmp_path / name).symlink_to("../.git/annex/objects/gone")
    for name in ("closed.h5", "closed.txt", "closed", "header.hdr", "analyze.hdr"):
        (tmp_path / name).write_bytes(b"text")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.png")
    closed |= {"closed.h5", "closed.txt", "closed", "header.hdr"}
    assert names_below(tmp_path) == [
        "alone.hdr", "closed.h5", "header.hdr", "lost.cfl", "lost.dcm", "lost.h5", "pipe.png",
    ]  # fmt: skip


def test_a_batch_goes_on_past_links_to_nothing_closed_files_and_pipes(
    mrisim, tmp_path: Path, small_scan, write_fastmri, closed: set[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_fastmri(folder / "good.h5", small_scan())
    shutil.copy(folder / "good.h5", folder / "shut.h5")
    (folder / "lost.h5").symlink_to("gone")
    (folder / "notes.txt").symlink_to("gone")
    os.mkfifo(folder / "pipe.h5")
    os.mkfifo(folder / "pipe")
    closed.add("shut.h5")
    said = {
        "lost": "lost.h5 is a link to nothing",
        "pipe": "pipe.h5 is a pipe, a socket or a device",
        "shut": "shut.h5 cannot be read (PermissionError",
    }
    for given in ([folder], sorted(folder.glob("*.h5"))):  # the folder, and what a shell makes of a pattern
        out = tmp_path / f"o{len(given)}"
        assert mrisim("corrupt", *given, "--kind", "spikes:1", "--out", out).code == 5
        lines = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
        assert {line["item_id"] for line in lines} == said.keys()
        assert all(line["failures"][0].startswith(said[line["item_id"]]) for line in lines)
        assert (out / "good.json").exists()


def test_a_batch_goes_on_past_a_folder_that_may_not_be_entered(
    mrisim, tmp_path: Path, small_scan, write_fastmri, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    (folder / "lost+found").mkdir(parents=True)
    write_fastmri(folder / "good.h5", small_scan())
    listed, scanned = os.listdir, os.scandir

    def refused(of):
        def list_(path="."):
            if Path(path).name == "lost+found":
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return of(path)

        return list_

    monkeypatch.setattr(os, "listdir", refused(listed))
    monkeypatch.setattr(os, "scandir", refused(scanned))
    result = mrisim("corrupt", folder, "--kind", "spikes:1", "--out", tmp_path / "out")
    assert result.code == 5 and (tmp_path / "out" / "good.json").exists()
    (line,) = (tmp_path / "out" / "failures.jsonl").read_text().splitlines()
    said = "lost+found cannot be read (PermissionError: [Errno 13] Permission denied: 'lost+found')"
    assert json.loads(line)["item_id"] == "lost+found"
    assert json.loads(line)["failures"] == [f"{said}; expected a readable folder"]


def test_one_input_that_is_a_link_to_nothing_or_a_socket_is_one_line(
    mrisim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lost.h5").symlink_to("gone")
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s.h5")
        for name, said in (("lost.h5", "is a link to nothing"), ("s.h5", "is a pipe, a socket or a device")):
            for command in (["corrupt", "--kind", "spikes:1"], ["info"]):
                result = mrisim(*command, name)
                assert result.code == 4 and len(result.err.splitlines()) == 1
                assert result.err.startswith(f"mrisim: {name} {said}; expected fastMRI")


@pytest.mark.parametrize(
    ("name", "fails"), [("IM0003", True), ("1.2.840.3", True), ("x.DCM", True), ("notes.txt", False), ("README", False)]
)
@pytest.mark.parametrize("way", ["link", "closed"])
def test_a_series_with_an_image_that_cannot_be_read_fails(
    tmp_path: Path, closed: set[str], name: str, fails: bool, way: str
) -> None:
    (tmp_path / "IM0001").write_bytes(PREAMBLE)
    os.mkfifo(tmp_path / "IM0002")
    if way == "link":
        (tmp_path / name).symlink_to("gone")
    else:
        (tmp_path / name).write_bytes(PREAMBLE)
        closed.add(name)
    assert tmp_path in formats.input_files(tmp_path)
    if fails:
        with pytest.raises(DataError, match=f"^{name} cannot be read"):
            formats.detect(tmp_path)
    else:
        assert formats.dicom_files(tmp_path) == [tmp_path / "IM0001"]


def test_a_bart_pair_of_which_both_files_are_named_is_one_input(mrisim, tmp_path: Path, small_scan) -> None:
    kspace = small_scan().kspace[:1].transpose(2, 3, 1, 0)[:, :, None]
    for name in ("k1", "k2"):
        write_cfl(tmp_path / "kk" / name, kspace)
    every = sorted((tmp_path / "kk").iterdir())
    assert [path.name for path in every] == ["k1.cfl", "k1.hdr", "k2.cfl", "k2.hdr"]
    for given in (every, every[::-1]):
        items = find_items(given)
        assert sorted((item.item_id, item.path) for item in items) == [("k1", every[0]), ("k2", every[2])]
    result = mrisim("corrupt", *every, "--kind", "spikes:1", "--out", "o")
    assert result.code == 0 and "wrote 2 of 2" in result.out
    assert [item.path for item in find_items([every[1], every[2]])] == [every[0], every[2]]  # either name is enough


def test_a_header_of_another_folder_is_no_half_of_a_pair(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_cfl(tmp_path / folder / "k", np.ones((3, 4), np.complex64))
    with pytest.raises(DataError, match="one identity"):
        find_items([tmp_path / "a" / "k.cfl", tmp_path / "b" / "k.hdr"])
