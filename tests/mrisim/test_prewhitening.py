"""Noise covariance with 1/N, and whitening to the identity."""

import numpy as np
import pytest

from mrisim.errors import ConfigError, DataError
from mrisim.fourier import centred_fft
from mrisim.prewhitening import noise_covariance, prewhiten, scaled_covariance, whitening_matrix
from mrisim.scan import Acquisition, Scan


def correlated_noise(psi, n_samples, seed=0):
    rng = np.random.default_rng(seed)
    white = (rng.normal(size=(len(psi), n_samples)) + 1j * rng.normal(size=(len(psi), n_samples))) / np.sqrt(2)
    return np.linalg.cholesky(psi) @ white


def random_covariance(n_coils, seed=1):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(n_coils, n_coils)) + 1j * rng.normal(size=(n_coils, n_coils))
    return mixing @ mixing.conj().T + 0.3 * np.eye(n_coils)


def test_covariance_divides_by_n_and_leaves_its_input():
    samples = np.array([[1, 1j, 2], [0, 1, 1j]], np.complex64)
    before = samples.copy()
    psi = noise_covariance(samples)
    # sum over samples of n_i conj(n_j), over 3
    np.testing.assert_allclose(psi, np.array([[6, 1j - 2j], [-1j + 2j, 2]]) / 3, atol=1e-12)
    np.testing.assert_array_equal(samples, before)


def test_covariance_of_known_noise():
    psi, n_samples = random_covariance(3), 40_000
    estimate = noise_covariance(correlated_noise(psi, n_samples))
    # var of an entry is psi_ii psi_jj / N
    spread = np.sqrt(np.outer(np.diag(psi).real, np.diag(psi).real) / n_samples)
    assert np.all(np.abs(estimate - psi) < 5 * spread)


@pytest.mark.parametrize("samples", [np.ones((4, 3), complex), np.ones(5, complex), np.full((2, 9), np.nan + 0j)])
def test_covariance_refuses_impossible_samples(samples):
    with pytest.raises(DataError, match="expected"):
        noise_covariance(samples)


def test_whitening_matrix_whitens():
    psi = random_covariance(5)
    whiten = whitening_matrix(psi)
    np.testing.assert_allclose(whiten @ psi @ whiten.conj().T, np.eye(5), atol=1e-10)
    np.testing.assert_allclose(whiten, np.tril(whiten), atol=0)


@pytest.mark.parametrize(
    "psi",
    [np.diag([1.0, 0.0]), np.array([[1, 2], [2, 1]]), np.array([[1, 1j], [1j, 2]]), np.ones((2, 3)), [[np.nan]]],
)
def test_whitening_refuses_what_is_no_covariance(psi):
    with pytest.raises(DataError, match="noise covariance"):
        whitening_matrix(np.asarray(psi))


def test_whitening_names_the_dead_coil():
    psi = np.zeros((4, 4), complex)
    psi[np.ix_([0, 1, 3], [0, 1, 3])] = random_covariance(3)
    with pytest.raises(DataError, match=r"expected positive definite: coil 2 is dead \(counted from 0\)$"):
        whitening_matrix(psi)
    with pytest.raises(DataError, match=r"expected positive definite: two channels carry the same noise$"):
        whitening_matrix(np.ones((2, 2)))


def test_prewhitened_scan_has_white_noise_and_the_same_object():
    rng = np.random.default_rng(4)
    n_coils, matrix = 3, (41, 30)
    psi = random_covariance(n_coils).astype(np.complex128)
    csm = (rng.normal(size=(2, n_coils, *matrix)) + 1j).astype(np.complex64)
    image = rng.normal(size=(2, 1, *matrix)) + 0j
    noise = correlated_noise(psi, 2 * matrix[0] * matrix[1]).reshape(n_coils, 2, *matrix).swapaxes(0, 1)
    signal = centred_fft(csm * image)
    scan = Scan((signal + noise).astype(np.complex64), Acquisition((41.0, 30.0)), csm=csm, noise_covariance=psi)
    white = prewhiten(scan)
    residual = white.kspace - centred_fft(white.csm * image)
    estimate = noise_covariance(residual.swapaxes(0, 1).reshape(n_coils, -1))
    np.testing.assert_allclose(estimate, np.eye(n_coils), atol=5 / np.sqrt(2 * matrix[0] * matrix[1]))
    np.testing.assert_array_equal(white.noise_covariance, np.eye(n_coils))
    assert white.kspace.dtype == white.csm.dtype == np.complex64
    assert white.kspace is not scan.kspace


def test_prewhitening_needs_a_covariance():
    scan = Scan(np.ones((1, 2, 4, 4), np.complex64), Acquisition((4.0, 4.0)))
    with pytest.raises(DataError, match="noise_covariance is missing"):
        prewhiten(scan)


def test_covariance_scales_with_the_dwell_time():
    psi = random_covariance(2)
    # Twice the dwell time is half the bandwidth, and half the noise power.
    scaled = scaled_covariance(psi, noise_dwell_time_us=5.0, dwell_time_us=10.0)
    np.testing.assert_allclose(scaled, psi / 2)
    np.testing.assert_allclose(
        scaled_covariance(psi, noise_dwell_time_us=5.0, dwell_time_us=5.0, bandwidth_ratio=0.8), psi / 0.8
    )
    with pytest.raises(ConfigError, match="dwell_time_us is 0"):
        scaled_covariance(psi, noise_dwell_time_us=5.0, dwell_time_us=0.0)
