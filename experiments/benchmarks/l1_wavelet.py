"""SENSE with an L1 penalty on wavelets, 60 iterations of FISTA: against BART's pics and SigPy.

    python experiments/benchmarks/l1_wavelet.py [--quick]

The same data, maps, penalty and number of iterations. mrisim and SigPy use Daubechies-4 wavelets; BART has another
family and shifts them at random in every iteration, which helps its image: see the NRMSE beside the time.
"""

import numpy as np
from comparison import Benchmark, main
from undersampled import Problem, benchmark_of

REGULARISATION, N_ITERATIONS = 5e-3, 60


def with_sigpy(problem: Problem) -> np.ndarray:
    """Reconstruct with SigPy's App, in units of the zero-filled image as mrisim does; the step is known to be 1."""
    from sigpy.mri.app import L1WaveletRecon

    options = {"weights": problem.weights, "max_iter": N_ITERATIONS, "alpha": 1, "show_pbar": False}
    data = problem.kspace / np.float32(problem.scale)
    return problem.scale * L1WaveletRecon(data, problem.maps, np.float32(REGULARISATION), **options).run()


def build(quick: bool) -> Benchmark:
    """Compare on both masks."""
    return benchmark_of(
        quick,
        "l1-wavelet",
        REGULARISATION,
        N_ITERATIONS,
        with_sigpy,
        lambda problem: ("-R", f"W:3:0:{REGULARISATION * problem.scale}"),
        (1.5, 4),
    )


if __name__ == "__main__":
    main("L1-wavelet, 60 iterations; 8 coils, 320 x 320", build)
