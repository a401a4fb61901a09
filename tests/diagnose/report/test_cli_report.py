"""`diagnose report` and `diagnose compare` as a user meets them."""

import json
import shutil
from pathlib import Path

import pytest


def test_report_writes_four_files_and_says_where(diagnose, study: Path, page: Path, tmp_path: Path):
    code, out, error = diagnose("report", str(study), "--out", "here", cwd=tmp_path)
    assert (code, out, error) == (0, "report here/report.html\n", "")
    for path in page.parent.iterdir():
        assert (tmp_path / "here" / path.name).read_bytes() == path.read_bytes()
    code, out, _ = diagnose("report", str(study), "--out", "plain", "--no-pictures", "--json", cwd=tmp_path)
    record = json.loads(out)
    assert code == 0 and record["report"] == "plain/report.html" and record["pictures"]["slice"] is None
    assert "<img" not in (tmp_path / "plain" / "report.html").read_text()


def test_the_default_place_is_in_the_study(diagnose, study: Path, tmp_path: Path):
    (tmp_path / "cohort").symlink_to(study.parent / "cohort")
    copied = shutil.copytree(study, tmp_path / "copied")
    code, out, _ = diagnose("report", "copied", "--no-pictures", cwd=tmp_path)
    assert (code, out) == (0, "report copied/report/report.html\n")
    (copied / "runs" / "bn__z-score__seed1" / "DONE").unlink()
    code, out, error = diagnose("report", "copied", cwd=tmp_path)
    assert code == 4 and not out and error.count("\n") == 1
    assert error.startswith("diagnose: copied is unfinished: 3 of 4 runs finished") and "--partial" in error
    code, out, _ = diagnose("report", "copied", "--partial", "--no-pictures", cwd=tmp_path)
    assert code == 0


def test_compare_prints_the_paired_table(diagnose, study: Path, tmp_path: Path):
    code, out, _ = diagnose("compare", str(study), cwd=tmp_path)
    (line,) = [line for line in out.splitlines() if line.startswith("  gn − bn") and "Holm" in line]
    entry = json.loads((study / "analysis.json").read_text())["primary"]["comparisons"][0]
    assert code == 0 and f"{abs(entry['difference']):.3f}" in line and "(2 seeds)" in line
    runs = [str(run) for run in sorted((study / "runs").iterdir())]
    code, out, _ = diagnose("compare", *runs, "--reference", "gn", "--json", cwd=tmp_path)
    assert code == 0 and json.loads(out)["comparisons"][0]["norm"] == "bn"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["report", "nowhere"], 4, "nowhere is not a folder"),
        (["report", "."], 4, "study.yaml is not there"),
        (["compare", "nowhere"], 4, "nowhere has neither config.yaml nor predictions.csv.gz"),
        (["compare"], 2, "Missing argument"),
        (["report"], 2, "Missing argument"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(diagnose, tmp_path: Path, arguments: list[str], code: int, message: str):
    got, out, error = diagnose(*arguments, cwd=tmp_path)
    assert got == code and message in " ".join(error.split()) and not out and "Traceback" not in error
