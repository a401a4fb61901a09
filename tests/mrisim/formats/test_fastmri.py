import errno
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from mrisim import formats
from mrisim.errors import ConfigError, DataError
from mrisim.formats.header import parse_header
from mrisim.scan import Acquisition, Scan


def magnitude(scan, shape=(19, 16)):
    return np.full((scan.n_slices, *shape), 2.5, np.float32)


# ---------------------------------------------------------------- reading


def test_multicoil_layout_as_published(tmp_path, fastmri_file):
    path = tmp_path / "file1000001.h5"
    kspace = fastmri_file(path)
    scan = formats.read(path)
    assert scan.kspace.tobytes() == kspace.tobytes() and scan.kspace.dtype == np.complex64
    assert scan.sampled_lines.tolist() == list(range(3, 25)) and scan.fully_sampled
    known = scan.acquisition
    assert known.fov_mm == (280.0, 162.8) and known.slice_thickness_mm == 4.5
    assert known.readout_oversampling == 2 and known.recon_shape == (19, 16)
    assert (known.repetition_time_ms, known.echo_time_ms, known.echo_spacing_ms) == (2750, 32, 10.8)
    assert (known.echo_train_length, known.field_strength_t) == (4, 2.89362)
    assert (known.contrast, known.patient_id, known.kspace_origin) == ("CORPDFS_FBK", "0b1c2d", "measured")
    assert known.assumed == ("dwell_time_us",) and known.notes == ()
    assert scan.slice_ids == (0, 1, 2) and scan.csm is None and scan.noise_covariance is None


def test_single_coil_gets_a_coil_axis(tmp_path, fastmri_file):
    path = tmp_path / "file1000002.h5"
    kspace = fastmri_file(path, single=True, target="reconstruction_esc")
    scan = formats.read(path)
    assert scan.kspace.shape == (3, 1, 38, 27) and np.array_equal(scan.kspace[:, 0], kspace)
    assert scan.acquisition.kspace_origin == "emulated-singlecoil"


def test_slices_keep_their_ids(tmp_path, fastmri_file):
    path = tmp_path / "a.h5"
    kspace = fastmri_file(path)
    scan = formats.read(path, slices=slice(1, None))
    assert scan.slice_ids == (1, 2) and np.array_equal(scan.kspace, kspace[1:])
    with pytest.raises(ConfigError, match=r"slices is 7:9; expected some of the slices 0 to 2"):
        formats.read(path, slices=slice(7, 9))


def test_mask_selects_columns_and_no_sign_leaks(tmp_path, fastmri_file, random_samples):
    mask = np.zeros(27, bool)
    mask[[4, 9, 12, 13, 14, 20]] = True
    full = random_samples((2, 5, 38, 27))
    kspace = full * mask.astype(np.float32)  # the product of the first release: -0.0 where the sample was negative
    assert np.signbit(kspace.real[..., 5]).any()
    path = tmp_path / "file_brain_AXT2_200_2000019.h5"
    fastmri_file(path, n_slices=2, kspace=kspace, mask=mask, target=None)
    scan = formats.read(path)
    assert scan.sampled_lines.tolist() == [4, 9, 12, 13, 14, 20] and not scan.fully_sampled
    outside = scan.kspace[..., ~mask]
    assert not np.signbit(outside.real).any() and not np.signbit(outside.imag).any()
    assert np.array_equal(scan.kspace[..., mask], full[..., mask])
    assert "no target" in scan.acquisition.notes[0] and scan.acquisition.recon_shape == (19, 16)


def test_undersampling_without_a_mask_is_seen_in_the_data(tmp_path, fastmri_file, random_samples):
    kspace = random_samples((2, 5, 38, 27))
    kspace[..., ::2] = 0
    path = tmp_path / "a.h5"
    fastmri_file(path, n_slices=2, kspace=kspace, padding=(0, 0))
    assert formats.read(path).sampled_lines.tolist() == list(range(1, 27, 2))


