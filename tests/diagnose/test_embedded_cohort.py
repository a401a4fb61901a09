"""A few patients of the embedded knee cohort go the way of fastMRI: labels, images, training and evaluation."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from diagnose.dataset import DataRequest, load_slice_table
from diagnose.evaluation.prediction_table import read_table
from diagnose.run_folder import is_simulated
from diagnose.slice_images import ImageStore, Shift, split_images
from diagnose.testing import SMALL, read_rows
from mrisim.cohort import make_cohort
from mrisim.cohort_protocol import VirtualScanner, cohort_spec

SPEC = cohort_spec(
    anatomy="knee", n_patients={"train": 2, "val": 2, "test": 2}, n_slices=3,
    seed=31,  # one with which each split both shows and lacks each finding
    scanners=(VirtualScanner(
        name="small", field_strength_t=3.0, matrix=(36, 32), n_coils=3, ring_radius_over_fov=0.7,
        bandwidth_hz_per_pixel=400.0, noise_std=(0.01, 0.02),
    ),),
)  # fmt: skip
SETTINGS = [f"--set={name}={value}" for name, value in SMALL.items() if name != "epochs"]


@pytest.fixture(scope="module")
def knees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "knees"
    make_cohort(SPEC, folder)
    return folder


def test_labels_splits_and_images_are_those_of_the_generator(knees: Path, tmp_path: Path):
    table = load_slice_table(DataRequest(knees))
    assert table.labels.shape == (6 * 3, 4) and table.notes == ()
    assert [len(set(table.of_split(split).patients)) for split in ("train", "val", "test")] == [2, 2, 2]
    assert len(set(table.patients)) == 6
    for finding, word in (("mtear", "Meniscus Tear"), ("acl", "ACL"), ("cartilage", "Cartilage")):
        shown = {f"{row[0]}/{int(row[1]):03d}" for row in read_rows(knees) if word in row[7]}
        present = table.labels[:, table.findings.index(finding)] == 1
        assert shown == {item for item, yes in zip(table.items, present, strict=True) if yes}
    images = split_images(table, Shift(), ImageStore(tmp_path))
    written = []
    for volume in table.volumes:
        with h5py.File(volume.path) as file:
            written.append(file["reconstruction_rss"][...])
    np.testing.assert_allclose(images, np.concatenate(written), rtol=1e-4, atol=1e-6 * images.max())


def test_an_epoch_and_an_evaluation_by_the_command(diagnose, knees: Path, tmp_path: Path):
    done = diagnose(
        "train", "--data", str(knees), "--epochs", "1", "--out", "run", "--threads", "1", "--json", *SETTINGS,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["n_test_patients"], record["n_test_slices"]) == (2, 6) and len(record["clean_auroc"]) == 4
    for entry in record["clean_auroc"].values():
        assert 0 <= entry["auroc"] <= 1 and entry["low"] is None and "at least 10 are needed" in entry["reason"]
    assert is_simulated([tmp_path / "run"]) is True
    asked = ["--kind", "motion", "--kind", "madaan-rice", "--levels", "3", "--recon", "rss,sense", "--threads", "1"]
    done = diagnose("evaluate", "run", *asked, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    blocks = [block for block in read_table(tmp_path / "out" / "predictions.csv.gz") if block.cell.split == "test"]
    assert {(block.cell.kind, block.cell.recon, len(block.items)) for block in blocks} == {
        (kind, recon, 6) for kind in ("clean", "motion", "madaan-rice") for recon in ("rss", "sense")
    }
