"""ISMRMRD, against its own generator (ismrmrd-tools), its Python package, and files with every kind of readout."""

import shutil
import subprocess
from dataclasses import replace

import h5py
import ismrmrd
import nibabel
import numpy as np
import pytest

from mrisim import formats
from mrisim.errors import DataError
from mrisim.formats.header import header_xml, with_provenance
from mrisim.fourier import centred_ifft, resize_centred
from mrisim.quality import rss
from mrisim.scan import Acquisition, Scan, coil_images

GENERATOR = "ismrmrd_generate_cartesian_shepp_logan"


def generated(path, *arguments):
    if shutil.which(GENERATOR) is None:
        pytest.skip("the Debian package ismrmrd-tools is not installed")
    subprocess.run([GENERATOR, *arguments, "-o", str(path)], check=True, capture_output=True)
    return path


def stored_array(path, name):
    with h5py.File(path) as file:
        data = file[f"dataset/{name}"]
        return data[()].view(np.complex64).reshape(data.shape)


def build(
    path,
    header,
    lines,
    *,
    enc=(12, 9),
    recon=(6, 9),
    channels=3,
    center=4,
    trajectory="cartesian",
    edit=lambda xml: xml,
):
    """Write readouts; `lines` gives (samples (coil, n), {attribute: value})."""
    xml = header.format(channels=channels, enc=enc, recon=recon, maximum=enc[1] - 1, center=center, last_slice=0)
    xml = edit(xml.replace(">cartesian<", f">{trajectory}<"))
    with ismrmrd.Dataset(str(path), "dataset", create_if_needed=True) as dataset:
        dataset.write_xml_header(xml.encode())
        for samples, attributes in lines:
            acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(samples, np.complex64))
            acquisition.center_sample = enc[0] // 2
            acquisition.sample_time_us = 4.0
            for name, value in attributes.items():
                if name == "flag":
                    for flag in np.atleast_1d(value):
                        acquisition.setFlag(int(flag))
                elif hasattr(acquisition.idx, name):
                    setattr(acquisition.idx, name, value)
                else:
                    setattr(acquisition, name, value)
            dataset.append_acquisition(acquisition)
    return path


def lines_of(kspace, **attributes):
    """Return one readout for each line of (coil, readout, phase_encode)."""
    return [(kspace[:, :, j], {"kspace_encode_step_1": j, **attributes}) for j in range(kspace.shape[2])]


@pytest.fixture
def kspace(random_samples):
    return random_samples((3, 12, 9))


# ---------------------------------------------------------------- the generator's files


def test_generated_phantom_comes_back_as_a_complex_image(tmp_path):
    path = generated(tmp_path / "phantom.h5", "-m", "32", "-c", "4", "-O", "2", "-C", "-n", "0.001")
    scan = formats.read(path)
    assert scan.kspace.shape == (1, 4, 64, 32) and scan.sampled.all()
    known = scan.acquisition
    assert (known.readout_oversampling, known.recon_shape, known.fov_mm) == (2, (32, 32), (600, 300))
    assert known.dwell_time_us == 5 and known.field_strength_t == pytest.approx(1.491, abs=1e-3)
    # Complex, not modulus: centring, sign, transposition and scale in one number.
    image = resize_centred(coil_images(scan)[0], (32, 32))
    expected = (stored_array(path, "phantom")[0] * stored_array(path, "csm")[0]).transpose(0, 2, 1)
    # Noise of 0.001 a component on 64 x 32 samples, against the norm of the phantom.
    assert np.linalg.norm(image - expected) < 0.01 * np.linalg.norm(expected)


def test_noise_scan_becomes_the_covariance(tmp_path):
    path = generated(tmp_path / "phantom.h5", "-m", "128", "-c", "4", "-O", "2", "-C", "-n", "0.3")
    scan = formats.read(path)
    with ismrmrd.Dataset(str(path), "dataset", mode="r") as dataset:
        first = dataset.read_acquisition(0)
    assert first.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    noise = first.data.astype(complex)
    np.testing.assert_allclose(scan.noise_covariance, noise @ noise.conj().T / noise.shape[1], rtol=1e-12)
    # The oversampled margin of the image holds nothing but noise: the same Psi, to the error of a variance.
    margin = coil_images(scan)[0][:, :60].reshape(4, -1)
    measured = (np.abs(margin) ** 2).mean(axis=1)
    deviation = np.sqrt(1 / noise.shape[1] + 1 / margin.shape[1])
    assert (np.abs(scan.noise_covariance.diagonal().real / measured - 1) < 5 * deviation).all()


