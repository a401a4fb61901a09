"""A trained run of segmentation as a predictor, and the cases that runs were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from diagnose.checkpoint import check_architecture, load_network
from diagnose.run_folder import DONE, SPLIT, DataLocation, read_location, read_lock, read_spec
from diagnose.segmentation.case_table import CaseTable, load_case_table
from diagnose.segmentation.request import SegmentationModel, SegmentationSpec
from diagnose.segmentation.whole_volumes import Windows
from diagnose.torch_device import CPU
from mrisim.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class SegmentationRun:
    """A finished run: its network and all that its predictions depend on."""

    name: str
    network: torch.nn.Module
    description: SegmentationModel
    spec: SegmentationSpec
    folder: Path

    @classmethod
    def load(cls, run: Path, device: str = CPU) -> SegmentationRun:
        """Read a run folder; the network goes to a device that is known to work.

        Raises
        ------
        DataError
            If it is no finished run of segmentation, or its weights are refused (`diagnose.checkpoint`).
        """
        spec = read_spec(run, SegmentationSpec)
        if not (run / DONE).exists():
            raise DataError(f"{run.name} is not finished; run the same `diagnose train` command again")
        network, description = load_network(run, SegmentationModel)
        check_architecture(run.resolve().name, description, spec)
        return cls(run.resolve().name, network.to(device), description, spec, run)

    @property
    def windows(self) -> Windows:
        """How whole volumes are gone through."""
        return Windows(self.description.patch_shape, self.description.overlap)


def load_runs(runs: Sequence[Path], device: str = CPU) -> list[SegmentationRun]:
    """Read finished run folders of different names that scale alike; the networks go to a device.

    Raises
    ------
    DataError
        If one is no finished run of segmentation.
    ConfigError
        If two have one name or different scalings.
    """
    models = [SegmentationRun.load(run, device) for run in runs]
    if len({model.name for model in models}) < len(models):
        raise ConfigError("two runs have one name; expected different ones, because rows go by it")
    scalings = {model.description.scaling for model in models}
    if len(scalings) > 1:
        raise ConfigError(f"the runs scale by {' and '.join(sorted(scalings))}; expected one scaling in an evaluation")
    return models


def cases_of_runs(models: Sequence[SegmentationRun], data: DataLocation | None) -> CaseTable:
    """Return the cases of all runs, after checking that the data are those that each was trained on.

    Parameters
    ----------
    models : sequence of SegmentationRun
    data : DataLocation, optional
        Where the data lie now; by default where they lay when the first run was trained.

    Raises
    ------
    DataError
        If a run was trained on other data.
    ConfigError
        If there are labels beside the data.
    """
    if data is not None and data.labels is not None:
        raise ConfigError("segmentation takes its labels from the seg files of BraTS; expected no --labels")
    location = data or read_location(models[0].folder)
    # the run's own split: it goes with the run, wherever the stored file it came from may be now
    table = load_case_table(location.root, models[0].spec, models[0].folder / SPLIT)
    for model in models:
        if read_lock(model.folder) != dict(table.lock):
            raise DataError(
                f"{model.name} was trained on other data or another split than those found now; expected the same "
                "(files with their sizes and contents, SHA-256 of the split)"
            )
    return table
