"""A higher level is never milder on the same image: no inversion of the foreground NRMSE, for every kind's defaults."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from mrisim.artifacts import KINDS
from mrisim.corrupt import corrupt
from mrisim.phantoms.default import default_scan
from mrisim.quality import nrmse, rss
from mrisim.reference import reference_of
from mrisim.scan import Scan, coil_images


@cache
def _knee(size: int) -> Scan:
    scan = default_scan(matrix=(size, size), n_coils=4)
    return replace(scan, reference=reference_of(scan))


def _inversions(kind: str, seeds: range, size: int) -> list[int]:
    """Return the seeds for which some level has no larger error than the level before it."""
    scan = _knee(size)
    inverted = []
    for seed in seeds:
        errors = [0.0]
        for level in range(1, 6):
            spec = KINDS[kind].at_level(level, n_coils=scan.n_coils)
            image = rss(coil_images(corrupt(scan, [spec], seed=seed, item_id="monotone").scan))
            errors.append(nrmse(image, scan.reference.magnitude, scan.reference.foreground))
        if not np.all(np.diff(errors) > 0):
            inverted.append(seed)
    return inverted


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_of_seeds(kind: str) -> None:
    assert _inversions(kind, range(8), 64) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_seeds(kind: str) -> None:
    assert _inversions(kind, range(1000), 128) == []
