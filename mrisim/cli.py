"""The `mrisim` program: a leaf that turns typed options into calls and results into text and exit codes."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from mrisim import __version__
from mrisim.cli_cohort import cache_app, cohort_app
from mrisim.cli_data import data_app
from mrisim.cli_requests import check_reconstruction, checked_seed, checked_slices, parse_requests, slurm_shard
from mrisim.errors import MrisimError, UsageError
from mrisim.files import all_named, make_folder, named, refuse_existing
from mrisim.import_warnings import ignore_import_warnings
from mrisim.out_of_memory import memory_errors_named

# Everything heavy is imported inside the commands: --help must answer at once.

app = typer.Typer(
    name="mrisim",
    help="Corrupt MR k-space with physically correct artifacts, reconstruct it, and replay it bit for bit.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)

app.add_typer(cohort_app, name="cohort")
app.add_typer(cache_app, name="cache")
app.add_typer(data_app, name="data")

INTERRUPTED, ITEMS_FAILED, CTRL_C = 6, 5, 130

Inputs = Annotated[
    list[Path] | None,
    typer.Argument(callback=all_named, help="Files or folders; none = the embedded default scan.", show_default=False),
]
Kinds = Annotated[
    list[str] | None, typer.Option("--kind", help="KIND or KIND:LEVEL; may be given several times.", show_default=False)
]
Level = Annotated[
    int | None,
    typer.Option("--level", help="Level 0..5 of the kinds that name none. Default: 3.", show_default=False),
]
Params = Annotated[
    list[str] | None, typer.Option("--param", help="KIND.NAME=VALUE: sets one physical parameter.", show_default=False)
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of all random streams.")]
Recon = Annotated[str, typer.Option("--recon", help="rss, adjoint, sense, l1-wavelet or tv.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", callback=named, help="Output folder; default: named after the request.", show_default=False),
]
Slices = Annotated[str, typer.Option("--slices", help="Only the slices A:B, as in Python.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and what it would cost.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output of an earlier run.")]


@app.command()
def corrupt(
    inputs: Inputs = None,
    kind: Kinds = None,
    level: Level = None,
    param: Params = None,
    seed: Seed = 0,
    recon: Recon = "rss",
    device: Device = "auto",
    out: Out = None,
    slices: Slices = "",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Files, or slices of one file, at a time.")] = 1,
    executor: Annotated[
        str,
        typer.Option(
            "--executor",
            help="thread, dask (--workers processes here) or dask://HOST:PORT (a scheduler; exit 3 if none answers).",
        ),
    ] = "thread",
    num_shards: Annotated[
        int, typer.Option("--num-shards", min=1, envvar="SLURM_ARRAY_TASK_COUNT", help="Split the batch.")
    ] = 1,
    shard_id: Annotated[
        int | None,
        typer.Option(
            "--shard-id", min=0, help="Which part to do, from 0. Default: that of the Slurm array task, else 0."
        ),
    ] = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Corrupt scans: write the scan, its reconstruction, a preview and a sidecar that replays it."""
    requests = parse_requests(kind, level, param)
    from mrisim import batch, output_folder
    from mrisim.items import find_items, shard_of
    from mrisim.job import Job

    check_reconstruction(recon)
    if overwrite and num_shards > 1:
        raise UsageError(
            "--overwrite with --num-shards: a shard would replace what another wrote; expected another --out"
        )
    batch.check_executor(executor, workers)
    if shard_id is None:
        shard_id = slurm_shard()
    job = Job(requests, checked_seed(seed), recon, _working(device), checked_slices(slices))
    items = shard_of(find_items(inputs or []), num_shards, shard_id)
    folder = out or Path(f"mrisim-{job.label}")
    if dry_run:
        cost = batch.estimate(items, job)
        _print_result({"items": len(items), "out": folder.name, **cost.record()}, cost.lines(len(items)), as_json)
        return
    batch.check_room(folder, batch.DISK_FACTOR * batch.size_of(items))
    resumed = output_folder.open_output(folder, job, inputs or [], overwrite=overwrite)
    if resumed:
        _log(f"resuming the run in {folder}")
    elif len(items) > 1:
        try:
            _log(*batch.estimate(items, job).lines(len(items)))
        except MrisimError:  # none of them can be read
            output_folder.withdraw(folder)
            raise
    index = f"index-{shard_id}-of-{num_shards}.jsonl" if num_shards > 1 else batch.INDEX_FILE
    signal.signal(signal.SIGTERM, _on_sigterm)
    with _progress(len(items)) as advance:
        reports = batch.run(
            items, job, folder, n_workers=workers, executor=executor, index_name=index, on_report=advance
        )
    nothing = not any(report.outputs for report in reports)
    not_worth_keeping = output_folder.is_replacing(folder) or (not resumed and (len(reports) == 1 or overwrite))
    if nothing and num_shards == 1 and not_worth_keeping:
        output_folder.withdraw(folder)
    if len(reports) == 1 and not reports[0].outputs:
        _log(f"mrisim: {reports[0].failures[0]}")
        raise typer.Exit(reports[0].exit_code)
    _print_result({"out": folder.name, **batch.summary(reports)}, batch.summary_lines(reports, job, folder), as_json)
    if any(report.failures for report in reports):
        raise typer.Exit(ITEMS_FAILED)


