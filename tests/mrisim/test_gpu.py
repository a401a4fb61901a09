"""The same calls on a GPU: every law, every kind, every reconstruction; needs CuPy and a device."""

from dataclasses import replace

import numpy as np
import pytest

from mrisim.artifacts import KINDS
from mrisim.corrupt import corrupt
from mrisim.fourier import release_memory, resolve_device
from mrisim.phantoms.default import default_scan
from mrisim.reconstruct import RECONSTRUCTIONS, reconstruct
from mrisim.scan import Scan
from mrisim.selftest import run_checks

SAID: list[str] = []
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        resolve_device("auto", SAID.append) == "cpu", reason=(SAID or ["no CUDA device, or CuPy is not installed"])[0]
    ),
]
TOLERANCE = 2e-5


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_every_law_holds() -> None:
    failed = [(subject, check) for subject, check in run_checks("cuda") if not check.passed]
    assert not failed


@pytest.mark.parametrize("kind", KINDS)
def test_a_corruption_is_the_same(kind: str) -> None:
    scan = default_scan(matrix=(64, 64))
    spec = KINDS[kind].at_level(3, n_coils=scan.n_coils)
    on_cpu, on_gpu = (corrupt(scan, [spec], seed=1, device=device).scan.kspace for device in ("cpu", "cuda"))
    assert relative(on_gpu, on_cpu) < TOLERANCE


@pytest.mark.parametrize("case", ["one coil", "estimated maps", "undersampled", "several slices"])
def test_motion_is_the_same_for_every_model_of_the_object(case: str) -> None:
    scan = default_scan(matrix=(64, 64))
    if case == "one coil":
        scan = replace(scan, kspace=scan.kspace[:, :1], csm=None, noise_covariance=None)
    elif case == "estimated maps":
        scan = replace(scan, csm=None)
    elif case == "undersampled":
        scan = corrupt(scan, [KINDS["undersampling"].at_level(1)]).scan
    else:
        scan = _three_slices(scan)
    specs = [KINDS["motion"].at_level(3), KINDS["noise"].at_level(2)]
    on_cpu, on_gpu = (corrupt(scan, specs, seed=1, device=device).scan.kspace for device in ("cpu", "cuda"))
    # SENSE amplifies rounding
    assert relative(on_gpu, on_cpu) < (1e-3 if case == "undersampled" else TOLERANCE)


def _three_slices(scan: Scan) -> Scan:
    return replace(
        scan,
        kspace=np.concatenate([strength * scan.kspace for strength in (1, 0.1, 7)]).astype(np.complex64),
        csm=np.concatenate([scan.csm] * 3),
        slice_ids=(0, 1, 2),
        reference=None,
    )


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
def test_a_reconstruction_is_the_same(name: str) -> None:
    scan = default_scan(matrix=(64, 64))
    under = corrupt(scan, [KINDS["undersampling"].at_level(1)]).scan
    on_cpu, on_gpu = (reconstruct(under, name, device=device).magnitude for device in ("cpu", "cuda"))
    # the iterative ones amplify rounding
    assert relative(on_gpu, on_cpu) < 1e-3


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
def test_slices_at_once_are_those_of_each_alone(name: str) -> None:
    scan = default_scan(matrix=(64, 64))
    stack = _three_slices(corrupt(scan, [KINDS["undersampling"].at_level(1)]).scan)
    together, alone = (reconstruct(stack, name, device="cuda", at_once=at_once).magnitude for at_once in (3, 1))
    assert relative(together, alone) < 1e-3


def test_memory_is_given_back() -> None:
    import cupy

    scan = default_scan(matrix=(64, 64))
    reconstruct(scan, "sense", device="cuda")
    release_memory("cuda")
    assert cupy.get_default_memory_pool().free_bytes() == 0
