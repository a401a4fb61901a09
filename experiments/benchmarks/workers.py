"""Two workers against one: `mrisim corrupt` on a folder of files.

    python experiments/benchmarks/workers.py [--quick]

64 files of 8 coils, 256 x 256, motion and noise, from command to exit: of one slice, where the start of the program is
a tenth of the time and no second worker shares it, and of eight. Judged by the wall clock: on a machine whose cores are
busy with something else this measures that, and the load stands beside the result.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from command_line import FOLDER, program
from comparison import Benchmark, Contender, Target, main
from inputs import scan_of

from mrisim import formats
from mrisim.quality import rss
from mrisim.scan import Scan, coil_images

N_SLICES = (1, 8)


def build(quick: bool) -> Benchmark:
    """Write the folder, and name the commands."""
    n, n_coils, n_files = (32, 3, 2) if quick else (256, 8, 64)
    scan = replace(scan_of(n, n_coils), csm=None)
    for n_slices in N_SLICES:
        folder = Path(FOLDER.name) / f"scans{n_slices}"
        folder.mkdir(exist_ok=True)
        volume = Scan(np.repeat(scan.kspace, n_slices, axis=0), scan.acquisition)
        image = rss(coil_images(volume))
        for index in range(n_files):
            formats.write(folder / f"scan{index:02d}.h5", volume, image, layout="fastmri", clean_reconstruction=image)

    def run(n_slices: int, n_workers: int) -> None:
        kinds = ("--kind", "motion:3", "--kind", "noise:2", "--overwrite", "--out", "out")
        program("mrisim", "corrupt", f"scans{n_slices}", *kinds, "--workers", str(n_workers))

    contenders, targets = [], []
    for n_slices in N_SLICES:
        names = [f"slices a file: {n_slices}, workers: {n_workers}" for n_workers in (1, 2)]
        contenders += [
            Contender(name, lambda s=n_slices, w=n_workers: run(s, w)) for n_workers, name in enumerate(names, start=1)
        ]
        targets.append(Target(*names, 1.7, clock="wall"))
    return Benchmark(contenders, targets=targets)


if __name__ == "__main__":
    main("2 workers against 1; 64 files", build)
