"""BART cfl/hdr, against the bart binary (Debian package `bart`)."""

import hashlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mrisim import formats
from mrisim.errors import DataError
from mrisim.formats.bart import read_cfl, write_cfl
from mrisim.fourier import centred_fft, centred_ifft
from mrisim.quality import rss
from mrisim.scan import coil_images


def bart(folder, *arguments):
    if shutil.which("bart") is None:
        pytest.skip("the Debian package bart is not installed")
    return subprocess.run(["bart", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def phantom(tmp_path):
    """8 coils, 33 x 26: odd x even, and cropped along the phase encoding as only `resize` can."""
    bart(tmp_path, "phantom", "-x33", "-k", "-s8", "square")
    bart(tmp_path, "resize", "-c", "1", "26", "square", "phantom")
    return tmp_path / "phantom.cfl"


@given(
    hnp.arrays(
        np.complex64,
        hnp.array_shapes(min_dims=1, max_dims=16, max_side=3).filter(lambda shape: np.prod(shape) < 2000),
        elements=st.complex_numbers(width=64),
    )
)
def test_any_array_survives(array):
    with tempfile.TemporaryDirectory() as folder:
        write_cfl(Path(folder) / "x.y", array)
        again = read_cfl(Path(folder) / "x.y.cfl")
    assert again.shape == (*array.shape, *[1] * (16 - array.ndim))
    assert again.reshape(array.shape).tobytes() == array.tobytes()


def test_bart_reads_what_is_written_axis_by_axis(tmp_path, random_samples):
    array = random_samples((3, 4, 5))
    write_cfl(tmp_path / "a", array)
    bart(tmp_path, "extract", "1", "2", "3", "a", "b")
    assert np.array_equal(read_cfl(tmp_path / "b").squeeze(), array[:, 2])


@pytest.mark.parametrize("shape", [(16, 12), (15, 12), (9, 7)])
def test_fft_is_that_of_bart(tmp_path, random_samples, shape):
    array = random_samples(shape)
    write_cfl(tmp_path / "a", array)
    bart(tmp_path, "fft", "-u", "3", "a", "b")
    bart(tmp_path, "fft", "-u", "-i", "3", "a", "c")
    for name, expected in (("b", centred_fft(array)), ("c", centred_ifft(array))):
        found = read_cfl(tmp_path / name).squeeze()
        assert np.linalg.norm(found - expected) < 1e-6 * np.linalg.norm(expected)


def test_phantom_is_the_image_that_bart_reconstructs(phantom):
    scan = formats.read(phantom)
    assert scan.kspace.shape == (1, 8, 33, 26) and scan.sampled.all()
    assert scan.acquisition.fov_mm == (33, 26) and "kspace_origin" in scan.acquisition.assumed
    bart(phantom.parent, "fft", "-u", "-i", "3", "phantom", "images")
    bart(phantom.parent, "rss", "8", "images", "image")
    expected = read_cfl(phantom.parent / "image").squeeze()
    image = rss(coil_images(scan))[0]
    assert np.linalg.norm(image - expected) < 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("name", ["phantom", "phantom.cfl", "phantom.hdr"])
def test_the_pair_has_three_names(phantom, name):
    assert formats.detect(phantom.with_name(name)) == "bart"
    assert formats.read(phantom.with_name(name)).kspace.shape == (1, 8, 33, 26)
    assert formats.input_files(phantom.parent) == [phantom, phantom.with_name("square.cfl")]


def test_written_scan_is_one_for_bart(phantom, tmp_path):
    scan = formats.read(phantom)
    sampled = scan.sampled.copy()
    sampled[:, 1::2] = False
    under = replace(scan, kspace=scan.kspace * np.complex64(2), sampled=sampled)
    image = rss(coil_images(scan))
    out = formats.write(tmp_path / "out.cfl", under, image, source=phantom)
    bart(tmp_path, "pattern", "out", "pattern")
    assert np.array_equal(read_cfl(tmp_path / "pattern").squeeze().real.astype(bool), sampled)
    again = formats.read(out)
    assert np.array_equal(again.sampled, sampled)
    assert np.array_equal(again.kspace, np.where(sampled, under.kspace, 0))
    stored = read_cfl(tmp_path / "out_reconstruction_rss").squeeze()
    assert np.array_equal(stored.real, image[0]) and not stored.imag.any()


def test_slices(tmp_path, random_samples):
    volume = random_samples((5, 3, 8, 7))  # slice, coil, readout, phase encode
    array = volume.transpose(2, 3, 1, 0).reshape(8, 7, 1, 3, *[1] * 9, 5)
    write_cfl(tmp_path / "a", array)
    assert np.array_equal(formats.read(tmp_path / "a.cfl").kspace, volume)
    part = formats.read(tmp_path / "a.cfl", slices=slice(1, 3))
    assert part.slice_ids == (1, 2) and np.array_equal(part.kspace, volume[1:3])


def test_three_dimensional_scan(tmp_path, random_samples):
    volume = random_samples((8, 7, 6, 3))  # x, y, z, coil
    write_cfl(tmp_path / "a", volume)
    scan = formats.read(tmp_path / "a")
    assert scan.kspace.shape == (8, 3, 6, 7) and scan.acquisition.n_phase_encode_axes == 2
    whole = centred_ifft(volume, axes=(0, 1, 2))
    np.testing.assert_allclose(centred_ifft(scan.kspace).transpose(0, 3, 2, 1), whole, atol=1e-9)
    changed = scan.kspace.copy()
    changed[:, :, 2, 5] *= 1j
    formats.write(tmp_path / "b.cfl", replace(scan, kspace=changed), np.ones((8, 6, 7)), source=tmp_path / "a")
    stored = read_cfl(tmp_path / "b").reshape(8, 7, 6, 3)
    np.testing.assert_allclose(stored[:, 5, 2], 1j * volume[:, 5, 2], atol=1e-9)
    stored[:, 5, 2] = volume[:, 5, 2]
    assert np.array_equal(stored, volume)


def test_an_image_is_doubted_and_kspace_is_not(phantom, tmp_path):
    assert formats.read(phantom).acquisition.notes == ()
    bart(tmp_path, "phantom", "-x33", "-s8", "image")
    (note,) = formats.read(tmp_path / "image.cfl").acquisition.notes
    assert "expected k-space: is this an image" in note
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(33, 26, 1, 8)) + 1j * rng.normal(size=(33, 26, 1, 8))
    write_cfl(tmp_path / "noise", noise)
    assert "or noise?" in formats.read(tmp_path / "noise.cfl").acquisition.notes[0]


@pytest.mark.parametrize("name", ["phantom", "phantom.cfl", "phantom.hdr"])
def test_each_name_of_a_pair_can_be_corrupted_and_replayed(mrisim, phantom, name):
    given = phantom.with_name(name)
    assert mrisim("corrupt", given, "--kind", "spikes:2", "--out", "out").code == 0
    record = json.loads((phantom.parent / "out" / "phantom.json").read_text())["Input"]
    assert record["FileName"] == "phantom.cfl"
    assert record["SHA256"] == hashlib.sha256(phantom.read_bytes()).hexdigest()
    result = mrisim("replay", phantom.parent / "out" / "phantom.json", "--input", given)
    assert result.code == 0 and "bit for bit" in result.out


def test_magnitude_made_kspace_is_noticed(tmp_path):
    image = np.random.default_rng(0).random((4, 10, 9))  # coil, readout, phase encode; even and odd
    write_cfl(tmp_path / "a", centred_fft(image.astype(np.complex64)).transpose(1, 2, 0)[:, :, None])
    notes = formats.read(tmp_path / "a").acquisition.notes
    assert any("computed from a magnitude image" in note for note in notes)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 5, 1, 2, 1, 3), r"a.cfl has 3 entries in dimension 5 \(TE\); expected k-space in READ, PHASE1, PHASE2"),
        ((1, 20, 30, 2), r"a.cfl has the size 1 in READ, the layout of non-Cartesian data"),
        ((4, 5, 3, 2, *[1] * 9, 2), r"a.cfl has both PHASE2 and SLICE"),
    ],
)
def test_other_dimensions_are_refused(tmp_path, random_samples, shape, message):
    write_cfl(tmp_path / "a", random_samples(shape))
    with pytest.raises(DataError, match=message):
        formats.read(tmp_path / "a.cfl")


