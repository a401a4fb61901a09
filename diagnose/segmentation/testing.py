"""For tests, ours and others': heads as the embedded cohort writes them, BraTS NIfTI and k-space, tiny ones."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from diagnose.segmentation.brats_releases import CHANNELS, RELEASES
from mrisim.cohort_protocol import ACQUISITIONS
from mrisim.formats import fastmri
from mrisim.fourier import centred_fft, centred_ifft
from mrisim.quality import rss
from mrisim.scan import Acquisition, Scan
from mrisim.seeding import stream

SHAPE = (20, 16, 8)
"""(x, y, z)"""
VOXEL_MM = 8.0
N_PATIENTS = {"train": 4, "val": 2, "test": 11}
SMALL = {"width": 4, "depth": 2, "patch_shape": (8, 8, 8), "patches_per_epoch": 6, "batch": 2, "epochs": 2,
         "precision": "float32"}  # fmt: skip
"""Training settings that fit it; a fixed format, because the fastest one may differ from run to run."""
INTENSITIES = {"flair": (4, 9, 6, 7), "t1": (6, 4, 3, 5), "t1ce": (6, 4, 3, 12), "t2": (4, 9, 10, 6)}
"""Of brain, oedema, non-enhancing and enhancing tumour."""


def write_heads(root: Path, *, n_patients: dict[str, int] = N_PATIENTS, with_kspace: bool = True) -> Path:
    """Write one case a patient; the folders of the k-space say the split."""
    number = 0
    for split, count in n_patients.items():
        for _ in range(count):
            write_head(root, number, split if with_kspace else "")
            number += 1
    return root


def write_head(root: Path, number: int, split: str) -> None:
    """Write one case as BraTS 2023 names it, and the k-space of its contrasts where there is a split."""
    rng = stream(0, "small head", number)
    labels = draw_labels(rng)
    case = f"BraTS-GLI-{number:05d}-000"
    roles = {role: end for end, role in RELEASES["2023"].roles.items()}
    for channel in CHANNELS:
        image = np.choose(labels, [float(value) for value in INTENSITIES[channel]]) * brain()
        kspace = acquired(image, rng=rng)
        measured = rss(centred_ifft(kspace)).transpose(2, 1, 0) * brain()
        write_nifti(root / "TrainingData" / case / f"{case}-{roles[channel]}.nii.gz", measured.astype(np.float32))
        if split:
            write_kspace(root / f"multicoil_{split}" / f"file_{channel}_{number}.h5", kspace, channel, number)
    file_values = np.array([0, 2, 1, 3], np.uint8)  # labels of 2023 by the position in CLASSES
    write_nifti(root / "TrainingData" / case / f"{case}-seg.nii.gz", file_values[labels])


def brain() -> np.ndarray:
    """Return the brain (x, y, z)."""
    x, y, _ = np.indices(SHAPE)
    return np.hypot((x - 9.5) / 9, (y - 7.5) / 7) < 1


def draw_labels(rng: np.random.Generator) -> np.ndarray:
    """Return labels (x, y, z): a core in a rim in oedema, at some place."""
    centre = rng.uniform((7, 6, 3.5), (12, 9, 4.5))
    radius = np.sqrt(sum((axis - at) ** 2 for axis, at in zip(np.indices(SHAPE), centre, strict=True)))
    labels = np.zeros(SHAPE, np.intp)
    for label, reach in ((1, 4.2), (3, 2.9), (2, 1.7)):
        labels[radius < reach] = label
    return labels * brain()


def acquired(image: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """Return k-space (slice, coil, y, x) of an image (x, y, z): two coils, a skull, some noise."""
    planes = image.transpose(2, 1, 0)
    rows, columns = np.indices(planes.shape[1:])
    skull = np.abs(np.hypot((columns - 9.5) / 9.7, (rows - 7.5) / 7.7) - 1) < 0.06
    csm = np.stack([np.exp(-(((columns - centre) / 16) ** 2)) for centre in (2, 17)])
    kspace = centred_fft(((planes + 5 * skull)[:, None] * csm).astype(np.complex64))
    noise = rng.normal(scale=0.05, size=(2, *kspace.shape))
    return (kspace + noise[0] + 1j * noise[1]).astype(np.complex64)


def write_kspace(path: Path, kspace: np.ndarray, channel: str, number: int) -> None:
    """Write one contrast as a fastMRI file."""
    fov_mm = (SHAPE[1] * VOXEL_MM, SHAPE[0] * VOXEL_MM)
    contrast = ACQUISITIONS["brain"][channel]
    acquisition = Acquisition(
        fov_mm=fov_mm, slice_thickness_mm=VOXEL_MM, contrast=contrast, patient_id=f"{number:05d}",
        kspace_origin="simulated",
    )  # fmt: skip
    image = rss(centred_ifft(kspace))
    path.parent.mkdir(parents=True, exist_ok=True)
    fastmri.write(path, Scan(kspace, acquisition), image, source=None, name="rss", clean_reconstruction=image)


def write_nifti(path: Path, array: np.ndarray) -> None:
    """Write a volume (x, y, z), x towards the patient's left and y towards the back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([-VOXEL_MM, -VOXEL_MM, VOXEL_MM, 1.0])), path)
