"""`mrisim cohort knee|brain` and `mrisim cache info|clear`: sub-programs that the `mrisim` program registers."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrisim.files import named

if TYPE_CHECKING:
    from mrisim.cohort_protocol import CohortSpec

# Everything heavy is imported inside the commands: --help must answer at once.

cohort_app = typer.Typer(help="Simulate a labelled cohort in the layouts of the real data sets.", no_args_is_help=True)
cache_app = typer.Typer(help="The cached default cohort: where, how large; remove it.", no_args_is_help=True)

INTERRUPTED = 6

Patients = Annotated[str, typer.Option("--patients", help="Number, or TRAIN/VAL/TEST; a number is shared 75/10/15 %.")]
Slices = Annotated[int, typer.Option("--slices", help="Slices of a volume.")]
Matrix = Annotated[
    int | None,
    typer.Option("--matrix", help="Readout and phase-encode matrix; default: the scanner's.", show_default=False),
]
Contrasts = Annotated[
    list[str] | None, typer.Option("--contrast", help="May be given several times: one file each.", show_default=False)
]
Fields = Annotated[
    list[float] | None,
    typer.Option("--field", help="Field strength in T; several: patients are spread.", show_default=False),
]
Scanners = Annotated[
    list[str] | None,
    typer.Option("--scanner", help="Virtual scanner by name; several: patients are spread.", show_default=False),
]
Coils = Annotated[
    int | None, typer.Option("--coils", help="Receive coils; default: the scanner's.", show_default=False)
]
Lesions = Annotated[str, typer.Option("--lesions", help="random, none; brain also glioma, white_matter.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of all random streams.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", help="Processes; default: all cores. The files do not depend on it.", show_default=False),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", callback=named, help="Folder; default: named after the request.", show_default=False),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace another cohort that lies there.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be made, how large it is and how long it takes.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


@cohort_app.command()
def knee(
    patients: Patients = "480/60/100",
    slices: Slices = 8,
    matrix: Matrix = None,
    contrast: Contrasts = None,
    field: Fields = None,
    scanner: Scanners = None,
    coils: Coils = None,
    plane: Annotated[str, typer.Option("--plane", help="sagittal or coronal.")] = "sagittal",
    lesions: Lesions = "random",
    seed: Seed = 0,
    workers: Workers = None,
    out: Out = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Simulate knees with graded findings: fastMRI HDF5 and fastMRI+ tables. Without options: the default cohort."""
    from mrisim.cohort_protocol import choose_scanners, cohort_spec, split_sizes

    spec = cohort_spec(
        anatomy="knee",
        n_patients=split_sizes(patients),
        n_slices=slices,
        plane=plane,
        fov_mm=(140.0, 140.0) if plane == "coronal" else (118.0, 118.0),  # a knee is wider than it is deep
        contrasts=tuple(contrast or ("pd",)),
        scanners=choose_scanners(field or (), matrix=matrix, n_coils=coils, names=scanner or ()),
        lesions=lesions,
        seed=seed,
    )
    _make(spec, out, workers, overwrite, dry_run, as_json)