def test_a_trajectory_is_refused(tmp_path):
    bart(tmp_path, "traj", "-r", "-x32", "-y16", "radial")
    with pytest.raises(DataError, match=r"^radial.cfl has three real values in READ, a trajectory"):
        formats.read(tmp_path / "radial.cfl")


def test_broken_pairs(tmp_path, random_samples):
    write_cfl(tmp_path / "a", random_samples((4, 5, 1, 2)))
    data, header = tmp_path / "a.cfl", tmp_path / "a.hdr"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(DataError, match=r"^a.cfl has 100 bytes; expected 320 bytes for the dimensions of a.hdr$"):
        formats.read(data)
    data.unlink()
    with pytest.raises(DataError, match=r"^a.cfl is missing; expected 320 bytes"):
        formats.read(header)
    data.write_bytes(b"x" * 320)
    for text, message in (
        ("# Dimensions\n", "a.hdr cannot be read"),
        ("# Dimensions\n4 -5\n", "expected positive sizes"),
    ):
        header.write_text(text)
        with pytest.raises(DataError, match=message):
            formats.read(data)
    header.write_text("# Dimensions\n99999999999 99999999999\n")
    with pytest.raises(DataError, match="expected 79999999998400000000008 bytes"):
        formats.read(data)
    header.unlink()
    with pytest.raises(DataError, match=r"^a.cfl has no a.hdr of BART beside it"):
        formats.read(data)
