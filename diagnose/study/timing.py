"""What the phases of a study took, in seconds of wall time, added up over every time that it was taken up."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mrisim.files import write_text

TIMING = "timing.json"
PHASES = ("cohort", "tuning", "training", "evaluation", "drift", "analysis", "report")


class PhaseTimes:
    """Seconds of each phase, kept in timing.json; what a killed process spent on a phase is not in it."""

    def __init__(self, study: Path):
        self._file = study / TIMING
        known = json.loads(self._file.read_text(encoding="utf-8")) if self._file.is_file() else {}
        self.seconds: dict[str, float] = {phase: known[phase] for phase in PHASES if phase in known}

    def add(self, phase: str, seconds: float) -> None:
        """Add to a phase, and write the file."""
        if phase not in PHASES:
            raise ValueError(f"phase is {phase!r}; expected one of {', '.join(PHASES)}")
        self.seconds[phase] = round(self.seconds.get(phase, 0.0) + seconds, 2)
        self.seconds = {name: self.seconds[name] for name in PHASES if name in self.seconds}
        record = self.seconds | {"total": round(sum(self.seconds.values()), 2)}
        write_text(self._file, json.dumps(record, indent=2) + "\n")

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a block as part of a phase, whether or not it ends well."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.add(name, time.monotonic() - started)

    @property
    def line(self) -> str:
        """The phases as text."""
        from diagnose.cost_estimate import as_time

        parts = [f"{name} {as_time(seconds)}" for name, seconds in self.seconds.items()]
        return ", ".join([*parts, f"total {as_time(sum(self.seconds.values()))}"])
