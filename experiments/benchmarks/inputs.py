"""What the benchmarks work on: a textured head-like object in a ring of coils, with noise; and BART's files."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from mrisim.coils import simulated_csm
from mrisim.fourier import centred_fft
from mrisim.scan import Acquisition, Scan

FOV_MM = (220.0, 220.0)


def object_image(n: int) -> np.ndarray:
    """Return an ellipse with structure of all sizes and a smooth phase: complex64 (n, n)."""
    rows, columns = np.meshgrid(*(2 * (np.arange(n) - n // 2) / n for _ in range(2)), indexing="ij")
    inside = (rows / 0.8) ** 2 + (columns / 0.65) ** 2 < 1
    blobs = np.sign(np.sin(9 * rows + 4 * columns**2) * np.cos(11 * columns - 3 * rows))
    return (inside * (1 + 0.3 * blobs + 0.1 * np.sin(60 * rows)) * np.exp(1j * (rows + columns**2))).astype(
        np.complex64
    )


def scan_of(n: int, n_coils: int = 8, noise: float = 0.01, seed: int = 0) -> Scan:
    """Return one fully sampled slice (1, coil, n, n) with its true maps; noise is the share of the peak image."""
    csm = simulated_csm((n, n), FOV_MM, n_coils=n_coils)
    kspace = centred_fft(csm * object_image(n))
    rng = np.random.default_rng(seed)
    white = rng.normal(size=(2, *kspace.shape))
    kspace = (kspace + noise * (white[0] + 1j * white[1])).astype(np.complex64)
    return Scan(kspace[None], Acquisition(fov_mm=FOV_MM), csm=csm[None])


def nrmse(a: np.ndarray, b: np.ndarray, where: np.ndarray | slice = slice(None)) -> float:
    """Return ||a - b|| / ||b||."""
    return float(np.linalg.norm((a - b)[where]) / np.linalg.norm(b[where]))


class Bart:
    """Runs BART in a folder of its own; arrays go in and out as (coil, rows, columns)."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bart-")
        self.folder = Path(self._folder.name)

    def __call__(self, *arguments: object) -> None:
        command = ["bart", *map(str, arguments)]
        subprocess.run(
            command, cwd=self.folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True
        )

    def write(self, name: str, array: np.ndarray) -> None:
        """Write an array as a pair of cfl and hdr."""
        array = np.moveaxis(array.astype(np.complex64), 0, -1)[:, :, None]
        (self.folder / f"{name}.hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + "\n")
        array.ravel(order="F").tofile(self.folder / f"{name}.cfl")

    def read(self, name: str) -> np.ndarray:
        """Read what BART wrote."""
        header = (self.folder / f"{name}.hdr").read_text().splitlines()[1]
        rows, columns, _, n_coils = (int(n) for n in header.split()[:4])
        data = np.fromfile(self.folder / f"{name}.cfl", np.complex64)
        return np.moveaxis(data.reshape((rows, columns, n_coils), order="F"), -1, 0)


def bart_or_none() -> Bart | None:
    """Return BART where it is installed."""
    return Bart() if shutil.which("bart") else None


NO_BART = "BART is not installed (apt-get install bart)"
