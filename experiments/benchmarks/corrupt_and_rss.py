"""Corrupt one slice of 8 coils by motion, noise and a mask, and reconstruct its RSS image: against plain SigPy.

    python experiments/benchmarks/corrupt_and_rss.py [--quick]

From the same k-space, maps and poses: the object by least squares, two poses (one rotated and shifted, halfway through
the scan), white noise, every third line or so, RSS. SigPy's part is as its user would write it in complex64:
`sigpy.fft`, `sigpy.interpolate` with the same kernel for the rotation, NumPy's normal numbers. The FFT pair of the
eight coils alone, by the library that mrisim calls, is the floor.
"""

from dataclasses import replace

import numpy as np
import scipy.fft
import sigpy
from comparison import Benchmark, Contender, Target, main
from inputs import nrmse, scan_of

from mrisim.artifacts import KINDS
from mrisim.artifacts.motion import MotionLatents
from mrisim.corrupt import apply, corrupt, draw
from mrisim.gridding_kernels import OVERSAMPLING
from mrisim.gridding_vectors import WIDTH
from mrisim.kaiser_bessel import BETA, kernel_transform
from mrisim.reconstruct import reconstruct

POSE = (1.2, -0.8, 2.0)
SIGMA = 0.02


def build(quick: bool) -> Benchmark:
    n, n_coils = (32, 3) if quick else (320, 8)
    scan = scan_of(n, n_coils)
    requested = [
        KINDS["motion"](rms=1.0),
        KINDS["undersampling"].at_level(2),
        KINDS["noise"].at_level(2, n_coils=n_coils),
    ]
    drawn = draw(scan, requested, seed=0, item_id="benchmark")
    poses = np.where((np.arange(n) < n // 2)[:, None], 0.0, POSE)
    two_poses = replace(drawn[0], latents={-1: MotionLatents(poses)})
    realisations, quiet = (two_poses, *drawn[1:]), (two_poses, drawn[1])
    kept = drawn[1].spec.sampled_after(scan, drawn[1].of_slice(0))
    spread = [drawn[2].of_slice(0), drawn[2].spec.snr]
    sigma = spread[0].signal_rms / spread[1]
    rng = np.random.default_rng(0)

    def ours(steps=realisations) -> np.ndarray:
        return reconstruct(apply(scan, steps).scan, "rss").image[0]

    def whole() -> np.ndarray:
        return reconstruct(corrupt(scan, requested).scan, "rss").image[0]

    def theirs(noise: bool = True) -> np.ndarray:
        return with_sigpy(scan, poses, kept, rng if noise else None, sigma)

    def floor() -> np.ndarray:
        return scipy.fft.ifft2(scipy.fft.fft2(scan.kspace[0]))

    def per_line() -> np.ndarray:
        return reconstruct(apply(scan, drawn).scan, "rss").image[0]

    return Benchmark(
        [
            Contender("mrisim", ours),
            Contender("mrisim, no noise", lambda: ours(quiet), "no noise"),
            Contender("SigPy", theirs),
            Contender("SigPy, no noise", lambda: theirs(False), "no noise"),
            Contender("FFT pair", floor, "two transforms and nothing else"),
            Contender("mrisim, a pose per line", per_line, "as many poses as lines"),
            Contender("mrisim, all of corrupt()", whole, "a pose per line; reference and random numbers drawn, too"),
        ],
        targets=[
            Target("SigPy", "mrisim", 8),
            Target("mrisim", "FFT pair", 3.5, at_most=True),
            Target("mrisim, no noise", "FFT pair", 2, at_most=True),
        ],
        agreement=lambda results: {
            "NRMSE to SigPy, without noise": nrmse(results["mrisim, no noise"], results["SigPy, no noise"]),
            "NRMSE between the two draws of noise": nrmse(results["mrisim"], results["SigPy"]),
        },
    )


def with_sigpy(scan, poses, kept, rng, sigma) -> np.ndarray:
    """Do the same in SigPy: complex64, centred transforms, one pass a pose."""
    kspace, csm = scan.kspace[0], scan.csm[0]
    n = kspace.shape[-1]
    axes = (-2, -1)
    image = np.sum(csm.conj() * sigpy.ifft(kspace, axes=axes), axis=0) / np.sum(np.abs(csm) ** 2, axis=0)
    frequency = (np.arange(n) - n // 2) / (OVERSAMPLING * n)
    weight = (np.sqrt(OVERSAMPLING) / kernel_transform(frequency)).astype(np.float32)
    spectrum = sigpy.fft(image) * weight[:, None] * weight
    fine = sigpy.ifft(sigpy.resize(spectrum, (OVERSAMPLING * n,) * 2))
    rows, columns = np.meshgrid(*(np.arange(n) - n // 2,) * 2, indexing="ij")
    changed = kspace.copy()
    at_rest = sigpy.fft(csm * image, axes=axes)
    for pose in np.unique(poses, axis=0):
        if not pose.any():
            continue
        row, column = rows - pose[0] / scan.voxel_mm[0], columns - pose[1] / scan.voxel_mm[1]
        cosine, sine = np.cos(np.radians(pose[2])), np.sin(np.radians(pose[2]))
        where = np.stack([cosine * row + sine * column, -sine * row + cosine * column], axis=-1)
        position = (OVERSAMPLING * where + n).astype(np.float32)
        moved = sigpy.interpolate(fine, position, kernel="kaiser_bessel", width=WIDTH, param=BETA)
        lines = (poses == pose).all(axis=1)
        # its kernel is not divided by its value at 0, on either axis
        change = sigpy.fft(csm * (moved / np.float32(np.i0(BETA) ** 2)), axes=axes) - at_rest
        changed[..., lines] += change[..., lines]
    if rng is not None:
        normal = rng.standard_normal((2, *kspace.shape), dtype=np.float32)
        changed = changed + np.float32(sigma) * (normal[0] + 1j * normal[1])
    changed = np.where(kept, changed, 0)
    return np.sqrt(np.sum(np.abs(sigpy.ifft(changed, axes=axes)) ** 2, axis=0))


if __name__ == "__main__":
    main("corrupt + RSS: motion in two poses, noise, mask; 8 coils, 320 x 320", build)
