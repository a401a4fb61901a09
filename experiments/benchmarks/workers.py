"""Two workers against one: `mrisim corrupt` on a folder of files.

    python experiments/benchmarks/workers.py [--quick]

64 files of one slice, 8 coils, 256 x 256, motion and noise, from command to exit. Judged by the wall clock: on a
machine whose cores are busy with something else this measures that, and the load stands beside the result.
"""

from dataclasses import replace
from pathlib import Path

from command_line import FOLDER, program
from comparison import Benchmark, Contender, Target, main
from inputs import scan_of

from mrisim import formats
from mrisim.quality import rss
from mrisim.scan import coil_images


def build(quick: bool) -> Benchmark:
    """Write the folder, and name the commands."""
    n, n_coils, n_files = (32, 3, 2) if quick else (256, 8, 64)
    folder = Path(FOLDER.name) / "scans"
    folder.mkdir(exist_ok=True)
    scan = replace(scan_of(n, n_coils), csm=None)
    image = rss(coil_images(scan))
    for index in range(n_files):
        formats.write(folder / f"scan{index:02d}.h5", scan, image, layout="fastmri", clean_reconstruction=image)

    def run(n_workers: int) -> None:
        kinds = ("--kind", "motion:3", "--kind", "noise:2")
        program("mrisim", "corrupt", "scans", *kinds, "--overwrite", "--out", "out", "--workers", str(n_workers))

    names = ("1 worker", "2 workers")
    return Benchmark(
        [Contender(name, lambda n=n: run(n)) for n, name in enumerate(names, start=1)],
        targets=[Target(*names, 1.7, clock="wall")],
    )


if __name__ == "__main__":
    main("2 workers against 1; 64 files of one slice", build)
