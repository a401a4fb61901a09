"""What a cohort is: anatomy, patients per split, contrasts, virtual scanners, seed. The spec is config and hash key.

Attributes vary over contrast, field strength, scanner and anatomy, so that every P -> Q shift of the third paper
(Lin & Heckel 2024, arXiv:2312.10271) has its counterpart. A patient belongs to one scanner, drawn from the patient's
own stream, and has one file per contrast.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mrisim.errors import ConfigError

GENERATOR = "3"
"""Version of the cohort's bytes: raise it with every change after which the same spec gives other files."""
Anatomy = Literal["knee", "brain"]
SPLITS = ("train", "val", "test")
ACQUISITIONS: dict[str, dict[str, str]] = {
    "knee": {"pd": "CORPD_FBK", "pdfs": "CORPDFS_FBK"},
    "brain": {"t1": "AXT1", "t1ce": "AXT1POST", "t2": "AXT2", "flair": "AXFLAIR"},
}
"""Contrast -> value of the attribute ``acquisition``, as in fastMRI. The knee's says COR whatever plane was simulated;
the attribute ``mrisim_plane`` holds the plane."""
RASTER_FACTOR = 2
"""The object is rasterised this much finer than the image matrix: no inverse crime."""
SECONDS_PER_SLICE = 0.03
"""One slice on a raster of 192 x 192 with 4 coils, one core: 22 ms measured on a 2-core machine, and some reserve."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VirtualScanner(_Part):
    """One scanner: what differs between sites besides the patients. All values are assumptions of the simulation."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    field_strength_t: Positive
    matrix: tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]]
    """(readout, phase_encode)."""
    n_coils: Annotated[int, Field(ge=1)]
    ring_radius_over_fov: Annotated[float, Field(ge=0.5, le=2)]
    """Distance of the coils from the isocentre over the shorter side of the field of view: shading falls with it."""
    bandwidth_hz_per_pixel: Positive
    """Sets how far fat and off-resonance are displaced along the readout."""
    noise_std: tuple[Positive, Positive]
    """Range of the noise's standard deviation of each component, in units of the proton density signal; the patient's
    value is drawn from it."""

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Self:
        if self.noise_std[0] > self.noise_std[1]:
            raise ValueError(f"noise_std is {self.noise_std}; expected (low, high)")
        return self


SCANNERS = (
    VirtualScanner(
        name="sim3t-a", field_strength_t=3.0, matrix=(96, 96), n_coils=4, ring_radius_over_fov=0.60,
        bandwidth_hz_per_pixel=440, noise_std=(0.009, 0.018),
    ),
    VirtualScanner(
        name="sim3t-b", field_strength_t=3.0, matrix=(128, 112), n_coils=6, ring_radius_over_fov=0.75,
        bandwidth_hz_per_pixel=300, noise_std=(0.012, 0.024),
    ),
    VirtualScanner(
        name="sim15t-a", field_strength_t=1.5, matrix=(96, 96), n_coils=4, ring_radius_over_fov=0.60,
        bandwidth_hz_per_pixel=220, noise_std=(0.018, 0.036),
    ),
    VirtualScanner(
        name="sim15t-b", field_strength_t=1.5, matrix=(112, 96), n_coils=3, ring_radius_over_fov=0.85,
        bandwidth_hz_per_pixel=150, noise_std=(0.014, 0.028),
    ),
)  # fmt: skip
"""The scanners at hand; the first is the default cohort's. Noise is doubled at half the field: signal goes with B0."""


class SplitSizes(_Part):
    """Patients per split; patient numbers run through train, val and test in this order."""

    train: Annotated[int, Field(ge=0)]
    val: Annotated[int, Field(ge=0)]
    test: Annotated[int, Field(ge=0)]

    @property
    def total(self) -> int:
        """Number of patients."""
        return self.train + self.val + self.test

    @model_validator(mode="after")
    def _somebody_is_there(self) -> Self:
        if self.total == 0:
            raise ValueError("a cohort of zero patients; expected at least one")
        return self


