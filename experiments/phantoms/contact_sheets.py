"""Draw the contact sheets of this folder: random slices of both cohorts, and lesions beside their healthy twins.

    python experiments/phantoms/contact_sheets.py

Slices are as the virtual scanner gives them (coil shading, chemical shift, noise), by root sum of squares.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from mrisim.phantoms import brain, knee
from mrisim.phantoms.scanner import acquire
from mrisim.phantoms.tissue import fat_water_shift_hz
from mrisim.quality import rss
from mrisim.scan import Acquisition, coil_images
from mrisim.seeding import stream

HERE = Path(__file__).parent
MATRIX, COLUMNS = (160, 160), 8
FOV_MM = {"sagittal": (118.0, 118.0), "coronal": (140.0, 140.0)}
AXIAL_MM = (240.0, 240.0)


def scanned(
    rendered: knee.KneeSlice | brain.BrainSlice, fov_mm: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Return the RSS image of a rendered slice as 8-bit grey, on its own window."""
    acquisition = Acquisition(fov_mm=fov_mm, dwell_time_us=1e6 / (220 * MATRIX[0]))
    water, fat = (np.asarray(part, np.float32) for part in (rendered.water, rendered.fat))
    noise = 0.004 * float(np.percentile(np.abs(water + fat), 99))
    scan = acquire(water, fat, acquisition, MATRIX, rng=rng, noise_std=noise, fat_shift_hz=fat_water_shift_hz(3.0))
    image = rss(coil_images(scan))[0]
    return np.clip(image / np.percentile(image, 99.5) * 255, 0, 255).astype(np.uint8)


def knees(rng: np.random.Generator) -> list[np.ndarray]:
    """Return 24 random knee slices: both planes, both contrasts."""
    images = []
    for index in range(24):
        subject = knee.draw_subject(rng=rng)
        plane = "coronal" if index % 4 == 3 else "sagittal"
        position = float(rng.choice(knee.slice_positions(subject, 8, plane)))
        contrast = "pdfs" if index % 3 == 2 else "pd"
        images.append(scanned(_knee(subject, plane, position, contrast), FOV_MM[plane], rng))
    return images


def knee_lesions(rng: np.random.Generator) -> list[np.ndarray]:
    """Return, for each label, a positive slice and its healthy twin, in PD and then fat-suppressed."""
    found: dict[str, list[np.ndarray]] = {}
    while len(found) < 8:
        subject = knee.draw_subject(rng=rng)
        for position in knee.slice_positions(subject, 8, "sagittal"):
            for finding in _knee(subject, "sagittal", float(position), "pd").findings:
                if finding.conspicuity > 0.6 and finding.label not in found:
                    twins = (subject.without_lesions(), subject)
                    found[finding.label] = [
                        scanned(
                            _knee(one, "sagittal", float(position), contrast), FOV_MM["sagittal"], stream(0, "noise")
                        )
                        for contrast in ("pd", "pdfs")
                        for one in twins
                    ]
                    print(f"knee lesions {len(found)}: {finding.label.strip()}")
    return [image for images in found.values() for image in images]


def brains(rng: np.random.Generator) -> list[np.ndarray]:
    """Return 24 random brain slices, four contrasts in turn."""
    images = []
    for index in range(24):
        subject = brain.draw_subject(rng=rng)
        position = float(rng.choice(brain.slice_positions(subject, 12)))
        images.append(scanned(_brain(subject, position, brain.CONTRASTS[index % 4]), AXIAL_MM, rng))
    return images


def brain_lesions(rng: np.random.Generator) -> list[np.ndarray]:
    """Return gliomas in four contrasts, each before its healthy twins."""
    images: list[np.ndarray] = []
    while len(images) < 32:
        subject = brain.draw_subject(rng=rng, lesions="glioma")
        sizes = {
            z: int((_brain(subject, float(z), "t2").segmentation > 0).sum()) for z in brain.slice_positions(subject, 16)
        }
        position = float(max(sizes, key=lambda z: sizes[z]))
        for one in (subject, subject.without_lesions()):
            for contrast in brain.CONTRASTS:
                images.append(scanned(_brain(one, position, contrast), AXIAL_MM, stream(0, "noise")))
    return images


def _knee(subject: knee.Subject, plane: str, position: float, contrast: str) -> knee.KneeSlice:
    return knee.render_slice(
        subject, plane=plane, position_mm=position, matrix=(320, 320), fov_mm=FOV_MM[plane], contrast=contrast
    )


def _brain(subject: brain.BrainSubject, position: float, contrast: str) -> brain.BrainSlice:
    return brain.render_slice(
        subject, position_mm=position, matrix=(320, 320), fov_mm=AXIAL_MM, contrast=contrast, n_subslices=4
    )


def save(name: str, images: list[np.ndarray]) -> None:
    """Write a sheet of eight columns."""
    rows = [np.concatenate(images[i : i + COLUMNS], axis=1) for i in range(0, len(images), COLUMNS)]
    Image.fromarray(np.concatenate(rows)).save(HERE / f"{name}.png", optimize=True)


if __name__ == "__main__":
    for draw in (knees, knee_lesions, brains, brain_lesions):
        save(draw.__name__, draw(stream(0, "contact sheets", draw.__name__)))
