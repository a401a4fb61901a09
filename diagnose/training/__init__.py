"""The training loop and what it stands on: request, state, formats of the numbers, processes, order of the slices."""
