"""The `diagnose` program: a leaf that turns typed options into calls and results into text and exit codes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from diagnose import cli_drift, cli_report, cli_study
from diagnose.cli_options import (
    AsJson,
    Data,
    Device,
    DryRun,
    Labels,
    Out,
    Overwrite,
    Settings,
    Split,
    Threads,
    parse_levels,
    parse_reconstructions,
)  # fmt: skip
from diagnose.cli_output import (
    check_device,
    data_elsewhere,
    default_data,
    image_progress,
    log,
    n_cores,
    print_result,
    raise_for_missing_cohort,
    stop_on_sigterm,
)  # fmt: skip
from diagnose.cli_progress import batch_progress
from mrisim.errors import MrisimError, UsageError
from mrisim.files import all_named
from mrisim.import_warnings import ignore_import_warnings
from mrisim.out_of_memory import memory_errors_named

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
EVALUATIONS = {
    "classification": "diagnose.evaluate",
    "segmentation": "diagnose.segmentation.evaluate",
    "reconstruction": "diagnose.reconstruction.evaluate",
}
"""Task -> module with its ``evaluate`` and ``estimate``; a result has ``folder``, ``results``, ``notes``, ``lines``."""


@app.command()
def train(
    norm: Annotated[
        str | None,
        typer.Option(
            "--norm",
            help="bn, gn, ln, in or none; segmentation also ln-channel. Default: the task's.",
            show_default=False,
        ),
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
        int | None, typer.Option("--epochs", min=1, help="At most so many. Default: the task's.", show_default=False)
    ] = None,
    settings: Settings = None,
    out: Out = None,
    threads: Threads = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Train one network and report how well it does; an interrupted run is resumed by the same command."""
    from diagnose.claimed_folder import check_ours
    from diagnose.run_folder import RUN, DataLocation
    from diagnose.training.spec import make_spec
    from diagnose.training.task import task_module

    learnt = task_module(task)
    given = {"norm": norm, "train_on": train_on, "train_shift": train_shift, "seed": seed, "epochs": epochs}
    values = {name: value for name, value in given.items() if value is not None}
    for name in values:
        if name not in learnt.SPEC.model_fields:
            raise UsageError(f"--{name.replace('_', '-')} has no meaning for {task}")
    spec = make_spec(values, settings or [], learnt.SPEC)
    check_device(device)
    learnt.check_request(spec, labels, split)
    if out is not None:
        check_ours(out, RUN)
    if dry_run and data is None:
        raise_for_missing_cohort(as_json, learnt.DEFAULT_DATA)
    from diagnose.train import fit
    from diagnose.training.loop import Watch

    location = DataLocation(data or default_data(learnt.DEFAULT_DATA), labels, split)
    resources: dict[str, Any] = {"n_threads": threads or n_cores(), "device": device}
    if dry_run:
        cost = learnt.estimate(spec, location, folder=out, **resources)
        print_result(cost.record, cost.lines, as_json)
        return
    with batch_progress(spec.epochs) as on_batch:
        watch = Watch(log, image_progress(), stop_on_sigterm(), on_batch)
        result = fit(spec, location, out, overwrite=overwrite, **resources, watch=watch)
    if result.was_done:
        log(f"{result.folder} is a finished run of this request; these are its results")
    lines = [f"run {result.folder}", *learnt.lines_of(result.results)]
    print_result({"run": str(result.folder), **result.results}, lines, as_json)