@app.command()
def kinds(as_json: AsJson = False) -> None:
    """List the artifact kinds: parameters with units and bounds, and the levels."""
    from mrisim.kinds import describe_kinds, lines

    _print_result({"kinds": describe_kinds()}, lines(), as_json)


@app.command()
def recon(as_json: AsJson = False) -> None:
    """List the reconstructions and their defaults."""
    from mrisim.reconstruct import DEFAULTS, RECONSTRUCTIONS

    described = {
        name: {"summary": text, **dict(zip(("regularisation", "n_iterations"), DEFAULTS.get(name, ()), strict=False))}
        for name, text in RECONSTRUCTIONS.items()
    }
    lines = []
    for name, entry in described.items():
        lines.append(f"{name}: {entry['summary']}")
        if name in DEFAULTS:
            lines.append(f"    regularisation {entry['regularisation']:g}, iterations {entry['n_iterations']}")
    _print_result({"reconstructions": described}, lines, as_json)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(callback=named)],
    target: Annotated[Path, typer.Argument(callback=named)],
    overwrite: Overwrite = False,
) -> None:
    """Convert a scan to fastMRI (.h5), ISMRMRD (.mrd), BART (.cfl), or its image to NIfTI (.nii.gz), by the ending."""
    from mrisim import formats

    written = formats.files_written(target)
    if source.exists() and any(path.exists() and path.samefile(source) for path in written):
        raise UsageError(f"{target.name} would replace the source; expected another name")
    refuse_existing(written, overwrite=overwrite)
    for line in formats.convert(source, target):
        typer.echo(line)


@app.command()
def info(file: Annotated[Path, typer.Argument(callback=named)], as_json: AsJson = False) -> None:
    """Say what a file is: shapes, geometry, whether the k-space was measured, what is missing."""
    from mrisim.describe_scan import describe, lines

    record = describe(file)
    _print_result(record, lines(record), as_json)


