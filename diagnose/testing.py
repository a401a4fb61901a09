"""For tests, ours and others': a cohort in the layout of fastMRI and fastMRI+ that trains in a second."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrisim.formats import fastmri
from mrisim.fourier import centred_fft
from mrisim.quality import rss
from mrisim.scan import Acquisition, Scan
from mrisim.seeding import stream

SIZE, N_COILS, N_SLICES = 32, 2, 3
FINDING_TEXTS = (
    "Joint Effusion ",
    "Meniscus Tear",
    "Ligament - ACL High Grade Sprain",
    "Cartilage - Partial Thickness loss/defect",
)
SPOTS = ((9, 9), (9, 23), (23, 9), (23, 23))
"""Centre of the bright spot that each finding is, in the order of the heads abnormal, mtear, acl, cartilage."""
N_PATIENTS = {"train": 14, "val": 10, "test": 20}
SMALL = {"width": 4, "stem_stride": 1, "pooled_size": 2, "epochs": 2, "batch": 8, "max_shift_px": 1,
         "precision": "float32", "memory_format": "contiguous"}  # fmt: skip
"""Training settings that fit it; fixed formats, because the fastest ones may differ from run to run."""


def write_volume(path: Path, patient: str, findings: np.ndarray) -> None:
    """Write one file: a disc, and a bright spot for each finding (slice, finding); two coils, some noise."""
    rng = stream(0, "small cohort", patient)
    rows, columns = np.indices((SIZE, SIZE))
    images = np.zeros((len(findings), SIZE, SIZE), complex)
    for image, present in zip(images, findings, strict=True):
        image += (np.hypot(rows - 16, columns - 16) < 13) * (0.5 + 0.1 * rng.random())
        for (row, column), finding in zip(SPOTS, present, strict=True):
            image += 0.3 * finding * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 4)
    csm = np.stack([np.exp(-(((columns - centre) / 24) ** 2)) for centre in (4, 28)]).astype(np.complex64)
    csm = np.broadcast_to(csm, (len(findings), *csm.shape))
    noise = rng.normal(scale=0.02, size=(2, *csm.shape))
    kspace = (centred_fft(images[:, None] * csm) + noise[0] + 1j * noise[1]).astype(np.complex64)
    scan = Scan(
        kspace, Acquisition(fov_mm=(64.0, 64.0), contrast="PD", patient_id=patient, kspace_origin="simulated"), csm=csm
    )
    image = rss(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(-2, -1)), norm="ortho"), axes=(-2, -1)))
    path.parent.mkdir(parents=True, exist_ok=True)
    fastmri.write(path, scan, image, source=None, name="rss", clean_reconstruction=image)


def write_cohort(root: Path, *, n_patients: dict[str, int] = N_PATIENTS) -> Path:
    """Write the cohort; each finding is present in a third of the slices, independent of the others."""
    rng = stream(0, "small cohort labels")
    rows, files = [], []
    for split, count in n_patients.items():
        for number in range(count):
            stem = f"file_{split}_{number:03d}"
            findings = rng.random((N_SLICES, len(SPOTS))) < 0.35
            write_volume(root / f"multicoil_{split}" / f"{stem}.h5", f"{split}-{number}", findings)
            files.append(stem)
            rows += [
                (stem, slice_index, "No", 5, 5, 4, 4, FINDING_TEXTS[head])
                for slice_index, head in np.argwhere(findings).tolist()
            ]
    write_labels(root, rows, files)
    return root


def write_labels(root: Path, rows: Sequence[tuple[object, ...]], files: list[str]) -> None:
    """Write the table and the list of files read."""
    folder = root / "Annotations"
    folder.mkdir(exist_ok=True)
    with (folder / "knee.csv").open("w", newline="") as stream_:
        writer = csv.writer(stream_)
        writer.writerow(("file", "slice", "study_level", "x", "y", "width", "height", "label"))
        writer.writerows(rows)
    (folder / "knee_file_list.csv").write_text("".join(f"{name}\n" for name in files))


def read_rows(root: Path) -> list[list[str]]:
    """Return the rows of the label table without its header."""
    with (root / "Annotations" / "knee.csv").open(newline="") as stream_:
        return list(csv.reader(stream_))[1:]