@app.command()
def evaluate(
    runs: Annotated[
        list[Path] | None, typer.Argument(callback=all_named, help="Finished run folders.", show_default=False)
    ] = None,
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
            help="Kind of artifact; all: the six in k-space; madaan: the paper's five on images. Default: all; for "
            "reconstruction none.",
            show_default=False,
        ),
    ] = None,
    levels: Annotated[str, typer.Option("--levels", help="0..5, or 1,3,5.")] = "0..5",
    recon: Annotated[str, typer.Option("--recon", help="Reconstructions: rss,adjoint,sense,l1-wavelet,tv.")] = "rss",
    adapt: Annotated[
        list[str] | None,
        typer.Option(
            "--adapt",
            help="frozen, precise-bn, prediction-time[:random|exam[:BATCH[:N|auto]]]. Default: frozen.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the corruptions.")] = 0,
    validation_shifts: Annotated[
        bool, typer.Option("--validation-shifts", help="Shift the validation split too, with a seed of its own.")
    ] = False,
    test_on: Annotated[
        list[str] | None,
        typer.Option(
            "--test-on",
            help="Reconstruction: a distribution; several times. Default: all at hand.",
            show_default=False,
        ),
    ] = None,
    every_epoch: Annotated[
        bool, typer.Option("--every-epoch", help="Reconstruction: measure the weights of every epoch on validation.")
    ] = False,
    data: Data = None,
    labels: Labels = None,
    out: Out = None,
    threads: Threads = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Corrupt the k-space of the test split, reconstruct, predict: AUROC, Dice or SSIM by shift, with intervals."""
    if bool(runs) == bool(predictions):
        raise UsageError("expected run folders, or --predictions CSV; got " + ("both" if runs else "neither"))
    if predictions is not None:
        from diagnose.evaluate import evaluate_predictions

        idle = {
            "--kind": kind, "--levels": levels != "0..5", "--recon": recon != "rss", "--adapt": adapt, "--seed": seed,
            "--validation-shifts": validation_shifts, "--test-on": test_on, "--every-epoch": every_epoch,
            "--data": data, "--labels": labels, "--dry-run": dry_run,
        }  # fmt: skip
        for name, given in idle.items():
            if given:
                raise UsageError(f"{name} has no meaning with --predictions, which are made already")
        result = evaluate_predictions(predictions, out, overwrite=overwrite)
    else:
        from diagnose.adapt import parse_adaptation
        from diagnose.training.loop import Watch

        of_task = _evaluation_of(list(runs or []))
        request = _evaluation_request(
            of_task, kind or [], (test_on or [], every_epoch), parse_levels(levels), parse_reconstructions(recon), seed,
            tuple(parse_adaptation(text) for text in dict.fromkeys(adapt or ["frozen"])), validation_shifts,
        )  # fmt: skip
        location = data_elsewhere(data, labels)
        resources: dict[str, Any] = {"n_threads": threads or n_cores(), "device": device}
        if dry_run:
            cost = of_task.estimate(list(runs or []), request, data=location, **resources)
            print_result(cost.record, cost.lines, as_json)
            return
        stop_on_sigterm(at_once=True)
        result = of_task.evaluate(
            list(runs or []), request, out, data=location, overwrite=overwrite, **resources,
            watch=Watch(log, image_progress()),
        )  # fmt: skip
    for note in result.notes:
        log(f"note: {note}")
    record = {"out": str(result.folder), "results": [entry.record for entry in result.results]}
    print_result(record, [*result.lines, "", f"wrote {result.folder}"], as_json)


def _evaluation_of(runs: list[Path]) -> Any:
    """Return the module that evaluates runs of this task; what is no run folder is refused by that of diagnosis."""
    from importlib import import_module

    from diagnose.run_folder import task_of

    folders = [run for run in runs if (run / "config.yaml").is_file()]
    return import_module(EVALUATIONS[task_of(folders[0]) if folders else "classification"])


def _evaluation_request(of_task: Any, kinds: list[str], measured: tuple[list[str], bool], *more: Any) -> Any:
    """Return the request of a task's evaluation; that of reconstruction has distributions, and no kinds by default."""
    from diagnose.evaluation.request import EvaluationRequest
    from diagnose.slice_images import check_kinds

    if hasattr(of_task, "QualityRequest"):
        chosen = tuple(check_kinds(kinds)) if kinds else ()
        return of_task.QualityRequest(chosen, *more, test_on=tuple(measured[0]), every_epoch=measured[1])
    if any(measured):
        raise UsageError("--test-on and --every-epoch have a meaning for runs of reconstruction alone")
    return EvaluationRequest(tuple(check_kinds(kinds or ["all"])), *more)


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
    print_result({"width": width, "norms": rows}, lines, as_json)


cli_drift.register(app)
cli_report.register(app)
cli_study.register(app)


@app.callback()
def _program() -> None:
    pass


def main() -> None:
    """Run the program; a user's error is one line and its exit code."""
    ignore_import_warnings()
    try:
        with memory_errors_named("a smaller --set batch=N, or --device cpu", "a smaller --set batch=N, or less data"):
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
