"""Verify and lock on tiny trees in the layout of the real sets."""

import hashlib
import json
import os

import h5py
import nibabel
import numpy as np
import pytest

from mrisim.datasets.catalogue import load_manifest
from mrisim.datasets.lock import Lock, LockedFile, make_lock, read_lock, write_lock
from mrisim.datasets.manifest import Expected, KnownIssue
from mrisim.datasets.verify import verify_dataset
from mrisim.errors import DataError
from mrisim.files import sha256_of_file

KNEE = load_manifest("fastmri_knee_multicoil")
GLIOMA = load_manifest("brats2023_gli")


def write_knee(root, name, patient, n_slices=2, split="train"):
    path = root / f"multicoil_{split}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["kspace"] = np.ones((n_slices, 15, 6, 4), np.complex64)
        file["reconstruction_rss"] = np.ones((n_slices, 320, 320), np.float32)
        file["ismrmrd_header"] = b"<ismrmrdHeader/>"
        file.attrs.update({"patient_id": patient, "acquisition": "CORPD_FBK", "max": 1.0, "norm": 1.0})
    return path


@pytest.fixture
def knee(tmp_path):
    root = tmp_path / "data"
    write_knee(root, "file1000001.h5", "patient-a", 2)
    write_knee(root, "file1000002.h5", "patient-a", 3)
    write_knee(root, "file1000003.h5", "patient-b", 2, split="val")
    counts = (
        Expected(split="train", n_files=2, n_patients=1, n_slices=5, source="test"),
        Expected(split="val", n_files=1, n_slices=2, source="test"),
    )
    return root, KNEE.model_copy(update={"expected": counts})


def errors(report):
    return [finding.message for finding in report.findings if finding.severity == "error"]


def warnings(report):
    return [finding.message for finding in report.findings if finding.severity == "warning"]


def test_a_whole_set_is_ok_and_counted(knee):
    root, manifest = knee
    seen = []
    report = verify_dataset(manifest, root, deep=True, progress=seen.append)
    assert report.ok
    assert errors(report) == []
    assert [(c.split, c.n_files, c.n_patients, c.n_slices) for c in report.counts] == [
        ("train", 2, 1, 5),
        ("val", 1, 1, 2),
    ]
    assert seen == ["multicoil_train/file1000001.h5", "multicoil_train/file1000002.h5", "multicoil_val/file1000003.h5"]
    assert [text for text in warnings(report) if "is not there" in text] == [
        "the split challenge is not there; the others are checked without it",
        "the split test is not there; the others are checked without it",
    ]


def test_half_a_download_is_an_error_and_with_allow_partial_a_warning(knee):
    root, manifest = knee
    (root / "multicoil_train" / "file1000002.h5").unlink()
    report = verify_dataset(manifest, root)
    assert not report.ok
    assert errors(report) == ["train: expected 2 files (test); got 1", "train: expected 5 slices (test); got 2"]
    partial = verify_dataset(manifest, root, allow_partial=True)
    assert partial.ok
    assert "train: expected 2 files (test); got 1" in warnings(partial)


def test_a_tolerance_is_relative(knee):
    root, manifest = knee
    loose = Expected(split="train", n_files=4, tolerance=0.5, source="test")
    assert verify_dataset(manifest.model_copy(update={"expected": (loose,)}), root).ok
    tight = loose.model_copy(update={"tolerance": 0.49})
    assert not verify_dataset(manifest.model_copy(update={"expected": (tight,)}), root).ok


def test_the_total_is_expected_only_of_whoever_has_every_split(knee):
    root, manifest = knee
    total = manifest.model_copy(update={"expected": (Expected(n_files=1594, source="paper"),)})
    assert verify_dataset(total, root).ok
    two_splits = tuple(layout for layout in total.layouts if layout.split in ("train", "val"))
    report = verify_dataset(total.model_copy(update={"layouts": two_splits}), root)
    assert errors(report) == ["all: expected 1594 files (paper); got 3"]


