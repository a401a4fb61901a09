"""Evaluate runs of reconstruction on many distributions: one frozen table of image quality, and all that is made of it.

Every method meets the same masks, targets and corruptions. Beside the runs stand zero-filling and, where it is asked
for, l1-wavelet tuned for each distribution. An evaluation that is killed goes on where it was, a part at a time.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from diagnose.cost_estimate import Cost, as_time
from diagnose.evaluation.released_artifacts import LEVELS
from diagnose.evaluation.request import EvaluationRequest
from diagnose.evaluation.runs import digest, open_output, record_of_runs, write_runs
from diagnose.reconstruction import classical
from diagnose.reconstruction.evaluation_results import EvaluationTables, result_lines, similarity_rows, write_tables
from diagnose.reconstruction.measuring import Bench, Corruption, Crop, Method, measured
from diagnose.reconstruction.paired_volumes import SliceStore
from diagnose.reconstruction.pathology import read_boxes
from diagnose.reconstruction.prediction import with_network, zero_filled
from diagnose.reconstruction.quality_table import CLEAN, ZERO_FILLED, QualityRow
from diagnose.reconstruction.trained_run import MeasuredData, ReconstructionRun, load_runs, measured_data
from diagnose.run_folder import DataLocation
from diagnose.slice_images import simulator_hash
from diagnose.torch_device import CPU, device_of, resolve_device
from diagnose.training.loop import Watch
from mrisim.errors import ConfigError, DataError
from mrisim.files import write_text
from mrisim.output_folder import discard

PARTS = "parts"
OWN_SAMPLING = "undersampling"


@dataclass(frozen=True)
class QualityRequest(EvaluationRequest):
    """What to measure: by default the clean test volumes of every distribution at hand."""

    test_on: tuple[str, ...] = ()
    every_epoch: bool = False
    """Measure the weights of every epoch too, on validation volumes."""

    def record(self) -> dict[str, Any]:
        """Return the request as JSON values."""
        return super().record() | {"test_on": list(self.test_on), "every_epoch": self.every_epoch}

    @property
    def corruptions(self) -> tuple[Corruption, ...]:
        """Every shift but the clean one. Lines are left out by the runs' own masks, not by an artifact."""
        return tuple(
            Corruption(shift.kind, shift.level, shift.seed)
            for shift in self.shifts
            if shift.kind not in (CLEAN, OWN_SAMPLING) and shift.reconstruction == "rss"
        )


@dataclass(frozen=True, eq=False)
class QualityEvaluation:
    """Where the tables lie, what they say, and what the user should know."""

    folder: Path
    tables: EvaluationTables
    notes: tuple[str, ...]

    @property
    def results(self) -> tuple[Any, ...]:
        """The summary of every cell."""
        return self.tables.cells

    @property
    def lines(self) -> list[str]:
        """The results as text."""
        return result_lines(self.tables)


def evaluate(
    runs: Sequence[Path], request: QualityRequest, out: Path | None = None, *, data: DataLocation | None = None,
    overwrite: bool = False, n_threads: int = 1, device: str = CPU, watch: Watch | None = None,
) -> QualityEvaluation:  # fmt: skip
    """Evaluate runs, and write the table of quality and its summaries; one that was interrupted goes on.

    Parameters
    ----------
    runs : sequence of Path
        Finished run folders of reconstruction with one kind of mask, trained on any distributions of one data set.
    request : QualityRequest
        Of its reconstructions, rss stands for the zero-filled image and l1-wavelet for the tuned baseline.
    out : Path, optional
        ``evaluations/<runs>__<hash>`` by default.
    data : DataLocation, optional
        Where the data lie now; by default where they lay when the first run was trained.
    overwrite : bool
        Replace another evaluation.
    n_threads : int
        Of torch.
    device : str
        Where networks predict: auto, cpu, cuda or cuda:N (`diagnose.torch_device`). Images are made on the CPU.
    watch : Watch, optional

    Raises
    ------
    DataError
        If a run is not finished, its data have changed, or a distribution has no volume to be measured on.
    ConfigError
        If the request asks for what reconstruction has not, masks differ, or `out` holds something else.
    """
    watch = watch or Watch()
    _check_request(request)
    models = load_runs(runs, resolve_device(device))
    found = measured_data(models, data, request.test_on)
    record = {"task": "reconstruction"} | request.record() | record_of_runs(models)
    folder = open_output(out, Path("evaluations"), record, overwrite, data=found.root)
    notes = (*found.notes, *_notes(request))
    write_runs(folder, [model.folder for model in models], notes)
    n_threads_before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        key = digest([record, str(device_of(models[0].network)), simulator_hash()])[:12]
        work = _Work(models, request, found, folder / PARTS, key)
        rows, crops = work.all_parts(watch)
        similarity = similarity_rows(models, found, work.bench, watch)
    finally:
        torch.set_num_threads(n_threads_before)
    tables = EvaluationTables.of(rows, crops, similarity, work.tunings, models)
    write_tables(folder, tables)
    shutil.rmtree(folder / PARTS)
    discard(folder)
    return QualityEvaluation(folder, tables, notes)