class CohortSpec(_Part):
    """The request for a cohort: equal specs give equal bytes."""

    anatomy: Anatomy
    n_patients: SplitSizes
    n_slices: Annotated[int, Field(ge=1)] = 8
    plane: Literal["sagittal", "coronal", "axial"] = "sagittal"
    fov_mm: tuple[Positive, Positive] = (118.0, 118.0)
    """(readout, phase_encode)."""
    slice_thickness_mm: Positive = 3.0
    contrasts: Annotated[tuple[str, ...], Field(min_length=1)] = ("pd",)
    scanners: Annotated[tuple[VirtualScanner, ...], Field(min_length=1)] = SCANNERS[:1]
    lesions: Literal["random", "none", "glioma", "white_matter"] = "random"
    """Random: some patients have some. The kinds by name are the brain's."""
    template_sha256: str = ""
    """Content of the real head that stands in for the procedural one; empty = procedural."""
    template: Path | None = Field(default=None, exclude=True, repr=False)
    """Where that file lies here: no part of the identity, and written nowhere."""
    seed: Annotated[int, Field(ge=0)] = 0
    generator: str = GENERATOR

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        known = ACQUISITIONS[self.anatomy]
        unknown = [name for name in self.contrasts if name not in known]
        if unknown:
            raise ValueError(f"contrast {unknown[0]!r} is none of the {self.anatomy}; expected {', '.join(known)}")
        for what, values in (("contrast", self.contrasts), ("scanner", [one.name for one in self.scanners])):
            if len(set(values)) != len(values):
                raise ValueError(f"a {what} is named twice: {', '.join(values)}")
        planes = ("sagittal", "coronal") if self.anatomy == "knee" else ("axial",)
        if self.plane not in planes:
            raise ValueError(f"plane is {self.plane!r}; expected {' or '.join(planes)} for the {self.anatomy}")
        if self.anatomy == "knee" and self.lesions not in ("random", "none"):
            raise ValueError(f"lesions is {self.lesions!r}; expected random or none for the knee")
        if self.template_sha256 and self.anatomy != "brain":
            raise ValueError("template is a head; expected the brain's cohort")
        if self.generator != GENERATOR:
            raise ValueError(f"generator is {self.generator!r}; this program makes version {GENERATOR!r}")
        return self

    @property
    def sha256(self) -> str:
        """Identity of the request."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    def split_of(self, patient: int) -> str:
        """Return the split of a patient number."""
        if patient < self.n_patients.train:
            return "train"
        return "val" if patient < self.n_patients.train + self.n_patients.val else "test"

    def file_number(self, patient: int, contrast: str) -> int:
        """Return the number in a file's name, as fastMRI counts its volumes."""
        return 1_000_000 + patient * len(self.contrasts) + self.contrasts.index(contrast)

    @property
    def n_files(self) -> int:
        """Number of HDF5 files."""
        return self.n_patients.total * len(self.contrasts)

    @property
    def bytes_per_patient(self) -> int:
        """Size on disk of the largest patient, from the shapes; the maps are stored once for all slices."""
        largest = 0
        for scanner in self.scanners:
            n_pixels = scanner.matrix[0] * scanner.matrix[1]
            kspace, image, maps = 8 * scanner.n_coils * self.n_slices, 4 * self.n_slices, 8 * scanner.n_coils
            nifti = 5 * self.n_slices if self.anatomy == "brain" else 0
            largest = max(largest, n_pixels * (kspace + image + maps + nifti) + 40_000)
        return largest * len(self.contrasts)

    def seconds(self, n_workers: int) -> float:
        """Return about how long the cohort takes, from `SECONDS_PER_SLICE` and the size of the raster."""
        pixels = sum(one.matrix[0] * one.matrix[1] for one in self.scanners) / len(self.scanners) * RASTER_FACTOR**2
        return self.n_files * self.n_slices * SECONDS_PER_SLICE * max(pixels / 192**2, 0.3) / max(n_workers, 1)


def cohort_spec(**values: Any) -> CohortSpec:
    """Return a validated spec.

    Raises
    ------
    ConfigError
        One line: the place, what was expected, what was found.
    """
    try:
        return CohortSpec(**values)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the cohort"
        message = problem["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{place}: {message}") from None


def default_spec() -> CohortSpec:
    """Return the embedded default: 480 / 60 / 100 knees, 8 sagittal slices, PD at 3 T, 4 coils, 96 x 96."""
    return CohortSpec(anatomy="knee", n_patients=SplitSizes(train=480, val=60, test=100))


def choose_scanners(
    fields_t: Iterable[float], *, matrix: int | None = None, n_coils: int | None = None, names: Iterable[str] = ()
) -> tuple[VirtualScanner, ...]:
    """Return the virtual scanners of some field strengths or names, with another matrix or number of coils if given.

    No field and no name: the first scanner.

    Raises
    ------
    ConfigError
        If there is no such scanner.
    """
    fields, wanted = tuple(fields_t), tuple(names)
    have_fields = {scanner.field_strength_t for scanner in SCANNERS}
    for field in fields:
        if field not in have_fields:
            text = ", ".join(f"{value:g}" for value in sorted(have_fields))
            raise ConfigError(f"no virtual scanner at {field:g} T; expected {text} (fields with cited tissue values)")
    for name in wanted:
        if name not in {scanner.name for scanner in SCANNERS}:
            raise ConfigError(f"no virtual scanner {name!r}; expected {', '.join(one.name for one in SCANNERS)}")
    chosen = [one for one in SCANNERS if one.field_strength_t in fields or one.name in wanted] or list(SCANNERS[:1])
    changes: dict[str, Any] = {}
    if matrix is not None:
        changes["matrix"] = (matrix, matrix)
    if n_coils is not None:
        changes["n_coils"] = n_coils
    try:
        return tuple(VirtualScanner(**{**dict(scanner), **changes}) for scanner in chosen)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ConfigError(f"{problem['loc'][0]}: {problem['msg']}; got {problem['input']!r}") from None


def split_sizes(text: str) -> SplitSizes:
    """Return the patients per split from "480/60/100", or from a total that is shared as 75 / 10 / 15 %.

    Raises
    ------
    ConfigError
        If the text is neither, or nobody is left.
    """
    parts = text.split("/")
    if len(parts) not in (1, 3) or not all(part.strip().isdigit() for part in parts):
        raise ConfigError(f"patients is {text!r}; expected a number, or train/val/test as in 480/60/100")
    numbers = [int(part) for part in parts]
    if sum(numbers) == 0:
        raise ConfigError("patients is 0; expected at least one patient")
    if len(numbers) == 1:
        total = numbers[0]
        n_val, n_test = round(0.10 * total), round(0.15 * total)
        numbers = [total - n_val - n_test, n_val, n_test]
    return SplitSizes(train=numbers[0], val=numbers[1], test=numbers[2])
