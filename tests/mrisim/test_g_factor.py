"""The analytic g-factor against the aliased-pixel formula, a dense pseudo-inverse, and pseudo multiple replicas."""

import numpy as np
import pytest

from mrisim.coils import simulated_csm, simulated_noise_covariance
from mrisim.errors import DataError
from mrisim.g_factor import g_factor

FOV_MM = (200.0, 160.0)


def regular(n_lines, acceleration, first=0):
    return np.arange(n_lines) % acceleration == first


def dense_encoding(csm_row, lines):
    """Return E (sampled line * coil, pixel) of one readout position."""
    n = csm_row.shape[-1]
    grid = np.arange(n) - n // 2
    fourier = np.exp(-2j * np.pi * np.outer(grid, grid) / n)[lines] / np.sqrt(n)
    return np.concatenate([fourier * maps for maps in csm_row])


@pytest.mark.parametrize("acceleration", [1, 2, 3, 4])
def test_regular_lines_match_the_aliased_pixels(acceleration):
    csm = simulated_csm((5, 24), FOV_MM, n_coils=6).astype(complex)
    psi = simulated_noise_covariance(FOV_MM, n_coils=6)
    inverse = np.linalg.inv(psi)
    expected = np.empty((5, 24))
    for row in range(5):
        for column in range(24):
            folded = (column + np.arange(acceleration) * 24 // acceleration) % 24
            maps = csm[:, row, folded]
            normal = maps.conj().T @ inverse @ maps
            expected[row, column] = np.sqrt((np.linalg.inv(normal)[0, 0] * normal[0, 0]).real)
    result = g_factor(csm, psi, regular(24, acceleration, first=acceleration // 2))
    np.testing.assert_allclose(result, expected, rtol=1e-8)
    assert result.min() > 1 - 1e-9


@pytest.mark.parametrize("lines", [regular(23, 2), regular(22, 3) | (abs(np.arange(22) - 11) < 3)])
def test_any_lines_match_the_dense_inverse(lines):
    n = lines.size
    csm = simulated_csm((3, n), FOV_MM, n_coils=5).astype(complex)
    psi = simulated_noise_covariance(FOV_MM, n_coils=5)
    result = g_factor(csm, psi, lines)
    for row in range(3):
        encode = dense_encoding(csm[:, row], lines)
        noise = np.kron(np.linalg.inv(psi), np.eye(lines.sum()))
        normal = encode.conj().T @ noise @ encode
        full = np.einsum("ip,ij,jp->p", csm[:, row].conj(), np.linalg.inv(psi), csm[:, row])
        expected = np.sqrt((np.diag(np.linalg.inv(normal)) * full).real * lines.sum() / n)
        np.testing.assert_allclose(result[row], expected, rtol=1e-7)


def test_pseudo_multiple_replicas_agree():
    """Reconstruct noise alone many times, with half and with all lines, and compare the spreads."""
    n, n_coils, n_replicas, acceleration = 16, 5, 4000, 2
    csm = simulated_csm((1, n), FOV_MM, n_coils=n_coils).astype(complex)
    psi = simulated_noise_covariance(FOV_MM, n_coils=n_coils)
    lower = np.linalg.cholesky(psi)
    rng = np.random.default_rng(7)
    spread = []
    for lines in (regular(n, acceleration), np.ones(n, bool)):
        mix = np.kron(np.linalg.inv(lower), np.eye(lines.sum()))
        unfold = np.linalg.pinv(mix @ dense_encoding(csm[:, 0], lines))
        white = rng.normal(size=(2, n_coils * lines.sum(), n_replicas)) / np.sqrt(2)
        spread.append((unfold @ (white[0] + 1j * white[1])).std(axis=1))
    replicas = spread[0] / spread[1] / np.sqrt(acceleration)
    analytic = g_factor(csm, psi, regular(n, acceleration))[0]
    # Each spread is known to 1 / sqrt(2 * 2 * n_replicas); 5 sigma of the ratio
    np.testing.assert_allclose(replicas, analytic, rtol=5 * np.sqrt(2) / np.sqrt(4 * n_replicas))


def test_pixels_that_no_coil_sees_are_nan_and_help_the_others():
    csm = simulated_csm((2, 16), FOV_MM, n_coils=3)
    masked = csm.copy()
    masked[:, :, 10:] = 0
    psi = np.eye(3)
    whole, part = g_factor(csm, psi, regular(16, 2)), g_factor(masked, psi, regular(16, 2))
    assert np.isnan(part[:, 10:]).all()
    assert (part[:, :10] <= whole[:, :10] + 1e-9).all()
    # Nothing folds onto pixels 2..7: their partners are empty.
    np.testing.assert_allclose(part[:, 2:8], 1, atol=1e-6)


def test_more_lines_missing_than_coils_can_replace_is_refused():
    csm = simulated_csm((2, 16), FOV_MM, n_coils=2)
    with pytest.raises(DataError, match="not determined by 4 lines of 2 coils"):
        g_factor(csm, np.eye(2), regular(16, 4))
    with pytest.raises(DataError, match="sampled_lines"):
        g_factor(csm, np.eye(2), np.zeros(16, bool))
