"""The report of a study: one HTML page that needs no network, report.json, a model card and a reporting checklist.

Equal studies give equal bytes: no date, no path, no name of a machine.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diagnose.report.pictures import Pictures
    from diagnose.report.study_folder import StudyRecord

PAGE, RECORD, CARD, CHECKLIST = "report.html", "report.json", "model_card.md", "checklist.md"
REPORT = "report"
"""Folder of the report in that of the study."""
NO_LICENCE = (
    "No pictures: the images are not known to be simulated, and their licence may forbid passing them on. "
    "Who may pass them on asks for them: --pictures."
)
NOT_WANTED = "No pictures: they were not asked for."
NO_DATA = "No pictures: the data of the runs could not be read where this report was made."


def write_report(
    folder: Path,
    out: Path | None = None,
    *,
    pictures: bool | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the report of a study from the files in its folder; an unfinished one is reported with a notice on top.

    Parameters
    ----------
    folder : Path
        Of the study.
    out : Path, optional
        ``STUDY/report`` by default; files of an earlier report are replaced.
    pictures : bool, optional
        Draw slices of the test data; by default only where the images are simulated.
    say : callable
        Told why there are no pictures, where their data cannot be read.

    Returns
    -------
    Path
        ``report.html``.

    Raises
    ------
    DataError
        If the folder is no study, or a part of it is damaged.
    """
    from diagnose.report import documents
    from diagnose.report.page import render, view
    from diagnose.report.study_folder import read_folder
    from mrisim.files import write_text

    record = read_folder(folder)
    drawn = _pictures(record, pictures, say)
    page = view(record, drawn)
    out = out or folder / REPORT
    write_text(out / RECORD, documents.report_json(record, page, drawn))
    write_text(out / CARD, documents.model_card(record, page))
    write_text(out / CHECKLIST, documents.checklist(record, page))
    # Last: a page that is there has all its files beside it.
    write_text(out / PAGE, render(page))
    return out / PAGE


def check_finished(folder: Path) -> None:
    """Refuse a study of which a run, the evaluation or the analysis is missing.

    Raises
    ------
    DataError
        With how far the study is.
    """
    from diagnose.report.study_folder import read_folder
    from mrisim.errors import DataError

    record = read_folder(folder)
    if not record.is_finished:
        raise DataError(
            f"{folder.name} is unfinished: {record.state}; expected a finished study (`diagnose study` goes on), "
            "or --partial"
        )


def _pictures(record: StudyRecord, wanted: bool | None, say: Callable[[str], None]) -> Pictures:
    """Draw the pictures, or say why not."""
    from diagnose.report.pictures import Pictures, draw_pictures
    from diagnose.run_folder import is_simulated
    from mrisim.errors import DataError

    if wanted is False:
        return Pictures(missing=NOT_WANTED)
    runs = [run.folder for run in record.runs]
    simulated = is_simulated(runs) if record.analysis is None else record.analysis["simulated"]
    if wanted is None and not simulated:
        return Pictures(missing=NO_LICENCE)
    try:
        return draw_pictures(record)
    except DataError as error:
        say(f"no pictures: {error}")
        return Pictures(missing=NO_DATA)
