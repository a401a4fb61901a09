"""Batches on Dask: the bytes of the thread pool, whoever dies on the way; and refusals in one line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from distributed import Client, LocalCluster

from mrisim import batch, dask_executor, output_folder
from mrisim.corrupt import Request
from mrisim.dask_executor import SchedulerLost, spread
from mrisim.errors import ConfigError, DataError
from mrisim.items import Item, find_items
from mrisim.job import Job, Report, attempt

FLAGS = ["--kind", "noise:3", "--kind", "motion:3", "--seed", "7"]
JOB = Job((Request("noise", 3), Request("motion", 3)), seed=7)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two worker processes that are running already."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as running:
        yield running


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster, set_as_default=False) as connected:
        yield connected


@pytest.fixture
def scans(tmp_path: Path, small_scan, write_fastmri) -> Path:
    """Four files, of one and two slices."""
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(4):
        write_fastmri(folder / f"file{index}.h5", small_scan(1 + index % 2))
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    """Return all that a batch wrote but the lines that tell how long it took."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".jsonl"}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "mrisim.cli", "corrupt", *map(str, arguments)]


def test_two_processes_write_the_bytes_and_the_failures_of_the_thread_pool(
    mrisim, tmp_path: Path, scans: Path, small_scan, write_fastmri
) -> None:
    scan = small_scan(3)
    kspace = scan.kspace.copy()
    kspace[1, 0, 5, 5] = np.nan
    write_fastmri(scans / "one_bad_slice.h5", replace(scan, kspace=kspace))
    (scans / "truncated.h5").write_bytes((scans / "file1.h5").read_bytes()[:9000])
    for out, flags in (("t", []), ("d", ["--executor", "dask"])):
        result = mrisim("corrupt", "in", *FLAGS, "--out", out, "--workers", "2", *flags, "--json")
        assert result.code == 5, result.err
        told = json.loads(result.out)
        assert (told["n_done"], told["n_failed"]) == (5, 2)
        assert [item["item_id"] for item in told["items"]] == [
            "file0", "file1", "file2", "file3", "one_bad_slice", "truncated",
        ]  # fmt: skip
    threads, processes = outputs(tmp_path / "t"), outputs(tmp_path / "d")
    assert len(threads) == 16
    assert processes == threads
    listed = []
    for out in "td":
        lines = (tmp_path / out / "failures.jsonl").read_text().splitlines()
        listed.append(sorted((line["item_id"], line["failures"], line["exit_code"]) for line in map(json.loads, lines)))
        index = (tmp_path / out / "index.jsonl").read_text().splitlines()
        assert len({json.loads(line)["item_id"] for line in index}) == len(index) == 5
    assert len(listed[0]) == 2 and listed[0] == listed[1]


def test_a_running_scheduler_resumes_what_threads_began(
    mrisim, tmp_path: Path, scans: Path, cluster: LocalCluster
) -> None:
    assert mrisim("corrupt", "in", *FLAGS, "--out", "o").code == 0
    expected = outputs(tmp_path / "o")
    for name in ("file1.json", "file1.h5", "file3.json"):
        (tmp_path / "o" / name).unlink()
    executor = cluster.scheduler_address.replace("tcp://", "dask://")
    result = mrisim("corrupt", "in", *FLAGS, "--out", "o", "--executor", executor, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["n_resumed"] == 2
    assert outputs(tmp_path / "o") == expected
    assert str(tmp_path) not in result.out + result.err
    assert mrisim("corrupt", "in", *FLAGS, "--out", "p", "--executor", executor, "--workers", "2").code == 2


def test_an_item_whose_process_is_killed_while_it_writes_is_done_again(
    tmp_path: Path, scans: Path, client: Client
) -> None:
    items = find_items([scans])
    for name in ("t", "d"):
        output_folder.open_output(tmp_path / name, JOB, [scans], overwrite=False)
    batch.run(items, JOB, tmp_path / "t")
    killed, out = tmp_path / "killed", tmp_path / "d"

    def killed_once(item: Item) -> Report:
        if item.item_id == "file1" and not killed.exists():
            killed.touch()
            # the last thing that happens to a file before it gets its name
            os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        return attempt(item, JOB, out)

    reports = list(spread(client, killed_once, items))
    assert killed.exists()
    assert sorted(report.item_id for report in reports) == ["file0", "file1", "file2", "file3"]
    assert not any(report.failures or report.resumed for report in reports)
    assert outputs(tmp_path / "d") == outputs(tmp_path / "t")


def test_an_item_that_kills_every_process_is_a_failure_and_the_others_are_done(
    client: Client, cluster: LocalCluster, monkeypatch
) -> None:
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 1)

    def deadly(item: Item) -> Report:
        if item.item_id == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return Report(item.item_id)

    reports = {report.item_id: report for report in spread(client, deadly, [Item(str(n)) for n in range(6)])}
    assert len(reports) == 6
    assert [name for name, report in reports.items() if report.failures] == ["1"]
    assert "2 worker processes died" in reports["1"].failures[0] and reports["1"].exit_code == 1


def test_few_items_are_under_way_and_they_end_before_a_stop_is_over(tmp_path: Path, client: Client) -> None:
    client.wait_for_workers(2)

    def slow(item: Item) -> Report:
        (tmp_path / f"{item.item_id}.begun").touch()
        time.sleep(0.5)
        (tmp_path / f"{item.item_id}.ended").touch()
        return Report(item.item_id)

    coming = spread(client, slow, [Item(str(n)) for n in range(40)])
    next(coming)
    time.sleep(2)
    n_begun = len(list(tmp_path.glob("*.begun")))
    assert n_begun <= 3  # two at first, and one in the place of that which was given
    next(coming)
    time.sleep(0.25)
    coming.close()
    n_ended = len(list(tmp_path.glob("*.ended")))
    assert n_ended > n_begun
    time.sleep(1)
    assert len(list(tmp_path.glob("*.begun"))) == len(list(tmp_path.glob("*.ended"))) == n_ended


