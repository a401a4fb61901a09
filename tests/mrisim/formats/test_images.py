"""NIfTI, DICOM and PNG: real images (Colin27, ODIN's brain slice) and one broken file of every kind."""

import base64
import datetime
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import MRImageStorage, generate_uid

from mrisim import formats
from mrisim.coils import simulated_csm
from mrisim.errors import ConfigError, DataError
from mrisim.formats import bids, images
from mrisim.fourier import centred_fft, centred_ifft, resize_centred
from mrisim.quality import nrmse, rss
from mrisim.scan import coil_images

TEMPLATES = Path("/usr/share/mricron/templates")
ODIN = Path("/usr/share/odin/samples/brain_128x128.smp")


def template(name):
    if not (TEMPLATES / name).exists():
        pytest.skip("the Debian package mricron-data is not installed")
    return TEMPLATES / name


def blob(shape, seed=0):
    """Return a noisy ellipsoid: positive, no two neighbours alike."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = sum(axis**2 for axis in axes) < 0.7
    return (200 * inside + 20 * np.random.default_rng(seed).random(shape)).astype(np.float32)


# ---------------------------------------------------------------- the model


def test_colin27_root_sum_of_squares_is_the_image(tmp_path):
    path = template("ch2.nii.gz")
    scan = formats.read(path, slices=[60, 95])
    volume = nibabel.load(path).get_fdata()[:, :, [60, 95]].transpose(2, 0, 1)
    assert scan.kspace.shape == (2, 8, 181, 217) and scan.kspace.dtype == np.complex64
    assert nrmse(rss(coil_images(scan)), volume) < 1e-6
    known = scan.acquisition
    assert known.kspace_origin == "synthesised-from-magnitude" and known.fov_mm == (181, 217)
    assert {"phase_encode_axis", "repetition_time_ms"} <= set(known.assumed) and "fov_mm" not in known.assumed
    assert len(known.notes) == 1 and "8 coil maps are synthesised" in known.notes[0]
    assert np.array_equal(scan.csm[1], simulated_csm((181, 217), (181, 217)))
    # One object in the maps: y = F S x, with the shading in S.
    image = (scan.csm.conj() * coil_images(scan)).sum(1) / (np.abs(scan.csm) ** 2).sum(1)
    np.testing.assert_allclose(centred_fft(scan.csm * image[:, None]), scan.kspace, atol=2e-3)
    out = formats.write(tmp_path / "out.nii.gz", scan, rss(coil_images(scan)), source=path)
    assert nibabel.load(out).shape == (181, 217, 181)  # slices 60 and 95 leave gaps: the grid stays


def test_odin_slice():
    if not ODIN.exists():
        pytest.skip("the Debian package odin is not installed")
    density, t2_ms = odin_map("spinDensity"), odin_map("T2map")
    signal = np.where(t2_ms > 0, density * np.exp(-80 / np.maximum(t2_ms, 1e-3)), 0)
    scan = images.synthesise(
        signal[None].astype(np.float32), {"fov_mm": (200.0, 200.0)}, seed=3, item="odin", slice_ids=[0], n_slices=1
    )
    assert scan.kspace.shape == (1, 8, 128, 128) and nrmse(rss(coil_images(scan))[0], signal) < 1e-6
    assert formats.corrupt_slices(scan) == ()


def odin_map(name):
    """Read one map of ODIN's virtual sample: JCAMP-DX with base64 float32, column by column."""
    text = ODIN.read_text("ascii")
    block = text[text.index(f"##${name}=(") :].split("\n", 2)[2].split("##", 1)[0]
    return np.frombuffer(base64.b64decode(block), "<f4").reshape(128, 128)


