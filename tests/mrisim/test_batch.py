"""What a batch does to the interpreter while its threads work, and afterwards."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mrisim import batch
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
