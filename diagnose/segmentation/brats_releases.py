"""What the years of BraTS differ in: the names of files, and what a label in them means.

Enhancing tumour is 4 until 2021 and 3 from 2023 on; 4 is the resection cavity in 2024, which is no tumour and becomes
background here. 2023 and 2024 share their names. Labels are of the gliomas, and in 2023 of the other cohorts too.

References
----------
Baid et al. 2021, arXiv:2107.02314; de Verdier et al. 2024, arXiv:2405.18368 (2024, post-treatment).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CHANNELS = ("flair", "t1", "t1ce", "t2")
"""Contrasts of an image array, in order."""

CLASSES = ("oedema", "non-enhancing", "enhancing")
"""Meaning of the labels 1, 2, 3 that are returned: the triple of the second paper; non-enhancing holds necrosis."""

_OLD_ROLES = {role: role for role in (*CHANNELS, "seg")}
_NEW_ROLES = {"t2f": "flair", "t1n": "t1", "t1c": "t1ce", "t2w": "t2", "seg": "seg"}
_OLD_LABELS = {0: 0, 1: 2, 2: 1, 4: 3}
_NEW_LABELS = {0: 0, 1: 2, 2: 1, 3: 3}
_NEW_NAME = r"BraTS-(?P<cohort>GLI|MEN|MET|PED|SSA)-(?P<patient>\d{5})-\d{3}"


@dataclass(frozen=True)
class Release:
    """How one year names its files, and what its labels are."""

    case: str
    """Regular expression of a case's name, with the group ``patient``."""
    separator: str
    roles: Mapping[str, str]
    """End of a file's name -> channel, or seg."""
    labels: Mapping[int, int]
    """Value in the file -> 0 (background) or position in `CLASSES` from 1."""


RELEASES: Mapping[str, Release] = {
    "2018": Release(r"Brats18_(?P<patient>\w+?)_\d+", "_", _OLD_ROLES, _OLD_LABELS),
    "2019": Release(r"BraTS19_(?P<patient>\w+?)_\d+", "_", _OLD_ROLES, _OLD_LABELS),
    "2020": Release(r"BraTS20_(?P<patient>(?:Training|Validation)_\d{3})", "_", _OLD_ROLES, _OLD_LABELS),
    "2021": Release(r"BraTS2021_(?P<patient>\d{5})", "_", _OLD_ROLES, _OLD_LABELS),
    "2023": Release(_NEW_NAME, "-", _NEW_ROLES, _NEW_LABELS),
    # the cavity is no tumour: background here; of the other cohorts of 2024 the labels were not seen
    "2024": Release(_NEW_NAME.replace("|MEN|MET|PED|SSA", ""), "-", _NEW_ROLES, {**_NEW_LABELS, 4: 0}),
}
