"""The program end to end: what it writes, what it says, and how it refuses."""

from __future__ import annotations

import errno
import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from mrisim import formats
from mrisim.artifacts import KINDS
from mrisim.cli import main
from mrisim.formats.bart import write_cfl
from mrisim.phantoms.default import default_scan


@pytest.fixture
def scan_file(tmp_path: Path, small_scan, write_fastmri) -> Path:
    (tmp_path / "in").mkdir()
    return write_fastmri(tmp_path / "in" / "file1.h5", small_scan())


def test_the_main_job_on_the_embedded_default(mrisim, tmp_path: Path) -> None:
    result = mrisim("corrupt", "--kind", "motion", "--level", "3")
    assert result.code == 0, result.err
    out = tmp_path / "mrisim-motionL3seed0"
    written = {path.name for path in out.iterdir()}
    assert {"default.h5", "default.json", "default_preview.png", "request.json", "index.jsonl"} == written
    assert len(result.out.splitlines()) <= 8
    with h5py.File(out / "default.h5") as file:
        assert file["kspace"].shape == default_scan().kspace.shape
        assert not np.array_equal(file["kspace"][()], default_scan().kspace)
        assert "reconstruction_rss" in file
        assert any(name.endswith("corrupted") for name in file)


def test_level_0_is_the_input_bit_for_bit_and_says_so(mrisim, tmp_path: Path) -> None:
    result = mrisim("corrupt", "--kind", "motion:0", "--kind", "noise:0")
    assert result.code == 0
    assert "unchanged" in result.out
    written = next(tmp_path.glob("mrisim-*/default.h5"))
    with h5py.File(written) as file:
        assert file["kspace"][()].tobytes() == default_scan().kspace.tobytes()


def test_kinds_compose_in_physical_order_whatever_order_they_are_given_in(
    mrisim, tmp_path: Path, scan_file: Path
) -> None:
    names = [f"{kind}:2" for kind in KINDS]
    for index, order in enumerate((names, names[::-1])):
        flags = [part for name in order for part in ("--kind", name)]
        assert mrisim("corrupt", scan_file, *flags, "--out", f"o{index}").code == 0
    first, second = (json.loads((tmp_path / f"o{i}" / "file1.json").read_text()) for i in (0, 1))
    assert first["KspaceSHA256"] == second["KspaceSHA256"]
    assert [entry["Kind"] for entry in first["Corruption"]] == [
        "bias-field", "motion", "undersampling", "ghosting", "spikes", "noise",
    ]  # fmt: skip


def test_rician_is_noise(mrisim, tmp_path: Path, scan_file: Path) -> None:
    assert mrisim("corrupt", scan_file, "--kind", "rician:2", "--out", "a").code == 0
    assert mrisim("corrupt", scan_file, "--kind", "noise:2", "--out", "b").code == 0
    hashes = [json.loads((tmp_path / name / "file1.json").read_text())["KspaceSHA256"] for name in "ab"]
    assert hashes[0] == hashes[1]


