"""BraTS' layouts: names of each year, what a label means in it, and every refusal before training."""

import nibabel
import numpy as np
import pytest

from diagnose.segmentation.brats import check_cases, find_cases, load_images, load_labels
from diagnose.segmentation.brats_releases import CHANNELS, CLASSES, RELEASES
from mrisim.errors import ConfigError, DataError

SHAPE = (12, 10, 8)
OLD, NEW = ("flair", "t1", "t1ce", "t2"), ("t2f", "t1n", "t1c", "t2w")
NAMES = {
    "2018": ("Brats18_TCIA08_167_1", "_", OLD, "TCIA08_167"),
    "2019": ("BraTS19_2013_10_1", "_", OLD, "2013_10"),
    "2020": ("BraTS20_Training_001", "_", OLD, "Training_001"),
    "2021": ("BraTS2021_00017", "_", OLD, "00017"),
    "2023": ("BraTS-GLI-00017-001", "-", NEW, "00017"),
    "2024": ("BraTS-GLI-00017-101", "-", NEW, "00017"),
}
VALUES = {
    "2018": (2, 1, 4),
    "2019": (2, 1, 4),
    "2020": (2, 1, 4),
    "2021": (2, 1, 4),
    "2023": (2, 1, 3),
    "2024": (2, 1, 3),
}
"""In the files: oedema, non-enhancing, enhancing."""


def segmentation(values=(2, 1, 3)):
    labels = np.zeros(SHAPE, np.int16)
    for index, value in enumerate(values):
        labels[2 + 2 * index : 4 + 2 * index, 3:6, 2:5] = value
    return labels


def write_nifti(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([-1.0, -1.0, 1.0, 1.0]) if affine is None else affine), path)


def write_case(root, year, *, name=None, end=".nii.gz", labels=None):
    case, separator, roles, _ = NAMES[year]
    case = name or case
    for index, role in enumerate(roles):
        image = np.zeros(SHAPE, np.float32)
        image[1:-1, 1:-1] = 100 * (index + 1) + np.arange(8)
        write_nifti(root / case / f"{case}{separator}{role}{end}", image)
    labels = segmentation(VALUES[year]) if labels is None else labels
    write_nifti(root / case / f"{case}{separator}seg{end}", labels)
    return root / case


@pytest.mark.parametrize("year", RELEASES)
@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_each_year_is_read_with_the_same_channels_and_labels(tmp_path, year, end):
    write_case(tmp_path / "HGG", year, end=end)
    (case,) = find_cases(tmp_path, year if year == "2024" else "auto")
    assert (case.name, case.patient, case.release) == (NAMES[year][0], NAMES[year][3], year)
    check_cases([case], (12, 8, 8))
    labels = load_labels(case)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, segmentation((1, 2, 3)))  # position in CLASSES
    images = load_images(case)
    assert images.shape == (4, *SHAPE)
    assert images[:, 5, 5, 0].tolist() == [100, 200, 300, 400]
    assert CHANNELS == ("flair", "t1", "t1ce", "t2")
    assert CLASSES == ("oedema", "non-enhancing", "enhancing")


def test_label_four_is_background_in_2024_and_refused_in_2023(tmp_path):
    labels = segmentation()
    labels[10, :, :] = 4
    write_case(tmp_path, "2024", labels=labels)
    (case,) = find_cases(tmp_path, "2024")
    assert not load_labels(case)[10].any()
    np.testing.assert_array_equal(load_labels(case)[:10], segmentation((1, 2, 3))[:10])
    (assumed,) = find_cases(tmp_path)
    assert assumed.release == "2023"
    message = (
        r"seg.nii.gz holds the labels 0, 1, 2, 3, 4; expected 0, 1, 2, 3 of BraTS 2023 \(4 is the resection cavity"
    )
    with pytest.raises(DataError, match=message):
        check_cases([assumed], (8, 8, 8))


@pytest.mark.parametrize(
    ("year", "labels", "message"),
    [
        ("2021", segmentation((2, 1, 3)), r"holds the labels 0, 1, 2, 3; expected 0, 1, 2, 4 of BraTS 2021 \(3 is the"),
        ("2018", segmentation((2, 1, 7)), "holds the labels 0, 1, 2, 7; expected 0, 1, 2, 4 of BraTS 2018"),
        ("2023", segmentation((2, 1, 3)) * np.float32(0.5), "holds the labels 0, 0.5, 1, 1.5; expected 0, 1, 2, 3"),
        ("2023", np.full(SHAPE, np.nan, np.float32), "holds the labels nan; expected"),
        ("2023", np.zeros(SHAPE, np.uint8), "seg.nii.gz is empty; expected some tumour"),
        ("2023", segmentation((2, 1, 0)), "enhancing is in none of the 1 cases; expected every class"),
    ],
)
def test_a_label_set_that_does_not_fit_is_refused(tmp_path, year, labels, message):
    write_case(tmp_path, year, labels=labels)
    with pytest.raises(DataError, match=message):
        check_cases(find_cases(tmp_path), (8, 8, 8))


def test_labels_stored_as_floats_are_labels(tmp_path):
    write_case(tmp_path, "2021", labels=segmentation((2, 1, 4)).astype(np.float64))
    np.testing.assert_array_equal(load_labels(find_cases(tmp_path)[0]), segmentation((1, 2, 3)))


