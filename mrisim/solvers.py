"""Iterative solvers as SigPy Algs: what each iteration needs stays where the image lies, on the host or a GPU.

SigPy's own measure the change of the image after every iteration, which the host has to wait for. Importing this module
imports SigPy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sigpy.alg import Alg
from sigpy.linop import FiniteDifference, Linop

from mrisim import encoding_kernels
from mrisim.fourier import IMAGE_AXES, Array, array_module
from mrisim.sparsity import shrunk


def solved(solver: Alg) -> Array:
    """Run a solver to its end and return what it has solved for."""
    while not solver.done():
        solver.update()
    return solver.x


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


class AcceleratedProximalGradient(Alg):
    """Minimise 1/2 <x, A x> - <b, x> + g(x) for an A with eigenvalues up to 1: FISTA, at a step size of 1.

    The iterates are those of `sigpy.alg.GradientMethod`.

    Parameters
    ----------
    normal : callable
        A, Hermitian and positive semi-definite.
    right : complex array
        b.
    x : complex array
        The start; the solution is written into it.
    proximal : callable
        (step size, image) -> the proximal map of g.
    n_iterations : int

    References
    ----------
    Beck and Teboulle 2009, 10.1137/080716542.
    """

    def __init__(
        self, normal: Linop, right: Array, x: Array, proximal: Callable[[float, Array], Array], n_iterations: int
    ) -> None:
        self.normal, self.right, self.proximal = normal, right, proximal
        self.x, self.ahead, self.momentum = x, x.copy(), 1.0
        super().__init__(n_iterations)

    def _update(self) -> None:
        before = self.x.copy()
        point = self.ahead - self.normal(self.ahead)
        point += self.right
        self.x[...] = self.proximal(1.0, point)
        momentum = (1 + (1 + 4 * self.momentum**2) ** 0.5) / 2
        self.ahead = self.x - before
        self.ahead *= (self.momentum - 1) / momentum
        self.ahead += self.x
        self.momentum = momentum

    def _done(self) -> bool:
        return self.iter >= self.max_iter


class TotalVariation(Alg):
    """Minimise 1/2 |y - E x|^2 + r |D x|_1, D the periodic differences along both image axes, by primal-dual steps.

    The data's dual step u <- (u + s (E x - y)) / (1 + s) is affine, and of u only E^H u is ever used: it obeys the same
    step with E^H E x and E^H y, and is an image. So the iterates are those of `sigpy.mri.app.TotalVariationRecon`, at
    the price of one normal operator.

    Parameters
    ----------
    normal : Linop
        E^H E, with eigenvalues up to 1; those of D^H D go up to 8.
    right : (..., readout, phase_encode), complex
        E^H y.
    x : (..., readout, phase_encode), complex
        The start; the solution is written into it.
    regularisation : float
        r.
    dual_step : float
        s; the primal step is 1 / (9 s).
    n_iterations : int

    References
    ----------
    Chambolle and Pock 2011, 10.1007/s10851-010-0251-1. Block et al. 2007, 10.1002/mrm.21236.
    """

    def __init__(
        self, normal: Linop, right: Array, x: Array, regularisation: float, dual_step: float, n_iterations: int
    ) -> None:
        self.normal, self.right, self.regularisation, self.dual_step = normal, right, regularisation, dual_step
        self.difference = FiniteDifference(x.shape, axes=IMAGE_AXES)
        xp = array_module(x)
        self.x, self.ahead = x, x.copy()
        self.of_data, self.of_differences = xp.zeros_like(x), xp.zeros(self.difference.oshape, x.dtype)
        super().__init__(n_iterations)

    def _update(self) -> None:
        step = self.dual_step
        self.of_data += step * (self.normal(self.ahead) - self.right)
        self.of_data /= 1 + step
        self.of_differences += step * self.difference(self.ahead)
        self.of_differences -= shrunk(self.of_differences, self.regularisation)  # its modulus is at most r
        before = self.x.copy()
        self.x -= (self.of_data + self.difference.H(self.of_differences)) / (9 * step)
        self.ahead = 2 * self.x - before

    def _done(self) -> bool:
        return self.iter >= self.max_iter
