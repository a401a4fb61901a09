"""Groups of runs in the report of an evaluation: runs that differ in nothing but the seed are pooled, no others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Config = Mapping[str, Any]

SEED = "seed"


def group_runs(configs: Mapping[str, Config], label: Callable[[Config], str]) -> dict[str, list[str]]:
    """Return the names of the runs of each group, groups and runs in their order.

    Parameters
    ----------
    configs : mapping
        Request of each run by its name.
    label : callable
        Names a group by the request of one of its runs.

    Returns
    -------
    dict
        Name of the group -> runs. Where one label would stand for several groups, the settings in which they differ
        are added: two learning rates, or two norms, are no seeds of one another.
    """
    groups: dict[str, list[str]] = {}
    for name, config in configs.items():
        groups.setdefault(_but_seed(config), []).append(name)
    first = [configs[members[0]] for members in groups.values()]
    return {
        _named(config, [other for other in first if label(other) == label(config)], label): members
        for config, members in zip(first, groups.values(), strict=True)
    }


def _but_seed(config: Config) -> str:
    return json.dumps({name: value for name, value in config.items() if name != SEED}, sort_keys=True)


def _named(config: Config, namesakes: Sequence[Config], label: Callable[[Config], str]) -> str:
    names = [name for name in dict.fromkeys(name for one in namesakes for name in one) if name != SEED]
    differ = [name for name in names if any(one.get(name) != config.get(name) for one in namesakes)]
    return ", ".join([label(config), *(f"{name} {config.get(name)}" for name in differ)])
