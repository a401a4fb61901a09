"""One job on one item: corrupt, reconstruct, measure, write."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mrisim import __version__, formats, preview, sidecar
from mrisim.corrupt import Corrupted, Request, corrupt
from mrisim.errors import DataError, MrisimError
from mrisim.formats import bids
from mrisim.fourier import release_memory
from mrisim.items import Item, digest_of, fingerprint_of, load, usable_slices
from mrisim.out_of_memory import memory_errors_named
from mrisim.quality import foreground_mask, nrmse, psnr, ssim
from mrisim.reconstruct import crop_to_recon, reconstruct
from mrisim.scan import Scan
from mrisim.sidecar import sha256_of_array


@dataclass(frozen=True)
class Images:
    """One reconstruction of the clean and of the corrupted scan."""

    name: str
    before: np.ndarray
    after: np.ndarray
    """(slice, rows, columns), float32 magnitude, cropped."""
    record: dict[str, Any]
    """What the sidecar says of the reconstruction."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """What to do with every item: all that the result depends on, but for the items themselves."""

    requests: tuple[Request, ...]
    seed: int = 0
    reconstruction: str = "rss"
    device: str = "cpu"
    slices: str = ""
    """Python slice "A:B"; empty = all."""

    def record(self) -> dict[str, Any]:
        """Return the job as JSON values; two jobs with equal records give equal output."""
        return json.loads(json.dumps({"version": __version__, **asdict(self)}))

    @property
    def label(self) -> str:
        """Short name for folders and for the BIDS `desc-` entity, letters and digits only: motionL3seed0."""
        kinds = "".join(f"{request.kind.replace('-', '')}L{request.level}" for request in self.requests)
        return f"{kinds}seed{self.seed}"

    def corrupt(self, scan: Scan, item_id: str, slices: Sequence[int] | None = None, n_threads: int = 1) -> Corrupted:
        """Corrupt a scan as this job asks for."""
        specs = [request.spec(scan.n_coils) for request in self.requests]
        return corrupt(
            scan, specs, seed=self.seed, item_id=item_id, slices=slices, device=self.device, n_threads=n_threads
        )

    def images(self, clean: Scan, corrupted: Scan) -> Images:
        """Reconstruct both scans as this job asks for, cropped to what the scanner would show."""
        before, after = (reconstruct(scan, self.reconstruction, device=self.device) for scan in (clean, corrupted))
        magnitudes = [crop_to_recon(result.magnitude, clean.acquisition) for result in (before, after)]
        record = {
            "Name": after.name,
            "Parameters": after.parameters,
            "RelativeError": list(after.relative_error),
            "SHA256": sha256_of_array(magnitudes[1]),
        }
        return Images(after.name, magnitudes[0], magnitudes[1], record, after.notes)


@dataclass(frozen=True)
class Report:
    """What became of one item."""

    item_id: str
    outputs: tuple[str, ...] = ()
    quality: dict[str, Any] = field(default_factory=dict)
    realised: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    exit_code: int = 0
    seconds: float = 0.0
    resumed: bool = False

    def record(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)

    def lines(self, job: Job) -> list[str]:
        """Return the report in a few lines."""
        if self.resumed:
            return [f"{self.item_id}: done by an earlier run"]
        lines = [
            f"{self.item_id}: "
            + ("; ".join(self.realised) or "no effect was asked for (level 0): the input, unchanged")
        ]
        if self.quality:
            lines.append(
                f"  {job.reconstruction} against the clean scan: NRMSE {_number(self.quality['NRMSE'])} "
                f"(foreground {_number(self.quality['NRMSEForeground'])}), SSIM {_number(self.quality['SSIM'])}"
            )
        lines += [f"  note: {note}" for note in self.notes]
        return lines + [f"  {name}" for name in self.outputs] + [f"  {self.seconds:.1f} s"]


def process(item: Item, job: Job, out: Path, *, n_threads: int = 1) -> Report:
    """Corrupt, reconstruct and write one item; its sidecar comes last and marks it as done.

    Parameters
    ----------
    item : Item
    job : Job
    out : Path
        Output folder.
    n_threads : int
        Slices at a time.

    Returns
    -------
    Report
        With `failures` where slices had to be left out.

    Raises
    ------
    MrisimError
        If the item cannot be read, corrupted or written.
    """
    started = time.perf_counter()
    done = sidecar_path(out, item, job.label)
    if done.exists():
        return _report_again(item, done, out)
    scan, source = load(item, job.seed)
    good, broken = usable_slices(scan)
    usable = scan.select(good) if broken else scan
    chosen = chosen_slices(job.slices, scan, usable)
    result = job.corrupt(usable, item.item_id, chosen, n_threads)
    clean = usable if len(chosen) == usable.n_slices else usable.select(chosen)
    images = job.images(clean, result.scan)
    quality = measure_quality(images.after, images.before)
    record = sidecar.describe(
        source, clean, result, seed=job.seed, label=job.label, reconstruction=images.record, quality=quality,
        left_out=broken,
    )  # fmt: skip
    if source.file_format == "nifti" and item.path is not None:
        record = bids.as_derivative(record, bids.scan_sidecar(item.path))
    outputs = write_item(out, item, job.label, clean, result.scan, images)
    sidecar.save(done, record)
    return Report(
        item_id=item.item_id,
        outputs=tuple(path.relative_to(out).as_posix() for path in (*outputs, done)),
        quality=quality,
        realised=tuple(_phrase(realisation.spec) for realisation in result.realisations),
        notes=(*scan.acquisition.notes, *result.notes, *images.notes),
        failures=_left_out(broken),
        seconds=time.perf_counter() - started,
    )


def _report_again(item: Item, done: Path, out: Path) -> Report:
    """Report what an earlier run made of an item.

    Raises
    ------
    DataError
        If it was made of another file of that name.
    """
    record = sidecar.load(done)
    if item.path is not None and not _is_of(item.path, record["Input"]):
        raise DataError(
            f"{done.name} in {out.name} was made of another {item.file_name}; expected another --out, or --overwrite"
        )
    return Report(
        item_id=item.item_id,
        outputs=(done.relative_to(out).as_posix(),),
        quality=record["QualityMetrics"],
        failures=_left_out(record.get("LeftOut", [])),
        resumed=True,
    )


def _is_of(path: Path, recorded: dict[str, Any]) -> bool:
    if recorded.get("Fingerprint"):
        return bool(recorded["Fingerprint"] == fingerprint_of(path))
    return bool(recorded["SHA256"] == digest_of(path))  # a sidecar of an earlier version


def _left_out(slice_ids: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"slice {slice_id} holds NaN, Inf or only zeros; left out" for slice_id in slice_ids)


def attempt(item: Item, job: Job, out: Path, *, n_threads: int = 1) -> Report:
    """Process one item as `process` does; an error that a user can cause, or too little memory, becomes a report."""
    try:
        with memory_errors_named():
            return process(item, job, out, n_threads=n_threads)
    except MrisimError as error:
        return Report(item.item_id, failures=(str(error),), exit_code=error.exit_code)
    finally:
        release_memory(job.device)


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


def measure_quality(image: np.ndarray, clean: np.ndarray) -> dict[str, Any]:
    """Return the error of images (slice, rows, columns) against the clean ones, whole and over the foreground."""
    values = {
        "NRMSE": nrmse(image, clean),
        "NRMSEForeground": nrmse(image, clean, foreground_mask(clean)),
        "PSNRdB": psnr(image, clean),
        "SSIM": ssim(image, clean),
    }
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def write_item(out: Path, item: Item, label: str, clean: Scan, corrupted: Scan, images: Images) -> list[Path]:
    """Write the scan in the layout of its input, the reconstruction in it, and a preview; return their paths."""
    stem = output_stem(out, item, label)
    layout = "fastmri" if item.path is None else item.file_format
    folder = item.path is not None and item.path.is_dir()
    main = stem if folder else stem.with_name(stem.name + formats.OUTPUT_SUFFIX[layout])
    formats.write(
        main,
        corrupted,
        images.after,
        source=item.path,
        layout=layout,
        source_layout=layout,
        reconstruction_name=images.name,
        clean_reconstruction=images.before,
        description=f"simulated MR artifacts: {label}",
    )
    picture = stem.with_name(stem.name + formats.PREVIEW)
    middle = corrupted.n_slices // 2
    preview.save_comparison(picture, images.before[middle], images.after[middle], label, corrupted.voxel_mm)
    return [main, picture]


def sidecar_path(out: Path, item: Item, label: str) -> Path:
    """Return the path of an item's sidecar, which is there once the item is done."""
    stem = output_stem(out, item, label)
    return stem.with_name(stem.name + ".json")


def output_stem(out: Path, item: Item, label: str) -> Path:
    """Return the path of an item's outputs without ending; NIfTI follows the naming of BIDS derivatives."""
    stem = out / item.item_id
    if item.file_format == "nifti":
        return stem.with_name(bids.derivative_name(stem.name, label).removesuffix(".nii.gz"))
    return stem


def chosen_slices(slices: str, scan: Scan, usable: Scan) -> list[int]:
    """Return the positions, among the usable slices, of those that "A:B" names in the file.

    Raises
    ------
    DataError
        If it names none.
    """
    start, stop = (int(part) if part else None for part in (slices or ":").split(":"))
    wanted = set(np.array(scan.slice_ids)[start:stop].tolist())
    chosen = [position for position, slice_id in enumerate(usable.slice_ids) if slice_id in wanted]
    if not chosen:
        raise DataError(f"--slices {slices} names no usable slice; the file has {scan.n_slices}")
    return chosen


def _phrase(spec: Any) -> str:
    _, severity = spec.ladder(spec.model_dump())
    level = f" level {spec.level}" if spec.level is not None else ""
    return f"{spec.kind}{level}: {severity} {getattr(spec, severity):g}"