def test_phase_is_that_of_seed_item_and_slice(tmp_path):
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(blob((20, 17, 6)), np.eye(4)), path)
    whole = formats.read(path, seed=4)
    assert formats.read(path, seed=4).kspace.tobytes() == whole.kspace.tobytes()
    assert np.array_equal(formats.read(path, slices=[4], seed=4).kspace[0], whole.kspace[4])
    moved = tmp_path / "elsewhere" / "a.nii.gz"
    moved.parent.mkdir()
    moved.write_bytes(path.read_bytes())
    assert formats.read(moved, seed=4).kspace.tobytes() == whole.kspace.tobytes()
    for other in (formats.read(path, seed=5), formats.read(path, seed=4, item="b")):
        ratio = coil_images(other)[:, 0] / coil_images(whole)[:, 0]
        assert np.median(np.abs(ratio)) == pytest.approx(1, rel=1e-5) and np.ptp(np.angle(ratio)) > 0.5


def test_interpolated_source_is_noticed():
    path = template("ch2.nii.gz")
    plane = nibabel.load(path).get_fdata()[:, :, 60]
    assert images._empty_outer_notes(plane[None]) == []
    phase = np.exp(1j * np.linspace(0, 3, plane.shape[0]))[:, None]
    for factor in (1.33, 1.5, 2):
        larger = tuple(int(n * factor) for n in plane.shape)
        filled = factor * np.abs(centred_ifft(resize_centred(centred_fft(plane * phase), larger)))
        for image in (filled, np.round(filled)):
            assert "empty along readout and phase_encode" in images._empty_outer_notes(image[None])[0]


@pytest.mark.parametrize("shape", [(8, 9), (9, 8), (7, 7), (6, 8)])
def test_conjugate_symmetry(shape):
    rng = np.random.default_rng(0)
    image = rng.random((2, *shape))
    assert images.is_conjugate_symmetric(centred_fft(image.astype(complex)))
    assert not images.is_conjugate_symmetric(centred_fft(image * np.exp(0.5j * rng.random(shape))))
    for coil in range(2):  # one that is not is enough, whichever it is, unless it is rounding
        kspace = centred_fft(image.astype(complex))
        kspace[coil, 1, 2] += 1e-3j * np.linalg.norm(kspace)
        assert not images.is_conjugate_symmetric(kspace)
        kspace[coil, 1, 2] += (-1e-3j + 1e-9j) * np.linalg.norm(kspace)
        assert images.is_conjugate_symmetric(kspace)


# ---------------------------------------------------------------- NIfTI


def save_nifti(path, data, affine=None, header=None):
    nibabel.save(nibabel.Nifti1Image(data, np.diag([0.9, 1.1, 3.0, 1]) if affine is None else affine, header), path)
    return path


