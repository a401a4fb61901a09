"""Trained runs of reconstruction as predictors, and the distributions of their data set that they are measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from diagnose.checkpoint import check_architecture, epoch_folder, load_network
from diagnose.reconstruction.architectures import ReconstructionModel
from diagnose.reconstruction.classical import METHODS
from diagnose.reconstruction.data_selection import AttributedVolume
from diagnose.reconstruction.distributions import DISTRIBUTIONS
from diagnose.reconstruction.paired_volumes import PairedVolume, check_masks
from diagnose.reconstruction.request import ReconstructionSpec
from diagnose.reconstruction.training_data import attributed_files, data_of, in_split, of_distribution, paired_by_file
from diagnose.run_folder import DONE, DataLocation, kept_split, read_location, read_lock, read_spec
from diagnose.torch_device import CPU, device_of
from mrisim.errors import ConfigError, DataError

MEASURED_SPLITS = ("val", "test")


@dataclass(frozen=True, eq=False)
class ReconstructionRun:
    """A finished run: its best network and all that its images depend on."""

    name: str
    network: nn.Module
    description: ReconstructionModel
    spec: ReconstructionSpec
    folder: Path

    @classmethod
    def load(cls, run: Path, device: str = CPU) -> ReconstructionRun:
        """Read a run folder; the network goes to a device that is known to work.

        Raises
        ------
        DataError
            If it is no finished run of reconstruction, or its weights are refused.
        """
        spec = read_spec(run, ReconstructionSpec)
        if not (run / DONE).exists():
            raise DataError(f"{run.name} is not finished; run the same `diagnose train` command again")
        network, description = load_network(run, ReconstructionModel)
        check_architecture(run.resolve().name, description, spec)
        return cls(run.resolve().name, network.to(device), description, spec, run)

    @property
    def n_epochs(self) -> int:
        """How many it was trained, an early stop counted."""
        return len((self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())

    def of_epoch(self, epoch: int) -> nn.Module:
        """Return the network as it was after an epoch (0-based), on the device of the best."""
        network: nn.Module = load_network(epoch_folder(self.folder, epoch), ReconstructionModel)[0]
        return network.to(device_of(self.network))


def load_runs(runs: Sequence[Path], device: str = CPU) -> list[ReconstructionRun]:
    """Read finished run folders of different names that reconstruct from the same masks; the networks go to a device.

    Raises
    ------
    DataError
        If one is no finished run of reconstruction.
    ConfigError
        If two have one name, one has that of a method, or masks differ.
    """
    models = [ReconstructionRun.load(run, device) for run in runs]
    if len({model.name for model in models}) < len(models):
        raise ConfigError("two runs have one name; expected different ones, because rows go by it")
    taken = [model.name for model in models if model.name in METHODS]
    if taken:
        raise ConfigError(f"a run has the name {taken[0]}, that of a method; expected another, because rows go by it")
    masks = {(model.spec.acceleration, model.spec.mask, model.spec.mask_seed) for model in models}
    if len(masks) > 1:
        shown = " and ".join(f"{mask} {acceleration} (seed {seed})" for acceleration, mask, seed in sorted(masks))
        raise ConfigError(f"the runs have masks {shown}; expected one kind of mask in an evaluation")
    return models


@dataclass(frozen=True, eq=False)
class MeasuredData:
    """What runs are measured on, and were trained on."""

    parts: Mapping[str, Mapping[str, tuple[PairedVolume, ...]]]
    """Split (val, test) -> distribution -> volumes."""
    trained_on: Mapping[str, tuple[PairedVolume, ...]]
    """Run -> its training volumes."""
    root: Path
    notes: tuple[str, ...]


def measured_data(
    models: Sequence[ReconstructionRun], data: DataLocation | None, test_on: Sequence[str] = ()
) -> MeasuredData:
    """Find the distributions to measure on, after checking that each run was trained on the data found now.

    Parameters
    ----------
    models : sequence of ReconstructionRun
    data : DataLocation, optional
        Where the data lie now; by default where they lay when the first run was trained.
    test_on : sequence of str
        Distributions; by default those that the runs were trained on, and the named ones that the data set has.

    Raises
    ------
    DataError
        If a run was trained on other data, or a distribution has no volume to be measured on.
    ConfigError
        If there is no such distribution, or there are labels beside the data.
    """
    if data is not None and data.labels is not None:
        raise ConfigError("reconstruction is judged by the images of the data alone; expected no --labels")
    location = data or read_location(models[0].folder)
    files, notes = attributed_files(location.root, kept_split(models[0].folder), models[0].spec.split_seed)
    known: dict[str, PairedVolume] = {}
    trained_on = {}
    for model in models:
        found = data_of(model.spec, files, notes, known)
        if read_lock(model.folder) != found.lock:
            raise DataError(
                f"{model.name} was trained on other data or another split than those found now; expected the same "
                "files with their sizes and norms"
            )
        trained_on[model.name] = found.volumes("train")
    names = tuple(dict.fromkeys(test_on)) or _at_hand(models, files)
    parts: dict[str, dict[str, tuple[PairedVolume, ...]]] = {split: {} for split in MEASURED_SPLITS}
    for name in names:
        here = of_distribution(files, name)
        for split in MEASURED_SPLITS:
            inside = in_split(here, split, name)
            paired = paired_by_file(inside, known)
            check_masks(paired.values(), models[0].spec.acceleration, models[0].spec.mask)
            parts[split][name] = tuple(paired[file.volume.file] for file in inside)
    return MeasuredData(parts, trained_on, location.root, notes)


def _at_hand(models: Sequence[ReconstructionRun], files: Sequence[AttributedVolume]) -> tuple[str, ...]:
    """Return what the runs were trained on, then the named distributions that the data set has in both splits."""
    names = dict.fromkeys(name for model in models for name in model.spec.train_on)
    for name in DISTRIBUTIONS:
        try:
            here = of_distribution(files, name)
        except (ConfigError, DataError):
            continue  # another data set: its own filters are what it can be measured on
        if all(any(file.volume.split == split for file in here) for split in MEASURED_SPLITS):
            names[name] = None
    return tuple(names)
