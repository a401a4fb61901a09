"""What this installation has, and what of it works: answers half of all support questions."""

import os
import platform
import shutil
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from mrisim import __version__, gpu_probe

PACKAGES = (
    "numpy", "scipy", "sigpy", "numba", "torch", "safetensors", "pydantic", "jinja2", "h5py", "ismrmrd", "nibabel",
    "pydicom", "cupy", "distributed",
)  # fmt: skip
ABSENT = "absent"


def examine() -> dict[str, Any]:
    """Return versions, processors, free disk, and what the packages that need a GPU or a compiler say when they run."""
    return {
        "mrisim": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "n_cpus": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
        "tried": {name: examine_one(name) for name in TRIALS},
        "free_disk_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
    }


def lines(record: dict[str, Any]) -> list[str]:
    """Return the examination as text."""
    packages = ", ".join(f"{name} {number}" for name, number in record["packages"].items())
    return [
        f"mrisim {record['mrisim']} on Python {record['python']}, {record['machine']}, {record['n_cpus']} CPUs",
        f"packages: {packages}",
        *(f"{name}: {found}" for name, found in record["tried"].items()),
        f"free disk here: {record['free_disk_gb']} GB",
    ]


def _version(name: str) -> str:
    for distribution in (name, f"{name}-cuda12x", f"{name}-cuda13x"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return ABSENT


def examine_one(name: str) -> str:
    """Import a package of `TRIALS` and compute with it: that its files lie there does not say that it works."""
    if _version(name) == ABSENT:
        return "not installed" + (": the simulator runs on the CPU (extras gpu12, gpu13)" if name == "cupy" else "")
    try:
        return TRIALS[name](import_module(name))
    except Exception as error:  # whatever a broken installation, or its driver, comes up with
        return f"installed, and does not work: {gpu_probe.one_line(error)}"


def _sigpy(sigpy: Any) -> str:
    if not np.allclose(sigpy.fft(np.ones(4, complex)), (0, 0, 2, 0)):
        raise ArithmeticError("the Fourier transform of a constant is no delta")
    return f"works, {'with' if sigpy.config.cupy_enabled else 'without'} CuPy"


def _cupy(cupy: Any) -> str:
    n_devices = cupy.cuda.runtime.getDeviceCount()
    if not n_devices:
        return "installed, no device found: everything runs on the CPU"
    names = [cupy.cuda.runtime.getDeviceProperties(number)["name"].decode() for number in range(n_devices)]
    troubles = [gpu_probe.probe(number) for number in range(n_devices)]
    works = [name for name, trouble in zip(names, troubles, strict=True) if not trouble]
    fails = [f"does not work on {name}: {trouble}" for name, trouble in zip(names, troubles, strict=True) if trouble]
    return "; ".join(([f"works on {', '.join(works)}"] if works else []) + fails)


def _torch(torch: Any) -> str:
    built_for = torch.version.cuda
    if not torch.cuda.is_available():
        reason = f"built for CUDA {built_for}, no device found" if built_for else "built without CUDA"
        return f"works on the CPU alone: {reason}"
    if float(torch.ones(4, device="cuda").sum()) != 4:
        raise ArithmeticError("a sum on the device is wrong")
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return f"works on {', '.join(names)}, CUDA {built_for}"


TRIALS: dict[str, Callable[[Any], str]] = {"sigpy": _sigpy, "cupy": _cupy, "torch": _torch}
"""What each package is asked to do; heavy, and so imported by this command alone."""