def estimate(
    runs: Sequence[Path], request: QualityRequest, *, data: DataLocation | None = None, n_threads: int = 1,
    device: str = CPU,
) -> Cost:  # fmt: skip
    """Return what an evaluation would take, from one volume; nothing is written. Errors as `evaluate`."""
    import time

    _check_request(request)
    models = load_runs(runs, resolve_device(device))
    found = measured_data(models, data, request.test_on)
    (name, volumes), *_ = found.parts["test"].items()
    bench = Bench(models[0].spec, SliceStore(volumes[:1]))
    started = time.perf_counter()
    for _ in range(2):  # the first reads the file and sets things up
        started = time.perf_counter()
        bench.measure([_method(model) for model in models], {name: volumes[:1]}, matched=False)
    seconds = time.perf_counter() - started
    n_test, n_val = (sum(map(len, found.parts[split].values())) for split in ("test", "val"))
    n_epochs = sum(model.n_epochs for model in models) / len(models) if request.every_epoch else 0
    n_shifts = 1 + len(request.corruptions)
    return Cost({
        "distributions": ", ".join(found.parts["test"]),
        "test": f"{n_test} volumes under {n_shifts} shifts",
        "runs": len(models),
        "time": f"about {as_time(seconds * (n_shifts * n_test + n_epochs * n_val))}, without corrupting and l1-wavelet",
        "notes": "; ".join((*found.notes, *_notes(request))) or "none",
    })  # fmt: skip


def _check_request(request: QualityRequest) -> None:
    """Refuse what only diagnosis has."""
    others = [adaptation.label for adaptation in request.adaptations if adaptation.name != "frozen"]
    if others or request.validation_shifts:
        what = others[0] if others else "shifted validation"
        raise ConfigError(f"{what} has no meaning for reconstruction; expected frozen networks and the test split")
    unknown = [name for name in request.reconstructions if name not in ("rss", classical.METHOD)]
    if unknown:
        raise ConfigError(f"--recon names {unknown[0]!r}; expected rss (zero-filled), {classical.METHOD} or both")
    of_images = [kind for kind in request.kinds if kind in LEVELS]
    if of_images:
        raise ConfigError(f"{of_images[0]} acts on images; expected kinds in k-space for reconstruction")


def _notes(request: QualityRequest) -> list[str]:
    notes = []
    if OWN_SAMPLING in request.kinds:
        notes.append(f"{OWN_SAMPLING} is left out: the runs' own masks undersample")
    if not request.corruptions:
        notes.append("no artifact above level 0 is asked for (--kind, --levels): clean volumes alone")
    return notes


def _method(model: ReconstructionRun) -> Method:
    return Method(model.name, model.description.epoch, with_network(model.network))


