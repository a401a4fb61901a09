"""Files of a data set: which HDF5 volumes there are, whose they are, and in which split each patient is."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mrisim.datasets.patient_split import read_split, split_of_patient
from mrisim.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")
_SPLIT_FOLDER = re.compile(r"(?:^|_)(train|val|test)(?:_v2)?$")


@dataclass(frozen=True)
class Volume:
    """One HDF5 file."""

    path: Path
    file: str
    """Relative to the root, POSIX."""
    patient: str
    acquisition: str
    n_slices: int
    norm: float | None = None
    """Of the clean target, as the file states it: tells files of equal size apart, without hashing terabytes."""
    split: str = ""

    @property
    def stem(self) -> str:
        """Name in the label table, and of the item in the random streams."""
        return Path(self.file).stem


def find_volumes(root: Path) -> list[Volume]:
    """Return the HDF5 files with k-space below a root, sorted; the split is in the folder's name (``..._train``).

    Raises
    ------
    DataError
        If there is none, one cannot be read or states no patient, or two have one name.
    """
    if not root.is_dir():
        raise DataError(f"{root.name} is not a folder; expected one with fastMRI HDF5 files (multicoil_train/*.h5)")
    volumes = [_volume(path, root) for path in sorted(root.rglob("*.h5"))]
    if not volumes:
        raise DataError(f"no .h5 file below {root.name}; expected fastMRI HDF5 files (multicoil_train/*.h5)")
    twice = [stem for stem, n in Counter(volume.stem for volume in volumes).items() if n > 1]
    if twice:
        raise DataError(f"two files are named {twice[0]}.h5; expected one, because labels go by the name of the file")
    return volumes


def _volume(path: Path, root: Path) -> Volume:
    from mrisim.formats import reading
    from mrisim.formats.hdf5 import open_hdf5

    file = path.relative_to(root).as_posix()
    with open_hdf5(path) as content, reading(path, "a fastMRI HDF5 file"):
        if "kspace" not in content:
            raise DataError(f"{file} has no `kspace`; expected a fastMRI HDF5 file")
        target = next((content[key] for key in ("reconstruction_rss", "reconstruction_esc") if key in content), None)
        n_slices = int((content["kspace"] if target is None else target).shape[0])
        patient, acquisition = (_text(content.attrs.get(key, "")) for key in ("patient_id", "acquisition"))
        norm = float(content.attrs["norm"]) if "norm" in content.attrs else None
    if not patient.strip():
        raise DataError(f"{file} states no patient; expected the attribute patient_id, to keep a patient in one split")
    found = _SPLIT_FOLDER.search(path.parent.name)
    return Volume(path, file, patient.strip(), acquisition, n_slices, norm, found[1] if found else "")


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def split_volumes(volumes: list[Volume], stored_split: Path | None, seed: int) -> tuple[list[Volume], list[str]]:
    """Give every volume its split: the stored one, else the folders' where each is there, else drawn by patient.

    Returns
    -------
    volumes : list of Volume
    notes : list of str
        What the user must know.

    Raises
    ------
    DataError
        If a file is not in the stored split, a patient is in two splits, or a split is empty.
    """
    notes = []
    if stored_split is not None:
        stored = {row.file: row.split for row in read_split(stored_split).rows}
        missing = [volume.file for volume in volumes if volume.file not in stored]
        if missing:
            raise DataError(
                f"{len(missing)} files are not in {stored_split.name}, the first is {missing[0]}; expected all"
            )
        volumes = [replace(volume, split=stored[volume.file]) for volume in volumes]
    elif {volume.split for volume in volumes} != set(SPLITS):
        volumes = [replace(volume, split=split_of_patient(volume.patient, seed)) for volume in volumes]
        notes.append(f"the folders are no train, val and test with labels; patients are split anew, seed {seed}")
    split_of: dict[str, Volume] = {}
    for volume in volumes:
        if volume.split not in SPLITS:
            raise ConfigError(f"{volume.file} is in the split {volume.split!r}; expected one of {', '.join(SPLITS)}")
        other = split_of.setdefault(volume.patient, volume)
        if other.split != volume.split:
            raise DataError(
                f"{other.file} is in {other.split} and {volume.file}, of the same patient, in {volume.split}; "
                "expected every file of a patient in one split"
            )
    empty = [split for split in SPLITS if split not in {volume.split for volume in volumes}]
    if empty:
        raise DataError(f"no patient is in {', '.join(empty)}; expected at least one in each split")
    return volumes, notes
