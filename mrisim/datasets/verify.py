"""Verify: is what lies below a root the data set that the manifest describes, whole and readable?"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from mrisim.datasets.catalogue import known_bad
from mrisim.datasets.lock import Lock, compare_with_lock
from mrisim.datasets.manifest import Expected, Manifest
from mrisim.datasets.structure import FileFacts, Finding, FoundFile, Severity, find_files, inspect_file

Inspected = tuple[FoundFile, FileFacts]


@dataclass(frozen=True)
class SplitCount:
    """What was found of one of the distributor's splits. ``n_slices`` None: some file does not state it."""

    split: str
    n_files: int
    n_patients: int | None
    n_slices: int | None


@dataclass(frozen=True)
class VerifyReport:
    """The result of :func:`verify_dataset`; it holds no absolute path and no patient."""

    dataset: str
    deep: bool
    counts: tuple[SplitCount, ...]
    skipped: tuple[str, ...]
    """Files that a known issue leaves out."""
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True where nothing is an error; warnings are allowed."""
        return all(finding.severity != "error" for finding in self.findings)


def verify_dataset(
    manifest: Manifest,
    root: Path,
    *,
    deep: bool = False,
    allow_partial: bool = False,
    lock: Lock | None = None,
    progress: Callable[[str], None] | None = None,
) -> VerifyReport:
    """Open every file of a data set and compare keys, axes, types, attributes and counts with the manifest.

    Parameters
    ----------
    manifest : Manifest
    root : Path
        From :func:`mrisim.datasets.catalogue.dataset_root`.
    deep : bool
        Read every value; with a lock, hash every file.
    allow_partial : bool
        Wrong counts, absent splits and incomplete cases are warnings: for whoever has a few files only.
    lock : Lock, optional
        Compare size and time (and, deep, SHA-256) with it.
    progress : callable, optional
        Gets the relative path of each file when it is done.

    Returns
    -------
    VerifyReport

    Raises
    ------
    DataError
        If the root holds no file of the set at all.
    """
    files = find_files(manifest, root)
    inspected: list[Inspected] = []
    findings: list[Finding] = []
    for file in files:
        if file.skipped:
            continue
        facts, problems = inspect_file(root, file, deep=deep)
        inspected.append((file, facts))
        findings += problems
        if progress:
            progress(file.path)
    lenient: Severity = "warning" if allow_partial else "error"
    findings += _count_findings(manifest, inspected, lenient)
    findings += _case_findings(manifest, inspected, lenient)
    findings += _shared_patients(inspected)
    findings += _known_issues(manifest, files)
    if lock is not None:
        findings += compare_with_lock(root, [file.path for file in files if not file.skipped], lock, deep=deep)
    skipped = tuple(file.path for file in files if file.skipped)
    counts = tuple(_count(split, inspected) for split in sorted({file.layout.split or "all" for file, _ in inspected}))
    return VerifyReport(manifest.name, deep, counts, skipped, tuple(findings))


def _count(split: str | None, inspected: Sequence[Inspected]) -> SplitCount:
    chosen = [(file, facts) for file, facts in inspected if split is None or (file.layout.split or "all") == split]
    patients = {facts.patient_key for file, facts in chosen if _separates_patients(file)}
    slices = [facts.n_slices for file, facts in chosen if file.layout.patient_key is not None]
    return SplitCount(
        split or "all",
        len(chosen),
        len(patients - {None}) or None,
        sum(count for count in slices if count is not None) if slices and None not in slices else None,
    )


def _separates_patients(file: FoundFile) -> bool:
    return file.layout.patient_key is not None and file.layout.patient_key.unit == "patient"


def _count_findings(manifest: Manifest, inspected: Sequence[Inspected], severity: Severity) -> list[Finding]:
    findings = []
    present = {file.layout.split for file, _ in inspected}
    for split in sorted({layout.split for layout in manifest.layouts if layout.split is not None} - present):
        findings.append(Finding("warning", None, f"the split {split} is not there; the others are checked without it"))
    for expected in manifest.expected:
        if expected.split is not None and expected.split not in present:
            continue
        # The total of a set is not expected of someone who downloaded a part of its splits.
        if expected.split is None and present != {layout.split for layout in manifest.layouts}:
            continue
        findings += _compare_count(expected, _count(expected.split, inspected), severity)
    return findings


def _compare_count(expected: Expected, got: SplitCount, severity: Severity) -> list[Finding]:
    findings = []
    for name in ("n_files", "n_patients", "n_slices"):
        want, have = getattr(expected, name), getattr(got, name)
        if want is None or have is None or abs(have - want) <= expected.tolerance * want:
            continue
        what = name.removeprefix("n_")
        findings.append(Finding(severity, None, f"{got.split}: expected {want} {what} ({expected.source}); got {have}"))
    return findings


def _case_findings(manifest: Manifest, inspected: Sequence[Inspected], severity: Severity) -> list[Finding]:
    if manifest.case is None:
        return []
    cases: dict[tuple[str | None, str], dict[str, FileFacts]] = defaultdict(dict)
    findings = []
    for file, facts in inspected:
        if file.layout.role is None:
            continue
        match = re.search(manifest.case.pattern, file.path)
        if match is None:
            findings.append(Finding("error", file.path, f"names no case; expected {manifest.case.pattern}"))
        else:
            cases[file.layout.split, match["value"]][file.layout.role] = facts
    for (split, case), roles in sorted(cases.items(), key=str):
        wanted = {layout.role for layout in manifest.layouts if layout.split == split and layout.role is not None}
        if missing := wanted - set(roles):
            findings.append(Finding(severity, None, f"the case {case} has no {', '.join(sorted(map(str, missing)))}"))
        shapes = {facts.shape for facts in roles.values() if facts.shape is not None}
        if manifest.case.same_shape and len(shapes) > 1:
            findings.append(Finding("error", None, f"the case {case} has the shapes {sorted(shapes)}; expected one"))
    return findings


def _shared_patients(inspected: Sequence[Inspected]) -> list[Finding]:
    splits: dict[str, set[str]] = defaultdict(set)
    for file, facts in inspected:
        if facts.patient_key is not None and file.layout.split is not None:
            splits[facts.patient_key].add(file.layout.split)
    shared = [names for names in splits.values() if len(names) > 1]
    if not shared:
        return []
    names = ", ".join(sorted(set().union(*shared)))
    return [Finding("warning", None, f"{len(shared)} patients are in more than one of {names}: make a split")]


def _known_issues(manifest: Manifest, files: Sequence[FoundFile]) -> list[Finding]:
    findings = []
    for issue in manifest.known_issues:
        n_files = sum(fnmatchcase(file.path, issue.match) for file in files)
        if n_files and issue.action != "fix":
            verb = "left out" if issue.action == "skip" else "concerned"
            findings.append(Finding("warning", None, f"{n_files} files {verb}: {issue.reason}"))
    for bad in known_bad(manifest.name):
        for file in files:
            if fnmatchcase(file.path, bad.file) or fnmatchcase(Path(file.path).name, bad.file):
                findings.append(Finding("warning", file.path, f"{bad.reason} ({bad.thread})"))
    return findings