def test_accelerated_file_keeps_its_gaps_and_its_calibration_lines(tmp_path):
    path = generated(tmp_path / "phantom.h5", "-m", "24", "-c", "3", "-a", "2", "-w", "8")
    scan = formats.read(path)
    assert scan.sampled_lines.tolist() == sorted({*range(0, 24, 2), *range(8, 16)})
    assert any("of 2 repetitions only the first is read" in note for note in scan.acquisition.notes)
    assert not scan.kspace[..., 1].any()


def test_every_line_lies_where_the_package_says(tmp_path):
    path = generated(tmp_path / "phantom.h5", "-m", "16", "-c", "2", "-O", "2")
    scan = formats.read(path)
    with ismrmrd.Dataset(str(path), "dataset", mode="r") as dataset:
        for i in range(dataset.number_of_acquisitions()):
            acquisition = dataset.read_acquisition(i)
            line = scan.kspace[0, :, :, acquisition.idx.kspace_encode_step_1]
            assert np.array_equal(line, acquisition.data)


def test_what_did_not_change_is_copied(tmp_path):
    path = generated(tmp_path / "phantom.h5", "-m", "16", "-c", "2", "-C", "-k", "-r", "2")
    scan = formats.read(path)
    changed = scan.kspace.copy()
    changed[..., 5] *= 2
    image = rss(coil_images(scan))
    out = formats.write(tmp_path / "out.h5", replace(scan, kspace=changed), image, source=path, description="spikes")
    with h5py.File(path) as before, h5py.File(out) as after:
        assert set(after["dataset"]) == {*before["dataset"], "reconstruction_rss_corrupted"}
        assert after["dataset/xml"][0] == before["dataset/xml"][0]
        old, new = before["dataset/data"][()], after["dataset/data"][()]
    assert old["head"].tobytes() == new["head"].tobytes()
    touched = [i for i in range(old.size) if not np.array_equal(old["data"][i], new["data"][i])]
    assert [old["head"]["idx"]["kspace_encode_step_1"][i] for i in touched] == [5]
    assert all(np.array_equal(a, b) for a, b in zip(old["traj"], new["traj"], strict=True))
    assert np.array_equal(formats.read(out).kspace, changed)
    with ismrmrd.Dataset(str(out), "dataset", mode="r") as dataset:
        assert np.array_equal(dataset.read_image("reconstruction_rss_corrupted", 0).data.squeeze(), image[0])


# ---------------------------------------------------------------- readouts of every kind


def test_readouts_that_make_no_image_are_left_out(tmp_path, fastmri_header, kspace):
    junk = np.full((3, 12), 7, np.complex64)
    extra = [(junk, {"flag": flag, "kspace_encode_step_1": 2}) for flag in (23, 24, 26, 27, 28, 29, 30)]
    noise = [(np.ones((3, 12)) * [[1], [2], [3]], {"flag": 19, "sample_time_us": 2.0})]
    path = build(tmp_path / "a.h5", fastmri_header, [*noise, *extra, *lines_of(kspace)])
    scan = formats.read(path)
    assert np.array_equal(scan.kspace[0], kspace)
    notes = " | ".join(scan.acquisition.notes)
    for label in ("1 navigator", "1 phase-correction", "1 dummy", "1 surface-coil", "1 phase-stabilisation"):
        assert label in notes
    # Psi / ((T_image / T_noise) r), with the header's r = 0.793
    weights = np.array([1, 2, 3])
    np.testing.assert_allclose(scan.noise_covariance, np.outer(weights, weights) * (2 / 4) / 0.793, rtol=1e-6)


def test_asymmetric_echo_and_discarded_samples(tmp_path, fastmri_header, kspace):
    # Samples 3 to 11 of the encoded 12, two of them to be discarded in front and one behind; DC is number 6 = 3 + 3.
    lines = [
        (part[:, 3:], {**attributes, "center_sample": 3, "discard_pre": 2, "discard_post": 1})
        for part, attributes in lines_of(kspace)
    ]
    scan = formats.read(build(tmp_path / "a.h5", fastmri_header, lines))
    assert np.array_equal(scan.kspace[0, :, 5:11], kspace[:, 5:11])
    assert not scan.kspace[0, :, :5].any() and not scan.kspace[0, :, 11:].any()
    assert scan.sampled.all(axis=1).tolist() == [5 <= i < 11 for i in range(12)]
    doubled = replace(scan, kspace=2 * scan.kspace)
    out = formats.write(tmp_path / "out.h5", doubled, np.ones((1, 6, 9)), source=tmp_path / "a.h5")
    assert np.array_equal(formats.read(out).kspace, doubled.kspace)
    with ismrmrd.Dataset(str(out), "dataset", mode="r") as dataset:
        stored = dataset.read_acquisition(4).data
    assert np.array_equal(stored[:, :2], kspace[:, 3:5, 4]) and np.array_equal(stored[:, 2:8], 2 * kspace[:, 5:11, 4])


