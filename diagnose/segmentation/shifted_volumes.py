"""Volumes under a shift: every contrast's k-space corrupted, reconstructed, and scaled as in training.

A case of the embedded cohort has multi-coil k-space of each contrast; a magnitude volume of public BraTS gets a
synthesised phase and coils by the one rule of `mrisim.formats`. The brain is that of the clean images, for skull
stripping and for scaling: both come before the network, and an artifact fills the air around the head. Contrasts are
acquired one after another, so each has its own draw.

Limits
------
Public BraTS is resampled to 1 mm and stripped of its skull: k-space synthesised from it is not raw data, ghosts of the
skull are missing, and what is corrupted is an interpolated image (Shimron et al. 2022, 10.1073/pnas.2117203119).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from diagnose.segmentation.brats import Case, load_images
from diagnose.segmentation.brats_releases import CHANNELS
from diagnose.segmentation.scaled_volumes import scaled
from diagnose.segmentation.volume_scaling import VolumeScaling, brain_mask
from diagnose.slice_images import Shift, make_images
from diagnose.volumes import Volume
from mrisim.errors import DataError
from mrisim.worker_threads import worker_threads

TOLERANCE = 1e-3
"""Of the clean reconstruction against the image of the case, over its maximum."""


class ShiftedCase:
    """One case, ready to be shifted: its brain, and the file that each contrast is corrupted from."""

    def __init__(self, case: Case, kspace: Mapping[str, Volume]):
        """Read the clean images.

        Parameters
        ----------
        case : Case
        kspace : mapping of channel to Volume
            Empty where the case is magnitudes alone.

        Raises
        ------
        DataError
            If a file cannot be read, or the k-space is not that of the images.
        """
        images = load_images(case)
        self.case = case
        self.brain = brain_mask(images)
        self._has_kspace = bool(kspace)
        self._files = kspace or {
            channel: Volume(case.paths[channel], case.paths[channel].name, case.patient, channel, images.shape[3])
            for channel in CHANNELS
        }
        for channel, image in zip(CHANNELS, images, strict=True):
            self._check(channel, image)

    def _check(self, channel: str, image: np.ndarray) -> None:
        made = self._contrast(channel, Shift())
        if made.shape != image.shape:
            raise DataError(
                f"{self._files[channel].file} gives a volume of {made.shape}, {self.case.paths[channel].name} is "
                f"{image.shape}; expected the k-space of this case"
            )
        error = float(np.abs(made - image)[self.brain].max() / image.max())
        if error > TOLERANCE:
            raise DataError(
                f"{self._files[channel].file} differs from {self.case.paths[channel].name} by {error:.2g} of its "
                "maximum; expected the k-space of this case"
            )

    def _contrast(self, channel: str, shift: Shift) -> np.ndarray:
        """Return one contrast (x, y, z) on the grid of the case."""
        made = make_images(self._files[channel], shift)
        # the cohort's slices are (row, column) = (y, x) of its NIfTI; the rule for NIfTI itself keeps (x, y)
        return made.transpose(2, 1, 0) if self._has_kspace else made.transpose(1, 2, 0)

    def images(self, shift: Shift, scaling: VolumeScaling, *, n_threads: int = 1) -> np.ndarray:
        """Return the scaled images (channel, x, y, z) under a shift.

        Raises
        ------
        DataError
            If a contrast is left without spread within the brain.
        """
        with worker_threads(n_threads) as pool:
            contrasts = list(pool.map(lambda channel: self._contrast(channel, shift), CHANNELS))
        return scaled(np.stack(contrasts), scaling, self.brain)
