"""Motion with a pose for every line against motion with two poses: what do many poses cost?

    python experiments/benchmarks/motion_per_line.py [--quick]

The whole kind, from k-space to k-space: the object from k-space and maps, its moved images, the changed lines.
"""

import numpy as np
from comparison import Benchmark, Contender, Target, main
from inputs import scan_of

from mrisim.artifacts.motion import Motion, MotionLatents
from mrisim.corrupt import Realisation, apply


def build(quick: bool) -> Benchmark:
    """Make one scan, and the same course read off at two times or at the time of every line."""
    n, n_coils = (32, 3) if quick else (320, 8)
    scan, small = scan_of(n, n_coils), scan_of(24 if quick else 96, 4)
    spec = Motion(rms=1.0)

    def moved(one_scan, n_poses: int, turned: bool = True):
        course = np.random.default_rng(3).normal(size=(n_poses, 3)) * (1, 1, turned)
        n_lines = one_scan.matrix[1]
        poses = course[np.arange(n_lines) * n_poses // n_lines]
        return apply(one_scan, [Realisation(spec, 0, {-1: MotionLatents(poses)})]).scan.kspace

    lines = f"{n} poses, one a line"
    return Benchmark(
        [
            Contender("2 poses", lambda: moved(scan, 2)),
            Contender("8 poses", lambda: moved(scan, 8)),
            Contender("40 poses", lambda: moved(scan, min(n, 40))),
            Contender(lines, lambda: moved(scan, n)),
            Contender(f"{n} shifts, one a line", lambda: moved(scan, n, turned=False), "no rotation"),
            Contender("96 x 96, 4 coils, 2 poses", lambda: moved(small, 2), "another scan"),
            Contender("96 x 96, 4 coils, a pose a line", lambda: moved(small, small.matrix[1]), "another scan"),
        ],
        targets=[Target(lines, "2 poses", 6, at_most=True)],
    )


if __name__ == "__main__":
    main("motion, poses from two to one a line; 8 coils, 320 x 320", build)
