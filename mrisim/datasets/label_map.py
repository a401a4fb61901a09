"""Label maps: rows of the fastMRI+ tables -> one label vector per slice. The map is data, ``data_manifests/labels/``.

fastMRI+ is one radiologist's reading of one view, not clinical ground truth (its README says so). A file that was read
and has no row is without finding; a file that was not read has *no* label, and asking for one is an error here.

References
----------
Zhao et al., fastMRI+, Scientific Data (2022), https://doi.org/10.1038/s41597-022-01255-z; microsoft/fastmri-plus.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mrisim.datasets.catalogue import manifest_folder, parse_yaml
from mrisim.datasets.manifest import ManifestPart
from mrisim.errors import ConfigError, DataError

ANNOTATION_COLUMNS = ("file", "slice", "study_level", "x", "y", "width", "height", "label")


class LabelRule(ManifestPart):
    """An annotation whose text contains this belongs to this head."""

    head: str
    contains: Annotated[str, Field(min_length=1)]
    ignore_case: bool = False


class LabelMap(ManifestPart):
    """The rules are tried in order and the first match wins; what matches none belongs to ``otherwise``."""

    name: str
    description: str
    source: str
    heads: Annotated[tuple[str, ...], Field(min_length=1)]
    """Order of the label vector."""
    rules: tuple[LabelRule, ...]
    otherwise: str | None
    """Null: an annotation that matches no rule is no finding of this task."""
    study_level: Literal["as_written", "drop", "every_slice"]
    """A finding of the whole study is written at slice 0: keep it there, leave it out, or give it to every slice."""

    @model_validator(mode="after")
    def _heads_exist(self) -> Self:
        for head in [*(rule.head for rule in self.rules), *([self.otherwise] if self.otherwise else [])]:
            if head not in self.heads:
                raise ValueError(f"head {head!r} is not one of {', '.join(self.heads)}")
        if len(set(self.heads)) != len(self.heads):
            raise ValueError(f"a head is named twice: {', '.join(self.heads)}")
        return self


@dataclass(frozen=True)
class Annotation:
    """One row. ``box`` is (x, y, width, height) in pixels of the *up-down flipped* image; None: none, or unusable."""

    file: str
    """Its stem (`stem_of`)."""
    slice: int
    study_level: bool
    box: tuple[int, int, int, int] | None
    label: str


@dataclass(frozen=True)
class SliceLabels:
    """Label vectors of the slices of the files that were read."""

    heads: tuple[str, ...]
    files_read: frozenset[str]
    positive: Mapping[tuple[str, int], tuple[int, ...]]
    """Only slices with at least one finding of the task."""

    def vector(self, file: str, slice_index: int) -> tuple[int, ...]:
        """Return the 0/1 labels of a slice, in the order of ``heads``.

        Raises
        ------
        DataError
            If nobody read the file: it has no label, which is not the same as no finding.
        """
        stem = stem_of(file)
        if stem not in self.files_read:
            raise DataError(f"{stem} was not read by the radiologist; expected one of the {len(self.files_read)} files")
        return self.positive.get((stem, slice_index), (0,) * len(self.heads))


def load_label_map(name: str | Path) -> LabelMap:
    """Return a label map of the catalogue by name, for example ``fastmri_plus_knee_4way``, or from the user's own file.

    Raises
    ------
    ConfigError
        If there is none, or it has unknown keys or a head that does not exist.
    """
    if isinstance(name, Path):
        if not name.is_file():
            raise ConfigError(f"label map {name.name!r} is not a file; expected a YAML file or a name of the catalogue")
        return parse_yaml(name.read_text(encoding="utf-8"), LabelMap, where=name.name)
    folder = manifest_folder() / "labels"
    file = folder / f"{name}.yaml"
    if not file.is_file():
        known = sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))
        raise ConfigError(f"no label map {name!r}; expected one of {', '.join(known)}")
    return parse_yaml(file.read_text(encoding="utf-8"), LabelMap, where=file.name)


def head_of(label: str, label_map: LabelMap) -> str | None:
    """Return the head that an annotation's text belongs to, None where it is no finding of the task."""
    for rule in label_map.rules:
        found = rule.contains.lower() in label.lower() if rule.ignore_case else rule.contains in label
        if found:
            return rule.head
    return label_map.otherwise


