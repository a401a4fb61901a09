"""Distributions by name: which scans P and Q are, in the embedded cohorts or, by an attribute filter, in any data set.

The embedded ones differ from `knee-pd-3t` in contrast, field strength or anatomy alone, as far as a cohort can: another
anatomy has other contrasts. Matrix and number of coils are the same, so that no network sees a shift of size.
"""

from __future__ import annotations

from diagnose.reconstruction.data_selection import Filter, Value
from mrisim.cohort_collection import CohortCollection
from mrisim.cohort_protocol import CohortSpec, SplitSizes, choose_scanners
from mrisim.errors import ConfigError

EMBEDDED_COHORTS = CohortCollection(
    (
        CohortSpec(
            anatomy="knee", n_patients=SplitSizes(train=64, val=16, test=48), n_slices=6, contrasts=("pd", "pdfs"),
            scanners=choose_scanners((), names=("sim3t-a", "sim15t-a")),
        ),
        CohortSpec(
            anatomy="brain", n_patients=SplitSizes(train=32, val=8, test=24), n_slices=6, plane="axial",
            fov_mm=(240.0, 240.0), slice_thickness_mm=5.0, contrasts=("t1", "t2", "flair"),
            scanners=choose_scanners((), names=("sim3t-a",)),
        ),
    )
)  # fmt: skip
"""128 knees on a 3 T and a 1.5 T scanner, PD and fat-suppressed PD; 64 heads at 3 T, three contrasts. 96 x 96, 4 coils.

A scanner has about half of the knees, so that every distribution has about as many patients."""


def _embedded(anatomy: str, acquisition: str, field_strength_t: float) -> dict[str, Value]:
    return {"anatomy": anatomy, "acquisition": acquisition, "field_strength_t": field_strength_t}


DISTRIBUTIONS: dict[str, Filter] = {
    "knee-pd-3t": _embedded("knee", "CORPD_FBK", 3.0),
    "knee-pdfs-3t": _embedded("knee", "CORPDFS_FBK", 3.0),
    "knee-pd-15t": _embedded("knee", "CORPD_FBK", 1.5),
    "knee-pdfs-15t": _embedded("knee", "CORPDFS_FBK", 1.5),
    "brain-t1-3t": _embedded("brain", "AXT1", 3.0),
    "brain-t2-3t": _embedded("brain", "AXT2", 3.0),
    "brain-flair-3t": _embedded("brain", "AXFLAIR", 3.0),
}
"""Name -> attributes that all hold."""


def filters_of(text: str) -> tuple[Filter, ...]:
    """Return the attribute filters that a text names, of which one must hold.

    Parameters
    ----------
    text : str
        A name of `DISTRIBUTIONS`, or ``acquisition=AXT1,field_strength_t=3``: all entries must hold; alternatives are
        separated by ``|``.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if text in DISTRIBUTIONS:
        return (DISTRIBUTIONS[text],)
    return tuple(_filter(part, text) for part in text.split("|"))


def _filter(part: str, text: str) -> Filter:
    found: dict[str, Value] = {}
    for entry in part.split(","):
        name, equals, value = (piece.strip() for piece in entry.partition("="))
        if not (name and equals and value):
            raise ConfigError(
                f"{text!r} is no distribution; expected one of {', '.join(DISTRIBUTIONS)}, or NAME=VALUE[,NAME=VALUE]"
            )
        if name in found:
            raise ConfigError(f"{text!r} names {name} twice; expected alternatives separated by |")
        found[name] = _value(value)
    return found


def _value(text: str) -> Value:
    """Return a number where the text is one: field strengths are numbers, acquisitions are not."""
    try:
        return float(text)
    except ValueError:
        return text
