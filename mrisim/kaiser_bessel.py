"""The Kaiser-Bessel kernel of gridding: six samples of a twice finer grid, as a table.

References
----------
Beatty, Nishimura & Pauly 2005, 10.1109/TMI.2004.842452 (kernel width, oversampling and beta).
"""

import math

import numpy as np

from mrisim.gridding_kernels import OVERSAMPLING, STEPS
from mrisim.gridding_vectors import TAP_LANES, WIDTH

# Equation 5 of Beatty et al.
BETA = math.pi * math.sqrt((WIDTH / OVERSAMPLING * (OVERSAMPLING - 0.5)) ** 2 - 0.8)


def kernel_transform(frequency: np.ndarray) -> np.ndarray:
    """Return the kernel's Fourier transform at frequencies in cycles per sample of the oversampled grid."""
    root = np.sqrt(BETA**2 - (np.pi * WIDTH * frequency) ** 2)
    return WIDTH * np.sinh(root) / root / np.i0(BETA)


def _kernel_table() -> np.ndarray:
    fraction = np.linspace(0, 1, STEPS + 1)[:, None]
    distance = fraction + WIDTH // 2 - 1 - np.arange(WIDTH)
    root = np.sqrt(np.maximum(0, 1 - (2 * distance / WIDTH) ** 2))
    table = np.zeros((STEPS + 1, 2, TAP_LANES))
    table[:, 0, :WIDTH] = np.i0(BETA * root) / np.i0(BETA) * (np.abs(distance) <= WIDTH / 2)
    table[:-1, 1] = np.diff(table[:, 0], axis=0)
    return table.astype(np.float32)


TABLE = _kernel_table()
"""(position, 2, tap): the weights at `STEPS` + 1 positions between two samples, and their increments."""
