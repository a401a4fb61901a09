"""What a batch does to the interpreter while its threads work, and afterwards."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mrisim import batch
from mrisim.errors import DataError
from mrisim.job import Report
from mrisim.worker_threads import HANDOVER_S, n_side_by_side


@pytest.mark.parametrize("fails", [False, True])
def test_threads_hand_the_interpreter_over_soon_and_leave_it_as_it_was(monkeypatch, tmp_path, fails):
    before, seen = sys.getswitchinterval(), []

    def attempt(item, job, out, *, n_threads):
        seen.append(sys.getswitchinterval())
        if fails:
            raise RuntimeError("not foreseen")
        return Report(item.item_id)

    monkeypatch.setattr(batch, "attempt", attempt)
    items = [SimpleNamespace(item_id=name, path=None) for name in "abc"]
    if fails:
        with pytest.raises(RuntimeError, match="not foreseen"):
            batch.run(items, None, tmp_path, n_workers=2)
    else:
        assert [report.item_id for report in batch.run(items, None, tmp_path, n_workers=2)] == ["a", "b", "c"]
    assert seen and all(interval == pytest.approx(HANDOVER_S) for interval in seen)
    assert sys.getswitchinterval() == pytest.approx(before)


@pytest.mark.parametrize(("n_items", "n_workers", "n_beside"), [(1, 4, 1), (2, 4, 2), (5, 2, 2)])
def test_workers_are_no_more_than_files(monkeypatch, tmp_path, n_items, n_workers, n_beside):
    seen = set()

    def attempt(item, job, out, *, n_threads):
        seen.add((n_side_by_side(), n_threads))
        return Report(item.item_id)

    monkeypatch.setattr(batch, "attempt", attempt)
    batch.run([SimpleNamespace(item_id=str(n), path=None) for n in range(n_items)], None, tmp_path, n_workers=n_workers)
    assert seen == {(n_beside, n_workers if n_items == 1 else 1)}


def test_series_that_end_in_numbers_are_one_kind_of_file(monkeypatch):
    asked = []
    one = batch.Estimate(1.0, 2, 3)
    monkeypatch.setattr(batch, "_estimate_alike", lambda alike, job, alone: asked.append(len(alike)) or one)
    names = ["1.2.840.1", "1.2.840.2", "IM0001", "a.nii.gz", "b.nii.gz", "c.H5"]
    items = [batch.Item(name, Path(name)) for name in names]
    assert batch.estimate(items, None) == batch.Estimate(3.0, 6, 3)
    assert asked == [3, 2, 1]


class Clock:
    """Stands for the time, and for work that takes longer the first time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls = 0

    def perf_counter(self) -> float:
        return self.now

    def work(self, first_s: float, later_s: float) -> None:
        self.calls += 1
        self.now += first_s if self.calls == 1 else later_s


@pytest.fixture
def estimated(monkeypatch, small_scan, write_fastmri, tmp_path):
    """Estimate a batch of equal files, of which a slice takes a time for the first time and another one later."""

    def estimated(first_s, later_s, *, n_items=8, slices="", origin="measured"):
        reading, corrupting = Clock(), Clock()
        clock = SimpleNamespace(perf_counter=lambda: reading.now + corrupting.now)

        def load(item, seed):
            reading.work(0.4, 0.1)
            scan = small_scan(n_slices=4)
            return replace(scan, acquisition=replace(scan.acquisition, kspace_origin=origin)), None

        def corrupted(part, item_id):
            assert part.n_slices == 1
            corrupting.work(first_s, later_s)
            return SimpleNamespace(scan=part)

        monkeypatch.setattr(batch, "time", clock)
        monkeypatch.setattr(batch, "load", load)
        job = SimpleNamespace(seed=0, slices=slices, device="cpu", corrupt=corrupted, images=lambda clean, scan: None)
        write_fastmri(tmp_path / "a.h5", small_scan(n_slices=4))
        items = [batch.Item(str(number), tmp_path / "a.h5") for number in range(n_items)]
        return batch.estimate(items, job), corrupting.calls

    return estimated


def test_an_estimate_is_made_of_the_second_time(estimated):
    cost, n_calls = estimated(3.0, 0.5)
    assert n_calls == 2 and cost.seconds == pytest.approx(8 * (4 * 0.5 + 2 * 0.1))


def test_what_takes_long_is_not_done_twice_for_an_estimate(estimated):
    cost, n_calls = estimated(20.0, 19.0)
    assert n_calls == 1 and cost.seconds == pytest.approx(8 * (4 * 20.0 + 2 * 0.1))


def test_an_estimate_counts_the_slices_that_are_asked_for(estimated):
    whole, _ = estimated(3.0, 0.5)
    one, _ = estimated(3.0, 0.5, slices="1:2")
    assert one.seconds == pytest.approx(8 * (0.5 + 1.25 * 0.1))
    assert one.disk_bytes == whole.disk_bytes // 4 and one.memory_bytes == whole.memory_bytes
    with pytest.raises(DataError, match="--slices 7:9 names no usable slice; the file has 4"):
        estimated(3.0, 0.5, n_items=1, slices="7:9")


def test_a_file_of_kspace_needs_its_room_wherever_that_came_from(estimated):
    measured, _ = estimated(3.0, 0.5)
    made, _ = estimated(3.0, 0.5, origin="synthesised-from-magnitude")
    assert made.disk_bytes == measured.disk_bytes


def test_an_empty_shard_costs_nothing():
    assert batch.estimate([], None) == batch.Estimate(0, 0, 0)
