"""How many slices are worked on at once.

Reconstructions: one on a CPU, as many as memory holds on a GPU. A slice of 8 x 320 x 320 is worked on coil by coil in
a CPU's cache, and several leave it (`experiments/benchmarks/slices_at_once.py`); a GPU is not filled by one.
Corruptions: as many small ones as stay in the cache, or eight where slices share work; with the same samples for any
number of them on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

from mrisim.errors import ConfigError
from mrisim.fourier import free_memory_bytes
from mrisim.worker_threads import n_side_by_side

MOST = 32
"""Slices at once, however much memory there is."""
COPIES = 12
"""Arrays of the size of the k-space that a solver holds: maps, their conjugate, k-space, transforms and their work."""
CACHED_BYTES = 3 << 20
"""K-space corrupted at once on a CPU: ten slices of 4 x 96 x 96, or one of 8 x 320 x 320."""
CORRUPTED_BYTES = 256 << 20
"""K-space corrupted at once on a GPU, or for a kind whose slices share work: there the cache counts for less."""
SHARING = 8
"""Slices that share work on a CPU (`mrisim.gridding.bundled`)."""
SHARE = 0.5
"""Of the free memory of a GPU, for all workers of this process."""


def slices_at_once(slice_bytes: int, device: str) -> int:
    """Return how many slices to reconstruct at once.

    Parameters
    ----------
    slice_bytes : int
        Of the k-space of one slice, in complex64.
    device : str
        "cpu", "cuda" or "cuda:N".
    """
    if device == "cpu":
        return 1
    # The workers of this process plan at the same time, each before the others hold what they have planned.
    share_bytes = int(SHARE * free_memory_bytes(device) / n_side_by_side())
    return max(1, min(MOST, share_bytes // (COPIES * slice_bytes)))


def corrupted_at_once(slice_bytes: int, device: str, *, sharing: bool) -> int:
    """Return how many slices to corrupt at once.

    Free memory has no say in it: a GPU's rounding may depend on the number, and equal seeds are to give equal samples.

    Parameters
    ----------
    slice_bytes : int
        Of the k-space of one slice, in complex64.
    device : str
        "cpu", "cuda" or "cuda:N".
    sharing : bool
        Some kind shares work between slices. A pose a line: 113 ms a slice of 8 x 320 x 320 for eight at once, 198 for
        one; 543 and 753 at 15 x 480 x 480. The other kinds take up to a quarter longer, of a few ms.
    """
    room = CORRUPTED_BYTES // slice_bytes
    if device == "cpu":
        cached = min(room, CACHED_BYTES // slice_bytes)
        room = max(cached, min(room, SHARING)) if sharing else cached
    return max(1, min(MOST, room))


def batches(n_slices: int, at_once: int) -> Sequence[int | slice]:
    """Return the places of each batch: numbers for one slice at a time, else slices of positions.

    Raises
    ------
    ConfigError
        If `at_once` is less than 1.
    """
    if at_once < 1:
        raise ConfigError(f"at_once is {at_once}; expected 1 or more slices")
    if at_once == 1:
        return range(n_slices)
    return [slice(start, min(start + at_once, n_slices)) for start in range(0, n_slices, at_once)]
