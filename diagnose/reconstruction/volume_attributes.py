"""What is known of each file of a data set: HDF5 attributes, ISMRMRD header, and the table of files in dataset.json."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.reconstruction.data_selection import AttributedVolume, Value
from diagnose.volumes import Volume
from mrisim.cohort_writer import DATASET_FILE
from mrisim.errors import DataError

OWN_PREFIX = "mrisim_"
_NOT_ATTRIBUTES = {"max", "norm", "n_bytes", "sha256", "path", "mrisim_acquisition", "mrisim_description"}
"""Results and identities: they tell files apart, and nothing about what kind of scan a file is."""


def read_attributes(root: Path, volumes: Sequence[Volume]) -> tuple[AttributedVolume, ...]:
    """Return volumes with their attributes.

    Every file has ``file``, ``patient_id``, ``n_slices`` and ``split``; ``acquisition`` where stated; from the header
    ``scanner_vendor``, ``scanner_model`` and ``field_strength_t``; the scalars of an own file (``scanner``, ``plane``,
    ...) without their prefix; and what ``dataset.json`` says of it, with the cohort's ``anatomy``.

    Parameters
    ----------
    root : Path
        Folder that the volumes were found below; its ``dataset.json`` is read where there is one.
    volumes : sequence of Volume
        From `diagnose.volumes.find_volumes`.

    Raises
    ------
    DataError
        If a file or the table cannot be read, or the two contradict each other.
    """
    table = _table(root)
    return tuple(AttributedVolume(volume, _attributes(volume, table)) for volume in volumes)


def _attributes(volume: Volume, table: dict[str, dict[str, Value]]) -> dict[str, Value]:
    from mrisim.formats import reading
    from mrisim.formats.hdf5 import open_hdf5

    known: dict[str, Value] = {}
    with open_hdf5(volume.path) as content, reading(volume.path, "a fastMRI HDF5 file"):
        header = content["ismrmrd_header"][()] if "ismrmrd_header" in content else None
        stored = {name: content.attrs[name] for name in content.attrs if name not in _NOT_ATTRIBUTES}
    if header is not None:
        known.update(_header_attributes(header, volume.file))
    for name, value in stored.items():
        scalar = _scalar(value)
        if scalar is not None:
            known[name.removeprefix(OWN_PREFIX)] = scalar
    for name, value in table.get(volume.file, {}).items():
        if name != "split" and name in known and not _same(known[name], value):
            raise DataError(
                f"{DATASET_FILE} says {name} = {value} of {volume.file}, the file says {known[name]}; expected the same"
            )
        known[name] = value
    known.update(file=volume.file, patient_id=volume.patient, n_slices=volume.n_slices)
    if volume.split:
        known["split"] = volume.split
    return known


def _header_attributes(xml: Any, file: str) -> dict[str, Value]:
    from mrisim.formats.header import parse_header

    text = xml if isinstance(xml, bytes) else str(xml).encode()
    timing = parse_header(text, file).timing  # refuses document types and entities, so that the rest is plain elements
    system = ElementTree.fromstring(text.rstrip(b"\0 \r\n\t")).find("{*}acquisitionSystemInformation")
    found: dict[str, Value] = {}
    if "field_strength_t" in timing:
        found["field_strength_t"] = float(timing["field_strength_t"])
    for element, name in (("systemVendor", "scanner_vendor"), ("systemModel", "scanner_model")):
        value = "" if system is None else (system.findtext(f"{{*}}{element}") or "").strip()
        if value:
            found[name] = value
    return found


def _scalar(value: Any) -> Value | None:
    """Return an HDF5 attribute as text or number; None for arrays."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    if np.ndim(value) or not isinstance(value, np.number | int | float):
        return None
    return value.item() if isinstance(value, np.number) else value


def _same(one: Value, other: Value) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return bool(np.isclose(one, other, rtol=1e-6, atol=0))


def _table(root: Path) -> dict[str, dict[str, Value]]:
    """Return file -> attributes of ``dataset.json``; empty where there is none."""
    path = root / DATASET_FILE
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if "parts" in content:  # several cohorts, each in its folder
            return {f"{part}/{file}": row for part in content["parts"] for file, row in _table(root / part).items()}
        anatomy = {"anatomy": content["spec"]["anatomy"]}
        return {
            row["path"]: {
                **anatomy,
                **{
                    name: value
                    for name, value in row.items()
                    if name not in _NOT_ATTRIBUTES and isinstance(value, str | int | float)
                },
            }
            for row in content["files"]
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{DATASET_FILE} cannot be read ({error}); expected the one that `mrisim cohort` wrote"
        ) from None
