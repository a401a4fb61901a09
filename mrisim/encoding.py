"""The encoding operator y = P F S x as a fast SigPy Linop, and a solver for systems that fall apart into blocks.

Importing this module imports SigPy.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from sigpy.alg import Alg
from sigpy.linop import Linop

from mrisim import encoding_kernels
from mrisim.coil_sums import acquired_samples
from mrisim.fourier import Array, array_module, centred_fft, centred_ifft, plain_fft, plain_ifft
from mrisim.host_normal import HostNormal


class Encoding(Linop):
    """Weight an image with the coil maps, transform it, and keep the sampled part: agrees with `sigpy.mri.linop.Sense`.

    Its normal operator N = S^H F^H P F S is where the speed lies: the shifts of the centred transforms cancel; one coil
    is held at a time, which stays in the cache, in compiled loops where the lengths allow it (on a GPU all coils go at
    once); and where whole lines are sampled the transform along the readout cancels, too. On the host N keeps its work
    arrays from call to call: an Encoding is for one thread at a time.

    Parameters
    ----------
    csm : (..., coil, readout, phase_encode), complex64
        On the device where the operator shall work; it is not copied there again. Slices before the coils go at once:
        that fills a GPU (`mrisim.slice_batches`).
    sampled : bool (readout, phase_encode)
    """

    def __init__(self, csm: Array, sampled: np.ndarray) -> None:
        xp = array_module(csm)
        self.csm = csm
        self.sampled = np.asarray(sampled, bool)
        self.whole_lines = bool((self.sampled == self.sampled[:1]).all())
        self.coil_by_coil = isinstance(csm, np.ndarray) and csm.ndim == 3
        self._mask = xp.asarray(self.sampled)
        super().__init__(tuple(csm.shape), (*csm.shape[:-3], *csm.shape[-2:]), "Encoding")

    def _apply(self, input: Array) -> Array:
        xp = array_module(input)
        if not self.coil_by_coil:
            return xp.where(self._mask, centred_fft(self.csm * input[..., None, :, :]), 0)
        kspace = np.empty(self.oshape, input.dtype)
        for coil, lines in zip(self.csm, kspace, strict=True):
            lines[...] = centred_fft(coil * input, overwrite=True)
            lines.view(lines.real.dtype)[...] *= self._of_reals
        return kspace

    @cached_property
    def _of_reals(self) -> np.ndarray:
        """The mask, for real and imaginary part each: a product of reals is in vector instructions, `where` is not."""
        return np.repeat(self.sampled, 2, axis=-1).astype(self.csm.real.dtype)

    @property
    def H(self) -> Linop:
        """The adjoint, made anew: held here, the two would keep each other, and the maps, until garbage collection."""
        return _Adjoint(self)

    def _adjoint_linop(self) -> Linop:
        return _Adjoint(self)

    def _normal_linop(self) -> Linop:
        return _Normal(self)


class _Adjoint(Linop):
    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        super().__init__(encoding.ishape, encoding.oshape, "Encoding.H")

    def _apply(self, input: Array) -> Array:
        xp, csm, mask = array_module(input), self.encoding.csm, self.encoding._mask
        if not self.encoding.coil_by_coil:
            return xp.sum(csm.conj() * centred_ifft(xp.where(mask, input, 0)), axis=-3)
        image = np.zeros(self.oshape, input.dtype)
        for coil, lines in zip(csm, input, strict=True):
            (kept,), _ = acquired_samples(lines[None], self.encoding.sampled)
            seen = centred_ifft(kept, overwrite=True)
            seen *= coil.conj()
            image += seen
        return image

    def _adjoint_linop(self) -> Linop:
        return self.encoding


class _Normal(Linop):
    """S^H F^H P F S: what one iteration of a solver costs."""

    def __init__(self, encoding: Encoding) -> None:
        xp, csm = array_module(encoding.csm), encoding.csm
        self.axes = (-1,) if encoding.whole_lines else (-2, -1)
        # A plain FFT of pixels in their order gives lines from DC on, and a phase that the inverse takes back.
        self.sampled = xp.asarray(np.fft.ifftshift(encoding.sampled, self.axes), csm.real.dtype)
        if encoding.whole_lines:
            self.sampled = self.sampled[:1]
        self.csm, self.coil_by_coil = csm, encoding.coil_by_coil
        self.of_slices: list[HostNormal] = []
        if isinstance(csm, np.ndarray) and HostNormal.possible(csm, encoding.whole_lines):
            stack = csm.reshape(-1, *csm.shape[-3:])
            self.of_slices = [HostNormal(maps, encoding.sampled, encoding.whole_lines) for maps in stack]
        super().__init__(encoding.ishape, encoding.ishape, "Encoding.N")

    def _apply(self, input: Array) -> Array:
        if self.of_slices and input.dtype == np.complex64:
            images = input.reshape(-1, *input.shape[-2:])
            parts = [normal(image) for normal, image in zip(self.of_slices, images, strict=True)]
            return parts[0].reshape(input.shape) if len(parts) == 1 else np.stack(parts).reshape(input.shape)
        if not self.coil_by_coil:
            return self._of_coils(self.csm, self._conjugate, input[..., None, :, :]).sum(axis=-3)
        total = np.zeros(input.shape, input.dtype)
        for coil, conjugate in zip(self.csm, self._conjugate, strict=True):
            total += self._of_coils(coil, conjugate, input)
        return total

    @cached_property
    def _conjugate(self) -> Array:
        return self.csm.conj()

    def _of_coils(self, csm: Array, conjugate: Array, image: Array) -> Array:
        seen = plain_fft(csm * image, self.axes, overwrite=True)
        seen *= self.sampled
        seen = plain_ifft(seen, self.axes, overwrite=True)
        seen *= conjugate
        return seen

    def _adjoint_linop(self) -> Linop:
        return self


class BlockwiseConjugateGradient(Alg):
    """Solve (A + damping) x = b by conjugate gradients, with step sizes of its own for every block that A does not mix.

    Slices do not mix; where whole lines are sampled, readout positions do not either. Solved apart they converge in
    fewer iterations than together, at the same cost, and no slice depends on its neighbours.

    Parameters
    ----------
    normal : callable
        A, Hermitian and positive semi-definite: (..., readout, phase_encode) -> the same.
    right : (..., readout, phase_encode), complex
        b.
    x : (..., readout, phase_encode), complex, C-contiguous
        The start, zero; the solution is written into it.
    n_iterations : int
    n_axes : int
        Of a block: 1 for readout positions apart, 2 for slices apart.
    damping : float
    """

    def __init__(
        self, normal: Linop, right: Array, x: Array, n_iterations: int, *, n_axes: int, damping: float = 0.0
    ) -> None:
        self.normal, self.damping = normal, damping
        self.x = x
        self.n_axes = n_axes
        self.residual, self.direction = right.copy(), right.copy()
        self.power = _block_power(right, right, n_axes)
        super().__init__(n_iterations)

    def _update(self) -> None:
        image = self.normal(self.direction)
        if isinstance(image, np.ndarray) and image.dtype == np.complex64:
            x, residual, direction, image = (
                array.view(np.float32).reshape(self.power.size, -1)
                for array in (self.x, self.residual, self.direction, image)
            )
            encoding_kernels.conjugate_gradient_step(
                x, residual, direction, image, self.power.reshape(-1), self.damping
            )
        else:
            self._step(image)

    def _step(self, image: Array) -> None:
        """Do what `conjugate_gradient_step` does in whole-array steps, for a GPU."""
        xp = array_module(self.x)
        image += self.damping * self.direction
        curvature = _block_power(self.direction, image, self.n_axes)
        # A block that is solved, or empty, has no direction left.
        step = xp.where(curvature > 0, self.power / xp.where(curvature > 0, curvature, 1), 0)
        self.x += step * self.direction
        self.residual -= step * image
        power = _block_power(self.residual, self.residual, self.n_axes)
        self.direction *= xp.where(self.power > 0, power / xp.where(self.power > 0, self.power, 1), 0)
        self.direction += self.residual
        self.power = power

    def _done(self) -> bool:
        return self.iter >= self.max_iter


def _block_power(a: Array, b: Array, n_axes: int) -> Array:
    """Return the real part of the inner product of each block, its axes kept: b's block is A times a's, or a's own."""
    # as pairs of reals: the real part of a product of complex numbers is their inner product
    pairs = (part.view(part.real.dtype) for part in (a, b))
    rows = array_module(a).einsum("...p,...p->...", *pairs)[..., None]
    return rows if n_axes == 1 else rows.sum(axis=-2, keepdims=True)
