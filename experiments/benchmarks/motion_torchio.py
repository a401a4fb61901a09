"""Rigid motion of magnitude images, one coil, two poses: against TorchIO.

    python experiments/benchmarks/motion_torchio.py [--quick]

64 slices of 256 x 256, one after the other, from image to image. Each starts in one pose and, after 60 % of the lines,
is in another, turned and shifted in its plane. TorchIO gets each slice as a volume of one slice with the phase-encode
axis last, which is the axis along which it mixes spectra. It interpolates linearly; mrisim evaluates the trigonometric
polynomial. TorchIO takes the real part of the image, mrisim the modulus.
"""

import numpy as np
from comparison import Benchmark, Contender, Target, main
from inputs import nrmse, object_image

from mrisim.artifacts.motion import Motion, MotionLatents
from mrisim.fourier import centred_fft, centred_ifft
from mrisim.scan import Acquisition, ObjectModel, Scan

ROTATION_DEG, SHIFT_MM = 2.0, (1.5, -2.0)
MOVE_AT = 0.6


def build(quick: bool) -> Benchmark:
    """Make the slices, and one pass over all of them for each program."""
    n, n_slices = (32, 2) if quick else (256, 64)
    images = np.stack([np.abs(object_image(n)) * (0.5 + 0.5 * z / n_slices) for z in range(1, n_slices + 1)])
    poses = np.where((np.arange(n) >= int(MOVE_AT * n))[:, None], [*SHIFT_MM, ROTATION_DEG], 0.0)
    benchmark = Benchmark(
        [Contender("mrisim", lambda: with_mrisim(images, poses))],
        targets=[Target("TorchIO", "mrisim", 4)],
    )
    try:
        theirs = torchio_motion(images)
    except ImportError:
        benchmark.left_out.append("TorchIO is not installed (pip install 'torchio>=1.2,<2')")
        return benchmark
    benchmark.contenders.append(Contender("TorchIO", theirs, "linear interpolation, real part"))
    benchmark.agreement = lambda results: {
        "NRMSE of the images": nrmse(results["TorchIO"], results["mrisim"]),
        "NRMSE of no motion at all": nrmse(images, results["mrisim"]),
    }
    return benchmark


def with_mrisim(images: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Move each slice: image, k-space, `Motion`, image."""
    n = images.shape[-1]
    spec, latents = Motion(rms=1.0, recenter=False), MotionLatents(poses)
    acquisition, uniform = Acquisition(fov_mm=(float(n), float(n))), np.ones((1, 1, n, n), np.complex64)
    moved = np.empty_like(images)
    for index, image in enumerate(images):
        still = image[None].astype(np.complex64)
        model = ObjectModel(still, uniform, (0.0,), "uniform", True)
        scan = Scan(centred_fft(still)[None], acquisition, object_model=model)
        moved[index] = np.abs(centred_ifft(spec.apply(scan, latents).kspace[0, 0]))
    return moved


def torchio_motion(images: np.ndarray):
    """Return TorchIO's pass over the slices."""
    import torch
    import torchio

    torch.set_num_threads(1)
    # TorchIO 1.2 maps a point to where it came from, turning about voxel 0; its second axis runs backwards.
    cosine, sine = np.cos(np.radians(ROTATION_DEG)), np.sin(np.radians(ROTATION_DEG))
    centre = np.full(2, images.shape[-1] // 2)
    shift = centre - np.array([[cosine, sine], [-sine, cosine]]) @ (centre + SHIFT_MM)
    transform = torchio.transforms.Motion(
        degrees=np.array([[ROTATION_DEG, 0.0, 0.0]]),
        translation=np.array([[0.0, -shift[0], shift[1]]]),
        times=np.array([MOVE_AT]),
        image_interpolation="linear",
        copy=False,
    )
    slices = [torch.from_numpy(image.astype(np.float32))[None, None] for image in images]

    def run() -> np.ndarray:
        moved = [transform(torchio.ScalarImage(tensor=one.clone())).data[0, 0].numpy() for one in slices]
        return np.stack(moved)

    return run


if __name__ == "__main__":
    main("rigid motion, two poses; 1 coil, 64 slices of 256 x 256", build)
