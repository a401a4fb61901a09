"""One slice at a time against several at once, on this machine's GPU or else its CPU: is the choice the faster one?

    python experiments/benchmarks/slices_at_once.py [--quick]

`mrisim.slice_batches` takes one slice at a time on a CPU and as many as fit on a GPU. Here both are timed.
"""

from dataclasses import replace

import numpy as np
from comparison import Benchmark, Contender, Target, main
from inputs import nrmse, scan_of

from mrisim.fourier import resolve_device
from mrisim.reconstruct import reconstruct
from mrisim.scan import Scan
from mrisim.slice_batches import slices_at_once

NAMES = ("rss", "sense", "l1-wavelet")


def stack_of(n: int, n_coils: int, n_slices: int) -> Scan:
    """Return slices of one anatomy with noise of their own, every third line or so left out."""
    slices = [scan_of(n, n_coils, seed=seed) for seed in range(n_slices)]
    rng = np.random.default_rng(4)
    lines = (rng.random(n) < 0.3) | (np.abs(np.arange(n) - n // 2) < min(12, n // 6))
    sampled = np.broadcast_to(lines, (n, n)).copy()
    kspace, csm = (np.concatenate([getattr(one, part) for one in slices]) for part in ("kspace", "csm"))
    return replace(
        slices[0], kspace=np.where(sampled, kspace, 0).astype(np.complex64), csm=csm, sampled=sampled,
        slice_ids=tuple(range(n_slices)),
    )  # fmt: skip


def build(quick: bool) -> Benchmark:
    """Reconstruct a stack by each name, in the way that is chosen here and in the other one."""
    n, n_coils, n_slices = (32, 3, 2) if quick else (320, 8, 8)
    scan, device = stack_of(n, n_coils, n_slices), resolve_device("auto")
    chosen = min(n_slices, slices_at_once(scan.kspace[0].nbytes, device))
    ways = {f"{chosen} at once, as chosen on {device}": chosen}
    other = n_slices if chosen == 1 else 1
    ways[f"{other} at once"] = other
    benchmark = Benchmark([])
    for name in NAMES:
        labels = [f"{name}, {way}" for way in ways]
        benchmark.contenders += [
            Contender(
                label, lambda name=name, at_once=at_once: reconstruct(scan, name, device=device, at_once=at_once).image
            )
            for label, at_once in zip(labels, ways.values(), strict=True)
        ]
        benchmark.targets = [
            *benchmark.targets,
            Target(labels[1], labels[0], 1, clock="cpu" if device == "cpu" else "wall"),
        ]
    benchmark.agreement = lambda results: {
        f"{name}, the other way": nrmse(*(image for label, image in results.items() if label.startswith(f"{name},")))
        for name in NAMES
    }
    return benchmark


if __name__ == "__main__":
    main("slices at once; 8 slices of 8 coils, 320 x 320", build)
