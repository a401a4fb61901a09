"""How many slices are worked on at once.

Reconstructions: one on a CPU, as many as memory holds on a GPU. A slice of 8 x 320 x 320 is worked on coil by coil in
a CPU's cache, and several leave it (`experiments/benchmarks/slices_at_once.py`); a GPU is not filled by one.
Corruptions: as many small ones as stay in the cache, with the same samples for any number of them on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

from mrisim.errors import ConfigError
from mrisim.fourier import free_memory_bytes

MOST = 32
"""Slices at once, however much memory there is."""
COPIES = 12
"""Arrays of the size of the k-space that a solver holds: maps, their conjugate, k-space, transforms and their work."""
CORRUPTED_BYTES = {"cpu": 3 << 20, "gpu": 256 << 20}
"""K-space corrupted at once. On a CPU ten slices of 4 x 96 x 96, or one of 8 x 320 x 320."""
SHARE = 0.5
"""Of the free memory of a GPU."""


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
    return max(1, min(MOST, int(SHARE * free_memory_bytes(device)) // (COPIES * slice_bytes)))


def corrupted_at_once(slice_bytes: int, device: str) -> int:
    """Return how many slices to corrupt at once: small slices share positions and weights of a motion, and calls.

    Free memory has no say in it: a GPU's rounding may depend on the number, and equal seeds are to give equal samples.

    Parameters
    ----------
    slice_bytes : int
        Of the k-space of one slice, in complex64.
    device : str
        "cpu", "cuda" or "cuda:N".
    """
    return max(1, min(MOST, CORRUPTED_BYTES["cpu" if device == "cpu" else "gpu"] // slice_bytes))


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
