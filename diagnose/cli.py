"""The `diagnose` program: a leaf that turns typed options into calls and results into text and exit codes."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diagnose import cli_drift, cli_report, cli_study
from mrisim.errors import MrisimError, UsageError

if TYPE_CHECKING:
    from mrisim.cohort_protocol import CohortSpec

# Everything heavy is imported inside the commands: --help must answer at once.

# OpenMP's threads spin while they wait for each other: on a machine with other work that costs a factor of 4 to 30
# (measured, 2 threads on 2 busy cores). Put to sleep at once, a second thread gains nothing at all (a training step
# of gn takes 86 ms with one, 86 with two). So GNU's runtime, torch's on Linux, spins for some microseconds (52 ms), and
# others sleep. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

app = typer.Typer(
    name="diagnose",
    help="Train diagnosis networks that differ in their norm layers, and measure what MR artifacts do to them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)

CTRL_C = 130

Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder with fastMRI HDF5 files; none = the embedded knee cohort.", show_default=False),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels", help="Label table (fastMRI+); default: Annotations/knee.csv in the data.", show_default=False
    ),
]
Split = Annotated[
    Path | None,
    typer.Option("--split", help="Stored split file; default: the folders, else by patient.", show_default=False),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE of the training spec; several times.", show_default=False)
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Output folder; default: named after the request.", show_default=False)
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads.  [default: all cores]", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and what it would cost.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output of an earlier run.")]


@app.command()
def train(
    norm: Annotated[
        str | None, typer.Option("--norm", help="bn, gn, ln, in or none.  [default: gn]", show_default=False)
    ] = None,
    task: Annotated[
        str, typer.Option("--task", help="classification, segmentation or reconstruction.")
    ] = "classification",
    data: Data = None,
    labels: Labels = None,
    split: Split = None,
    train_on: Annotated[
        list[str] | None,
        typer.Option("--train-on", help="Reconstruction: a training distribution; several times.", show_default=False),
    ] = None,
    train_shift: Annotated[
        str | None,
        typer.Option(
            "--train-shift", help="KIND:LEVEL, KIND:random or random: corrupt training k-space.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of initialisation and batch order, and of nothing else.")] = 0,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="At most so many.  [default: the task's]", show_default=False)
    ] = None,
    settings: Settings = None,
    out: Out = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Train one network and report how well it does; an interrupted run is resumed by the same command."""
    from diagnose.training.spec import make_spec
    from diagnose.training.task import task_module

    learnt = task_module(task)
    given = {"norm": norm, "train_on": train_on, "train_shift": train_shift, "seed": seed, "epochs": epochs}
    values = {name: value for name, value in given.items() if value is not None}
    for name in values:
        if name not in learnt.SPEC.model_fields:
            raise UsageError(f"--{name.replace('_', '-')} has no meaning for {task}")
    spec = make_spec(values, settings or [], learnt.SPEC)
    if dry_run and data is None:
        raise_for_missing_cohort(as_json, learnt.DEFAULT_DATA)
    from diagnose.run_folder import DataLocation
    from diagnose.train import fit
    from diagnose.training.loop import Watch

    location = DataLocation(data or default_data(learnt.DEFAULT_DATA), labels, split)
    if dry_run:
        cost = learnt.estimate(spec, location, folder=out, n_threads=threads or n_cores())
        _print_result(cost.record, cost.lines, as_json)
        return
    watch = Watch(_log, _image_progress(), _stop_on_sigterm())
    result = fit(spec, location, out, overwrite=overwrite, n_threads=threads or n_cores(), watch=watch)
    if result.was_done:
        _log(f"{result.folder} is a finished run of this request; these are its results")
    lines = [f"run {result.folder}", *learnt.lines_of(result.results)]
    _print_result({"run": str(result.folder), **result.results}, lines, as_json)


