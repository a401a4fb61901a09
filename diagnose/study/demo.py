"""The study that `diagnose demo` runs: the whole line once, small enough for two cores and a quarter of an hour."""

from __future__ import annotations

from typing import Any

from diagnose.study.spec import StudySpec, make_study

DEMO: dict[str, Any] = {
    "name": "demo",
    "question": "Do group norm and layer norm lose less under MR artifacts than batch norm?",
    "norms": ["bn", "gn", "ln"],
    "scalings": ["z-score"],
    "seeds": [0],
    # Half the usual epochs: on two cores, cohort, runs, evaluation and report then take less than a quarter of an hour.
    "train": {"epochs": 15},
    "evaluation": {"kinds": ["all"], "levels": [0, 1, 2, 3, 4, 5], "adaptations": ["frozen", "prediction-time"]},
    "drift": {"n_swapped": []},
}


def demo_study(settings: list[str] | None = None) -> StudySpec:
    """Return the demo with ``a.b=value`` settings, which win.

    Raises
    ------
    ConfigError
        If a setting cannot be used.
    """
    return make_study(DEMO, settings or [])
