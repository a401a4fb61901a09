"""Small heads, made once, and a run that is trained on them once."""

from pathlib import Path

import pytest

from diagnose.run_folder import DataLocation
from diagnose.segmentation.request import SegmentationSpec
from diagnose.segmentation.testing import SMALL, write_heads
from diagnose.train import fit


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases with k-space; read-only."""
    return write_heads(tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="session")
def segmentation_run(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of three epochs; read-only."""
    spec = SegmentationSpec(**{**SMALL, "epochs": 3, "norm": "bn"})
    return fit(spec, DataLocation(heads), tmp_path_factory.mktemp("plain") / "run").folder
