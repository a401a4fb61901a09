"""Evaluate every kind's closed-form laws, and those of the reconstructions, on a device of the user's."""

import numpy as np

from mrisim.artifacts import KINDS, Check
from mrisim.fourier import centred_fft, centred_ifft, current_device, resolve_device, to_device
from mrisim.reconstruct import DEFAULTS, solve, unit_maps


def run_checks(device: str = "cpu") -> list[tuple[str, Check]]:
    """Return (subject, check) for the Fourier pair, for every kind, and for the reconstructions."""
    device = resolve_device(device)
    with current_device(device):
        checks = [("fourier", check) for check in _fourier_checks(device)]
        checks += [(kind, check) for kind, spec in KINDS.items() for check in spec.oracle(device)]
        return checks + [("reconstruction", check) for check in _reconstruction_checks(device)]


def _fourier_checks(device: str) -> tuple[Check, ...]:
    """Hold the Fourier pair to the plain sum on an odd and an even axis, and to its inverse."""
    rng = np.random.default_rng(0)
    image = (rng.normal(size=(14, 9)) + 1j * rng.normal(size=(14, 9))).astype(np.complex64)
    matrices = [_dft_matrix(n) for n in image.shape]
    expected = matrices[0] @ image @ matrices[1].T
    kspace = centred_fft(to_device(image, device))
    got, back = to_device(kspace, "cpu"), to_device(centred_ifft(kspace), "cpu")
    return (
        Check(
            "centred orthonormal FFT: relative difference to the sum",
            0.0,
            _relative_difference(got, expected),
            1e-6,
        ),
        Check(
            "inverse of the FFT: relative difference to the image",
            0.0,
            _relative_difference(back, image),
            1e-6,
        ),
    )


def _reconstruction_checks(device: str) -> list[Check]:
    """Hold SENSE to the dense normal equations, for lines and for samples; on a GPU, every solver to the host's."""
    rng = np.random.default_rng(0)
    shape = 12, 20
    csm = unit_maps((rng.normal(size=(4, *shape)) + 1j * rng.normal(size=(4, *shape))).astype(np.complex64))
    truth = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    transform = np.kron(*map(_dft_matrix, shape))
    masks = {"lines": np.broadcast_to(np.arange(20) % 2 == 0, shape), "samples": rng.random(shape) < 0.6}
    checks = []
    for sampling, sampled in masks.items():
        encode = np.concatenate([sampled.reshape(-1, 1) * transform * coil.ravel() for coil in csm])
        kspace = (encode @ truth.ravel()).reshape(csm.shape).astype(np.complex64)
        right = encode.conj().T @ kspace.ravel()
        damped = encode.conj().T @ encode + 0.1 * np.eye(truth.size)
        expected = np.linalg.solve(damped, right).reshape(shape)

        def made(name: str, place: str, kspace: np.ndarray = kspace, sampled: np.ndarray = sampled) -> np.ndarray:
            strength, n_iterations = (0.1, 60) if name == "sense" else DEFAULTS.get(name, (0.0, 0))
            arrays = to_device(kspace, place), to_device(csm, place)
            return np.asarray(to_device(solve(name, *arrays, sampled, strength, n_iterations)[0], "cpu"))

        error = _relative_difference(made("sense", device), expected)
        checks.append(Check(f"sense of {sampling}: relative difference to the dense equations", 0.0, error, 1e-4))
        if device != "cpu":
            for name in ("adjoint", *DEFAULTS):
                error = _relative_difference(made(name, device), made(name, "cpu"))
                checks.append(Check(f"{name} of {sampling}: relative difference to the host", 0.0, error, 1e-4))
    return checks


def _dft_matrix(n: int) -> np.ndarray:
    index = np.arange(n) - n // 2
    return np.exp(-2j * np.pi * np.outer(index, index) / n) / np.sqrt(n)


def _relative_difference(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
