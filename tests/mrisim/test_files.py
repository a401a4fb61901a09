"""Paths that users give, and folders that are emptied: what is left, and what is never touched."""

from pathlib import Path

import pytest

from mrisim.files import all_named, emptied, named


def test_a_path_without_a_name_gets_that_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "above" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "above" / "here")
    assert named(Path()) == tmp_path / "above" / "here"
    assert named(Path("..")) == named(Path("below/../..")) == tmp_path / "above"
    assert named(Path("o")) == Path("o") and named(None) is None
    assert all_named([Path(), Path("o")]) == [tmp_path / "above" / "here", Path("o")] and all_named(None) is None


def test_a_folder_is_emptied_and_links_are_not_followed(tmp_path: Path):
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    (folder / "deep" / "deeper").mkdir(parents=True)
    elsewhere.mkdir()
    for path in (folder / "a", folder / "deep" / "deeper" / "b", folder / "kept", elsewhere / "c"):
        path.touch()
    (folder / "link").symlink_to(elsewhere, target_is_directory=True)
    emptied(folder, keep=["kept"])
    assert [path.name for path in folder.iterdir()] == ["kept"]
    assert (elsewhere / "c").exists()
