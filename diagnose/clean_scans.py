"""Scans as their files hold them, checked once, and kept in memory as far as they fit.

Files are read again for every shift of an evaluation and every epoch of a training with corruption: at laptop scale
reading one, and measuring what its artifacts refer to, takes twice as long as corrupting and reconstructing it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np

from diagnose.volumes import Volume
from mrisim.errors import DataError
from mrisim.scan import Scan

LIMIT_BYTES = 1 << 30
"""What one store keeps: some 200 volumes of 8 slices, 4 coils, 96 x 96, maps included, or one of a clinical knee."""


class CleanScans:
    """The scans of volumes, those kept that came first until they fill the limit.

    Files are asked for in turns of all of them, so that to give up what was used longest ago would keep none in time.
    Scans are never changed in place; a file that changes is read again.

    Parameters
    ----------
    limit_bytes : int
        0 keeps nothing.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._room = limit_bytes
        self._kept: dict[tuple[Path, int, int], Scan] = {}
        self._lock = Lock()

    def of(self, volume: Volume, *, measured: bool) -> Scan:
        """Return the scan of a volume, with its reference if it is to be ``measured``.

        Raises
        ------
        DataError
            If the file cannot be read, holds NaN or nothing, or has another number of slices than its target.
        """
        try:
            state = volume.path.stat()
        except OSError:
            return _read(volume)  # the reader says what is wrong with it
        key = (volume.path, state.st_size, state.st_mtime_ns)
        kept = self._kept.get(key)
        scan = _read(volume) if kept is None else kept
        if measured and scan.reference is None:
            from mrisim.reference import measure_reference

            scan = replace(scan, reference=measure_reference(scan))
        if scan is not kept:
            self._keep(key, scan)
        return scan

    def _keep(self, key: tuple[Path, int, int], scan: Scan) -> None:
        with self._lock:
            before = self._kept.get(key)
            n_bytes = _n_bytes(scan) - (0 if before is None else _n_bytes(before))
            if n_bytes <= self._room:
                self._room -= n_bytes
                self._kept[key] = scan


NOTHING_KEPT = CleanScans(0)


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
    return sum(np.asarray(array).nbytes for array in arrays if array is not None)