def test_averages_are_averaged_and_kept_where_unchanged(tmp_path, fastmri_header, kspace, random_samples):
    second = random_samples((3, 12, 9), seed=5)
    noise = [(np.eye(3, 12), {"flag": 19})]
    lines = [*lines_of(kspace, average=0), *lines_of(second, average=1), *noise]
    path = build(tmp_path / "a.h5", fastmri_header, lines)
    scan = formats.read(path)
    np.testing.assert_allclose(scan.kspace[0], (kspace + second) / 2, rtol=1e-6)
    np.testing.assert_allclose(scan.noise_covariance, np.eye(3) / 12 / 0.793 / 2, rtol=1e-6)  # that of the mean of two
    assert any("averages of a line are averaged" in note for note in scan.acquisition.notes)
    changed = scan.kspace.copy()
    changed[..., 3] *= 1j
    out = formats.write(tmp_path / "out.h5", replace(scan, kspace=changed), np.ones((1, 6, 9)), source=path)
    with ismrmrd.Dataset(str(out), "dataset", mode="r") as dataset:
        for i in range(18):
            stored, line = dataset.read_acquisition(i).data, i % 9
            expected = changed[0, :, :, 3] if line == 3 else (kspace, second)[i // 9][:, :, line]
            assert np.array_equal(stored, expected)
    assert np.array_equal(formats.read(out).kspace, changed)


@pytest.mark.parametrize(("mode", "filled"), [("embedded", True), ("separate", False)])
def test_calibration_lines_fill_gaps_unless_they_are_another_scan(tmp_path, fastmri_header, kspace, mode, filled):
    lines = lines_of(kspace)
    imaging = [lines[j] for j in (0, 2, 4, 6, 8)]
    imaging[2] = (lines[4][0], {**lines[4][1], "flag": 21})
    calibration = [(lines[3][0], {**lines[3][1], "flag": 20}), (9 * lines[2][0], {**lines[2][1], "flag": 20})]
    tag = "</accelerationFactor>"

    def edit(xml):
        return xml.replace(tag, f"{tag}<calibrationMode>{mode}</calibrationMode>")

    scan = formats.read(build(tmp_path / "a.h5", fastmri_header, [*imaging, *calibration], edit=edit))
    assert scan.sampled_lines.tolist() == ([0, 2, 3, 4, 6, 8] if filled else [0, 2, 4, 6, 8])
    assert np.array_equal(scan.kspace[0, :, :, 2], kspace[:, :, 2])


def test_slices_and_a_subset_of_them(tmp_path, fastmri_header, random_samples):
    volume = random_samples((3, 3, 12, 9))
    lines = [line for z in (2, 0, 1) for line in lines_of(volume[z], slice=z)]
    path = build(tmp_path / "a.h5", fastmri_header, lines)
    assert np.array_equal(formats.read(path).kspace, volume)
    part = formats.read(path, slices=[2])
    assert part.slice_ids == (2,)
    changed = replace(part, kspace=-part.kspace)
    out = formats.write(tmp_path / "out.h5", changed, np.ones((1, 6, 9)), source=path)
    assert np.array_equal(formats.read(out).kspace, np.concatenate([volume[:2], -volume[2:]]))


def test_three_dimensional_scan(tmp_path, fastmri_header, random_samples):
    volume = random_samples((3, 12, 9, 5))  # coil, x, y, z
    lines = [
        (volume[:, :, y, z], {"kspace_encode_step_1": y, "kspace_encode_step_2": z}) for z in range(5) for y in range(9)
    ]

    def edit(xml):
        return xml.replace("<z>1</z>", "<z>5</z>", 1)

    path = build(tmp_path / "a.h5", fastmri_header, lines, edit=edit)
    scan = formats.read(path)
    assert scan.kspace.shape == (12, 3, 5, 9) and scan.acquisition.n_phase_encode_axes == 2
    assert scan.acquisition.fov_mm == (4.5, 162.8)
    assert scan.acquisition.slice_thickness_mm == pytest.approx(280 / 12)
    whole = centred_ifft(volume, axes=(1, 2, 3))
    np.testing.assert_allclose(centred_ifft(scan.kspace).transpose(1, 0, 3, 2), whole, atol=1e-9)
    changed = scan.kspace.copy()
    changed[:, :, 1, 4] *= 1j
    out = formats.write(tmp_path / "out.h5", replace(scan, kspace=changed), np.ones((12, 5, 9)), source=path)
    with ismrmrd.Dataset(str(out), "dataset", mode="r") as dataset:
        for i, (samples, attributes) in enumerate(lines):
            stored = dataset.read_acquisition(i).data
            if (attributes["kspace_encode_step_1"], attributes["kspace_encode_step_2"]) == (4, 1):
                np.testing.assert_allclose(stored, 1j * samples, atol=1e-9)
            else:
                assert np.array_equal(stored, samples)
    with pytest.raises(DataError, match=r"3-D scan has 1 of 12 readout positions"):
        formats.write(out, scan.select([3]), np.ones((1, 5, 9)), source=path)


def test_removed_oversampling_is_seen(tmp_path, fastmri_header, random_samples):
    cropped = random_samples((3, 6, 9))
    lines = [(part, {**attributes, "center_sample": 3}) for part, attributes in lines_of(cropped)]
    scan = formats.read(build(tmp_path / "a.h5", fastmri_header, lines))
    assert np.array_equal(scan.kspace[0], cropped)
    assert scan.acquisition.fov_mm == (140, 162.8) and scan.acquisition.readout_oversampling == 1


def test_lines_that_are_no_longer_acquired_are_left_out(tmp_path, fastmri_header, kspace):
    path = build(tmp_path / "a.h5", fastmri_header, lines_of(kspace))
    scan = formats.read(path)
    sampled = scan.sampled.copy()
    sampled[:, [1, 6]] = False
    under = replace(scan, kspace=np.where(sampled, scan.kspace, np.complex64(0)), sampled=sampled)
    out = formats.write(tmp_path / "out.h5", under, np.ones((1, 6, 9)), source=path)
    with ismrmrd.Dataset(str(out), "dataset", mode="r") as dataset:
        assert dataset.number_of_acquisitions() == 7
    again = formats.read(out)
    assert np.array_equal(again.sampled, sampled) and np.array_equal(again.kspace, under.kspace)


@pytest.mark.parametrize("columns, told", [(24, False), (48, True), (12, True)])
def test_an_image_matrix_of_other_pixels_is_told(tmp_path, columns, told):
    path = generated(tmp_path / "a.h5", "-m24", "-c2")
    with h5py.File(path, "r+") as file:
        before, after = file["dataset/xml"][0].decode().split("<reconSpace>")
        file["dataset/xml"][0] = f"{before}<reconSpace>" + after.replace("<y>24</y>", f"<y>{columns}</y>", 1)
    acquisition = formats.read(path).acquisition
    assert acquisition.recon_shape == (24, columns)
    assert any("has other pixels than k-space" in note for note in acquisition.notes) == told


def test_new_file_reads_back(tmp_path, fastmri_file):
    source, target = tmp_path / "in.h5", tmp_path / "out.mrd"
    fastmri_file(source)
    said = formats.convert(source, target)
    assert "in.h5 -> out.mrd: ismrmrd" in said[0]
    before, after = formats.read(source), formats.read(target)
    assert np.array_equal(after.kspace, before.kspace) and np.array_equal(after.sampled, before.sampled)
    for name in ("fov_mm", "recon_shape", "echo_train_length", "repetition_time_ms", "dwell_time_us"):
        assert getattr(after.acquisition, name) == pytest.approx(getattr(before.acquisition, name)), name


def test_a_new_file_says_that_its_kspace_is_synthesised_and_what_was_assumed(tmp_path):
    image = np.random.default_rng(0).random((12, 15, 2), np.float32)
    nibabel.save(nibabel.Nifti1Image(image, np.diag([1.5, 0.9, 4, 1])), tmp_path / "in.nii.gz")
    before = formats.read(tmp_path / "in.nii.gz").acquisition
    said = formats.convert(tmp_path / "in.nii.gz", tmp_path / "out.mrd")
    assert said[-1] == "ISMRMRD files have no place for coil maps: not in it"
    formats.convert(tmp_path / "out.mrd", tmp_path / "again.h5")
    assert formats.convert(tmp_path / "again.h5", tmp_path / "b.nii.gz")[-1].endswith("k-space is not in it")
    for name in ("out.mrd", "again.h5"):
        after = formats.read(tmp_path / name).acquisition
        assert after.kspace_origin == "synthesised-from-magnitude", name
        assert set(after.assumed) == set(before.assumed) >= {"repetition_time_ms", "field_strength_t"}, name


# ---------------------------------------------------------------- refusals


def test_an_origin_that_does_not_exist_is_refused(tmp_path, fastmri_header, kspace):
    parameter = "<userParameterString><name>mrisim_kspace_origin</name><value>dreamt</value></userParameterString>"
    end = "</ismrmrdHeader>"
    path = build(
        tmp_path / "a.h5",
        fastmri_header,
        lines_of(kspace),
        edit=lambda xml: xml.replace(end, f"<userParameters>{parameter}</userParameters>{end}"),
    )
    with pytest.raises(DataError, match="mrisim_kspace_origin is 'dreamt'"):
        formats.read(path)


@pytest.mark.parametrize("trajectory", ["radial", "spiral", "epi"])
def test_other_trajectories_are_refused_by_name(tmp_path, fastmri_header, kspace, trajectory):
    path = build(tmp_path / "a.h5", fastmri_header, lines_of(kspace), trajectory=trajectory)
    with pytest.raises(DataError, match=rf"^a.h5 has the trajectory '{trajectory}'; expected 'cartesian'$"):
        formats.read(path)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"flag": 22}, r"a.h5 has reversed readouts \(EPI or bipolar\)"),
        ({"kspace_encode_step_1": 11}, r"kspace_encoding_step_1 0 to 11 with centre 4; expected positions inside .* 9"),
        ({"center_sample": 2}, r"readout of 12 samples with centre 2"),
        ({"discard_pre": 12}, r"of which 12 to 12 are valid"),
    ],
)
def test_readouts_that_do_not_fit(tmp_path, fastmri_header, kspace, attributes, message):
    lines = lines_of(kspace)
    lines[3] = (lines[3][0], {**lines[3][1], **attributes})
    path = build(tmp_path / "a.h5", fastmri_header, lines)
    with pytest.raises(DataError, match=message):
        formats.read(path)


