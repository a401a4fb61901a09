"""SENSE with an L2 penalty, 30 iterations of conjugate gradients: against BART's pics and SigPy.

    python experiments/benchmarks/l2_sense.py [--quick]

The same data, maps, penalty and number of iterations. Two masks: whole lines, as 2-D scans have, where mrisim solves
every readout position apart; and samples one by one. BART is a process that reads and writes files.
"""

import numpy as np
from comparison import Benchmark, main
from undersampled import Problem, benchmark_of

REGULARISATION, N_ITERATIONS = 1e-2, 30


def with_sigpy(problem: Problem) -> np.ndarray:
    """Reconstruct with SigPy's App."""
    from sigpy.mri.app import SenseRecon

    options = {"weights": problem.weights, "max_iter": N_ITERATIONS, "show_pbar": False}
    return SenseRecon(problem.kspace, problem.maps, lamda=REGULARISATION, **options).run()


def build(quick: bool) -> Benchmark:
    """Compare on both masks."""
    return benchmark_of(
        quick, "sense", REGULARISATION, N_ITERATIONS, with_sigpy, lambda problem: ("-l2", "-r", REGULARISATION), (4, 8)
    )


if __name__ == "__main__":
    main("L2-SENSE, 30 iterations; 8 coils, 320 x 320", build)