def test_nifti_axes_and_what_comes_back(tmp_path):
    volume = blob((20, 17, 6))
    affine = np.array([[0.0, -1.1, 0, 5], [0.9, 0, 0, -7], [0, 0.0, 3, 11], [0, 0, 0, 1]])
    source = nibabel.Nifti1Image(volume, affine)
    source.set_sform(affine, 4)
    source.set_qform(affine, 1)
    path = tmp_path / "sub-01_ses-2_T2w.nii"
    nibabel.save(source, path)
    scan = formats.read(path)
    assert scan.kspace.shape == (6, 8, 20, 17) and scan.acquisition.slice_thickness_mm == 3
    assert scan.acquisition.fov_mm == pytest.approx((18, 18.7))
    assert (scan.acquisition.patient_id, scan.acquisition.contrast) == ("sub-01", "T2w")
    out = formats.write(tmp_path / "out.nii.gz", scan, rss(coil_images(scan)), source=path, description="motion 3")
    again = nibabel.load(out)
    np.testing.assert_allclose(again.get_fdata(), volume, rtol=1e-5, atol=1e-4)
    assert np.array_equal(again.affine, source.affine) and again.get_data_dtype() == np.float32
    assert (int(again.header["sform_code"]), int(again.header["qform_code"])) == (4, 1)
    assert bytes(again.header["descrip"]).rstrip(b"\0") == b"motion 3"
    part = scan.select([2, 3, 4])
    out = formats.write(tmp_path / "part.nii.gz", part, rss(coil_images(part)), source=path)
    again = nibabel.load(out)
    assert again.shape == (20, 17, 3)
    np.testing.assert_allclose(again.affine @ [2, 3, 1, 1], affine @ [2, 3, 3, 1], atol=1e-5)
    np.testing.assert_allclose(again.get_fdata(), volume[:, :, 2:5], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("said_by", ["sidecar", "header", "both"])
def test_nifti_whose_phase_encode_axis_is_the_first_is_turned_and_turned_back(tmp_path, said_by):
    volume, path = blob((20, 17, 6)), tmp_path / "sub-01_T2w.nii.gz"
    source = nibabel.Nifti1Image(volume, np.diag([0.9, 1.1, 3.0, 1]))
    if said_by != "sidecar":
        source.header.set_dim_info(freq=1, phase=0, slice=2) if said_by == "header" else source.header.set_dim_info(
            0, 1, 2
        )
    nibabel.save(source, path)
    if said_by != "header":  # what is said beside the file counts for more than what is said in it
        (tmp_path / "sub-01_T2w.json").write_text('{"PhaseEncodingDirection": "i-"}')
    scan = formats.read(path)
    assert scan.kspace.shape == (6, 8, 17, 20)
    assert scan.acquisition.fov_mm == pytest.approx((18.7, 18))
    assert "phase_encode_axis" not in scan.acquisition.assumed
    images = rss(coil_images(scan))
    np.testing.assert_allclose(images, volume.transpose(2, 1, 0), rtol=1e-5, atol=1e-4)
    out = formats.write(tmp_path / "out.nii.gz", scan, images, source=path)
    np.testing.assert_allclose(nibabel.load(out).get_fdata(), volume, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("direction", "assumed"), [("j", False), ("k", True), ("AP", True), (None, True), (1, True)])
def test_nifti_keeps_its_axes_for_every_other_direction(tmp_path, direction, assumed):
    path = save_nifti(tmp_path / "a.nii", blob((9, 8, 3)))
    (tmp_path / "a.json").write_text(json.dumps({"PhaseEncodingDirection": direction}))
    scan = formats.read(path)
    assert scan.kspace.shape == (3, 8, 9, 8)
    assert ("phase_encode_axis" in scan.acquisition.assumed) == assumed


def test_timing_of_the_json_beside_a_nifti(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", blob((10, 8, 3)))
    stated = {"RepetitionTime": 2.3, "EchoTime": 0.03, "MagneticFieldStrength": 1.5, "EchoTrainLength": 12}
    (tmp_path / "a.json").write_text(json.dumps(stated | {"PixelBandwidth": 200, "InversionTime": 0.9}))
    acquisition = formats.read(path).acquisition
    assert (acquisition.repetition_time_ms, acquisition.echo_time_ms) == pytest.approx((2300, 30))
    assert (acquisition.field_strength_t, acquisition.echo_train_length) == (1.5, 12)
    assert acquisition.dwell_time_us == pytest.approx(1e6 / (200 * 10))
    assert acquisition.assumed == ("phase_encode_axis", "echo_spacing_ms")
    (tmp_path / "a.json").write_text(json.dumps({"RepetitionTime": "2.3", "EchoTime": -1, "EchoTrainLength": True}))
    assert {"repetition_time_ms", "echo_time_ms", "echo_train_length"} <= set(formats.read(path).acquisition.assumed)


@pytest.mark.parametrize("text", ["{", "[1, 2]", "3"])
def test_a_json_beside_a_nifti_that_is_none(tmp_path, text):
    path = save_nifti(tmp_path / "a.nii.gz", blob((9, 8, 3)))
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"^a.json cannot be read .*; expected a JSON object"):
        formats.read(path)


def test_nifti_of_four_dimensions_with_one_volume_and_of_two(tmp_path):
    scan = formats.read(save_nifti(tmp_path / "a.nii", blob((9, 8, 3))[..., None]))
    assert scan.kspace.shape == (3, 8, 9, 8)
    flat = save_nifti(tmp_path / "b.nii", blob((9, 8)))
    scan = formats.read(flat)
    assert scan.kspace.shape == (1, 8, 9, 8)
    out = formats.write(tmp_path / "out.nii.gz", scan, rss(coil_images(scan)), source=flat)
    assert nibabel.load(out).get_fdata().squeeze().shape == (9, 8)


def test_nifti_bytes_do_not_depend_on_the_time(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", blob((9, 8, 3)))
    scan = formats.read(path)
    files = [formats.write(tmp_path / f"{i}.nii.gz", scan, rss(coil_images(scan)), source=path) for i in (0, 1)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_nan_slice_is_named(tmp_path):
    volume = blob((9, 8, 4))
    volume[2, 3, 1], volume[0, 0, 2] = np.nan, np.inf
    scan = formats.read(save_nifti(tmp_path / "a.nii", volume))
    assert formats.corrupt_slices(scan) == (1, 2)
    good = scan.select([0, 3])
    out = formats.write(tmp_path / "o.nii.gz", good, rss(coil_images(good)), source=tmp_path / "a.nii")
    back = nibabel.load(out).get_fdata()
    assert not back[:, :, 1:3].any() and back[:, :, 3].any()


def test_empty_slices_of_an_image_are_no_corruption(tmp_path):
    volume = blob((9, 8, 4))
    volume[:, :, 3] = 0
    assert formats.corrupt_slices(formats.read(save_nifti(tmp_path / "a.nii", volume))) == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.ones((4, 5, 6, 2), np.float32), r"has shape \(4, 5, 6, 2\); expected one volume"),
        (np.ones((4, 5, 6), np.complex64), r"holds complex values"),
        (np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")]), r"holds colour values"),
        (blob((4, 5, 6)) - 100, r"has negative values down to -100|has negative values down to -99"),
        (np.zeros((4, 5, 6), np.float32), r"holds only zeros"),
        (np.full((4, 5, 6), np.nan, np.float32), r"in all 6 slices"),
        (np.kron(np.arange(1, 9).reshape(2, 2, 2), np.ones((6, 6, 6))).astype(np.float32), r"is a label map"),
    ],
)
def test_nifti_that_is_no_magnitude_volume(tmp_path, data, message):
    with pytest.raises(DataError, match=rf"^bad.nii.gz .*({message})") as caught:
        formats.read(save_nifti(tmp_path / "bad.nii.gz", data))
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["aal", "brodmann", "AICHAmc", "JHU-WhiteMatter-labels-2mm", "natbrainlab", "inia19-NeuroMaps"]
)
def test_atlases_are_label_maps(name):
    with pytest.raises(DataError, match="is a label map"):
        formats.read(template(f"{name}.nii.gz"))


