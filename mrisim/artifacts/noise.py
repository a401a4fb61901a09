"""Thermal noise: complex Gaussian in k-space, correlated between coils.

Cause: the resistance of the body and of the coils; stronger at low field, small voxels, short scans. Appearance: grain;
in the magnitude image of one coil the background is Rayleigh and the signal Rician, in an RSS image both are
non-central chi, so that the air turns grey.

Law: n = L w with w ~ CN(0, 1) at every *acquired* sample and Psi = L L^H. With Psi = 2 s^2 I, one coil gives
E[M^2] = A^2 + 2 s^2 and a background mean s sqrt(pi/2); the RSS of C coils has the background mean
s sqrt(2) G(C + 1/2) / G(C). Correlated coils act like L_eff < C coils of a larger s_eff. A dead coil - zeros in every
slice - has neither signal nor noise, and gets none: C counts the others.

References
----------
Gudbjartsson & Patz 1995, 10.1002/mrm.1910340618; Constantinides et al. 1997, 10.1002/mrm.1910380524;
Aja-Fernandez & Tristan-Vega 2012, 10.1002/mrm.23020.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gamma, sqrt
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from mrisim.artifacts.base import ArtifactSpec, Check, Stage
from mrisim.counter_noise import add_correlated_noise
from mrisim.errors import ConfigError
from mrisim.fourier import Array, centred_fft, centred_ifft, keep_freed_memory, to_device
from mrisim.quality import rss
from mrisim.reference import reference_of
from mrisim.scan import Acquisition, Scan


@dataclass(frozen=True)
class NoiseLatents:
    """The noise of one slice: a key names every sample's white noise, a factor correlates the coils."""

    key: np.ndarray
    """(2,) uint32."""
    unit_factor: np.ndarray
    """(coil, coil) complex: L for s = 1, so that tr(L L^H) / (2 C) = 1 over the C coils with noise; 0 in the others."""
    signal_rms: float
    """A, the unit of the signal-to-noise ratio."""
    covariance_origin: str
    """"parameter", "scan" (measured or simulated with it), "air" (corners of the oversampled image), or "white"."""


