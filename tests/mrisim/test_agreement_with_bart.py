"""Coil maps and reconstructions against BART on its analytic eight-coil phantom, which is no FFT of a raster image."""

import os
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from mrisim.calibration import estimate_csm
from mrisim.espirit import espirit_maps
from mrisim.fourier import centred_ifft, resize_centred
from mrisim.quality import foreground_mask, rss
from mrisim.reconstruct import reconstruct, unit_maps
from mrisim.scan import Acquisition, Scan

pytestmark = pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")


class Bart:
    """Runs BART in one folder; arrays go in and out as (coil, readout, phase_encode)."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, *arguments):
        command = ["bart", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=self.folder, env=environment, check=True, capture_output=True)

    def write(self, name, array):
        array = np.moveaxis(array.astype(np.complex64), 0, -1)[:, :, None]
        (self.folder / f"{name}.hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + "\n")
        array.ravel(order="F").tofile(self.folder / f"{name}.cfl")

    def read(self, name):
        header = (self.folder / f"{name}.hdr").read_text().splitlines()[1]
        readout, phase_encode, _, n_coils = (int(n) for n in header.split()[:4])
        data = np.fromfile(self.folder / f"{name}.cfl", np.complex64)
        return np.moveaxis(data.reshape((readout, phase_encode, n_coils), order="F"), -1, 0)


@pytest.fixture
def bart(tmp_path):
    return Bart(tmp_path)


def phantom_scan(bart, size, n_lines):
    """Return BART's k-space phantom, non-square, of unit peak, with noise; the phantom itself is square only."""
    bart("phantom", "-k", "-s8", "-x", size, "square")
    bart("resize", "-c", 1, n_lines, "square", "kspace")
    kspace = bart.read("kspace")
    rng = np.random.default_rng(0)
    noise = rng.normal(size=kspace.shape) + 1j * rng.normal(size=kspace.shape)
    kspace = (kspace / np.abs(kspace).max() + 2e-4 * noise).astype(np.complex64)
    bart.write("kspace", kspace)
    return Scan(kspace[None], Acquisition((2.0 * size, 2.0 * n_lines)))


def distance(maps, reference):
    """Return ||maps - reference|| of each pixel, the phase common to all coils aligned first."""
    phase = np.angle(np.sum(reference.conj() * maps, axis=0))
    return np.sqrt(np.sum(np.abs(maps * np.exp(-1j * phase) - reference) ** 2, axis=0))


@pytest.mark.parametrize(("size", "n_lines"), [(101, 77), (102, 78)])
def test_maps_agree_with_ecalib(bart, size, n_lines):
    scan = phantom_scan(bart, size, n_lines)
    # Its threshold, 0.001 of the largest eigenvalue of A^H A, is 0.03 of the largest singular value of A: ours.
    bart("ecalib", "-m1", "-r24", "-k6", "-c0", "kspace", "maps")
    theirs = bart.read("maps")
    magnitude = rss(centred_ifft(scan.kspace[0]))
    foreground = foreground_mask(magnitude[None])[0]
    on_the_full_matrix = distance(espirit_maps(resize_centred(scan.kspace[0], (24, 24)), scan.matrix), theirs)[
        foreground
    ]
    # Medians and percentiles: at a dozen pixels of the rim two eigenvalues are equal, and either map is right.
    assert np.median(on_the_full_matrix) < 2e-6
    assert np.percentile(on_the_full_matrix, 99) < 0.01
    bright = foreground & (magnitude > 0.1 * magnitude.max())
    ours = distance(unit_maps(estimate_csm(scan)[0]), theirs)
    assert np.median(ours[bright]) < 3e-4
    assert np.percentile(ours[bright], 99) < 0.02


@pytest.mark.parametrize("regularisation", [1e-2, 1e-3])
def test_sense_agrees_with_pics(bart, regularisation):
    """Samples kept one by one: both take the same steps, and are equal before they have converged."""
    scan, maps = undersampled(bart)
    sampled = scan.sampled | (np.random.default_rng(1).random(scan.matrix) < 0.1)
    scan = replace(scan, sampled=sampled, kspace=np.where(sampled, bart.full, 0))
    bart.write("kspace", scan.kspace[0])
    bart.write("pattern", sampled[None])
    theirs = pics_l2(bart, regularisation, 30)
    ours = reconstruct(scan, "sense", csm=maps, regularisation=regularisation, n_iterations=30).image[0]
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 2e-5


@pytest.mark.parametrize(("regularisation", "n_iterations", "n_theirs"), [(1e-2, 30, 100), (1e-3, 60, 300)])
def test_sense_of_whole_lines_agrees_with_pics_once_both_have_converged(bart, regularisation, n_iterations, n_theirs):
    """Theirs may not go on for much longer: its steps grow without bound once nothing is left to solve."""
    scan, maps = undersampled(bart)
    theirs = pics_l2(bart, regularisation, n_theirs)
    ours = reconstruct(scan, "sense", csm=maps, regularisation=regularisation, n_iterations=n_iterations).image[0]
    early = pics_l2(bart, regularisation, n_iterations)
    error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    assert error < 2e-4
    assert error < 0.1 * np.linalg.norm(early - theirs) / np.linalg.norm(theirs)


def pics_l2(bart, regularisation, n_iterations):
    arguments = ["-S", "-w", 1, "-l2", "-r", regularisation, "-i", n_iterations, "-p", "pattern"]
    bart("pics", *arguments, "kspace", "maps", "image")
    return bart.read("image")[0]


@pytest.mark.parametrize(("name", "penalty", "most"), [("l1-wavelet", "W:3:0:{}", 0.1), ("tv", "T:3:0:{}", 0.06)])
def test_sparse_reconstructions_are_close_to_pics(bart, name, penalty, most):
    """Not the same problem: another wavelet with random shifts, and another boundary of the differences."""
    scan, maps = undersampled(bart)
    zero_filled = np.sum(maps[0].conj() * centred_ifft(scan.kspace[0]), axis=0)
    penalty = penalty.format(5e-3 * float(np.percentile(np.abs(zero_filled), 99)))
    solver = ["-u", 1] if name == "tv" else []
    bart("pics", "-S", "-w", 1, "-R", penalty, *solver, "-i", 300, "-p", "pattern", "kspace", "maps", "image")
    theirs = bart.read("image")[0]
    ours = reconstruct(scan, name, csm=maps, n_iterations=300).image[0]
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < most


def undersampled(bart):
    """Return an undersampled scan of even size, and maps; BART 0.8 shifts the image of an odd one by a pixel."""
    scan = phantom_scan(bart, 102, 78)
    bart("ecalib", "-m1", "-r24", "-k6", "-c0", "kspace", "maps")
    maps = unit_maps(bart.read("maps"))
    lines = (np.arange(78) % 3 == 0) | (abs(np.arange(78) - 39) < 8)
    sampled = np.broadcast_to(lines, (102, 78)).copy()
    kspace = np.where(sampled, scan.kspace, 0)
    bart.full = scan.kspace
    bart.write("kspace", kspace[0])
    bart.write("maps", maps)
    bart.write("pattern", sampled[None])
    return Scan(kspace, scan.acquisition, sampled=sampled), maps[None]