def test_signal_in_the_padding_of_the_header_is_trusted(tmp_path, fastmri_file, random_samples):
    path = tmp_path / "a.h5"
    fastmri_file(path, kspace=random_samples((3, 5, 38, 27)))
    scan = formats.read(path)
    assert scan.sampled.all() and "padding hold signal" in scan.acquisition.notes[0]


def test_narrow_flair_keeps_the_larger_image_matrix(tmp_path, fastmri_file):
    path = tmp_path / "file_brain_AXFLAIR_203_6000870.h5"
    fastmri_file(path, n_columns=13, padding=(0, 0), recon=(19, 19))
    scan = formats.read(path)
    assert scan.acquisition.recon_shape == (19, 19)
    assert "image matrix (19, 19) is larger than the k-space matrix (38, 13)" in scan.acquisition.notes[0]


def test_swapped_axes_are_put_right_and_written_back_as_they_were(tmp_path, fastmri_file, random_samples):
    kspace = random_samples((3, 5, 38, 27))
    straight, swapped, out = tmp_path / "a.h5", tmp_path / "b.h5", tmp_path / "out.h5"
    fastmri_file(straight, kspace=kspace, padding=(0, 0))
    fastmri_file(swapped, kspace=kspace.swapaxes(2, 3), padding=(0, 0))
    scan = formats.read(swapped)
    assert np.array_equal(scan.kspace, formats.read(straight).kspace)
    assert any("first axis" in note for note in scan.acquisition.notes)
    formats.write(out, scan, magnitude(scan), source=swapped)
    with h5py.File(out) as file:
        assert np.array_equal(file["kspace"][()], kspace.swapaxes(2, 3))


def test_coils_before_slices_are_put_right_and_written_back(tmp_path, fastmri_file, random_samples):
    kspace = random_samples((5, 3, 38, 27))
    path, out = tmp_path / "a.h5", tmp_path / "out.h5"
    fastmri_file(path, kspace=kspace, padding=(0, 0))
    scan = formats.read(path, slices=[2])
    assert np.array_equal(scan.kspace, kspace.swapaxes(0, 1)[2:])
    formats.write(out, scan, magnitude(scan), source=path)
    with h5py.File(out) as file:
        assert np.array_equal(file["kspace"][()], kspace[:, 2:])


def test_short_stack_is_trusted_over_the_header(tmp_path, fastmri_file):
    path = tmp_path / "a.h5"
    fastmri_file(path, n_slices=2, header_changes={"last_slice": 31})
    scan = formats.read(path)
    assert scan.n_slices == 2 and scan.acquisition.notes == ("the header states 32 slices, the file has 2",)


def test_removed_oversampling_is_seen(tmp_path, fastmri_file):
    path = tmp_path / "a.h5"
    fastmri_file(path, n_readout=20, header_changes={"enc": (40, 27)}, recon=(20, 16))
    known = formats.read(path).acquisition
    assert known.fov_mm == (140.0, 162.8) and known.readout_oversampling == 1


def test_without_a_header_the_assumed_fields_are_named(tmp_path, fastmri_file):
    path = tmp_path / "a.h5"
    fastmri_file(path, header=False, target=None)
    scan = formats.read(path)
    assert set(scan.acquisition.assumed) >= {"fov_mm", "repetition_time_ms", "readout_oversampling", "recon_shape"}
    assert scan.sampled_lines.tolist() == list(range(3, 25))


# ---------------------------------------------------------------- prostate


def prostate(path, fastmri_file, random_samples, n_columns=23):
    averages = random_samples((3, 2, 4, 38, n_columns))
    averages[0, ..., ::2] = averages[2, ..., ::2] = averages[1, ..., 1::2] = 0
    fastmri_file(
        path, n_slices=2, n_coils=4, kspace=averages, acquisition="AXT2", recon=(19, 19),
        header_changes={"maximum": n_columns - 1, "center": 10}, calibration_data=random_samples((2, 4, 38, 6), seed=3),
    )  # fmt: skip
    return averages


