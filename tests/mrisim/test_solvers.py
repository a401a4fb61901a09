"""The iterative solvers against dense matrices, the textbook, and those of SigPy."""

import numpy as np
import pytest
from sigpy.alg import GradientMethod, PrimalDualHybridGradient
from sigpy.app import LinearLeastSquares
from sigpy.linop import FiniteDifference, Identity, Vstack
from sigpy.prox import Conj, L1Reg, L2Reg, NoOp, Stack

from mrisim.encoding import Encoding
from mrisim.reconstruct import unit_maps
from mrisim.solvers import AcceleratedProximalGradient, BlockwiseConjugateGradient, TotalVariation, solved
from mrisim.sparsity import shrunk
from mrisim.testing import encoding_problem, relative_difference

SHAPE = (3, 11, 14)


@pytest.mark.parametrize("n_lines", [24, 22])  # with compiled loops, and without
def test_the_rowwise_solver_solves_and_does_so_sooner_than_the_common_one(n_lines):
    csm, sampled, _, kspace = encoding_problem((4, 13, n_lines), "lines", seed=3)
    # rows of very different strength: one step size cannot suit them all
    csm *= np.geomspace(0.1, 1, 13, dtype=np.float32)[:, None]
    encode = Encoding(csm, sampled)
    normal, right = encode.N + 1e-2 * Identity(encode.ishape), encode.H(kspace)
    matrix = np.stack([normal(unit) for unit in np.eye(right.size, dtype=np.complex64).reshape(-1, *right.shape)])
    exact = np.linalg.solve(matrix.reshape(right.size, -1).T.astype(complex), right.ravel()).reshape(right.shape)
    image = np.zeros_like(right)
    solver = BlockwiseConjugateGradient(normal, right, image, 40, n_axes=1)
    solved(solver)
    together = LinearLeastSquares(encode, kspace, lamda=1e-2, max_iter=40, show_pbar=False).run()
    assert relative_difference(image, exact) < 1e-3
    assert relative_difference(image, exact) < 0.1 * relative_difference(together, exact)


@pytest.mark.parametrize("dtype", [np.complex64, complex])
def test_one_step_for_every_block(dtype):
    """Against the textbook, block by block: the compiled step, and the one in whole arrays."""
    rng = np.random.default_rng(7)
    matrices = rng.normal(size=(3, 6, 6)) + 1j * rng.normal(size=(3, 6, 6))
    matrices = matrices @ matrices.conj().swapaxes(1, 2)
    right = (rng.normal(size=(3, 6)) + 1j * rng.normal(size=(3, 6))).astype(dtype)

    def normal(direction):
        return np.einsum("bij,bj->bi", matrices, direction).astype(dtype)

    image = np.zeros_like(right)
    solver = BlockwiseConjugateGradient(normal, right, image, 2, n_axes=1, damping=0.5)
    solved(solver)
    for matrix, b, got in zip(matrices + 0.5 * np.eye(6), right, image, strict=True):
        x, residual, direction = np.zeros(6, complex), b.astype(complex), b.astype(complex)
        for _ in range(2):
            step = np.vdot(residual, residual).real / np.vdot(direction, matrix @ direction).real
            x, left = x + step * direction, residual - step * matrix @ direction
            direction = left + np.vdot(left, left).real / np.vdot(residual, residual).real * direction
            residual = left
        assert relative_difference(got, x) < 1e-5


@pytest.mark.parametrize("dtype", [np.complex64, complex])
def test_rows_without_signal_and_rows_that_are_solved_stay_finite(dtype):
    csm, sampled, _, kspace = encoding_problem(SHAPE, "lines")
    csm, kspace = csm.astype(dtype), kspace.astype(dtype)
    csm[:, 4] = 0
    encode = Encoding(csm, sampled)
    image = np.zeros(SHAPE[1:], dtype)
    normal = encode.N + 0.1 * Identity(encode.ishape)
    solver = BlockwiseConjugateGradient(normal, encode.H(kspace), image, 200, n_axes=1)
    solved(solver)
    assert np.isfinite(image).all() and not image[4].any() and image[3].any()


