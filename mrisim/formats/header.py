"""The ISMRMRD XML header, which fastMRI files hold too: what is taken from it, and what is written."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from html import escape
from typing import Any, get_args
from xml.parsers import expat

import numpy as np

from mrisim.errors import DataError
from mrisim.scan import Acquisition, KspaceOrigin, Scan

ORIGIN_PARAMETER, ASSUMED_PARAMETER = "mrisim_kspace_origin", "mrisim_assumed"
"""User parameters of our own ISMRMRD files: what else would read back as measured, and as stated."""
HYDROGEN_MHZ_PER_T = 42.577478518
"""Proton gyromagnetic ratio over 2 pi; CODATA 2018."""


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
    kspace_origin: KspaceOrigin = "measured"
    assumed: tuple[str, ...] = ()
    """Fields that the header states although the scan that it was written of did not."""

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
        raise DataError(f"the XML header of {file_name} has a bad value ({error}); expected one that can be") from None


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
        **_provenance(root),
    )


def _provenance(root: ElementTree.Element) -> dict[str, Any]:
    parameters = {
        parameter.findtext("{*}name"): (parameter.findtext("{*}value") or "").strip()
        for parameter in root.findall("{*}userParameters/{*}userParameterString")
    }
    origin = parameters.get(ORIGIN_PARAMETER, "measured")
    if origin not in get_args(KspaceOrigin):
        raise ValueError(f"{ORIGIN_PARAMETER} is {origin!r}")
    return {"kspace_origin": origin, "assumed": tuple(parameters.get(ASSUMED_PARAMETER, "").split())}


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
        # the schema asks for a position, which no Scan knows
        "<measurementInformation><patientPosition>HFS</patientPosition>"
        f"<protocolName>{escape(acquisition.contrast, quote=False)}</protocolName></measurementInformation>"
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


def with_provenance(xml: bytes, acquisition: Acquisition) -> bytes:
    """Return a header of `header_xml` with user parameters: where the k-space came from, and what was assumed."""
    values = {ORIGIN_PARAMETER: acquisition.kspace_origin, ASSUMED_PARAMETER: " ".join(acquisition.assumed)}
    strings = "".join(
        f"<userParameterString><name>{name}</name><value>{value}</value></userParameterString>"
        for name, value in values.items()
    )
    end = b"</ismrmrdHeader>"
    return xml.replace(end, f"<userParameters>{strings}</userParameters>".encode() + end, 1)


def unstated(known: dict[str, Any]) -> tuple[str, ...]:
    """Return the fields of geometry and timing that `known` lacks, as `Acquisition.assumed` lists them."""
    names = (
        "fov_mm", "slice_thickness_mm", "repetition_time_ms", "echo_time_ms", "echo_spacing_ms",
        "echo_train_length", "dwell_time_us", "field_strength_t", "readout_oversampling",
    )  # fmt: skip
    return tuple(name for name in names if name not in known)
