"""Patient-level splits: every file of a patient in one split, the same on every machine.

A patient's split follows from the seed and the patient's key alone, by SHA-256: not from the order of the files, not
from who else is there, not from the name of the set. So a new patient moves nobody, half a download gives the split of
the whole, and a knee's emulated single-coil file lands where its multi-coil file does. The price: sizes are as asked
only on average, with a standard deviation of sqrt(n f (1 - f)) patients.
"""

import csv
import hashlib
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mrisim.datasets.lock import refuse_inside
from mrisim.datasets.manifest import Manifest
from mrisim.datasets.structure import find_files, inspect_file
from mrisim.errors import ConfigError, DataError
from mrisim.files import write_text

SPLIT_COLUMNS = ("file", "patient_key", "split", "acquisition")
FRACTIONS = {"train": 0.70, "val": 0.15, "test": 0.15}
"""Of the first paper (which splits volumes; here it is patients)."""


@dataclass(frozen=True)
class SplitRow:
    """One file. ``file`` is relative to the root, POSIX."""

    file: str
    patient_key: str
    split: str
    acquisition: str


@dataclass(frozen=True)
class PatientSplit:
    """The rows, sorted by file, and what the user must know of them."""

    rows: tuple[SplitRow, ...]
    sha256: str
    """Of the CSV text."""
    warnings: tuple[str, ...]

    @property
    def n_patients(self) -> dict[str, int]:
        """Patients per split."""
        patients: dict[str, set[str]] = defaultdict(set)
        for row in self.rows:
            patients[row.split].add(row.patient_key)
        return {split: len(keys) for split, keys in sorted(patients.items())}


def split_of_patient(patient_key: str, seed: int, fractions: Mapping[str, float] = FRACTIONS) -> str:
    """Return the split of one patient.

    Parameters
    ----------
    patient_key : str
    seed : int
        0 or more.
    fractions : mapping of split to fraction
        In the order in which they share the unit interval; their sum is 1.

    Raises
    ------
    ConfigError
        If the seed or the fractions are impossible.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"seed is {seed!r}; expected an integer of 0 or more")
    if not fractions or any(not 0 <= part <= 1 for part in fractions.values()):
        raise ConfigError(f"fractions are {dict(fractions)}; expected values from 0 to 1")
    if not math.isclose(sum(fractions.values()), 1, abs_tol=1e-9):
        raise ConfigError(f"fractions {dict(fractions)} have the sum {sum(fractions.values()):g}; expected 1")
    digest = hashlib.sha256(f"patient split;{seed};{patient_key}".encode()).digest()
    # 53 bits are a float exactly, so that the comparison is the same everywhere.
    position = (int.from_bytes(digest[:8], "big") >> 11) / 2**53
    shares = [(split, part) for split, part in fractions.items() if part > 0]
    edge = 0.0
    # The last split takes the rest, so that a sum of 0.999... leaves nobody out.
    for split, part in shares[:-1]:
        edge += part
        if position < edge:
            return split
    return shares[-1][0]


def split_dataset(
    manifest: Manifest,
    root: Path,
    *,
    seed: int = 0,
    fractions: Mapping[str, float] = FRACTIONS,
    keep_distributor: bool = False,
) -> PatientSplit:
    """Make a patient-level split of the files below a root.

    Parameters
    ----------
    manifest : Manifest
    root : Path
    seed : int
    fractions : mapping of split to fraction
    keep_distributor : bool
        Take the distributor's folders as they are; seed and fractions are not used.

    Returns
    -------
    PatientSplit

    Raises
    ------
    DataError
        No patient, a file that cannot be read or states no patient, or a patient in two of the distributor's folders.
    """
    files = [file for file in find_files(manifest, root) if file.layout.patient_key is not None]
    warnings = [*_unit_warnings(manifest)]
    rows, n_left_out = [], 0
    for file in files:
        if file.skipped or not file.layout.has_target:
            n_left_out += 1
            continue
        facts, findings = inspect_file(root, file)
        if findings or facts.patient_key is None:
            raise DataError(f"{file.path} {findings[0].message if findings else 'states no patient'}")
        split = file.layout.split
        if not keep_distributor:
            split = split_of_patient(facts.patient_key, seed, fractions)
        if split is None:
            raise DataError(f"{file.path} lies in no split of the distributor; expected a folder that names one")
        rows.append(SplitRow(file.path, facts.patient_key, split, facts.acquisition or ""))
    if not rows:
        raise DataError(f"no patient of {manifest.name} below the root; expected a file with a target; got 0")
    if n_left_out:
        warnings.append(f"{n_left_out} files left out: no target (test or challenge), or a known issue")
    wanted = [] if keep_distributor else [name for name, part in fractions.items() if part > 0]
    empty = sorted(set(wanted) - {row.split for row in rows})
    if empty:
        warnings.append(f"no patient fell into {', '.join(empty)}: too few patients, or another seed")
    return _checked_split(rows, warnings)


def split_text(rows: Iterable[SplitRow]) -> str:
    """Return the CSV text of a split."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(SPLIT_COLUMNS)
    writer.writerows((row.file, row.patient_key, row.split, row.acquisition) for row in rows)
    return stream.getvalue()


def write_split(split: PatientSplit, path: Path, *, root: Path) -> None:
    """Write a split as CSV, at once or not at all, outside of the data folder."""
    refuse_inside(path, root)
    write_text(path, split_text(split.rows))


def read_split(path: Path) -> PatientSplit:
    """Read a split, a user's own or one that :func:`write_split` wrote.

    Raises
    ------
    DataError
        No such file, another header, an absolute path, no patient, a file named twice, or a patient in two splits.
    """
    if not path.is_file():
        raise DataError(f"{path.name} is not there; expected a stored split (CSV)")
    # A spreadsheet writes a byte order mark, which -sig takes away.
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != SPLIT_COLUMNS:
            raise DataError(f"{path.name} has columns {reader.fieldnames}; expected {list(SPLIT_COLUMNS)}")
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise DataError(f"{path.name} line {reader.line_num}: expected {len(SPLIT_COLUMNS)} values")
            rows.append(SplitRow(**row))
    if not rows:
        raise DataError(f"{path.name} has no row; expected at least one patient")
    return _checked_split(rows, [])


def _checked_split(rows: Iterable[SplitRow], warnings: Iterable[str]) -> PatientSplit:
    ordered = tuple(sorted(rows, key=lambda row: row.file))
    split_of: dict[str, str] = {}
    for before, row in zip((None, *ordered), ordered, strict=False):
        if before is not None and before.file == row.file:
            raise DataError(f"{row.file} is named twice; expected one row per file")
        if PurePosixPath(row.file).is_absolute() or not row.patient_key or not row.split:
            raise DataError(f"{row.file}: expected a relative path, a patient key and a split")
        if split_of.setdefault(row.patient_key, row.split) != row.split:
            raise DataError(
                f"{row.file} is in {row.split} and another file of its patient in {split_of[row.patient_key]}; "
                "expected every file of a patient in one split"
            )
    return PatientSplit(ordered, hashlib.sha256(split_text(ordered).encode()).hexdigest(), tuple(warnings))


def _unit_warnings(manifest: Manifest) -> Iterable[str]:
    units = {layout.patient_key.unit for layout in manifest.layouts if layout.patient_key is not None}
    for unit in sorted(units - {"patient"}):
        yield f"{manifest.name} does not state the patient: the split keeps every {unit} together, not every patient"
