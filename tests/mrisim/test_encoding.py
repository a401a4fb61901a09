"""The fast encoding operator against SigPy's and as an operator; its solver against dense matrices."""

import gc
import weakref

import numpy as np
import pytest
from sigpy.app import LinearLeastSquares
from sigpy.linop import Identity
from sigpy.mri.linop import Sense

from mrisim.encoding import BlockwiseConjugateGradient, Encoding
from mrisim.host_normal import HostNormal
from mrisim.testing import relative_difference

SHAPES = [(3, 11, 14), (5, 12, 9), (2, 40, 62), (2, 33, 31)]
"""Compiled loops for lines and for samples; for lines alone; whole arrays, because of a long prime factor."""


def problem(shape, kind, seed=0):
    """Return random maps, a mask of whole lines or of samples, an image and k-space."""
    rng = np.random.default_rng(seed)

    def draw(size):
        return (rng.normal(size=size) + 1j * rng.normal(size=size)).astype(np.complex64)

    keep = rng.random(shape[2] if kind == "lines" else shape[1:]) < 0.6
    return draw(shape), np.broadcast_to(keep, shape[1:]).copy(), draw(shape[1:]), draw(shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["lines", "samples"])
def test_it_is_the_operator_of_sigpy(shape, kind):
    csm, sampled, image, kspace = problem(shape, kind)
    ours, theirs = Encoding(csm, sampled), Sense(csm, weights=sampled.astype(np.float32))
    assert ours.whole_lines == (kind == "lines")
    assert ours.ishape == theirs.ishape and ours.oshape == theirs.oshape
    for name in ("apply", "H", "N"):
        operator, reference = (one if name == "apply" else getattr(one, name) for one in (ours, theirs))
        argument = kspace if name == "H" else image
        got = operator(argument)
        assert got.dtype == np.complex64
        assert relative_difference(got, reference(argument)) < 1e-6


@pytest.mark.parametrize("kind", ["lines", "samples"])
def test_adjoint_and_normal_operator_fit_the_operator(kind):
    csm, sampled, image, kspace = problem(SHAPES[0], kind)
    operator = Encoding(csm, sampled)
    before = image.copy(), kspace.copy()
    assert np.vdot(operator(image), kspace) == pytest.approx(np.vdot(image, operator.H(kspace)), rel=1e-5)
    assert relative_difference(operator.N(image), operator.H(operator(image))) < 1e-6
    assert relative_difference(operator.H.H(image), operator(image)) == 0
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(kspace, before[1])


def test_which_lengths_have_compiled_loops():
    for shape, expected in (((1, 12, 9), (True, True)), ((1, 11, 14), (True, False)), ((1, 12, 31), (False, False))):
        csm = np.zeros(shape, np.complex64)
        assert (HostNormal.possible(csm, True), HostNormal.possible(csm, False)) == expected
    assert not HostNormal.possible(np.zeros((1, 12, 9)), False)


@pytest.mark.parametrize("kind", ["lines", "samples"])
def test_double_precision_stays_double(kind):
    csm, sampled, image, _ = problem(SHAPES[1], kind)
    image = image.astype(complex)
    got = Encoding(csm, sampled).N(image)
    assert got.dtype == complex
    assert relative_difference(got, Encoding(csm, sampled).H(Encoding(csm, sampled)(image))) < 1e-6


def test_an_operator_is_gone_when_nobody_holds_it():
    """Not when garbage is collected: hundreds of MB of maps would wait for that, slice after slice."""
    csm, sampled, image, kspace = problem(SHAPES[1], "samples")
    operator = Encoding(csm, sampled)
    operator.H(kspace), operator.N(image), operator.H.H(image)
    gone = weakref.ref(operator)
    gc.disable()
    try:
        del operator
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["lines", "samples"])
def test_several_slices_at_once_are_those_of_each_alone(kind, shape):
    """Operator, adjoint on k-space with garbage outside of the mask, normal operator, and five steps of the solver."""
    problems = [problem(shape, kind, seed) for seed in range(3)]
    sampled = problems[0][1]
    csm, images, kspace = (
        np.stack([strength * each[part] for strength, each in zip((1, 0.3, 5), problems, strict=True)])
        for part in (0, 2, 3)
    )
    kspace = np.where(sampled, kspace, np.nan).astype(np.complex64)
    together, alone = Encoding(csm, sampled), [Encoding(maps, sampled) for maps in csm]

    def solved(operator, data):
        right = operator.H(data)
        image = np.zeros_like(right)
        solver = BlockwiseConjugateGradient(
            operator.N, right, image, 5, n_axes=1 if kind == "lines" else 2, damping=0.1
        )
        while not solver.done():
            solver.update()
        return image

    for action, arguments in (
        (lambda one, image: one(image), images),
        (lambda one, image: one.N(image), images),
        (lambda one, data: one.H(data), kspace),
        (solved, kspace),
    ):
        got = action(together, arguments)
        for one, operator, argument in zip(got, alone, arguments, strict=True):
            assert relative_difference(one, action(operator, argument)) < 1e-5


def test_unsampled_garbage_is_not_looked_at():
    csm, sampled, _, kspace = problem(SHAPES[0], "samples")
    broken = np.where(sampled, kspace, np.nan).astype(np.complex64)
    np.testing.assert_array_equal(Encoding(csm, sampled).H(broken), Encoding(csm, sampled).H(kspace))


def test_it_works_in_the_apps_of_sigpy():
    csm, sampled, _, kspace = problem(SHAPES[1], "samples")
    images = [
        LinearLeastSquares(operator, np.where(sampled, kspace, 0), lamda=0.1, max_iter=60, show_pbar=False).run()
        for operator in (Encoding(csm, sampled), Sense(csm, weights=sampled.astype(np.float32)))
    ]
    assert relative_difference(*images) < 1e-5


@pytest.mark.parametrize("n_lines", [24, 22])  # with compiled loops, and without
def test_the_rowwise_solver_solves_and_does_so_sooner_than_the_common_one(n_lines):
    csm, sampled, _, kspace = problem((4, 13, n_lines), "lines", seed=3)
    # rows of very different strength: one step size cannot suit them all
    csm *= np.geomspace(0.1, 1, 13, dtype=np.float32)[:, None]
    encode = Encoding(csm, sampled)
    normal, right = encode.N + 1e-2 * Identity(encode.ishape), encode.H(kspace)
    matrix = np.stack([normal(unit) for unit in np.eye(right.size, dtype=np.complex64).reshape(-1, *right.shape)])
    exact = np.linalg.solve(matrix.reshape(right.size, -1).T.astype(complex), right.ravel()).reshape(right.shape)
    image = np.zeros_like(right)
    solver = BlockwiseConjugateGradient(normal, right, image, 40, n_axes=1)
    while not solver.done():
        solver.update()
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
    while not solver.done():
        solver.update()
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
    csm, sampled, _, kspace = problem(SHAPES[0], "lines")
    csm, kspace = csm.astype(dtype), kspace.astype(dtype)
    csm[:, 4] = 0
    encode = Encoding(csm, sampled)
    image = np.zeros(SHAPES[0][1:], dtype)
    normal = encode.N + 0.1 * Identity(encode.ishape)
    solver = BlockwiseConjugateGradient(normal, encode.H(kspace), image, 200, n_axes=1)
    while not solver.done():
        solver.update()
    assert np.isfinite(image).all() and not image[4].any() and image[3].any()