def test_examinations_are_not_counted_as_patients(tmp_path):
    mrnet = load_manifest("mrnet_v1")
    for plane in ("axial", "coronal", "sagittal"):
        (tmp_path / "train" / plane).mkdir(parents=True)
        np.save(tmp_path / "train" / plane / "0001.npy", np.ones((3, 4, 4), np.uint8))
    report = verify_dataset(mrnet, tmp_path)
    assert errors(report) == ["train: expected 3390 files (homepage: 1,130 examinations, three planes each); got 3"]
    assert report.counts[0].n_patients is None


def test_a_root_without_a_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no file of fastmri_knee_multicoil below the root"):
        verify_dataset(KNEE, tmp_path)


def test_a_truncated_file_is_found_although_its_hash_is_right(knee):
    root, manifest = knee
    path = root / "multicoil_train" / "file1000002.h5"
    path.write_bytes(path.read_bytes()[:-1000])
    files = []
    for found in sorted(root.rglob("*.h5")):
        status = found.stat()
        files.append(
            LockedFile(
                path=found.relative_to(root).as_posix(),
                size_bytes=status.st_size,
                mtime_ns=status.st_mtime_ns,
                sha256=sha256_of_file(found),
                n_slices=None,
                shape=None,
                patient_key=None,
                acquisition=None,
            )
        )
    lock = Lock(dataset=manifest.name, version=manifest.version, files=tuple(files))
    report = verify_dataset(manifest, root, deep=True, lock=lock, allow_partial=True)
    assert len(errors(report)) == 1
    assert "truncated" in errors(report)[0]
    with pytest.raises(DataError, match=r"file1000002\.h5 cannot be read.*run verify first"):
        make_lock(manifest, root)


def test_a_patient_in_two_folders_is_a_warning(knee):
    root, manifest = knee
    write_knee(root, "file1000004.h5", "patient-a", 2, split="val")
    report = verify_dataset(manifest, root, allow_partial=True)
    assert "1 patients are in more than one of train, val: make a split" in warnings(report)


def test_a_skipped_file_is_not_opened_and_is_named(knee):
    root, manifest = knee
    (root / "multicoil_train" / "file1000009.h5").write_bytes(b"broken")
    assert not verify_dataset(manifest, root).ok
    issue = KnownIssue(match="*file1000009.h5", action="skip", reason="known to be broken")
    report = verify_dataset(manifest.model_copy(update={"known_issues": (issue,)}), root)
    assert report.ok
    assert report.skipped == ("multicoil_train/file1000009.h5",)
    assert "1 files left out: known to be broken" in warnings(report)


def test_a_report_holds_no_absolute_path(knee):
    root, manifest = knee
    (root / "multicoil_train" / "file1000001.h5").write_bytes(b"broken")
    report = verify_dataset(manifest, root, lock=None)
    assert not report.ok
    assert str(root) not in repr(report)
    assert str(root.parent) not in repr(report)


def write_case(root, case, roles=("t1n", "t1c", "t2w", "t2f", "seg"), shape=(5, 6, 7)):
    folder = root / "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData" / case
    folder.mkdir(parents=True, exist_ok=True)
    for role in roles:
        values = (np.arange(np.prod(shape)).reshape(shape) % 4).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / f"{case}-{role}.nii.gz")


def test_cases_must_be_complete_and_of_one_shape(tmp_path):
    whole = GLIOMA.model_copy(update={"expected": ()})
    write_case(tmp_path, "BraTS-GLI-00008-000")
    write_case(tmp_path, "BraTS-GLI-00008-001")
    report = verify_dataset(whole, tmp_path)
    assert report.ok
    assert (report.counts[0].n_files, report.counts[0].n_patients) == (10, 1)
    write_case(tmp_path, "BraTS-GLI-00009-000", roles=("t1n", "t1c", "t2w", "seg"))
    assert errors(verify_dataset(whole, tmp_path)) == ["the case BraTS-GLI-00009-000 has no t2f"]
    write_case(tmp_path, "BraTS-GLI-00009-000", roles=("t2f",), shape=(5, 6, 8))
    (message,) = errors(verify_dataset(whole, tmp_path))
    assert message.startswith("the case BraTS-GLI-00009-000 has the shapes [(5, 6, 7), (5, 6, 8)]")


