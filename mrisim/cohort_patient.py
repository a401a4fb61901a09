"""One patient of a cohort: the subject, the scanner that it met, and one multi-coil volume per contrast.

Every random quantity has its own named stream (seed, "cohort", anatomy, patient, purpose), so that a patient's bytes
depend neither on the other patients, nor on the order, nor on the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from mrisim.cohort_knee import PaintedSlice
from mrisim.cohort_protocol import ACQUISITIONS, RASTER_FACTOR, CohortSpec, VirtualScanner
from mrisim.formats.header import HYDROGEN_MHZ_PER_T
from mrisim.fourier import centred_ifft
from mrisim.phantoms.fields import SmoothField, displaced_along_rows, draw_field
from mrisim.phantoms.scanner import Receiver, correlated_noise, receiver, sampled, transmit_reach
from mrisim.phantoms.tissue import fat_water_shift_hz
from mrisim.quality import rss
from mrisim.scan import Acquisition, Scan
from mrisim.seeding import stream

SIGNAL_SCALE = 5e-4
"""Units of the k-space per unit of proton density signal: puts the images at 1e-4 ... 1e-3, where fastMRI's lie."""
GAIN_SPREAD = 0.3
"""Standard deviation of the logarithm of a file's receiver gain, as in the pilot (phantoms.md, A)."""
PHASE_STD_RAD = 0.6
OFF_RESONANCE_STD_PPM = (0.05, 0.30)
"""Range over patients of what the shim leaves, an assumption: 6 to 38 Hz at 3 T."""
COIL_JITTER = 0.06
"""Standard deviation of the logarithm of the ring's radius from patient to patient."""


@dataclass(frozen=True)
class Examination:
    """What all volumes of a patient share."""

    subject: Any
    scanner: VirtualScanner
    array: Receiver
    off_resonance_ppm: SmoothField
    phase_rad: SmoothField
    noise_std: float
    """Of each component, in units of the proton density signal."""
    patient_id: str


@dataclass(frozen=True)
class CohortVolume:
    """One file to be written."""

    split: str
    stem: str
    contrast: str
    scan: Scan
    image: np.ndarray
    """(slice, rows, columns), root sum of squares."""
    csm: np.ndarray
    """(coil, readout, phase_encode): the true maps, the same for all slices."""
    findings: tuple[tuple[Any, ...], ...]
    """Per slice: boxes on the image grid."""
    segmentation: np.ndarray | None
    """(slice, rows, columns) labels of BraTS 2023, or None."""
    stripped: np.ndarray | None
    """(slice, rows, columns), bool: inside of the skull, or None."""
    positions_mm: tuple[float, ...]
    """Of the slices, through the plane."""
    attributes: dict[str, str | float]
    """What varies over the cohort; goes into the file's attributes and the table of files."""


def anatomy_module(spec: CohortSpec) -> ModuleType:
    """Return the module that draws and renders this anatomy."""
    if spec.anatomy == "knee":
        from mrisim import cohort_knee

        return cohort_knee
    from mrisim import cohort_brain

    return cohort_brain


def examine(spec: CohortSpec, patient: int) -> Examination:
    """Draw the subject, its scanner, and how it lies in it."""
    scanner = spec.scanners[int(_stream(spec, patient, "scanner").integers(len(spec.scanners)))]
    rng = _stream(spec, patient, "examination")
    shorter_mm = min(spec.fov_mm)
    ring_mm = scanner.ring_radius_over_fov * shorter_mm * float(np.exp(rng.normal(0, COIL_JITTER)))
    fine = (RASTER_FACTOR * scanner.matrix[0], RASTER_FACTOR * scanner.matrix[1])
    array = receiver(
        fine,
        scanner.matrix,
        spec.fov_mm,
        n_coils=scanner.n_coils,
        radius_mm=max(ring_mm, 0.5 * shorter_mm),
        offset_mm=float(rng.uniform(-0.1, 0.1) * shorter_mm),
    )
    low, high = np.log(scanner.noise_std)
    noise_std = anatomy_module(spec).NOISE_FACTOR * float(np.exp(rng.uniform(low, high)))
    off_resonance = draw_field(std=float(rng.uniform(*OFF_RESONANCE_STD_PPM)), rng=rng)
    phase = draw_field(std=PHASE_STD_RAD, constant=float(rng.uniform(0, 2 * np.pi)), rng=rng)
    return Examination(
        subject=anatomy_module(spec).draw(spec, rng=_stream(spec, patient, "subject")),
        scanner=scanner,
        array=array,
        off_resonance_ppm=off_resonance,
        phase_rad=phase,
        noise_std=noise_std,
        patient_id=patient_id(spec, patient),
    )


def patient_id(spec: CohortSpec, patient: int) -> str:
    """Return the patient's key: the five digits of BraTS for the brain, whose NIfTI files carry nothing else."""
    return f"{patient:05d}" if spec.anatomy == "brain" else f"mrisim-knee-{spec.seed}-{patient:05d}"


