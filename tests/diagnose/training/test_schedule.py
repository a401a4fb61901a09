"""Learning rates over a run: the third paper's linear one-cycle in closed form."""

import numpy as np
import pytest
from torch import nn

from diagnose.reconstruction.request import ReconstructionSpec
from diagnose.training.state import new_state


def rates(n_epochs: int, n_batches: int, **changes) -> np.ndarray:
    state = new_state(nn.Linear(1, 1), ReconstructionSpec(lr=1.0, epochs=n_epochs, **changes), n_batches)
    found = []
    for _ in range(n_epochs * n_batches):
        found.append(state.optimizer.param_groups[0]["lr"])
        state.optimizer.step()
        state.scheduler.step()
    return np.array(found)


def test_the_linear_one_cycle_rises_for_a_hundredth_and_falls_back_to_where_it_began():
    n, rise = 1000, 0.01 * 1000 - 1  # steps from the first to the peak
    expected = np.where(
        np.arange(n) <= rise,
        1 / 25 + (1 - 1 / 25) * np.arange(n) / rise,
        1 - (1 - 1 / 25) * (np.arange(n) - rise) / (n - 1 - rise),
    )
    assert rates(10, 100) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 4, 99, 100, 101, 200])
def test_short_runs_have_a_schedule_too(n_steps):
    found = rates(n_steps, 1)
    assert found[-1] == pytest.approx(1 / 25) and found.max() <= 1 and (n_steps < 3 or found.max() == 1)


def test_a_constant_rate_is_constant():
    assert set(rates(3, 2, schedule="constant")) == {1.0}
