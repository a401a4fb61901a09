"""Noise covariance of the receive channels, and the mixing that makes their noise independent."""

from dataclasses import replace

import numpy as np

from mrisim.errors import ConfigError, DataError
from mrisim.fourier import Array, array_module
from mrisim.scan import Scan


def noise_covariance(samples: Array) -> Array:
    """Estimate Psi = E[n n^H] from noise-only samples, with 1/N: noise has no mean to subtract.

    Parameters
    ----------
    samples : complex array (coil, sample)

    Returns
    -------
    complex128 array (coil, coil)

    Raises
    ------
    DataError
        If the samples have another shape, are fewer than the coils, or are not finite.

    References
    ----------
    Roemer et al. 1990, 10.1002/mrm.1910160203.
    """
    if samples.ndim != 2 or samples.shape[1] < samples.shape[0]:
        raise DataError(
            f"noise samples have shape {tuple(samples.shape)}; expected (coil, sample) with at least one sample a coil"
        )
    xp = array_module(samples)
    samples = samples.astype(np.complex128)
    if not bool(xp.isfinite(samples).all()):
        raise DataError("noise samples hold NaN or Inf; expected finite samples")
    return samples @ samples.conj().T / samples.shape[1]


def scaled_covariance(
    psi: np.ndarray, *, noise_dwell_time_us: float, dwell_time_us: float, bandwidth_ratio: float = 1.0
) -> np.ndarray:
    """Carry Psi of a noise scan over to the image scan: Psi_image = Psi_noise / ((T_image / T_noise) r).

    `bandwidth_ratio` is r, the receiver's relative noise bandwidth (0.79 on many Siemens systems).

    Raises
    ------
    ConfigError
        If a time or the ratio is not positive.

    References
    ----------
    Kellman & McVeigh 2005, 10.1002/mrm.20713.
    """
    for name, value in (
        ("noise_dwell_time_us", noise_dwell_time_us),
        ("dwell_time_us", dwell_time_us),
        ("bandwidth_ratio", bandwidth_ratio),
    ):
        if not value > 0:
            raise ConfigError(f"{name} is {value}; expected a positive number, in the noise covariance")
    return psi * (noise_dwell_time_us / dwell_time_us / bandwidth_ratio)


def whitening_matrix(psi: np.ndarray) -> np.ndarray:
    """Return W = L^-1 of Psi = L L^H, so that W Psi W^H = I.

    Raises
    ------
    DataError
        If Psi is not a finite, Hermitian, positive definite matrix.
    """
    psi = np.asarray(psi, np.complex128)
    if psi.ndim != 2 or psi.shape[0] != psi.shape[1] or not np.isfinite(psi).all():
        raise DataError(f"noise covariance has shape {psi.shape}; expected a finite matrix (coil, coil)")
    if not np.allclose(psi, psi.conj().T, rtol=1e-5, atol=1e-6 * float(np.abs(psi).max())):
        raise DataError("noise covariance is not Hermitian; expected Psi = E[n n^H]")
    try:
        lower = np.linalg.cholesky(psi)
    except np.linalg.LinAlgError:
        smallest = float(np.linalg.eigvalsh(psi)[0])
        dead = ", ".join(map(str, np.flatnonzero(~psi.any(axis=0))))
        raise DataError(
            f"noise covariance has the smallest eigenvalue {smallest:.3g}; expected positive definite: "
            + (f"coil {dead} is dead (counted from 0)" if dead else "two channels carry the same noise")
        ) from None
    return np.linalg.inv(lower)


def mix_channels(matrix: np.ndarray, channels: Array) -> Array:
    """Apply a (coil, coil) matrix to the coil axis, third from the end; precision and device stay."""
    xp = array_module(channels)
    return xp.einsum("ij,...jrp->...irp", xp.asarray(matrix, dtype=channels.dtype), channels)


def prewhiten(scan: Scan) -> Scan:
    """Mix the channels so that their noise has covariance I: y' = W y, and the maps with it.

    The k-space is then in units of the noise. A measured `reference` is dropped, for it is in the old units.

    Raises
    ------
    DataError
        If the scan has no noise covariance, or one that is not positive definite.

    References
    ----------
    Roemer et al. 1990, 10.1002/mrm.1910160203; Kellman & McVeigh 2005, 10.1002/mrm.20713.
    """
    if scan.noise_covariance is None:
        raise DataError("noise_covariance is missing; expected (coil, coil), to prewhiten the scan")
    whiten = whitening_matrix(scan.noise_covariance)
    model = scan.object_model
    if model is not None:
        model = replace(model, csm=mix_channels(whiten, model.csm))
    return replace(
        scan,
        kspace=mix_channels(whiten, scan.kspace),
        csm=None if scan.csm is None else mix_channels(whiten, scan.csm),
        noise_covariance=np.eye(scan.n_coils, dtype=np.complex128),
        reference=None,
        object_model=model,
    )
