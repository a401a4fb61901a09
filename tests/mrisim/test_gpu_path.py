"""The tests of the GPU, on a stand-in for CuPy that refuses what CuPy would refuse: for machines without one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOUBLE = HERE / "cupy_double"


@pytest.mark.parametrize(
    "tests",
    [HERE / "test_gpu.py", *(DOUBLE / name for name in ("crossings.py", "no_libraries.py", "full.py"))],
    ids=lambda path: path.stem,
)
def test_on_the_double(tests: Path) -> None:
    # A process of its own: SigPy asks for CuPy when it is imported.
    path = os.pathsep.join([str(DOUBLE), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(tests), "-q", "-p", "no:cacheprovider", "-p", "no:xdist"],
        env=environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert re.search(r"^\d+ passed in", done.stdout, re.MULTILINE), done.stdout[-500:]
