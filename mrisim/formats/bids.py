"""BIDS: what a NIfTI's name and the JSON beside it say, and the names and JSON fields of derived images."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from mrisim.errors import ConfigError
from mrisim.formats.guards import reading

PHASE_ENCODING = "PhaseEncodingDirection"


def name_entities(file_name: str) -> dict[str, str]:
    """Return the patient and the contrast that a BIDS file name states; nothing for another name."""
    match = re.match(r"(sub-[A-Za-z0-9]+)_(?:.*_)?([A-Za-z0-9]+)\.nii(\.gz)?$", file_name)
    return {"patient_id": match[1], "contrast": match[2]} if match else {}


def scan_sidecar(path: Path) -> dict[str, Any]:
    """Return the JSON beside a NIfTI, of the same name but for its ending; nothing where there is none.

    Raises
    ------
    DataError
        If there is one, and it is not a JSON object.
    """
    file = path.with_name(re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE) + ".json")
    if not file.is_file():
        return {}
    with reading(file, "a JSON object, as BIDS has it beside a NIfTI"):
        return dict(json.loads(file.read_text(encoding="utf-8")))


def phase_encode_axis(sidecar: dict[str, Any]) -> int | None:
    """Return the axis of the array (0, 1, 2) along which the scan was phase-encoded; None where that is not said."""
    direction = sidecar.get(PHASE_ENCODING)
    return "ijk".index(direction[0]) if direction in ("i", "i-", "j", "j-", "k", "k-") else None


def acquisition_fields(sidecar: dict[str, Any], n_readout: int) -> dict[str, Any]:
    """Return the fields of Acquisition that a sidecar states."""

    def stated(name: str) -> float | None:
        value = sidecar.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if math.isfinite(value) and value > 0 else None

    known: dict[str, Any] = {}
    units = {
        "repetition_time_ms": ("RepetitionTime", 1e3),
        "echo_time_ms": ("EchoTime", 1e3),
        "field_strength_t": ("MagneticFieldStrength", 1.0),
    }
    for field, (name, factor) in units.items():
        if (value := stated(name)) is not None:
            known[field] = factor * value
    if (length := stated("EchoTrainLength")) is not None and length >= 1:
        known["echo_train_length"] = round(length)
    if (bandwidth_hz := stated("PixelBandwidth")) is not None:
        known["dwell_time_us"] = 1e6 / (bandwidth_hz * n_readout)
    return known


def derivative_name(stem: str, description: str) -> str:
    """Return the BIDS derivative's file name: sub-01_T1w, motionL3seed7 -> sub-01_desc-motionL3seed7_T1w.nii.gz.

    A `desc` that the stem has is joined with the new one; a stem outside BIDS gets the entity at its end.

    Raises
    ------
    ConfigError
        If the description is not letters and digits only, as BIDS asks.
    """
    if not re.fullmatch(r"[A-Za-z0-9]+", description):
        raise ConfigError(f"description is {description!r}; expected letters and digits only, in a BIDS file name")
    *entities, suffix = stem.split("_")
    if not stem.startswith("sub-") or not entities or "-" in suffix:
        return f"{stem}_desc-{description}.nii.gz"
    earlier = [part for part in entities if part.startswith("desc-")]
    kept = [part for part in entities if not part.startswith("desc-")]
    label = "".join(part.removeprefix("desc-") for part in earlier) + description
    return "_".join([*kept, f"desc-{label}", suffix]) + ".nii.gz"


def dataset_description(name: str = "Corrupted MR images") -> dict[str, Any]:
    """Return the content of `dataset_description.json`, which BIDS requires beside derivatives."""
    from mrisim import __version__

    return {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "mrisim", "Version": __version__}],
        "SourceDatasets": [],
    }


def as_derivative(sidecar: dict[str, Any], of_scan: dict[str, Any]) -> dict[str, Any]:
    """Return a sidecar with the fields that BIDS asks of a derived image, and the direction that its input's has.

    `SkullStripped` is required there; no header states it, so it is assumed to be false and listed as assumed.
    """
    given = sidecar["Input"]
    return {
        **sidecar,
        **{name: of_scan[name] for name in (PHASE_ENCODING,) if name in of_scan},
        "Sources": [f"bids:raw:{given['FileName']}"],
        "SkullStripped": False,
        "Input": {**given, "Assumed": [*given["Assumed"], "skull_stripped"]},
    }
