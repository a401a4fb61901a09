"""Machine code that was compiled from another text is forgotten.

Numba keeps what it compiles, and looks for changes in the file of a function alone. What that function calls in other
files is built into it: after an update of one file (a checkout, an editable install) another's old code would run with
it, and give wrong numbers. An installation from a wheel has all its files anew, and does not need this.
"""

from __future__ import annotations

from pathlib import Path

MODULES = (
    "lane_vectors",
    "tiles",
    "fft_kernels",
    "encoding_kernels",
    "finer_grid_kernels",
    "gridding_vectors",
    "gridding_kernels",
)
"""Those with kernels that call one another's."""
STAMP_FILE = "kernels.stamp"


def forget_stale_kernels(folder: Path = Path(__file__).parent) -> None:
    """Remove what Numba keeps of the `MODULES` in a folder, unless their files are those it was compiled from.

    Limits: a folder of the user's choice (``NUMBA_CACHE_DIR``) is not looked at.
    """
    cache = folder / "__pycache__"
    states = [(name, (folder / f"{name}.py").stat()) for name in MODULES if (folder / f"{name}.py").exists()]
    stamp = "".join(f"{name} {state.st_mtime_ns} {state.st_size}\n" for name, state in states)
    try:
        if (cache / STAMP_FILE).exists() and (cache / STAMP_FILE).read_text() == stamp:
            return
        for name in MODULES:
            for kept in cache.glob(f"{name}.*.nb[ic]"):
                kept.unlink(missing_ok=True)
        cache.mkdir(exist_ok=True)
        (cache / STAMP_FILE).write_text(stamp)
    except OSError:  # nobody may write here, so Numba's cache lies elsewhere
        return
