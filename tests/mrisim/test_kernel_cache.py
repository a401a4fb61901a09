"""Compiled kernels do not outlive the files that they were built from."""

import subprocess
import sys
from pathlib import Path

import pytest

from mrisim import kernel_cache, lane_vectors
from mrisim.kernel_cache import MODULES, forget_stale_kernels

INNER = "import numba\n\n@numba.njit(cache=True)\ndef inner(x):\n    return x + {}\n"
OUTER = "import numba\nfrom tiles import inner\n\n@numba.njit(cache=True)\ndef outer(x):\n    return 10 * inner(x)\n"


def run(folder: Path, *, guarded: bool) -> int:
    guard = "from mrisim.kernel_cache import forget_stale_kernels as f; from pathlib import Path; f(Path('.'));"
    code = f"{guard if guarded else ''}from fft_kernels import outer; print(outer(1))"
    environment = {"PATH": "", "PYTHONPATH": f"{folder}:{Path(kernel_cache.__file__).parents[1]}"}
    command = [sys.executable, "-c", code]
    return int(subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("guarded", [False, True])
def test_a_kernel_that_another_file_is_built_into_is_compiled_anew(tmp_path, guarded):
    (tmp_path / "tiles.py").write_text(INNER.format(1))
    (tmp_path / "fft_kernels.py").write_text(OUTER)
    assert run(tmp_path, guarded=guarded) == run(tmp_path, guarded=guarded) == 20
    (tmp_path / "tiles.py").write_text(INNER.format(200))
    assert run(tmp_path, guarded=guarded) == (2010 if guarded else 20)  # 20: should Numba learn it, this can go


def test_only_stale_kernels_are_removed(tmp_path):
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    for name in (*MODULES, "espirit"):
        (tmp_path / f"{name}.py").write_text("text")
        for ending in ("nbi", "1.nbc"):
            (cache / f"{name}.f-1.py311.{ending}").write_bytes(b"code")

    def n_kept() -> int:
        return len(list(cache.glob("*.nb[ic]")))

    forget_stale_kernels(tmp_path)
    assert n_kept() == 2  # espirit's: nobody knows what the others were compiled from
    for name in MODULES:
        (cache / f"{name}.f-1.py311.nbi").write_bytes(b"code")
    forget_stale_kernels(tmp_path)
    assert n_kept() == 2 + len(MODULES)
    (tmp_path / "tiles.py").write_text("other text")
    forget_stale_kernels(tmp_path)
    assert n_kept() == 2


def test_a_folder_that_is_read_only_is_left(tmp_path, monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "mkdir", refused)
    forget_stale_kernels(tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_module_of_kernels_asks_for_it_first():
    package = Path(lane_vectors.__file__).parent
    for path in package.glob("*.py"):
        text = path.read_text()
        builds_in = any(f"from mrisim.{name} import" in text for name in MODULES)
        assert path.stem in MODULES or not (builds_in and "cache=True" in text), path.name
    assert (package / "__pycache__" / kernel_cache.STAMP_FILE).exists()
    first = ("lane_vectors", "gridding_vectors")
    texts = {name: (package / f"{name}.py").read_text() for name in MODULES}
    for name in first:
        assert "\nforget_stale_kernels()\n" in texts[name] and "njit" not in texts[name], name
    for name in set(MODULES) - set(first):
        assert any(f"from mrisim.{root} import" in texts[name] for root in first), name
