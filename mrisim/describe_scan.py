"""`mrisim info`: what a file is, what its k-space is, and what it lacks."""

from pathlib import Path
from typing import Any

from mrisim import formats
from mrisim.scan import Scan


def describe(path: Path) -> dict[str, Any]:
    """Read a file and return what is known of it.

    Raises
    ------
    DataError
        If the file cannot be read as a scan.
    """
    scan = formats.read(path)
    acquisition = scan.acquisition
    n_lines = scan.matrix[1]
    whole_lines = bool((scan.sampled == scan.sampled.any(axis=0)).all())
    return {
        "file": path.name,
        "format": formats.detect(path),
        "kspace_shape": dict(zip(("slice", "coil", "readout", "phase_encode"), scan.kspace.shape, strict=True)),
        "kspace_origin": acquisition.kspace_origin,
        "contrast": acquisition.contrast,
        "fov_mm": list(acquisition.fov_mm),
        "voxel_mm": [round(value, 4) for value in scan.voxel_mm],
        "recon_shape": list(acquisition.recon_shape) if acquisition.recon_shape else None,
        "readout_oversampling": acquisition.readout_oversampling,
        "acquired_lines": f"{scan.sampled_lines.size} of {n_lines}",
        "acquired_samples": None if whole_lines else f"{scan.sampled.sum()} of {scan.sampled.size}",
        "fully_sampled": scan.fully_sampled,
        "field_strength_t": acquisition.field_strength_t,
        "corrupt_slices": list(formats.corrupt_slices(scan)),
        "missing": _missing(scan),
        "assumed": list(acquisition.assumed),
        "notes": list(acquisition.notes),
    }


def lines(record: dict[str, Any]) -> list[str]:
    """Return the description as text."""
    shape = " x ".join(f"{n} {name}" for name, n in record["kspace_shape"].items())
    text = [f"{record['file']}: {record['format']}", f"  k-space: {record['kspace_origin']}, {shape}"]
    skipped = ("file", "format", "kspace_shape", "kspace_origin")
    for name, value in record.items():
        if name not in skipped and value not in (None, [], ""):
            shown = ", ".join(str(part) for part in value) if isinstance(value, list) else value
            text.append(f"  {name.replace('_', ' ')}: {shown}")
    return text


def _missing(scan: Scan) -> list[str]:
    missing = []
    if scan.csm is None and scan.n_coils > 1:
        missing.append("coil maps (motion, bias field and sense estimate them)")
    if scan.noise_covariance is None:
        missing.append("noise covariance (added noise is white across coils)")
    return missing
