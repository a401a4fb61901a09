"""Evaluate every kind's closed-form laws on a device of the user's."""

import numpy as np

from mrisim.artifacts import KINDS, Check
from mrisim.fourier import centred_fft, centred_ifft, current_device, resolve_device, to_device


def run_checks(device: str = "cpu") -> list[tuple[str, Check]]:
    """Return (subject, check) for the Fourier pair and for every kind."""
    device = resolve_device(device)
    with current_device(device):
        checks = [("fourier", check) for check in _fourier_checks(device)]
        return checks + [(kind, check) for kind, spec in KINDS.items() for check in spec.oracle(device)]


def _fourier_checks(device: str) -> tuple[Check, ...]:
    """Hold the Fourier pair to the plain sum on an odd and an even axis, and to its inverse."""
    rng = np.random.default_rng(0)
    image = (rng.normal(size=(14, 9)) + 1j * rng.normal(size=(14, 9))).astype(np.complex64)
    matrices = []
    for n in image.shape:
        index = np.arange(n) - n // 2
        matrices.append(np.exp(-2j * np.pi * np.outer(index, index) / n) / np.sqrt(n))
    expected = matrices[0] @ image @ matrices[1].T
    kspace = centred_fft(to_device(image, device))
    got, back = to_device(kspace, "cpu"), to_device(centred_ifft(kspace), "cpu")
    scale = float(np.linalg.norm(expected))
    return (
        Check(
            "centred orthonormal FFT: relative difference to the sum",
            0.0,
            float(np.linalg.norm(got - expected)) / scale,
            1e-6,
        ),
        Check(
            "inverse of the FFT: relative difference to the image",
            0.0,
            float(np.linalg.norm(back - image)) / scale,
            1e-6,
        ),
    )
