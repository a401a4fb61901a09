"""What a file is, which files of a folder are inputs, and what they are called."""

import gzip

import h5py
import nibabel
import numpy as np
import pytest
from PIL import Image

from mrisim import formats
from mrisim.errors import ConfigError, DataError
from mrisim.formats.bart import write_cfl


def make_nifti(path, version=nibabel.Nifti1Image):
    nibabel.save(version(np.random.default_rng(0).random((6, 5, 4), np.float32), np.eye(4)), path)
    return path


def make_png(path):
    Image.fromarray(np.arange(30, dtype=np.uint8).reshape(6, 5)).save(path)
    return path


def test_content_decides_not_the_name(tmp_path, fastmri_file):
    fastmri_file(tmp_path / "x.h5")
    (tmp_path / "x.h5").rename(tmp_path / "scan.nii.gz")
    assert formats.detect(tmp_path / "scan.nii.gz") == "fastmri"
    make_nifti(tmp_path / "y.nii.gz").rename(tmp_path / "image.dcm")
    assert formats.detect(tmp_path / "image.dcm") == "nifti"
    assert formats.detect(make_nifti(tmp_path / "z.nii", nibabel.Nifti2Image)) == "nifti"
    make_png(tmp_path / "p.png").rename(tmp_path / "noending")
    assert formats.detect(str(tmp_path / "noending")) == "png"
    assert formats.read(tmp_path / "noending").kspace.shape == (1, 8, 6, 5)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.h5", None, r"^a.h5 does not exist; expected fastMRI"),
        ("a.h5", b"", r"^a.h5 is empty \(0 bytes\); expected fastMRI"),
        ("a.h5", bytes(4096), r"^a.h5 starts with the bytes 00 00 00 00; expected fastMRI"),
        ("a.nii.gz", b"\x1f\x8b\x08", r"^a.nii.gz cannot be read .*; expected a complete gzip file"),
        ("a.nii.gz", gzip.compress(b"hello", mtime=0), r"^a.nii.gz starts with the bytes 68 65 6c 6c"),
        ("a.nii.gz", gzip.compress(b"", mtime=0), r"^a.nii.gz is empty"),
        ("a.cfl", b"12345678", r"^a.cfl has no a.hdr of BART beside it"),
        ("a.png", b"\x89PNG\r\n\x1a\n", r"^a.png cannot be read .*; expected a complete PNG file"),
    ],
)
def test_what_is_no_scan(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        formats.read(path)
    assert str(tmp_path) not in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 4


def test_hdf5_of_another_kind(tmp_path):
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file["model"], file["epoch"] = np.ones(3), 4
    with pytest.raises(DataError, match=r"^weights.h5 is HDF5 with epoch, model; expected `kspace` \(fastMRI\) or"):
        formats.read(path)


def test_folder_without_dicom(tmp_path):
    with pytest.raises(DataError, match="is a folder without DICOM files"):
        formats.detect(tmp_path)


def test_inputs_of_a_folder(tmp_path, fastmri_file):
    root = tmp_path / "data"
    (root / "b" / ".cache").mkdir(parents=True)
    fastmri_file(root / "b" / "file1.h5")
    fastmri_file(root / "a.v2.h5")
    make_nifti(root / "sub-01_T1w.nii.gz")
    write_cfl(root / "pair", np.ones((3, 4), np.complex64))
    make_png(root / "b" / "unnamed.png").rename(root / "b" / "unnamed")
    (root / "broken.h5").write_bytes(b"")
    for name in ("README.md", "labels.csv", ".hidden.h5", "out.h5.part", "b/.cache/x.h5"):
        (root / name).write_bytes(b"text")
    found = formats.input_files(root)
    names = ["a.v2.h5", "b/file1.h5", "b/unnamed", "broken.h5", "pair.cfl", "sub-01_T1w.nii.gz"]
    assert [path.relative_to(root).as_posix() for path in found] == names
    ids = ["a.v2", "b/file1", "b/unnamed", "broken", "pair", "sub-01_T1w"]
    assert [formats.item_id(path, root) for path in found] == ids
    assert formats.input_files(found[1]) == [found[1]] and formats.item_id(found[1], found[1]) == "file1"


def test_the_pictures_of_an_earlier_run_are_no_inputs(tmp_path, fastmri_file):
    make_png(tmp_path / "scan_preview.png")
    assert [path.name for path in formats.input_files(tmp_path)] == ["scan_preview.png"]  # somebody's own
    fastmri_file(tmp_path / "scan.h5")
    (tmp_path / "scan.json").write_text("{}")
    assert [path.name for path in formats.input_files(tmp_path)] == ["scan.h5"]
    assert formats.input_files(tmp_path / "scan_preview.png")  # where it is named itself
    image = tmp_path / "scan_reconstruction_l1-wavelet.cfl"
    write_cfl(image, np.ones((8, 8)))
    assert [path.name for path in formats.input_files(tmp_path)] == ["scan.h5"]
    (tmp_path / "scan.json").unlink()
    names = ["scan.h5", "scan_preview.png", "scan_reconstruction_l1-wavelet.cfl"]
    assert [path.name for path in formats.input_files(tmp_path)] == names


def test_no_input(tmp_path):
    with pytest.raises(DataError, match="is a folder without any input"):
        formats.input_files(tmp_path)
    with pytest.raises(DataError, match=r"^nothing.h5 does not exist"):
        formats.input_files(tmp_path / "nothing.h5")


def test_selection_of_slices():
    assert formats.selected(5, None) == [0, 1, 2, 3, 4] and formats.selected(5, slice(1, 3)) == [1, 2]
    assert formats.selected(5, slice(-2, None)) == [3, 4] and formats.selected(5, [4, 0]) == [4, 0]
    for wrong in (slice(5, 9), [], [5], [-1]):
        with pytest.raises(ConfigError, match="expected some of the slices 0 to 4"):
            formats.selected(5, wrong)


def test_conversion_by_the_ending_of_the_target(tmp_path, fastmri_file):
    source = tmp_path / "in.h5"
    fastmri_file(source)
    scan = formats.read(source)
    for name, layout in {"a.cfl": "bart", "a.mrd": "ismrmrd", "a.h5": "fastmri", "a.nii.gz": "nifti"}.items():
        done, *notes = formats.convert(source, tmp_path / name)
        assert layout in done and any("BART files hold samples alone" in note for note in notes) == (layout == "bart")
        assert formats.detect(tmp_path / name) == layout
        if layout != "nifti":
            again = formats.read(tmp_path / name)
            assert np.array_equal(again.kspace, scan.kspace) and np.array_equal(again.sampled, scan.sampled)
    with pytest.raises(ConfigError, match=r"a.xyz ends with '.xyz'; expected one of .h5, .mrd"):
        formats.convert(source, tmp_path / "a.xyz")
    with pytest.raises(ConfigError, match="layout is 'mrd'; expected one of fastmri"):
        formats.write(tmp_path / "b", scan, np.ones((3, 4, 4)), layout="mrd")
    with pytest.raises(DataError, match=r"reconstruction has shape \(2, 4, 4\); expected \(3, rows, columns\)"):
        formats.write(tmp_path / "b", scan, np.ones((2, 4, 4)))
