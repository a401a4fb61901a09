"""A tiny data set of two distributions: discs, and squares with a hole, 32 x 32, two coils."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mrisim.formats import fastmri
from mrisim.fourier import centred_fft, centred_ifft
from mrisim.quality import rss
from mrisim.scan import Acquisition, Scan
from mrisim.seeding import stream

SIZE, N_SLICES = 32, 2
N_PATIENTS = {"train": 8, "val": 2, "test": 11}


def _write_pair(path: Path, patient: str, acquisition: str, *, size: int = SIZE) -> None:
    rng = stream(0, "small pairs", patient, acquisition)
    rows, columns = np.indices((size, size)) - size // 2
    images = np.zeros((N_SLICES, size, size))
    for image in images:
        width = size * rng.uniform(0.28, 0.42)
        if acquisition == "DISC":
            image += np.hypot(rows, columns) < width
            image += 0.5 * (np.hypot(rows - 3, columns + rng.integers(-6, 6)) < 3)
        else:
            image += (np.abs(rows) < width) & (np.abs(columns) < 0.8 * width)
            image -= 0.8 * (np.hypot(rows, columns + rng.integers(-4, 4)) < 4)
    centres = (-size // 2, size // 2)
    csm = np.stack([np.exp(-(((columns - centre) / size) ** 2)) for centre in centres])
    noise = rng.normal(scale=0.02, size=(2, N_SLICES, 2, size, size))
    kspace = (1e-4 * (centred_fft(images[:, None] * csm) + noise[0] + 1j * noise[1])).astype(np.complex64)
    acquired = Acquisition(fov_mm=(64.0, 64.0), contrast=acquisition, patient_id=patient, kspace_origin="simulated")
    image = rss(centred_ifft(kspace))
    path.parent.mkdir(parents=True, exist_ok=True)
    fastmri.write(path, Scan(kspace, acquired), image, source=None, name="rss", clean_reconstruction=image)


def _write_pairs(root: Path, *, size: int = SIZE) -> Path:
    for split, count in N_PATIENTS.items():
        for number in range(count):
            for acquisition in ("DISC", "SQUARE"):
                name = f"file_{acquisition.lower()}_{split}_{number:02d}.h5"
                _write_pair(root / f"multicoil_{split}" / name, f"{split}-{number}", acquisition, size=size)
    return root


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set; read-only."""
    return _write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="session")
def write_pair() -> Callable[..., None]:
    """What writes one file of the tiny data set: (path, patient, acquisition, size=...)."""
    return _write_pair


@pytest.fixture(scope="session")
def write_pairs() -> Callable[..., Path]:
    """What writes the tiny data set: (root, size=...)."""
    return _write_pairs
