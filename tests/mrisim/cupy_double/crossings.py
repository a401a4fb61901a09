"""What only the double of CuPy can see: crossings between host and device, and work on a device that is not current.

Run by `test_gpu_path.py`, with the double in place of CuPy.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cupy
import numpy as np
import pytest
from typer.testing import CliRunner

from mrisim.artifacts import KINDS
from mrisim.cli import app
from mrisim.coil_sums import root_sum_of_squares
from mrisim.corrupt import corrupt
from mrisim.encoding import Encoding
from mrisim.formats import fastmri
from mrisim.fourier import current_device, release_memory
from mrisim.phantoms.default import default_scan
from mrisim.reconstruct import DEFAULTS, RECONSTRUCTIONS, reconstruct
from mrisim.scan import Scan


@pytest.fixture(scope="module")
def undersampled() -> Scan:
    scan = default_scan(matrix=(64, 64))
    return corrupt(scan, [KINDS["undersampling"].at_level(1)]).scan


def crossings_of(work: Callable[[], Any]) -> Counter[str]:
    cupy.crossings.clear()
    work()
    return cupy.crossings.copy()


@pytest.mark.parametrize("name", DEFAULTS)
def test_no_iteration_crosses(name: str, undersampled: Scan) -> None:
    few, many = (
        crossings_of(lambda n=n: reconstruct(undersampled, name, device="cuda", n_iterations=n)) for n in (2, 12)
    )
    assert few == many
    assert few["to device"] > 0


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
def test_kspace_and_maps_are_sent_once(name: str, undersampled: Scan) -> None:
    crossed = crossings_of(lambda: reconstruct(undersampled, name, device="cuda"))
    needed = undersampled.kspace.nbytes + (undersampled.csm.nbytes if name != "rss" else 0)
    assert needed <= crossed["bytes to device"] < 1.3 * needed  # masks, and the matrices of a wavelet


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_works_on_the_second_device(kind: str) -> None:
    scan = default_scan(matrix=(48, 40))
    stack = replace(
        scan, kspace=np.tile(scan.kspace, (4, 1, 1, 1)), csm=np.tile(scan.csm, (4, 1, 1, 1)), slice_ids=range(4)
    )
    spec = KINDS[kind].at_level(3, n_coils=scan.n_coils)
    first, second = (corrupt(stack, [spec], device=name, n_threads=2).scan.kspace for name in ("cuda", "cuda:1"))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
def test_every_reconstruction_works_on_the_second_device(name: str, undersampled: Scan) -> None:
    images = [reconstruct(undersampled, name, device=device).image for device in ("cuda", "cuda:1")]
    assert np.array_equal(*images)


@pytest.mark.parametrize("place", [0, slice(0, 1)], ids=["one slice", "a stack"])
def test_an_operator_and_its_misfit_stay_on_the_device(place: int | slice, undersampled: Scan) -> None:
    kspace, maps, sampled = undersampled.kspace[place], undersampled.csm[place], undersampled.sampled
    host, image = Encoding(maps, sampled), Encoding(maps, sampled).H(kspace)
    device, lines, pixels = Encoding(cupy.asarray(maps), sampled), cupy.asarray(kspace), cupy.asarray(image)
    adjoint, normal = device.H, device.N  # the mask is sent here
    got: list[Any] = []
    assert not crossings_of(lambda: got.extend([device.misfit(pixels, lines), adjoint(lines), normal(pixels)]))
    for on_gpu, on_cpu in zip(got, (host.misfit(image, kspace), image, host.N(image)), strict=True):
        np.testing.assert_allclose(on_gpu.get(), on_cpu, rtol=1e-4, atol=1e-4 * np.abs(image).max())


@pytest.mark.parametrize("scale", [1e-24, 1e-20, 1, 1e18, 1e30])
def test_a_root_sum_of_squares_is_that_of_the_host_at_every_scale(scale: float) -> None:
    rng = np.random.default_rng(0)
    images = (scale * (rng.normal(size=(2, 4, 5, 7)) + 1j * rng.normal(size=(2, 4, 5, 7)))).astype(np.complex64)
    on_cpu, on_gpu = root_sum_of_squares(images), root_sum_of_squares(cupy.asarray(images))
    assert on_gpu.dtype == np.float32 and on_cpu.min() > 0
    np.testing.assert_allclose(on_gpu.get(), on_cpu, rtol=1e-6)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_thread_gives_back_the_memory_of_its_plans(device: str, undersampled: Scan) -> None:
    release_memory("cuda"), release_memory("cuda:1")

    def work() -> tuple[int, int]:
        reconstruct(undersampled, "sense", device=device)
        held = free_bytes(device)
        release_memory(device)
        return held, free_bytes(device)

    with ThreadPoolExecutor(1) as pool:
        held, left = pool.submit(work).result()
    assert held > 0 and left == 0


def free_bytes(device: str) -> int:
    with current_device(device):
        return cupy.get_default_memory_pool().free_bytes()


def test_the_commands_take_a_device(tmp_path: Path) -> None:
    results = []
    for device in ("cpu", "cuda:1"):
        folder = tmp_path / device.replace(":", "")
        options = ["--kind", "motion", "--kind", "noise", "--level", "3", "--out", str(folder), "--device", device]
        run = CliRunner().invoke(app, ["corrupt", *options])
        assert run.exit_code == 0, run.output
        results.append(fastmri.read(next(folder.rglob("*.h5"))).kspace)
    assert np.linalg.norm(results[1] - results[0]) < 2e-5 * np.linalg.norm(results[0])
    assert CliRunner().invoke(app, ["selftest", "--device", "cuda:1"]).exit_code == 0
    assert CliRunner().invoke(app, ["selftest", "--device", "cuda:2"]).exit_code != 0


@pytest.mark.parametrize(
    "refused",
    [
        lambda real, _: cupy.sum(real, where=real > 0),
        lambda real, _: real.sum(where=real > 0),
        lambda real, _: real.max(initial=0),
        lambda real, _: cupy.square(real, where=real > 0),
        lambda real, _: np.add(real, real, where=real > 0),
        lambda _, complex_one: cupy.percentile(complex_one, 50),
        lambda _, complex_one: np.percentile(complex_one, 50),
        lambda _, complex_one: cupy.fft.fftn(complex_one, overwrite_x=True),
    ],
)
def test_the_double_refuses_what_cupy_refuses(refused: Callable[[Any, Any], Any]) -> None:
    real = cupy.arange(6).astype(np.float32)
    with pytest.raises(TypeError):
        refused(real, real.astype(np.complex64))
