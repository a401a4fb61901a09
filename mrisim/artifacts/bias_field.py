"""Bias field: smooth shading of the image by the receive coils (B1-).

Cause: surface coils see what is near them better; an element is off or badly positioned; no intensity correction was
made. Appearance: one side of the object bright, the other dark, over centimetres.

Law: the coil maps become b S with b = exp(s g), g a polynomial of order 3 over the volume, of range 1 and
magnitude-squared-weighted mean 0 over the foreground, s = ln(range_ratio). In delta form, y' = y + F (b - 1) S x, so
that the noise, which the coils' sensitivity does not shade, stays as it was measured. Where there is no noise the RSS
image is multiplied by exactly b.

References
----------
Roemer et al. 1990, 10.1002/mrm.1910160203; Sled, Zijdenbos & Evans 1998, 10.1109/42.668698 (smooth multiplicative
fields).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from mrisim.artifacts.base import ArtifactSpec, Check, Stage
from mrisim.fourier import array_module, centred_fft, to_device
from mrisim.reference import reference_of
from mrisim.scan import Acquisition, ObjectModel, Scan, coil_images

ORDER = 3
_EXPONENTS = np.array([e for e in product(range(ORDER + 1), repeat=3) if 0 < sum(e) <= ORDER])
"""(monomial, 3): powers of (slice, readout, phase encode), the constant left out."""


@dataclass(frozen=True)
class BiasFieldLatents:
    """The unit field g of a volume."""

    coefficient: np.ndarray
    """(monomial,): of the polynomial before it is normalised."""
    mean: float
    range: float
    """Weighted mean and foreground range of the polynomial: g = (polynomial - mean) / range."""
    lowest: float
    highest: float
    """Foreground extremes of g; outside the foreground it is held between them."""
    n_slices: int
    """Slices that the volume has by their numbers, missing ones counted."""


class BiasField(ArtifactSpec):
    """Multiply the coil sensitivities by a smooth field.

    Limits: receive shading only: the flip angle's B1+ changes contrast and needs tissue maps.
    """

    kind: Literal["bias-field"] = "bias-field"
    range_ratio: float = Field(
        default=1.0, ge=1, le=1000, description="Largest over smallest value of the field in the foreground."
    )

    stage: ClassVar[Stage] = Stage.COILS
    scope: ClassVar[Literal["volume", "slice"]] = "volume"
    severity: ClassVar[str] = "range_ratio"
    identity: ClassVar[float] = 1.0
    needs_object_model: ClassVar[bool] = True
    latents_type: ClassVar[type] = BiasFieldLatents

    def draw(self, scan: Scan, *, rng: np.random.Generator) -> BiasFieldLatents:
        """Draw the polynomial and normalise it over the foreground of the volume."""
        coefficient = rng.normal(size=len(_EXPONENTS))
        reference = reference_of(scan)
        # A volume may lack slices: each has the place that its number gives it. (A part of a volume is measured whole.)
        n_measured = reference.magnitude.shape[0]
        slice_ids = scan.slice_ids if scan.n_slices == n_measured else range(n_measured)
        n_slices = max(slice_ids) + 1
        field = np.stack([_polynomial(coefficient, scan.matrix, z, n_slices) for z in slice_ids])
        inside = field[reference.foreground]
        weight = np.square(reference.magnitude[reference.foreground], dtype=np.float64)
        mean, extent = float(np.average(inside, weights=weight)), float(np.ptp(inside)) or 1.0
        return BiasFieldLatents(
            coefficient=coefficient,
            mean=mean,
            range=extent,
            lowest=(float(inside.min()) - mean) / extent,
            highest=(float(inside.max()) - mean) / extent,
            n_slices=n_slices,
        )

    def apply(self, scan: Scan, latents: BiasFieldLatents) -> Scan:
        """Add F (b - 1) S x to the acquired samples, and shade the maps of the object model."""
        model = scan.object_model
        assert model is not None, "corrupt() attaches the object model"
        xp = array_module(scan.kspace)
        field = xp.asarray(
            np.stack([self.field(scan.matrix, latents, z) for z in scan.slice_ids]), model.image.real.dtype
        )
        added = centred_fft((field - 1)[:, None] * model.csm * model.image[:, None])
        kspace = xp.where(xp.asarray(scan.sampled), scan.kspace + added, scan.kspace)
        shaded = replace(model, csm=field[:, None] * model.csm)
        return replace(scan, kspace=kspace.astype(scan.kspace.dtype), object_model=shaded)

    def field(self, matrix: tuple[int, int], latents: BiasFieldLatents, slice_id: int) -> np.ndarray:
        """Return b of one slice: (readout, phase_encode)."""
        polynomial = _polynomial(latents.coefficient, matrix, slice_id, latents.n_slices)
        unit = np.clip((polynomial - latents.mean) / latents.range, latents.lowest, latents.highest)
        return np.exp(np.log(self.range_ratio) * unit)

    @classmethod
    def oracle(cls, device: str) -> tuple[Check, ...]:
        """Hold the coil images of a noise-free scan to b times themselves, and b to its range."""
        rng = np.random.default_rng(3)
        image = (rng.normal(size=(1, 20, 33)) + 1j * rng.normal(size=(1, 20, 33))).astype(np.complex64)
        csm = (rng.normal(size=(1, 3, 20, 33)) + 1j * rng.normal(size=(1, 3, 20, 33))).astype(np.complex64)
        clean = csm * image[:, None]
        scan = Scan(centred_fft(clean), Acquisition(fov_mm=(200, 200)))
        spec = cls(range_ratio=3.0)
        latents = spec.draw(scan, rng=rng)
        model = ObjectModel(to_device(image, device), to_device(csm, device), (0.0,), "true", False)
        on_device = replace(scan, kspace=to_device(scan.kspace, device), object_model=model)
        got = to_device(coil_images(spec.apply(on_device, latents)), "cpu")
        field = spec.field(scan.matrix, latents, 0)
        error = float(np.linalg.norm(got - field * clean) / np.linalg.norm(field * clean))
        inside = field[reference_of(scan).foreground[0]]
        return (
            Check("relative difference of the coil images to b times the clean ones", 0.0, error, 1e-5),
            Check("foreground range of b", 3.0, float(inside.max() / inside.min()), 1e-9),
        )


def _polynomial(coefficient: np.ndarray, matrix: tuple[int, int], slice_id: int, n_slices: int) -> np.ndarray:
    """Evaluate the polynomial on one slice; every coordinate runs from -1 to 1 over the volume."""
    z = 0.0 if n_slices == 1 else 2 * slice_id / (n_slices - 1) - 1
    rows, columns = (2 * (np.arange(n) - n // 2) / n for n in matrix)
    in_plane = np.zeros((ORDER + 1, ORDER + 1))
    for value, (slice_power, row_power, column_power) in zip(coefficient, _EXPONENTS, strict=True):
        in_plane[row_power, column_power] += value * z**slice_power
    powers = np.arange(ORDER + 1)
    return (rows[:, None] ** powers) @ in_plane @ (columns ** powers[:, None])