@pytest.mark.parametrize("kind", ["lines", "samples"])
def test_several_slices_at_once_are_those_of_each_alone(kind):
    problems = [encoding_problem(SHAPE, kind, seed) for seed in range(3)]
    sampled = problems[0][1]
    csm, kspace = (
        np.stack([strength * each[part] for strength, each in zip((1, 0.3, 5), problems, strict=True)])
        for part in (0, 3)
    )

    def image_of(maps, data):
        operator = Encoding(maps, sampled)
        right, n_axes = operator.H(data), 1 if kind == "lines" else 2
        image = np.zeros_like(right)
        return solved(BlockwiseConjugateGradient(operator.N, right, image, 5, n_axes=n_axes, damping=0.1))

    for one, maps, data in zip(image_of(csm, kspace), csm, kspace, strict=True):
        assert relative_difference(one, image_of(maps, data)) < 1e-5


@pytest.mark.parametrize("shape", [(5, 12, 9), (3, 40, 20)])
def test_the_compiled_solver_takes_the_steps_of_the_common_one(shape):
    problems = [encoding_problem(shape, "samples", seed) for seed in range(2)]
    sampled = problems[0][1]
    csm, kspace = (
        np.stack([scale * one[part] for scale, one in zip((1, 3), problems, strict=True)]) for part in (0, 3)
    )
    encode = Encoding(csm, sampled)
    right = encode.H(kspace)
    normal, before = encode.N, right.copy()
    for n_iterations in (9, 2):
        common = BlockwiseConjugateGradient(normal, right, np.zeros_like(right), n_iterations, n_axes=2, damping=5.0)
        assert normal.solves(right)
        got = normal.solved(right, n_iterations, 5.0)
        assert got.dtype == np.complex64 and relative_difference(got, solved(common)) < 1e-5
    np.testing.assert_array_equal(right, before)
    assert not normal.solved(np.zeros_like(right), 3, 0.0).any()
    assert not normal.solves(right.astype(complex)), "double precision has no compiled loops"
    assert not Encoding(csm, np.ones(shape[1:], bool)).N.solves(right), "readout positions are solved apart"


@pytest.fixture(params=[np.complex64, complex], ids=["single", "double"])
def normal_equations(request):
    """Return E, a right side and a start of zeros, the eigenvalues of the normal operator up to 1."""
    csm, sampled, _, kspace = encoding_problem(SHAPE, "samples")
    encode = Encoding(unit_maps(csm), sampled)
    right = encode.H(kspace).astype(request.param)
    return encode, right, np.zeros_like(right)


def test_the_accelerated_gradient_is_that_of_sigpy(normal_equations):
    encode, right, image = normal_equations
    penalty, theirs = L1Reg(right.shape, 0.3), np.zeros_like(right)
    ours = solved(AcceleratedProximalGradient(encode.N, right, image, lambda step, x: shrunk(x, 0.3 * step), 12))
    solved(GradientMethod(lambda x: encode.N(x) - right, theirs, 1, proxg=penalty, accelerate=True, max_iter=12))
    assert ours is image and ours.dtype == right.dtype
    assert relative_difference(ours, theirs) < 1e-5


def test_total_variation_is_the_primal_dual_method_of_sigpy_with_a_dual_of_the_data(normal_equations):
    """Theirs holds the dual of the k-space, ours its adjoint."""
    encode, right, image = normal_equations
    kspace = encoding_problem(SHAPE, "samples")[3]
    data = np.where(encode.sampled, kspace, 0).astype(np.complex64)
    difference = FiniteDifference(encode.ishape)
    both = Vstack([encode, difference])
    theirs = np.zeros(encode.ishape, np.complex64)
    solved(
        PrimalDualHybridGradient(
            Stack([L2Reg(encode.oshape, 1, y=-data), Conj(L1Reg(difference.oshape, 0.3))]),
            NoOp(encode.ishape),
            both,
            both.H,
            theirs,
            np.zeros(both.oshape, np.complex64),
            1 / (9 * 0.2),
            0.2,
            max_iter=12,
        )
    )
    ours = solved(TotalVariation(encode.N, right, image, 0.3, 0.2, 12))
    assert ours is image and ours.dtype == right.dtype
    assert relative_difference(ours, theirs) < 1e-5
