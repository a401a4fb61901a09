"""Where the readouts of an ISMRMRD measurement go: everything that reading and writing must agree on.

Readouts are sorted into (slice, coil, readout, phase_encode) by their counters and ``center_sample``; those that make
no image are left out, each group with a note.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mrisim.errors import DataError
from mrisim.formats.header import Header, unstated
from mrisim.fourier import centred_ifft

NOISE, CALIBRATION, CALIBRATION_AND_IMAGING, REVERSE = 19, 20, 21, 22
NOT_IMAGING = {
    23: "navigator",
    24: "phase-correction",
    26: "feedback",
    27: "dummy",
    28: "feedback",
    29: "surface-coil",
    30: "phase-stabilisation",
    31: "phase-stabilisation",
}
"""Flags of readouts that belong to no image (ismrmrd.h, ISMRMRD_AcquisitionFlags; bit number = value - 1)."""


PIXEL_TOLERANCE = 0.1
"""Relative difference of pixel sizes up to which an image counts as not interpolated: headers round what they state."""


@dataclass(frozen=True)
class ReadoutPlan:
    """The place of each imaging readout of a measurement, and what its header says of the scan."""

    shape: tuple[int, int, int, int, int]
    """(slice, second phase encode, coil, readout, phase_encode)."""
    is_3d: bool
    slice_counters: tuple[int, ...]
    rows: np.ndarray
    """Row of the record table, for each imaging readout."""
    target: np.ndarray
    """(imaging readout, 3): slice index, second phase-encode index, phase-encode index."""
    readout_slice: list[tuple[slice, slice]]
    """For each imaging readout: which of its samples, and where they go on the readout axis."""
    acquisition: dict[str, Any]
    notes: tuple[str, ...]


def has_flag(heads: np.ndarray, flag: int) -> np.ndarray:
    """Return which readouts have a flag, by its number in ismrmrd.h."""
    return (heads["flags"] >> np.uint64(flag - 1)) & np.uint64(1) == 1


def plan_readouts(header: Header, records: np.ndarray, name: str) -> ReadoutPlan:
    """Return the places of the readouts of a Cartesian measurement; any other is refused."""
    if header.trajectory is not None and header.trajectory.strip().lower() != "cartesian":
        raise DataError(f"{name} has the trajectory {header.trajectory.strip()!r}; expected 'cartesian'")
    if header.encoded_matrix is None or header.encoded_fov_mm is None:
        raise DataError(f"the XML header of {name} lacks encodedSpace; expected its matrix and field of view")
    heads = records["head"]
    rows, notes = _imaging_rows(header, heads, name)
    imaging = heads[rows]
    n_coils = np.unique(imaging["active_channels"])
    if n_coils.size != 1:
        raise DataError(f"{name} has readouts of {n_coils.tolist()} channels; expected one number of them")
    matrix, fov_mm, oversampling = _encoded_space(header, imaging, notes)
    index = imaging["idx"]
    is_3d = matrix[2] > 1
    slice_counters = tuple(int(value) for value in np.unique(index["slice"]))
    if is_3d and len(slice_counters) > 1:
        raise DataError(f"{name} has {len(slice_counters)} slabs of a 3-D scan; expected one")
    target = np.stack(
        [
            np.searchsorted(slice_counters, index["slice"]),
            _position(header, "kspace_encoding_step_2", index["kspace_encode_step_2"], matrix[2], name),
            _position(header, "kspace_encoding_step_1", index["kspace_encode_step_1"], matrix[1], name),
        ],
        axis=1,
    )
    used = _fills_a_gap(imaging, target)
    rows, imaging, target = rows[used], imaging[used], target[used]
    known = {
        **header.timing,
        "fov_mm": (fov_mm[2], fov_mm[1]) if is_3d else (fov_mm[0], fov_mm[1]),
        "slice_thickness_mm": fov_mm[0] / matrix[0] if is_3d else fov_mm[2],
        "readout_oversampling": 1.0 if is_3d else oversampling,
    }
    if imaging["sample_time_us"][0] > 0:
        known["dwell_time_us"] = float(imaging["sample_time_us"][0])
    if header.recon_matrix is not None:
        axes = (2, 1) if is_3d else (0, 1)
        known["recon_shape"] = (header.recon_matrix[axes[0]], header.recon_matrix[1])
        if any(_has_other_pixels(header, axis, matrix, fov_mm) for axis in axes):
            notes.append(
                f"the header's image of {known['recon_shape']} has other pixels than k-space: images keep "
                "those of k-space and are cropped or padded to that matrix, not interpolated"
            )
    return ReadoutPlan(
        shape=(len(slice_counters), matrix[2], int(n_coils[0]), matrix[0], matrix[1]),
        is_3d=is_3d,
        slice_counters=slice_counters,
        rows=rows,
        target=target,
        readout_slice=[_readout_slice(head, matrix[0], name) for head in imaging],
        acquisition={
            **known,
            "n_phase_encode_axes": 2 if is_3d else 1,
            "kspace_origin": header.kspace_origin,
            "assumed": tuple(dict.fromkeys((*unstated(known), *header.assumed))),
        },
        notes=tuple(notes),
    )


def _imaging_rows(header: Header, heads: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """Return the rows that make the image, and a note on each group that does not."""
    notes: list[str] = []
    keep = ~has_flag(heads, NOISE)
    for flag, label in NOT_IMAGING.items():
        found = has_flag(heads, flag) & keep
        if found.any():
            notes.append(f"{int(found.sum())} {label} readouts are left out")
        keep &= ~found
    if (keep & has_flag(heads, REVERSE)).any():
        raise DataError(f"{name} has reversed readouts (EPI or bipolar); expected readouts of one polarity")
    calibration = keep & _calibration_only(heads)
    if calibration.any() and header.calibration_mode in ("separate", "external"):
        notes.append(f"{int(calibration.sum())} {header.calibration_mode} calibration readouts are left out")
        keep &= ~calibration
    other = keep & (heads["encoding_space_ref"] != 0)
    if other.any():
        notes.append(f"{int(other.sum())} readouts of a second encoding are left out")
        keep &= ~other
    for counter in ("contrast", "phase", "repetition", "set"):
        values = np.unique(heads["idx"][counter][keep])
        if values.size > 1:
            notes.append(f"of {values.size} {counter}s only the first is read")
            keep &= heads["idx"][counter] == values[0]
    if not keep.any():
        raise DataError(f"{name} has no imaging readout among {heads.size}; expected Cartesian k-space lines")
    return np.flatnonzero(keep), notes


def _encoded_space(
    header: Header, imaging: np.ndarray, notes: list[str]
) -> tuple[tuple[int, int, int], tuple[float, float, float], float]:
    assert header.encoded_matrix is not None and header.encoded_fov_mm is not None
    matrix, fov_mm, oversampling = header.encoded_matrix, header.encoded_fov_mm, header.oversampling
    n_samples = np.unique(imaging["number_of_samples"])
    cropped = round(matrix[0] / oversampling)
    centred = bool((imaging["center_sample"] == cropped // 2).all())
    if oversampling > 1 and n_samples.tolist() == [cropped] and centred:
        notes.append("the readout oversampling of the header had been removed from the data")
        return (cropped, *matrix[1:]), (fov_mm[0] / oversampling, *fov_mm[1:]), 1.0
    return matrix, fov_mm, oversampling


def _has_other_pixels(header: Header, axis: int, matrix: tuple[int, ...], fov_mm: tuple[float, ...]) -> bool:
    """Return whether the image of the header is interpolated along an axis; stated fields of view are rounded."""
    if header.recon_matrix is None or header.recon_fov_mm is None:
        return False
    pixel_ratio = (header.recon_fov_mm[axis] / header.recon_matrix[axis]) / (fov_mm[axis] / matrix[axis])
    return not 1 - PIXEL_TOLERANCE <= pixel_ratio <= 1 + PIXEL_TOLERANCE


def _position(header: Header, step: str, counter: np.ndarray, size: int, name: str) -> np.ndarray:
    centre = header.limits[step][2] if step in header.limits else size // 2
    position = counter.astype(int) - centre + size // 2
    if size == 1:
        position = np.zeros_like(position)
    if position.min() < 0 or position.max() >= size:
        raise DataError(
            f"{name} has the {step} {int(counter.min())} to {int(counter.max())} with centre {centre}; "
            f"expected positions inside the encoded matrix of {size}"
        )
    return position


def _readout_slice(head: np.ndarray, n_readout: int, name: str) -> tuple[slice, slice]:
    n_samples, centre = int(head["number_of_samples"]), int(head["center_sample"])
    first, last = int(head["discard_pre"]), n_samples - int(head["discard_post"])
    offset = n_readout // 2 - centre
    if first >= last or first + offset < 0 or last + offset > n_readout:
        raise DataError(
            f"{name} has a readout of {n_samples} samples with centre {centre}, of which {first} to {last} are valid; "
            f"expected samples inside the encoded matrix of {n_readout}"
        )
    return slice(first, last), slice(first + offset, last + offset)


def readout_samples(record: np.ndarray, name: str) -> np.ndarray:
    """Return the samples of one record as complex64 (channel, sample)."""
    head = record["head"]
    shape = int(head["active_channels"]), int(head["number_of_samples"])
    data = np.asarray(record["data"], np.float32)
    if data.size != 2 * shape[0] * shape[1]:
        raise DataError(
            f"{name} has a readout of {data.size} numbers; expected 2 x {shape[0]} x {shape[1]} (channels, samples)"
        )
    return data.view(np.complex64).reshape(shape)


def _fills_a_gap(heads: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return which readouts make the image: all but the calibration lines whose place an imaging line has."""
    calibration = _calibration_only(heads)
    places = [tuple(place) for place in target.tolist()]
    imaged = {place for place, only in zip(places, calibration, strict=True) if not only}
    return np.array([not only or place not in imaged for place, only in zip(places, calibration, strict=True)])


