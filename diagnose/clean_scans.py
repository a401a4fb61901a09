"""Scans as their files hold them, checked once, and kept in memory as far as they fit.

An evaluation asks for every file once a shift, a training with corruption once an epoch; at laptop scale reading one,
and measuring what its artifacts refer to, takes twice as long as corrupting and reconstructing it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np

from diagnose.volumes import Volume
from mrisim.errors import DataError
from mrisim.scan import Scan

LIMIT_BYTES = 1 << 30
"""What one store keeps: some 200 volumes of 8 slices, 4 coils, 96 x 96, maps included, or one of a clinical knee."""


@dataclass(frozen=True)
class _Kept:
    state: tuple[int, int]
    """Size and time of the file when it was read."""
    scan: Scan


class CleanScans:
    """The scans of volumes, those kept that came first until they fill the limit.

    Files are asked for in turns of all of them, so that to give up what was used longest ago would keep none in time.
    Scans are never changed in place; a file that changes is read again. A copy, in this process or another, starts
    empty.

    Parameters
    ----------
    limit_bytes : int
        0 keeps nothing.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit = self._room = limit_bytes
        self._kept: dict[Path, _Kept] = {}
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[CleanScans], tuple[int]]:
        return CleanScans, (self._limit,)

    def of(self, volume: Volume, *, measured: bool) -> Scan:
        """Return the scan of a volume; not a copy: it must not be changed.

        Parameters
        ----------
        volume : Volume
        measured : bool
            The scan comes with its reference, measured now or before; without it, it may or may not.

        Raises
        ------
        DataError
            If the file cannot be read, holds NaN or nothing, or has another number of slices than its target.
        """
        try:
            status = volume.path.stat()
        except OSError:
            return _read(volume)  # the reader says what is wrong with it
        state = status.st_size, status.st_mtime_ns
        kept = self._kept.get(volume.path)
        known = kept.scan if kept is not None and kept.state == state else None
        scan = _read(volume) if known is None else known
        if measured and scan.reference is None:
            from mrisim.reference import measure_reference

            scan = replace(scan, reference=measure_reference(scan))
        if scan is not known:
            self._keep(volume.path, _Kept(state, scan))
        return scan

    def _keep(self, path: Path, new: _Kept) -> None:
        """Put a scan in the place of what is known of its file, if there is room for it."""
        with self._lock:
            old = self._kept.get(path)
            is_current = old is not None and old.state == new.state
            if old is not None and is_current and old.scan.reference is not None:
                return  # another thread was faster
            room = self._room + (0 if old is None else _n_bytes(old.scan))
            if _n_bytes(new.scan) <= room:
                self._kept[path] = new
                self._room = room - _n_bytes(new.scan)
            elif old is not None and not is_current:
                del self._kept[path]
                self._room = room


NOTHING_KEPT = CleanScans(0)
"""Reads every file anew."""


def _read(volume: Volume) -> Scan:
    from mrisim import formats

    scan = formats.read(volume.path)
    broken = formats.corrupt_slices(scan)
    if broken:
        raise DataError(f"{volume.file}: slice {broken[0]} holds NaN, Inf or nothing; expected finite k-space")
    if scan.n_slices != volume.n_slices:
        raise DataError(
            f"{volume.file} has {scan.n_slices} slices of k-space; expected {volume.n_slices}, as in its target"
        )
    return scan


def _n_bytes(scan: Scan) -> int:
    arrays = [scan.kspace, scan.csm]
    if scan.reference is not None:
        arrays += [scan.reference.magnitude, scan.reference.foreground]
    return sum(_in_memory(np.asarray(array)) for array in arrays if array is not None)


def _in_memory(array: np.ndarray) -> int:
    """Return the bytes of an array; maps that all slices share are there once."""
    lengths = [length for length, stride in zip(array.shape, array.strides, strict=True) if stride]
    return array.itemsize * int(np.prod(lengths))
