"""What this installation has: answers half of all support questions."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mrisim import __version__

PACKAGES = ("numpy", "scipy", "sigpy", "numba", "torch", "h5py", "ismrmrd", "nibabel", "pydicom", "cupy", "distributed")


def examine() -> dict[str, Any]:
    """Return versions, processors, devices and free disk."""
    return {
        "mrisim": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "n_cpus": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cuda": _cuda(),
        "free_disk_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
    }


def lines(record: dict[str, Any]) -> list[str]:
    """Return the examination as text."""
    packages = ", ".join(f"{name} {number}" for name, number in record["packages"].items())
    return [
        f"mrisim {record['mrisim']} on Python {record['python']}, {record['machine']}, {record['n_cpus']} CPUs",
        f"packages: {packages}",
        f"CUDA: {record['cuda']}",
        f"free disk here: {record['free_disk_gb']} GB",
    ]


def _version(name: str) -> str:
    for distribution in (name, f"{name}-cuda12x", f"{name}-cuda13x"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "absent"


def _cuda() -> str:
    try:
        import cupy

        n_devices = cupy.cuda.runtime.getDeviceCount()
        names = [cupy.cuda.runtime.getDeviceProperties(i)["name"].decode() for i in range(n_devices)]
        return ", ".join(names) or "CuPy is installed, no device found"
    except ImportError:
        return "CuPy is not installed: everything runs on the CPU (extras gpu12, gpu13)"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy is installed, but its driver call failed: {error}"
