"""Labels, split and input scaling: what is joined how, and what is refused."""

import os
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from diagnose import slice_images
from diagnose.dataset import DataRequest, load_slice_table
from diagnose.input_scaling import fit_scaling
from diagnose.slice_images import ImageStore, Shift, check_kinds, make_images, split_images
from diagnose.testing import N_PATIENTS, N_SLICES, SIZE, SPOTS, read_rows, write_cohort, write_labels
from diagnose.volumes import Volume
from mrisim.artifacts import KINDS
from mrisim.errors import ConfigError, DataError
from mrisim.worker_threads import HANDOVER_S


@pytest.fixture
def own_cohort(tmp_path: Path) -> Path:
    """A cohort that the test may damage."""
    return write_cohort(tmp_path / "cohort")


def test_labels_land_on_the_slices_that_show_them(cohort: Path, tmp_path: Path):
    table = load_slice_table(DataRequest(cohort))
    assert table.labels.shape == (N_SLICES * sum(N_PATIENTS.values()), 4)
    images = split_images(table, Shift(), ImageStore(tmp_path))
    for column, (row, place) in enumerate(SPOTS):
        brightness = images[:, row, place] / np.median(images[:, 14:19, 14:19], axis=(1, 2))
        shown, not_shown = (brightness[table.labels[:, column] == label] for label in (1, 0))
        assert shown.min() > not_shown.max()


def test_folders_are_the_split_and_no_patient_is_in_two(cohort: Path):
    table = load_slice_table(DataRequest(cohort))
    patients = {split: set(table.of_split(split).patients.tolist()) for split in N_PATIENTS}
    assert {split: len(names) for split, names in patients.items()} == N_PATIENTS
    assert not patients["train"] & patients["test"] and not patients["train"] & patients["val"]


def test_part_of_a_split_keeps_labels_with_their_slices(cohort: Path):
    table = load_slice_table(DataRequest(cohort))
    whole = dict(zip(table.items, table.labels.tolist(), strict=True))
    part = table.of_split("val")
    assert dict(zip(part.items, part.labels.tolist(), strict=True)) == {item: whole[item] for item in part.items}
    assert len(part.items) == N_SLICES * N_PATIENTS["val"]


def test_a_stored_split_wins_over_the_folders(cohort: Path, tmp_path: Path):
    table = load_slice_table(DataRequest(cohort))
    swapped = {"train": "test", "test": "train", "val": "val"}
    lines = table.split_csv().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    text = "\n".join([lines[0], *(",".join((row[0], row[1], swapped[row[2]], row[3])) for row in rows)])
    (tmp_path / "split.csv").write_text(text + "\n")
    other = load_slice_table(DataRequest(cohort, split=tmp_path / "split.csv"))
    assert set(other.of_split("train").patients) == set(table.of_split("test").patients)
    assert other.identity != table.identity


def test_without_test_labels_patients_are_split_anew(own_cohort: Path):
    names = [row[0] for row in read_rows(own_cohort)]
    files = [path.stem for path in own_cohort.rglob("*.h5") if "test" not in path.stem]
    write_labels(
        own_cohort,
        [tuple(row) for row, name in zip(read_rows(own_cohort), names, strict=True) if "test" not in name],
        files,
    )
    table = load_slice_table(DataRequest(own_cohort))
    assert "split anew" in table.notes[0]
    assert {volume.split for volume in table.volumes} == {"train", "val", "test"}
    assert all("test" not in volume.stem for volume in table.volumes)


def test_a_patient_in_two_splits_is_refused(own_cohort: Path):
    with h5py.File(own_cohort / "multicoil_test" / "file_test_000.h5", "r+") as file:
        file.attrs["patient_id"] = "train-3"
    with pytest.raises(DataError, match=r"file_test_000\.h5.*same patient.*one split"):
        load_slice_table(DataRequest(own_cohort))


def test_labels_of_missing_files_are_refused_or_left_out(own_cohort: Path):
    (own_cohort / "multicoil_train" / "file_train_002.h5").unlink()
    with pytest.raises(DataError, match=r"1 files that knee.csv labels are missing, the first is file_train_002"):
        load_slice_table(DataRequest(own_cohort))
    table = load_slice_table(DataRequest(own_cohort, drop_incomplete=True))
    assert "left out" in table.notes[0] and len(table.volumes) == sum(N_PATIENTS.values()) - 1