@pytest.mark.parametrize("name", ["ch2bet", "inia19-t1-brain"])
def test_skull_stripped_images_are_not(name):
    assert formats.read(template(f"{name}.nii.gz"), slices=[70]).n_slices == 1


def test_label_intent_is_enough(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_intent("label")
    with pytest.raises(DataError, match="is a label map"):
        formats.read(save_nifti(tmp_path / "a.nii", blob((5, 6, 7)), np.eye(4), header))


@pytest.mark.parametrize("n_bytes", [20, 300, 4000])
def test_truncated_nifti(tmp_path, n_bytes):
    path = save_nifti(tmp_path / "short.nii.gz", blob((20, 17, 6)))
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(
        DataError, match=r"^short.nii.gz cannot be read .*; expected a (complete )?(gzip|NIfTI) file"
    ) as caught:
        formats.read(path)
    assert str(tmp_path) not in str(caught.value)


def test_derivative_names():
    assert bids.derivative_name("sub-01_T1w", "motionL3seed7") == "sub-01_desc-motionL3seed7_T1w.nii.gz"
    assert bids.derivative_name("sub-01_ses-2_desc-preproc_T1w", "a") == "sub-01_ses-2_desc-preproca_T1w.nii.gz"
    assert bids.derivative_name("brain_t1", "a") == "brain_t1_desc-a.nii.gz"
    with pytest.raises(ConfigError, match=r"description is 'motion-3'; expected letters and digits only"):
        bids.derivative_name("sub-01_T1w", "motion-3")


def test_derivative_metadata_has_what_bids_requires():
    described = bids.dataset_description()
    assert described["DatasetType"] == "derivative" and described["GeneratedBy"][0]["Name"] == "mrisim"
    given = {"Input": {"FileName": "sub-01/anat/sub-01_T1w.nii.gz", "Assumed": []}}
    sidecar = bids.as_derivative(given, {"PhaseEncodingDirection": "i-", "Manufacturer": "X"})
    assert sidecar["PhaseEncodingDirection"] == "i-" and "Manufacturer" not in sidecar
    assert sidecar["Input"]["Assumed"] == ["skull_stripped"]
    assert sidecar["SkullStripped"] is False and sidecar["Sources"] == ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]


