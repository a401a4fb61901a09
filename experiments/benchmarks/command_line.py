"""What a user waits for: `--help` of both programs, and `mrisim corrupt` on one file, with the share of imports.

    python experiments/benchmarks/command_line.py [--quick]

Warm: the first round fills the caches of bytecode and compiled kernels and is not counted. The opponent is the clock:
seconds of CPU time on one thread. The file is a fastMRI-like volume without maps, so that maps are estimated.
"""

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from comparison import ONE_THREAD, Benchmark, Contender, main
from inputs import scan_of

from mrisim import formats
from mrisim.quality import rss
from mrisim.scan import coil_images

FOLDER = tempfile.TemporaryDirectory(prefix="benchmark-")
IMPORT_LINE = re.compile(r"import time:\s+(\d+) \|")


def program(package: str, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """Run one of the two programs in the benchmark's folder."""
    code = f"from {package}.cli import main; main()"
    command = [sys.executable, *options, "-c", code, *arguments]
    # as a user starts it, from the bytecode of an installation; the threads the program must see to by itself
    environment = {name: os.environ[name] for name in os.environ.keys() - {*ONE_THREAD, "PYTHONDONTWRITEBYTECODE"}}
    return subprocess.run(command, cwd=FOLDER.name, check=True, capture_output=True, text=True, env=environment)


def build(quick: bool) -> Benchmark:
    """Write the file, and name the commands."""
    scan = replace(scan_of(32, 3) if quick else scan_of(320, 8), csm=None)
    path = Path(FOLDER.name) / "scan.h5"
    image = rss(coil_images(scan))
    formats.write(path, scan, image, layout="fastmri", clean_reconstruction=image)
    corrupt = ("corrupt", "scan.h5", "--kind", "motion", "--level", "3", "--overwrite")

    def imports() -> float:
        """Return the seconds that the imports of `mrisim corrupt` take, Python's own tracing included."""
        traced = program("mrisim", *corrupt, options=("-X", "importtime"))
        return sum(int(match) for match in IMPORT_LINE.findall(traced.stderr)) * 1e-6

    return Benchmark(
        [
            Contender("python, nothing", lambda: subprocess.run([sys.executable, "-c", ""], check=True), "the floor"),
            Contender("mrisim --help", lambda: program("mrisim", "--help") and None, "target 0.5 s"),
            Contender("diagnose --help", lambda: program("diagnose", "--help") and None, "target 0.5 s"),
            Contender("mrisim corrupt", lambda: program("mrisim", *corrupt) and None, "target 4 s"),
            Contender("mrisim corrupt, imports traced", imports, "tracing costs time"),
        ],
        agreement=lambda results: {"seconds in imports of mrisim corrupt": results["mrisim corrupt, imports traced"]},
    )


if __name__ == "__main__":
    main("command line: --help, and corrupt on one slice of 8 coils, 320 x 320", build)
