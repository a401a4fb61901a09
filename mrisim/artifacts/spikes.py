"""Spike noise: a few wrong k-space samples, each a plane wave over the whole image ("herringbone", "corduroy").

Cause: discharges in the gradient or RF chain, metal in the room, a loose connection, static in dry air. Appearance:
fine parallel stripes across object and air alike, crossing where several spikes were caught.

Law: S_c(k0) += A_c exp(i psi_c) adds exactly A_c / sqrt(N_x N_y) exp(i (2 pi k0 r / N + psi_c)) to coil image c. With
abs(A_c) = p A_rms sqrt(N_x N_y / C) the stripe's root sum of squares over coils is p A_rms. A dead coil - zeros in
every slice - gets no spike: C counts the others.

References
----------
Graves & Mitchell 2013, 10.1002/jmri.24288.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from mrisim.artifacts.base import ArtifactSpec, Check, Stage
from mrisim.errors import DataError
from mrisim.fourier import Array, array_module, centred_ifft, keep_freed_memory, to_device
from mrisim.plane_waves import add_plane_waves
from mrisim.reference import reference_of
from mrisim.scan import Acquisition, Scan

MINIMUM_RADIUS = 0.03
"""Spikes keep off the centre of k-space: abs(k) above this fraction of k_max."""


@dataclass(frozen=True)
class SpikesLatents:
    """Where the spikes of one slice sit, and the phase that each coil sees."""

    position: np.ndarray
    """(spike, 2): readout and phase-encode index."""
    unit_amplitude: np.ndarray
    """(spike, coil) complex: the sample's error for amplitude_ratio = 1."""


class Spikes(ArtifactSpec):
    """Add a complex value to a few acquired k-space samples.

    Limits: a spike lasts one ADC sample; it hits all coils that are not dead with one modulus and independent phases.
    """

    kind: Literal["spikes"] = "spikes"
    amplitude_ratio: float = Field(
        default=0.0, ge=0, description="p: modulus of each spike's stripes in the RSS image over the clean signal RMS."
    )
    n_spikes: int = Field(default=4, ge=1, le=1024, description="ADC samples hit in each slice.")

    stage: ClassVar[Stage] = Stage.INTERFERENCE
    scope: ClassVar[Literal["volume", "slice"]] = "slice"
    severity: ClassVar[str] = "amplitude_ratio"
    identity: ClassVar[float] = 0.0
    latents_type: ClassVar[type] = SpikesLatents

    def draw(self, scan: Scan, *, rng: np.random.Generator) -> SpikesLatents:
        """Draw a position for each spike, uniform over the acquired samples off the centre, and its phases."""
        candidates = np.argwhere(scan.sampled & _off_centre(scan.matrix))
        if len(candidates) < self.n_spikes:
            raise DataError(
                f"{len(candidates)} acquired samples lie off the centre of k-space; expected at least "
                f"{self.n_spikes}, one for each spike"
            )
        uniform = rng.random(self.n_spikes)
        phase = rng.uniform(0, 2 * np.pi, (self.n_spikes, scan.n_coils))
        reference, alive = reference_of(scan), np.ones(scan.n_coils)
        alive[list(reference.dead_coils)] = 0
        modulus = alive * reference.signal_rms * np.sqrt(np.prod(scan.matrix) / alive.sum())
        position = candidates[_distinct_ranks(uniform, len(candidates))]
        return SpikesLatents(position=position, unit_amplitude=modulus * np.exp(1j * phase))

    def apply(self, scan: Scan, latents: SpikesLatents) -> Scan:
        """Add the spikes to every slice of the scan."""
        xp = array_module(scan.kspace)
        kspace = scan.kspace.copy()
        for (readout, line), amplitude in zip(latents.position, latents.unit_amplitude, strict=True):
            kspace[:, :, readout, line] += xp.asarray((self.amplitude_ratio * amplitude).astype(kspace.dtype))
        return replace(scan, kspace=kspace)

    def add_to_images(self, images: Array, latents: SpikesLatents) -> Array:
        """Return coil images (..., coil, readout, phase_encode) with the spikes' plane waves: `apply`, no transform.

        For those who hold the images of k-space, not k-space itself.
        """
        keep_freed_memory()
        return add_plane_waves(images, latents.position, self.amplitude_ratio * latents.unit_amplitude)

    @classmethod
    def oracle(cls, device: str) -> tuple[Check, ...]:
        """Hold the image of one spike to its plane wave, value by value."""
        shape, index, value = (1, 2, 30, 45), (20, 7), np.array([3 - 1j, 0.5j])
        scan = Scan(to_device(np.zeros(shape, np.complex64), device), Acquisition(fov_mm=(200, 200)))
        latents = SpikesLatents(np.array([index]), value[None])
        image = to_device(centred_ifft(cls(amplitude_ratio=2).apply(scan, latents).kspace), "cpu")[0]
        rows, columns = (np.arange(n) - n // 2 for n in shape[2:])
        turns = (index[0] - 15) * rows[:, None] / 30 + (index[1] - 22) * columns / 45
        wave = 2 * value[:, None, None] * np.exp(2j * np.pi * turns) / np.sqrt(30 * 45)
        error = float(np.abs(image - wave).max() / np.abs(wave).max())
        return (Check("largest difference to the plane wave, over its modulus", 0.0, error, 1e-5),)


def _distinct_ranks(uniform: np.ndarray, n: int) -> list[int]:
    """Map each uniform number onto those of the ranks 0 .. n - 1 that the numbers before it left over."""
    taken: list[int] = []
    for index, value in enumerate(uniform):
        rank = int(value * (n - index))
        for other in sorted(taken):
            rank += rank >= other
        taken.append(rank)
    return taken


def _off_centre(matrix: tuple[int, int]) -> np.ndarray:
    """Return where abs(k) exceeds `MINIMUM_RADIUS` of k_max, k in fractions of each axis' own maximum."""
    readout, line = ((np.arange(n) - n // 2) / max(1, n // 2) for n in matrix)
    return np.hypot(readout[:, None], line) > MINIMUM_RADIUS
