"""Does a training image come back in the test split? Largest correlation of band-passed images, position by position.

    python experiments/phantoms/near_duplicates.py COHORT

Every slice of the test split is compared with every training slice of the same position, after a difference of
Gaussians that takes shading and noise away. Copies correlate at 1 less noise; two knees share their layout only.
"""

import argparse
from pathlib import Path

import h5py
import numpy as np
from scipy.ndimage import gaussian_filter

FINE_PX, COARSE_PX = 0.7, 3.0


def outlines(files: list[Path], index: int) -> np.ndarray:
    """Return slice `index` of each file, band-passed, of mean 0 and norm 1, (file, pixel)."""
    rows = []
    for path in files:
        with h5py.File(path) as file:
            image = file["reconstruction_rss"][index].astype(float)
        row = (gaussian_filter(image, FINE_PX) - gaussian_filter(image, COARSE_PX)).ravel()
        row -= row.mean()
        rows.append(row / np.linalg.norm(row))
    return np.array(rows)


def main() -> None:
    """Print, for each position, the largest and the median correlation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    cohort = parser.parse_args().cohort
    train, test = (sorted((cohort / f"multicoil_{split}").glob("*.h5")) for split in ("train", "test"))
    with h5py.File(test[0]) as file:
        n_slices = len(file["reconstruction_rss"])
    for index in range(n_slices):
        alike = outlines(test, index) @ outlines(train, index).T
        print(
            f"slice {index}: {alike.size} pairs, largest {alike.max():.3f}, median {np.median(alike):.3f}", flush=True
        )


if __name__ == "__main__":
    main()