def test_prostate_averages_are_merged_line_by_line_and_padded(tmp_path, fastmri_file, random_samples):
    path = tmp_path / "file_prostate_AXT2_001.h5"
    averages = prostate(path, fastmri_file, random_samples)
    scan = formats.read(path)
    first = 38 // 2 - 10  # the header's centre, not the middle of the columns
    assert scan.matrix == (38, 38) and scan.sampled_lines.tolist() == list(range(first, first + 23))
    acquired = scan.kspace[..., first : first + 23]
    assert np.array_equal(acquired[..., ::2], averages[1][..., ::2])
    mean = (averages[0].astype(complex) + averages[2])[..., 1::2] / 2
    np.testing.assert_allclose(acquired[..., 1::2], mean, rtol=0, atol=1e-4 * np.finfo(np.float32).eps * 4)
    assert any("3 averages are merged" in note for note in scan.acquisition.notes)


def test_prostate_unchanged_lines_keep_their_averages(tmp_path, fastmri_file, random_samples):
    path, out = tmp_path / "file_prostate_AXT2_001.h5", tmp_path / "out.h5"
    averages = prostate(path, fastmri_file, random_samples)
    scan = formats.read(path)
    line = 9 + 5  # sixth column of the file, in averages 0 and 2
    changed = scan.kspace.copy()
    changed[..., line] *= 1j
    formats.write(out, replace(scan, kspace=changed), magnitude(scan), source=path)
    with h5py.File(out) as file:
        stored = file["kspace"][()]
        assert np.array_equal(file["calibration_data"][()], random_samples((2, 4, 38, 6), seed=3))
    others = np.arange(23) != 5
    assert np.array_equal(stored[..., others], averages[..., others])
    assert np.array_equal(stored[0, ..., 5], changed[..., line]) and not stored[1, ..., 5].any()
    assert np.array_equal(formats.read(out).kspace, changed)


def test_diffusion_is_refused_by_name(tmp_path, fastmri_file, random_samples):
    path = tmp_path / "file_prostate_AXDIFF_001.h5"
    fastmri_file(path, kspace=random_samples((4, 2, 3, 10, 8)), acquisition="AXDIFF", target=None)
    with pytest.raises(DataError, match=r"^file_prostate_AXDIFF_001.h5 is a diffusion-weighted EPI scan \(AXDIFF\)"):
        formats.read(path)


# ---------------------------------------------------------------- writing


def test_writing_keeps_the_layout_and_adds_the_image(tmp_path, fastmri_file):
    path, out = tmp_path / "in.h5", tmp_path / "out" / "out.h5"
    fastmri_file(path)
    scan = formats.read(path)
    corrupted = replace(scan, kspace=scan.kspace * np.complex64(1j))
    image = magnitude(scan)
    formats.write(out, corrupted, image, source=path, reconstruction_name="sense", description="motion level 3")
    with h5py.File(path) as before, h5py.File(out) as after:
        assert set(after) == {*before, "reconstruction_sense_corrupted"}
        assert np.array_equal(after["kspace"][()], corrupted.kspace) and after["kspace"].dtype == np.complex64
        assert after["ismrmrd_header"][()] == before["ismrmrd_header"][()]
        assert np.array_equal(after["reconstruction_rss"][()], before["reconstruction_rss"][()])
        for name, value in before.attrs.items():
            assert after.attrs[name] == value
        own = after["reconstruction_sense_corrupted"]
        assert np.array_equal(own[()], image) and own.attrs["max"] == 2.5
        assert own.attrs["norm"] == pytest.approx(np.linalg.norm(image.astype(float)), rel=1e-12)
    again = formats.read(out)
    assert np.array_equal(again.kspace, corrupted.kspace) and again.acquisition == scan.acquisition
    assert [file.name for file in out.parent.iterdir()] == ["out.h5"]


