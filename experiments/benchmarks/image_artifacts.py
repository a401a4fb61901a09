"""Ghosts, spikes and Rician noise of a magnitude image, one coil: against TorchIO and MONAI.

    python experiments/benchmarks/image_artifacts.py [--quick]

One slice of 256 x 256, from image to image, in each program's own calls. The same physics: a gain of every second
line but the central one, a few k-space samples raised, two normal numbers a pixel. Not the same is marked:
MONAI *replaces* samples, on a logarithmic scale; TorchIO's noise is Gaussian, one normal number a pixel.
"""

import numpy as np
from comparison import Benchmark, Contender, Target, main
from inputs import object_image

from mrisim.artifacts.ghosting import Ghosting, GhostingLatents
from mrisim.artifacts.noise import Noise, NoiseLatents
from mrisim.artifacts.spikes import Spikes, SpikesLatents
from mrisim.coil_sums import root_sum_of_squares
from mrisim.fourier import centred_fft
from mrisim.scan import Acquisition, Scan

DEPTH = 0.3
"""Share of the signal that every second line loses."""
SIGMA = 0.05
SPIKES = ((0.30, 0.62), (0.71, 0.44), (0.55, 0.81), (0.40, 0.20))
"""Places of the spikes in shares of the axes."""


def build(quick: bool) -> Benchmark:
    """Make the image and every program's call on it."""
    n = 32 if quick else 256
    image = np.abs(object_image(n)).astype(np.float32)
    benchmark = Benchmark(
        _ours(image),
        targets=[
            Target("ghosting: TorchIO", "ghosting: mrisim", 4),
            Target("spikes: TorchIO", "spikes: mrisim", 30),
            Target("spikes: MONAI", "spikes: mrisim", 30),
            Target("Rician: MONAI", "Rician: mrisim", 4),
        ],
    )
    for name, contenders in (("torchio", _torchio), ("monai", _monai)):
        try:
            benchmark.contenders += contenders(image)
        except ImportError:
            benchmark.left_out.append(f"{name} is not installed (pip install {name})")
    benchmark.agreement = lambda results: _agreement(results, image)
    return benchmark


def _ours(image: np.ndarray) -> list[Contender]:
    n = image.shape[0]
    acquisition = Acquisition(fov_mm=(200.0, 200.0))
    coil_image = image[None, None].astype(np.complex64)
    scan = Scan(coil_image, acquisition)  # of ghosts only its shape and acquisition are looked at
    # 1 - DEPTH on even lines and 1 on odd ones, but for the factor 1 - DEPTH / 2 that both share
    ghosts = Ghosting(mode="pulsation", modulation=DEPTH / (2 - DEPTH))
    wave = np.where(np.arange(n) % 2, 1.0, -1.0)
    wave[n // 2] = 1.0  # the central line is kept
    alternating = GhostingLatents(np.ones(n), wave)
    positions = np.array([[int(share * n) for share in place] for place in SPIKES])
    sign = (-1.0) ** (positions - n // 2).sum(axis=1)  # TorchIO counts the phase from the first pixel
    peak = float(np.abs(centred_fft(image.astype(np.complex64))).max())
    spikes, raised = Spikes(amplitude_ratio=0.1), SpikesLatents(positions, peak * sign[:, None] + 0j)
    noise = Noise(snr=1 / SIGMA)
    draw = NoiseLatents(np.array([1, 2], np.uint32), np.sqrt(2) * np.eye(1, dtype=complex), 1.0, "white")

    def rician() -> np.ndarray:
        return root_sum_of_squares(noise.add_to_images(image[None, None].astype(np.complex64), draw))[0]

    def with_ghosts() -> np.ndarray:
        gain = np.float32(1 - DEPTH / 2)
        return (
            gain
            * root_sum_of_squares(ghosts.apply_to_images(scan, alternating, image[None, None].astype(np.complex64)))[0]
        )

    def spiked() -> np.ndarray:
        return spikes.add_to_images(image[None, None].astype(np.complex64), raised)[0, 0].real

    return [
        Contender("ghosting: mrisim", with_ghosts),
        Contender("spikes: mrisim", spiked),
        Contender("Rician: mrisim", rician),
    ]


def _torchio(image: np.ndarray) -> list[Contender]:
    import torch
    from torchio import ScalarImage
    from torchio.transforms import Ghosting as Ghosts
    from torchio.transforms import Noise as Normal
    from torchio.transforms import Spike

    torch.set_num_threads(1)
    tensor = torch.from_numpy(image)[None, None]
    places = np.array([[0, *place] for place in SPIKES])
    transforms = {
        "ghosting": (Ghosts(num_ghosts=2, axis=2, intensity=DEPTH, restore=None, copy=False), "the same, real part"),
        "spikes": (Spike(spikes_positions=places, intensity=0.1, copy=False), "the same, real part"),
        "Gaussian": (Normal(mean=0.0, std=SIGMA, seed=0, copy=False), "Gaussian: half the random numbers"),
    }
    return [
        Contender(f"{kind}: TorchIO", lambda t=t: t(ScalarImage(tensor=tensor.clone())).data[0, 0].numpy(), physics)
        for kind, (t, physics) in transforms.items()
    ]


def _monai(image: np.ndarray) -> list[Contender]:
    from monai.transforms import KSpaceSpikeNoise, RandRicianNoise

    places = tuple((0, *(int(share * len(image)) for share in place)) for place in SPIKES)
    spikes = KSpaceSpikeNoise(loc=places, k_intensity=(7.0,) * len(SPIKES))
    rician = RandRicianNoise(prob=1.0, std=SIGMA, sample_std=False)
    return [
        Contender("spikes: MONAI", lambda: np.asarray(spikes(image[None]))[0], "samples replaced, not added to"),
        Contender("Rician: MONAI", lambda: np.asarray(rician(image[None].copy()))[0]),
    ]


def _agreement(results, image: np.ndarray) -> dict[str, float]:
    values = {"Rician: mrisim, root of mean M^2 - A^2, over sigma sqrt(2)": _excess(results["Rician: mrisim"], image)}
    if "Rician: MONAI" in results:
        values["Rician: MONAI, the same"] = _excess(results["Rician: MONAI"], image)
    for kind in ("ghosting", "spikes"):
        if f"{kind}: TorchIO" in results:
            ours, theirs = np.abs(results[f"{kind}: mrisim"]), np.abs(results[f"{kind}: TorchIO"])
            values[f"{kind}: NRMSE of moduli to TorchIO"] = float(
                np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
            )
    return values


def _excess(noisy: np.ndarray, image: np.ndarray) -> float:
    return float(np.sqrt(np.mean(noisy.astype(float) ** 2 - image.astype(float) ** 2))) / (SIGMA * np.sqrt(2))


if __name__ == "__main__":
    main("ghosting, spikes, Rician noise; one magnitude image of 256 x 256", build)