@pytest.mark.parametrize(("year", "role"), [("2021", "t1ce"), ("2023", "t1c"), ("2023", "seg")])
def test_a_missing_contrast_is_named(tmp_path, year, role):
    folder = write_case(tmp_path, year)
    next(folder.glob(f"*[-_]{role}.nii.gz")).unlink()
    with pytest.raises(DataError, match=f"{NAMES[year][0]} lacks {role}; expected"):
        find_cases(tmp_path)


def test_a_contrast_that_is_there_twice_is_refused(tmp_path):
    write_case(tmp_path / "a", "2021")
    write_case(tmp_path / "b", "2021")
    with pytest.raises(DataError, match="BraTS2021_00017 has flair twice"):
        find_cases(tmp_path)


def test_years_are_not_mixed_unless_one_is_asked_for(tmp_path):
    write_case(tmp_path, "2021")
    write_case(tmp_path, "2023")
    with pytest.raises(DataError, match="mixes cases of BraTS 2021 and 2023"):
        find_cases(tmp_path)
    assert [case.release for case in find_cases(tmp_path, "2021")] == ["2021"]


def test_time_points_of_a_patient_are_one_patient_and_other_cohorts_count_their_own(tmp_path):
    for name in ("BraTS-GLI-00008-001", "BraTS-GLI-00008-000", "BraTS-MEN-00008-000"):
        write_case(tmp_path, "2023", name=name)
    cases = find_cases(tmp_path)
    assert [case.name[6:] for case in cases] == ["GLI-00008-000", "GLI-00008-001", "MEN-00008-000"]
    assert [case.patient for case in cases] == ["00008", "00008", "MEN-00008"]


def test_files_of_other_programs_are_no_cases(tmp_path):
    folder = write_case(tmp_path, "2021")
    (folder / "._BraTS2021_00017_flair.nii.gz").write_bytes(b"x")
    (folder / "BraTS2021_00017_prediction.nii.gz").write_bytes(b"x")
    assert len(find_cases(tmp_path)) == 1


def test_shapes_and_affines_of_a_case_must_agree(tmp_path):
    folder = write_case(tmp_path, "2021")
    write_nifti(folder / "BraTS2021_00017_t2.nii.gz", np.ones((12, 10, 9), np.float32))
    with pytest.raises(DataError, match=r"_t2.nii.gz is \(12, 10, 9\), BraTS2021_00017_flair.nii.gz is \(12, 10, 8\)"):
        check_cases(find_cases(tmp_path), (8, 8, 8))
    moved = np.diag([-1.0, -1.0, 1.0, 1.0])
    moved[0, 3] = 2.5
    write_nifti(folder / "BraTS2021_00017_t2.nii.gz", np.ones(SHAPE, np.float32), moved)
    with pytest.raises(DataError, match=r"affine of BraTS2021_00017_t2.nii.gz differs by 2.5"):
        check_cases(find_cases(tmp_path), (8, 8, 8))
    moved[0, 3] = 0.001  # what rounding to the header's quaternion costs
    write_nifti(folder / "BraTS2021_00017_t2.nii.gz", np.ones(SHAPE, np.float32), moved)
    check_cases(find_cases(tmp_path), (8, 8, 8))


def test_a_series_is_no_volume(tmp_path):
    folder = write_case(tmp_path, "2021")
    write_nifti(folder / "BraTS2021_00017_flair.nii.gz", np.ones((*SHAPE, 2), np.float32))
    with pytest.raises(DataError, match=r"has shape \(12, 10, 8, 2\); expected one volume"):
        check_cases(find_cases(tmp_path), (8, 8, 8))


def test_a_volume_smaller_than_the_patch_is_refused(tmp_path):
    write_case(tmp_path, "2021")
    with pytest.raises(DataError, match=r"BraTS2021_00017 is \(12, 10, 8\); expected at least the patch, \(8, 8, 16\)"):
        check_cases(find_cases(tmp_path), (8, 8, 16))


@pytest.mark.parametrize(("value", "message"), [(np.nan, "holds NaN or Inf"), (0.0, "is empty; expected an image")])
def test_an_image_without_an_image_is_refused(tmp_path, value, message):
    folder = write_case(tmp_path, "2021")
    write_nifti(folder / "BraTS2021_00017_t1.nii.gz", np.full(SHAPE, value, np.float32))
    with pytest.raises(DataError, match=f"BraTS2021_00017_t1.nii.gz {message}"):
        load_images(find_cases(tmp_path)[0])


def test_a_broken_file_is_one_line_without_a_folder(tmp_path):
    folder = write_case(tmp_path, "2021")
    (folder / "BraTS2021_00017_t1.nii.gz").write_bytes(b"no NIfTI")
    with pytest.raises(DataError, match=r"BraTS2021_00017_t1.nii.gz cannot be read") as raised:
        check_cases(find_cases(tmp_path), (8, 8, 8))
    assert str(tmp_path) not in str(raised.value)


def test_nothing_to_find_and_unknown_releases(tmp_path):
    with pytest.raises(DataError, match="no case of BraTS 2018 to 2024 below"):
        find_cases(tmp_path)
    with pytest.raises(DataError, match="gone is not a folder"):
        find_cases(tmp_path / "gone")
    with pytest.raises(ConfigError, match="release is '2022'; expected auto or one of 2018, 2019"):
        find_cases(tmp_path, "2022")
    write_case(tmp_path, "2023", name="BraTS-MET-00008-000")
    with pytest.raises(DataError, match="no case of BraTS 2024"):
        find_cases(tmp_path, "2024")
