"""`diagnose study` and `diagnose demo`: commands that the `diagnose` program registers."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diagnose.cli_options import AsJson, Data, Device, DryRun, Labels, Overwrite, Split
from diagnose.cli_output import check_device, default_data, log, n_cores, print_result, raise_for_missing_cohort
from mrisim.errors import UsageError
from mrisim.files import named

if TYPE_CHECKING:
    from diagnose.run_folder import DataLocation
    from diagnose.study.engine import StudyResult
    from diagnose.study.spec import StudySpec

# Everything heavy is imported inside the commands: --help must answer at once.

RUNS_FAILED, INTERRUPTED = 5, 6

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        callback=named,
        help="Folder of the study; default: studies/NAME__HASH of the request.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="Processes at a time; the tables do not depend on it. Default: one a core.",
        show_default=False,
    ),
]  # fmt: skip
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="A.B=VALUE of the study, as in train.epochs=10 or seeds=[1,2]; several times.", show_default=False
    ),
]


def study(
    request: Annotated[
        Path, typer.Argument(callback=named, help="Study file (YAML), or the folder of a study that goes on.")
    ],
    data: Data = None,
    labels: Labels = None,
    split: Split = None,
    settings: Settings = None,
    out: Out = None,
    workers: Workers = None,
    device: Device = "auto",
    status: Annotated[bool, typer.Option("--status", help="Say how far the study is; from its files alone.")] = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Train norms x scalings x seeds, evaluate them under every shift, analyse, report; killed, it goes on."""
    from diagnose.claimed_folder import check_ours
    from diagnose.study.spec import read_study
    from diagnose.study.state import STUDY_MARK, settle_study
    from diagnose.tasks.classification import check_request
    from diagnose.training.spec import TrainSpec

    if request.is_dir() and not (status or dry_run):
        settle_study(request)
    spec = read_study(request, settings or [])
    if request.is_dir() and out is not None:
        raise UsageError(f"--out {out.name} and the folder {request.name}: expected one of them, or a study file")
    folder = request if request.is_dir() else out or Path("studies") / spec.label
    if status:
        from diagnose.study.state import study_state

        state = study_state(folder, spec)
        print_result(state.record, state.lines, as_json)
        return
    check_device(device)
    check_request(TrainSpec(**spec.train), labels, split)
    check_ours(folder, STUDY_MARK)
    location = _location(request, data, labels, split, as_json, dry_run)
    _run(spec, folder, location, (workers, device), overwrite, dry_run, as_json)


def demo(
    data: Data = None,
    settings: Settings = None,
    out: Out = None,
    workers: Workers = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Do all of it once, small: cohort, one network each with bn, gn, ln, six artifacts x five levels, the report."""
    from diagnose.claimed_folder import check_ours
    from diagnose.study.demo import demo_study
    from diagnose.study.state import STUDY_MARK

    spec = demo_study(settings or [])
    check_device(device)
    folder = out or Path("studies") / spec.label
    check_ours(folder, STUDY_MARK)
    started = time.monotonic()
    location = _location(None, data, None, None, as_json, dry_run)
    seconds = time.monotonic() - started
    _run(spec, folder, location, (workers, device), overwrite, dry_run, as_json, seconds)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(study)
    app.command()(demo)


def _location(
    request: Path | None, data: Path | None, labels: Path | None, split: Path | None, as_json: bool, dry_run: bool
) -> DataLocation:
    """Return where the data are: as asked for, where the study in the folder has them, or the embedded cohort."""
    from diagnose.run_folder import DataLocation, read_location

    if data is None and request is not None and request.is_dir():
        return read_location(request)
    if data is None and dry_run:
        raise_for_missing_cohort(as_json)
    return DataLocation(data or default_data(), labels, split)


def _run(
    spec: StudySpec, folder: Path, location: DataLocation, resources: tuple[int | None, str], overwrite: bool,
    dry_run: bool, as_json: bool, cohort_seconds: float | None = None,
) -> None:  # fmt: skip
    from diagnose.claimed_folder import IDENTITY
    from diagnose.study.cost import check_room, study_cost
    from diagnose.study.engine import run_study, study_slices
    from diagnose.torch_device import resolve_device

    n_workers, device = resources[0] or max(1, n_cores() // spec.n_threads), resolve_device(resources[1])
    if dry_run or not (folder / IDENTITY).exists():
        cost = study_cost(spec, study_slices(spec, location), n_workers, device)
        if dry_run:
            print_result({"out": str(folder), **cost.record}, [f"out: {folder}", *cost.lines], as_json)
            return
        log(*cost.lines)
        check_room(cost, folder)
    _stop_on_signal()
    result = run_study(
        spec, location, folder, n_workers=n_workers, overwrite=overwrite, device=device, say=log,
        cohort_seconds=cohort_seconds,
    )  # fmt: skip
    print_result(_record(spec, result), _lines(spec, result), as_json)
    if result.failures:
        raise typer.Exit(RUNS_FAILED)


def _record(spec: StudySpec, result: StudyResult) -> dict[str, Any]:
    return {
        "study": str(result.folder), "runs": result.n_runs, "finished": result.n_finished, "failed": result.failures,
        "note": spec.seeds_note, "report": None if result.report is None else str(result.report),
        "primary": None if result.analysis is None else result.analysis["primary"], "seconds": result.times.seconds,
    }  # fmt: skip


def _lines(spec: StudySpec, result: StudyResult) -> list[str]:
    """Return what the study found, in short: the report has the rest."""
    lines = [f"{result.n_finished} of {result.n_runs} runs finished" + (f"; {spec.seeds_note}" * bool(spec.seeds_note))]
    lines += [f"failed: {entry['run']}: {entry['reason']}" for entry in result.failures]
    if result.analysis is not None:
        lines += ["", result.analysis["primary"]["text"]]
        lines += [_comparison_line(one) for one in result.analysis["primary"]["comparisons"]]
        lines += [result.analysis["flag"]] if result.analysis.get("flag") else []
    lines += ["", f"seconds of each phase in timing.json: {result.times.line}"]
    return [*lines, f"report {result.report}" if result.report else "no run finished: nothing to report"]


def _comparison_line(one: dict[str, Any]) -> str:
    found = "not available" if one["difference"] is None else f"{one['difference']:+.3f}"
    text = f"  {one['norm']} - {one['reference_norm']}: {found}"
    if one["low"] is not None:
        text += f" [{one['low']:+.3f}, {one['high']:+.3f}]"
    if one.get("p_holm") is not None:
        text += f", p (Holm) {one['p_holm']:.3g}"
    return f"{text}; {one['message']}" if one["message"] else text


def _stop_on_signal() -> None:
    """Let SIGTERM, and SIGUSR1 of a scheduler that is about to stop the job, end the study with its state saved."""

    def stop(_number: int, _frame: Any) -> None:
        log("stopped by a signal; the runs save their state, and the same command goes on")
        raise SystemExit(INTERRUPTED)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGUSR1, stop)
