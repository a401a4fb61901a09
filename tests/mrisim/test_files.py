"""Paths that users give, folders that are emptied, and places that cannot be written to."""

import errno
import shutil
from pathlib import Path

import pytest

from mrisim.errors import DataError
from mrisim.files import all_named, emptied, named, written_whole


def test_a_path_without_a_name_gets_that_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "above" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "above" / "here")
    assert named(Path()) == tmp_path / "above" / "here"
    assert named(Path("..")) == named(Path("below/../..")) == tmp_path / "above"
    assert named(Path("o")) == Path("o") and named(None) is None
    assert all_named([Path(), Path("o")]) == [tmp_path / "above" / "here", Path("o")] and all_named(None) is None


def test_a_name_that_no_file_can_have_is_one_line(mrisim) -> None:
    with pytest.raises(DataError, match=r"^oooo.* is too long for a path"):
        named(Path("o" * 300))
    long = "x" * 300
    for command in (["corrupt", long], ["corrupt", "--kind", "spikes", "--out", long], ["convert", "a.h5", long]):
        result = mrisim(*command)
        assert result.code == 4 and result.err.endswith("... is too long for a path; expected a shorter one\n")


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


def refused(path: Path, *_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "permission denied", str(path))


READ_ONLY = "could not be written: the output folder is read-only"
IN_THE_WAY = "could not be written: a file, or a link to nothing, lies where a folder is expected"
WRITERS = [
    ["preview", "in.h5", "--kind", "noise", "--out"],
    ["cohort", "knee", "--patients", "1", "--slices", "1", "--out"],
    ["convert", "in.h5"],
    ["calibrate", "--out"],
]


@pytest.fixture
def writer(mrisim, tmp_path: Path, small_scan, write_fastmri, monkeypatch: pytest.MonkeyPatch):
    """Run a command that writes; nothing that takes long may begin before the output is known to be refused."""

    def too_early(*_: object, **__: object) -> None:
        raise AssertionError("the work began")

    write_fastmri(tmp_path / "in.h5", small_scan())
    monkeypatch.setattr("mrisim.contact_sheet.images_by_level", too_early)
    monkeypatch.setattr("mrisim.calibrate.calibrate", too_early)
    return lambda command, place: mrisim(*command, f"{place}.h5" if command[0] == "convert" else place)


@pytest.mark.parametrize("command", WRITERS, ids=lambda command: command[0])
@pytest.mark.parametrize("place", ["in.h5/x", "link/x", "/dev/null/x"])
def test_a_file_where_the_output_folder_would_be_is_one_line(writer, tmp_path: Path, command: list[str], place: str):
    (tmp_path / "link").symlink_to("gone")
    before = (tmp_path / "in.h5").read_bytes()
    result = writer(command, place)
    assert result.code == 4 and result.err.rstrip().endswith(IN_THE_WAY)
    assert "Traceback" not in result.err and len(result.err.splitlines()) <= 2  # the cohort says first what it costs
    assert (tmp_path / "in.h5").read_bytes() == before


@pytest.mark.parametrize("command", WRITERS, ids=lambda command: command[0])
def test_a_read_only_place_is_one_line(writer, command: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "mkdir", refused)
    result = writer(command, "below/x")
    assert result.code == 4 and result.err.rstrip().endswith(READ_ONLY)


@pytest.mark.parametrize("place", ["in.h5", "link"])
def test_a_file_of_the_name_of_the_preview_folder_is_one_line(writer, tmp_path: Path, place: str):
    (tmp_path / "link").symlink_to("gone")
    result = writer(WRITERS[0], place)
    assert result.code == 4 and result.err.splitlines() == [f"mrisim: {place} {IN_THE_WAY}"]


def test_a_cohort_in_a_read_only_folder_is_one_line(writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "x").mkdir()
    monkeypatch.setattr(Path, "open", refused)
    result = writer(WRITERS[1], "x")
    assert result.code == 4 and result.err.splitlines()[1:] == [f"mrisim: x {READ_ONLY}"]


def test_a_cache_that_cannot_be_removed_is_one_line(mrisim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "cache" / "cohorts" / "knee-1").mkdir(parents=True)
    monkeypatch.setenv("MRISIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shutil, "rmtree", refused)
    result = mrisim("cache", "clear")
    assert result.code == 4 and result.err.splitlines() == [f"mrisim: knee-1 {READ_ONLY}"]


def test_a_table_in_the_place_of_a_folder_is_one_line(mrisim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mrisim.calibrate.calibrate", lambda *_, **__: {})
    (tmp_path / "levels").mkdir()
    for place in ("levels", "."):
        result = mrisim("calibrate", "--out", place)
        assert result.code == 4 and "a folder of that name is there; expected another name" in result.err
        assert len(result.err.splitlines()) == 1 and not list(tmp_path.parent.glob("*.part"))


def test_a_level_table_replaces_no_file_unasked(mrisim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mrisim.calibrate.calibrate", lambda *_, **__: {})
    (tmp_path / "levels.json").write_text("mine")
    result = mrisim("calibrate")
    assert result.code == 2 and (tmp_path / "levels.json").read_text() == "mine"
    assert result.err.splitlines() == ["mrisim: levels.json exists; use --overwrite or another name"]
    assert mrisim("calibrate", "--overwrite").code == 0 and (tmp_path / "levels.json").read_text() == "{}\n"


def test_convert_replaces_neither_its_source_nor_unasked_a_file_beside_the_target(
    mrisim, tmp_path: Path, small_scan, write_fastmri
):
    source = write_fastmri(tmp_path / "in.h5", small_scan())
    before = source.read_bytes()
    (tmp_path / "alias.h5").symlink_to(source)
    for name in ("in.h5", "./in.h5", "alias.h5"):
        result = mrisim("convert", source, name, "--overwrite")
        assert result.code == 2 and "would replace the source; expected another name" in result.err
    assert source.read_bytes() == before
    (tmp_path / "x.hdr").write_text("of x.img")  # the header of another format's pair
    result = mrisim("convert", source, "x.cfl")
    assert result.code == 2 and result.err.splitlines() == ["mrisim: x.hdr exists; use --overwrite or another name"]
    assert (tmp_path / "x.hdr").read_text() == "of x.img" and not (tmp_path / "x.cfl").exists()
    assert mrisim("convert", source, "x.cfl", "--overwrite").code == 0
    result = mrisim("convert", "x.hdr", "x.cfl", "--overwrite")
    assert result.code == 2 and "would replace the source" in result.err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG])
def test_what_the_disk_refuses_leaves_nothing_behind(tmp_path: Path, number: int):
    with (
        pytest.raises(DataError, match=r"^table\.csv could not be written: "),
        written_whole(tmp_path / "table.csv") as to,
    ):
        to.write_text("half")
        raise OSError(number, "refused")
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_name_is_named_where_a_sidecar_is_expected(mrisim, tmp_path: Path):
    result = mrisim("replay", ".")
    assert result.code == 4
    assert result.err.splitlines() == [
        f"mrisim: {tmp_path.name} cannot be read; expected the JSON sidecar of a corrupted scan"
    ]
