"""Slices with labels, split by patient: fastMRI HDF5 files and the fastMRI+ table become one table of slices.

The embedded cohort lies in the same layout, so training on it and on fastMRI is this one path. No pixel is read here
(see `diagnose.slice_images`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.volumes import SPLITS, Volume, find_volumes, split_volumes
from mrisim.datasets.label_map import label_slices, load_label_map, read_annotations, read_file_list
from mrisim.datasets.patient_split import SplitRow, split_text
from mrisim.errors import DataError
from mrisim.files import sha256_of_file


@dataclass(frozen=True)
class DataRequest:
    """Which data, how they are labelled and how they are split; equal for all runs of a study."""

    root: Path
    labels: Path | None = None
    """Table of fastMRI+; None: ``Annotations/knee.csv`` below the root."""
    label_map: str = "fastmri_plus_knee_4way"
    split: Path | None = None
    """Stored split of `mrisim.datasets`; None: the folders where each holds labelled files, else drawn by patient."""
    split_seed: int = 0
    drop_incomplete: bool = False
    """Leave out labels without a file and files without a label, instead of refusing them."""


@dataclass(frozen=True, eq=False)
class SliceTable:
    """Every labelled slice, ordered by file and slice."""

    volumes: tuple[Volume, ...]
    findings: tuple[str, ...]
    labels: np.ndarray
    """(slice, finding), 0 or 1."""
    volume_of_slice: np.ndarray
    """(slice,): index into `volumes`."""
    index_in_volume: np.ndarray
    """(slice,)"""
    lock: Mapping[str, Any]
    """Files with sizes and norms, SHA-256 of labels and of the split: what makes two data sets the same."""
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """SHA-256 of the lock."""
        return hashlib.sha256(json.dumps(self.lock, sort_keys=True).encode()).hexdigest()

    @property
    def items(self) -> list[str]:
        """Name of each slice: ``file/003``."""
        pairs = zip(self.volume_of_slice, self.index_in_volume, strict=True)
        return [f"{self.volumes[volume].stem}/{index:03d}" for volume, index in pairs]

    @property
    def patients(self) -> np.ndarray:
        """(slice,): patient of each slice."""
        return np.array([volume.patient for volume in self.volumes])[self.volume_of_slice]

    def of_split(self, split: str) -> SliceTable:
        """Return the slices of one split; its volumes are renumbered, the lock stays that of the whole."""
        kept = [index for index, volume in enumerate(self.volumes) if volume.split == split]
        new_index = {old: new for new, old in enumerate(kept)}
        rows = np.flatnonzero(np.isin(self.volume_of_slice, kept))
        return replace(
            self,
            volumes=tuple(self.volumes[index] for index in kept),
            labels=self.labels[rows],
            volume_of_slice=np.array([new_index[old] for old in self.volume_of_slice[rows].tolist()], int),
            index_in_volume=self.index_in_volume[rows],
        )

    def split_csv(self) -> str:
        """Return the split as a stored split file."""
        rows = (SplitRow(volume.file, volume.patient, volume.split, volume.acquisition) for volume in self.volumes)
        return split_text(sorted(rows, key=lambda row: row.file))


def check_label_table(table: Path) -> None:
    """Refuse a label table that is not there.

    Raises
    ------
    DataError
    """
    if not table.is_file():
        raise DataError(
            f"{table.name} is not there; expected the label table (fastMRI+), below Annotations or by --labels"
        )


def load_slice_table(request: DataRequest) -> SliceTable:
    """Find files and labels, join them, split by patient, and refuse what would spoil a study.

    Raises
    ------
    DataError
        No file; a file without patient; labels for files that are missing; files without labels; a patient in two
        splits; an empty split; a finding with one class only in a split.
    ConfigError
        If the label map is unknown.
    """
    volumes = find_volumes(request.root)
    table = request.labels or request.root / "Annotations" / "knee.csv"
    check_label_table(table)
    label_map = load_label_map(request.label_map)
    annotations = read_annotations(table)
    list_file = table.with_name(table.stem + "_file_list.csv")
    annotated = {row.file for row in annotations}
    files_read = set(read_file_list(list_file)) if list_file.is_file() else annotated
    volumes, notes = _joined(volumes, files_read, annotated, request, table.name)
    known = {volume.stem: volume.n_slices for volume in volumes}
    labels = label_slices([row for row in annotations if row.file in known], known, label_map, known)
    volumes, split_notes = split_volumes(volumes, request.split, request.split_seed)
    rows = [(volume, index) for volume, entry in enumerate(volumes) for index in range(entry.n_slices)]
    vectors = [labels.vector(volumes[volume].stem, index) for volume, index in rows]
    lock = {
        "files": [
            {"path": volume.file, "size_bytes": volume.path.stat().st_size, "norm": volume.norm} for volume in volumes
        ],
        "labels_sha256": sha256_of_file(table),
        "file_list_sha256": sha256_of_file(list_file) if list_file.is_file() else None,
        "label_map": label_map.model_dump(mode="json"),
    }
    result = SliceTable(
        volumes=tuple(volumes),
        findings=label_map.heads,
        labels=np.array(vectors, np.int8),
        volume_of_slice=np.array([volume for volume, _ in rows]),
        index_in_volume=np.array([index for _, index in rows]),
        lock=lock,
        notes=(*notes, *split_notes),
    )
    lock["split_sha256"] = hashlib.sha256(result.split_csv().encode()).hexdigest()
    _check_classes(result)
    return result


def _joined(
    volumes: list[Volume], read: set[str], annotated: set[str], request: DataRequest, table: str
) -> tuple[list[Volume], list[str]]:
    """Keep the volumes that were read by the radiologist; refuse, or note, what does not match."""
    # A misspelt name in the table is in no list of files read: its findings must not be lost in silence.
    without_file = sorted((read | annotated) - {volume.stem for volume in volumes})
    labelled = [volume for volume in volumes if volume.stem in read]
    # The distributor's test folders carry no label at all: they are another set, not an incomplete one.
    folders = {volume.path.parent for volume in labelled}
    without_label = [volume.file for volume in volumes if volume.stem not in read and volume.path.parent in folders]
    if not labelled:
        raise DataError(f"{table} labels none of the {len(volumes)} files; expected the labels of these files")
    notes = []
    for found, what, expected in (
        (without_file, f"files that {table} labels are missing", "every labelled file"),
        (without_label, f"files have no label in {table}", "a label, or a line in the list of files read, for each"),
    ):
        if found and not request.drop_incomplete:
            raise DataError(
                f"{len(found)} {what}, the first is {found[0]}; expected {expected} "
                "(or leave them out: --set drop_incomplete=true)"
            )
        if found:
            notes.append(f"{len(found)} {what}: left out")
    return labelled, notes


def _check_classes(table: SliceTable) -> None:
    """Refuse a finding that a split has always or never: nothing can be learnt or measured there."""
    for split in SPLITS:
        labels = table.of_split(split).labels
        for finding, share in zip(table.findings, labels.mean(axis=0), strict=True):
            if share in (0, 1):
                state = "absent from" if share == 0 else "present in"
                raise DataError(
                    f"{finding} is {state} all {len(labels)} slices of {split}; expected both classes there"
                )