@app.command()
def replay(
    sidecar: Annotated[Path, typer.Argument(callback=named)],
    source: Annotated[
        Path | None,
        typer.Option("--input", help="The clean input; default: looked for by name beside the sidecar, above, here."),
    ] = None,
    out: Out = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Make a corrupted scan again from its sidecar, and say whether it is the same bit for bit."""
    from mrisim.replay import replay as run_replay

    folder = out or Path(f"replay-{sidecar.stem}")
    outcome = run_replay(sidecar, source, folder, device=_working(device))
    _print_result(outcome.record(), outcome.lines(), as_json)
    if not outcome.within_tolerance:
        raise typer.Exit(1)


@app.command()
def preview(
    input: Annotated[
        Path | None,
        typer.Argument(callback=named, help="A file; none = the embedded default.", show_default=False),
    ] = None,
    kind: Kinds = None,
    seed: Seed = 0,
    recon: Recon = "rss",
    device: Device = "auto",
    out: Out = None,
    slice_position: Annotated[
        int | None, typer.Option("--slice", help="Slice to show; default: the middle one.")
    ] = None,
) -> None:
    """Draw every kind at every level on one window: a contact sheet, a GIF, and a page with a level slider."""
    from mrisim.artifacts import KINDS
    from mrisim.contact_sheet import draw_all

    check_reconstruction(recon)
    names = [request.kind for request in parse_requests(kind, 3, None)] if kind else list(KINDS)
    paths = draw_all(
        input,
        names,
        seed=checked_seed(seed),
        reconstruction=recon,
        device=_working(device),
        out=out or Path("mrisim-preview"),
        slice_position=slice_position,
    )
    for path in paths:
        typer.echo(f"wrote {path}")


@app.command()
def selftest(device: Device = "auto", as_json: AsJson = False) -> None:
    """Evaluate every kind's closed-form law on this device: expected, got, tolerance."""
    from mrisim.selftest import run_checks

    device = _working(device)
    results = run_checks(device)
    lines = [f"device {device}"]
    for subject, check in results:
        verdict = "ok  " if check.passed else "FAIL"
        lines.append(
            f"{verdict} {subject:14} {check.law}: expected {check.expected:.6g}, got {check.got:.6g}, "
            f"tolerance {check.tolerance:.2g}"
        )
    records = [{"subject": subject, **vars(check), "passed": check.passed} for subject, check in results]
    _print_result({"device": device, "checks": records}, lines, as_json)
    if not all(check.passed for _, check in results):
        raise typer.Exit(1)


@app.command()
def calibrate(
    out: Annotated[Path, typer.Option("--out", callback=named, help="Where to write the level table.")] = Path(
        "levels.json"
    ),
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Draws of each artifact on each reference scan.")] = 3,
    overwrite: Overwrite = False,
) -> None:
    """Derive the level table anew: equal median NRMSE per level on the reference scans."""
    from mrisim.calibrate import calibrate as run_calibration
    from mrisim.calibrate import save_table
    from mrisim.phantoms.default import reference_scans

    refuse_existing([out], overwrite=overwrite)  # before minutes of work, as the next line
    make_folder(out.absolute().parent)
    save_table(out, run_calibration(reference_scans, n_seeds=seeds, progress=_log))
    typer.echo(f"wrote {out}")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what this installation has: versions, devices, disk."""
    from mrisim.doctor import examine, lines

    record = examine()
    _print_result(record, lines(record), as_json)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"mrisim {__version__}")
        raise typer.Exit()


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _print_result(record: dict[str, Any], lines: Iterable[str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(record, default=str))
    else:
        for line in lines:
            typer.echo(line)


def _working(device: str) -> str:
    """Return the device that an option means, once it computes; say what takes long, and why "auto" leaves a GPU."""
    from mrisim.fourier import resolve_device
    from mrisim.progress import announce_compiling

    announce_compiling()
    return resolve_device(device, say=_log)


def _log(*lines: str) -> None:
    for line in lines:
        typer.echo(line, err=True)


def _progress(n_items: int) -> Any:
    from mrisim.progress import progress

    return progress(n_items)


def _on_sigterm(_signal: int, _frame: Any) -> None:
    _log("mrisim: stopped by a signal; the same command resumes")
    raise SystemExit(INTERRUPTED)


def main() -> None:
    """Run the program; a user's error is one line and its exit code."""
    ignore_import_warnings()
    try:
        with memory_errors_named():
            app()
    except MrisimError as error:
        typer.echo(f"mrisim: {error}", err=True)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == CTRL_C:  # what Typer makes of a KeyboardInterrupt, without a word
            typer.echo("mrisim: stopped by ctrl-C; the same command resumes", err=True)
        raise


if __name__ == "__main__":
    main()
