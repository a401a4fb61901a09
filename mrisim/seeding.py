"""Named random streams: the same latents for any order, batch, worker, shard or device.

A stream is keyed by *what it is for* - seed, item, kind, occurrence, slice - never by when it is asked for. The key is
SHA-256 of the names, so neither Python's ``hash`` nor the order of a set can leak into a result.
"""

import hashlib

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the random generator that belongs to a seed and a path of names.

    Parameters
    ----------
    seed : int
        The user's seed, 0 or more.
    *names : str or int
        For example item, kind, occurrence, slice. ``("a", "b")`` and ``("ab",)`` are different streams.

    Returns
    -------
    numpy.random.Generator
        A Philox generator; two calls with equal arguments give equal draws on every machine.

    Raises
    ------
    ValueError
        If the seed is negative or is not an integer.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed is {seed!r}; expected an integer of 0 or more")
    # a numpy integer names the same stream as the Python integer that it equals
    parts = [
        str(int(seed)),
        *(f"int:{name}" if isinstance(name, int | np.integer) else f"str:{name}" for name in names),
    ]
    path = "".join(f"{len(part)}:{part};" for part in parts)
    key = np.frombuffer(hashlib.sha256(path.encode()).digest(), dtype="<u8")
    return np.random.Generator(np.random.Philox(key=key[:2]))