@cohort_app.command()
def brain(
    patients: Patients = "20",
    slices: Slices = 16,
    matrix: Matrix = 128,
    contrast: Contrasts = None,
    field: Fields = None,
    scanner: Scanners = None,
    coils: Coils = None,
    lesions: Lesions = "random",
    anatomy: Annotated[
        Path | None, typer.Option("--anatomy", help="T1-weighted NIfTI of a real head in place of the procedural one.")
    ] = None,
    seed: Seed = 0,
    workers: Workers = None,
    out: Out = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Simulate heads with lesions: fastMRI-brain HDF5, and NIfTI as in BraTS 2023. Default: all four contrasts."""
    from mrisim.cohort_protocol import ACQUISITIONS, choose_scanners, cohort_spec, split_sizes

    spec = cohort_spec(
        anatomy="brain",
        n_patients=split_sizes(patients),
        n_slices=slices,
        plane="axial",
        fov_mm=(240.0, 240.0),
        slice_thickness_mm=5.0,
        contrasts=tuple(contrast or ACQUISITIONS["brain"]),
        scanners=choose_scanners(field or (), matrix=matrix, n_coils=coils, names=scanner or ()),
        lesions=lesions,
        seed=seed,
        **(_real_head(anatomy) if anatomy else {}),
    )
    _make(spec, out, workers, overwrite, dry_run, as_json)


def _real_head(path: Path) -> dict[str, Any]:
    """Return what a spec says of a real head, once that has been read as one."""
    from mrisim.files import sha256_of_file
    from mrisim.phantoms.anatomy_file import anatomy_from_file

    anatomy_from_file(path)
    return {"template_sha256": sha256_of_file(path), "template": path.resolve()}


@cache_app.command()
def info(as_json: AsJson = False) -> None:
    """Say where the cache is and what it holds."""
    from mrisim.cohort_cache import cache_folder, cached_cohorts

    cohorts = cached_cohorts()
    lines = [f"cache {cache_folder()}: {len(cohorts)} cohorts, {sum(one.n_bytes for one in cohorts) / 1e6:.0f} MB"]
    for one in cohorts:
        state = "complete" if one.complete else "unfinished; the command that began it resumes"
        lines.append(f"{one.folder.name}: {one.n_bytes / 1e6:.0f} MB, {state}")
    record = [{"name": one.folder.name, "n_bytes": one.n_bytes, "complete": one.complete} for one in cohorts]
    _print({"folder": str(cache_folder()), "cohorts": record}, lines, as_json)


@cache_app.command()
def clear(as_json: AsJson = False) -> None:
    """Remove every cached cohort; it is made again, to the same bytes, when it is needed."""
    from mrisim.cohort_cache import cache_folder, clear_cache

    n_cohorts, n_bytes = clear_cache()
    text = (
        f"removed {n_cohorts} cohorts, {n_bytes / 1e6:.0f} MB"
        if n_cohorts
        else "the cache is empty; nothing was removed"
    )
    _print({"folder": str(cache_folder()), "n_cohorts": n_cohorts, "n_bytes": n_bytes}, [text], as_json)


def _make(
    spec: CohortSpec,
    out: Path | None,
    workers: int | None,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    from mrisim.cohort import make_cohort
    from mrisim.cohort_cache import cost_line, usable_cores

    folder = out or Path(f"mrisim-cohort-{spec.anatomy}-{spec.sha256[:8]}")
    n_workers = workers if workers is not None else usable_cores()
    line = cost_line(spec, n_workers, str(folder))
    if dry_run:
        size = spec.bytes_per_patient * spec.n_patients.total
        record = {"out": str(folder), "n_files": spec.n_files, "n_bytes": size, "seconds": spec.seconds(n_workers)}
        _print({**record, "spec": spec.model_dump(mode="json")}, [line], as_json)
        return
    typer.echo(line, err=True)
    signal.signal(signal.SIGTERM, _on_sigterm)
    with patient_progress() as tell:
        report = make_cohort(spec, folder, n_workers=n_workers, overwrite=overwrite, on_patient=tell)
    what = f"{report.n_made} patients made" if report.n_made else "nothing to do, the cohort is complete"
    there = report.n_patients - report.n_made
    resumed = f", {there} were there" if there and report.n_made else ""
    text = f"{what}{resumed}: {report.n_bytes / 1e6:.0f} MB in {folder}; described in {folder / 'dataset.json'}"
    _print(
        {"out": str(folder), "n_patients": report.n_patients, "n_made": report.n_made, "n_bytes": report.n_bytes},
        [text],
        as_json,
    )


@contextmanager
def patient_progress() -> Iterator[Callable[[int, int], None]]:
    """Give a function to be told (done, total): a bar on a terminal, elsewhere a line every tenth."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("patients", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return

    def tell(done: int, total: int) -> None:
        if done == total or done % max(total // 10, 1) == 0:
            typer.echo(f"{done}/{total} patients", err=True)

    yield tell


def _on_sigterm(_signal: int, _frame: Any) -> None:
    raise SystemExit(INTERRUPTED)


def _print(record: dict[str, Any], lines: list[str], as_json: bool) -> None:
    for line in [json.dumps(record)] if as_json else lines:
        typer.echo(line)