def test_changing_channels_and_missing_image(tmp_path, fastmri_header, kspace):
    lines = lines_of(kspace)
    path = build(tmp_path / "a.h5", fastmri_header, [*lines[:3], (lines[3][0][:2], lines[3][1])])
    with pytest.raises(DataError, match=r"a.h5 has readouts of \[2, 3\] channels"):
        formats.read(path)
    path = build(tmp_path / "b.h5", fastmri_header, [(lines[0][0], {"flag": 19})])
    with pytest.raises(DataError, match=r"b.h5 has no imaging readout among 1"):
        formats.read(path)


def test_entities_and_a_missing_encoding(tmp_path, fastmri_header, kspace):
    path = build(tmp_path / "a.h5", fastmri_header, lines_of(kspace), edit=lambda xml: f"<!DOCTYPE x>{xml[21:]}")
    with pytest.raises(DataError, match=r"XML header of a.h5 declares a document type"):
        formats.read(path)
    path = build(tmp_path / "b.h5", fastmri_header, lines_of(kspace), edit=lambda xml: "<ismrmrdHeader/>")
    with pytest.raises(DataError, match=r"XML header of b.h5 lacks encodedSpace"):
        formats.read(path)


def test_a_corrupt_slice_is_named(tmp_path, fastmri_header, random_samples):
    volume = random_samples((3, 3, 12, 9))
    volume[1, 0, 0, 0] = np.nan
    lines = [line for z in range(3) for line in lines_of(volume[z], slice=z)]
    assert formats.corrupt_slices(formats.read(build(tmp_path / "a.h5", fastmri_header, lines))) == (1,)


def test_a_header_of_ours_satisfies_the_schema_of_the_ismrmrd_library():
    import ismrmrd.xsd

    scan = Scan(np.ones((2, 3, 20, 14), np.complex64), Acquisition(fov_mm=(200, 140), contrast="PD & fat <sat>"))
    parsed = ismrmrd.xsd.CreateFromDocument(with_provenance(header_xml(scan), scan.acquisition))
    assert parsed.encoding[0].encodedSpace.matrixSize.y == 14
    assert parsed.measurementInformation.protocolName == "PD & fat <sat>"
    assert parsed.userParameters.userParameterString[0].value == "measured"
