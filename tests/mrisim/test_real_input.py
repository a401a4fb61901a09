"""The main job on files that nobody here wrote: a real head, an independent simulator, a vendor-neutral raw format."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mrisim import formats

COLIN27 = Path("/usr/share/mricron/templates/ch2.nii.gz")
LABELS = Path("/usr/share/mricron/templates/aal.nii.gz")
needs_colin = pytest.mark.skipif(not COLIN27.exists(), reason="Debian's mricron-data is not installed")
needs_bart = pytest.mark.skipif(shutil.which("bart") is None, reason="Debian's bart is not installed")
GENERATE = "ismrmrd_generate_cartesian_shepp_logan"
needs_ismrmrd_tools = pytest.mark.skipif(
    shutil.which(GENERATE) is None, reason="Debian's ismrmrd-tools is not installed"
)


@needs_colin
def test_a_real_head_keeps_its_geometry_and_is_marked_as_synthesised(mrisim, tmp_path: Path) -> None:
    result = mrisim("corrupt", COLIN27, "--kind", "motion:2", "--slices", "95:97", "--out", "o")
    assert result.code == 0, result.err
    assert "synthesised" in result.out
    written = nibabel.load(tmp_path / "o" / "ch2_desc-motionL2seed0.nii.gz")
    np.testing.assert_allclose(written.affine[:3, :3], nibabel.load(COLIN27).affine[:3, :3])
    record = json.loads((tmp_path / "o" / "ch2_desc-motionL2seed0.json").read_text())
    assert record["Input"]["KspaceOrigin"] == "synthesised-from-magnitude"
    assert record["SkullStripped"] is False and record["Sources"] == ["bids:raw:ch2.nii.gz"]
    described = json.loads((tmp_path / "o" / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative" and described["GeneratedBy"][0]["Name"] == "mrisim"
    assert record["ObjectModel"]["RelativeError"][0] < 0.05
    assert 0.02 < record["QualityMetrics"]["NRMSEForeground"] < 0.25


@needs_colin
def test_a_label_map_is_refused(mrisim, tmp_path: Path) -> None:
    result = mrisim("corrupt", LABELS, "--kind", "motion:2", "--out", "o")
    assert result.code == 4
    assert "label" in result.err + result.out
    assert not list(tmp_path.glob("o/*.nii.gz"))


@needs_bart
def test_bart_k_space_of_an_odd_non_square_matrix(mrisim, tmp_path: Path) -> None:
    for command in ("bart phantom -k -s8 -x 101 square", "bart resize -c 1 78 square raw"):
        subprocess.run(command.split(), cwd=tmp_path, check=True)
    result = mrisim("corrupt", "raw.cfl", "--kind", "motion:3", "--kind", "ghosting:2", "--out", "o")
    assert result.code == 0, result.err
    assert formats.read(tmp_path / "o" / "raw.cfl").kspace.shape == (1, 8, 101, 78)
    record = json.loads((tmp_path / "o" / "raw.json").read_text())
    assert record["ObjectModel"]["CsmOrigin"] == "estimated"
    assert record["ObjectModel"]["RelativeError"][0] < 0.10
    assert record["Input"]["KspaceOrigin"] == "measured"


@needs_bart
def test_noise_has_the_variance_that_barts_has(tmp_path: Path) -> None:
    """BART's -n is E abs(n)**2; ours is tr Psi / C: both histograms are one distribution."""
    from scipy.stats import ks_2samp

    from mrisim.artifacts.noise import Noise, NoiseLatents
    from mrisim.formats import bart
    from mrisim.scan import Acquisition, Scan

    variance, shape = 0.3, (1, 4, 64, 50)
    zeros = Scan(np.zeros(shape, np.complex64), Acquisition(fov_mm=(64, 50)))
    latents = NoiseLatents(np.array([5, 6], np.uint32), np.sqrt(2) * np.eye(4, dtype=complex), 1.0, "white")
    ours = Noise(snr=float(1 / np.sqrt(variance / 2))).apply(zeros, latents).kspace
    bart.write(tmp_path / "zeros.cfl", zeros, np.zeros((1, 64, 50), np.float32), source=None, name="rss")
    subprocess.run(f"bart noise -s 3 -n {variance} zeros noisy".split(), cwd=tmp_path, check=True)
    theirs = bart.read(tmp_path / "noisy.cfl").kspace
    assert np.mean(np.abs(theirs) ** 2) == pytest.approx(variance, rel=0.05)
    assert np.mean(np.abs(ours) ** 2) == pytest.approx(np.mean(np.abs(theirs) ** 2), rel=0.05)
    for part in (np.real, np.imag):
        assert ks_2samp(part(ours).ravel(), part(theirs).ravel()).pvalue > 1e-3


@needs_ismrmrd_tools
def test_an_ismrmrd_file_with_noise_scan_and_oversampling(mrisim, tmp_path: Path) -> None:
    command = [GENERATE, "-m", "48", "-c", "4", "-n", "0.5", "-C", "-o", "raw.h5"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    scan = formats.read(tmp_path / "raw.h5")
    assert scan.acquisition.readout_oversampling == 2
    assert scan.noise_covariance is not None
    kinds = ["--kind", "spikes:3", "--kind", "undersampling:1", "--param", "undersampling.acs_fraction=0.3"]
    result = mrisim("corrupt", "raw.h5", *kinds, "--recon", "sense", "--out", "o")
    assert result.code == 0, result.err
    again = formats.read(tmp_path / "o" / "raw.h5")
    assert again.kspace.shape == scan.kspace.shape
    assert again.sampled.sum() < scan.sampled.sum()