def test_a_parameter_overrides_the_level_alone(mrisim, tmp_path: Path, scan_file: Path) -> None:
    result = mrisim("corrupt", scan_file, "--kind", "motion:2", "--param", "motion.rms=1.5", "--out", "o")
    assert result.code == 0, result.err
    (entry,) = json.loads((tmp_path / "o" / "file1.json").read_text())["Corruption"]
    assert entry["Spec"]["rms"] == 1.5
    assert entry["Spec"]["trajectory"] == "walk"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--kind", "sparkle"], 2, "expected one of noise, motion, ghosting, spikes, undersampling, bias-field"),
        (["--kind", "motion:6"], 2, "expected 0 (off) to 5"),
        (["--kind", "motion", "--level", "-1"], 2, "expected 0 (off) to 5"),
        (["--kind", "motion:x"], 2, "whole number"),
        (["--kind", "motion", "--seed", "-1"], 2, "--seed is -1"),
        ([], 2, "at least one --kind"),
        (["--kind", "motion", "--param", "motion.rms=-1"], 2, "motion.rms"),
        (["--kind", "motion", "--param", "motion.speed=1"], 2, "motion.speed"),
        (["--kind", "motion", "--param", "noise.snr=1"], 2, "noise"),
        (
            ["--kind", "ghosting", "--param", "ghosting.modulation=0.5"],
            2,
            "ghosting.modulation has no effect where mode is nyquist; expected pulsation",
        ),
        (
            ["--kind", "motion", "--param", "motion.frequency_hz=1"],
            2,
            "motion.frequency_hz has no effect where trajectory is walk; expected periodic",
        ),
        (
            ["--kind", "undersampling", "--param", "undersampling.density_power=2"],
            2,
            "undersampling.density_power has no effect where pattern is random; expected variable-density",
        ),
        (["--kind", "motion", "--param", "rms=1"], 2, "KIND.NAME=VALUE"),
        (["--kind", "motion", "--recon", "magic"], 2, "l1-wavelet"),
        (["--kind", "motion", "--slices", "3"], 2, "A:B"),
        (["--kind", "motion", "--slices", "9:"], 4, "no usable slice"),
        (["--kind", "motion", "--device", "abacus"], 3, "abacus"),
        (["--kind", "undersampling", "--param", "undersampling.pattern=poisson"], 4, "one phase-encode axis"),
        (["--kind", "motion", "--shard-id", "2"], 3, "shard-id is 2"),
        (["nowhere.h5", "--kind", "motion"], 4, "nowhere.h5 does not exist"),
    ],
)
def test_refusals_are_one_line_with_an_exit_code_and_write_nothing(
    mrisim, tmp_path: Path, arguments, code, said
) -> None:
    result = mrisim("corrupt", *arguments)
    assert result.code == code, result.err
    assert said in result.err + result.out
    assert len((result.err + result.out).strip().splitlines()) <= 2
    assert not list(tmp_path.rglob("*.h5")) and not list(tmp_path.rglob("*.part"))


def test_the_output_may_not_lie_inside_the_input(mrisim, scan_file: Path) -> None:
    result = mrisim("corrupt", scan_file.parent, "--kind", "motion", "--out", scan_file.parent / "out")
    assert result.code == 4
    assert "inside the input" in result.err


def test_two_inputs_with_one_identity_are_refused(
    mrisim, tmp_path: Path, scan_file: Path, small_scan, write_fastmri
) -> None:
    (tmp_path / "other").mkdir()
    write_fastmri(tmp_path / "other" / "file1.h5", small_scan())
    result = mrisim("corrupt", scan_file, tmp_path / "other" / "file1.h5", "--kind", "motion")
    assert result.code == 4
    assert "one identity" in result.err and "file1" in result.err


@pytest.mark.parametrize("oversampling", [1.0, 2.0])
def test_noise_spares_a_dead_coil_and_a_note_says_so(
    mrisim, tmp_path: Path, small_scan, write_fastmri, oversampling: float
) -> None:
    scan = small_scan(n_coils=4)
    rng = np.random.default_rng(0)
    noise = 1e-2 * rng.normal(size=(2, *scan.kspace.shape)).astype(np.float32)
    kspace = scan.kspace + noise[0] + 1j * noise[1]
    kspace[:, 2] = 0
    acquisition = replace(scan.acquisition, readout_oversampling=oversampling)
    dead = replace(scan, kspace=kspace, csm=None, noise_covariance=None, acquisition=acquisition)
    (tmp_path / "in").mkdir()
    write_fastmri(tmp_path / "in" / "scan.h5", dead)
    result = mrisim("corrupt", tmp_path / "in" / "scan.h5", "--kind", "noise:3", "--out", "o")
    assert result.code == 0, result.err
    note = "nothing but zeros in coil 2 of 0 to 3: dead, added noise spares it"
    assert f"note: {note}" in result.out and note in mrisim("info", tmp_path / "in" / "scan.h5").out
    record = json.loads((tmp_path / "o" / "scan.json").read_text())
    assert note in json.dumps(record) and (oversampling == 2) == ('"air"' in json.dumps(record))
    corrupted = formats.read(tmp_path / "o" / "scan.h5").kspace
    assert not corrupted[:, 2].any() and (corrupted[:, [0, 1, 3]] != kspace[:, [0, 1, 3]]).all()
    replayed = mrisim("replay", tmp_path / "o" / "scan.json", "--input", tmp_path / "in" / "scan.h5")
    assert replayed.code == 0 and "bit for bit" in replayed.out


