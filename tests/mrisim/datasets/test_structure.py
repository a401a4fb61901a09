"""One file against its layout: keys, axes, types, attributes, values, truncation - for each format."""

import gzip
import re

import h5py
import nibabel
import numpy as np
import pytest

from mrisim.datasets.manifest import ArrayLayout, Citation, KspaceFacts, Layout, Manifest, PatientKey, ValueSource
from mrisim.datasets.structure import find_files, inspect_file
from mrisim.errors import DataError

KSPACE = ArrayLayout(key="kspace", ndim=4, axes=("slice", "coil", "readout", "phase_encode"), dtypes=("complex64",))
HDF5 = Layout(
    glob="*.h5",
    format="hdf5",
    arrays=(KSPACE, ArrayLayout(key="extra", ndim=1, required=False)),
    attributes=("patient_id",),
    patient_key=PatientKey(attribute="patient_id"),
    acquisition=ValueSource(attribute="acquisition"),
)
NIFTI = Layout(
    glob="*.nii*",
    format="nifti",
    arrays=(ArrayLayout(ndim=3, axes=("x", "y", "slice"), allowed_values=(0, 1, 2, 3)),),
    patient_key=PatientKey(pattern=r"(?P<value>\d{5})"),
)
NPY = Layout(
    glob="*.npy", format="npy", arrays=(ArrayLayout(ndim=3, axes=("slice", "row", "column"), dtypes=("uint8",)),)
)


def manifest(*layouts, **changes):
    return Manifest(
        name="tiny",
        version="1",
        title="Tiny",
        anatomy="knee",
        homepage=None,
        citation=Citation(text="none"),
        license=None,
        access="open",
        access_steps=(),
        redistribution=None,
        derived_redistribution=None,
        disk=None,
        kspace=KspaceFacts(origin="measured", noise_scan=None, readout_oversampling=None, phase_encode_axis=None),
        layouts=layouts,
        layout_source="test",
        **changes,
    )


def inspect(root, layout, *, deep=False):
    (file,) = find_files(manifest(layout), root)
    facts, findings = inspect_file(root, file, deep=deep)
    assert all(finding.file == file.path for finding in findings)
    assert all(str(root) not in finding.message for finding in findings)
    return facts, [finding.message for finding in findings]


def write_kspace(path, kspace=None, **attributes):
    if kspace is None:
        kspace = np.ones((3, 2, 5, 7), np.complex64)
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        file.attrs.update({"patient_id": "p1", "acquisition": "AXT2"} | attributes)
    return path


def test_a_whole_hdf5_file_gives_its_facts(tmp_path):
    write_kspace(tmp_path / "a.h5")
    facts, messages = inspect(tmp_path, HDF5, deep=True)
    assert messages == []
    assert (facts.n_slices, facts.shape, facts.patient_key, facts.acquisition) == (3, (3, 2, 5, 7), "p1", "AXT2")


def test_a_bytes_attribute_is_text(tmp_path):
    write_kspace(tmp_path / "a.h5", patient_id=np.bytes_(b"0001"))
    assert inspect(tmp_path, HDF5)[0].patient_key == "0001"


@pytest.mark.parametrize(
    ("kspace", "message"),
    [
        (np.ones((3, 5, 7), np.complex64), r"kspace has shape \(3, 5, 7\); expected 4 axes \(slice, coil, readout"),
        (np.ones((3, 2, 5, 7), np.complex128), "dtype complex128; expected complex64"),
        (np.ones((0, 2, 5, 7), np.complex64), "expected no empty axis"),
    ],
)
def test_wrong_structure_says_expected_and_got(tmp_path, kspace, message):
    write_kspace(tmp_path / "a.h5", kspace)
    messages = inspect(tmp_path, HDF5)[1]
    assert len(messages) == 1
    assert re.search(message, messages[0])


def test_a_missing_array_and_a_missing_attribute_are_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = np.zeros(3)
    messages = inspect(tmp_path, HDF5)[1]
    assert messages == [
        "expected the array 'kspace'; got image",
        "expected the attributes patient_id; got none",
        "expected a patient in the attribute 'patient_id'; got none",
    ]


def test_an_empty_patient_is_no_patient(tmp_path):
    write_kspace(tmp_path / "a.h5", patient_id=" ")
    assert inspect(tmp_path, HDF5)[1] == ["expected a patient in the attribute 'patient_id'; got none"]


def test_only_a_deep_look_reads_values(tmp_path):
    kspace = np.ones((3, 2, 5, 7), np.complex64)
    kspace[1, 0, 2, 3] = np.nan
    kspace[2] = 0
    write_kspace(tmp_path / "a.h5", kspace)
    assert inspect(tmp_path, HDF5)[1] == []
    assert inspect(tmp_path, HDF5, deep=True)[1] == [
        "kspace has values that are not finite in slice 1",
        "kspace is all zero in 1 slices, the first of them 2",
    ]


def test_a_truncated_hdf5_file_cannot_be_read(tmp_path):
    path = write_kspace(tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:-100])
    (message,) = inspect(tmp_path, HDF5)[1]
    assert message.startswith("cannot be read as hdf5")
    assert "truncated" in message


def test_a_web_page_in_place_of_a_file_cannot_be_read(tmp_path):
    for name, layout in (("a.h5", HDF5), ("00001.nii.gz", NIFTI), ("a.npy", NPY)):
        (tmp_path / name).write_text("<html>Your link has expired</html>")
        assert inspect(tmp_path, layout)[1][0].startswith("cannot be read as")
        (tmp_path / name).unlink()


