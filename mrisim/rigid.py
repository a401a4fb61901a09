"""Move an image rigidly: the trigonometric interpolant of its pixels, evaluated at the moved positions.

An image of N pixels is a trigonometric polynomial x(r) = 1/sqrt(N) sum_k X(k) exp(2 pi i k r / N): that polynomial *is*
the object between the pixels. A translation multiplies X by a phase ramp, exactly. A rotation evaluates the polynomial
off the grid, by gridding (relative error below 1e-5).
"""

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from mrisim.fourier import Array, array_module, fft_module, in_place
from mrisim.gridding import OVERSAMPLING, change_of_row, kernel_transform, resample, with_border


class RigidObject:
    """An image that can be seen in any in-plane pose.

    Parameters
    ----------
    image : (readout, phase_encode), complex
    voxel_mm : (float, float)
    """

    def __init__(self, image: Array, voxel_mm: tuple[float, float]) -> None:
        self.image = image
        self.voxel_mm = voxel_mm

    def at(self, pose: np.ndarray) -> Array:
        """Return the image after a rotation about the centre pixel N//2 and then a translation.

        Parameters
        ----------
        pose : (3,)
            Translation along readout (mm, towards larger row index), along phase encode (mm, towards larger column
            index), rotation (degrees; positive turns the row axis towards the column axis, as `numpy.rot90` does).

        Returns
        -------
        complex array of the image's shape and dtype; what leaves one side enters at the other (periodic)
        """
        if pose[2] == 0:
            return self._translated(float(pose[0] / self.voxel_mm[0]), float(pose[1] / self.voxel_mm[1]))
        matrix, offset = self._source(pose)
        return resample(self._oversampled, matrix, offset, self.image.shape)

    def encoded_changes(self, poses: np.ndarray, waves: np.ndarray) -> Iterator[np.ndarray]:
        """Yield, row by row, what rotated poses change of the image, times a wave: (pose, phase_encode).

        The same as (at(pose) - image)[row] * wave for each pose, without the moved images in between; on the host.

        Parameters
        ----------
        poses : (pose, 3)
            None without a rotation: a shift alone has its exact way, in `at`.
        waves : (pose, phase_encode), complex
        """
        sources = [self._source(pose) for pose in poses]
        matrices, offsets = np.stack([matrix for matrix, _ in sources]), np.stack([offset for _, offset in sources])
        out = np.empty((len(poses), self.image.shape[1]), self.image.dtype)
        for row in range(self.image.shape[0]):
            change_of_row(self._oversampled, matrices, offsets, self.image, row, waves, out)
            yield out

    def _source(self, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the matrix and the offset that map a pixel to where it came from, in pixels from the centre."""
        row, column = pose[0] / self.voxel_mm[0], pose[1] / self.voxel_mm[1]
        cosine, sine = math.cos(math.radians(pose[2])), math.sin(math.radians(pose[2]))
        # source = D^-1 R(-angle) D (target - shift), with D = voxel size
        ratio = self.voxel_mm[1] / self.voxel_mm[0]
        matrix = np.array([[cosine, sine * ratio], [-sine / ratio, cosine]])
        return matrix, matrix @ (row, column)

    def _translated(self, row: float, column: float) -> Array:
        if row == 0 and column == 0:
            return self.image
        ramps = [
            np.exp(-2j * np.pi * shift * signed_frequency(n) / n).astype(self.image.dtype)
            for shift, n in zip((row, column), self.image.shape, strict=True)
        ]
        xp = array_module(self.image)
        spectrum = self._spectrum * xp.asarray(ramps[0])[:, None]
        spectrum *= xp.asarray(ramps[1])
        return fft_module(spectrum).ifft2(spectrum, **in_place(spectrum))

    @cached_property
    def _spectrum(self) -> Array:
        """The spectrum in the order of the FFT: with a ramp in that order, too, nothing needs to be shifted."""
        return fft_module(self.image).fft2(self.image)

    @cached_property
    def _oversampled(self) -> Array:
        """The image on a twice finer grid, divided by the kernel's transform beforehand, and continued at its edges."""
        xp = array_module(self.image)
        fine = tuple(OVERSAMPLING * n for n in self.image.shape)
        spectrum, signed = self._spectrum, [signed_frequency(n) for n in self.image.shape]
        for axis, (k, n) in enumerate(zip(signed, fine, strict=True)):
            factor = xp.asarray((OVERSAMPLING / kernel_transform(k / n)).astype(self.image.real.dtype))
            spectrum = spectrum * (factor[:, None] if axis == 0 else factor)
        padded = xp.zeros(fine, self.image.dtype)
        halves = [(slice(None, (n + 1) // 2), slice(-(n // 2), None) if n > 1 else slice(0, 0)) for n in spectrum.shape]
        for rows in halves[0]:
            for columns in halves[1]:
                padded[rows, columns] = spectrum[rows, columns]
        return with_border(fft_module(padded).ifft2(padded, **in_place(padded)))


def signed_frequency(n: int) -> np.ndarray:
    """Return the signed integer frequencies of an axis in the order of the FFT: 0, 1 ... -2, -1; -n/2 for even n."""
    return (np.arange(n) + n // 2) % n - n // 2
