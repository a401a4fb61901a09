"""What the options of `mrisim` ask for, checked: a user's mistake is one line that names the option."""

from __future__ import annotations

import os
from typing import Any

from mrisim.errors import ConfigError, UsageError

DEFAULT_LEVEL = 3


def parse_requests(kinds: list[str] | None, level: int | None, params: list[str] | None) -> tuple[Any, ...]:
    """Turn --kind, --level and --param into requests.

    Raises
    ------
    UsageError
        If a kind, level or parameter is malformed, unknown, or out of bounds.
    """
    from pydantic import ValidationError

    from mrisim.artifacts import ALIASES, spec_class
    from mrisim.corrupt import Request

    if not kinds:
        raise UsageError("no artifact was asked for; expected at least one --kind (see `mrisim kinds`)")
    parameters = _parse_params(params or [])
    requests = []
    for text in kinds:
        name, _, own_level = text.partition(":")
        try:
            spec_class(name)
            name = ALIASES.get(name, name)
            chosen = _parse_level(text, own_level) if own_level else DEFAULT_LEVEL if level is None else level
            request = Request(name, chosen, tuple(sorted(parameters.get(name, {}).items())))
            request.spec(n_coils=8)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "parameters"
            raise UsageError(f"--param {name}.{field}: {first['msg']} (got {first['input']!r})") from None
        except ConfigError as error:
            raise UsageError(str(error)) from None
        requests.append(request)
    unused = set(parameters) - {request.kind for request in requests}
    if unused:
        raise UsageError(f"--param names {', '.join(sorted(unused))}; expected a kind that is asked for by --kind")
    return tuple(requests)


def _parse_level(text: str, level: str) -> int:
    if not level.isdigit():
        raise UsageError(f"--kind {text}: the level is {level!r}; expected a whole number, 0 to 5")
    return int(level)


def _parse_params(params: list[str]) -> dict[str, dict[str, Any]]:
    from mrisim.artifacts import ALIASES

    parsed: dict[str, dict[str, Any]] = {}
    for text in params:
        target, equals, value = text.partition("=")
        kind, dot, name = target.partition(".")
        if not equals or not dot or not name:
            raise UsageError(f"--param {text}: expected KIND.NAME=VALUE")
        parsed.setdefault(ALIASES.get(kind, kind), {})[name] = value
    return parsed


def check_reconstruction(name: str) -> None:
    """Refuse a reconstruction that there is none of."""
    from mrisim.reconstruct import RECONSTRUCTIONS

    if name not in RECONSTRUCTIONS:
        raise UsageError(f"--recon is {name!r}; expected one of {', '.join(RECONSTRUCTIONS)}")


def slurm_shard() -> int:
    """Return which task of a Slurm array this is, from 0, whatever number the array begins with; 0 outside of one."""
    task, first, step = (
        int(os.environ.get(f"SLURM_ARRAY_TASK_{name}", default))
        for name, default in (("ID", 0), ("MIN", 0), ("STEP", 1))
    )
    return (task - first) // step


def checked_seed(seed: int) -> int:
    """Return the seed, unless it is negative."""
    if seed < 0:
        raise UsageError(f"--seed is {seed}; expected 0 or more")
    return seed


def checked_slices(slices: str) -> str:
    """Return A:B, or nothing, as it was given, unless it is something else."""
    parts = slices.split(":")
    if slices and (len(parts) != 2 or not all(part == "" or part.lstrip("-").isdigit() for part in parts)):
        raise UsageError(f"--slices is {slices!r}; expected A:B, as in Python")
    return slices