def test_a_mistake_of_ours_is_raised_as_it_is(client: Client) -> None:
    def wrong(item: Item) -> Report:
        raise ZeroDivisionError("in a worker")

    with pytest.raises(ZeroDivisionError, match="in a worker"):
        list(spread(client, wrong, [Item("a"), Item("b"), Item("c")]))


def test_a_worker_without_our_package_is_one_line(client: Client) -> None:
    def absent(item: Item) -> Report:
        raise ModuleNotFoundError("No module named 'mrisim'", name="mrisim.job")

    with pytest.raises(ConfigError, match="a Dask worker has no mrisim; expected mrisim"):
        list(spread(client, absent, [Item("a")]))


def test_a_worker_of_another_version_or_without_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected 0\.0\.0, as on this machine"):
        dask_executor._attempt_on_worker(Item("a"), JOB, tmp_path, "0.0.0")
    with pytest.raises(DataError, match="does not see the output folder elsewhere"):
        dask_executor._attempt_on_worker(Item("a"), JOB, tmp_path / "elsewhere", dask_executor.__version__)


def test_a_scheduler_that_goes_away_is_an_interruption(client: Client) -> None:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as doomed, Client(doomed.scheduler_address, set_as_default=False, timeout=2) as other:  # fmt: skip

        def slow(item: Item) -> Report:
            time.sleep(0.2)
            return Report(item.item_id)

        coming = spread(other, slow, [Item(str(n)) for n in range(50)])
        next(coming)
        doomed.close()
        with pytest.raises(SchedulerLost, match="the same command resumes"):
            list(coming)
    assert SchedulerLost.exit_code == 6


def test_a_worker_process_killed_from_outside_loses_nothing(tmp_path: Path, scans: Path) -> None:
    output_folder.open_output(tmp_path / "t", JOB, [scans], overwrite=False)
    batch.run(find_items([scans]), JOB, tmp_path / "t")
    arguments = command(scans, *FLAGS, "--out", tmp_path / "d", "--executor", "dask", "--workers", "2")
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _wait_for_an_output(process, tmp_path / "d")
    workers = [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    assert len(workers) == 2
    workers[0].kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert outputs(tmp_path / "d") == outputs(tmp_path / "t")


@pytest.mark.parametrize(("stopped_by", "code"), [(signal.SIGTERM, 6), (signal.SIGINT, 130)])
def test_a_stopped_run_leaves_whole_files_and_is_resumed(
    mrisim, tmp_path: Path, scans: Path, stopped_by: signal.Signals, code: int
) -> None:
    for index in range(8):
        (scans / f"more{index}.h5").write_bytes((scans / "file1.h5").read_bytes())
    arguments = command(scans, *FLAGS, "--out", tmp_path / "d", "--executor", "dask", "--workers", "2")
    process = subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # Tests that run in the background of a shell have ctrl-C ignored, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    _wait_for_an_output(process, tmp_path / "d")
    if stopped_by == signal.SIGINT:
        os.killpg(process.pid, stopped_by)  # ctrl-C reaches the workers, too
    else:
        process.send_signal(stopped_by)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    if stopped_by == signal.SIGTERM:
        assert errors.splitlines()[-1].endswith("the same command resumes")
    assert not list((tmp_path / "d").glob("*.part"))
    assert len(list((tmp_path / "d").glob("*.json"))) < 13
    for out in ("d", "t"):
        assert mrisim("corrupt", scans, *FLAGS, "--out", out, "--workers", "2").code == 0
    assert outputs(tmp_path / "d") == outputs(tmp_path / "t")


def _wait_for_an_output(process: subprocess.Popen[str], folder: Path) -> None:
    for _ in range(1200):
        if list(folder.glob("*_preview.png")) or process.poll() is not None:
            return
        time.sleep(0.05)


@pytest.mark.parametrize("executor", ["ray", "dask:", "dask://", "dask://host", "dask://a b:1", "dask://tcp://:8786"])
def test_a_malformed_executor_is_refused(mrisim, tmp_path: Path, executor: str) -> None:
    result = mrisim("corrupt", "--kind", "noise", "--executor", executor)
    assert result.code == 2
    assert "expected thread, dask or dask://HOST:PORT" in result.err
    assert not list(tmp_path.iterdir())


def test_a_scheduler_that_does_not_answer_is_one_line_and_writes_nothing(mrisim, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(dask_executor, "CONNECT_S", 1)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        result = mrisim("corrupt", "--kind", "noise", "--executor", f"dask://127.0.0.1:{port}")
    assert result.code == 3
    assert len(result.err.strip().splitlines()) == 1 and result.out == ""
    assert f"no Dask scheduler answers at 127.0.0.1:{port}" in result.err
    assert not list(tmp_path.iterdir())


def test_without_the_extra_one_line_says_how_to_install_it(mrisim, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = mrisim("corrupt", "--kind", "noise", "--executor", "dask", "--workers", "2")
    assert result.code == 3
    assert result.err.strip().endswith('pip install "mrisim-diagnose[dask]"') and len(result.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_threads_need_no_dask() -> None:
    code = (
        "import sys, mrisim.cli, mrisim.batch; print([name for name in ('dask', 'distributed') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
