"""ESPIRiT against SigPy's, against exact maps, and where the calibration says little."""

import numpy as np
import pytest

from mrisim.coils import simulated_csm
from mrisim.espirit import _dominant, espirit_maps
from mrisim.fourier import centred_fft, resize_centred


def calibration(matrix, n_coils, noise=0.0, width=24, seed=0):
    """Return the centre of k-space of a textured disc, the true maps, and where the disc is."""
    rng = np.random.default_rng(seed)
    csm = simulated_csm(matrix, (220.0, 240.0), n_coils=n_coils)
    rows, columns = np.meshgrid(*(2 * (np.arange(n) - n // 2) / n for n in matrix), indexing="ij")
    inside = rows**2 + columns**2 < 0.6
    image = inside * (1 + 0.4 * np.sin(9 * rows) * np.cos(7 * columns)) * np.exp(1j * columns)
    kspace = centred_fft(csm * image)
    kspace = kspace + noise * (rng.normal(size=kspace.shape) + 1j * rng.normal(size=kspace.shape))
    return kspace.astype(np.complex64), resize_centred(kspace, (width, width)), csm, inside


def distance(maps, reference):
    """Return ||maps - reference|| of each pixel, the phase common to all coils aligned first."""
    phase = np.angle(np.sum(reference.conj() * maps, axis=0))
    return np.sqrt(np.sum(np.abs(maps * np.exp(-1j * phase) - reference) ** 2, axis=0))


# 6 kernel samples squared times the coils against 361 windows: one Gram matrix, then the other
@pytest.mark.parametrize(("matrix", "n_coils"), [((71, 90), 5), ((130, 67), 5), ((64, 40), 12)])
def test_maps_are_those_of_sigpy(matrix, n_coils):
    from sigpy.mri.app import EspiritCalib

    kspace, centre, _, inside = calibration(matrix, n_coils, noise=0.02)
    theirs = EspiritCalib(kspace, thresh=0.03, crop=0, max_iter=100, show_pbar=False).run()
    ours = espirit_maps(centre, matrix, threshold=0.03)
    assert ours.shape == theirs.shape and ours.dtype == np.complex64
    assert np.percentile(distance(ours, theirs)[inside], 99) < 1e-4


def test_maps_are_the_true_ones_where_there_is_signal():
    _, centre, csm, inside = calibration((80, 96), 6)
    truth = csm / np.sqrt(np.sum(np.abs(csm) ** 2, axis=0))
    assert np.median(distance(espirit_maps(centre, (80, 96)), truth)[inside]) < 0.01


def test_maps_have_unit_norm_everywhere_and_do_not_depend_on_the_scale():
    _, centre, _, _ = calibration((40, 33), 4, noise=0.1)
    maps = espirit_maps(centre, (40, 33))
    np.testing.assert_allclose(np.sum(np.abs(maps) ** 2, axis=0), 1, rtol=1e-5)
    assert np.percentile(distance(espirit_maps(1e-6 * centre, (40, 33)), maps), 95) < 1e-4


def test_maps_of_a_finer_grid_pass_through_those_of_a_coarse_one():
    """The kernels are functions of position: pixels that lie on each other have one value, odd factor or even."""
    _, centre, _, inside = calibration((30, 32), 4)
    coarse, fine = espirit_maps(centre, (30, 32)), espirit_maps(centre, (90, 64))
    assert np.percentile(distance(fine[:, ::3, ::2], coarse)[inside], 99) < 1e-4


def test_a_calibration_without_signal_gives_nan():
    with np.errstate(all="ignore"):
        assert not np.isfinite(espirit_maps(np.zeros((3, 12, 12), complex), (16, 16))).all()


@pytest.mark.parametrize("share", [1e-3, 0.1, 0.9])
def test_the_dominant_vectors_are_all_those_above_the_threshold_and_no_other(share):
    """A power iteration that has not converged must not hide one."""
    rng = np.random.default_rng(7)
    power = np.array([1, 0.99, 0.98, share * 1.0001, share * 0.9999, *(0.5 * share * rng.random(35))])
    basis = np.linalg.qr(rng.normal(size=(40, 40)) + 1j * rng.normal(size=(40, 40)))[0]
    gram = (basis * power @ basis.conj().T).astype(np.complex64)
    expected_power, expected = np.linalg.eigh(gram.astype(complex))
    kept = expected_power > share * expected_power[-1]
    got_power, got = _dominant(gram, share)
    np.testing.assert_allclose(got_power, expected_power[kept], rtol=1e-5)
    np.testing.assert_allclose(got @ got.conj().T, expected[:, kept] @ expected[:, kept].conj().T, atol=1e-6)


def test_an_eigenvalue_a_hair_above_the_threshold_counts():
    power = np.array([2e-3 * (1 + 1e-5), 2, 2e-3 * (1 - 1e-5)], np.float32)
    assert _dominant(np.diag(power).astype(np.complex64), 1e-3)[0].tolist() == power[:2].tolist()
