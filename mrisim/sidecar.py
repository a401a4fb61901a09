"""The JSON sidecar: all that is needed to understand a corrupted scan and to make it again."""

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from mrisim import __version__
from mrisim.artifacts import ARTIFACT
from mrisim.corrupt import Corrupted, Realisation
from mrisim.errors import DataError
from mrisim.files import write_text
from mrisim.provenance import from_json, to_json
from mrisim.scan import Scan

SCHEMA = 1


@dataclass(frozen=True)
class Source:
    """Where a scan came from, without an absolute path or a patient's name."""

    item_id: str
    file_name: str
    """Path relative to the input root; empty for the embedded default."""
    sha256: str
    file_format: str
    fingerprint: str = ""
    """Of its size and parts (`mrisim.items`): every resume asks whether an output is of its input."""


def describe(
    source: Source,
    scan: Scan,
    result: Corrupted,
    *,
    seed: int,
    label: str,
    reconstruction: dict[str, Any],
    quality: dict[str, Any],
    left_out: Sequence[int] = (),
) -> dict[str, Any]:
    """Return the sidecar of one corrupted scan as plain JSON values.

    Parameters
    ----------
    source : Source
    scan : Scan
        The clean input.
    result : Corrupted
    seed : int
    label : str
        Short name of the request.
    reconstruction : dict
        Name, parameters and data hash of the reconstruction.
    quality : dict
        Image error against the clean reconstruction.
    left_out : sequence of int
        Slices of the input that cannot be used.
    """
    kinds = ", ".join(
        f"{r.spec.kind}" + (f" level {r.spec.level}" if r.spec.level else "") for r in result.realisations
    )
    acquisition = scan.acquisition
    return {
        "Schema": SCHEMA,
        "Description": f"Simulated MR artifacts: {kinds or 'none'}",
        "GeneratedBy": [{"Name": "mrisim", "Version": __version__}],
        "Input": {
            "ItemId": source.item_id,
            "FileName": source.file_name,
            "Format": source.file_format,
            "SHA256": source.sha256,
            "Fingerprint": source.fingerprint,
            "KspaceOrigin": acquisition.kspace_origin,
            "Assumed": list(acquisition.assumed),
            "Notes": list(acquisition.notes),
        },
        "Seed": seed,
        "Label": label,
        "Corruption": [_realisation_to_json(realisation) for realisation in result.realisations],
        "Slices": list(result.scan.slice_ids),
        "LeftOut": [int(slice_id) for slice_id in left_out],
        "ObjectModel": None if result.object_model is None else _camel(asdict(result.object_model)),
        "Warnings": list(result.notes),
        "Reconstruction": reconstruction,
        "QualityMetrics": quality,
        "KspaceSHA256": sha256_of_array(result.scan.kspace),
        "Environment": environment(),
    }


def read_realisations(record: dict[str, Any]) -> tuple[Realisation, ...]:
    """Rebuild the realised artifacts of a sidecar.

    Raises
    ------
    DataError
        If the record is not a sidecar of this program.
    """
    try:
        return tuple(_realisation_from_json(entry) for entry in record["Corruption"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"the sidecar does not describe a corruption: {type(error).__name__} {error}") from None


def load(path: Path) -> dict[str, Any]:
    """Read a sidecar from disk.

    Raises
    ------
    DataError
        If the file is missing or is not a sidecar.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise DataError(f"{path.name} cannot be read; expected the JSON sidecar of a corrupted scan") from None
    except ValueError:
        raise DataError(f"{path.name} is not JSON; expected the sidecar of a corrupted scan") from None
    if not isinstance(record, dict) or record.get("Schema") != SCHEMA or "Corruption" not in record:
        raise DataError(f"{path.name} is not a sidecar of mrisim; expected the fields Schema = {SCHEMA} and Corruption")
    return record


def save(path: Path, record: dict[str, Any]) -> None:
    """Write a sidecar, whole or not at all; a list of numbers takes one line, not one for each."""
    write_text(path, _as_text(record, "") + "\n")


def _as_text(value: Any, indent: str) -> str:
    deeper = indent + " "
    if isinstance(value, dict) and value:
        parts = [f"{json.dumps(name)}: {_as_text(part, deeper)}" for name, part in value.items()]
    elif isinstance(value, list | tuple) and any(isinstance(part, dict | list | tuple) for part in value):
        parts = [_as_text(part, deeper) for part in value]
    else:
        return json.dumps(value, allow_nan=False)
    left, right = "{}" if isinstance(value, dict) else "[]"
    return f"{left}\n{deeper}" + f",\n{deeper}".join(parts) + f"\n{indent}{right}"


def sha256_of_array(array: np.ndarray) -> str:
    """Return the SHA-256 of an array's shape, type and little-endian bytes."""
    kept = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{kept.dtype.str}{kept.shape}".encode())
    digest.update(kept.data)
    return digest.hexdigest()


def environment() -> dict[str, str]:
    """Return the versions on which bit-exactness depends."""
    names = ("numpy", "scipy", "sigpy", "numba")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        **{name: _version(name) for name in names},
    }


def _camel(record: dict[str, Any]) -> dict[str, Any]:
    return {"".join(part.capitalize() for part in name.split("_")): value for name, value in record.items()}


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _realisation_to_json(realisation: Realisation) -> dict[str, Any]:
    return {
        "Kind": realisation.spec.kind,
        "Spec": json.loads(realisation.spec.model_dump_json()),
        "Occurrence": realisation.occurrence,
        "Latents": {str(key): to_json(latents) for key, latents in realisation.latents.items()},
    }


def _realisation_from_json(entry: dict[str, Any]) -> Realisation:
    spec = ARTIFACT.validate_python(entry["Spec"])
    latents = {int(key): from_json(spec.latents_type, value) for key, value in entry["Latents"].items()}
    return Realisation(spec=spec, occurrence=entry["Occurrence"], latents=latents)