def write_nifti(path, values=None):
    if values is None:
        values = np.arange(5 * 6 * 7).reshape(5, 6, 7) % 4
    nibabel.save(nibabel.Nifti1Image(values.astype(np.uint8), np.eye(4)), path)
    return path


@pytest.mark.parametrize("name", ["00001.nii", "00001.nii.gz"])
def test_a_whole_nifti_file_gives_its_facts(tmp_path, name):
    write_nifti(tmp_path / name)
    facts, messages = inspect(tmp_path, NIFTI, deep=True)
    assert messages == []
    assert (facts.n_slices, facts.shape, facts.patient_key) == (7, (5, 6, 7), "00001")


def test_a_truncated_nifti_file_is_found_although_its_header_is_whole(tmp_path):
    image_only = NIFTI.model_copy(update={"arrays": (ArrayLayout(ndim=3),)})
    noise = np.random.default_rng(0).integers(0, 255, (20, 20, 20))
    path = write_nifti(tmp_path / "00001.nii", noise)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert "truncated" in inspect(tmp_path, image_only)[1][0]
    path.unlink()
    packed = gzip.compress(whole)
    path = tmp_path / "00001.nii.gz"
    path.write_bytes(packed)
    assert inspect(tmp_path, image_only)[1] == []
    path.write_bytes(packed[: len(packed) // 2])
    assert inspect(tmp_path, image_only)[1][0].startswith("cannot be read as nifti")
    path.write_bytes(gzip.compress(whole[:-1]))
    assert "truncated" in inspect(tmp_path, image_only)[1][0]


def test_a_header_of_noise_is_a_finding_whatever_the_library_raises(tmp_path):
    path = write_nifti(tmp_path / "00001.nii")
    whole = bytearray(path.read_bytes())
    whole[70:72] = (9999).to_bytes(2, "little")  # the data type: nibabel raises an error of its own
    path.write_bytes(whole)
    assert inspect(tmp_path, NIFTI)[1][0].startswith("cannot be read as nifti")
    path = tmp_path / "a.npy"
    np.save(path, np.ones((3, 4, 5), np.uint8))
    path.write_bytes(path.read_bytes().replace(b"}", b"\n"))  # a dictionary without end: numpy passes on a TokenError
    assert inspect(tmp_path, NPY)[1][0].startswith("cannot be read as npy")


def test_labels_of_another_release_are_refused_even_without_deep(tmp_path):
    values = np.zeros((5, 6, 7))
    values[2, 3, 4] = 4
    write_nifti(tmp_path / "00001.nii.gz", values)
    (message,) = inspect(tmp_path, NIFTI)[1]
    assert message == "the array has the labels [4]; expected only [0, 1, 2, 3]: another release?"


def test_a_healthy_label_image_may_be_all_zero(tmp_path):
    write_nifti(tmp_path / "00001.nii.gz", np.zeros((5, 6, 7)))
    assert inspect(tmp_path, NIFTI, deep=True)[1] == []


def test_npy_is_checked_without_pickle(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((3, 4, 5), np.uint8))
    assert inspect(tmp_path, NPY, deep=True)[0].n_slices == 3
    path.write_bytes(path.read_bytes()[:-1])
    assert inspect(tmp_path, NPY)[1][0].startswith("cannot be read as npy")
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert inspect(tmp_path, NPY)[1][0].startswith("cannot be read as npy")


@pytest.mark.parametrize("byte_order_mark", [b"", b"\xef\xbb\xbf"])
def test_a_table_is_checked_for_header_and_rows(tmp_path, byte_order_mark):
    (tmp_path / "a.csv").write_bytes(byte_order_mark + b"file,label\na,1\n")
    layout = Layout(glob="*.csv", format="csv", columns=("file", "label"), n_rows=1)
    assert inspect(tmp_path, layout)[1] == []
    assert inspect(tmp_path, layout.model_copy(update={"n_rows": 2}))[1] == ["expected 2 rows; got 1"]
    other = layout.model_copy(update={"columns": ("file", "slice")})
    assert inspect(tmp_path, other)[1] == ["expected the header file,slice; got 'file,label'"]
    headless = layout.model_copy(update={"columns": None, "n_rows": 2})
    assert inspect(tmp_path, headless)[1] == []


def test_a_table_that_is_none_cannot_be_read(tmp_path):
    (tmp_path / "a.csv").write_text("file,label\n" + "x" * 200_000 + ",1\n")
    assert "field limit" in inspect(tmp_path, Layout(glob="*.csv", format="csv"))[1][0]


def test_a_dangling_link_is_found(tmp_path):
    (tmp_path / "a.h5").symlink_to(tmp_path / "annex" / "object")
    assert inspect(tmp_path, HDF5)[1][0].startswith("cannot be read as hdf5")


def test_a_root_that_lacks_files_says_what_was_expected(tmp_path):
    with pytest.raises(DataError, match=r"no file of tiny below the root; expected \*\.h5, \*\.npy; got 0 files"):
        find_files(manifest(HDF5, NPY), tmp_path)


def test_a_file_that_two_layouts_claim_is_an_error(tmp_path):
    write_kspace(tmp_path / "a.h5")
    with pytest.raises(DataError, match="expected one layout"):
        find_files(manifest(HDF5, HDF5.model_copy(update={"glob": "a*"})), tmp_path)
