"""A GPU whose memory runs out in an operator of SigPy, in one file of a batch; run by `test_gpu_path.py`."""

from pathlib import Path
from typing import Any

import cupy
import pytest
from cupy.cuda.memory import OutOfMemoryError

from mrisim import batch
from mrisim.corrupt import Request
from mrisim.items import Item
from mrisim.job import Job

N_BEFORE = {"rss": 1, "sense": 3}
"""The call that fails: an image, or one of the iterations."""


@pytest.mark.parametrize("recon", ["rss", "sense"])
def test_the_file_has_failed_and_the_others_are_done(
    recon: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    transform = "fftn" if recon == "sense" else "ifftn"
    enough, n_calls = getattr(cupy.fft, transform), 0

    def too_little(*args: Any, **kwargs: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == N_BEFORE[recon]:
            raise OutOfMemoryError(3 << 30, 5 << 30)
        return enough(*args, **kwargs)

    monkeypatch.setattr(cupy.fft, transform, too_little)
    job = Job((Request("noise", 1),), device="cuda", reconstruction=recon)
    reports = batch.run([Item(name, None) for name in "ab"], job, tmp_path)
    assert [len(report.failures) for report in reports] == [1, 0] and reports[1].outputs
    assert reports[0].exit_code == 4 and reports[0].failures[0] == (
        "the GPU is out of memory: Out of memory allocating 3,221,225,472 bytes (allocated so far: 5,368,709,120 bytes)"
        "; try fewer --workers, or --device cpu"
    )
