"""Scans kept in memory: the same images, fewer files read, no more memory than allowed."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from diagnose.clean_scans import CleanScans, _n_bytes
from diagnose.dataset import DataRequest, SliceTable, load_slice_table
from diagnose.drift.analyse import analyse_drift
from diagnose.drift.request import DriftRequest
from diagnose.evaluate import evaluate
from diagnose.evaluation.request import EvaluationRequest
from diagnose.run_folder import DataLocation
from diagnose.slice_images import Shift, image_store, make_images
from diagnose.testing import SMALL, write_cohort
from diagnose.train import fit
from diagnose.training.spec import TrainSpec
from mrisim import formats
from mrisim.errors import DataError
from mrisim.reference import measure_reference

SHIFTS = (Shift(), Shift("noise", 3), Shift("motion", 2), Shift("madaan-rice", 2), Shift("noise", 0))


@pytest.fixture
def own_cohort(tmp_path: Path) -> Path:
    """A cohort that the test may damage."""
    return write_cohort(tmp_path / "cohort")


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read for their k-space, in order."""
    names: list[str] = []
    read = formats.read

    def noted(path, **options):
        names.append(Path(path).name)
        return read(path, **options)

    monkeypatch.setattr(formats, "read", noted)
    return names


def _of_val(cohort: Path) -> SliceTable:
    return load_slice_table(DataRequest(cohort)).of_split("val")


def _n_bytes_measured(volume) -> int:
    """Return what a scan takes: k-space, maps, magnitude and foreground."""
    scan = formats.read(volume.path)
    assert scan.csm is not None
    return scan.kspace.nbytes + scan.csm.nbytes + scan.n_slices * int(np.prod(scan.matrix)) * (4 + 1)


def test_images_are_the_same_whatever_was_made_before(cohort: Path, read_files: list[str]):
    volume, scans = _of_val(cohort).volumes[0], CleanScans()
    expected = [make_images(volume, shift) for shift in SHIFTS]
    assert len(read_files) == len(SHIFTS)
    read_files.clear()
    for order in (range(len(SHIFTS)), reversed(range(len(SHIFTS)))):
        for number in order:
            assert np.array_equal(make_images(volume, SHIFTS[number], scans=scans), expected[number])
    assert len(read_files) == 1


def test_the_reference_is_measured_once_and_only_where_it_is_asked_for(cohort: Path, monkeypatch: pytest.MonkeyPatch):
    measured = []
    monkeypatch.setattr(
        "mrisim.reference.measure_reference", lambda scan: measured.append(1) or measure_reference(scan)
    )
    volume, scans = _of_val(cohort).volumes[0], CleanScans()
    assert scans.of(volume, measured=False).reference is None and not measured
    first = scans.of(volume, measured=True).reference
    assert first is not None and scans.of(volume, measured=True).reference is first
    assert scans.of(volume, measured=False).reference is first and len(measured) == 1


@pytest.mark.parametrize("spare", [0, -1])
def test_what_came_first_stays_and_the_limit_holds(cohort: Path, read_files: list[str], spare: int):
    volumes = load_slice_table(DataRequest(cohort)).of_split("train").volumes[:3]
    scans = CleanScans(2 * _n_bytes_measured(volumes[0]) + spare)
    read_files.clear()
    for volume in 2 * volumes:
        scans.of(volume, measured=False)  # counted again when it grows by its reference
        scans.of(volume, measured=True)
    first, second, third = (volume.path.name for volume in volumes)
    assert read_files[0] == first and read_files.count(first) == 1
    # one byte short, the second stays as it was read, and its reference is measured anew
    assert read_files.count(second) == 1 and read_files.count(third) == 4
    assert (scans.of(volumes[1], measured=False).reference is not None) == (spare == 0)


def test_a_file_that_changes_is_read_again(own_cohort: Path):
    volume, scans = _of_val(own_cohort).volumes[0], CleanScans()
    before = make_images(volume, Shift(), scans=scans)
    with h5py.File(volume.path, "r+") as file:
        file["kspace"][...] = 2 * file["kspace"][...]
    np.testing.assert_allclose(make_images(volume, Shift(), scans=scans), 2 * before, rtol=1e-6)


