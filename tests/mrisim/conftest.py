"""Shared inputs: small scans on disk, and the programs run in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from mrisim import formats
from mrisim.fourier import resize_centred
from mrisim.phantoms.default import default_scan
from mrisim.quality import rss
from mrisim.scan import Scan, coil_images


@dataclass(frozen=True)
class Outcome:
    """What a program printed, and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def mrisim(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Run `mrisim` with arguments in an empty folder."""
    from mrisim.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["mrisim", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def small_scan() -> Callable[..., Scan]:
    """Make small scans."""
    return _small_scan


@pytest.fixture
def write_fastmri() -> Callable[[Path, Scan], Path]:
    """Write a scan as a fastMRI file."""
    return _write_fastmri


def _small_scan(n_slices: int = 2, n_coils: int = 3) -> Scan:
    """A few slices cut from the embedded default: (slice, coil, 48, 40), each scaled differently."""
    scan = default_scan(matrix=(64, 64))
    kspace = resize_centred(scan.kspace[:, :n_coils], (48, 40))
    csm = scan.csm[:, :n_coils, 8:56, 12:52]
    gains = np.linspace(1, 0.7, n_slices, dtype=np.float32)[:, None, None, None]
    return Scan(
        kspace=(gains * kspace).astype(np.complex64),
        acquisition=replace(scan.acquisition, patient_id="Jane Roe 1961", kspace_origin="measured"),
        csm=np.repeat(csm, n_slices, axis=0),
        noise_covariance=scan.noise_covariance[:n_coils, :n_coils],
    )


def _write_fastmri(path: Path, scan: Scan) -> Path:
    image = rss(coil_images(scan))
    formats.write(path, scan, image, layout="fastmri", clean_reconstruction=image)
    return path
