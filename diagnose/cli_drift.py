"""`diagnose drift`: why a shift hurts a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from diagnose.cli_options import (
    AsJson,
    Data,
    Device,
    DryRun,
    Labels,
    Out,
    Overwrite,
    Threads,
    parse_levels,
    parse_reconstructions,
)  # fmt: skip
from diagnose.cli_output import data_elsewhere, image_progress, log, n_cores, print_result, stop_on_sigterm
from mrisim.errors import UsageError
from mrisim.files import all_named

# Everything heavy is imported inside the command: --help must answer at once.


def register(app: typer.Typer) -> None:
    """Add the command to the `diagnose` program."""
    app.command()(drift)


def drift(
    runs: Annotated[list[Path], typer.Argument(callback=all_named, help="Finished run folders.", show_default=False)],
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Kind of artifact, or all. Default: all.", show_default=False)
    ] = None,
    levels: Annotated[str, typer.Option("--levels", help="1..5, or 1,3,5; clean is always there.")] = "1..5",
    recon: Annotated[str, typer.Option("--recon", help="Reconstructions: rss,adjoint,sense,l1-wavelet,tv.")] = "rss",
    split: Annotated[
        str, typer.Option("--split", help="test (as `evaluate`; nothing is chosen by it) or val.")
    ] = "test",
    slices: Annotated[int, typer.Option("--slices", min=2, help="Statistics are of so many drawn slices.")] = 256,
    swap: Annotated[
        bool, typer.Option("--swap/--no-swap", help="Replace batch norm's statistics by the shifted images'.")
    ] = True,
    swap_layers: Annotated[
        str, typer.Option("--swap-layers", help="Also in the first and the last so many layers alone; or none.")
    ] = "2,8",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the corruptions; that of `evaluate`.")] = 0,
    data: Data = None,
    labels: Labels = None,
    out: Out = None,
    threads: Threads = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Measure how activations drift at each norm layer under each shift, and which frozen statistics it breaks."""
    from diagnose.drift.analyse import analyse_drift, estimate
    from diagnose.drift.request import DriftRequest
    from diagnose.drift.table import drift_lines
    from diagnose.slice_images import check_kinds
    from diagnose.training.loop import Watch

    if split not in ("test", "val"):
        raise UsageError(f"--split is {split!r}; expected test or val")
    request = DriftRequest(
        tuple(check_kinds(kind or ["all"])), parse_levels(levels), parse_reconstructions(recon), split, seed,
        slices, swap, parse_swap_layers(swap_layers),
    )  # fmt: skip
    location = data_elsewhere(data, labels)
    resources: dict[str, Any] = {"n_threads": threads or n_cores(), "device": device}
    if dry_run:
        cost = estimate(runs, request, data=location, **resources)
        print_result(cost.record, cost.lines, as_json)
        return
    stop_on_sigterm(at_once=True)
    result = analyse_drift(
        runs, request, out, data=location, overwrite=overwrite, **resources, watch=Watch(log, image_progress())
    )  # fmt: skip
    for note in result.notes:
        log(f"note: {note}")
    record = {"out": str(result.folder), "notes": list(result.notes), "drift": result.drift, "swap": result.swap}
    print_result(record, [*drift_lines(result.drift, result.swap), "", f"wrote {result.folder}"], as_json)


def parse_swap_layers(text: str) -> tuple[int, ...]:
    """Read ``2,8`` or ``none``.

    Raises
    ------
    UsageError
        If it is neither.
    """
    if text == "none":
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError(f"--swap-layers is {text!r}; expected numbers of layers as 2,8, or none")
    return tuple(dict.fromkeys(map(int, parts)))