def test_some_slices_take_their_targets_along(tmp_path, fastmri_file):
    path, out = tmp_path / "in.h5", tmp_path / "out.h5"
    kspace = fastmri_file(path, n_slices=4)
    scan = formats.read(path).select([1, 3])
    formats.write(out, scan, magnitude(scan), source=path)
    with h5py.File(path) as before, h5py.File(out) as after:
        assert np.array_equal(after["kspace"][()], kspace[[1, 3]])
        assert np.array_equal(after["reconstruction_rss"][()], before["reconstruction_rss"][()][[1, 3]])
    again = formats.read(out)
    assert again.slice_ids == (1, 3)
    third = formats.read(out, slices=[1])
    formats.write(tmp_path / "third.h5", third, magnitude(third), source=out)
    assert formats.read(tmp_path / "third.h5").slice_ids == (3,)


def test_new_mask_is_written_and_read_back(tmp_path, fastmri_file):
    path, out = tmp_path / "in.h5", tmp_path / "out.h5"
    fastmri_file(path)
    scan = formats.read(path)
    sampled = scan.sampled.copy()
    sampled[:, 4:24:3] = False
    under = replace(scan, kspace=np.where(sampled, scan.kspace, np.complex64(0)), sampled=sampled)
    formats.write(out, under, magnitude(scan), source=path)
    with h5py.File(out) as file:
        assert file["mask"].shape == (27,) and np.array_equal(file["mask"][()], sampled[0])
    assert np.array_equal(formats.read(out).sampled, sampled)


def test_new_file_brings_everything_back(tmp_path, random_samples):
    psi = np.eye(3) + 0.1j * np.triu(np.ones((3, 3)), 1)
    scan = Scan(
        random_samples((2, 3, 11, 14), dtype=np.complex128),
        Acquisition(
            fov_mm=(220.5, 180.25), echo_train_length=5, dwell_time_us=3.7, contrast="T2w", patient_id="sub-9",
            kspace_origin="simulated", readout_oversampling=1.1, recon_shape=(10, 14), notes=("a note",),
        ),
        csm=random_samples((2, 3, 11, 14), seed=4),
        noise_covariance=(psi + psi.conj().T),
        slice_ids=(4, 9),
    )  # fmt: skip
    clean = np.ones((2, 10, 14))
    path = formats.write(tmp_path / "new.h5", scan, 2 * clean, clean_reconstruction=clean)
    again = formats.read(path)
    assert again.acquisition == scan.acquisition and again.slice_ids == scan.slice_ids
    for part in ("kspace", "csm", "noise_covariance", "sampled"):
        assert np.array_equal(getattr(again, part), getattr(scan, part)), part
    with h5py.File(path) as file:
        assert np.array_equal(file["reconstruction_rss"][()], clean) and file.attrs["max"] == 1
        header = parse_header(file["ismrmrd_header"][()], "new.h5")
    assert header.encoded_matrix == (11, 14, 1) and header.recon_matrix == (10, 14, 1)
    assert header.encoded_fov_mm == (220.5, 180.25, 4.0) and header.timing["echo_train_length"] == 5