class Noise(ArtifactSpec):
    """Add complex Gaussian noise to the acquired k-space samples.

    Limits: the noise is stationary over the scan; physiological noise and 1/f drift are not modelled.
    """

    kind: Literal["noise"] = "noise"
    snr: float = Field(
        default=float("inf"), gt=0, description="A / s of the added noise: RMS of the clean RSS over s per component."
    )
    coil_correlation: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Correlation rho^|i-j| of coils; none = the scan's covariance, else that of its air, else white.",
    )

    stage: ClassVar[Stage] = Stage.NOISE
    scope: ClassVar[Literal["volume", "slice"]] = "slice"
    severity: ClassVar[str] = "snr"
    identity: ClassVar[float] = float("inf")
    latents_type: ClassVar[type] = NoiseLatents

    def draw(self, scan: Scan, *, rng: np.random.Generator) -> NoiseLatents:
        """Draw the key; the factor follows from the scan."""
        covariance, origin = self._unit_covariance(scan)
        factor = _factor_of(covariance, origin)
        key = rng.integers(0, 2**32, size=2, dtype=np.uint32)
        return NoiseLatents(key, factor, reference_of(scan).signal_rms, origin)

    def apply(self, scan: Scan, latents: NoiseLatents) -> Scan:
        """Add L w to the acquired samples; the others stay as they are. A known covariance grows by L L^H."""
        factor, kspace = self._factor(latents), scan.kspace.copy()
        for coils in kspace:
            add_correlated_noise(coils, factor, latents.key, scan.sampled)
        known = scan.noise_covariance
        covariance = None if known is None else known + factor @ factor.conj().T
        return replace(scan, kspace=kspace, noise_covariance=covariance)

    def add_to_images(self, images: Array, latents: NoiseLatents) -> Array:
        """Return the coil images of a slice with the noise that fully sampled k-space would give them; no transform.

        The transform is unitary and mixes no coils: L w at every pixel has the law of the transform of L w at every
        sample. It is another draw than `apply` makes of the same latents. For those who hold the images.

        Parameters
        ----------
        images : (..., coil, readout, phase_encode), complex
            In the units of `NoiseLatents.signal_rms`; leading axes get the same noise.
        latents : NoiseLatents
        """
        keep_freed_memory()
        noisy = images.copy()
        everywhere, factor = np.ones(images.shape[-2:], bool), self._factor(latents)
        for coils in noisy.reshape(-1, *images.shape[-3:]):
            add_correlated_noise(coils, factor, latents.key, everywhere)
        return noisy

    def _factor(self, latents: NoiseLatents) -> np.ndarray:
        return latents.unit_factor * (latents.signal_rms / self.snr)

    def _unit_covariance(self, scan: Scan) -> tuple[np.ndarray, str]:
        n_coils, reference = scan.n_coils, reference_of(scan)
        air, dead = reference.air_covariance, list(reference.dead_coils)
        if self.coil_correlation is not None:
            distance = np.abs(np.subtract.outer(np.arange(n_coils), np.arange(n_coils)))
            covariance, origin = self.coil_correlation**distance + 0j, "parameter"
        elif scan.noise_covariance is not None:
            covariance, origin = np.asarray(scan.noise_covariance, complex), "scan"
        elif air is not None:
            covariance, origin = air, "air"
        else:
            covariance, origin = np.eye(n_coils, dtype=complex), "white"
        covariance = covariance.copy()
        covariance[dead] = covariance[:, dead] = 0
        n_with_noise = np.count_nonzero(covariance.any(axis=0))
        power = float(np.trace(covariance).real)
        if not power > 0:
            raise ConfigError(f"noise covariance (origin: {origin}) has the trace {power:g}; expected a positive one")
        return covariance * (2 * n_with_noise / power), origin

    @classmethod
    def oracle(cls, device: str) -> tuple[Check, ...]:
        """Hold background and signal of a one-coil and an eight-coil image to the chi laws, within five deviations."""
        checks, sigma, n_pixels = [], 0.5, 128 * 126
        for n_coils in (1, 8):
            level = np.full((1, n_coils, 128, 126), 3 / sqrt(n_coils), np.complex64)  # RSS A = 3 everywhere
            for amplitude, law in ((0.0, "background mean"), (3.0, "E[M^2] - A^2")):
                scan = Scan(to_device(centred_fft(level * (amplitude / 3)), device), Acquisition(fov_mm=(200, 200)))
                latents = NoiseLatents(
                    np.array([1, 2], np.uint32), sqrt(2) * np.eye(n_coils, dtype=complex), 1.0, "white"
                )
                noisy = rss(to_device(centred_ifft(cls(snr=1 / sigma).apply(scan, latents).kspace), "cpu"))
                chi_mean = sigma * sqrt(2) * gamma(n_coils + 0.5) / gamma(n_coils)
                if amplitude == 0:
                    expected, got, variance = chi_mean, float(noisy.mean()), 2 * n_coils * sigma**2 - chi_mean**2
                else:
                    expected, got = 2 * n_coils * sigma**2, float(np.mean(noisy**2) - amplitude**2)
                    variance = 4 * n_coils * sigma**4 + 4 * sigma**2 * amplitude**2
                name = f"{law}, coils: {n_coils}, s = {sigma}"
                checks.append(Check(name, expected, got, 5 * sqrt(variance / n_pixels)))
        return tuple(checks)


def _factor_of(covariance: np.ndarray, origin: str) -> np.ndarray:
    """Return the lower triangular L of Psi = L L^H; a coil without noise has a row and a column of zeros in both."""
    with_noise = np.flatnonzero(covariance.any(axis=0))
    part, factor = np.ix_(with_noise, with_noise), np.zeros_like(covariance)
    try:
        factor[part] = np.linalg.cholesky(covariance[part])
    except np.linalg.LinAlgError:
        raise ConfigError(
            f"noise covariance (origin: {origin}) is not positive definite; expected one that is, or the parameter "
            "noise.coil_correlation in its place"
        ) from None
    return factor
