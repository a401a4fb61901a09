"""The embedded scans: the default that the commands use without an input, and the references of the level table."""

from functools import cache

import numpy as np

from mrisim.phantoms.knee import PROTOCOLS, draw_subject, render_slice, slice_positions
from mrisim.phantoms.scanner import acquire
from mrisim.phantoms.tissue import fat_water_shift_hz
from mrisim.scan import Acquisition, Scan
from mrisim.seeding import stream

FOV_MM = (160.0, 160.0)
OVER_RASTER = 2
FIELD_STRENGTH_T = 3.0
NOISE_STD = 0.01
"""Thermal noise of the clean scan, in units of the proton density signal: SNR of about 50 in the RSS image."""
N_REFERENCE_SUBJECTS = 8
REFERENCE_MATRIX = (128, 128)


def default_scan(*, matrix: tuple[int, int] = (256, 256), n_coils: int = 8) -> Scan:
    """Return the embedded default: one sagittal slice of a procedural knee, proton density, with its true coil maps.

    Parameters
    ----------
    matrix : (readout, phase_encode)
    n_coils : int

    Returns
    -------
    Scan
        One slice; a simulation, the same on every call.
    """
    return _knee_scan(0, matrix, n_coils)


def reference_scans(n_coils: int = 8, *, n_subjects: int = N_REFERENCE_SUBJECTS) -> tuple[Scan, ...]:
    """Return the scans on which the levels are calibrated: one slice of each of several knees, none the default's."""
    return tuple(_knee_scan(1 + subject, REFERENCE_MATRIX, n_coils) for subject in range(n_subjects))


@cache
def _knee_scan(number: int, matrix: tuple[int, int], n_coils: int) -> Scan:
    rng = stream(0, "embedded knee", number)
    subject = draw_subject(rng=rng)
    # Slices away from the midline and through it, in turn; the default shows the cruciate ligaments.
    positions = slice_positions(subject, 8, "sagittal")
    protocol = PROTOCOLS["pd"]
    raster = (OVER_RASTER * matrix[0], OVER_RASTER * matrix[1])
    knee = render_slice(
        subject,
        plane="sagittal",
        position_mm=float(positions[(4 + 3 * number) % 8]),
        matrix=raster,
        fov_mm=FOV_MM,
        field_strength_t=FIELD_STRENGTH_T,
        contrast="pd",
    )
    acquisition = Acquisition(
        fov_mm=FOV_MM,
        slice_thickness_mm=3.0,
        repetition_time_ms=protocol.tr_ms,
        echo_time_ms=protocol.te_ms,
        echo_spacing_ms=protocol.echo_spacing_ms,
        echo_train_length=protocol.echo_train_length,
        dwell_time_us=1e6 / (220.0 * matrix[0]),  # 220 Hz per pixel
        field_strength_t=FIELD_STRENGTH_T,
        contrast="PD",
        patient_id=f"phantom-knee-{number}",
    )
    water, fat = (np.asarray(part, np.float32) for part in (knee.water, knee.fat))
    return acquire(
        water,
        fat,
        acquisition,
        matrix,
        rng=rng,
        n_coils=n_coils,
        noise_std=NOISE_STD,
        fat_shift_hz=fat_water_shift_hz(FIELD_STRENGTH_T),
    )
