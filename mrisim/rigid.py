"""Move an image rigidly: the trigonometric interpolant of its pixels, evaluated at the moved positions.

An image of N pixels is a trigonometric polynomial x(r) = 1/sqrt(N) sum_k X(k) exp(2 pi i k r / N): that polynomial *is*
the object between the pixels. A translation multiplies X by a phase ramp, exactly. A rotation evaluates the polynomial
off the grid, by gridding (relative error below 1e-5).
"""

from collections.abc import Iterator
from functools import cached_property, lru_cache

import numpy as np

from mrisim.fourier import Array, array_module, plain_fft, plain_ifft
from mrisim.gridding import bundled, change_of_row, resample, with_border
from mrisim.gridding_kernels import OVERSAMPLING
from mrisim.kaiser_bessel import kernel_transform


class RigidObject:
    """An image, or a stack of them that moves as one, that can be seen in any in-plane pose.

    Parameters
    ----------
    image : (..., readout, phase_encode), complex
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
        (matrix,), (offset,) = self._sources(pose[None])
        return resample(self._oversampled, matrix, offset, self._stack.shape).reshape(self.image.shape)

    def encoded_changes(self, poses: np.ndarray, waves: np.ndarray) -> Iterator[np.ndarray]:
        """Yield, row by row, what rotated poses change of the image, times a wave: (..., pose, phase_encode).

        The same as (at(pose) - image)[..., row, :] * wave for each pose, without the moved images in between; on the
        host. What was yielded is overwritten by the next row.

        Parameters
        ----------
        poses : (pose, 3)
            None without a rotation: a shift alone has its exact way, in `at`.
        waves : (pose, phase_encode), complex
        """
        matrices, offsets = self._sources(poses)
        still = np.ascontiguousarray(self._stack)
        grid = bundled(self._oversampled)
        out = np.empty((len(still), len(poses), still.shape[2]), still.dtype)
        for row in range(still.shape[1]):
            change_of_row(grid, matrices, offsets, still, row, waves, out)
            yield out.reshape(*self.image.shape[:-2], *out.shape[1:])

    @property
    def _stack(self) -> Array:
        return self.image.reshape(-1, *self.image.shape[-2:])

    def _sources(self, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the matrices and offsets that map a pixel to where it came from, in pixels from the centre."""
        angle, ratio = np.radians(poses[:, 2]), self.voxel_mm[1] / self.voxel_mm[0]
        cosine, sine = np.cos(angle), np.sin(angle)
        # source = D^-1 R(-angle) D (target - shift), with D = voxel size
        matrices = np.stack([cosine, sine * ratio, -sine / ratio, cosine], axis=1).reshape(-1, 2, 2)
        return matrices, np.einsum("pij,pj->pi", matrices, poses[:, :2] / self.voxel_mm)

    def _translated(self, row: float, column: float) -> Array:
        if row == 0 and column == 0:
            return self.image
        ramps = [
            np.exp(-2j * np.pi * shift * signed_frequency(n) / n).astype(self.image.dtype)
            for shift, n in zip((row, column), self.image.shape[-2:], strict=True)
        ]
        xp = array_module(self.image)
        spectrum = self._spectrum * xp.asarray(ramps[0])[:, None]
        spectrum *= xp.asarray(ramps[1])
        return plain_ifft(spectrum, ortho=False, overwrite=True)

    @cached_property
    def _spectrum(self) -> Array:
        """The spectrum in the order of the FFT: with a ramp in that order, too, nothing needs to be shifted."""
        return plain_fft(self.image, ortho=False)

    @cached_property
    def _oversampled(self) -> Array:
        """The images on a twice finer grid, divided by the kernel's transform beforehand, for `resample`."""
        grid = self._spectrum.reshape(self._stack.shape)
        for axis in (-2, -1):  # the columns, while there are only half as many: rows lie better in memory
            grid = _finer(grid, axis)
        return with_border(grid)


def _finer(spectrum: Array, axis: int) -> Array:
    """Transform one axis to positions on a finer grid, divided by the kernel's transform."""
    xp, n = array_module(spectrum), spectrum.shape[axis]
    shape = list(spectrum.shape)
    shape[axis] *= OVERSAMPLING
    padded = xp.empty(shape, spectrum.dtype)
    factor = _inverse_kernel(n).astype(spectrum.real.dtype)
    given, placed = xp.moveaxis(spectrum, axis, -1), xp.moveaxis(padded, axis, -1)
    below, above = (n + 1) // 2, n // 2
    placed[..., :below] = given[..., :below] * xp.asarray(factor[:below])
    placed[..., below : shape[axis] - above] = 0
    placed[..., shape[axis] - above :] = given[..., below:] * xp.asarray(factor[below:])
    return plain_ifft(padded, (axis,), ortho=False, overwrite=True)


@lru_cache(maxsize=16)
def _inverse_kernel(n: int) -> np.ndarray:
    """Return what the spectrum of n pixels is multiplied with for the finer grid."""
    return OVERSAMPLING / kernel_transform(signed_frequency(n) / (OVERSAMPLING * n))


def signed_frequency(n: int) -> np.ndarray:
    """Return the signed integer frequencies of an axis in the order of the FFT: 0, 1 ... -2, -1; -n/2 for even n."""
    return (np.arange(n) + n // 2) % n - n // 2
