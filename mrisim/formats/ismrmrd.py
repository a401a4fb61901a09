"""ISMRMRD HDF5: one record per readout. And what it shares with fastMRI files: the XML header, and a guarded HDF5 file.

Readouts are sorted into (slice, coil, readout, phase_encode) by their counters and ``center_sample``. Noise readouts
become the noise covariance; navigators, phase-correction, feedback, dummy and surface-coil readouts are left out, and
everything that is left out of the Scan is kept in the file that is written.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

import numpy as np

from mrisim.errors import DataError
from mrisim.formats import reading, selected, writing
from mrisim.fourier import centred_fft, centred_ifft
from mrisim.prewhitening import noise_covariance, scaled_covariance
from mrisim.scan import Acquisition, Scan

HYDROGEN_MHZ_PER_T = 42.577478518
"""Proton gyromagnetic ratio over 2 pi; CODATA 2018."""
DATASET = "dataset"
"""Name of the HDF5 group that the standard's own tools use."""

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


# ---------------------------------------------------------------- HDF5


def is_hdf5(path: Path) -> bool:
    """Return whether a file is HDF5, with or without a user block."""
    import h5py

    return bool(h5py.is_hdf5(path))


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading, once it is known to refer to no other file.

    External links, external storage and virtual data sets would let a received file read any file of the reader's.

    Raises
    ------
    DataError
        If the file is truncated or damaged, or refers to another one.
    """
    import h5py

    with reading(path, "a complete HDF5 file"):
        file = h5py.File(path, "r")
    with file:
        with reading(path, "a complete HDF5 file"):
            _refuse_other_files(file, path.name)
        yield file


def _refuse_other_files(group: Any, file_name: str) -> None:
    import h5py

    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise DataError(f"{file_name} has an external link {name!r} to another file; expected all data inside")
        if isinstance(link, h5py.SoftLink):
            raise DataError(f"{file_name} has a soft link {name!r}; expected the data themselves")
        child = group[name]
        if isinstance(child, h5py.Group):
            _refuse_other_files(child, file_name)
        elif isinstance(child, h5py.Dataset) and (child.external or child.is_virtual):
            raise DataError(f"{file_name} keeps {name!r} in another file; expected all data inside")


def detect_layout(path: Path) -> str:
    """Return "fastmri" or "ismrmrd" for an HDF5 file.

    Raises
    ------
    DataError
        If it is neither.
    """
    with open_hdf5(path) as file:
        if "kspace" in file:
            return "fastmri"
        if measurement_names(file):
            return "ismrmrd"
        keys = ", ".join(sorted(file)[:8]) or "nothing"
    raise DataError(
        f"{path.name} is HDF5 with {keys}; expected `kspace` (fastMRI) or a group of `xml`, `data` (ISMRMRD)"
    )


def measurement_names(file: Any) -> list[str]:
    """Return the names of the ISMRMRD measurements of an open HDF5 file."""
    import h5py

    groups = [name for name in file if isinstance(file[name], h5py.Group)]
    return [name for name in groups if "xml" in file[name] and "data" in file[name]]


# ---------------------------------------------------------------- header


@dataclass(frozen=True)
class Header:
    """What the simulator takes from an ISMRMRD XML header; None where the header does not state it."""

    encoded_matrix: tuple[int, int, int] | None = None
    """x = readout, y = first, z = second phase-encode axis."""
    encoded_fov_mm: tuple[float, float, float] | None = None
    recon_matrix: tuple[int, int, int] | None = None
    recon_fov_mm: tuple[float, float, float] | None = None
    limits: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Counter -> (minimum, maximum, centre)."""
    trajectory: str | None = None
    calibration_mode: str | None = None
    n_receiver_channels: int | None = None
    receiver_noise_bandwidth: float | None = None
    timing: dict[str, Any] = field(default_factory=dict)
    """Fields of Acquisition: times, echo-train length, field strength."""

    @property
    def oversampling(self) -> float:
        """Readout oversampling: ratio of the fields of view, 1 where they are not stated."""
        if self.encoded_fov_mm is None or self.recon_fov_mm is None:
            return 1.0
        return self.encoded_fov_mm[0] / self.recon_fov_mm[0]


