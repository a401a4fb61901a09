"""Move an image rigidly: the trigonometric interpolant of its pixels, evaluated at the moved positions.

An image of N pixels is a trigonometric polynomial x(r) = 1/sqrt(N) sum_k X(k) exp(2 pi i k r / N): that polynomial *is*
the object between the pixels. A translation multiplies X by a phase ramp, exactly. A rotation evaluates the polynomial
off the grid, by gridding (relative error below 1e-5).
"""

from functools import cached_property

import numpy as np

from mrisim.finer_grid import finer_grid
from mrisim.fourier import Array, filtered, signed_frequency
from mrisim.gridding import bundled, encode_changes, resample


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

    def encode_changes(
        self, poses: np.ndarray, waves: np.ndarray, csm: np.ndarray, hybrid: np.ndarray, places: np.ndarray
    ) -> None:
        """Write what rotated poses change of a stack as its coils see it, summed along the phase encode with a wave.

        hybrid[..., places[p]] = sum_q csm[..., q] (at(poses[p]) - image)[..., q] waves[p, q], without the moved images
        in between; on the host.

        Parameters
        ----------
        poses : (pose, 3)
            None without a rotation: a shift alone has its exact way, in `at`.
        waves : (pose, phase_encode), complex
        csm : (slice, coil, readout, phase_encode), complex
        hybrid : (slice, coil, readout, any), complex
        places : (pose,), int
        """
        matrices, offsets = self._sources(poses)
        still = np.ascontiguousarray(self._stack)
        encode_changes(bundled(self._oversampled), matrices, offsets, still, waves, csm, hybrid, places)

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
        moved = self.image
        for shift, axis in ((row, -2), (column, -1)):
            if shift:
                n = moved.shape[axis]
                ramp = np.exp(-2j * np.pi * shift * signed_frequency(n) / n)
                moved = filtered(moved, ramp, axis, overwrite=moved is not self.image)
        return moved

    @cached_property
    def _oversampled(self) -> Array:
        """The images on a twice finer grid, for `resample`."""
        return finer_grid(self._stack)
