"""Which slices an epoch sees, in which order, moved how far, and corrupted how: a function of seed and epoch alone.

No generator is carried from epoch to epoch, so a run can be stopped anywhere and continued with the same batches, and
runs of all norms with one seed see the same ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diagnose.dataset import SliceTable
from diagnose.slice_images import ImageStore, Progress, Shift, fill_images, new_image_map
from diagnose.volumes import Volume
from mrisim.seeding import stream

N_LEVELS = 5


def sampling_weights(labels: np.ndarray) -> np.ndarray:
    """Return each slice's probability (slice,): 1 / (slices with as many findings as it), normalised.

    The paper's weighted sampler: slices with 0, 1, 2, ... findings come equally often, so prevalence is shifted; a
    model's probabilities, and BN's running statistics, are those of the shifted set.
    """
    n_findings = np.asarray(labels).sum(axis=1)
    weights = 1.0 / np.bincount(n_findings)[n_findings]
    return weights / weights.sum()


def epoch_order(labels: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """Return the slices of an epoch (slice,): as many as there are, drawn with replacement by `sampling_weights`."""
    rng = stream(seed, "batch order", epoch)
    return rng.choice(len(labels), size=len(labels), p=sampling_weights(labels))


def epoch_translations(n_slices: int, max_shift_px: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return the translation (slice, 2) in pixels of each place in an epoch's order."""
    rng = stream(seed, "translation", epoch)
    return rng.integers(-max_shift_px, max_shift_px + 1, size=(n_slices, 2))


def translate(images: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """Move images (image, rows, columns) by whole pixels (image, 2); what enters repeats the edge."""
    reach = int(np.abs(translations).max(initial=0))
    if reach == 0:
        return images
    rows, columns = images.shape[1:]
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    starts = reach - translations
    return np.stack(
        [
            image[row : row + rows, column : column + columns]
            for image, (row, column) in zip(padded, starts, strict=True)
        ]
    )


def draw_train_shift(train_shift: str, *, corruption_seed: int, epoch: int, stem: str) -> Shift:
    """Return the shift of a volume in an epoch; ``random`` parts are uniform over kinds and over levels 0 to 5."""
    from mrisim.artifacts import ALIASES, KINDS

    rng = stream(corruption_seed, "train shift", epoch, stem)
    kind, _, level = train_shift.partition(":")
    if train_shift == "random":
        kind, level = str(rng.choice(list(KINDS))), "random"
    drawn_level = int(rng.integers(0, N_LEVELS + 1)) if level == "random" else int(level)
    return Shift(ALIASES.get(kind, kind), drawn_level, seed=corruption_seed)


def shifted_epoch(
    path: Path,
    table: SliceTable,
    clean: np.ndarray,
    order: np.ndarray,
    store: ImageStore,
    *,
    draw: tuple[str, int, int],
    progress: Progress | None = None,
) -> np.ndarray:
    """Corrupt the k-space of the slices that an epoch needs; return their images.

    Parameters
    ----------
    path : Path
        File of the memory map, written anew.
    table : SliceTable
        Of the training split.
    clean : float array (slice, rows, columns)
        Gives the shape.
    order : int array
        From `epoch_order`.
    store : ImageStore
    draw : (train shift, corruption seed, epoch)
    progress : callable, optional

    Returns
    -------
    float32 memory map (slice, rows, columns)
        Rows that the order does not name hold nothing of use.
    """
    train_shift, corruption_seed, epoch = draw
    images = new_image_map(path, clean.shape)

    def shift_of(volume: Volume) -> tuple[Shift, str]:
        shift = draw_train_shift(train_shift, corruption_seed=corruption_seed, epoch=epoch, stem=volume.stem)
        # Another item in every epoch: else a slice would meet the same noise thirty times.
        return shift, f"{volume.stem}/epoch {epoch}"

    fill_images(images, table, shift_of, store, wanted=np.isin(np.arange(len(clean)), order), progress=progress)
    return images
