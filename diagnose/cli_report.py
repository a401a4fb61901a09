"""`diagnose report` and `diagnose compare`: commands that the `diagnose` program registers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from diagnose.cli_options import AsJson
from diagnose.cli_output import log, print_result
from mrisim.files import all_named, named

# Everything heavy is imported inside the commands: --help must answer at once.


def report(
    study: Annotated[
        Path,
        typer.Argument(
            callback=named, help="Folder of a study, or of an evaluation of segmentation or reconstruction."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the report; default: report in that of the study.", show_default=False),
    ] = None,
    pictures: Annotated[
        bool | None,
        typer.Option(
            "--pictures/--no-pictures",
            help="Draw slices of the test data. Default: only where they are simulated.",
            show_default=False,
        ),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Report what is there of an unfinished study.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page that needs no network, and report.json; for a study a model card and a checklist, too."""
    from diagnose.report import check_finished, write_report
    from diagnose.report.evaluation_report import is_evaluation, write_evaluation_report

    if is_evaluation(study):
        page = write_evaluation_report(study, out)
    else:
        if not partial:
            check_finished(study)
        page = write_report(study, out, pictures=pictures, say=log)
    content = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    missing = [f"not in it: {section['title']}" for section in content["sections"] if section["missing"]]
    print_result({"report": str(page), **content}, [f"report {page}", *missing], as_json)


def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(
            callback=all_named,
            help="Finished runs, folders of `diagnose evaluate`, or a study.",
            show_default=False,
        ),
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference", help="Norm that the others are compared with. Default: bn, if there.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare norms over paired seeds: shifted and clean AUROC of evaluations, clean AUROC of runs alone."""
    from diagnose.report.comparison import compare as compare_folders

    result = compare_folders(folders, reference=reference)
    print_result(result.record, result.lines, as_json)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(report)
    app.command()(compare)
