"""The encoding operator y = P F S x as a fast SigPy Linop.

Importing this module imports SigPy.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from sigpy.linop import Linop

from mrisim.coil_sums import acquired_samples, energy_of_misfit, energy_of_slices, weighted_sum
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

    def misfit(self, image: Array, kspace: Array) -> Any:
        """Return sum |P F S x - y|^2 over coils and samples: (..., readout, phase_encode) and k-space -> (...)."""
        if not self.compiled_for(image):
            return energy_of_slices(self(image) - kspace)
        coils = zip(self.csm, kspace, strict=True)
        return np.float32(
            sum(energy_of_misfit(centred_fft(csm * image, overwrite=True), lines, self.sampled) for csm, lines in coils)
        )

    def compiled_for(self, array: Array) -> bool:
        """Tell whether there are compiled loops for an array and these maps: one slice, complex64, on the host."""
        return self.coil_by_coil and self.csm.dtype == np.complex64 and array.dtype == np.complex64

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
        if not self.encoding.compiled_for(input):
            return xp.sum(csm.conj() * centred_ifft(xp.where(mask, input, 0)), axis=-3)
        kept, _ = acquired_samples(input, self.encoding.sampled)
        return weighted_sum(centred_ifft(kept, overwrite=True), csm)

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

    def solves(self, right: Array) -> bool:
        """Tell whether `solved` can: on the host, in single precision, where the mask is no set of lines."""
        return bool(self.of_slices) and len(self.axes) == 2 and right.dtype == np.complex64

    def solved(self, right: Array, n_iterations: int, damping: float) -> Array:
        """Return what `BlockwiseConjugateGradient` would, slice by slice, in one compiled call each."""
        images = right.reshape(-1, *right.shape[-2:])
        parts = [part.solved(image, n_iterations, damping) for part, image in zip(self.of_slices, images, strict=True)]
        return np.stack(parts).reshape(right.shape)

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
