"""BIDS: what a NIfTI's name says, and the names and JSON fields of derived images."""

from __future__ import annotations

import re
from typing import Any

from mrisim.errors import ConfigError


def name_entities(file_name: str) -> dict[str, str]:
    """Return the patient and the contrast that a BIDS file name states; nothing for another name."""
    match = re.match(r"(sub-[A-Za-z0-9]+)_(?:.*_)?([A-Za-z0-9]+)\.nii(\.gz)?$", file_name)
    return {"patient_id": match[1], "contrast": match[2]} if match else {}


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


def as_derivative(sidecar: dict[str, Any]) -> dict[str, Any]:
    """Return a sidecar with the fields that BIDS asks of a derived image.

    `SkullStripped` is required there; no header states it, so it is assumed to be false and listed as assumed.
    """
    given = sidecar["Input"]
    return {
        **sidecar,
        "Sources": [f"bids:raw:{given['FileName']}"],
        "SkullStripped": False,
        "Input": {**given, "Assumed": [*given["Assumed"], "skull_stripped"]},
    }
