"""ISMRMRD HDF5: one record per readout, sorted into k-space as `mrisim.formats.readouts` plans it.

Noise readouts become the noise covariance; navigators, phase-correction, feedback, dummy and surface-coil readouts are
left out, and everything that is left out of the Scan is kept in the file that is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mrisim.errors import DataError
from mrisim.formats.guards import reading, selected, writing
from mrisim.formats.hdf5 import measurement_names, open_hdf5
from mrisim.formats.header import Header, header_xml, parse_header, with_provenance
from mrisim.formats.readouts import (
    NOISE,
    ReadoutPlan,
    gather_readouts,
    has_flag,
    plan_readouts,
    readout_samples,
    scan_axes,
)
from mrisim.fourier import centred_fft
from mrisim.prewhitening import noise_covariance, scaled_covariance
from mrisim.scan import Acquisition, Scan

DATASET = "dataset"
"""Name of the HDF5 group that the standard's own tools use."""


def read(path: Path, *, slices: slice | list[int] | None = None) -> Scan:
    """Read the first repetition, contrast, phase and set of a Cartesian measurement.

    Averages are averaged. A 3-D scan is transformed along the readout: its slices are readout positions, its axes the
    two phase-encode axes. Parallel-calibration lines fill the lines that were not acquired otherwise, unless the header
    calls them separate or external. The noise covariance is scaled to the imaging dwell time and bandwidth.

    Raises
    ------
    DataError
        If the trajectory is not Cartesian, lines are reversed, or counters lie outside the encoded matrix.

    Limits
    ------
    Partial Fourier and undersampling stay unfilled; reversed (EPI) readouts are refused, not regridded.
    """
    with open_hdf5(path) as file, reading(path, "an ISMRMRD measurement"):
        group = file[_measurement(file, path)]
        header, records = parse_header(group["xml"][0], path.name), group["data"][()]
        _require_records(records, path.name)
        plan = plan_readouts(header, records, path.name)
        raw, counts = gather_readouts(plan, records, path.name)
    covariance, notes = _noise(header, records, plan, counts)
    kspace, sampled = scan_axes(plan, raw, counts)
    chosen = selected(len(kspace), slices)
    acquisition = Acquisition(**plan.acquisition, notes=(*plan.notes, *notes))
    return Scan(
        np.ascontiguousarray(kspace[chosen]),
        acquisition,
        sampled=sampled,
        noise_covariance=covariance,
        slice_ids=tuple(chosen),
    )


def _measurement(file: Any, path: Path) -> str:
    names = measurement_names(file)
    if DATASET in names or len(names) == 1:
        return DATASET if DATASET in names else names[0]
    raise DataError(f"{path.name} holds the measurements {', '.join(names)}; expected one, or one named {DATASET!r}")


def _require_records(records: np.ndarray, file_name: str) -> None:
    if records.dtype.names is None or not {"head", "data"} <= set(records.dtype.names) or not records.size:
        raise DataError(f"`data` of {file_name} holds {records.size} records of {records.dtype}; expected readouts")


def _noise(
    header: Header, records: np.ndarray, plan: ReadoutPlan, counts: np.ndarray
) -> tuple[np.ndarray | None, list[str]]:
    heads = records["head"]
    rows = [row for row in np.flatnonzero(has_flag(heads, NOISE)) if heads["active_channels"][row] == plan.shape[2]]
    notes = []
    most = int(counts.max())
    if most > 1:
        notes.append(f"up to {most} averages of a line are averaged; the noise covariance is that of the mean")
    if not rows:
        return None, notes
    samples = np.concatenate([readout_samples(records[row], "the noise scan") for row in rows], axis=1)
    covariance = noise_covariance(samples)
    dwell_us = float(heads["sample_time_us"][rows[0]]), float(heads["sample_time_us"][plan.rows[0]])
    ratio = header.receiver_noise_bandwidth
    if ratio is None:
        notes.append("the header states no relativeReceiverNoiseBandwidth: 1 is assumed for the noise covariance")
    if min(dwell_us) <= 0:
        notes.append("a dwell time is not stated: noise scan and image are taken to have the same")
        dwell_us = 1.0, 1.0
    covariance = scaled_covariance(
        covariance, noise_dwell_time_us=dwell_us[0], dwell_time_us=dwell_us[1], bandwidth_ratio=ratio or 1.0
    )
    return covariance / most, notes


def write(
    path: Path, scan: Scan, reconstruction: np.ndarray, *, source: Path | None, name: str, description: str = ""
) -> None:
    """Write the measurement again with the scan's samples in the imaging readouts, and the image as an image series.

    Every other record and the header stay; readouts that the scan no longer acquires are left out. A readout whose
    samples did not change is copied, so that averages keep their own noise; the averages of a changed line all get the
    mean. Without a source, one readout is written for each acquired line.

    Raises
    ------
    DataError
        If the scan does not fit the source, or there is no room.
    """
    import h5py

    n_bytes = scan.kspace.nbytes if source is None else source.stat().st_size
    with writing(path, n_bytes + reconstruction.nbytes) as part:
        if source is None:
            _write_new(part, scan)
        else:
            with open_hdf5(source) as original, h5py.File(part, "w") as file:
                _copy_with(original, file, scan, source)
        _append_images(part, reconstruction, name, scan, description)


