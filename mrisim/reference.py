"""Measure, once and on the clean input, what the artifacts' physical units refer to."""

import numpy as np

from mrisim.errors import DataError
from mrisim.fourier import to_device
from mrisim.quality import foreground_mask, rss
from mrisim.scan import Reference, Scan, coil_images


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
    for index in range(scan.n_slices):
        part = scan.select([index])
        kspace = to_device(part.kspace, "cpu")
        energy = np.square(np.abs(kspace), dtype=np.float64).sum(axis=(0, 1, 2))
        if not np.isfinite(energy).all():
            raise DataError(f"kspace of slice {part.slice_ids[0]} holds NaN or Inf; expected finite samples")
        line_energy += energy
        magnitude[index] = rss(to_device(coil_images(part), "cpu"))[0]
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
    )
