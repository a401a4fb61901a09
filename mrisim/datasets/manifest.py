"""Manifest: what is known of one data set and release - and, by its nulls, what is not.

A manifest is a pointer to data: where the set comes from, under which terms, what its files hold, how many there should
be, which traps they carry. It is YAML in ``data_manifests/``, so that a user describes an own set without code.

A null means that nobody here has seen the value. It is never a default: no check is made against it, and
:func:`unknown_fields` lists it, so that ``describe`` can say so.
"""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mrisim.scan import KspaceOrigin

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Permission = Literal["forbidden", "allowed", "conditional"]


class ManifestPart(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Citation(ManifestPart):
    """What to cite."""

    text: str
    doi: str | None = None


class Archive(ManifestPart):
    """One file that the distributor sends; a hash that nobody here has seen is null."""

    file_name: str
    n_bytes: Count | None = None
    sha256: Sha256 | None = None
    sha256_source: str | None = None
    notes: str | None = None

    @model_validator(mode="after")
    def _hash_has_a_source(self) -> Self:
        if (self.sha256 is None) != (self.sha256_source is None):
            raise ValueError("sha256 and sha256_source go together: a hash needs the place where it was seen")
        return self


class ValueSource(ManifestPart):
    """Where a text value of a file stands: an HDF5 attribute, or a named group ``value`` of a pattern on the path."""

    attribute: str | None = None
    pattern: str | None = None
    """Regular expression, searched in the POSIX path relative to the root."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.attribute is None) == (self.pattern is None):
            raise ValueError("expected exactly one of attribute, pattern")
        if self.pattern is not None:
            _require_value_group(self.pattern)
        return self


class PatientKey(ValueSource):
    """Which patient a file belongs to. ``unit`` says what the key really separates, where the patient is not known."""

    unit: Literal["patient", "exam", "file"] = "patient"


class ArrayLayout(ManifestPart):
    """One array of a file, by default required. What is null is not checked."""

    key: str | None = None
    """Path inside an HDF5 file; null for NIfTI and NPY, which hold one array."""
    ndim: Count
    axes: tuple[str, ...] | None = None
    """One name per axis; the axis named ``slice`` counts the slices of the file."""
    shape: tuple[int | None, ...] | None = None
    dtypes: tuple[str, ...] | None = None
    required: bool = True
    allowed_values: tuple[int, ...] | None = None
    """Of a label image. Every value outside is an error: the meaning of a label changed between BraTS releases."""

    @model_validator(mode="after")
    def _axes_agree(self) -> Self:
        for name, value in (("axes", self.axes), ("shape", self.shape)):
            if value is not None and len(value) != self.ndim:
                raise ValueError(f"{name} has {len(value)} entries; expected ndim = {self.ndim}")
        return self


class Layout(ManifestPart):
    """Files of one kind: where they lie below the root and what each of them holds."""

    glob: str
    """Relative to the root, forward slashes."""
    format: Literal["hdf5", "nifti", "npy", "csv"]
    split: str | None = None
    """The distributor's own split, where the folder states it."""
    role: str | None = None
    """Which of the files of one case this is, for example ``t1n``; see :class:`CaseRule`."""
    arrays: tuple[ArrayLayout, ...] = ()
    attributes: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    """Header of a CSV; null: it has none."""
    n_rows: Count | None = None
    patient_key: PatientKey | None = None
    """Null where the files belong to no patient (a table of labels)."""
    acquisition: ValueSource | None = None
    has_target: bool = True
    """False for test and challenge files, which have no image to learn from: ``split`` leaves them out."""

    @model_validator(mode="after")
    def _stays_below_the_root(self) -> Self:
        path = PurePosixPath(self.glob)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in self.glob:
            raise ValueError(f"glob {self.glob!r} must be relative to the root, with forward slashes and without ..")
        if any("**" in part and part != "**" for part in path.parts):
            raise ValueError(f"glob {self.glob!r} has ** beside other characters; expected it between slashes")
        return self

    @model_validator(mode="after")
    def _arrays_fit_the_format(self) -> Self:
        keys = [array.key for array in self.arrays]
        if self.format == "hdf5" and (not keys or None in keys):
            raise ValueError("an hdf5 layout needs arrays, each with a key")
        if self.format in ("nifti", "npy") and keys != [None]:
            raise ValueError(f"a {self.format} layout has exactly one array, without a key")
        if self.format == "csv" and keys:
            raise ValueError("a csv layout has columns, no arrays")
        return self


class CaseRule(ManifestPart):
    """A case is complete only with one file of each role that its split has."""

    pattern: str
    """Group ``value`` names the case."""
    same_shape: bool = True

    @model_validator(mode="after")
    def _names_the_case(self) -> Self:
        _require_value_group(self.pattern)
        return self


class Expected(ManifestPart):
    """How many there should be; catches half downloads. ``split`` null: the whole set."""

    split: str | None = None
    n_files: Count | None = None
    n_patients: Count | None = None
    n_slices: Count | None = None
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Relative."""
    source: str


class LabelFile(ManifestPart):
    """Labels that are distributed apart from the images, or a label map of ours."""

    file: str
    url: str | None = None
    sha256: Sha256 | None = None
    license: str | None = None
    notes: str | None = None


class KnownIssue(ManifestPart):
    """A trap. ``skip``: left out, and said so; ``fix``: the reader deals with it; ``warn``: ``verify`` repeats it."""

    match: str
    """Shell pattern on the path relative to the root."""
    action: Literal["skip", "fix", "warn"]
    reason: str
    reference: str | None = None


class KspaceFacts(ManifestPart):
    """How honest a simulation on these files is."""

    origin: KspaceOrigin
    noise_scan: bool | None
    readout_oversampling: float | None
    phase_encode_axis: str | None


class Manifest(ManifestPart):
    """One data set, one release."""

    name: Name
    version: str | None
    title: str
    anatomy: str
    release_date: str | None = None
    homepage: str | None
    citation: Citation
    license: str | None
    license_url: str | None = None
    access: Literal["open", "registration", "dua", "generated"]
    access_steps: tuple[str, ...]
    usage_info: tuple[str, ...] = ()
    redistribution: Permission | None
    derived_redistribution: Permission | None
    disk: str | None
    """How much room the set takes, in words and with the source of the figure."""
    archives: tuple[Archive, ...] = ()
    kspace: KspaceFacts
    layouts: Annotated[tuple[Layout, ...], Field(min_length=1)]
    layout_source: str
    """Who saw the layout: the code or page that it was taken from."""
    case: CaseRule | None = None
    expected: tuple[Expected, ...] = ()
    labels: tuple[LabelFile, ...] = ()
    known_issues: tuple[KnownIssue, ...] = ()
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _splits_exist(self) -> Self:
        known = {layout.split for layout in self.layouts} | {None}
        for count in self.expected:
            if count.split not in known:
                raise ValueError(f"expected.split {count.split!r} is the split of no layout; known: {_listed(known)}")
        return self


def manifest_schema() -> dict[str, Any]:
    """Return the JSON schema of a manifest; ``data_manifests/manifest.schema.json`` is this, as text."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema()}


def unknown_fields(manifest: Manifest) -> tuple[str, ...]:
    """Return the facts of the set that nobody here has seen, as dotted paths, for example ``archives.0.sha256``.

    Parameters
    ----------
    manifest : Manifest

    Returns
    -------
    tuple of str
        Only facts that a distributor could state; an empty option of the layout is no unknown.
    """
    facts = ["version", "release_date", "homepage", "license", "redistribution", "derived_redistribution", "disk"]
    unknown = [name for name in facts if getattr(manifest, name) is None]
    unknown += [f"kspace.{name}" for name, value in manifest.kspace if value is None]
    unknown += [
        f"archives.{index}.{name}"
        for index, archive in enumerate(manifest.archives)
        for name in ("n_bytes", "sha256")
        if getattr(archive, name) is None
    ]
    unknown += [
        f"expected.{count.split or 'all'}.{name}"
        for count in manifest.expected
        for name in ("n_files", "n_patients", "n_slices")
        if getattr(count, name) is None
    ]
    unknown += [
        f"labels.{index}.sha256"
        for index, label in enumerate(manifest.labels)
        if label.sha256 is None and label.url is not None
    ]
    return tuple(unknown)


def _require_value_group(pattern: str) -> None:
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise ValueError(f"pattern {pattern!r} is no regular expression: {error}") from None
    if "value" not in groups:
        raise ValueError(f"pattern {pattern!r} has no group (?P<value>...)")


def _listed(names: set[str | None]) -> str:
    return ", ".join(sorted(name for name in names if name is not None)) or "none"