def _copy_with(original: Any, file: Any, scan: Scan, source: Path) -> None:
    measurement = _measurement(original, source)
    for key in original:
        if key != measurement:
            original.copy(key, file)
    group = file.create_group(measurement)
    for key in original[measurement]:
        if key != "data":
            original[measurement].copy(key, group)
    records = original[measurement]["data"][()]
    header = parse_header(original[measurement]["xml"][0], source.name)
    plan = plan_readouts(header, records, source.name)
    clean, counts = gather_readouts(plan, records, source.name)
    fresh, changed = _raw_axes(plan, scan, clean, counts, source.name)
    acquired = scan.sampled if plan.is_3d else np.broadcast_to(scan.sampled.any(axis=0), (1, scan.matrix[1]))
    kept = np.ones(len(records), bool)
    for row, place, (samples, readout) in zip(plan.rows, plan.target.tolist(), plan.readout_slice, strict=True):
        # a readout that an accelerated scan would not have made is left out, not written as zeros
        kept[row] = acquired[place[1], place[2]]
        if not changed[place[0], place[1], place[2]]:
            continue
        data = readout_samples(records[row], source.name).copy()
        data[:, samples] = fresh[place[0], place[1], :, readout, place[2]]
        records["data"][row] = data.view(np.float32).ravel()
    dtype = original[measurement]["data"].dtype
    group.create_dataset("data", data=records[kept], dtype=dtype, maxshape=(None,), chunks=True)


def _raw_axes(
    plan: ReadoutPlan, scan: Scan, clean: np.ndarray, counts: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scan on the grid of the readouts, and which of its lines (slice, z, y) changed."""
    original, _ = scan_axes(plan, clean, counts)
    if scan.kspace.shape[1:] != original.shape[1:] or max(scan.slice_ids) >= len(original):
        raise DataError(f"the scan has shape {scan.kspace.shape}; expected slices of {original.shape} as in {name}")
    ids = list(scan.slice_ids)
    if plan.is_3d:
        if ids != list(range(len(original))):
            raise DataError(
                f"the 3-D scan has {len(ids)} of {len(original)} readout positions; expected all, to write it"
            )
        same = (scan.kspace == original).all(axis=(0, 1))
        fresh = centred_fft(scan.kspace, axes=(0,)).transpose(2, 1, 0, 3)[None]
        return fresh, ~same[None]
    fresh = original.copy()
    fresh[ids] = scan.kspace
    return fresh[:, None], (fresh != original).any(axis=(1, 2))[:, None]


def _write_new(part: Path, scan: Scan) -> None:
    import h5py
    import ismrmrd

    if scan.acquisition.n_phase_encode_axes != 1:
        raise DataError("the scan is 3-D; expected a 2-D scan for a new ISMRMRD file")
    n_readout = scan.matrix[0]
    lines = scan.sampled_lines
    with h5py.File(part, "w"):
        pass
    with ismrmrd.Dataset(str(part), DATASET) as dataset:
        dataset.write_xml_header(with_provenance(header_xml(scan), scan.acquisition))
        for slice_id, plane in zip(scan.slice_ids, scan.kspace, strict=True):
            for line in lines:
                rows = np.flatnonzero(scan.sampled[:, line])
                first, last = int(rows[0]), int(rows[-1]) + 1
                samples = np.ascontiguousarray(plane[:, first:last, line], np.complex64)
                acquisition = ismrmrd.Acquisition.from_array(samples)
                acquisition.center_sample = n_readout // 2 - first
                acquisition.sample_time_us = scan.acquisition.dwell_time_us
                acquisition.idx.kspace_encode_step_1 = int(line - lines[0])
                acquisition.idx.slice = int(slice_id)
                dataset.append_acquisition(acquisition)


def _append_images(part: Path, reconstruction: np.ndarray, name: str, scan: Scan, description: str) -> None:
    import ismrmrd

    with ismrmrd.Dataset(str(part), _name_of(part)) as dataset:
        for slice_id, plane in zip(scan.slice_ids, reconstruction, strict=True):
            image = ismrmrd.Image.from_array(np.ascontiguousarray(plane, np.float32), transpose=False)
            image.slice = slice_id
            image.attribute_string = ismrmrd.Meta({"ImageComment": description or name}).serialize()
            dataset.append_image(f"reconstruction_{name}_corrupted", image)


def _name_of(path: Path) -> str:
    import h5py

    with h5py.File(path, "r") as file:
        return _measurement(file, path)
