"""Studies with parts missing: refused in one line, or reported with a notice; pictures where they may be shown."""

import json
import shutil
from pathlib import Path

import pytest

from diagnose.report import check_finished, write_report
from mrisim.errors import DataError


@pytest.fixture
def copied(study: Path, tmp_path: Path) -> Path:
    """A copy in which things can be broken, at the same way from its data."""
    (tmp_path / "cohort").symlink_to(study.parent / "cohort")
    return Path(shutil.copytree(study, tmp_path / "study"))


def test_a_finished_study_passes(study: Path):
    check_finished(study)


def test_a_missing_run_is_counted(copied: Path, tmp_path: Path):
    (copied / "runs" / "gn__z-score__seed2" / "DONE").unlink()
    with pytest.raises(DataError, match="study is unfinished: 3 of 4 runs finished, evaluated and analysed; expected"):
        check_finished(copied)
    html = write_report(copied, tmp_path / "out", pictures=False).read_text()
    assert "Unfinished: 3 of 4 runs finished" in html[: html.index("<main>")]
    assert "**Unfinished: 3 of 4" in (tmp_path / "out" / "checklist.md").read_text()
    assert json.loads((tmp_path / "out" / "report.json").read_text())["runs"] == {"finished": 3, "planned": 4}


def test_before_the_evaluation_clean_results_of_runs_are_shown(copied: Path, tmp_path: Path):
    (copied / "analysis.json").unlink()
    shutil.rmtree(copied / "evaluation")
    shutil.rmtree(copied / "drift")
    with pytest.raises(DataError, match="4 of 4 runs finished, not evaluated"):
        check_finished(copied)
    html = write_report(copied, tmp_path / "out", pictures=False).read_text()
    results = json.loads((copied / "runs" / "bn__z-score__seed1" / "results.json").read_text())
    clean = html[html.index('<section id="clean"') : html.index('<section id="dose"')]
    assert f"{results['clean_auroc']['acl']['auroc']:.3f}" in clean and "bn__z-score__seed1" in clean
    assert 'class="badge"' in clean, "labelled though nothing is analysed"
    assert html.count("Not there yet: the study is not evaluated and analysed.") == 7
    assert "diagnose drift STUDY/runs/*" in html


def test_no_run_at_all(copied: Path, tmp_path: Path):
    shutil.rmtree(copied / "runs")
    (copied / "analysis.json").unlink()
    html = write_report(copied, tmp_path / "out").read_text()
    assert "0 of 4 runs finished" in html and "No pictures" in html


def test_one_seed_is_said_before_anything_else(copied: Path, tmp_path: Path):
    analysis = json.loads((copied / "analysis.json").read_text())
    for arm in analysis["arms"]:
        arm["seeds"] = [1]
    for entry in analysis["primary"]["comparisons"]:
        entry |= {"p": None, "p_holm": None, "low": None, "high": None, "message": "one seed: no statement about norms"}
    (copied / "analysis.json").write_text(json.dumps(analysis))
    html = write_report(copied, tmp_path / "out", pictures=False).read_text()
    head = html[: html.index('class="answer"')]
    assert "One seed: no statement about norms." in head
    assert "no test of gn against bn: one seed" in html[html.index('class="answer"') :]
    assert "**One seed: no statement about norms.**" in (tmp_path / "out" / "model_card.md").read_text()


def test_pictures_of_data_that_are_not_known_to_be_simulated_are_asked_for(copied: Path, tmp_path: Path):
    analysis = json.loads((copied / "analysis.json").read_text())
    (copied / "analysis.json").write_text(json.dumps(analysis | {"simulated": False, "flag": ""}))
    without = write_report(copied, tmp_path / "without").read_text()
    assert "<img" not in without and "licence" in without and 'class="badge"' not in without
    assert write_report(copied, tmp_path / "with", pictures=True).read_text().count("<img") > 6
    (copied / "analysis.json").write_text(json.dumps(analysis | {"simulated": None, "flag": "unknown"}))
    unknown = write_report(copied, tmp_path / "unknown").read_text()
    assert "<img" not in unknown and ">origin unknown</span>" in unknown


def test_data_that_are_gone_leave_a_notice(copied: Path, tmp_path: Path):
    for run in (copied / "runs").iterdir():
        (run / "location.json").unlink()
    said: list[str] = []
    html = write_report(copied, tmp_path / "out", say=said.append).read_text()
    assert "<img" not in html and "could not be read where this report was made" in html
    assert len(said) == 1 and "expected --data DIR" in said[0]


@pytest.mark.parametrize(
    ("broken", "content", "message"),
    [
        ("analysis.json", "{", "analysis.json in study is damaged"),
        ("analysis.json", '{"schema": 99}', "analysis.json has schema 99; expected 1"),
        ("runs/gn__z-score__seed1/model.json", None, "gn__z-score__seed1 has no model.json"),
        ("study.yaml", None, "study.yaml is not there"),
    ],
)
def test_damaged_parts_are_named(copied: Path, broken: str, content: str | None, message: str):
    if content is None:
        (copied / broken).unlink()
    else:
        (copied / broken).write_text(content)
    with pytest.raises(DataError, match=message):
        write_report(copied)


def test_something_else_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="nowhere is not a folder"):
        write_report(tmp_path / "nowhere")
