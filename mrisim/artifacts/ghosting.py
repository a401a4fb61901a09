"""Ghosting: errors of whole k-space lines that repeat along phase encode, hence displaced copies of the object.

Cause: N/2 ("Nyquist") ghosts come from a delay or phase difference between odd and even lines (EPI, turbo spin echo);
pulsation ghosts from a gain or phase that follows heartbeat or breathing. Appearance: faint copies of the object along
the phase-encode axis, at half the field of view (N/2) or at f TR N_pe pixels (pulsation), bright over air.

Law (nyquist): in hybrid space (x, k_pe) line k is multiplied by exp(i s_k (phi0 + phi1 x) / 2), s_k = -1 for the centre
line and alternating from one acquired line to the next, phi1 = 2 pi (delay / dwell) / N_ro, x = signed pixel from the
centre. Where every line was acquired, s_k is +1 for odd and -1 for even signed k = index - N//2, and for even N the
image is exactly cos(phi/2) x(y) - i sin(phi/2) x(y - N/2) with phi = phi0 + phi1 x: no global phase. A scan that was
acquired with every R-th line has its ghost at N / 2R.
Law (pulsation): line j is multiplied by 1 + m cos(2 pi f t_j + psi), or by exp(i m cos(...)): replicas of amplitude m/2
at f TR N_pe pixels.

References
----------
Buonocore & Gao 1997, 10.1002/mrm.1910380114; Chen & Wyrwicz 2004, 10.1002/mrm.20097 (N/2);
Wood & Henkelman 1985, 10.1118/1.595782 (periodic motion).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from mrisim.artifacts.base import ArtifactSpec, Check, Stage
from mrisim.echo_order import Ordering, echo_order
from mrisim.fourier import Array, array_module, centred_fft, centred_ifft, filtered, keep_freed_memory, to_device
from mrisim.reference import reference_of
from mrisim.scan import Acquisition, Scan

READOUT_AXIS, PHASE_ENCODE_AXIS = (-2,), (-1,)


@dataclass(frozen=True)
class GhostingLatents:
    """The shape of the line error."""

    line_sign: np.ndarray
    """(phase_encode,): +1 or -1, the readout polarity of each acquired line."""
    line_wave: np.ndarray
    """(phase_encode,): cos(2 pi f t_j + psi) of each acquired line, 0 elsewhere."""


class Ghosting(ArtifactSpec):
    """Multiply each k-space line by an error that repeats along phase encode.

    Limits: one error for all slices and coils; the lines' order is assumed (formats do not store it).
    """

    kind: Literal["ghosting"] = "ghosting"
    mode: Literal["nyquist", "pulsation"] = "nyquist"
    phase_rad: float = Field(
        default=0.0, ge=0, le=np.pi, description="phi0 (nyquist): constant phase between odd and even lines."
    )
    delay_us: float = Field(default=0.0, description="Delay between odd and even lines (nyquist), for phi1.")
    modulation: float = Field(default=0.0, ge=0, le=1, description="m (pulsation): depth, or phase amplitude in rad.")
    modulated: Literal["gain", "phase"] = "gain"
    frequency_hz: float = Field(default=1.1, gt=0, description="f (pulsation): 1.1 heart, 0.25 breathing.")
    ordering: Ordering = "sequential"

    stage: ClassVar[Stage] = Stage.LINE_ERRORS
    scope: ClassVar[Literal["volume", "slice"]] = "volume"
    severity: ClassVar[str] = "phase_rad"
    identity: ClassVar[float] = 0.0
    latents_type: ClassVar[type] = GhostingLatents
    only_where: ClassVar[dict[str, tuple[str, str]]] = {
        **dict.fromkeys(("phase_rad", "delay_us"), ("mode", "nyquist")),
        **dict.fromkeys(("modulation", "modulated", "frequency_hz", "ordering"), ("mode", "pulsation")),
    }

    @classmethod
    def ladder(cls, parameters: dict[str, Any]) -> tuple[str, str]:
        """The level sets the constant phase, or the depth where the mode is pulsation."""
        if parameters.get("mode") == "pulsation":
            return "ghosting-pulsation", "modulation"
        return super().ladder(parameters)

    @property
    def is_identity(self) -> bool:
        """Whether no line is changed in this mode."""
        return self.phase_rad == self.delay_us == 0 if self.mode == "nyquist" else self.modulation == 0

    def draw(self, scan: Scan, *, rng: np.random.Generator) -> GhostingLatents:
        """Draw the phase psi of the pulsation; the polarity follows from the lines that were acquired."""
        # the time course is that of the scan as it was acquired, also where undersampling has left lines out since
        acquired = replace(scan, sampled=reference_of(scan).sampled)
        time_s = echo_order(acquired, self.ordering).time_ms / 1000
        wave = np.cos(2 * np.pi * self.frequency_hz * time_s + rng.uniform(0, 2 * np.pi))
        is_line = acquired.sampled.any(axis=0)
        n_before: np.ndarray = np.cumsum(is_line) - is_line
        n_from_centre: np.ndarray = n_before - n_before[scan.matrix[1] // 2]
        return GhostingLatents(line_sign=np.where(n_from_centre % 2 == 1, 1, -1), line_wave=np.nan_to_num(wave))

    def apply(self, scan: Scan, latents: GhostingLatents) -> Scan:
        """Multiply the lines; samples that were never acquired stay what they are."""
        xp = array_module(scan.kspace)
        factor = xp.asarray(self._line_factor(scan, latents).astype(scan.kspace.dtype))
        if self.mode == "nyquist" and self.delay_us:
            hybrid = centred_ifft(scan.kspace, READOUT_AXIS) * factor
            changed = centred_fft(hybrid, READOUT_AXIS, overwrite=True)
        else:
            changed = scan.kspace * factor
        return replace(scan, kspace=xp.where(xp.asarray(scan.sampled), changed, scan.kspace))

    def apply_to_images(self, scan: Scan, latents: GhostingLatents, images: Array) -> Array:
        """Return the coil images (..., readout, phase_encode) of a fully sampled scan, ghosts in them: as `apply` does.

        The readout axis needs no transform, neither to nor from k-space. For those who hold the images.
        """
        keep_freed_memory()
        factor = self._line_factor(scan, latents)
        if len(factor) == 1:  # the same all along the readout
            return filtered(images, np.fft.ifftshift(factor[0]), -1)
        hybrid = centred_fft(images, PHASE_ENCODE_AXIS)
        hybrid *= array_module(images).asarray(factor.astype(images.dtype))
        return centred_ifft(hybrid, PHASE_ENCODE_AXIS, overwrite=True)

    def _line_factor(self, scan: Scan, latents: GhostingLatents) -> np.ndarray:
        """Return the factor of each (readout position, line)."""
        if self.mode == "pulsation":
            wave = self.modulation * latents.line_wave
            return (1 + wave if self.modulated == "gain" else np.exp(1j * wave))[None, :]
        n_readout = scan.matrix[0]
        slope = 2 * np.pi * self.delay_us / scan.acquisition.dwell_time_us / n_readout
        position = np.arange(n_readout) - n_readout // 2 if self.delay_us else np.zeros(1)
        phase = self.phase_rad + slope * position
        return np.exp(0.5j * phase[:, None] * latents.line_sign)

    @classmethod
    def oracle(cls, device: str) -> tuple[Check, ...]:
        """Hold the N/2 ghost of an even matrix to cos(phi/2) x(y) - i sin(phi/2) x(y - N/2)."""
        rng = np.random.default_rng(1)
        image = (rng.normal(size=(1, 2, 21, 32)) + 1j * rng.normal(size=(1, 2, 21, 32))).astype(np.complex64)
        spec = cls(phase_rad=0.9, delay_us=3.0)
        scan = Scan(to_device(centred_fft(image), device), Acquisition(fov_mm=(200, 200), dwell_time_us=10))
        latents = spec.draw(scan, rng=rng)
        got = to_device(centred_ifft(spec.apply(scan, latents).kspace), "cpu")
        phase = (0.9 + 2 * np.pi * 0.3 / 21 * (np.arange(21) - 10))[:, None]
        expected = np.cos(phase / 2) * image - 1j * np.sin(phase / 2) * np.roll(image, 16, axis=-1)
        error = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
        return (Check("relative difference to the closed form, 32 lines", 0.0, error, 1e-5),)
