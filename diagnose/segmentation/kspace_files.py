"""Multi-coil k-space of BraTS cases, where a data set has it: the embedded cohort writes both for each patient.

Public BraTS is magnitude only. A file belongs to a case by patient and contrast, as its attributes say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from diagnose.segmentation.brats import Case
from diagnose.segmentation.brats_releases import CHANNELS
from diagnose.volumes import Volume, find_volumes
from mrisim.cohort_protocol import ACQUISITIONS
from mrisim.errors import DataError

KspaceFiles = Mapping[str, Mapping[str, Volume]]
"""Case -> channel -> file."""


def find_kspace(root: Path, cases: Sequence[Case]) -> KspaceFiles:
    """Return the k-space of every case, or nothing where the root has none.

    Raises
    ------
    DataError
        If there is k-space of some contrasts only, two files of one, or a patient with k-space has several cases.
    """
    if not any(root.rglob("*.h5")):
        return {}
    channel_of = {acquisition: channel for channel, acquisition in ACQUISITIONS["brain"].items()}
    volumes = [volume for volume in find_volumes(root) if volume.acquisition in channel_of]
    known = {(volume.patient, channel_of[volume.acquisition]): volume for volume in volumes}
    if len(known) < len(volumes):
        raise DataError("two files hold one contrast of one patient; expected one k-space file for each")
    n_cases = Counter(case.patient for case in cases)
    found: dict[str, dict[str, Volume]] = {}
    for case in cases:
        for channel in CHANNELS:
            volume = known.get((case.patient, channel))
            if volume is None:
                raise DataError(
                    f"{case.name} has no k-space of {channel}, other cases have; expected an HDF5 file of "
                    f"patient {case.patient} with the acquisition {ACQUISITIONS['brain'][channel]}, or none at all"
                )
            found.setdefault(case.name, {})[channel] = volume
        if n_cases[case.patient] > 1:
            raise DataError(f"patient {case.patient} has k-space and several cases; expected one case for each")
    return found


def split_of_folders(files: KspaceFiles) -> dict[str, str]:
    """Return the split of each case by the folders of its k-space; empty where they do not say it for all."""
    splits = {case: {volume.split for volume in channels.values()} for case, channels in files.items()}
    if any(len(names) != 1 or "" in names for names in splits.values()):
        return {}
    return {case: next(iter(names)) for case, names in splits.items()}