@pytest.mark.parametrize("stated", ["{}.h5", "multicoil_train/{}.h5"])
def test_no_finding_is_lost_where_the_table_names_files_with_their_extension(own_cohort: Path, stated: str):
    expected = load_slice_table(DataRequest(own_cohort)).labels
    files = [path.stem for path in own_cohort.rglob("*.h5")]
    rows = read_rows(own_cohort)
    for row in rows[::2]:
        row[0] = stated.format(row[0])
    write_labels(own_cohort, [tuple(row) for row in rows], files)
    assert np.array_equal(load_slice_table(DataRequest(own_cohort)).labels, expected)


def test_findings_of_a_file_in_no_list_are_refused_or_left_out(own_cohort: Path):
    rows = [tuple(row) for row in read_rows(own_cohort)]
    rows[0] = ("FILE_train_000", *rows[0][1:])
    write_labels(own_cohort, rows, [path.stem for path in own_cohort.rglob("*.h5")])
    with pytest.raises(DataError, match=r"1 files that knee.csv labels are missing, the first is FILE_train_000"):
        load_slice_table(DataRequest(own_cohort))
    assert "left out" in load_slice_table(DataRequest(own_cohort, drop_incomplete=True)).notes[0]


def test_files_without_labels_are_refused_or_left_out(own_cohort: Path):
    rows = [tuple(row) for row in read_rows(own_cohort) if row[0] != "file_val_001"]
    write_labels(own_cohort, rows, [path.stem for path in own_cohort.rglob("*.h5") if path.stem != "file_val_001"])
    with pytest.raises(
        DataError, match=r"1 files have no label in knee.csv, the first is multicoil_val/file_val_001.h5"
    ):
        load_slice_table(DataRequest(own_cohort))
    table = load_slice_table(DataRequest(own_cohort, drop_incomplete=True))
    assert "file_val_001" not in {volume.stem for volume in table.volumes}


def test_one_class_only_is_refused(own_cohort: Path):
    rows = [tuple(row) for row in read_rows(own_cohort) if not (row[0].startswith("file_val") and "ACL" in row[7])]
    write_labels(own_cohort, rows, [path.stem for path in own_cohort.rglob("*.h5")])
    with pytest.raises(DataError, match="acl is absent from all 30 slices of val; expected both classes"):
        load_slice_table(DataRequest(own_cohort))


def test_a_file_without_patient_is_refused(own_cohort: Path):
    with h5py.File(own_cohort / "multicoil_val" / "file_val_000.h5", "r+") as file:
        del file.attrs["patient_id"]
    with pytest.raises(DataError, match=r"file_val_000.h5 states no patient"):
        load_slice_table(DataRequest(own_cohort))


def test_nan_is_refused_with_file_and_slice(own_cohort: Path, tmp_path: Path):
    with h5py.File(own_cohort / "multicoil_train" / "file_train_001.h5", "r+") as file:
        file["kspace"][1, 0, 3, 3] = np.nan
    table = load_slice_table(DataRequest(own_cohort)).of_split("train")
    with pytest.raises(DataError, match=r"file_train_001.h5: slice 1 holds NaN"):
        split_images(table, Shift(), ImageStore(tmp_path / "store"))
    assert not list((tmp_path / "store").rglob("*.npy*"))


