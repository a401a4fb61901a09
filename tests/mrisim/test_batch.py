"""What a batch does to the interpreter while its threads work, and afterwards."""

import sys
from types import SimpleNamespace

import pytest

from mrisim import batch
from mrisim.job import Report
from mrisim.worker_threads import HANDOVER_S


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