def label_slices(
    annotations: Iterable[Annotation],
    files_read: Iterable[str],
    label_map: LabelMap,
    n_slices: Mapping[str, int] | None = None,
) -> SliceLabels:
    """Return the label vector of every slice with a finding.

    Parameters
    ----------
    annotations : iterable of Annotation
    files_read : iterable of str
        Names of all files that the radiologist read, with or without a row.
    label_map : LabelMap
    n_slices : mapping of file stem to number of slices, optional
        Needed where study-level findings go to every slice; if given, a row beyond the last slice is an error.

    Raises
    ------
    DataError
        A row of a file that was not read, a row outside the file, or a study-level finding without ``n_slices``.
    """
    read = frozenset(map(stem_of, files_read))
    found: dict[tuple[str, int], set[str]] = {}
    for row in annotations:
        if row.file not in read:
            raise DataError(f"{row.file} has an annotation and is not in the list of the {len(read)} files read")
        head = head_of(row.label, label_map)
        if head is None or (row.study_level and label_map.study_level == "drop"):
            continue
        for index in _slices_of(row, label_map, n_slices):
            found.setdefault((row.file, index), set()).add(head)
    positive = {place: tuple(int(head in heads) for head in label_map.heads) for place, heads in found.items()}
    return SliceLabels(label_map.heads, read, positive)


def _slices_of(row: Annotation, label_map: LabelMap, n_slices: Mapping[str, int] | None) -> Iterable[int]:
    count = n_slices.get(row.file) if n_slices else None
    if row.study_level and label_map.study_level == "every_slice":
        if count is None:
            raise DataError(f"{row.file} has a study-level finding for every slice; expected its n_slices, got none")
        return range(count)
    if count is not None and not 0 <= row.slice < count:
        raise DataError(f"{row.file} has an annotation at slice {row.slice}; expected 0 to {count - 1}")
    return (row.slice,)


def stem_of(file: str) -> str:
    """Return the name that labels go by: without folders and ``.h5``; other dots, as in a DICOM UID, belong to it."""
    return Path(file).name.removesuffix(".h5")


def read_annotations(path: Path) -> tuple[Annotation, ...]:
    """Read a table with the columns of fastMRI+ (slice counted from 0).

    A zero-size or negative box leaves ``box`` None; the finding counts all the same.

    Raises
    ------
    DataError
        Another header, a value that is no number, or a row without a label.
    """
    # A spreadsheet writes a byte order mark, which -sig takes away.
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != ANNOTATION_COLUMNS:
            raise DataError(f"{path.name} has columns {reader.fieldnames}; expected {list(ANNOTATION_COLUMNS)}")
        return tuple(_annotation(row, f"{path.name} line {reader.line_num}") for row in reader)


def read_file_list(path: Path) -> tuple[str, ...]:
    """Read the names (stems) of the files that the radiologist read: one a line, no header.

    A line with a blank inside and without ``.h5`` is no file name and is left out: the knee list of fastMRI+ ends with
    ``Knee data``.
    """
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    names = tuple(stem_of(line) for line in lines if line and (" " not in line or line.endswith(".h5")))
    if not names:
        raise DataError(f"{path.name} is empty; expected the names of the files that were read, one a line")
    return names


def box_in_array(box: tuple[int, int, int, int], n_rows: int) -> tuple[int, int, int, int]:
    """Return a box (x, y, width, height) in pixels of the array, which is not flipped: y' = n_rows - y - height."""
    x, y, width, height = box
    return x, n_rows - y - height, width, height


def _annotation(row: Mapping[str, str | None], where: str) -> Annotation:
    if None in row or None in row.values():
        raise DataError(f"{where}: expected {len(ANNOTATION_COLUMNS)} values")
    # 'Joint Effusion ' ends with a blank in every row of the published table.
    values = {key: str(value).strip() for key, value in row.items()}
    if values["study_level"] not in ("Yes", "No"):
        raise DataError(f"{where}: study_level is {values['study_level']!r}; expected Yes or No")
    if not values["label"]:  # it would belong to the head of all that no rule knows
        raise DataError(f"{where}: the label is empty; expected a finding (a slice without one has no row)")
    try:
        numbers = [int(float(values[key])) if values[key] else None for key in ("x", "y", "width", "height")]
        index = int(values["slice"])
    except ValueError as error:
        raise DataError(f"{where}: expected numbers for slice, x, y, width, height ({error})") from error
    x, y, width, height = numbers
    box = None
    if x is not None and y is not None and width is not None and height is not None:
        box = (x, y, width, height) if x >= 0 and y >= 0 and width > 0 and height > 0 else None
    return Annotation(stem_of(values["file"]), index, values["study_level"] == "Yes", box, values["label"])
