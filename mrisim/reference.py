"""Measure, once and on the clean input, what the artifacts' physical units refer to."""

import numpy as np

from mrisim.coil_sums import energy_of_lines
from mrisim.errors import DataError
from mrisim.fourier import to_device
from mrisim.quality import foreground_mask, rss
from mrisim.scan import Reference, Scan, coil_images

AIR_ROWS, AIR_COLUMNS = 1 / 16, 1 / 8
"""Share of the readout and of the phase-encode axis, at each end, that the air corners of an image take."""
OVERSAMPLED = 1.5
"""Readout oversampling from which the ends of the readout are known to lie outside the object."""


def reference_of(scan: Scan) -> Reference:
    """Return the scan's reference, measuring it if nobody has.

    Raises
    ------
    DataError
        If the k-space holds NaN or Inf, or nothing but zeros.
    """
    return scan.reference if scan.reference is not None else measure_reference(scan)


def measure_reference(scan: Scan) -> Reference:
    """Measure signal, line energies and foreground of the whole volume, one slice at a time."""
    magnitude = np.empty((scan.n_slices, *scan.matrix), np.float32)
    line_energy = np.zeros(scan.matrix[1])
    has_air = scan.acquisition.readout_oversampling >= OVERSAMPLED and scan.n_coils > 1
    air = np.zeros((scan.n_coils, scan.n_coils), complex)
    for index in range(scan.n_slices):
        part = scan.select([index])
        kspace = to_device(part.kspace, "cpu")
        energy = energy_of_lines(kspace[0])
        if not np.isfinite(energy).all():
            raise DataError(f"kspace of slice {part.slice_ids[0]} holds NaN or Inf; expected finite samples")
        line_energy += energy
        images = to_device(coil_images(part), "cpu")
        magnitude[index] = rss(images)[0]
        if has_air:
            air += _corner_covariance(images[0])
    if not line_energy.any():
        raise DataError("kspace holds nothing but zeros; expected a measured signal")
    foreground = foreground_mask(magnitude)
    signal_rms = float(np.sqrt(np.mean(np.square(magnitude[foreground], dtype=np.float64))))
    return Reference(
        signal_rms=signal_rms,
        line_energy=line_energy,
        magnitude=magnitude,
        foreground=foreground,
        sampled=scan.sampled,
        # an image sample carries the noise of the acquired share of k-space only
        air_covariance=air / scan.n_slices / scan.sampled.mean() if has_air and air.any() else None,
        dead_coils=scan.dead_coils,
    )


def _corner_covariance(coil_images: np.ndarray) -> np.ndarray:
    """Return E[x x^H] over the two quietest corners of the coil images (coil, readout, phase_encode)."""
    n_coils, n_rows, n_columns = coil_images.shape
    rows, columns = max(1, round(AIR_ROWS * n_rows)), max(1, round(AIR_COLUMNS * n_columns))
    corners = [
        coil_images[:, row, column].reshape(n_coils, -1).astype(complex)
        for row in (slice(None, rows), slice(-rows, None))
        for column in (slice(None, columns), slice(-columns, None))
    ]
    quiet = np.concatenate(sorted(corners, key=lambda corner: float(np.linalg.norm(corner)))[:2], axis=1)
    return quiet @ quiet.conj().T / quiet.shape[1]
