"""`mrisim data list|describe|verify|lock|split`: what is known of the data sets, and whether a copy of one is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mrisim.files import make_folder, named, refuse_existing

data_app = typer.Typer(
    help="Data sets that users bring: what is known, is a copy whole, who is in which split.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="Name in the catalogue, or a YAML file of your own.")]
Root = Annotated[
    Path | None,
    typer.Option("--root", help="Folder of the data; default: the variable MRISIM_DATA_<NAME>.", show_default=False),
]
OutFile = Annotated[Path, typer.Option("--out", callback=named, help="File to write, outside the data folder.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Threads.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file that is there.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
N_SHOWN = 20


@data_app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the data sets of the catalogue."""
    from mrisim.datasets.catalogue import list_datasets

    manifests = list_datasets()
    records = [
        {"name": one.name, "anatomy": one.anatomy, "access": one.access, "title": one.title} for one in manifests
    ]
    width = max(len(one.name) for one in manifests)
    _print({"datasets": records}, [f"{one.name:{width}}  {one.access:12}  {one.title}" for one in manifests], as_json)


@data_app.command()
def describe(name: Name, as_json: AsJson = False) -> None:
    """Say what is known of a data set: terms, layout, traps, and what nobody here has seen."""
    from dataclasses import asdict

    from mrisim.datasets.catalogue import describe_dataset, load_manifest

    found = describe_dataset(load_manifest(name))
    manifest = found.manifest
    lines = [
        f"{manifest.name}: {manifest.title}",
        f"version {manifest.version or 'not stated'}; {manifest.anatomy}; k-space {manifest.kspace.origin}",
        f"cite: {manifest.citation.text}" + (f" ({manifest.citation.doi})" if manifest.citation.doi else ""),
        f"licence: {manifest.license or 'not known'}; access: {manifest.access}",
        *(f"  {number}. {step}" for number, step in enumerate(manifest.access_steps, start=1)),
        *(f"use: {text}" for text in manifest.usage_info),
        f"room: {manifest.disk or 'not known'}",
        *(f"files: {one.glob} ({one.format}{', ' + one.split if one.split else ''})" for one in manifest.layouts),
        *(
            f"trap ({one.action}): {one.reason}" + (f" [{one.reference}]" if one.reference else "")
            for one in manifest.known_issues
        ),
        *(f"known bad: {bad.file}: {bad.reason} [{bad.thread}]" for bad in found.known_bad),
        *(f"note: {note}" for note in manifest.notes),
        f"not known here: {', '.join(found.unknown) or 'nothing'}",
        f"root: --root, or the variable {found.environment_variable}",
    ]
    record = {
        **manifest.model_dump(mode="json"),
        "unknown": found.unknown,
        "known_bad": [asdict(bad) for bad in found.known_bad],
        "environment_variable": found.environment_variable,
    }
    _print(record, lines, as_json)


@data_app.command()
def verify(
    name: Name,
    root: Root = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every value; with --lock, hash every file.")] = False,
    lock: Annotated[Path | None, typer.Option("--lock", help="Compare with a lock.", show_default=False)] = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Missing files are warnings, not errors.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Open every file and compare it with the manifest: keys, axes, types, patients, counts. Errors: exit code 4."""
    from dataclasses import asdict

    from mrisim.datasets.catalogue import dataset_root, load_manifest
    from mrisim.datasets.lock import read_lock
    from mrisim.datasets.verify import verify_dataset
    from mrisim.errors import DataError

    manifest = load_manifest(name)
    known = read_lock(lock, manifest) if lock else None
    report = verify_dataset(manifest, dataset_root(manifest, root), deep=deep, allow_partial=allow_partial, lock=known)
    lines = [
        f"{count.split}: {count.n_files} files, {_or_unknown(count.n_patients)} patients, "
        f"{_or_unknown(count.n_slices)} slices"
        for count in report.counts
    ]
    shown = sorted(report.findings, key=lambda finding: finding.severity)
    lines += [f"{one.severity}: {one.file + ' ' if one.file else ''}{one.message}" for one in shown[:N_SHOWN]]
    if len(shown) > N_SHOWN:
        lines.append(f"... and {len(shown) - N_SHOWN} more (--json shows all)")
    lines += [f"left out, a known issue: {path}" for path in report.skipped[:N_SHOWN]]
    _print({**asdict(report), "ok": report.ok}, lines, as_json)
    if not report.ok:
        n_errors = sum(finding.severity == "error" for finding in report.findings)
        raise DataError(f"{manifest.name} is not as its manifest says: {n_errors} errors")
    if not as_json:
        but = f", but for the {len(shown)} warnings above" if shown else ""
        typer.echo(f"{manifest.name} is as its manifest{' and its lock' if known else ''} says{but}")


@data_app.command()
def lock(
    name: Name,
    out: OutFile,
    root: Root = None,
    workers: Workers = 1,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Record path, size, SHA-256, shape and patient of every file, so that a later run can tell what changed."""
    from mrisim.datasets.catalogue import dataset_root, load_manifest
    from mrisim.datasets.lock import make_lock, refuse_inside, write_lock

    manifest = load_manifest(name)
    folder = dataset_root(manifest, root)
    refuse_inside(out, folder)  # before hours of hashing, as the next lines
    refuse_existing([out], overwrite=overwrite)
    make_folder(out.absolute().parent)
    made = make_lock(manifest, folder, n_workers=workers)
    write_lock(made, out, root=folder)
    size = sum(file.size_bytes for file in made.files)
    record = {"dataset": manifest.name, "out": out.name, "n_files": len(made.files), "n_bytes": size}
    _print(record, [f"locked {len(made.files)} files, {size / 1e6:.0f} MB, in {out.name}"], as_json)


@data_app.command()
def split(
    name: Name,
    out: OutFile,
    root: Root = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the split.")] = 0,
    keep_distributor: Annotated[
        bool, typer.Option("--keep-distributor", help="Take the distributor's folders.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Split by patient: every file of a patient in one of train, val, test, the same on every machine."""
    from mrisim.datasets.catalogue import dataset_root, load_manifest
    from mrisim.datasets.lock import refuse_inside
    from mrisim.datasets.patient_split import split_dataset, write_split

    manifest = load_manifest(name)
    folder = dataset_root(manifest, root)
    refuse_inside(out, folder)
    refuse_existing([out], overwrite=overwrite)
    made = split_dataset(manifest, folder, seed=seed, keep_distributor=keep_distributor)
    write_split(made, out, root=folder)
    for warning in made.warnings:
        typer.echo(f"warning: {warning}", err=True)
    sizes = ", ".join(f"{number} {name}" for name, number in made.n_patients.items())
    record: dict[str, Any] = {"dataset": manifest.name, "out": out.name, "n_patients": made.n_patients}
    record |= {"n_files": len(made.rows), "sha256": made.sha256, "warnings": made.warnings}
    _print(record, [f"{len(made.rows)} files of {sizes} patients in {out.name} (SHA-256 {made.sha256[:12]})"], as_json)


def _or_unknown(number: int | None) -> str:
    return "?" if number is None else str(number)


def _print(record: dict[str, Any], lines: list[str], as_json: bool) -> None:
    for line in [json.dumps(record)] if as_json else lines:
        typer.echo(line)