def _calibration_only(heads: np.ndarray) -> np.ndarray:
    return has_flag(heads, CALIBRATION) & ~has_flag(heads, CALIBRATION_AND_IMAGING)


def gather_readouts(plan: ReadoutPlan, records: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the readouts on the encoded grid, and how many fell on each sample (slice, z, readout, y)."""
    n_slices, n_second, n_coils, n_readout, n_lines = plan.shape
    total = np.zeros((n_slices, n_second, n_coils, n_readout, n_lines), np.complex64)
    counts = np.zeros((n_slices, n_second, n_readout, n_lines), np.int32)
    for row, place, (source, readout) in zip(plan.rows, plan.target.tolist(), plan.readout_slice, strict=True):
        total[place[0], place[1], :, readout, place[2]] += readout_samples(records[row], name)[:, source]
        counts[place[0], place[1], readout, place[2]] += 1
    several = counts > 1
    if several.any():
        where = np.broadcast_to(several[:, :, None], total.shape)
        total[where] /= np.broadcast_to(counts[:, :, None], total.shape)[where]
    return total, counts


def scan_axes(plan: ReadoutPlan, raw: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return k-space as (slice, coil, readout, phase_encode), and where it was acquired, over the last two axes."""
    if plan.is_3d:
        kspace = centred_ifft(raw[0].transpose(2, 1, 0, 3), axes=(0,))
        return kspace, np.asarray(counts[0].any(axis=1))
    return raw[:, 0], np.asarray(counts[:, 0].any(axis=0))