def parse_header(xml: bytes | str, file_name: str) -> Header:
    """Parse an ISMRMRD XML header; a document type or an entity in it is refused, not expanded.

    Raises
    ------
    DataError
        If it is not XML, declares a document type, or holds text where a number belongs.
    """
    data = xml.encode() if isinstance(xml, str) else bytes(xml)
    data = data.rstrip(b"\0 \r\n\t")

    def refuse(*_: object) -> None:
        raise DataError(f"the XML header of {file_name} declares a document type or an entity; expected plain elements")

    scanner = expat.ParserCreate()
    scanner.StartDoctypeDeclHandler = refuse
    scanner.EntityDeclHandler = refuse
    try:
        scanner.Parse(data, True)
        root = ElementTree.fromstring(data)
    except (expat.ExpatError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise DataError(f"the XML header of {file_name} is broken ({error}); expected an ISMRMRD header") from None
    try:
        return _header_from(root)
    except (ValueError, OverflowError) as error:
        raise DataError(f"the XML header of {file_name} has a bad value ({error}); expected a number") from None


def _header_from(root: ElementTree.Element) -> Header:
    encoding = root.find("{*}encoding")
    if encoding is None:
        encoding = ElementTree.Element("encoding")
    limits = {}
    for step in encoding.findall("{*}encodingLimits/*"):
        minimum, maximum, centre = (_number(step, name) for name in ("minimum", "maximum", "center"))
        if maximum is not None:
            centre = (int(maximum) + 1) // 2 if centre is None else centre
            limits[step.tag.split("}")[-1]] = (int(minimum or 0), int(maximum), int(centre))
    channels = _number(root, "acquisitionSystemInformation", "receiverChannels")
    return Header(
        encoded_matrix=_triple(encoding, int, "encodedSpace", "matrixSize"),
        encoded_fov_mm=_triple(encoding, float, "encodedSpace", "fieldOfView_mm"),
        recon_matrix=_triple(encoding, int, "reconSpace", "matrixSize"),
        recon_fov_mm=_triple(encoding, float, "reconSpace", "fieldOfView_mm"),
        limits=limits,
        trajectory=encoding.findtext("{*}trajectory"),
        calibration_mode=encoding.findtext("{*}parallelImaging/{*}calibrationMode"),
        n_receiver_channels=None if channels is None else int(channels),
        receiver_noise_bandwidth=_number(root, "acquisitionSystemInformation", "relativeReceiverNoiseBandwidth"),
        timing=_timing(root, encoding),
    )


def _timing(root: ElementTree.Element, encoding: ElementTree.Element) -> dict[str, Any]:
    found = {
        "repetition_time_ms": _number(root, "sequenceParameters", "TR"),
        "echo_time_ms": _number(root, "sequenceParameters", "TE"),
        "echo_spacing_ms": _number(root, "sequenceParameters", "echo_spacing"),
        "echo_train_length": _number(encoding, "echoTrainLength"),
        "field_strength_t": _number(root, "acquisitionSystemInformation", "systemFieldStrength_T"),
    }
    frequency_hz = _number(root, "experimentalConditions", "H1resonanceFrequency_Hz")
    if not found["field_strength_t"] and frequency_hz:
        found["field_strength_t"] = round(frequency_hz / 1e6 / HYDROGEN_MHZ_PER_T, 3)
    # A zero is how converters write "unknown".
    timing: dict[str, Any] = {name: value for name, value in found.items() if value is not None and value > 0}
    if "echo_train_length" in timing:
        timing["echo_train_length"] = int(timing["echo_train_length"])
    return timing


def _number(element: ElementTree.Element, *names: str) -> float | None:
    text = element.findtext("/".join(f"{{*}}{name}" for name in names))
    if text is None or not text.strip():
        return None
    value = float(text)
    if not np.isfinite(value):
        raise ValueError(f"{names[-1]} is {text.strip()}")
    return value


def _triple(element: ElementTree.Element, of: type, *names: str) -> Any:
    values = [_number(element, *names, axis) for axis in "xyz"]
    if any(value is None for value in values):
        return None
    if any(not value > 0 for value in values if value is not None):
        raise ValueError(f"{'/'.join(names)} is {values}")
    return tuple(of(value) for value in values)


def header_xml(scan: Scan) -> bytes:
    """Return an ISMRMRD header that states what the Acquisition of a 2-D scan knows."""
    acquisition, (n_readout, n_lines) = scan.acquisition, scan.matrix
    oversampling = acquisition.readout_oversampling
    rows, columns = acquisition.recon_shape or (round(n_readout / oversampling), n_lines)
    recon_fov_mm = (acquisition.fov_mm[0] / oversampling, acquisition.fov_mm[1] * min(1.0, columns / n_lines))
    thickness = acquisition.slice_thickness_mm

    def space(name: str, matrix: tuple[int, int], fov_mm: tuple[float, float]) -> str:
        size = "".join(f"<{axis}>{n}</{axis}>" for axis, n in zip("xyz", (*matrix, 1), strict=True))
        extent = "".join(f"<{axis}>{mm:.9g}</{axis}>" for axis, mm in zip("xyz", (*fov_mm, thickness), strict=True))
        return f"<{name}><matrixSize>{size}</matrixSize><fieldOfView_mm>{extent}</fieldOfView_mm></{name}>"

    def limit(name: str, maximum: int, centre: int) -> str:
        return f"<{name}><minimum>0</minimum><maximum>{maximum}</maximum><center>{centre}</center></{name}>"

    lines = scan.sampled_lines
    first, last = (int(lines[0]), int(lines[-1])) if lines.size else (0, n_lines - 1)
    frequency_hz = round(acquisition.field_strength_t * HYDROGEN_MHZ_PER_T * 1e6)
    xml = (
        '<?xml version="1.0"?>\n<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
        f"<measurementInformation><protocolName>{escape(acquisition.contrast)}</protocolName></measurementInformation>"
        f"<acquisitionSystemInformation><systemFieldStrength_T>{acquisition.field_strength_t:.9g}</systemFieldStrength_T>"
        f"<receiverChannels>{scan.n_coils}</receiverChannels></acquisitionSystemInformation>"
        f"<experimentalConditions><H1resonanceFrequency_Hz>{frequency_hz}</H1resonanceFrequency_Hz>"
        "</experimentalConditions>"
        f"<encoding>{space('encodedSpace', (n_readout, n_lines), acquisition.fov_mm)}"
        f"{space('reconSpace', (rows, columns), recon_fov_mm)}<encodingLimits>"
        f"{limit('kspace_encoding_step_1', last - first, n_lines // 2 - first)}"
        f"{limit('slice', max(scan.slice_ids), max(scan.slice_ids) // 2)}</encodingLimits>"
        f"<trajectory>cartesian</trajectory><echoTrainLength>{acquisition.echo_train_length}</echoTrainLength></encoding>"
        f"<sequenceParameters><TR>{acquisition.repetition_time_ms:.9g}</TR><TE>{acquisition.echo_time_ms:.9g}</TE>"
        f"<echo_spacing>{acquisition.echo_spacing_ms:.9g}</echo_spacing></sequenceParameters></ismrmrdHeader>\n"
    )
    return xml.encode()


def unstated(known: dict[str, Any]) -> tuple[str, ...]:
    """Return the fields of geometry and timing that `known` lacks, as `Acquisition.assumed` lists them."""
    names = (
        "fov_mm", "slice_thickness_mm", "repetition_time_ms", "echo_time_ms", "echo_spacing_ms",
        "echo_train_length", "dwell_time_us", "field_strength_t", "readout_oversampling",
    )  # fmt: skip
    return tuple(name for name in names if name not in known)


# ---------------------------------------------------------------- readouts


@dataclass(frozen=True)
class _Plan:
    """Where the readouts of a measurement go: everything that reading and writing must agree on."""

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
        plan = _plan(header, records, path.name)
        raw, counts = _gather(plan, records, path.name)
    covariance, notes = _noise(header, records, plan, counts)
    kspace, sampled = _scan_axes(plan, raw, counts)
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


def _flag(heads: np.ndarray, flag: int) -> np.ndarray:
    return (heads["flags"] >> np.uint64(flag - 1)) & np.uint64(1) == 1


def _plan(header: Header, records: np.ndarray, name: str) -> _Plan:
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
        known["recon_shape"] = (header.recon_matrix[2] if is_3d else header.recon_matrix[0], header.recon_matrix[1])
    return _Plan(
        shape=(len(slice_counters), matrix[2], int(n_coils[0]), matrix[0], matrix[1]),
        is_3d=is_3d,
        slice_counters=slice_counters,
        rows=rows,
        target=target,
        readout_slice=[_readout_slice(head, matrix[0], name) for head in imaging],
        acquisition={**known, "n_phase_encode_axes": 2 if is_3d else 1, "assumed": unstated(known)},
        notes=tuple(notes),
    )


def _imaging_rows(header: Header, heads: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """Return the rows that make the image, and a note on each group that does not."""
    notes: list[str] = []
    keep = ~_flag(heads, NOISE)
    for flag, label in NOT_IMAGING.items():
        found = _flag(heads, flag) & keep
        if found.any():
            notes.append(f"{int(found.sum())} {label} readouts are left out")
        keep &= ~found
    if (keep & _flag(heads, REVERSE)).any():
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


def _samples(record: np.ndarray, name: str) -> np.ndarray:
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
    return _flag(heads, CALIBRATION) & ~_flag(heads, CALIBRATION_AND_IMAGING)


def _gather(plan: _Plan, records: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the readouts on the encoded grid, and how many fell on each sample (slice, z, readout, y)."""
    n_slices, n_second, n_coils, n_readout, n_lines = plan.shape
    total = np.zeros((n_slices, n_second, n_coils, n_readout, n_lines), np.complex64)
    counts = np.zeros((n_slices, n_second, n_readout, n_lines), np.int32)
    for row, place, (source, readout) in zip(plan.rows, plan.target.tolist(), plan.readout_slice, strict=True):
        total[place[0], place[1], :, readout, place[2]] += _samples(records[row], name)[:, source]
        counts[place[0], place[1], readout, place[2]] += 1
    several = counts > 1
    if several.any():
        where = np.broadcast_to(several[:, :, None], total.shape)
        total[where] /= np.broadcast_to(counts[:, :, None], total.shape)[where]
    return total, counts


def _scan_axes(plan: _Plan, raw: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if plan.is_3d:
        kspace = centred_ifft(raw[0].transpose(2, 1, 0, 3), axes=(0,))
        return kspace, np.asarray(counts[0].any(axis=1))
    return raw[:, 0], np.asarray(counts[:, 0].any(axis=0))


def _noise(header: Header, records: np.ndarray, plan: _Plan, counts: np.ndarray) -> tuple[np.ndarray | None, list[str]]:
    heads = records["head"]
    rows = [row for row in np.flatnonzero(_flag(heads, NOISE)) if heads["active_channels"][row] == plan.shape[2]]
    notes = []
    most = int(counts.max())
    if most > 1:
        notes.append(f"up to {most} averages of a line are averaged; the noise covariance is that of the mean")
    if not rows:
        return None, notes
    samples = np.concatenate([_samples(records[row], "the noise scan") for row in rows], axis=1)
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


# ---------------------------------------------------------------- writing


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
    plan = _plan(header, records, source.name)
    clean, counts = _gather(plan, records, source.name)
    fresh, changed = _raw_axes(plan, scan, clean, counts, source.name)
    acquired = scan.sampled if plan.is_3d else np.broadcast_to(scan.sampled.any(axis=0), (1, scan.matrix[1]))
    kept = np.ones(len(records), bool)
    for row, place, (samples, readout) in zip(plan.rows, plan.target.tolist(), plan.readout_slice, strict=True):
        # a readout that an accelerated scan would not have made is left out, not written as zeros
        kept[row] = acquired[place[1], place[2]]
        if not changed[place[0], place[1], place[2]]:
            continue
        data = _samples(records[row], source.name).copy()
        data[:, samples] = fresh[place[0], place[1], :, readout, place[2]]
        records["data"][row] = data.view(np.float32).ravel()
    dtype = original[measurement]["data"].dtype
    group.create_dataset("data", data=records[kept], dtype=dtype, maxshape=(None,), chunks=True)


def _raw_axes(
    plan: _Plan, scan: Scan, clean: np.ndarray, counts: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scan on the grid of the readouts, and which of its lines (slice, z, y) changed."""
    original, _ = _scan_axes(plan, clean, counts)
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
        dataset.write_xml_header(header_xml(scan))
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
