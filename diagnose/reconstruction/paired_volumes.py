"""Volumes with k-space and target, their shapes checked before anything is trained, and their slices as tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diagnose.reconstruction.masks import MaskPattern, draw_mask
from diagnose.volumes import Volume
from mrisim.artifacts.undersampling import EQUISPACED_ACS_FRACTION
from mrisim.errors import DataError

MEMORY_BYTES = 4_000_000_000
"""Volumes are kept in memory where all of a run together take less; else each slice is read when it is needed."""
MIN_CALIBRATION_LINES = 2


@dataclass(frozen=True, eq=False)
class PairedVolume:
    """One file: fully sampled k-space and the image that is to be made from a part of it."""

    volume: Volume
    kspace_shape: tuple[int, int, int]
    """(coil, readout, phase_encode) of a slice."""
    target_shape: tuple[int, int]
    sampled_lines: np.ndarray
    """(phase_encode,), bool: what the scanner acquired."""
    peak: float
    """Maximum of the target volume."""

    @property
    def n_bytes(self) -> int:
        """Size in memory."""
        return self.volume.n_slices * (8 * int(np.prod(self.kspace_shape)) + 4 * int(np.prod(self.target_shape)))


def has_target(volume: Volume) -> bool:
    """Return whether a file holds the image to be reconstructed; those of challenges do not."""
    from mrisim.formats.fastmri import TARGETS
    from mrisim.formats.hdf5 import open_hdf5

    with open_hdf5(volume.path) as content:
        return any(name in content for name in TARGETS)


def pair(volume: Volume) -> PairedVolume:
    """Read the shapes of a file, and which lines were acquired in its middle slice.

    Raises
    ------
    DataError
        If k-space and target do not fit each other, or the target holds no signal.
    """
    from mrisim.formats.fastmri import read

    scan = read(volume.path, slices=[volume.n_slices // 2])
    shape, peak, n_kspace = _target_facts(volume)
    if shape[0] != n_kspace:
        raise DataError(
            f"{volume.file} has {n_kspace} slices of k-space and {shape[0]} of its target; expected as many"
        )
    rows, columns = scan.matrix
    if len(shape) != 3 or shape[1] > rows or shape[2] > columns:
        raise DataError(
            f"{volume.file} has k-space of {rows} x {columns} and a target of shape {shape}; expected (slice, rows, "
            "columns), no larger than the k-space"
        )
    if not (np.isfinite(peak) and peak > 0):
        raise DataError(f"the target of {volume.file} has a maximum of {peak}; expected an image with signal")
    return PairedVolume(volume, (scan.n_coils, rows, columns), shape[1:], np.any(scan.sampled, axis=0), peak)


def _target_facts(volume: Volume) -> tuple[tuple[int, ...], float, int]:
    """Return the target's shape and maximum, and how many slices the k-space has."""
    from mrisim.formats.fastmri import TARGETS
    from mrisim.formats.fastmri_layout import kspace_layout
    from mrisim.formats.hdf5 import open_hdf5
    from mrisim.formats.header import Header, parse_header

    with open_hdf5(volume.path) as content:
        target = next(content[name] for name in TARGETS if name in content)
        peak = float(content.attrs["max"]) if "max" in content.attrs else float(target[()].max())
        header = parse_header(content["ismrmrd_header"][()], volume.file) if "ismrmrd_header" in content else Header()
        layout, _ = kspace_layout(content, header, volume.file)
        return tuple(target.shape), peak, layout.n_slices


def check_masks(volumes: Iterable[PairedVolume], acceleration: int, pattern: MaskPattern) -> None:
    """Refuse, before any training, lines that are too few for a mask with calibration lines.

    Raises
    ------
    DataError
        If a mask of some volume would have fewer than two of them.
    """
    seen = set()
    for paired in volumes:
        key = paired.sampled_lines.tobytes()
        if key in seen:
            continue
        seen.add(key)
        n_lines = int(paired.sampled_lines.sum())
        n_calibration = round(EQUISPACED_ACS_FRACTION[acceleration] * n_lines)
        if n_calibration < MIN_CALIBRATION_LINES:
            raise DataError(
                f"{paired.volume.file} has {n_lines} phase-encode lines, of which a mask of acceleration "
                f"{acceleration} keeps {n_calibration} for calibration; expected at least {MIN_CALIBRATION_LINES}"
            )
        draw_mask(paired.sampled_lines, acceleration, pattern, rng=np.random.default_rng(0))  # its own checks


class SliceStore:
    """K-space and targets of volumes as tensors, kept in memory where there is room for all of them."""

    def __init__(self, volumes: Sequence[PairedVolume], *, memory_bytes: int = MEMORY_BYTES):
        self.keeps = sum(paired.n_bytes for paired in volumes) <= memory_bytes
        self._kept: dict[str, tuple[Tensor, Tensor]] = {}

    def slices(self, paired: PairedVolume, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return k-space (slice, coil, readout, phase_encode), complex64, and targets (slice, rows, columns), float32.

        Raises
        ------
        DataError
            If one cannot be read, or is not finite.
        """
        if not self.keeps:
            return _read(paired, list(indices))
        key = str(paired.volume.path)
        if key not in self._kept:
            self._kept[key] = _read(paired, list(range(paired.volume.n_slices)))
        kspace, targets = self._kept[key]
        chosen = torch.as_tensor(list(indices))
        return kspace[chosen], targets[chosen]


def _read(paired: PairedVolume, indices: list[int]) -> tuple[Tensor, Tensor]:
    from mrisim.formats.fastmri import TARGETS, read
    from mrisim.formats.hdf5 import open_hdf5

    kspace = read(paired.volume.path, slices=indices).kspace.astype(np.complex64)
    with open_hdf5(paired.volume.path) as content:
        target = next(content[name] for name in TARGETS if name in content)
        targets = np.stack([target[index] for index in indices]).astype(np.float32)
    for name, array in (("k-space", kspace), ("the target", targets)):
        if not np.isfinite(array).all():
            raise DataError(f"{name} of {paired.volume.file} holds NaN or Inf; expected finite samples")
    return torch.from_numpy(kspace), torch.from_numpy(targets)