@app.command()
def evaluate(
    runs: Annotated[list[Path] | None, typer.Argument(help="Finished run folders.", show_default=False)] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions", help="A prediction table (CSV) of any model, instead of runs.", show_default=False
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help="Kind of artifact; all: the six in k-space; madaan: the paper's five on images.  [default: all]",
            show_default=False,
        ),
    ] = None,
    levels: Annotated[str, typer.Option("--levels", help="0..5, or 1,3,5.")] = "0..5",
    recon: Annotated[str, typer.Option("--recon", help="Reconstructions: rss,adjoint,sense,l1-wavelet,tv.")] = "rss",
    adapt: Annotated[
        list[str] | None,
        typer.Option(
            "--adapt",
            help="frozen, precise-bn, prediction-time[:random|exam[:BATCH[:N|auto]]].  [default: frozen]",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the corruptions.")] = 0,
    validation_shifts: Annotated[
        bool, typer.Option("--validation-shifts", help="Shift the validation split too, with a seed of its own.")
    ] = False,
    data: Data = None,
    labels: Labels = None,
    out: Out = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Corrupt the k-space of the test split, reconstruct, predict: AUROC by kind and level, with intervals."""
    from diagnose.evaluation.shift_report import result_lines

    if bool(runs) == bool(predictions):
        raise UsageError("expected run folders, or --predictions CSV; got " + ("both" if runs else "neither"))
    if predictions is not None:
        from diagnose.evaluate import evaluate_predictions

        result = evaluate_predictions(predictions, out or Path(f"{predictions.name.split('.')[0]}-results"))
    else:
        from diagnose.adapt import parse_adaptation
        from diagnose.evaluate import EvaluationRequest, estimate
        from diagnose.evaluate import evaluate as run_evaluation
        from diagnose.run_folder import DataLocation
        from diagnose.slice_images import check_kinds
        from diagnose.training.loop import Watch

        request = EvaluationRequest(
            tuple(check_kinds(kind or ["all"])), parse_levels(levels), parse_reconstructions(recon), seed,
            tuple(parse_adaptation(text) for text in dict.fromkeys(adapt or ["frozen"])), validation_shifts,
        )  # fmt: skip
        location = None if data is None else DataLocation(data, labels)
        if dry_run:
            cost = estimate(list(runs or []), request, data=location, n_threads=threads or n_cores())
            _print_result(cost.record, cost.lines, as_json)
            return
        _stop_on_sigterm(at_once=True)
        result = run_evaluation(
            list(runs or []), request, out, data=location, overwrite=overwrite, n_threads=threads or n_cores(),
            watch=Watch(_log, _image_progress()),
        )  # fmt: skip
    for note in result.notes:
        _log(f"note: {note}")
    record = {"out": str(result.folder), "results": [entry.record for entry in result.results]}
    _print_result(record, [*result_lines(result.results), "", f"wrote {result.folder}"], as_json)


@app.command()
def norms(
    width: Annotated[int, typer.Option("--width", help="Channels of the first stage.")] = 64, as_json: AsJson = False
) -> None:
    """List the norm layers: statistics, groups, eps, parameters, and in what they differ from batch norm."""
    from diagnose.norms import describe_norms

    try:
        rows = describe_norms(width)
    except ValueError as error:
        raise UsageError(f"--width: {error}") from None
    lines = []
    for row in rows:
        groups = f", {row['n_groups']} groups" if row["n_groups"] else ""
        lines.append(f"{row['name']:5} {row['module']}{groups}: {row['n_parameters']} parameters, eps {row['eps']}")
        lines += [f"      statistics {row['statistics']}", f"      differs in {row['difference']}"]
    _print_result({"width": width, "norms": rows}, lines, as_json)


cli_drift.register(app)
cli_report.register(app)
cli_study.register(app)


@app.callback()
def _program() -> None:
    pass


def parse_levels(text: str) -> tuple[int, ...]:
    """Read ``0..5``, ``3`` or ``1,3,5``.

    Raises
    ------
    UsageError
        If it is none of these, or a level is not 0 to 5.
    """
    levels: set[int] = set()
    for part in text.split(","):
        first, dots, last = part.strip().partition("..")
        last = last if dots else first
        if not (first.isdigit() and last.isdigit() and 0 <= int(first) <= int(last) <= 5):
            raise UsageError(f"--levels is {text!r}; expected levels from 0 to 5, as 0..5 or 1,3,5")
        levels |= set(range(int(first), int(last) + 1))
    return tuple(sorted(levels))


def parse_reconstructions(text: str) -> tuple[str, ...]:
    """Read names of reconstructions, separated by commas.

    Raises
    ------
    UsageError
        If one is unknown.
    """
    from mrisim.reconstruct import RECONSTRUCTIONS

    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    unknown = [name for name in names if name not in RECONSTRUCTIONS]
    if unknown:
        raise UsageError(f"--recon names {unknown[0]!r}; expected some of {', '.join(RECONSTRUCTIONS)}")
    return names


def default_data(spec: CohortSpec | None = None) -> Path:
    """Return an embedded cohort, the knees if none is named; it is made, and announced, on first use."""
    from mrisim.cohort_cache import default_cohort

    return default_cohort(_count_progress("patients"), announce=_log, spec=spec)


def raise_for_missing_cohort(as_json: bool, spec: CohortSpec | None = None) -> None:
    """End a dry run that would first have to make the cohort: say what that costs, and make nothing."""
    from mrisim.cohort import is_complete
    from mrisim.cohort_cache import cached_path, cost_line
    from mrisim.cohort_protocol import default_spec

    spec = spec or default_spec()
    if not is_complete(cached_path(spec)):
        line = cost_line(spec, n_cores(), "the cache folder")
        _print_result(
            {"first": line},
            [f"first {line}", "then train; the same --dry-run says more once the cohort is there"],
            as_json,
        )
        raise typer.Exit


def n_cores() -> int:
    """Return the number of cores that this process may use: its share, where torchrun started several."""
    from diagnose.training.distributed import n_processes_here
    from mrisim.cohort_cache import usable_cores

    return max(1, usable_cores() // n_processes_here())


def _count_progress(what: str) -> Callable[[int, int], None]:
    """Say how far something is: at each tenth, or in place on a terminal."""

    def tell(done: int, total: int) -> None:
        if sys.stderr.isatty():
            typer.echo(f"\r{what} {done}/{total}", err=True, nl=done == total)
        elif total >= 50 and (done == total or done % (total // 10) == 0):
            typer.echo(f"{what} {done}/{total}", err=True)

    return tell


def _image_progress() -> Callable[[str, int, int], None]:
    return lambda what, done, total: _count_progress(f"{what}: volumes")(done, total)


def _stop_on_sigterm(*, at_once: bool = False) -> Callable[[], bool]:
    """Return what says whether SIGTERM (or SIGUSR1, of a scheduler that is about to stop the job) has come."""
    asked: list[int] = []

    def note(number: int, _frame: Any) -> None:
        asked.append(number)
        if at_once:
            raise SystemExit(6)

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGUSR1, note)
    return lambda: bool(asked)


def _print_result(record: dict[str, Any], lines: Iterable[str], as_json: bool) -> None:
    from diagnose.training.distributed import is_first_process

    if not is_first_process():
        return
    if as_json:
        typer.echo(json.dumps(record, default=str))
    else:
        for line in lines:
            typer.echo(line)


def _log(line: str) -> None:
    from diagnose.training.distributed import is_first_process

    if is_first_process():
        typer.echo(line, err=True)


def main() -> None:
    """Run the program; a user's error is one line and its exit code."""
    try:
        app()
    except MrisimError as error:
        if str(error):  # else another process has said it
            typer.echo(f"diagnose: {error}", err=True)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == CTRL_C:  # what Typer makes of a KeyboardInterrupt, without a word
            typer.echo("diagnose: stopped by ctrl-C; the same command resumes", err=True)
        raise


if __name__ == "__main__":
    main()