# ---------------------------------------------------------------- DICOM


SERIES, STUDY = generate_uid(entropy_srcs=["series"]), generate_uid(entropy_srcs=["study"])


def save_dicom(path, plane, number=1, **changes):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data = pydicom.Dataset()
    data.file_meta = meta
    values = {
        "SOPClassUID": MRImageStorage, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "SeriesInstanceUID": SERIES, "StudyInstanceUID": STUDY, "Modality": "MR", "PatientName": "Doe^Jane",
        "PatientID": "12345", "StudyDate": datetime.date(2020, 2, 3), "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "Rows": plane.shape[0], "Columns": plane.shape[1], "PixelSpacing": [0.5, 0.75], "SliceThickness": 4,
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 12,
        "HighBit": 11, "PixelRepresentation": 0, "RepetitionTime": 3000, "EchoTime": 90, "EchoTrainLength": 15,
        "MagneticFieldStrength": 1.5, "PixelBandwidth": 200, "InPlanePhaseEncodingDirection": "ROW",
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 4 * number],
        "InstanceNumber": number, "WindowCenter": 100, "WindowWidth": 200,
    }  # fmt: skip
    for name, value in (values | changes).items():
        if value is not None:
            setattr(data, name, value)
    data.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(0x10, "LO", "Jane Doe")
    data.PixelData = plane.astype("<u2").tobytes()
    data.save_as(path, enforce_file_format=True)
    return path


def plane_of(seed=0):
    return np.round(blob((14, 11), seed))


def test_dicom_geometry_and_timing(tmp_path):
    plane = plane_of()
    scan = formats.read(save_dicom(tmp_path / "IM1", plane, RescaleSlope=2, RescaleIntercept=3))
    np.testing.assert_allclose(rss(coil_images(scan))[0], 2 * plane + 3, rtol=1e-5)
    known = scan.acquisition
    assert known.fov_mm == (7.0, 8.25) and known.slice_thickness_mm == 4
    assert (known.repetition_time_ms, known.echo_time_ms, known.echo_train_length) == (3000, 90, 15)
    assert known.field_strength_t == 1.5 and known.dwell_time_us == pytest.approx(1e6 / (200 * 14))
    assert known.assumed == ("echo_spacing_ms",) and known.patient_id == ""
    out = formats.write(tmp_path / "out.dcm", scan, rss(coil_images(scan)), source=tmp_path / "IM1")
    assert np.array_equal(pydicom.dcmread(out).pixel_array, plane)


def test_dicom_phase_encoding_along_the_columns_is_put_last(tmp_path):
    plane = plane_of()
    path = save_dicom(tmp_path / "IM1.dcm", plane, InPlanePhaseEncodingDirection="COL")
    scan = formats.read(path)
    assert scan.matrix == (11, 14) and scan.acquisition.fov_mm == (8.25, 7.0)
    np.testing.assert_allclose(rss(coil_images(scan))[0], plane.T, atol=1e-4)
    out = formats.write(tmp_path / "out.dcm", scan, rss(coil_images(scan)), source=path)
    assert np.array_equal(pydicom.dcmread(out).pixel_array, plane)