def test_what_is_known_of_a_changed_file_makes_room(own_cohort: Path, read_files: list[str]):
    """A scan that cannot be kept any more must not leave its predecessor behind."""
    first, second, third = load_slice_table(DataRequest(own_cohort)).of_split("train").volumes[:3]
    scans = CleanScans(2 * _n_bytes_measured(first) - 1)
    scans.of(first, measured=True)
    scans.of(second, measured=False)
    for size in (2, 3):  # no room for its reference, too
        status = second.path.stat()
        os.utime(second.path, ns=(status.st_atime_ns, status.st_mtime_ns + size))
        scans.of(second, measured=True)
    read_files.clear()
    scans.of(third, measured=False)
    scans.of(third, measured=False)
    scans.of(first, measured=True)
    assert read_files == [third.path.name]


def test_a_reference_is_not_lost_to_a_thread_that_needed_none(cohort: Path):
    volume, scans = _of_val(cohort).volumes[0], CleanScans()
    bare = scans.of(volume, measured=False)
    measured = scans.of(volume, measured=True)
    assert bare.reference is None
    scans._keep(volume.path, replace(scans._kept[volume.path], scan=bare))  # by one that read the file meanwhile
    assert scans.of(volume, measured=False) is measured


def test_maps_that_all_slices_share_are_counted_once(cohort: Path):
    scan = formats.read(_of_val(cohort).volumes[0].path)
    assert scan.csm is not None
    shared = replace(scan, csm=np.broadcast_to(scan.csm[:1], scan.csm.shape))
    assert _n_bytes(scan) == scan.kspace.nbytes + scan.csm.nbytes
    assert _n_bytes(shared) == scan.kspace.nbytes + scan.csm[:1].nbytes


def test_a_copy_of_a_store_starts_empty(cohort: Path):
    volume, store = _of_val(cohort).volumes[0], image_store(scans=CleanScans(10**8))
    kept = store.scans.of(volume, measured=False)
    copied = pickle.loads(pickle.dumps(store))
    assert copied.scans.of(volume, measured=False) is not kept and store.scans.of(volume, measured=False) is kept
    assert copied.scans._limit == 10**8 and copied.folder == store.folder


def test_a_file_that_is_gone_or_broken_is_said_so_each_time(own_cohort: Path):
    first, second = _of_val(own_cohort).volumes[:2]
    scans = CleanScans()
    with h5py.File(first.path, "r+") as file:
        file["kspace"][1] = np.nan
    second.path.unlink()
    for _ in range(2):
        with pytest.raises(DataError, match=f"{first.path.name}: slice 1 holds NaN"):
            scans.of(first, measured=True)
        with pytest.raises(DataError, match=second.path.name):
            scans.of(second, measured=False)


def test_training_with_corruption_reads_a_file_once_for_all_epochs(cohort: Path, tmp_path: Path, read_files: list[str]):
    spec = TrainSpec(**{**SMALL, "epochs": 3, "train_shift": "noise:3"})
    fit(spec, DataLocation(cohort), tmp_path / "run")
    of_train = [volume.path.name for volume in load_slice_table(DataRequest(cohort)).of_split("train").volumes]
    # the first file's image is looked at for its size, here and there; three epochs would be three more for each
    assert max(read_files.count(name) for name in of_train[1:]) == 1


def test_evaluation_and_drift_read_a_file_once_for_all_shifts(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_files: list[str]
):
    monkeypatch.setenv("MRISIM_CACHE", str(tmp_path / "cache"))  # where no image is stored yet
    fit(TrainSpec(**{**SMALL, "epochs": 1}), DataLocation(cohort), tmp_path / "run")
    of_test = [volume.path.name for volume in load_slice_table(DataRequest(cohort)).of_split("test").volumes]
    kinds, levels = ("noise", "bias-field"), (2, 5)
    for number, analysis in enumerate(
        (
            lambda out: evaluate([tmp_path / "run"], EvaluationRequest(kinds, levels), out),
            lambda out: analyse_drift([tmp_path / "run"], DriftRequest(kinds, (1, 4), swap=False), out),
        )
    ):
        read_files.clear()
        analysis(tmp_path / f"out{number}")
        assert [read_files.count(name) for name in of_test] == [1] * len(of_test)
