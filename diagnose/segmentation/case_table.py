"""Cases with their split by patient: everything that can be refused is refused here, before any training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.segmentation.brats import Case, check_cases, find_cases
from diagnose.segmentation.brats_releases import CHANNELS, CLASSES
from diagnose.segmentation.kspace_files import KspaceFiles, find_kspace, split_of_folders
from diagnose.segmentation.request import SegmentationSpec
from diagnose.volumes import SPLITS
from mrisim.datasets.patient_split import SplitRow, read_split, split_of_patient, split_text
from mrisim.errors import DataError
from mrisim.files import sha256_of_file


@dataclass(frozen=True, eq=False)
class CaseTable:
    """Every case, ordered by name."""

    root: Path
    cases: tuple[Case, ...]
    splits: Mapping[str, str]
    """Case -> split."""
    kspace: KspaceFiles
    """Empty where the data are magnitudes alone."""
    lock: Mapping[str, Any]
    """Files with sizes and marks of their content, and the SHA-256 of the split."""
    notes: tuple[str, ...]

    @property
    def identity(self) -> str:
        """SHA-256 of the lock."""
        return hashlib.sha256(json.dumps(self.lock, sort_keys=True).encode()).hexdigest()

    def of_split(self, split: str) -> tuple[Case, ...]:
        """Return the cases of one split."""
        return tuple(case for case in self.cases if self.splits[case.name] == split)

    def split_csv(self) -> str:
        """Return the split as a stored split file; a case goes by the file of its segmentation."""
        return split_text(_rows(self.root, self.cases, self.splits))


def load_case_table(root: Path, spec: SegmentationSpec, stored_split: Path | None = None) -> CaseTable:
    """Find cases, check files and labels, split by patient.

    The split is the stored one, else that of the folders of the k-space (``multicoil_train`` ...), else drawn by
    patient.

    Raises
    ------
    DataError
        No case; a contrast or segmentation that is missing; shapes or affines that differ in a case; a volume smaller
        than the patch; an empty mask; a label that is not of the release; an empty split, one that lacks a class, or
        one that shares a patient with another.
    ConfigError
        If the release is unknown.
    """
    cases = find_cases(root, spec.release)
    present = check_cases(cases, spec.patch_shape)
    kspace, notes = find_kspace(root, cases), []
    if spec.release == "auto" and cases[0].release == "2023":
        notes.append("files have the names of 2023 and 2024: labels are taken as those of 2023 (--set release=2024)")
    splits, drawn = _split(root, cases, kspace, stored_split, spec.split_seed)
    if drawn:
        notes.append(f"no folder says what is train, val and test: split by patient, seed {spec.split_seed}")
    _check_split(cases, splits, present)
    lock = {"release": cases[0].release, "files": [_file_entry(root, path) for case in cases for path in _paths(case)]}
    text = split_text(_rows(root, cases, splits))
    lock["split_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return CaseTable(root, cases, splits, kspace, lock, tuple(notes))


def _rows(root: Path, cases: Sequence[Case], splits: Mapping[str, str]) -> list[SplitRow]:
    rows = [SplitRow(_relative(root, case.paths["seg"]), case.patient, splits[case.name], "") for case in cases]
    return sorted(rows, key=lambda row: row.file)


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _paths(case: Case) -> list[Path]:
    return [case.paths[role] for role in (*CHANNELS, "seg")]


def _file_entry(root: Path, path: Path) -> dict[str, Any]:
    return {"path": _relative(root, path), "size_bytes": path.stat().st_size, "content": content_mark(path)}


def content_mark(path: Path) -> str:
    """Return what tells the content of a file from another: gzip's own CRC-32 and length, else the SHA-256."""
    if path.suffix != ".gz":
        return sha256_of_file(path)
    with path.open("rb") as stream:
        stream.seek(-8, 2)  # the trailer of the last member; hashing a real release would read 20 GB
        return stream.read(8).hex()


def _split(
    root: Path, cases: Sequence[Case], kspace: KspaceFiles, stored_split: Path | None, seed: int
) -> tuple[dict[str, str], bool]:
    """Return the split of each case, and whether it was drawn."""
    if stored_split is not None:
        stored = {row.file: row.split for row in read_split(stored_split).rows}
        missing = [case.name for case in cases if _relative(root, case.paths["seg"]) not in stored]
        if missing:
            raise DataError(
                f"{len(missing)} cases are not in {stored_split.name}, the first is {missing[0]}; expected a row for "
                "the segmentation of each"
            )
        return {case.name: stored[_relative(root, case.paths["seg"])] for case in cases}, False
    of_folders = split_of_folders(kspace)
    if set(of_folders.values()) == set(SPLITS):
        return of_folders, False
    return {case.name: split_of_patient(case.patient, seed) for case in cases}, True


def _check_split(cases: Sequence[Case], splits: Mapping[str, str], present: np.ndarray) -> None:
    """Refuse a split that is unknown, shares a patient, is empty, or lacks a class (present: (case, class))."""
    split_of: dict[str, str] = {}
    for case in cases:
        split = splits[case.name]
        if split not in SPLITS:
            raise DataError(f"{case.name} is in the split {split!r}; expected one of {', '.join(SPLITS)}")
        if split_of.setdefault(case.patient, split) != split:
            raise DataError(
                f"patient {case.patient} is in {split_of[case.patient]} and, as {case.name}, in {split}; "
                "expected every case of a patient in one split"
            )
    for split in SPLITS:
        rows = [index for index, case in enumerate(cases) if splits[case.name] == split]
        if not rows:
            raise DataError(f"no patient is in {split}; expected at least one in each split")
        for name, there in zip(CLASSES, np.any(present[rows], axis=0), strict=True):
            if not there:
                raise DataError(f"{name} is in none of the {len(rows)} cases of {split}; expected every class there")
