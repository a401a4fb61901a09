"""The probe of number and memory formats on a machine that is busy with something else now and then."""

from collections.abc import Callable

import pytest

from diagnose.training import execution
from diagnose.training.execution import MAX_ROUNDS, MIN_ROUNDS, PROBE_S, shortest_by_turns


class Machine:
    """A clock, and steps that take their time on it, three times as long while the machine is busy."""

    def __init__(self, busy: tuple[float, float] = (0.0, 0.0)) -> None:
        self.now, self.busy = 0.0, busy
        self.taken: list[str] = []

    def perf_counter(self) -> float:
        return self.now

    def step(self, name: str, seconds: float) -> Callable[[], None]:
        def take() -> None:
            self.taken.append(name)
            self.now += seconds * (3 if self.busy[0] <= self.now < self.busy[1] else 1)

        return take


def probe(monkeypatch: pytest.MonkeyPatch, machine: Machine, **seconds: float) -> dict[str, float]:
    monkeypatch.setattr(execution.time, "perf_counter", machine.perf_counter)
    steps = [machine.step(name, length) for name, length in seconds.items()]
    return dict(zip(seconds, shortest_by_turns(steps), strict=True))


@pytest.mark.parametrize("begin", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_some_busy_time_does_not_decide_which_one_wins(monkeypatch, begin):
    times = probe(monkeypatch, Machine(busy=(begin, begin + 0.8)), slow=0.08, fast=0.05)
    assert times == pytest.approx({"slow": 0.08, "fast": 0.05})


def test_the_first_step_of_each_does_not_count_and_turns_are_taken_forwards_and_back(monkeypatch):
    machine = Machine()
    times = probe(monkeypatch, machine, a=0.01, b=0.02, c=0.03)
    assert times == pytest.approx({"a": 0.01, "b": 0.02, "c": 0.03})
    assert "".join(machine.taken) == "abc" + "abccba" * (MAX_ROUNDS // 2)


def test_long_steps_are_few(monkeypatch):
    machine = Machine()
    probe(monkeypatch, machine, a=PROBE_S, b=PROBE_S)
    assert len(machine.taken) == 2 * (1 + MIN_ROUNDS)