def test_a_converted_scan_has_its_image_once_and_not_as_a_corrupted_one(tmp_path, fastmri_file):
    fastmri_file(tmp_path / "in.h5")
    formats.convert(tmp_path / "in.h5", tmp_path / "scan.cfl")
    formats.convert(tmp_path / "scan.cfl", tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        assert [name for name in file if name.startswith("reconstruction")] == ["reconstruction_rss"]


def test_same_scan_gives_same_bytes(tmp_path, fastmri_file):
    path = tmp_path / "in.h5"
    fastmri_file(path)
    scan = formats.read(path)
    files = [formats.write(tmp_path / f"{i}.h5", scan, magnitude(scan), source=path) for i in (0, 1)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_full_disk_leaves_nothing(tmp_path, fastmri_file, monkeypatch):
    path, out = tmp_path / "in.h5", tmp_path / "out" / "out.h5"
    fastmri_file(path)
    scan = formats.read(path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"^out.h5 could not be written: no room on the disk$"):
        formats.write(out, scan, magnitude(scan), source=path)
    assert list(out.parent.iterdir()) == []


def test_too_little_room_is_seen_before_writing(tmp_path, fastmri_file, monkeypatch):
    path, out = tmp_path / "in.h5", tmp_path / "out" / "out.h5"
    fastmri_file(path)
    scan = formats.read(path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=scan.kspace.nbytes - 1))
    with pytest.raises(DataError, match=r"^out.h5 could not be written: no room on the disk$"):
        formats.write(out, scan, magnitude(scan), source=path)
    assert list(out.parent.iterdir()) == []


def test_output_below_a_file_is_refused(tmp_path, fastmri_file):
    path = tmp_path / "in.h5"
    fastmri_file(path)
    scan = formats.read(path)
    with pytest.raises(DataError, match=r"^out.h5 could not be written"):
        formats.write(path / "out.h5", scan, magnitude(scan), source=path)


def test_a_scan_of_another_file_is_refused(tmp_path, fastmri_file):
    one, other = tmp_path / "one.h5", tmp_path / "other.h5"
    fastmri_file(one)
    fastmri_file(other, n_coils=4)
    scan = formats.read(one)
    with pytest.raises(DataError, match=r"the scan is \(3, 5, 38, 27\); expected slices of \(3, 4, 38, 27\)"):
        formats.write(tmp_path / "out.h5", scan, magnitude(scan), source=other)
    assert not (tmp_path / "out.h5").exists()


# ---------------------------------------------------------------- bad input


def rewrite(path, name, data):
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        if data is not None:
            file[name] = data


@pytest.mark.parametrize(
    ("kspace", "message"),
    [
        (np.ones((3, 4), np.complex64), r"shape \(3, 4\) and dtype complex64"),
        (np.ones((3, 4, 5, 6), np.float32), r"shape \(3, 4, 5, 6\) and dtype float32"),
        (np.ones((0, 4, 5, 6), np.complex64), r"shape \(0, 4, 5, 6\)"),
        (np.zeros((3, 4, 5, 6), np.complex64), r"holds only zeros"),
        (np.full((3, 4, 5, 6), np.nan, np.complex64), r"holds NaN, Inf or nothing in all 3 slices"),
    ],
)
def test_bad_kspace(tmp_path, fastmri_file, kspace, message):
    path = tmp_path / "bad.h5"
    fastmri_file(path, header=False, target=None)
    rewrite(path, "kspace", kspace)
    with pytest.raises(DataError, match=message) as caught:
        formats.read(path)
    assert "bad.h5" in str(caught.value) and str(tmp_path) not in str(caught.value) and "\n" not in str(caught.value)


def test_kspace_that_is_a_group(tmp_path):
    path = tmp_path / "bad.h5"
    with h5py.File(path, "w") as file:
        file.create_group("kspace")
    with pytest.raises(DataError, match=r"`kspace` of bad.h5 has no array"):
        formats.read(path)


def test_corrupt_slices_are_named_by_id(tmp_path, fastmri_file):
    path = tmp_path / "a.h5"
    kspace = fastmri_file(path, n_slices=5)
    kspace[1, 2, 3, 4] = np.inf
    kspace[3, 0, 0, 5] = complex(0, np.nan)
    kspace[4] = 0
    rewrite(path, "kspace", kspace)
    assert formats.corrupt_slices(formats.read(path)) == (1, 3, 4)
    assert formats.corrupt_slices(formats.read(path, slices=[2, 3])) == (3,)


def test_a_damaged_chunk_costs_one_slice(tmp_path, fastmri_file):
    path = tmp_path / "a.h5"
    kspace = fastmri_file(path)
    with h5py.File(path, "a") as file:
        del file["kspace"]
        data = file.create_dataset("kspace", data=kspace, chunks=(1, *kspace.shape[1:]), compression="gzip")
        chunk = data.id.get_chunk_info(1)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset + chunk.size // 2)
        file.write(b"\xff" * 64)
    scan = formats.read(path)
    assert formats.corrupt_slices(scan) == (1,) and np.array_equal(scan.kspace[[0, 2]], kspace[[0, 2]])


@pytest.mark.parametrize("n_bytes", [4000, 100_000])
def test_truncated(tmp_path, fastmri_file, n_bytes):
    path = tmp_path / "short.h5"
    fastmri_file(path)
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(
        DataError, match=r"^short.h5 cannot be read .*truncated.*expected a complete HDF5 file"
    ) as caught:
        formats.read(path)
    assert str(tmp_path) not in str(caught.value)


def test_links_to_other_files_are_refused(tmp_path, fastmri_file, random_samples):
    secret, path = tmp_path / "secret.h5", tmp_path / "a.h5"
    fastmri_file(secret)
    for name, link in {"kspace": h5py.ExternalLink("secret.h5", "/kspace"), "x": h5py.SoftLink("/kspace")}.items():
        fastmri_file(path)
        rewrite(path, name, link)
        with pytest.raises(DataError, match=r"a.h5 has (an external|a soft) link"):
            formats.read(path)
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((3, 5, 38, 27), np.complex64)
        layout[:] = h5py.VirtualSource(secret, "kspace", (3, 5, 38, 27))
        file.create_virtual_dataset("kspace", layout)
    with pytest.raises(DataError, match="keeps 'kspace' in another file"):
        formats.read(path)
    (tmp_path / "raw").write_bytes(b"x" * 8 * 60)
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", (3, 4, 5), np.complex64, external=[(str(tmp_path / "raw"), 0, 480)])
    with pytest.raises(DataError, match="keeps 'kspace' in another file"):
        formats.read(path)


ENTITY = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><ismrmrdHeader>&a;</ismrmrdHeader>'


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (ENTITY.encode(), "declares a document type or an entity"),
        (b"<ismrmrdHeader><encoding>", "is broken"),
        (b"", "is broken"),
        (b"<h><encoding><encodedSpace><matrixSize><x>a</x></matrixSize></encodedSpace></encoding></h>", "bad value"),
        (b"<h><sequenceParameters><TR>nan</TR></sequenceParameters></h>", "bad value"),
    ],
)
def test_bad_headers(tmp_path, fastmri_file, header, message):
    path = tmp_path / "a.h5"
    fastmri_file(path, header=header or b" ")
    with pytest.raises(DataError, match=f"^the XML header of a.h5 .*{message}"):
        formats.read(path)


def test_an_entity_in_utf_16_is_seen():
    with pytest.raises(DataError, match="declares a document type or an entity"):
        parse_header(ENTITY.encode("utf-16"), "a.h5")


def test_mask_of_another_width(tmp_path, fastmri_file):
    path = tmp_path / "a.h5"
    fastmri_file(path, mask=np.ones(9))
    with pytest.raises(DataError, match=r"`mask` of a.h5 has shape \(9,\); expected \(27,\)"):
        formats.read(path)


def test_stored_acquisition_is_checked(tmp_path, fastmri_file):
    path = tmp_path / "a.h5"
    fastmri_file(path)
    with h5py.File(path, "a") as file:
        file.attrs["mrisim_acquisition"] = '{"fov_mm": [1, "wide"]}'
    with pytest.raises(DataError, match=r"mrisim_acquisition of a.h5 is wrong at \('fov_mm', 1\)"):
        formats.read(path)
