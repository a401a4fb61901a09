"""Undersampling: fewer phase-encode lines than the field of view asks for.

Cause: accelerated scanning. Appearance of the zero-filled image: equispaced lines fold the object onto itself at N/R
pixels; random lines smear it along phase encode as incoherent streaks; both blur where high lines are missing.

Law: unacquired samples are zero (selected, never multiplied). If R divides N and no calibration lines are kept, the
image is the mean of R copies, each 1/R, shifted by N/R pixels. Of a scan that was acquired with every R0-th line,
equispaced lines are every R-th of those: a grid of R R0. The realised R = acquired lines / kept lines,
calibration lines in, padding out.

2-D data have one phase-encode axis, so whole lines go: random, equispaced and variable-density patterns. A Poisson-disc
pattern needs two phase-encode axes; on 2-D data it would undersample the readout, which no scanner can.

References
----------
Lustig et al. 2007, 10.1002/mrm.21391; Zbontar et al. 2018, arXiv:1811.08839; Uecker et al. 2014, 10.1002/mrm.24751.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from mrisim.artifacts.base import ArtifactSpec, Check, Stage
from mrisim.errors import ConfigError, DataError
from mrisim.fourier import array_module, centred_fft, centred_ifft, to_device
from mrisim.scan import Acquisition, Scan

EQUISPACED_ACS_FRACTION = {2: 0.16, 3: 0.12, 4: 0.08, 8: 0.04, 16: 0.02}
"""Calibration lines of the equispaced pattern shrink with R, as the field does it (papers on fastMRI, 8 % at R = 4)."""

Pattern = Literal["random", "equispaced", "variable-density", "poisson"]


@dataclass(frozen=True)
class UndersamplingLatents:
    """The order in which lines are given up, the offset of the equispaced grid, and the seed of the Poisson disc."""

    line_score: np.ndarray
    """(phase_encode,): uniform numbers; a higher score is kept longer."""
    offset: float
    """0..1: which of the R equispaced grids."""
    poisson_seed: int


class Undersampling(ArtifactSpec):
    """Set the samples that an accelerated scan would not acquire to zero.

    Limits: a zero-filled reconstruction is not what a scanner shows; reconstruct with sense, l1-wavelet or tv for that.
    The time of the kept lines stays that of the input.
    """

    kind: Literal["undersampling"] = "undersampling"
    acceleration: float = Field(default=1.0, ge=1, le=64, description="R: acquired lines over kept lines.")
    pattern: Pattern = "random"
    acs_fraction: float | None = Field(
        default=None, ge=0, le=1, description="Share of lines kept at the centre; none = 8 %, or the equispaced table."
    )
    density_power: float = Field(default=3.0, ge=0, description="Variable density: weight (1 - |k| / k_max)^power.")

    stage: ClassVar[Stage] = Stage.SAMPLING
    scope: ClassVar[Literal["volume", "slice"]] = "volume"
    severity: ClassVar[str] = "acceleration"
    identity: ClassVar[float] = 1.0
    latents_type: ClassVar[type] = UndersamplingLatents
    only_where: ClassVar[dict[str, tuple[str, str]]] = {"density_power": ("pattern", "variable-density")}

    def draw(self, scan: Scan, *, rng: np.random.Generator) -> UndersamplingLatents:
        """Draw one number a line; the patterns of all accelerations come from them, nested."""
        return UndersamplingLatents(
            line_score=rng.random(scan.matrix[1]), offset=rng.random(), poisson_seed=int(rng.integers(2**31))
        )

    def apply(self, scan: Scan, latents: UndersamplingLatents) -> Scan:
        """Keep the acquired samples of the pattern and set the others to zero."""
        xp = array_module(scan.kspace)
        kept = self.sampled_after(scan, latents)
        kspace = xp.where(xp.asarray(kept), scan.kspace, xp.zeros((), scan.kspace.dtype))
        return replace(scan, kspace=kspace, sampled=kept)

    def sampled_after(self, scan: Scan, latents: UndersamplingLatents) -> np.ndarray:
        """Return which of the samples acquired so far are kept."""
        if self.pattern == "poisson":
            return scan.sampled & self._poisson_disc(scan, latents)
        kept = np.zeros(scan.matrix[1], bool)
        kept[self._kept_lines(scan, latents)] = True
        return scan.sampled & kept

    def realised_acceleration(self, scan: Scan, latents: UndersamplingLatents) -> float:
        """Return acquired samples over kept samples."""
        return float(scan.sampled.sum() / self.sampled_after(scan, latents).sum())

    def _kept_lines(self, scan: Scan, latents: UndersamplingLatents) -> np.ndarray:
        lines, centre = scan.sampled_lines, scan.matrix[1] // 2
        distance = np.abs(lines - centre)
        acs = lines[np.lexsort((lines, distance))][: self._n_acs_lines(lines.size)]
        if self.pattern == "equispaced":
            step = round(self.acceleration)
            if step != self.acceleration:
                raise ConfigError(f"acceleration is {self.acceleration}; expected a whole number for equispaced lines")
            # one number gives nested offsets for every step that divides 840
            first = int(latents.offset * 840) % step
            spacing = _grid_spacing(lines)
            on_grid = lines % spacing == lines[0] % spacing
            return np.union1d(acs, lines[on_grid & (lines // spacing % step == first)])
        n_kept = max(1, round(lines.size / self.acceleration))
        if acs.size > n_kept:
            raise ConfigError(
                f"acs_fraction keeps {acs.size} lines; expected at most {n_kept} for acceleration {self.acceleration}"
            )
        score = latents.line_score[lines]
        if self.pattern == "variable-density":
            weight = (1 - distance / (distance.max() + 1)) ** self.density_power
            score = score ** (1 / weight)
        score = np.where(np.isin(lines, acs), 2 + score, score)
        return lines[np.argsort(-score, kind="stable")[:n_kept]]

    def _n_acs_lines(self, n_lines: int) -> int:
        fraction = self.acs_fraction
        if fraction is None:
            fraction = 0.08
            if self.pattern == "equispaced":
                table = EQUISPACED_ACS_FRACTION
                fraction = table[min(table, key=lambda r: abs(np.log(r / self.acceleration)))]
        return round(fraction * n_lines)

    def _poisson_disc(self, scan: Scan, latents: UndersamplingLatents) -> np.ndarray:
        if scan.acquisition.n_phase_encode_axes != 2:
            raise DataError("pattern is 'poisson' on a scan with one phase-encode axis; expected two")
        from sigpy.mri import poisson

        fraction = 0.08 if self.acs_fraction is None else self.acs_fraction
        calibration = tuple(round(fraction * n) for n in scan.matrix)
        try:
            disc = poisson(
                scan.matrix, self.acceleration, calib=calibration, dtype=np.float32, seed=latents.poisson_seed
            )
        except ValueError:
            raise ConfigError(
                f"acceleration is {self.acceleration}; no Poisson disc of {scan.matrix} samples reaches it"
            ) from None
        return disc.astype(bool)

    @classmethod
    def oracle(cls, device: str) -> tuple[Check, ...]:
        """Hold equispaced lines without calibration to R copies of 1/R at N/R pixels."""
        rng = np.random.default_rng(2)
        image = (rng.normal(size=(1, 1, 15, 24)) + 1j * rng.normal(size=(1, 1, 15, 24))).astype(np.complex64)
        scan = Scan(to_device(centred_fft(image), device), Acquisition(fov_mm=(200, 200)))
        spec = cls(acceleration=4, pattern="equispaced", acs_fraction=0)
        latents = UndersamplingLatents(np.zeros(24), 0.0, 0)  # offset 0: lines 0, 4, 8 ... and DC at 12 among them
        got = to_device(centred_ifft(spec.apply(scan, latents).kspace), "cpu")
        expected = sum(np.roll(image, 6 * copy, axis=-1) for copy in range(4)) / 4
        error = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
        return (
            Check("relative difference to four folded copies", 0.0, error, 1e-5),
            Check("realised acceleration", 4.0, spec.realised_acceleration(scan, latents), 0.0),
        )


def _grid_spacing(lines: np.ndarray) -> int:
    """Return R of a scan that was acquired with every R-th line and more at the centre, 1 for any other.

    Of such a scan every line, or none, lies on a grid of its own R: the lines to keep are counted among its lines.
    """
    widest = int(np.diff(lines).max(initial=1))
    grid = np.arange(lines[0], lines[-1] + 1, widest)
    more = np.setdiff1d(lines, grid)
    block = np.arange(more[0], more[-1] + 1) if more.size else more
    return widest if bool(np.isin(np.union1d(grid, block), lines).all()) else 1