class _Work:
    """The parts of an evaluation; one that lies on the disk, of the same request and code, is read and not made."""

    def __init__(
        self, models: list[ReconstructionRun], request: QualityRequest, found: MeasuredData, folder: Path, key: str
    ):
        self.models, self.request, self.found, self.folder, self.key = models, request, found, folder, key
        everything = [paired for parts in found.parts.values() for part in parts.values() for paired in part]
        store = SliceStore(list({paired.volume.file: paired for paired in everything}.values()))
        self.bench = Bench(models[0].spec, store, read_boxes(found.root))
        self.tunings: dict[str, classical.Tuning] = {}

    def all_parts(self, watch: Watch) -> tuple[list[QualityRow], list[Crop]]:
        """Make or read every part."""
        rows, crops = list[QualityRow](), list[Crop]()
        for number, (name, make) in enumerate(self._wanted()):
            # the number: a run may have the name of another part, such as noise-2
            path = self.folder / f"{self.key}-{number:03d}-{name}.json"
            if not path.exists():
                watch.say(name)
                write_text(path, json.dumps(make()))
            content = _read_part(path)
            rows += [QualityRow(**row) for row in content["rows"]]
            crops += [Crop(**crop) for crop in content["crops"]]
            for distribution, (best, ssim) in content.get("tunings", {}).items():
                self.tunings[distribution] = classical.Tuning(best, {float(value): s for value, s in ssim.items()})
        return rows, crops

    def _wanted(self) -> Iterator[tuple[str, Any]]:
        yield "zero-filled", lambda: self._measured([Method(ZERO_FILLED, None, zero_filled)], CLEAN_SHIFT)
        if classical.METHOD in self.request.reconstructions:
            yield classical.METHOD, self._classical
        for model in self.models:
            yield model.name, lambda model=model: self._measured([_method(model)], CLEAN_SHIFT)
        everybody = [Method(ZERO_FILLED, None, zero_filled), *map(_method, self.models)]
        for shift in self.request.corruptions:
            yield f"{shift.kind}-{shift.level}", lambda shift=shift: self._measured(everybody, shift, matched=False)
        if self.request.every_epoch:
            for model in self.models:
                yield f"{model.name}-epochs", lambda model=model: self._epochs(model)

    def _measured(self, methods: list[Method], shift: Corruption, *, matched: bool = True) -> dict[str, Any]:
        rows, crops = self.bench.measure(methods, self.found.parts["test"], shift, matched=matched)
        return _as_json(rows, crops)

    def _epochs(self, model: ReconstructionRun) -> dict[str, Any]:
        """Measure the weights of every epoch on validation volumes."""
        rows = []
        for epoch in range(model.n_epochs):
            method = Method(model.name, epoch, with_network(model.of_epoch(epoch)))
            rows += self.bench.measure([method], self.found.parts["val"], matched=False)[0]
        return _as_json(rows, [])

    def _classical(self) -> dict[str, Any]:
        """Tune l1-wavelet on the validation volumes of each distribution; measure it on test with what was best."""
        rows, crops, tunings = list[QualityRow](), list[Crop](), {}
        bench = self.bench

        def mask_of(paired: Any) -> Any:
            return bench.mask(paired).numpy()

        for name, volumes in self.found.parts["test"].items():
            tuning = classical.tune(self.found.parts["val"][name], mask_of, bench.target)
            tunings[name] = (tuning.regularisation, tuning.ssim)
            method = Method(classical.METHOD, None, zero_filled)  # only its name is used
            for paired in volumes:
                (images,) = classical.l1_wavelet(paired, mask_of(paired), [tuning.regularisation])
                targets = bench.target(paired)
                rows += measured(paired, images, targets, method, name, CLEAN_SHIFT, matched=True)
                crops += bench.crops(paired, images, targets, classical.METHOD, name)
        return _as_json(rows, crops) | {"tunings": tunings}


CLEAN_SHIFT = Corruption()


def _as_json(rows: list[QualityRow], crops: list[Crop]) -> dict[str, Any]:
    return {"rows": [asdict(row) for row in rows], "crops": [asdict(crop) for crop in crops]}


def _read_part(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content
    except ValueError:
        raise DataError(f"{path.name} cannot be read; expected a part of an evaluation: remove it") from None