def test_who_waits_for_the_interpreter_has_it_soon_while_images_are_made(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before, seen = sys.getswitchinterval(), []

    def noted(volume: Volume, *_: object, **__: object) -> np.ndarray:
        seen.append(sys.getswitchinterval())
        return np.zeros((volume.n_slices, SIZE, SIZE), np.float32)

    monkeypatch.setattr(slice_images, "make_images", noted)
    split_images(load_slice_table(DataRequest(cohort)).of_split("val"), Shift(), ImageStore(tmp_path))
    beside_others = seen[1:]  # the first gives the size of an image
    assert beside_others and min(beside_others) == max(beside_others) == pytest.approx(HANDOVER_S)
    assert sys.getswitchinterval() == pytest.approx(before)


@pytest.mark.parametrize("kind", KINDS)
def test_level_0_is_the_clean_image_bit_for_bit(cohort: Path, kind: str):
    volume = load_slice_table(DataRequest(cohort)).volumes[0]
    assert np.array_equal(make_images(volume, Shift(kind, 0)), make_images(volume, Shift()))


def test_stored_images_are_those_made_and_follow_the_file(own_cohort: Path, tmp_path: Path):
    table, store = (
        load_slice_table(DataRequest(own_cohort)).of_split("val"),
        ImageStore(tmp_path / "store", n_threads=2),
    )
    shift = Shift("noise", 4, seed=3)
    first = split_images(table, shift, store)
    expected = np.concatenate([make_images(volume, shift) for volume in table.volumes])
    assert np.array_equal(first, expected) and np.array_equal(split_images(table, shift, store), expected)
    with h5py.File(table.volumes[0].path, "r+") as file:
        file["kspace"][...] = 2 * file["kspace"][...]
    again = split_images(table, shift, store)
    # Noise is in units of the volume's signal, so all of the image doubles.
    np.testing.assert_allclose(again[:N_SLICES], 2 * expected[:N_SLICES], rtol=1e-5)


def test_other_content_of_the_same_size_is_other_data(own_cohort: Path):
    before = load_slice_table(DataRequest(own_cohort)).identity
    with h5py.File(own_cohort / "multicoil_train" / "file_train_001.h5", "r+") as file:
        file.attrs["norm"] = 1.001 * file.attrs["norm"]
    assert load_slice_table(DataRequest(own_cohort)).identity != before


def test_crop_is_centred_and_not_larger_than_the_image(cohort: Path):
    volume = load_slice_table(DataRequest(cohort)).volumes[0]
    whole, part = make_images(volume, Shift()), make_images(volume, Shift(), crop=20)
    assert np.array_equal(part, whole[:, 6:26, 6:26])
    with pytest.raises(DataError, match=f"images of {SIZE} x {SIZE}; expected at least the crop, 40"):
        make_images(volume, Shift(), crop=40)


def test_scalings_do_what_they_say():
    rng = np.random.default_rng(0)
    images = (rng.random((6, 9, 7)) * np.arange(1, 7)[:, None, None]).astype(np.float32)
    z_score = fit_scaling("z-score", images).apply(images)
    np.testing.assert_allclose(z_score.mean(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(z_score.std(axis=(1, 2)), 1, rtol=1e-5)
    cohort_scaling = fit_scaling("cohort", images)
    assert cohort_scaling.apply(images).mean() == pytest.approx(0, abs=1e-6)
    assert cohort_scaling.apply(images).std() == pytest.approx(1, rel=1e-5)
    # Constants of the training set, not of what is scaled: a gain of 2 stays a gain.
    doubled = cohort_scaling.apply(2 * images) * cohort_scaling.spread + cohort_scaling.offset
    np.testing.assert_allclose(doubled, 2 * images, atol=1e-6 * images.max())
    np.testing.assert_allclose(np.percentile(fit_scaling("p99", images).apply(images), 99, axis=(1, 2)), 1, rtol=1e-5)
    assert np.array_equal(fit_scaling("raw", images).apply(images), images)
    assert not fit_scaling("z-score", images).apply(np.full((1, 4, 4), 3.0)).any()
    with pytest.raises(ConfigError, match="scaling is 'max'; expected one of z-score, cohort, p99, raw"):
        fit_scaling("max", images)


def test_kinds_are_expanded_and_checked():
    assert check_kinds(["all"]) == list(KINDS)
    assert check_kinds(["rician", "noise"]) == ["noise"]
    with pytest.raises(ConfigError, match="expected one of"):
        check_kinds(["blur"])


def test_what_a_killed_process_left_a_day_ago_is_removed_and_what_is_being_written_stays(cohort: Path, tmp_path: Path):
    table, store = load_slice_table(DataRequest(cohort)).of_split("val"), ImageStore(tmp_path)
    split_images(table, Shift(), store)
    (folder,) = tmp_path.iterdir()
    old, new = folder / "clean-rss-clean.npy.123.part", folder / "clean-rss-clean.npy.124.part"
    for partial in (old, new):
        partial.write_bytes(b"begun")
    os.utime(old, (time.time() - 2 * 86_400,) * 2)
    split_images(table, Shift("noise", 1), store)
    assert not old.exists() and new.exists()
