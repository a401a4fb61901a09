"""BART cfl/hdr: complex64 in column-major order, sixteen dimensions, a text header.

``x.hdr`` holds ``# Dimensions`` and the sizes; ``x.cfl`` the samples. READ, PHASE1, PHASE2, COIL are dimensions 0 to 3,
SLICE is 13. BART's ``fft -u`` is `mrisim.fourier.centred_fft`. A sample that is zero in every coil and slice counts as
not acquired, as in BART's own ``pattern``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrisim.errors import DataError
from mrisim.formats.guards import reading, selected, writing
from mrisim.fourier import centred_fft, centred_ifft
from mrisim.scan import Acquisition, Scan

N_DIMS = 16
READ, PHASE1, PHASE2, COIL, SLICE = 0, 1, 2, 3, 13
DIMENSION_NAMES = (
    "READ", "PHASE1", "PHASE2", "COIL", "MAPS", "TE", "COEFF", "COEFF2",
    "ITER", "CSHIFT", "TIME", "TIME2", "LEVEL", "SLICE", "AVG", "BATCH",
)  # fmt: skip

UNSTATED = (
    "fov_mm", "slice_thickness_mm", "repetition_time_ms", "echo_time_ms", "echo_spacing_ms",
    "echo_train_length", "dwell_time_us", "field_strength_t", "readout_oversampling", "kspace_origin",
)  # fmt: skip
"""Fields of Acquisition that a cfl file does not state; 1 mm pixels are assumed."""


RECONSTRUCTION = "_reconstruction_"
"""What stands between the name of a scan and that of a method in the name of the image made from it."""
LEAST_CENTRAL_SHARE = 0.25
"""Of the energy. K-space of phantoms, knees and heads has 0.6 to 0.99, images 0.03 to 0.1, white noise a sixteenth."""


def base_path(path: Path) -> Path:
    """Return x for x, x.cfl and x.hdr."""
    return path.with_suffix("") if path.suffix in (".cfl", ".hdr") else path


def _pair(path: Path) -> tuple[Path, Path]:
    base = base_path(path)
    return base.with_name(base.name + ".cfl"), base.with_name(base.name + ".hdr")


def files_written(path: Path, name: str) -> list[Path]:
    """Return the files that `write` makes of a path and the name of a reconstruction."""
    return [*_pair(path), *_pair(_image_path(path, name))]


def _image_path(path: Path, name: str) -> Path:
    base = base_path(path)
    return base.with_name(f"{base.name}{RECONSTRUCTION}{name}")


def read_cfl(path: Path) -> np.ndarray:
    """Read a cfl/hdr pair.

    Returns
    -------
    complex64 array of 16 dimensions or more, column-major

    Raises
    ------
    DataError
        If one of the files is missing or their sizes do not fit.
    """
    data, header = _pair(path)
    with reading(header, "a BART header"):
        lines = header.read_text("ascii").splitlines()
        place = lines.index("# Dimensions")
        dims = [int(size) for size in lines[place + 1].split()]
    if not dims or min(dims) < 1:
        raise DataError(f"{header.name} has the dimensions {dims}; expected positive sizes")
    dims += [1] * (N_DIMS - len(dims))
    n_bytes = data.stat().st_size if data.is_file() else None
    expected = 8 * int(np.prod(dims, dtype=object))
    if n_bytes != expected:
        found = "is missing" if n_bytes is None else f"has {n_bytes} bytes"
        raise DataError(f"{data.name} {found}; expected {expected} bytes for the dimensions of {header.name}")
    return np.fromfile(data, "<c8").reshape(dims, order="F")


def write_cfl(path: Path, array: np.ndarray) -> None:
    """Write an array as a cfl/hdr pair in complex64; missing dimensions are 1.

    Raises
    ------
    DataError
        If there is no room, or the folder cannot be written.
    """
    data, header = _pair(path)
    dims = [*array.shape, *[1] * (N_DIMS - array.ndim)]
    with writing(data, 8 * array.size) as part, part.open("wb") as file:
        file.write(np.asarray(array, "<c8").ravel(order="F").data)
    with writing(header) as part:
        part.write_text("# Dimensions\n" + " ".join(map(str, dims)) + "\n", "ascii")


def read(path: Path, *, slices: slice | list[int] | None = None) -> Scan:
    """Read the k-space of a Cartesian 2-D (multi-slice) or 3-D scan.

    A 3-D scan is transformed along READ: its slices are readout positions, its axes the two phase-encode axes.

    Raises
    ------
    DataError
        If the pair is broken, is not Cartesian, or has another dimension than those and COIL.
    """
    array = read_cfl(path)
    name = _pair(path)[0].name
    for dimension, size in enumerate(array.shape):
        if size > 1 and dimension not in (READ, PHASE1, PHASE2, COIL, SLICE):
            label = DIMENSION_NAMES[dimension] if dimension < N_DIMS else "extra"
            raise DataError(
                f"{name} has {size} entries in dimension {dimension} ({label}); "
                "expected k-space in READ, PHASE1, PHASE2, COIL and SLICE only"
            )
    if array.shape[READ] == 1:
        raise DataError(f"{name} has the size 1 in READ, the layout of non-Cartesian data; expected Cartesian k-space")
    if array.shape[READ] == 3 and not array.imag.any():
        raise DataError(f"{name} has three real values in READ, a trajectory; expected Cartesian k-space")
    if array.shape[PHASE2] > 1 and array.shape[SLICE] > 1:
        raise DataError(f"{name} has both PHASE2 and SLICE; expected a 2-D multi-slice scan or one 3-D slab")
    kspace = _scan_axes(array)
    chosen = selected(len(kspace), slices)
    kspace = np.ascontiguousarray(kspace[chosen])
    n_axes = 2 if array.shape[PHASE2] > 1 else 1
    matrix = kspace.shape[2:]
    acquisition = Acquisition(
        fov_mm=(float(matrix[0]), float(matrix[1])),
        slice_thickness_mm=1.0 if n_axes == 2 else Acquisition.slice_thickness_mm,
        n_phase_encode_axes=2 if n_axes == 2 else 1,
        assumed=UNSTATED,
        notes=_doubts(kspace[len(kspace) // 2]),
    )
    sampled = np.asarray(kspace.any(axis=(0, 1)))
    return Scan(kspace, acquisition, sampled=sampled, slice_ids=tuple(chosen))


def _doubts(kspace: np.ndarray) -> tuple[str, ...]:
    """Note where (coil, readout, phase_encode) does not look like k-space: a cfl file does not say what it holds."""
    rows, columns = (slice(n // 2 - n // 8, n // 2 + n // 8 + 1) for n in kspace.shape[-2:])
    with np.errstate(over="ignore", invalid="ignore"):
        centre, whole = (float(np.linalg.norm(part)) for part in (kspace[:, rows, columns], kspace))
    if not 0 < whole < np.inf or (centre / whole) ** 2 >= LEAST_CENTRAL_SHARE:
        return ()
    share = f"{(centre / whole) ** 2:.0%}"
    return (f"only {share} of the energy lies in the central sixteenth; expected k-space: is this an image, or noise?",)


def _scan_axes(array: np.ndarray) -> np.ndarray:
    samples = array.reshape((*array.shape[:4], array.shape[SLICE]), order="F")
    if array.shape[PHASE2] == 1:
        return samples[:, :, 0].transpose(3, 2, 0, 1)
    return centred_ifft(samples[..., 0].transpose(0, 3, 2, 1), axes=(0,))


def write(
    path: Path, scan: Scan, reconstruction: np.ndarray, *, source: Path | None, name: str, description: str = ""
) -> None:
    """Write the k-space as ``path`` and the image beside it as ``<path>_reconstruction_<name>``.

    A 3-D scan goes back through the readout transform; samples that were never acquired are zero.

    Raises
    ------
    DataError
        If there is no room, or some slices of a 3-D scan are missing.
    """
    kspace = np.where(scan.sampled, scan.kspace, 0)
    if scan.acquisition.n_phase_encode_axes == 2:
        array = _kspace_3d(scan, kspace, source)
    else:
        array = kspace.transpose(2, 3, 1, 0)[:, :, None]
    sizes = (*array.shape[:4], *[1] * (SLICE - 4), array.shape[4])
    write_cfl(path, array.reshape(sizes))
    image = reconstruction.transpose(1, 2, 0)
    sizes = (*image.shape[:2], *[1] * (SLICE - 2), image.shape[2])
    write_cfl(_image_path(path, name), image.reshape(sizes))


def _kspace_3d(scan: Scan, kspace: np.ndarray, source: Path | None) -> np.ndarray:
    if scan.slice_ids != tuple(range(scan.n_slices)):
        raise DataError(f"the 3-D scan has {scan.n_slices} readout positions of more; expected all, to write k-space")
    if source is not None:
        raw = read_cfl(source)
        original = _scan_axes(raw)
        if original.shape != kspace.shape:
            raise DataError(f"the scan has shape {kspace.shape}; expected {original.shape} as in {source.name}")
        # Lines that nothing has touched are copied: a transform there and back would change their last bits.
        same = (original == kspace).all(axis=0)
        fresh = centred_fft(kspace, axes=(0,))
        samples = raw.reshape(raw.shape[:4], order="F").transpose(0, 3, 2, 1)
        return np.where(same, samples, fresh).transpose(0, 3, 2, 1)[..., None]
    return centred_fft(kspace, axes=(0,)).transpose(0, 3, 2, 1)[..., None]