def acquire_patient(spec: CohortSpec, patient: int) -> Iterator[CohortVolume]:
    """Yield the volumes of a patient, one per contrast; each slice is painted once, for all of them."""
    examination, source = examine(spec, patient), anatomy_module(spec)
    scanner = examination.scanner
    files = [_file_draws(spec, patient, contrast) for contrast in spec.contrasts]
    covariances = [
        2 * (SIGNAL_SCALE * gain * examination.noise_std) ** 2 * examination.array.noise_covariance for gain, _ in files
    ]
    shape = (spec.n_slices, scanner.n_coils, *scanner.matrix)
    stacks = [np.empty(shape, np.complex64) for _ in files]
    slices = []
    positions_mm = source.slice_positions(examination.subject, spec.n_slices, spec.plane)
    for index, position_mm in enumerate(positions_mm.tolist()):
        painted = paint_slice(spec, examination, position_mm)
        slices.append((painted.findings, painted.segmentation, painted.stripped))
        for contrast, (gain, rng), covariance, stack in zip(spec.contrasts, files, covariances, stacks, strict=True):
            clean = receive(spec, examination, painted, contrast, position_mm)
            noise = correlated_noise(clean.shape, covariance, rng=rng, single_precision=True)
            stack[index] = np.float32(SIGNAL_SCALE * gain) * clean + noise
    findings, segmentation, stripped = zip(*slices, strict=True)
    for contrast, (gain, _), covariance, stack in zip(spec.contrasts, files, covariances, stacks, strict=True):
        acquisition = _acquisition(spec, examination, contrast, source.PROTOCOLS[contrast])
        yield CohortVolume(
            split=spec.split_of(patient),
            stem=_stem(spec, patient, contrast),
            contrast=contrast,
            scan=Scan(stack, acquisition, noise_covariance=covariance),
            image=rss(centred_ifft(stack)),
            csm=examination.array.csm,
            findings=findings,
            segmentation=None if segmentation[0] is None else np.stack(segmentation),
            stripped=None if stripped[0] is None else np.stack(stripped),
            positions_mm=tuple(positions_mm.tolist()),
            attributes=_attributes(spec, examination, gain),
        )


def paint_slice(spec: CohortSpec, examination: Examination, position_mm: float) -> PaintedSlice:
    """Paint one slice of the examined subject on the fine raster."""
    painted: PaintedSlice = anatomy_module(spec).paint(
        examination.subject,
        plane=spec.plane,
        position_mm=position_mm,
        thickness_mm=spec.slice_thickness_mm,
        raster=examination.array.csm_fine.shape[-2:],
        matrix=examination.scanner.matrix,
        fov_mm=spec.fov_mm,
        field_strength_t=examination.scanner.field_strength_t,
    )
    return painted


def receive(
    spec: CohortSpec, examination: Examination, painted: PaintedSlice, contrast: str, position_mm: float
) -> np.ndarray:
    """Return the noise-free k-space (coil, readout, phase_encode) of one slice in one contrast.

    The signal is displaced before it is weighted with the coils: they are taken where it is seen, not where it arose,
    a fraction of a pixel in maps that change over centimetres; so the stored maps fit the k-space exactly.
    """
    scanner, array, source = examination.scanner, examination.array, anatomy_module(spec)
    raster = array.csm_fine.shape[-2:]
    pools = np.tensordot(
        source.weights(examination.subject, contrast, scanner.field_strength_t), painted.fractions, axes=1
    )
    if source.RUNS_THROUGH_FOV:
        pools = pools * transmit_reach(raster[0])[:, None]
    off_resonance_ppm = examination.off_resonance_ppm.on_slice(raster, spec.fov_mm, position_mm)
    off_resonance_hz = HYDROGEN_MHZ_PER_T * scanner.field_strength_t * off_resonance_ppm
    shift_rows = off_resonance_hz / scanner.bandwidth_hz_per_pixel * (raster[0] / scanner.matrix[0])
    phase = np.exp(1j * examination.phase_rad.on_slice(raster, spec.fov_mm, position_mm)).astype(np.complex64)
    water, fat = displaced_along_rows(pools, shift_rows).astype(np.float32) * phase
    fat_shift_pixels = fat_water_shift_hz(scanner.field_strength_t) / scanner.bandwidth_hz_per_pixel
    return sampled(water, fat, array, fat_shift_pixels=fat_shift_pixels)


def _file_draws(spec: CohortSpec, patient: int, contrast: str) -> tuple[float, np.random.Generator]:
    """Return a file's receiver gain, and its stream of noise."""
    rng = _stream(spec, patient, "volume", contrast)
    return float(np.exp(rng.normal(0, GAIN_SPREAD))), rng


def _stem(spec: CohortSpec, patient: int, contrast: str) -> str:
    number = spec.file_number(patient, contrast)
    return f"file{number}" if spec.anatomy == "knee" else f"file_brain_{ACQUISITIONS['brain'][contrast]}_{number}"


def _attributes(spec: CohortSpec, examination: Examination, gain: float) -> dict[str, str | float]:
    scanner = examination.scanner
    return {
        "scanner": scanner.name,
        "field_strength_t": scanner.field_strength_t,
        "bandwidth_hz_per_pixel": scanner.bandwidth_hz_per_pixel,
        "ring_radius_over_fov": scanner.ring_radius_over_fov,
        "noise_std": examination.noise_std,
        "gain": gain,
        "plane": spec.plane,
    }


def _acquisition(spec: CohortSpec, examination: Examination, contrast: str, protocol: Any) -> Acquisition:
    scanner = examination.scanner
    return Acquisition(
        fov_mm=spec.fov_mm,
        slice_thickness_mm=spec.slice_thickness_mm,
        repetition_time_ms=float(protocol.tr_ms),
        echo_time_ms=float(protocol.te_ms),
        echo_spacing_ms=float(protocol.echo_spacing_ms),
        echo_train_length=int(protocol.echo_train_length),
        dwell_time_us=1e6 / (scanner.bandwidth_hz_per_pixel * scanner.matrix[0]),
        field_strength_t=scanner.field_strength_t,
        contrast=ACQUISITIONS[spec.anatomy][contrast],
        patient_id=examination.patient_id,
        kspace_origin="simulated",
    )


def _stream(spec: CohortSpec, patient: int, *purpose: str) -> np.random.Generator:
    return stream(spec.seed, "cohort", spec.anatomy, patient, *purpose)
