"""Brain tumours in the layouts of BraTS 2018 to 2024: find cases, check them before any training, read and scale them.

Every label set is held against its release (`diagnose.segmentation.brats_releases`), and one that does not fit is
refused. A patient may have several cases (time points). The embedded cohort has the names of 2023; its slices
lie as far apart as they were acquired.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.segmentation.brats_releases import CHANNELS, CLASSES, RELEASES
from mrisim.errors import ConfigError, DataError
from mrisim.formats.guards import reading

AFFINE_TOLERANCE_MM = 1e-2


@dataclass(frozen=True)
class Case:
    """One examination: four contrasts and its segmentation."""

    name: str
    patient: str
    release: str
    paths: Mapping[str, Path]
    """Channel, or seg -> file."""


def find_cases(root: Path, release: str = "auto") -> tuple[Case, ...]:
    """Return the cases below a root, sorted by name.

    Parameters
    ----------
    root : Path
    release : str
        One of `RELEASES`; ``auto`` takes it from the names, which cannot tell 2024 from 2023 and then mean 2023.

    Raises
    ------
    ConfigError
        If the release is unknown.
    DataError
        If there is no case, a case lacks a contrast or its segmentation, a file is there twice, or (with ``auto``)
        names of several years are mixed.
    """
    if release != "auto" and release not in RELEASES:
        raise ConfigError(f"release is {release!r}; expected auto or one of {', '.join(RELEASES)}")
    if not root.is_dir():
        raise DataError(f"{root.name} is not a folder; expected one with BraTS cases")
    files = sorted(path for path in root.rglob("*.nii*") if not path.name.startswith("."))
    wanted = [name for name in RELEASES if name != "2024"] if release == "auto" else [release]
    found = {name: cases for name in wanted if (cases := _grouped(files, name))}
    if not found:
        raise DataError(
            f"no case of BraTS {'2018 to 2024' if release == 'auto' else release} below {root.name}; expected names "
            "such as BraTS2021_00000_flair.nii.gz or BraTS-GLI-00000-000-t2f.nii.gz"
        )
    if len(found) > 1:
        raise DataError(
            f"{root.name} mixes cases of BraTS {' and '.join(found)}; expected one release, or --set release=YEAR"
        )
    ((year, cases),) = found.items()
    for case in cases:
        missing = [role for role in (*CHANNELS, "seg") if role not in case.paths]
        if missing:
            ends = {role: end for end, role in RELEASES[year].roles.items()}
            raise DataError(
                f"{case.name} lacks {', '.join(ends[role] for role in missing)}; "
                f"expected {', '.join(RELEASES[year].roles)} for every case"
            )
    return cases


def _grouped(files: Sequence[Path], release: str) -> tuple[Case, ...]:
    layout = RELEASES[release]
    pattern = re.compile(rf"(?P<case>{layout.case}){layout.separator}(?P<role>{'|'.join(layout.roles)})\.nii(?:\.gz)?")
    paths: dict[str, dict[str, Path]] = defaultdict(dict)
    patients: dict[str, str] = {}
    for path in files:
        match = pattern.fullmatch(path.name)
        if match is None:
            continue
        case, role = match["case"], layout.roles[match["role"]]
        if role in paths[case]:
            raise DataError(f"{case} has {match['role']} twice below the root; expected one file for each contrast")
        paths[case][role] = path
        # the five digits alone are the key of gliomas elsewhere; other cohorts count from 0 as well
        cohort = match.groupdict().get("cohort", "GLI")
        patients[case] = match["patient"] if cohort == "GLI" else f"{cohort}-{match['patient']}"
    return tuple(Case(name, patients[name], release, paths[name]) for name in sorted(paths))


def check_cases(cases: Sequence[Case], patch_shape: tuple[int, int, int]) -> np.ndarray:
    """Refuse, before anything is trained, what would stop or spoil a training: headers and labels of all cases.

    Returns
    -------
    bool array (case, class)
        Which class of `CLASSES` is in which case.

    Raises
    ------
    DataError
        If contrasts of a case differ in shape or affine, a volume is smaller than the patch, a label is not of the
        release, a mask is empty, or a class is in no case at all.
    """
    present = np.zeros((len(cases), len(CLASSES)), bool)
    for index, case in enumerate(cases):
        shape = _common_grid(case)
        if any(side < patch for side, patch in zip(shape, patch_shape, strict=True)):
            raise DataError(f"{case.name} is {shape}; expected at least the patch, {tuple(patch_shape)}")
        found = np.unique(load_labels(case))
        if not found.any():
            raise DataError(f"{case.paths['seg'].name} is empty; expected some tumour")
        present[index, found[found > 0] - 1] = True
    somewhere = np.any(present, axis=0)
    if not somewhere.all():
        absent = ", ".join(name for name, there in zip(CLASSES, somewhere, strict=True) if not there)
        raise DataError(f"{absent} is in none of the {len(cases)} cases; expected every class (is the release right?)")
    return present


def _common_grid(case: Case) -> tuple[int, int, int]:
    """Return the shape that all files of a case have, their affines being equal."""
    first: Any = None
    for role in (*CHANNELS, "seg"):
        image = _opened(case.paths[role])
        if len(image.shape) != 3:
            raise DataError(f"{case.paths[role].name} has shape {image.shape}; expected one volume (x, y, z)")
        if first is None:
            first = image
            continue
        if image.shape != first.shape:
            raise DataError(
                f"{case.paths[role].name} is {image.shape}, {case.paths[CHANNELS[0]].name} is {first.shape}; "
                "expected one shape in a case"
            )
        difference = float(np.abs(image.affine - first.affine).max())
        if not difference <= AFFINE_TOLERANCE_MM:
            raise DataError(
                f"the affine of {case.paths[role].name} differs by {difference:.3g} from that of "
                f"{case.paths[CHANNELS[0]].name}; expected one grid in a case (registered and resampled)"
            )
    x, y, z = (int(side) for side in first.shape)
    return x, y, z


def load_labels(case: Case) -> np.ndarray:
    """Return the segmentation (x, y, z), uint8: 0 background, then the position in `CLASSES` from 1.

    Raises
    ------
    DataError
        If the file cannot be read, or a value is no label of the release.
    """
    path, known = case.paths["seg"], RELEASES[case.release].labels
    values = _values(path)
    found = np.unique(values)
    if not np.isin(found, list(known)).all():
        shown = ", ".join(f"{value:g}" for value in found[:8]) + (", ..." if len(found) > 8 else "")
        hint = _hint(found, case.release)
        raise DataError(
            f"{path.name} holds the labels {shown}; expected {', '.join(map(str, known))} of BraTS {case.release}{hint}"
        )
    table = np.zeros(max(known) + 1, np.uint8)
    table[list(known)] = list(known.values())
    return table[values.astype(np.intp)]


def _hint(found: np.ndarray, release: str) -> str:
    if release == "2023" and 4 in found:
        return " (4 is the resection cavity of 2024, the enhancing tumour until 2021: --set release=2024, or convert)"
    if release < "2023" and 3 in found:
        return " (3 is the enhancing tumour from 2023 on, whose files have other names)"
    return ""


def load_images(case: Case) -> np.ndarray:
    """Return the four contrasts (channel, x, y, z) in the order of `CHANNELS`, float32, unscaled.

    Raises
    ------
    DataError
        If a file cannot be read, holds NaN or Inf, or nothing but zeros.
    """
    volumes = []
    for role in CHANNELS:
        volume = _values(case.paths[role])
        if not np.isfinite(volume).all():
            raise DataError(f"{case.paths[role].name} holds NaN or Inf; expected finite voxels")
        if not volume.any():
            raise DataError(f"{case.paths[role].name} is empty; expected an image")
        volumes.append(volume)
    return np.stack(volumes)


def _opened(path: Path) -> Any:
    import nibabel

    with reading(path, "a NIfTI file"):
        return nibabel.load(path)


def _values(path: Path) -> np.ndarray:
    image = _opened(path)
    with reading(path, "a complete NIfTI file"):
        return np.asarray(image.dataobj, np.float32)
