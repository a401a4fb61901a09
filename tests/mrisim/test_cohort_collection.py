"""Several cohorts in one folder: each as if alone, their names apart, complete only when all are."""

import json
from pathlib import Path

import pytest

from mrisim.cohort import is_complete, make_cohort
from mrisim.cohort_cache import cached_cohorts, cached_path, default_cohort
from mrisim.cohort_collection import CohortCollection, make_collection
from mrisim.cohort_protocol import CohortSpec, SplitSizes, choose_scanners
from mrisim.errors import ConfigError

ONE = SplitSizes(train=1, val=0, test=0)
SCANNER = choose_scanners((), matrix=32, n_coils=2)
KNEE = CohortSpec(anatomy="knee", n_patients=ONE, n_slices=1, scanners=SCANNER)
BRAIN = CohortSpec(
    anatomy="brain", n_patients=ONE, n_slices=1, plane="axial", fov_mm=(240.0, 240.0), contrasts=("t1",),
    scanners=SCANNER,
)  # fmt: skip
BOTH = CohortCollection((KNEE, BRAIN))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_cohort_is_what_it_is_alone_and_the_cache_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MRISIM_CACHE", str(tmp_path / "cache"))
    lines, told = list[str](), list[tuple[int, int]]()
    folder = default_cohort(lambda done, total: told.append((done, total)), announce=lines.append, spec=BOTH)
    assert folder == cached_path(BOTH) and folder.name.startswith("knee-brain-") and is_complete(folder)
    assert told[-1] == (2, 2) and "a knee cohort" in lines[0] and "a brain cohort" in lines[0]
    assert len(lines) == 1
    make_cohort(KNEE, tmp_path / "alone")
    assert files_of(folder / "knee") == files_of(tmp_path / "alone")
    assert json.loads((folder / "dataset.json").read_text())["parts"] == ["knee", "brain"]
    assert default_cohort(announce=lines.append, spec=BOTH) == folder and len(lines) == 1
    assert [one.complete for one in cached_cohorts()] == [True]


def test_an_unfinished_collection_is_finished_and_its_parts_stay(tmp_path: Path) -> None:
    make_cohort(KNEE, tmp_path / "both" / "knee")
    before = (tmp_path / "both" / "knee" / "dataset.json").stat().st_mtime_ns
    assert not is_complete(tmp_path / "both")
    make_collection(BOTH, tmp_path / "both")
    assert is_complete(tmp_path / "both") and is_complete(tmp_path / "both" / "brain")
    assert (tmp_path / "both" / "knee" / "dataset.json").stat().st_mtime_ns == before


def test_its_identity_is_that_of_its_parts_and_an_anatomy_comes_once() -> None:
    other = CohortCollection((KNEE.model_copy(update={"seed": 1}), BRAIN))
    assert other.sha256 != BOTH.sha256 == CohortCollection((KNEE, BRAIN)).sha256
    for parts in ((), (KNEE, KNEE)):
        with pytest.raises(ConfigError, match="expected each anatomy once"):
            CohortCollection(parts)
