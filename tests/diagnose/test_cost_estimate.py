"""Estimates of time: what is counted, and what is not."""

import time
from pathlib import Path

import numpy as np
import pytest

from diagnose import cost_estimate
from diagnose.dataset import DataRequest, load_slice_table
from diagnose.slice_images import Shift


def test_what_a_kind_or_reconstruction_compiles_once_is_not_counted(cohort: Path, monkeypatch: pytest.MonkeyPatch):
    known = set()

    def make_images(volume, shift, *, crop=None):
        if (shift.kind, shift.reconstruction) not in known:
            time.sleep(0.3)
        known.add((shift.kind, shift.reconstruction))
        return np.zeros((volume.n_slices, 4, 4))

    monkeypatch.setattr(cost_estimate, "make_images", make_images)
    shifts = [Shift(), Shift("noise", 2), Shift("motion", 2), Shift("motion", 5), Shift("noise", 2, "sense")]
    table = load_slice_table(DataRequest(cohort))
    assert cost_estimate.seconds_per_image(table, shifts, None, 1) < 0.3 / table.volumes[0].n_slices
    assert len(known) == 4
