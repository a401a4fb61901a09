"""Where a batch writes: another request, what is overwritten and when, a kill at any moment, places that cannot be."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from mrisim import batch, output_folder


@pytest.fixture
def scan_file(tmp_path: Path, small_scan, write_fastmri) -> Path:
    (tmp_path / "in").mkdir()
    return write_fastmri(tmp_path / "in" / "file1.h5", small_scan())


def test_an_existing_output_of_another_request_is_refused_unless_overwritten(mrisim, scan_file: Path) -> None:
    assert mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "o").code == 0
    result = mrisim("corrupt", scan_file, "--kind", "spikes:2", "--out", "o")
    assert result.code == 4 and "--overwrite" in result.err
    assert mrisim("corrupt", scan_file, "--kind", "spikes:2", "--out", "o", "--overwrite").code == 0


@pytest.mark.parametrize("n_broken", [1, 2])
def test_what_cannot_be_replaced_is_not_overwritten(mrisim, tmp_path: Path, scan_file: Path, n_broken: int) -> None:
    assert mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "o").code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    broken = [tmp_path / f"broken{index}.h5" for index in range(n_broken)]
    for path in broken:
        path.write_bytes(scan_file.read_bytes()[:2000])
    assert mrisim("corrupt", *broken, "--kind", "spikes:2", "--out", "o", "--overwrite").code != 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()} == before


def test_the_current_folder_as_output(mrisim, tmp_path: Path, scan_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    (here / "below").mkdir(parents=True)
    monkeypatch.chdir(here / "below")
    assert mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", ".").code == 0
    (here / "below").joinpath("file1.h5").unlink()
    assert mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", ".").code == 0
    refused = mrisim("corrupt", scan_file, "--kind", "spikes:2", "--out", ".")
    assert refused.code == 4 and "below holds another request" in refused.err
    assert mrisim("corrupt", scan_file, "--kind", "spikes:2", "--out", ".", "--overwrite").code == 0
    assert json.loads(Path("request.json").read_text())["requests"][0]["level"] == 2
    refused = mrisim("corrupt", scan_file, "--kind", "spikes:2", "--out", "..")
    assert refused.code == 4 and "here holds files that are not ours" in refused.err
    broken = tmp_path / "broken.h5"
    broken.write_bytes(scan_file.read_bytes()[:2000])
    before = {path.name for path in Path().iterdir()}
    assert mrisim("corrupt", broken, "--kind", "spikes:3", "--out", ".", "--overwrite").code == 4
    assert {path.name for path in Path().iterdir()} == before and not list(here.glob(".*"))


@pytest.mark.parametrize("bringing_back", [False, True])
@pytest.mark.parametrize("n_left", [1, 4])
def test_a_kill_between_two_renames_loses_nothing(
    mrisim, tmp_path: Path, scan_file: Path, monkeypatch: pytest.MonkeyPatch, bringing_back: bool, n_left: int
) -> None:
    scan_file = scan_file.rename(scan_file.with_name("z.h5"))  # after request.json, in the order of names
    assert mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "o").code == 0
    out, rename = tmp_path / "o", Path.rename
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    broken = tmp_path / "broken.h5"
    broken.write_bytes(scan_file.read_bytes()[:2000])

    def killed(path: Path, target: Path) -> Path:
        nonlocal n_left
        n_left -= bringing_back == (path.parent.name == output_folder.REPLACED_FOLDER)
        if n_left < 0:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        mrisim("corrupt", broken, "--kind", "spikes:2", "--out", "o", "--overwrite")
    replaced = out / output_folder.REPLACED_FOLDER
    both = [path for folder in (out, replaced) for path in folder.iterdir() if path.is_file()]
    assert {path.name: path.read_bytes() for path in both} == before
    assert 0 < len(list(replaced.iterdir())) < len(before)
    again = mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "o")
    assert again.code == 0 and "resuming" in again.err
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    assert after.keys() == before.keys() and after["z.h5"] == before["z.h5"]


@pytest.mark.parametrize("cut_short", ["the removal of what was replaced", "a third request"])
def test_a_kill_in_a_removal_brings_nothing_back(
    mrisim, tmp_path: Path, scan_file: Path, monkeypatch: pytest.MonkeyPatch, cut_short: str
) -> None:
    out = tmp_path / "o"

    def request_removed(folder: Path, keep: Sequence[str] = (), **_: object) -> None:
        if "request.json" not in keep:
            (folder / "request.json").unlink(missing_ok=True)
        raise KeyboardInterrupt

    assert mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "o").code == 0
    again = ["corrupt", scan_file, "--kind", "spikes:2", "--out", "o", "--overwrite"]
    with monkeypatch.context() as patched:
        if cut_short == "a third request":  # the second was stopped, and the third is while it clears its place
            assert mrisim(*again).code == 0
            (out / output_folder.REPLACED_FOLDER).mkdir()
            (out / output_folder.REPLACED_FOLDER / "request.json").write_bytes((out / "request.json").read_bytes())
            patched.setattr(output_folder, "emptied", request_removed)
            mrisim("corrupt", scan_file, "--kind", "spikes:3", "--out", "o", "--overwrite")
        else:
            patched.setattr(shutil, "rmtree", lambda folder, **_: folder.exists() and request_removed(folder))
            mrisim(*again)
    assert json.loads((out / "request.json").read_text())["requests"][0]["level"] == 2
    made = (out / "file1.h5").read_bytes()
    result = mrisim(*again[:-1])
    assert result.code == 0 and "resuming" in result.err
    assert (out / "file1.h5").read_bytes() == made and not list(out.glob(".*"))


def test_a_folder_that_is_read_only_keeps_what_it_holds(
    mrisim, tmp_path: Path, scan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "o").code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}

    def refused(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refused)
    result = mrisim("corrupt", scan_file, "--kind", "spikes:2", "--out", "o", "--overwrite")
    assert result.code == 4 and "read-only" in result.err
    assert {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()} == before


def test_an_input_within_the_output_is_not_overwritten(mrisim, tmp_path: Path, scan_file: Path) -> None:
    assert mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "o").code == 0
    mine = Path(shutil.copy(scan_file, tmp_path / "o" / "mine.h5"))
    result = mrisim("corrupt", mine, scan_file, "--kind", "spikes:2", "--out", "o", "--overwrite")
    assert result.code == 4 and "the input mine.h5 lies inside the output folder o" in result.err
    assert mine.read_bytes() == scan_file.read_bytes() and not list((tmp_path / "o").glob(".*"))


def test_no_room_for_the_request_brings_back_what_was_there(
    mrisim, tmp_path: Path, scan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "o").code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}

    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(output_folder, "write_text", full)
        result = mrisim("corrupt", scan_file, "--kind", "spikes:2", "--out", "o", "--overwrite")
    assert result.code == 4 and "no room" in result.err
    assert {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()} == before


def test_an_overwriting_run_that_was_killed_and_then_fails_brings_back_what_was_there(
    mrisim, tmp_path: Path, scan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "o").code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    broken = tmp_path / "broken.h5"
    broken.write_bytes(scan_file.read_bytes()[:2000])
    with monkeypatch.context() as killed:
        killed.setattr(batch, "run", _interrupted)
        mrisim("corrupt", scan_file, "--kind", "spikes:2", "--out", "o", "--overwrite")
    assert mrisim("corrupt", broken, "--kind", "spikes:2", "--out", "o").code == 4
    assert {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()} == before


def test_what_an_overwriting_run_has_made_before_a_kill_stays_when_it_goes_on_and_fails(
    mrisim, tmp_path: Path, scan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "o").code == 0
    with monkeypatch.context() as killed:
        killed.setattr(output_folder, "discard", _interrupted)
        mrisim("corrupt", scan_file, "--kind", "spikes:2", "--out", "o", "--overwrite")
    made = (tmp_path / "o" / "file1.h5").read_bytes()
    broken = tmp_path / "broken.h5"
    broken.write_bytes(scan_file.read_bytes()[:2000])
    assert mrisim("corrupt", broken, "--kind", "spikes:2", "--out", "o").code == 4
    assert (tmp_path / "o" / "file1.h5").read_bytes() == made
    assert json.loads((tmp_path / "o" / "request.json").read_text())["requests"][0]["level"] == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "nowhere is a link to nothing"),
        ("file/below", "file is a file; expected a folder"),
        ("odd", "odd holds files that are not ours"),
    ],
)
def test_an_output_that_cannot_be_a_folder_is_one_line(
    mrisim, tmp_path: Path, scan_file: Path, name: str, said: str
) -> None:
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "file").touch()
    (tmp_path / "odd" / "request.json").mkdir(parents=True)
    result = mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", name)
    assert result.code == 4 and said in result.err and len(result.err.splitlines()) == 1


def test_no_room_for_the_line_of_a_failure_is_one_line(
    mrisim, tmp_path: Path, scan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def full(path: Path, *mode: str, **options: object) -> object:
        if path.name == "failures.jsonl":
            raise OSError(errno.ENOSPC, "no space")
        return opened(path, *mode, **options)  # type: ignore[arg-type, call-overload]

    scan_file.write_bytes(scan_file.read_bytes()[:2000])
    monkeypatch.setattr(Path, "open", full)
    result = mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "o")
    assert result.code == 4 and "failures.jsonl could not be written: no room" in result.err


def test_shards_do_not_overwrite(mrisim, scan_file: Path) -> None:
    flags = ["--kind", "spikes:1", "--out", "o", "--num-shards", "2", "--shard-id", "0"]
    result = mrisim("corrupt", scan_file, scan_file.parent, *flags, "--overwrite")
    assert result.code == 2 and "--overwrite with --num-shards" in result.err


def test_a_shard_that_starts_while_another_writes_its_request_goes_on(mrisim, tmp_path: Path, scan_file: Path) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "request.json.part").write_text("{")
    assert mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "o").code == 0


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("again", [[], ["--overwrite"]])
def test_output_that_is_to_be_replaced_is_kept_until_it_is(
    mrisim, tmp_path: Path, scan_file: Path, monkeypatch: pytest.MonkeyPatch, again: list[str]
) -> None:
    assert mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "o").code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    for _ in range(2):  # killed, and killed again
        with monkeypatch.context() as killed:
            killed.setattr(batch, "run", _interrupted)
            mrisim("corrupt", scan_file, "--kind", "spikes:2", "--out", "o", "--overwrite")
        assert {path.name: path.read_bytes() for path in (tmp_path / "o" / ".replaced").iterdir()} == before
    result = mrisim("corrupt", scan_file, "--kind", "spikes:2", "--out", "o", *again)
    assert result.code == 0 and "resuming" in result.err
    assert (tmp_path / "o" / "index.jsonl").exists() and not (tmp_path / "o" / ".replaced").exists()


def test_output_is_kept_where_only_some_of_it_could_be_replaced(mrisim, tmp_path: Path, scan_file: Path) -> None:
    other = Path(shutil.copy(scan_file, scan_file.with_name("file2.h5")))
    assert mrisim("corrupt", scan_file.parent, "--kind", "spikes:1", "--out", "o").code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    whole = other.read_bytes()
    other.write_bytes(whole[:2000])
    again = ["corrupt", scan_file.parent, "--kind", "spikes:2", "--out", "o", "--overwrite"]
    for _ in range(2):
        result = mrisim(*again)
        assert result.code == 5 and f"the earlier output is kept in {Path('o') / '.replaced'}" in result.out
        assert {path.name: path.read_bytes() for path in (tmp_path / "o" / ".replaced").iterdir()} == before
        assert (tmp_path / "o" / "file1.h5").read_bytes() != before["file1.h5"]
    other.write_bytes(whole)
    result = mrisim(*again)
    assert result.code == 0 and "kept" not in result.out and not list((tmp_path / "o").glob(".*"))
    assert (tmp_path / "o" / "file2.json").exists()


@pytest.mark.parametrize("method", ["rename", "unlink"])
def test_permission_that_is_lost_at_the_end_is_one_line(
    mrisim, tmp_path: Path, scan_file: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    assert mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "o").code == 0
    original = getattr(Path, method)
    lost = output_folder.REPLACED_FOLDER if method == "rename" else output_folder.REQUEST_FILE

    def refused(path: Path, *args: object, **flags: object) -> object:
        if path.name == lost:
            raise PermissionError(errno.EACCES, "permission denied", str(path))
        return original(path, *args, **flags)

    if method == "unlink":  # nothing comes about, so the folder is given back
        scan_file.write_bytes(scan_file.read_bytes()[:2000])
    monkeypatch.setattr(Path, method, refused)
    result = mrisim("corrupt", scan_file, "--kind", "spikes:2", "--out", "o", "--overwrite")
    assert result.code == 4 and "o could not be written: the output folder is read-only" in result.err


@pytest.mark.parametrize("name", ["thesis.txt", "request.json"])
@pytest.mark.parametrize("text", ["years of work", '{"years": "of work"}'])
@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_a_folder_of_somebody_elses_is_never_overwritten(
    mrisim, tmp_path: Path, scan_file: Path, name: str, text: str, flags: list[str]
) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / name).write_text(text)
    result = mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "o", *flags)
    assert result.code == 4
    assert result.err == "mrisim: the output folder o holds files that are not ours; expected another --out\n"
    assert (tmp_path / "o" / name).read_text() == text


def test_another_file_of_the_same_name_is_not_taken_for_done(
    mrisim, tmp_path: Path, scan_file: Path, small_scan, write_fastmri
) -> None:
    assert mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "o").code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    other = write_fastmri(tmp_path / "p2" / "file1.h5", small_scan(3))
    result = mrisim("corrupt", other, "--kind", "spikes:1", "--out", "o")
    assert result.code == 4 and "file1.json in o was made of another file1.h5" in result.err
    after = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    assert {name: after[name] for name in before} == before
    assert mrisim("corrupt", other, "--kind", "spikes:1", "--out", "o", "--overwrite").code == 0


def test_a_resumed_run_reports_what_is_there_once(mrisim, tmp_path: Path, scan_file: Path) -> None:
    broken = scan_file.with_name("file2.h5")
    whole = scan_file.read_bytes()
    broken.write_bytes(whole[:2000])
    command = ["corrupt", scan_file.parent, "--kind", "spikes:1", "--out", "o"]
    first = mrisim(*command)
    assert first.code == 5 and "wrote 1 of 2 to o; 1 with failures" in first.out
    index = tmp_path / "o" / "index.jsonl"
    line = index.read_text()
    broken.write_bytes(whole)
    second = mrisim(*command)
    assert second.code == 0 and "wrote 1 of 2 to o; 1 were there" in second.out
    assert not (tmp_path / "o" / "failures.jsonl").exists()
    assert index.read_text().startswith(line)
    assert [json.loads(text)["item_id"] for text in index.read_text().splitlines()] == ["file1", "file2"]
    index.write_text(index.read_text()[:-20])  # killed while it was written
    third = json.loads(mrisim(*command, "--json").out)
    assert third["n_resumed"] == 2 and third["items"][0]["quality"] == json.loads(line)["quality"]
    assert [json.loads(text)["item_id"] for text in index.read_text().splitlines()] == ["file1", "file2"]


@pytest.mark.parametrize("name", ["scan_preview.png", "scan_reconstruction_sense.cfl"])
def test_an_input_with_the_name_of_anothers_output_is_refused(mrisim, tmp_path: Path, scan_file: Path, name) -> None:
    scan = scan_file.rename(scan_file.with_name("scan.h5"))
    image = scan.with_name(name)
    image.write_bytes(b"not empty")
    result = mrisim("corrupt", scan, image, "--kind", "spikes:1", "--out", "o")
    assert result.code == 4 and f"{name} has the name of an image that belongs to the output of scan.h5" in result.err
    assert not (tmp_path / "o").exists()


def test_a_shard_does_not_discard_what_others_have_not_replaced(
    mrisim, tmp_path: Path, scan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(scan_file, scan_file.with_name("file2.h5"))
    command = ["corrupt", scan_file.parent, "--kind", "spikes:2", "--out", "o"]
    assert mrisim("corrupt", scan_file.parent, "--kind", "spikes:1", "--out", "o").code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    with monkeypatch.context() as killed:
        killed.setattr(batch, "run", _interrupted)
        mrisim(*command, "--overwrite")
    for shard in ("0", "2"):  # the last one has no file
        assert mrisim(*command, "--num-shards", "3", "--shard-id", shard).code == 0
        assert {path.name: path.read_bytes() for path in (tmp_path / "o" / ".replaced").iterdir()} == before
    assert mrisim(*command).code == 0 and not list((tmp_path / "o").glob(".*"))
