"""The data of a reconstruction run: distributions found by their attributes, split by patient, reduced, and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnose.reconstruction.data_selection import AttributedVolume, joint, select, subset
from diagnose.reconstruction.distributions import filters_of
from diagnose.reconstruction.paired_volumes import PairedVolume, check_masks, has_target, pair
from diagnose.reconstruction.request import ReconstructionSpec
from diagnose.reconstruction.volume_attributes import read_attributes
from diagnose.volumes import SPLITS, find_volumes, split_volumes
from mrisim.datasets.patient_split import SplitRow, split_text
from mrisim.errors import ConfigError, DataError

Parts = Mapping[str, tuple[PairedVolume, ...]]
"""Distribution -> volumes."""


@dataclass(frozen=True, eq=False)
class ReconstructionData:
    """Volumes by split and distribution; those of training are what the selection leaves."""

    by_split: Mapping[str, Parts]
    lock: Mapping[str, Any]
    """Files with sizes and norms, by split and distribution."""
    files: tuple[AttributedVolume, ...]
    """All of the data set, those of other distributions too."""
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """SHA-256 of the lock."""
        return hashlib.sha256(json.dumps(self.lock, sort_keys=True).encode()).hexdigest()

    def volumes(self, split: str) -> tuple[PairedVolume, ...]:
        """Return the volumes of a split, each once, sorted by file."""
        found = {paired.volume.file: paired for part in self.by_split[split].values() for paired in part}
        return tuple(found[file] for file in sorted(found))

    def split_csv(self) -> str:
        """Return the split of all files as a stored split file: other distributions are measured on, too."""
        volumes = (file.volume for file in self.files)
        rows = (SplitRow(volume.file, volume.patient, volume.split, volume.acquisition) for volume in volumes)
        return split_text(sorted(rows, key=lambda row: row.file))


def load_reconstruction_data(
    spec: ReconstructionSpec, root: Path, stored_split: Path | None = None
) -> ReconstructionData:
    """Find the files of every distribution in every split, and check what training needs of them.

    Raises
    ------
    DataError
        A filter lets nothing through; a distribution has no file in a split; k-space and target that do not fit; too
        few lines for a mask; and as `diagnose.volumes`.
    ConfigError
        A fraction that leaves no patient.
    """
    files, notes = attributed_files(root, stored_split, spec.split_seed)
    return data_of(spec, files, notes, {})


def data_of(
    spec: ReconstructionSpec,
    files: Sequence[AttributedVolume],
    notes: tuple[str, ...],
    known: dict[str, PairedVolume],
) -> ReconstructionData:
    """Return the data of a request from the files of a data set; errors as `load_reconstruction_data`.

    Parameters
    ----------
    spec : ReconstructionSpec
    files : sequence of AttributedVolume
        From `attributed_files`.
    notes : tuple of str
    known : dict
        File -> what it was found to hold; files that are not in there are read, and added.
    """
    parts = {name: of_distribution(files, name) for name in spec.train_on}
    chosen: dict[str, dict[str, Sequence[AttributedVolume]]] = {split: {} for split in SPLITS}
    for name, fraction in zip(spec.train_on, spec.part_of, strict=True):
        for split in SPLITS:
            inside = in_split(parts[name], split, name)
            if split == "train" and fraction < 1:
                inside = subset(inside, fraction, seed=spec.selection_seed)
            chosen[split][name] = inside
    paired = paired_by_file((file for split in chosen.values() for part in split.values() for file in part), known)
    check_masks(paired.values(), spec.acceleration, spec.mask)
    by_split = {
        split: {name: tuple(paired[file.volume.file] for file in part) for name, part in named.items()}
        for split, named in chosen.items()
    }
    lock = {split: {name: locked(part) for name, part in named.items()} for split, named in by_split.items()}
    return ReconstructionData(by_split, lock, tuple(files), notes)


def attributed_files(
    root: Path, stored_split: Path | None, split_seed: int
) -> tuple[tuple[AttributedVolume, ...], tuple[str, ...]]:
    """Return all files below a root that have a target, with their split and attributes, and notes for the user."""
    found = find_volumes(root)
    volumes = [volume for volume in found if has_target(volume)]
    notes = [f"{len(found) - len(volumes)} files have no target: left out"] if len(volumes) < len(found) else []
    if not volumes:
        raise DataError(f"none of the {len(found)} files below {root.name} has a target; expected reconstruction_rss")
    volumes, split_notes = split_volumes(volumes, stored_split, split_seed)
    return read_attributes(root, volumes), (*notes, *split_notes)


def of_distribution(files: Sequence[AttributedVolume], name: str) -> tuple[AttributedVolume, ...]:
    """Return the files of a named distribution; see `diagnose.reconstruction.data_selection.select`."""
    try:
        return select(files, filters_of(name))
    except (ConfigError, DataError) as error:
        raise type(error)(f"the distribution {name}: {error}") from None


def in_split(files: Sequence[AttributedVolume], split: str, name: str) -> tuple[AttributedVolume, ...]:
    """Return the files of a distribution that lie in a split.

    Raises
    ------
    DataError
        If there is none.
    """
    inside = tuple(file for file in files if file.volume.split == split)
    if not inside:
        raise DataError(f"the distribution {name} has no file in {split}; expected some of its {len(files)} files")
    return inside


def paired_by_file(files: Iterable[AttributedVolume], known: dict[str, PairedVolume]) -> dict[str, PairedVolume]:
    """Return files by name, each checked once; see `diagnose.reconstruction.paired_volumes.pair`."""
    found = {}
    for file in joint(tuple(files)):
        name = file.volume.file
        if name not in known:
            known[name] = pair(file.volume)
        found[name] = known[name]
    return found


def locked(part: Sequence[PairedVolume]) -> list[dict[str, Any]]:
    """Return what tells the files of a part from others."""
    return [
        {"path": one.volume.file, "size_bytes": one.volume.path.stat().st_size, "norm": one.volume.norm} for one in part
    ]
