"""Make a corrupted scan again from its sidecar, and tell how equal it is."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrisim import formats, sidecar
from mrisim.corrupt import apply
from mrisim.errors import DataError
from mrisim.items import Item, digest_of, load, usable_slices
from mrisim.job import Job, sidecar_path, write_item
from mrisim.sidecar import sha256_of_array

TOLERANCE = 1e-5
"""Largest relative difference of the k-space that still counts as the same scan on another machine."""


@dataclass(frozen=True)
class Outcome:
    """How the rebuilt k-space compares with the recorded one."""

    bit_exact: bool
    relative_difference: float | None
    """To the reconstruction written by the recorded run; None where it is not there to compare with."""
    other_versions: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def within_tolerance(self) -> bool:
        """Whether the replay may be called the same scan."""
        return self.bit_exact or (self.relative_difference is not None and self.relative_difference <= TOLERANCE)

    def record(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        return {**asdict(self), "within_tolerance": self.within_tolerance}

    def lines(self) -> list[str]:
        """Return the outcome as text."""
        if self.bit_exact:
            text = ["the replay equals the recorded scan bit for bit"]
        elif self.relative_difference is None:
            text = ["the replay is not bit-exact, and the recorded output is not beside the sidecar to compare with"]
        else:
            verdict = "within" if self.within_tolerance else "NOT within"
            text = [
                f"the replay is not bit-exact: it differs by {self.relative_difference:.2g}, {verdict} {TOLERANCE:g}"
            ]
        if self.other_versions:
            text.append(f"recorded with other versions: {', '.join(self.other_versions)}")
        return text + [f"wrote {name}" for name in self.outputs]


def replay(path: Path, source: Path | None, out: Path, *, device: str) -> Outcome:
    """Rebuild the output of a sidecar in a folder of its own.

    Parameters
    ----------
    path : Path
        The sidecar.
    source : Path or None
        The clean input; None looks for it by name beside the sidecar, above it, and in the current folder.
    out : Path
        Folder for the rebuilt output; must not exist.
    device : str

    Raises
    ------
    DataError
        If the sidecar or the clean input is not found, or the input is not the recorded one.
    """
    record = sidecar.load(path)
    recorded = record["Input"]
    if out.exists():
        raise DataError(f"the output {out.name} exists; expected a name that is free")
    item = Item(recorded["ItemId"], _find_input(path, recorded, source), recorded["FileName"])
    scan, origin = load(item, record["Seed"])
    if origin.sha256 != recorded["SHA256"]:
        raise DataError(_another(origin.file_name or "the embedded default", origin.sha256, recorded["SHA256"]))
    job = Job(requests=(), seed=record["Seed"], reconstruction=record["Reconstruction"]["Name"], device=device)
    usable = scan.select(usable_slices(scan)[0])
    position = {slice_id: index for index, slice_id in enumerate(usable.slice_ids)}
    chosen = [position[slice_id] for slice_id in record["Slices"]]
    result = apply(usable, sidecar.read_realisations(record), slices=chosen, device=device)
    clean = usable.select(chosen)
    images = job.images(clean, result.scan)
    outputs = write_item(out, item, record["Label"], clean, result.scan, images)
    sidecar.save(sidecar_path(out, item, record["Label"]), {**record, "Reconstruction": images.record})
    here = sidecar.environment()
    return Outcome(
        bit_exact=sha256_of_array(result.scan.kspace) == record["KspaceSHA256"],
        relative_difference=_difference(path, record, result.scan.kspace),
        other_versions=tuple(f"{name} {old}" for name, old in record["Environment"].items() if here.get(name) != old),
        outputs=tuple(str(output) for output in outputs),
    )


def _find_input(path: Path, recorded: dict[str, Any], source: Path | None) -> Path | None:
    """Return the file of the recorded name and content: the corrupted one beside the sidecar has its name, too."""
    name = recorded["FileName"]
    if not name:
        return None
    if source is not None:
        found = [source] if source.is_dir() else formats.input_files(source)
    else:
        folders = [path.parent, *path.absolute().parents, Path.cwd()]
        found = [folder / name for folder in folders if (folder / name).exists()]
    if not found:
        raise DataError(f"the clean input {name} was not found; give it with --input")
    digests = (digest_of(candidate) for candidate in found)
    for candidate, digest in zip(found, digests, strict=True):
        if digest == recorded["SHA256"]:
            return candidate
    raise DataError(_another(name, digest, recorded["SHA256"]) + "; give it with --input" * (source is None))


def _another(name: str, digest: str, expected: str) -> str:
    return f"{name} is not the recorded input: SHA-256 is {digest[:12]}..., expected {expected[:12]}..."


def _difference(path: Path, record: dict[str, Any], kspace: np.ndarray) -> float | None:
    """Compare with the recorded scan where it lies beside the sidecar and holds k-space."""
    for candidate in path.parent.glob(f"{path.stem}.*"):
        try:
            recorded = formats.read(candidate).kspace
        except DataError:
            continue
        if recorded.shape == kspace.shape:
            return float(np.linalg.norm(recorded - kspace) / np.linalg.norm(recorded))
    return None
