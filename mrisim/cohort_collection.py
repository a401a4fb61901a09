"""Several cohorts as one data set: knees and heads in one folder, each in a sub-folder named after its anatomy.

What reads fastMRI files below a folder reads them all; the names of files and patients of different anatomies differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mrisim.cohort import is_complete, make_cohort
from mrisim.cohort_protocol import CohortSpec
from mrisim.cohort_writer import DATASET_FILE
from mrisim.errors import ConfigError
from mrisim.files import write_text


@dataclass(frozen=True)
class CohortCollection:
    """The request for several cohorts in one folder: equal requests give equal bytes."""

    parts: tuple[CohortSpec, ...]

    def __post_init__(self) -> None:
        names = [part.anatomy for part in self.parts]
        if len(set(names)) != len(names) or not names:
            raise ConfigError(f"the collection is of {', '.join(names) or 'nothing'}; expected each anatomy once")

    @property
    def anatomy(self) -> str:
        """Names of the parts, as the collection is called in the cache."""
        return "-".join(part.anatomy for part in self.parts)

    @property
    def sha256(self) -> str:
        """Identity of the request."""
        return hashlib.sha256(" ".join(part.sha256 for part in self.parts).encode()).hexdigest()


def make_collection(
    collection: CohortCollection,
    folder: Path,
    *,
    n_workers: int = 1,
    wait_for_other: bool = False,
    on_patient: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Make the cohorts of a collection, or finish those that were interrupted; its ``dataset.json`` comes last.

    Parameters and errors as `mrisim.cohort.make_cohort`.
    """
    if is_complete(folder):
        return
    total = sum(part.n_patients.total for part in collection.parts)
    n_before = 0

    def tell(done: int, _total: int) -> None:
        on_patient(n_before + done, total)

    for part in collection.parts:
        make_cohort(
            part, folder / part.anatomy, n_workers=n_workers, wait_for_other=wait_for_other, on_patient=tell
        )  # fmt: skip
        n_before += part.n_patients.total
    description = {
        "name": f"phantom_{collection.anatomy}",
        "origin": "simulated: every score on it is a simulation result",
        "spec_sha256": collection.sha256,
        "parts": [part.anatomy for part in collection.parts],
    }
    write_text(folder / DATASET_FILE, json.dumps(description, indent=1) + "\n")
