"""How the cost grows: time and memory against matrix, coils, slices, poses, files, and workers of three sorts.

    python experiments/benchmarks/growth.py [--quick] [--out results/growth.json]
    python experiments/benchmarks/growth_report.py results/growth.json      # the README's table from it

Each quantity is doubled a few times, all else kept; the exponent is the slope of log cost over log quantity
(`growth_report.exponent`). What is corrupted (motion 3, noise 2) and reconstructed (RSS, before and after) are scans in
memory with their maps; from "files" on, fastMRI files from disk to disk. --out also draws a figure beside the JSON.

Work per worker is judged by the wall clock. Threads and Dask's processes are warm; two shards are two programs from
command to exit, so that their rate comes from the difference between many files and few.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import growth_report
import numpy as np
from comparison import Benchmark, Contender, command_line, measured, save
from inputs import scan_of

from mrisim import batch, formats, output_folder
from mrisim.artifacts.motion import Motion, MotionLatents
from mrisim.corrupt import Realisation, Request, apply
from mrisim.items import Item, find_items
from mrisim.job import Job
from mrisim.quality import rss
from mrisim.scan import Scan, coil_images

TITLE = "growth of cost; motion 3 and noise 2, RSS before and after"
JOB = Job((Request("motion", 3), Request("noise", 2)))
N_REPETITIONS = 4
NO_DASK = 'Dask is not installed (pip install "mrisim-diagnose[dask]")'


@dataclass(frozen=True)
class Sizes:
    """How far each quantity goes, and what is kept meanwhile."""

    matrix: Sequence[int] = (64, 128, 256, 512)
    coils: Sequence[int] = (4, 8, 16, 32)
    slices: Sequence[int] = (2, 4, 8, 16)
    poses: Sequence[int] = (4, 16, 64, 256)
    files: Sequence[int] = (3, 6, 12, 24)
    names: Sequence[int] = (100, 200, 400, 800)
    """Of files that are only listed, or done already."""
    n: int = 256
    n_of_slices: int = 128
    n_of_files: int = 192
    n_coils: int = 8
    volume: tuple[int, int] = (480, 15)
    """Matrix and coils of a knee: about as many samples as the 640 x 368 of fastMRI."""
    volume_slices: tuple[int, int] = (8, 16)
    """Whole groups of those that are corrupted together (`mrisim.slice_batches`)."""


QUICK = Sizes(
    matrix=(16, 24, 32), coils=(2, 3, 4), slices=(1, 2, 3), poses=(2, 4, 8), files=(1, 2, 3), names=(2, 4, 6),
    n=24, n_of_slices=16, n_of_files=24, n_coils=3, volume=(24, 3),
)  # fmt: skip


def in_memory(sizes: Sizes) -> Iterator[Contender]:
    """Give the scans of growing matrix, coils, slices, and poses."""
    for n in sizes.matrix:
        yield Contender(f"matrix {n}", partial(corrupt_and_show, scan_of(n, sizes.n_coils)))
    for n_coils in sizes.coils:
        yield Contender(f"coils {n_coils}", partial(corrupt_and_show, scan_of(sizes.n, n_coils)))
    for n_slices in sizes.slices:
        scan = repeated(scan_of(sizes.n_of_slices, sizes.n_coils), n_slices)
        yield Contender(f"slices {n_slices}", partial(corrupt_and_show, scan))
    scan = scan_of(sizes.n, sizes.n_coils)
    for n_poses in sizes.poses:
        yield Contender(f"poses {n_poses}", partial(moved, scan, n_poses), "motion alone")


def corrupt_and_show(scan: Scan) -> np.ndarray:
    """Corrupt a scan and reconstruct it, before and after; return the images after."""
    return JOB.images(scan, JOB.corrupt(scan, "scan").scan).after


def moved(scan: Scan, n_poses: int) -> np.ndarray:
    """Return the k-space of an object that takes so many poses, each for a run of neighbouring lines."""
    course = np.random.default_rng(3).normal(size=(n_poses, 3))
    poses = course[np.arange(scan.matrix[1]) * n_poses // scan.matrix[1]]
    return apply(scan, [Realisation(Motion(rms=1.0), 0, {-1: MotionLatents(poses)})]).scan.kspace


def repeated(scan: Scan, n_slices: int) -> Scan:
    """Return a scan of so many equal slices."""
    assert scan.csm is not None
    kspace, csm = (np.repeat(array, n_slices, axis=0) for array in (scan.kspace, scan.csm))
    return replace(scan, kspace=kspace, csm=csm, slice_ids=tuple(range(n_slices)))


def write_file(path: Path, scan: Scan) -> Path:
    """Write a scan without its maps as a fastMRI file."""
    scan = replace(scan, csm=None)
    image = rss(coil_images(scan))
    formats.write(path, scan, image, layout="fastmri", clean_reconstruction=image)
    return path


def run(items: Sequence[Item], out: Path, **how: object) -> None:
    """Run a batch into an empty folder."""
    output_folder.open_output(out, JOB, [], overwrite=True)
    reports = batch.run(items, JOB, out, **how)  # type: ignore[arg-type]
    assert not any(report.failures or report.resumed for report in reports)


def from_files(sizes: Sizes, folder: Path) -> Iterator[Contender]:
    """Give the batches: more and more files, files of more slices, and files that are only listed or done already."""
    first = write_file(folder / "scans" / "scan000.h5", scan_of(sizes.n_of_files, sizes.n_coils))
    for index in range(1, max(sizes.files)):
        os.link(first, first.with_name(f"scan{index:03d}.h5"))
    items = find_items([first.parent])
    for n_files in sizes.files:
        yield Contender(f"files {n_files}", partial(run, items[:n_files], folder / "out"), "disk to disk")
    n, n_coils = sizes.volume
    for n_slices in sizes.volume_slices:
        path = write_file(folder / f"volume{n_slices}.h5", repeated(scan_of(n, n_coils), n_slices))
        work = partial(run, find_items([path]), folder / f"volume{n_slices}")
        yield Contender(f"volume, {n_slices} slices", work, "disk to disk")
    yield from without_work(sizes.names, folder)


def without_work(counts: Sequence[int], folder: Path) -> Iterator[Contender]:
    """Give what a batch costs whose files are listed, or done already."""
    for count in counts:
        many, done = folder / f"many{count}", folder / f"done{count}"
        # larger than what a fingerprint reads of a file
        first = write_file(many / "scan00000.h5", scan_of(128, 8))
        for index in range(1, count):
            os.link(first, many / f"scan{index:05d}.h5")
        items = find_items([many])
        output_folder.open_output(done, JOB, [], overwrite=False)
        batch.run(items[:1], JOB, done)
        for item in items[1:]:
            shutil.copy(done / "scan00000.json", done / f"{item.item_id}.json")
        yield Contender(f"listed {count}", partial(find_items, [many]), "no scan is read")
        yield Contender(f"done {count}", partial(resume, items, done), "sidecars, and parts of each input")


def resume(items: Sequence[Item], folder: Path) -> None:
    """Run a batch of which everything is done."""
    reports = batch.run(items, JOB, folder)
    assert all(report.resumed for report in reports), reports[0].failures


def by_workers(sizes: Sizes, folder: Path, dask: dict[int, str]) -> Iterator[Contender]:
    """Give the same files by two threads, by two shards, and by Dask; one thread is the row with all files."""
    items, n_files = find_items([folder / "scans"]), max(sizes.files)
    yield Contender(f"2 threads, {n_files} files", partial(run, items, folder / "out", n_workers=2), "disk to disk")
    for n_processes, executor in dask.items():
        work = partial(run, items, folder / "out", executor=executor)
        yield Contender(f"dask {n_processes}, {n_files} files", work, "disk to disk")
    few = folder / "few"
    few.mkdir()
    for item in items[:2]:
        os.link(item.path, few / item.path.name)  # type: ignore[arg-type, union-attr]
    for count, given in ((2, few), (n_files, folder / "scans")):
        yield Contender(f"2 shards, {count} files", partial(two_shards, given, folder / "out"), "from command to exit")


def two_shards(given: Path, out: Path) -> None:
    """Run two programs at once, each with half of the files."""
    output_folder.open_output(out, JOB, [], overwrite=True)
    code = "from mrisim.cli import main; main()"
    kinds = ("--kind", "motion:3", "--kind", "noise:2", "--device", "cpu")
    commands = [
        [sys.executable, "-c", code, "corrupt", str(given), *kinds, "--out", str(out),
         "--num-shards", "2", "--shard-id", str(shard)]
        for shard in range(2)
    ]  # fmt: skip
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands
    ]
    assert [process.wait() for process in processes] == [0, 0]
    output_folder.discard(out)  # a shard leaves that to those who know of all


@contextmanager
def clusters(counts: Sequence[int]) -> Iterator[dict[int, str]]:
    """Start local clusters of so many processes of one thread; give the executor that names each, none without Dask."""
    try:
        from distributed import LocalCluster
    except ModuleNotFoundError:
        yield {}
        return
    with ExitStack() as stack:
        running = {
            count: stack.enter_context(
                LocalCluster(count, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0")
            )
            for count in counts
        }
        yield {count: f"dask://{cluster.scheduler_address}" for count, cluster in running.items()}


def costs_per_file(sizes: Sizes, folder: Path) -> dict[str, float]:
    """Return what is not timed: sizes of a volume's input and output by slices, and of a line of the index."""
    few, many = sizes.volume_slices
    megabytes = {
        n_slices: (
            (folder / f"volume{n_slices}.h5").stat().st_size / 1e6,
            sum(path.stat().st_size for path in (folder / f"volume{n_slices}").glob("volume*")) / 1e6,
        )
        for n_slices in sizes.volume_slices
    }
    index = (folder / f"volume{many}" / "index.jsonl").stat().st_size
    return {
        "input_mb_per_slice": (megabytes[many][0] - megabytes[few][0]) / (many - few),
        "output_mb_per_slice": (megabytes[many][1] - megabytes[few][1]) / (many - few),
        "index_bytes": float(index),
    }


def main() -> None:
    """Measure, fit, and write."""
    options = command_line(TITLE, N_REPETITIONS)
    sizes = QUICK if options.quick else Sizes()
    with tempfile.TemporaryDirectory(prefix="growth-") as name, clusters((1, 2)) as dask:
        folder = Path(name)
        contenders = [*in_memory(sizes), *from_files(sizes, folder), *by_workers(sizes, folder, dask)]
        benchmark = Benchmark(contenders, left_out=[] if dask else [NO_DASK])
        record = measured(TITLE, benchmark, options) | {"per_file": costs_per_file(sizes, folder)}
    record |= growth_report.conclusions(record["rows"], sizes.volume_slices)
    for line in growth_report.lines(record):
        print(line)
    save(record, options.out)
    if options.out:
        growth_report.draw(record, options.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
