"""Training sets by attribute: which files a distribution is, and what is made of two: joint, skewed, subsets.

A filter is a list of dicts: all entries of a dict must hold (and), one dict of the list must (or); an entry may list
several values. So ``[{"acquisition": "CORPD_FBK", "field_strength_t": [1.5, 3.0]}, {"acquisition": "AXT2"}]``.

Subsets are of patients, in an order drawn once from the seed, and nested: who is in a sixteenth is in an eighth.

References
----------
Lin and Heckel, ICML 2024, PMLR 235:30018-30041, arXiv:2312.10271 (joint, separate, skewed, subset; filters).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from diagnose.volumes import Volume
from mrisim.errors import ConfigError, DataError

Value = str | int | float
Filter = Mapping[str, Value | Sequence[Value]]

SKEWED_FRACTION = 1 / 16
"""Of Q beside all of P, in the third paper."""

SUBSET_FRACTIONS = tuple(2.0**-power for power in range(7))
"""1/1, 1/2 ... 1/64, in the third paper."""

_N_SHOWN = 8


@dataclass(frozen=True)
class AttributedVolume:
    """One file and what is known of it; see `diagnose.reconstruction.volume_attributes.read_attributes`."""

    volume: Volume
    attributes: Mapping[str, Value]


def select(files: Sequence[AttributedVolume], filters: Sequence[Filter]) -> tuple[AttributedVolume, ...]:
    """Return the files that at least one filter lets through, in their order.

    Raises
    ------
    ConfigError
        If there is no filter, a filter is empty (it would let everything through), an entry lists no value, or no file
        has an attribute of that name.
    DataError
        If a filter lets nothing through, others beside it or not: a misspelt one would pass for a smaller set.
    """
    if not filters:
        raise ConfigError("no attribute filter is given; expected at least one")
    known = sorted({name for file in files for name in file.attributes})
    chosen: set[int] = set()
    for wanted in filters:
        if not wanted or any(not _values(value) for value in wanted.values()):
            raise ConfigError(f"the attribute filter is {dict(wanted)}; expected names with a value, or values, each")
        for name in wanted:
            if name not in known:
                raise ConfigError(f"no file has an attribute {name!r}; expected one of {', '.join(known)}")
        found = [index for index, file in enumerate(files) if _matches(file.attributes, wanted)]
        if not found:
            raise DataError(
                f"no file has {' and '.join(f'{name} = {_shown(value)}' for name, value in wanted.items())}; at hand: "
                + "; ".join(f"{name}: {_at_hand(files, name)}" for name in wanted)
            )
        chosen.update(found)
    return tuple(files[index] for index in sorted(chosen))


def _matches(attributes: Mapping[str, Value], wanted: Filter) -> bool:
    return all(
        name in attributes and any(_equal(attributes[name], value) for value in _values(values))
        for name, values in wanted.items()
    )


def _values(value: Value | Sequence[Value]) -> Sequence[Value]:
    return [value] if isinstance(value, str | int | float) else value


def _equal(one: Value, other: Value) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return math.isclose(one, other, rel_tol=1e-6)  # a field strength passes through text and single precision


def _shown(value: Value | Sequence[Value]) -> str:
    return " or ".join(map(str, _values(value)))


def _at_hand(files: Iterable[AttributedVolume], name: str) -> str:
    """List the values that files have, the commonest first, with how many have it."""
    counts = Counter(file.attributes[name] for file in files if name in file.attributes).most_common()
    shown = ", ".join(f"{value} ({n} files)" for value, n in counts[:_N_SHOWN])
    return shown + (f" and {len(counts) - _N_SHOWN} more" if len(counts) > _N_SHOWN else "")


def joint(*distributions: Sequence[AttributedVolume]) -> tuple[AttributedVolume, ...]:
    """Return the files of all distributions, each once, sorted by name."""
    files = {file.volume.path: file for distribution in distributions for file in distribution}
    return tuple(sorted(files.values(), key=lambda file: (file.volume.file, str(file.volume.path))))


def skewed(
    p: Sequence[AttributedVolume], q: Sequence[AttributedVolume], fraction: float = SKEWED_FRACTION, *, seed: int
) -> tuple[AttributedVolume, ...]:
    """Return all of P and a fraction of Q's patients.

    Raises
    ------
    ConfigError
        As `subset`.
    """
    return joint(p, subset(q, fraction, seed=seed))


def subset(files: Sequence[AttributedVolume], fraction: float, *, seed: int) -> tuple[AttributedVolume, ...]:
    """Return the files of a fraction of the patients, in their order.

    Parameters
    ----------
    files : sequence of AttributedVolume
        Of one distribution: of a mixture, small parts may go missing; subset the parts and join them.
    fraction : float
        Above 0, up to 1. The number of patients is rounded to the nearest.
    seed : int

    Raises
    ------
    ConfigError
        If the fraction is impossible, or leaves no patient.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"the fraction is {fraction}; expected above 0, up to 1")
    patients = {file.volume.patient for file in files}
    n_kept = math.floor(len(patients) * fraction + 0.5)
    if n_kept == 0:
        raise ConfigError(f"{fraction:g} of {len(patients)} patients is none of them; expected a larger fraction")
    kept = set(sorted(patients, key=lambda patient: _place(patient, seed))[:n_kept])
    return tuple(file for file in files if file.volume.patient in kept)


def _place(patient: str, seed: int) -> str:
    return hashlib.sha256(f"training subset;{seed};{patient}".encode()).hexdigest()