def test_series_is_sorted_by_position_and_written_as_one(tmp_path):
    folder = tmp_path / "in" / "series.1"
    folder.mkdir(parents=True)
    planes = [plane_of(i) for i in range(4)]
    for i, place in enumerate((2, 0, 3, 1)):
        save_dicom(folder / f"IM{i}", planes[place], number=place)
    assert formats.input_files(tmp_path / "in") == [folder] and formats.detect(folder) == "dicom"
    assert formats.item_id(folder, tmp_path / "in") == "series.1"
    scan = formats.read(folder)
    np.testing.assert_allclose(rss(coil_images(scan)), planes, atol=1e-4)
    part = scan.select([1, 3])
    out = formats.write(tmp_path / "out", part, rss(coil_images(part)), source=folder, description="motion level 3")
    assert sorted(file.name for file in out.iterdir()) == ["IM00002.dcm", "IM00004.dcm"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in", "out"]
    assert np.array_equal(pydicom.dcmread(out / "IM00004.dcm").pixel_array, planes[3])


def test_derived_dicom_says_so_and_has_new_uids(tmp_path):
    path = save_dicom(tmp_path / "a.dcm", plane_of())
    scan = formats.read(path)
    image = 40 * rss(coil_images(scan))
    outputs = [
        formats.write(tmp_path / name, scan, image, source=path, description="motion level 3, seed 0")
        for name in ("b.dcm", "c.dcm")
    ]
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    before, after = pydicom.dcmread(path), pydicom.dcmread(outputs[0])
    for name in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert after[name].value != before[name].value
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    assert after.StudyInstanceUID == before.StudyInstanceUID
    assert list(after.ImageType) == ["DERIVED", "SECONDARY", "M", "ND"]
    assert after.DerivationDescription == "motion level 3, seed 0"
    assert not [element for element in after if element.tag.is_private]
    assert set(after.dir()) - set(before.dir()) <= {"DerivationDescription", "SeriesDescription"}
    assert (after.WindowCenter, after.WindowWidth) == (100, 200)
    assert after.pixel_array.max() == 4095 and after.pixel_array.dtype == np.uint16  # clipped at BitsStored


@pytest.mark.parametrize("stored, vr", [(">u2", "OW"), ("u1", "OB")])
def test_a_big_endian_dicom_is_written_as_one(tmp_path, stored, vr):
    path = save_dicom(tmp_path / "IM1.dcm", plane_of())
    data = pydicom.Dataset()
    for element in pydicom.dcmread(path):  # an element each: a data set that was read keeps its byte order
        data.add(element)
    plane = np.clip(plane_of(), 0, 200)
    data.file_meta = pydicom.dcmread(path).file_meta
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    data.BitsAllocated = data.BitsStored = 8 * np.dtype(stored).itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelData = plane.astype(stored).tobytes()
    data["PixelData"].VR = vr
    data.save_as(path, enforce_file_format=True)
    scan = formats.read(path)
    out = formats.write(tmp_path / "out.dcm", scan, rss(coil_images(scan)), source=path)
    after = pydicom.dcmread(out)
    assert np.array_equal(after.pixel_array, plane) and after.RepetitionTime == 3000


def test_one_damaged_image_of_a_series_is_a_corrupt_slice(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    for i in range(3):
        save_dicom(folder / f"IM{i}", plane_of(i), number=i)
    damaged = folder / "IM1"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    scan = formats.read(folder)
    assert formats.corrupt_slices(scan) == (1,)
    with pytest.raises(DataError, match=r"^IM1 cannot be read .*expected complete pixels"):
        formats.read(damaged)
    for intact in (folder / "IM0", folder / "IM2"):
        intact.write_bytes(intact.read_bytes()[:-100])
    # one reason for all, as of a compression that nothing here decodes
    with pytest.raises(DataError, match=r"^IM0 cannot be read .*expected complete pixels"):
        formats.read(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Modality": "CT"}, r"has the Modality 'CT'; expected 'MR'"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, r"has the ImageType 'P'; expected a magnitude"),
        ({"NumberOfFrames": 3}, r"has 3 frames; expected one"),
        ({"PhotometricInterpretation": "RGB"}, r"has the PhotometricInterpretation 'RGB'"),
        ({"Rows": None}, r"holds no image"),
        ({"RescaleIntercept": -500}, r"has negative values down to"),
    ],
)
def test_other_dicom_is_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=rf"^IM1.dcm {message}"):
        formats.read(save_dicom(tmp_path / "IM1.dcm", plane_of(), **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"SeriesInstanceUID": generate_uid(entropy_srcs=["x"])},
            r"series holds 2 DICOM series; expected one a folder",
        ),
        ({"ImagePositionPatient": [0, 0, 0]}, r"series holds 2 images at 1 positions; expected one volume"),
        ({"Rows": 7, "Columns": 22}, r"series holds images of the sizes \[\(7, 22\), \(14, 11\)\]"),
    ],
)
def test_folders_that_are_no_volume(tmp_path, changes, message):
    folder = tmp_path / "series"
    folder.mkdir()
    save_dicom(folder / "IM0", plane_of(), number=0)
    save_dicom(folder / "IM1", plane_of(1), **({"number": 1} | changes))
    with pytest.raises(DataError, match=message):
        formats.read(folder)


