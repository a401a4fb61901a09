"""Undersampled data with known truth, and SENSE by each program: what `l2_sense.py` and `l1_wavelet.py` share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from comparison import Benchmark, Contender, Target
from inputs import NO_BART, bart_or_none, nrmse, object_image, scan_of

from mrisim.fourier import centred_ifft
from mrisim.reconstruct import solve, unit_maps

MASKS = {"lines": "every fourth line or so and 24 in the middle", "samples": "every fourth sample or so and 24 x 24"}


class Problem:
    """k-space of one slice on one kind of mask, unit maps, and the image that SENSE should give."""

    def __init__(self, n: int, n_coils: int, mask: str) -> None:
        scan = scan_of(n, n_coils, noise=0.02)
        rng = np.random.default_rng(4)
        near = np.abs(np.arange(n) - n // 2) < min(12, n // 6)
        if mask == "lines":
            self.sampled = np.broadcast_to((rng.random(n) < 0.2) | near, (n, n)).copy()
        else:
            self.sampled = (rng.random((n, n)) < 0.25) | (near[:, None] & near)
        self.kspace = np.where(self.sampled, scan.kspace[0], 0).astype(np.complex64)
        self.maps = unit_maps(scan.csm[0])
        shading = np.sqrt(np.sum(np.abs(scan.csm[0]) ** 2, axis=0))
        self.truth = object_image(n) * shading
        self.weights = self.sampled.astype(np.float32)
        zero_filled = np.sum(self.maps.conj() * centred_ifft(self.kspace), axis=0)
        self.scale = float(np.percentile(np.abs(zero_filled), 99))

    def ours(self, name: str, regularisation: float, n_iterations: int) -> np.ndarray:
        """Reconstruct with mrisim."""
        return solve(name, self.kspace, self.maps, self.sampled, regularisation, n_iterations)[0]


def benchmark_of(
    quick: bool,
    name: str,
    regularisation: float,
    n_iterations: int,
    sigpy: Callable[[Problem], np.ndarray],
    pics: Callable[[Problem], tuple[object, ...]],
    targets: tuple[float, float],
) -> Benchmark:
    """Return a comparison on both kinds of mask; `pics` gives BART's arguments, `targets` the factors (BART, SigPy)."""
    n, n_coils = (32, 4) if quick else (320, 8)
    problems = {mask: Problem(n, n_coils, mask) for mask in MASKS}
    benchmark = Benchmark([])
    bart = bart_or_none()
    if bart is None:
        benchmark.left_out.append(NO_BART)
    for mask, problem in problems.items():
        ours, theirs = f"mrisim, {mask}", {"BART": f"BART, {mask}", "SigPy": f"SigPy, {mask}"}
        benchmark.contenders += [
            Contender(ours, lambda problem=problem: problem.ours(name, regularisation, n_iterations)),
            Contender(theirs["SigPy"], lambda problem=problem: sigpy(problem)),
        ]
        benchmark.targets = [
            *benchmark.targets,
            *(Target(theirs[peer], ours, factor) for peer, factor in zip(("BART", "SigPy"), targets, strict=True)),
        ]
        if bart is None:
            continue
        for part in ("kspace", "maps"):
            bart.write(f"{part}-{mask}", getattr(problem, part))
        bart.write(f"pattern-{mask}", problem.sampled[None])

        def run(mask: str = mask, problem: Problem = problem) -> np.ndarray:
            files = (f"{part}-{mask}" for part in ("pattern", "kspace", "maps"))
            bart("pics", "-S", "-w", 1, *pics(problem), "-i", n_iterations, "-p", *files, "image")
            return bart.read("image")[0]

        benchmark.contenders.append(Contender(theirs["BART"], run))
    benchmark.agreement = lambda results: {
        f"NRMSE to the truth, {contender}": nrmse(np.abs(image), np.abs(problems[contender.split(", ")[1]].truth))
        for contender, image in results.items()
    }
    return benchmark
