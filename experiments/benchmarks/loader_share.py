"""What share of a training step goes into corruption on the fly: `diagnose train --train-shift random` against clean.

    python experiments/benchmarks/loader_share.py [--quick]

Network and images of experiments/normalization/laptop.yaml (width 16, stem stride 2, batch 32, 96 x 96, 4 coils),
one thread, 64 patients. A run of three epochs is timed by the calls that a caller of `fit` gets: an epoch counts from
the end of the one before to its last step, so that corruption counts wherever it is done, and validation does not. The
first epoch warms up, and reads the files: as far as they fit (`diagnose.clean_scans`), they are kept from then on. The
third row is the corruption of one epoch alone, after the first: if the clean step and it add up to the step with
corruption, nothing is done at the same time.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from comparison import Benchmark, Contender, command_line, measured, save

from diagnose.clean_scans import CleanScans
from diagnose.dataset import load_slice_table
from diagnose.run_folder import DataLocation, recall_execution
from diagnose.slice_images import Shift, image_store, split_images
from diagnose.testing import SMALL, write_cohort
from diagnose.train import fit
from diagnose.training.loop import Watch
from diagnose.training.sampling import epoch_order, shifted_epoch
from diagnose.training.spec import TrainSpec
from mrisim.cohort import make_cohort
from mrisim.cohort_protocol import SplitSizes, cohort_spec

TITLE = "corruption on the fly; PreActResNet-18, width 16, stem stride 2, batch 32, 96 x 96"
CLEAN, SHIFTED, ALONE = "clean", "train shift random", "corruption of an epoch, alone"
N_EPOCHS = 3
N_REPETITIONS = 3
TARGET = 0.10
"""The largest share of a clean step that corruption may cost."""


@dataclass
class StepClock:
    """Hears what a run tells its caller, and notes the seconds per step of every epoch but the first."""

    seconds_per_step: list[float] = field(default_factory=list)
    _begun: float = 0.0
    _stepped: float = 0.0
    _n_steps: int = 0
    _n_epochs: int = 0

    def said(self, text: str) -> None:
        """Take the line at the end of an epoch."""
        if not text.startswith("epoch "):
            return
        if self._n_epochs:
            self.seconds_per_step.append((self._stepped - self._begun) / self._n_steps)
        self._n_epochs, self._n_steps, self._begun = self._n_epochs + 1, 0, time.perf_counter()

    def step_done(self, *_progress: float) -> None:
        """Note the end of a step."""
        self._n_steps, self._stepped = self._n_steps + 1, time.perf_counter()

    @property
    def watch(self) -> Watch:
        """What the run is given."""
        return Watch(say=self.said, batch=self.step_done)


def train(spec: TrainSpec, location: DataLocation, folder: Path) -> list[float]:
    """Train once, anew; return the seconds per step of each epoch but the first."""
    clock = StepClock()
    fit(spec, location, folder, overwrite=True, watch=clock.watch)
    return clock.seconds_per_step


def corrupt_epoch(spec: TrainSpec, location: DataLocation, path: Path, scans: CleanScans) -> None:
    """Make the corrupted images of one epoch, as a run does that has kept its scans in the epochs before."""
    table = load_slice_table(spec.data_request(location.root)).of_split("train")
    store = image_store(spec.crop, scans=scans)
    clean = split_images(table, Shift(), store)
    order = epoch_order(table.labels, seed=spec.seed, epoch=1)
    shifted_epoch(path, table, clean, order, store, draw=("random", spec.corruption_seed, 1))


def material(folder: Path, quick: bool) -> tuple[TrainSpec, DataLocation, int]:
    """Make the cohort, and choose this machine's formats once for all runs; return them and the slices of an epoch."""
    if quick:
        write_cohort(folder / "cohort")
        spec = TrainSpec(**{**SMALL, "epochs": N_EPOCHS})
    else:
        patients = SplitSizes(train=64, val=16, test=16)
        make_cohort(cohort_spec(anatomy="knee", n_patients=patients), folder / "cohort", n_workers=2)
        spec = TrainSpec(norm="bn", width=16, stem_stride=2, epochs=N_EPOCHS)
    location = DataLocation(folder / "cohort")
    fit(spec.model_copy(update={"epochs": 1}), location, folder / "probe")
    chosen = recall_execution(folder / "probe")
    assert chosen is not None
    formats = {"precision": chosen.precision, "memory_format": chosen.memory_format}
    n_slices = len(load_slice_table(spec.data_request(location.root)).of_split("train").labels)
    return spec.model_copy(update=formats), location, n_slices


def noted(run: Callable[[], list[float]], into: list[list[float]]) -> None:
    """Run, and keep what comes of it."""
    into.append(run())


def main() -> None:
    """Measure, compare steps, and write."""
    options = command_line(TITLE, N_REPETITIONS)
    steps: dict[str, list[list[float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="loader-") as name:
        folder = Path(name)
        os.environ["MRISIM_CACHE"] = str(folder / "cache")
        spec, location, n_slices = material(folder, options.quick)
        shifted = spec.model_copy(update={"train_shift": "random"})
        contenders = [
            Contender(CLEAN, partial(noted, partial(train, spec, location, folder / "clean"), steps[CLEAN])),
            Contender(SHIFTED, partial(noted, partial(train, shifted, location, folder / "shifted"), steps[SHIFTED])),
            Contender(
                ALONE, partial(corrupt_epoch, shifted, location, folder / "alone.npy", CleanScans()), "no step is taken"
            ),
        ]
        record = measured(TITLE, Benchmark(contenders), options)
    alone = next(row["wall_s"] for row in record["rows"] if row["contender"] == ALONE)
    record["steps"] = compared(steps[CLEAN], steps[SHIFTED], alone / -(-n_slices // spec.batch))
    record["formats"] = [spec.precision, spec.memory_format]
    for what, value in record["steps"].items():
        print(f"{what}: {value:.4g}")
    if not options.quick:
        print(f"target: at most {TARGET:g}: {'met' if record['steps']['share'] <= TARGET else 'NOT met'}")
    save(record, options.out)


def compared(clean: list[list[float]], shifted: list[list[float]], alone_s: float) -> dict[str, float]:
    """Return the cost of corruption as a share of the clean step.

    Parameters
    ----------
    clean, shifted : list of list of float
        Seconds per step by run and epoch; the runs were alternated, and the share is the median over pairs.
    alone_s : float
        Seconds of corruption per step where nothing else is done.
    """
    medians = [[statistics.median(run) for run in runs] for runs in (clean, shifted)]
    shares = [with_it / without - 1 for without, with_it in zip(*medians, strict=True)]
    step, corrupted = (statistics.median(values) for values in medians)
    return {
        "clean_step_ms": 1e3 * step,
        "shifted_step_ms": 1e3 * corrupted,
        "corruption_alone_ms": 1e3 * alone_s,
        "share": statistics.median(shares),
        "share_if_nothing_overlaps": alone_s / step,
    }


if __name__ == "__main__":
    main()