def test_a_lock_goes_round_and_knows_every_file(knee, tmp_path):
    root, manifest = knee
    lock = make_lock(manifest, root, n_workers=2)
    assert [file.path for file in lock.files] == sorted(file.path for file in lock.files)
    first = lock.files[0]
    raw = (root / first.path).read_bytes()
    assert first.sha256 == hashlib.sha256(raw).hexdigest()
    assert (first.size_bytes, first.n_slices, first.shape) == (len(raw), 2, (2, 15, 6, 4))
    assert (first.patient_key, first.acquisition) == ("patient-a", "CORPD_FBK")
    path = tmp_path / "out" / "mrisim.lock.json"
    write_lock(lock, path, root=root)
    assert read_lock(path, manifest) == lock
    assert not list(path.parent.glob("*.part"))
    assert str(tmp_path) not in path.read_text()
    assert verify_dataset(manifest, root, deep=True, lock=lock).ok


def test_a_lock_is_never_written_into_the_data(knee):
    root, manifest = knee
    lock = make_lock(manifest, root)
    with pytest.raises(DataError, match="inside the data folder"):
        write_lock(lock, root / "mrisim.lock.json", root=root)
    assert not (root / "mrisim.lock.json").exists()


def test_every_difference_from_the_lock_is_found(knee):
    root, manifest = knee
    lock = make_lock(manifest, root)
    (root / "multicoil_val" / "file1000003.h5").unlink()
    write_knee(root, "file1000005.h5", "patient-c")
    write_knee(root, "file1000001.h5", "patient-a", n_slices=4)
    report = verify_dataset(manifest, root, lock=lock, allow_partial=True)
    found = {
        (finding.file, finding.message.split(";")[0]) for finding in report.findings if finding.severity == "error"
    }
    size = (root / "multicoil_train" / "file1000001.h5").stat().st_size
    assert found == {
        ("multicoil_val/file1000003.h5", "is in the lock and not on disk"),
        ("multicoil_train/file1000005.h5", "is not in the lock"),
        ("multicoil_train/file1000001.h5", f"has {size} bytes"),
    }


def test_a_flipped_byte_of_equal_size_is_found_by_time_and_deep_by_hash(knee):
    root, manifest = knee
    lock = make_lock(manifest, root)
    path = root / "multicoil_train" / "file1000001.h5"
    time = path.stat().st_mtime_ns
    with h5py.File(path, "r+") as file:
        file["kspace"][0, 0, 0, 0] = 2
    os.utime(path, ns=(time + 10**9, time + 10**9))
    assert errors(verify_dataset(manifest, root, lock=lock))[0].startswith("was written to after the lock")
    # Somebody set the time back: only the hash tells.
    os.utime(path, ns=(time, time))
    assert verify_dataset(manifest, root, lock=lock).ok
    assert errors(verify_dataset(manifest, root, lock=lock, deep=True))[0].startswith("has SHA-256")


def test_a_copy_with_another_time_passes_the_deep_check(knee):
    root, manifest = knee
    lock = make_lock(manifest, root)
    path = root / "multicoil_train" / "file1000001.h5"
    os.utime(path, ns=(1, 1))
    assert not verify_dataset(manifest, root, lock=lock).ok
    assert verify_dataset(manifest, root, lock=lock, deep=True).ok


def test_a_lock_that_is_none_is_refused(knee, tmp_path):
    root, manifest = knee
    path = tmp_path / "mrisim.lock.json"
    with pytest.raises(DataError, match="no lock"):
        read_lock(path, manifest)
    path.write_text("{")
    with pytest.raises(DataError, match="is not a lock"):
        read_lock(path, manifest)
    lock = make_lock(manifest, root).model_dump(mode="json")
    path.write_text(json.dumps(lock | {"dataset": "other"}))
    with pytest.raises(DataError, match="is the lock of other; expected fastmri_knee_multicoil"):
        read_lock(path, manifest)
    lock["files"][0]["path"] = "/home/somebody/file1000001.h5"
    path.write_text(json.dumps(lock))
    with pytest.raises(DataError, match="must be relative to the root"):
        read_lock(path, manifest)