def test_truncated_dicom(tmp_path):
    path = save_dicom(tmp_path / "IM1.dcm", plane_of())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"^IM1.dcm "):
        formats.read(path)


# ---------------------------------------------------------------- PNG


@pytest.mark.parametrize(("dtype", "factor"), [(np.uint8, 1), (np.uint16, 250)])
def test_png_keeps_depth_and_window(tmp_path, dtype, factor):
    plane = (factor * plane_of()).astype(dtype)
    path = tmp_path / "a.png"
    Image.fromarray(plane).save(path)
    scan = formats.read(path)
    assert scan.kspace.shape == (1, 8, 14, 11) and "fov_mm" in scan.acquisition.assumed
    out = formats.write(tmp_path / "b.png", scan, rss(coil_images(scan)), source=path, description="motion")
    with Image.open(out) as image:
        assert np.array_equal(np.asarray(image), plane) and image.text["Description"] == "motion"
    brighter = 2 * rss(coil_images(scan))
    out = formats.write(tmp_path / "c.png", scan, brighter, source=path)
    with Image.open(out) as image:
        expected = np.minimum(2 * plane.astype(int), np.iinfo(dtype).max)
        assert np.abs(np.asarray(image).astype(int) - expected).max() <= (1 if factor > 1 else 0)


def test_grey_png_in_colour_modes(tmp_path):
    plane = plane_of().astype(np.uint8)
    for mode in ("RGB", "RGBA", "LA", "P"):
        path = tmp_path / f"{mode}.png"
        Image.fromarray(plane).convert(mode).save(path)
        np.testing.assert_allclose(rss(coil_images(formats.read(path)))[0], plane, atol=1e-4)


def test_png_that_is_no_grey_image(tmp_path):
    plane = plane_of().astype(np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(np.stack([plane, plane, 255 - plane], -1)).save(path)
    with pytest.raises(DataError, match=r"^a.png has colours or transparency \(mode RGB\); expected a grey image"):
        formats.read(path)
    Image.merge("LA", [Image.fromarray(plane), Image.fromarray(plane)]).save(path)
    with pytest.raises(DataError, match=r"transparency \(mode LA\)"):
        formats.read(path)
    Image.fromarray(plane > 100).save(path)
    with pytest.raises(DataError, match=r"^a.png has one bit a pixel"):
        formats.read(path)
    Image.fromarray(plane).save(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"^a.png cannot be read .*expected a complete PNG file"):
        formats.read(path)


def test_images_need_a_source_but_for_nifti(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(plane_of().astype(np.uint8)).save(path)
    scan = formats.read(path)
    scan = replace(scan, acquisition=replace(scan.acquisition, fov_mm=(7.0, 22.0)))
    image = rss(coil_images(scan))
    with pytest.raises(DataError, match=r"b.dcm cannot be made from k-space alone"):
        formats.write(tmp_path / "b.dcm", scan, image, layout="dicom")
    out = nibabel.load(formats.write(tmp_path / "b.nii.gz", scan, image, source=path, layout="nifti"))
    assert out.header.get_zooms() == (0.5, 2, 4) and np.array_equal(out.get_fdata()[..., 0], image[0])
    with pytest.raises(DataError, match=r"the image has shape \(5, 5\); expected \(14, 11\) as in a.png"):
        formats.write(tmp_path / "c.png", scan, np.ones((1, 5, 5)), source=path)