def test_a_batch_skips_what_is_broken_and_says_so(
    mrisim, tmp_path: Path, scan_file: Path, small_scan, write_fastmri
) -> None:
    folder = scan_file.parent
    whole = (folder / "file1.h5").read_bytes()
    (folder / "truncated.h5").write_bytes(whole[: len(whole) // 2])
    scan = small_scan(3)
    kspace = scan.kspace.copy()
    kspace[1, 0, 5, 5] = np.nan
    write_fastmri(folder / "one_bad_slice.h5", replace(scan, kspace=kspace))
    result = mrisim("corrupt", folder, "--kind", "spikes:3", "--out", tmp_path / "o")
    assert result.code == 5
    failures = [json.loads(line) for line in (tmp_path / "o" / "failures.jsonl").read_text().splitlines()]
    assert {failure["item_id"] for failure in failures} == {"truncated", "one_bad_slice"}
    assert json.loads((tmp_path / "o" / "one_bad_slice.json").read_text())["Slices"] == [0, 2]
    assert (tmp_path / "o" / "file1.json").exists()
    assert not list((tmp_path / "o").glob("truncated*")) and not list((tmp_path / "o").glob("*.part"))
    (tmp_path / "o" / "failures.jsonl").unlink()  # as if killed before the line was written
    (folder / "truncated.h5").unlink()
    assert mrisim("corrupt", folder, "--kind", "spikes:3", "--out", tmp_path / "o").code == 5
    (again,) = [json.loads(line) for line in (tmp_path / "o" / "failures.jsonl").read_text().splitlines()]
    assert again["failures"] == ["slice 1 holds NaN, Inf or only zeros; left out"] and again["resumed"]


def test_shards_workers_and_resume_give_the_same_bytes(mrisim, tmp_path: Path, small_scan, write_fastmri) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(4):
        write_fastmri(folder / f"file{index}.h5", small_scan(1 + index % 2))
    flags = ["--kind", "noise:3", "--kind", "motion:3", "--seed", "7"]

    def hashes(out: str) -> dict[str, str]:
        return {path.stem: json.loads(path.read_text())["KspaceSHA256"] for path in (tmp_path / out).glob("file*.json")}

    for n_workers in (1, 2, 4):
        assert mrisim("corrupt", folder, *flags, "--out", f"w{n_workers}", "--workers", n_workers).code == 0
    for shard in (1, 0):
        sharding = ["--num-shards", "2", "--shard-id", str(shard)]
        assert mrisim("corrupt", folder, *flags, "--out", "s", *sharding).code == 0
    single = mrisim("corrupt", folder / "file2.h5", *flags, "--out", "one", "--workers", "2")
    assert single.code == 0
    expected = hashes("w1")
    assert len(expected) == 4
    assert hashes("w2") == hashes("w4") == hashes("s") == expected
    assert hashes("one")["file2"] == expected["file2"]
    (tmp_path / "w1" / "file2.json").unlink()  # as after a kill: the sidecar is written last
    result = mrisim("corrupt", folder, *flags, "--out", "w1")
    assert result.code == 0 and "resuming" in result.err
    assert hashes("w1") == expected
    assert (tmp_path / "s" / "index-0-of-2.jsonl").exists() and (tmp_path / "s" / "index-1-of-2.jsonl").exists()


def test_slices_give_the_same_samples_as_the_whole(mrisim, tmp_path: Path, small_scan, write_fastmri) -> None:
    path = write_fastmri(tmp_path / "v.h5", small_scan(4))
    flags = ["--kind", "noise:3", "--kind", "motion:3", "--kind", "bias-field:2"]
    assert mrisim("corrupt", path, *flags, "--out", "all").code == 0
    assert mrisim("corrupt", path, *flags, "--out", "some", "--slices", "1:3").code == 0
    whole, part = (formats.read(tmp_path / name / "v.h5") for name in ("all", "some"))
    assert part.kspace.shape[0] == 2
    assert part.kspace.tobytes() == whole.kspace[1:3].tobytes()


def test_replay_is_bit_exact_and_moving_the_input_changes_nothing(mrisim, tmp_path: Path, scan_file: Path) -> None:
    flags = [
        "--kind",
        "noise:3",
        "--kind",
        "motion:4",
        "--kind",
        "spikes:1",
        "--kind",
        "undersampling:2",
        "--seed",
        "3",
    ]
    assert mrisim("corrupt", scan_file, *flags, "--out", "a").code == 0
    moved = tmp_path / "elsewhere" / "deep"
    moved.mkdir(parents=True)
    (moved / "file1.h5").write_bytes(scan_file.read_bytes())
    assert mrisim("corrupt", moved / "file1.h5", *flags, "--out", "b").code == 0
    sidecars = [(tmp_path / name / "file1.json").read_bytes() for name in "ab"]
    assert sidecars[0] == sidecars[1]
    result = mrisim("replay", tmp_path / "a" / "file1.json", "--input", moved / "file1.h5", "--out", "again")
    assert result.code == 0, result.err
    assert "bit for bit" in result.out
    first, again = (formats.read(tmp_path / name / "file1.h5").kspace for name in ("a", "again"))
    assert first.tobytes() == again.tobytes()


def test_replay_refuses_another_input_and_a_file_that_is_no_sidecar(
    mrisim, tmp_path: Path, scan_file: Path, small_scan, write_fastmri
) -> None:
    assert mrisim("corrupt", scan_file, "--kind", "spikes:1", "--out", "a").code == 0
    other = write_fastmri(tmp_path / "other.h5", small_scan(1))
    result = mrisim("replay", tmp_path / "a" / "file1.json", "--input", other)
    assert result.code == 4 and "SHA-256" in result.err
    result = mrisim("replay", tmp_path / "a" / "request.json")
    assert result.code == 4 and "sidecar" in result.err


def test_no_patient_date_or_absolute_path_leaks(mrisim, tmp_path: Path, scan_file: Path) -> None:
    result = mrisim("corrupt", scan_file, "--kind", "motion:1", "--out", "o")
    texts = [path.read_text() for path in (tmp_path / "o").iterdir() if path.suffix in (".json", ".jsonl")]
    for text in [*texts, result.out, result.err]:
        assert "Jane" not in text and "1961" not in text
        assert str(tmp_path) not in text
        assert not re.search(r"20\d\d-\d\d-\d\d", text)


def test_preview_writes_a_sheet_a_gif_and_an_offline_page(mrisim, tmp_path: Path, scan_file: Path) -> None:
    result = mrisim("preview", scan_file, "--kind", "spikes", "--kind", "noise", "--out", "p")
    assert result.code == 0, result.err
    page = (tmp_path / "p" / "file1-levels.html").read_text()
    assert "http" not in page and page.count("data:image/png;base64,") == 12
    assert (tmp_path / "p" / "file1-levels.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "p" / "file1-levels.gif").read_bytes().startswith(b"GIF89a")


def test_info_convert_kinds_recon_selftest(mrisim, tmp_path: Path, scan_file: Path) -> None:
    told = json.loads(mrisim("info", scan_file, "--json").out)
    assert told["kspace_shape"] == {"slice": 2, "coil": 3, "readout": 48, "phase_encode": 40}
    assert told["kspace_origin"] == "measured"
    assert "Jane" not in json.dumps(told)
    assert mrisim("convert", scan_file, "x.cfl").code == 0
    np.testing.assert_array_equal(formats.read(tmp_path / "x.cfl").kspace, formats.read(scan_file).kspace)
    listed = json.loads(mrisim("kinds", "--json").out)["kinds"]
    assert [entry["kind"] for entry in listed] == list(KINDS)
    assert all(len(row) == 5 for entry in listed for row in entry["levels"]["values"])
    assert "l1-wavelet" in mrisim("recon").out
    checks = json.loads(mrisim("selftest", "--device", "cpu", "--json").out)["checks"]
    assert {check["subject"] for check in checks} == {"fourier", *KINDS, "reconstruction"}
    assert all(check["passed"] for check in checks)


def test_info_counts_the_samples_where_a_line_has_gaps(mrisim, tmp_path: Path) -> None:
    kspace = np.ones((6, 5, 4), np.complex64)
    kspace[:, 1:4, 2] = 0  # the line has two of five second phase encodes
    write_cfl(tmp_path / "slab", kspace.transpose(0, 2, 1))
    told = json.loads(mrisim("info", tmp_path / "slab.cfl", "--json").out)
    assert (told["acquired_lines"], told["acquired_samples"]) == ("4 of 4", "17 of 20")
    write_cfl(tmp_path / "whole", np.ones((6, 5), np.complex64))
    assert json.loads(mrisim("info", tmp_path / "whole.cfl", "--json").out)["acquired_samples"] is None


def test_dry_run_writes_nothing(mrisim, tmp_path: Path, scan_file: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = mrisim("corrupt", scan_file, "--kind", "motion", "--dry-run")
    assert result.code == 0 and "MB" in result.out
    assert sorted(tmp_path.rglob("*")) == before


def test_help_is_quick() -> None:
    durations = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "mrisim.cli", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        durations.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(durations) < 0.5  # processor time: what else a machine does at the moment says nothing


def test_help_imports_nothing_heavy() -> None:
    heavy = ("numpy", "sigpy", "torch", "scipy", "h5py", "pydantic")
    code = f"import sys, mrisim.cli; print([name for name in {heavy} if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"
    )


def test_a_terminated_run_says_it_can_be_resumed(tmp_path: Path, small_scan, write_fastmri) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(6):
        write_fastmri(folder / f"file{index}.h5", small_scan(2))
    command = [
        sys.executable,
        "-m",
        "mrisim.cli",
        "corrupt",
        str(folder),
        "--kind",
        "motion:3",
        "--out",
        str(tmp_path / "o"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        if list((tmp_path / "o").glob("file*.json")) or process.poll() is not None:
            break
        time.sleep(0.05)
    process.terminate()
    process.wait(timeout=60)
    assert process.returncode in (0, 6)
    assert not list((tmp_path / "o").glob("*.part"))
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert len(list((tmp_path / "o").glob("file*.json"))) == 6


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    def limit_file_size() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    command = [sys.executable, "-m", "mrisim.cli", "corrupt", "--kind", "noise:1", "--out", "o"]
    result = subprocess.run(command, cwd=tmp_path, preexec_fn=limit_file_size, capture_output=True, text=True)
    assert result.returncode == 4, result.stderr
    assert "no room on the disk" in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_too_little_room_is_refused_before_anything_is_written(
    mrisim, tmp_path: Path, scan_file: Path, monkeypatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    result = mrisim("corrupt", scan_file, "--kind", "noise:1", "--out", "o")
    assert result.code == 4 and "no room" in result.err
    assert not (tmp_path / "o").exists()


def test_a_read_only_output_is_one_line(mrisim, tmp_path: Path, scan_file: Path, monkeypatch) -> None:
    def refuse(self: Path, *_args: object, **_kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)  # root may write anywhere: the refusal of the system is played
    result = mrisim("corrupt", scan_file, "--kind", "noise:1", "--out", tmp_path / "locked" / "o")
    assert result.code == 4 and "read-only" in result.err
    assert len(result.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [("empty.h5", b""), ("noise.h5", b"\x00" * 600), ("text.h5", b"hello, k-space"), ("empty.png", b"")],
)
def test_files_that_are_no_scans_have_one_line_and_exit_code_4(
    mrisim, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    result = mrisim("corrupt", tmp_path / name, "--kind", "noise:1", "--out", "o")
    assert result.code == 4
    assert name in result.err and len((result.err + result.out).strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_a_file_without_kspace_and_one_with_nothing_but_zeros(mrisim, tmp_path: Path, scan_file: Path) -> None:
    with h5py.File(tmp_path / "image.h5", "w") as file:
        file["reconstruction_rss"] = np.zeros((1, 8, 8), np.float32)
    zeros = tmp_path / "zeros.h5"
    zeros.write_bytes(scan_file.read_bytes())
    with h5py.File(zeros, "r+") as file:
        file["kspace"][...] = 0
    for path, said in ((tmp_path / "image.h5", "kspace"), (zeros, "zeros")):
        result = mrisim("corrupt", path, "--kind", "noise:1", "--out", f"o-{path.stem}")
        assert result.code == 4
        assert said in result.err
        assert not (tmp_path / f"o-{path.stem}").exists()


def test_ctrl_c_is_one_line_and_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mrisim.kinds.describe_kinds", interrupted)
    monkeypatch.setattr(sys, "argv", ["mrisim", "kinds"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "mrisim: stopped by ctrl-C; the same command resumes\n"


def test_replay_finds_the_clean_input_behind_the_corrupted_file_of_its_name(
    mrisim, tmp_path: Path, scan_file: Path, small_scan, write_fastmri, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    clean = scan_file.rename(here / "file1.h5")
    assert mrisim("corrupt", clean, "--kind", "spikes:2", "--out", "spiked").code == 0
    result = mrisim("replay", here / "spiked" / "file1.json")
    assert result.code == 0 and "bit for bit" in result.out
    clean.unlink()
    result = mrisim("replay", here / "spiked" / "file1.json", "--out", "again")
    assert result.code == 4 and "file1.h5 is not the recorded input" in result.err and "--input" in result.err


def test_a_quality_that_is_not_defined_is_said_in_words(mrisim, tmp_path: Path, monkeypatch) -> None:
    from mrisim.job import Job, Report

    report = Report("a", ("a.json",), {"NRMSE": 0.25, "NRMSEForeground": None, "SSIM": None})
    (line,) = [line for line in report.lines(Job((), 0, "rss", "cpu")) if "NRMSE" in line]
    assert line == "  rss against the clean scan: NRMSE 0.250 (foreground not defined), SSIM not defined"


@pytest.mark.parametrize(
    ("first", "step", "tasks"), [(0, 1, range(3)), (1, 1, range(1, 4)), (10, 10, range(10, 40, 10))]
)
def test_slurm_arrays_share_out_every_file_whatever_they_begin_with(
    mrisim, tmp_path: Path, small_scan, write_fastmri, monkeypatch, first: int, step: int, tasks: range
) -> None:
    for index in range(5):
        write_fastmri(tmp_path / "in" / f"f{index}.h5", small_scan(1))
    for task in tasks:
        for name, value in {"COUNT": 3, "ID": task, "MIN": first, "STEP": step}.items():
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
        assert mrisim("corrupt", tmp_path / "in", "--kind", "spikes:1", "--out", "o").code == 0
    assert len(list((tmp_path / "o").glob("f?.json"))) == 5
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(first + 3 * step))
    result = mrisim("corrupt", tmp_path / "in", "--kind", "spikes:1", "--out", "o")
    assert result.code == 3 and "shard-id is 3; expected 0 to 2" in result.err


def test_an_estimate_judges_each_kind_of_file_by_itself(mrisim, tmp_path: Path, small_scan, write_fastmri) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).save(tmp_path / "in" / "a.png")
    big = write_fastmri(tmp_path / "in" / "b.h5", small_scan(4))

    def disk_mb(*inputs: Path) -> float:
        result = mrisim("corrupt", *inputs, "--kind", "spikes:1", "--dry-run", "--json")
        return json.loads(result.out)["disk_mb"]

    alone, picture = disk_mb(big), disk_mb(tmp_path / "in" / "a.png")
    assert disk_mb(tmp_path / "in") == pytest.approx(alone + picture)
    assert alone == pytest.approx(2 * formats.read(big).kspace.nbytes / 1e6)
    assert picture == pytest.approx(2 * 4 * 64 * 64 / 1e6)
