"""The fast encoding operator against SigPy's and as an operator; its solver against dense matrices."""

import numpy as np
import pytest
from sigpy.app import LinearLeastSquares
from sigpy.linop import Identity
from sigpy.mri.linop import Sense

from mrisim.encoding import BlockwiseConjugateGradient, Encoding
from mrisim.testing import relative_difference

SHAPES = [(3, 11, 14), (5, 12, 9)]


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


@pytest.mark.parametrize("kind", ["lines", "samples"])
def test_several_slices_at_once_are_those_of_each_alone(kind):
    """Operator, adjoint on k-space with garbage outside of the mask, normal operator, and five steps of the solver."""
    problems = [problem(SHAPES[0], kind, seed) for seed in range(3)]
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
        normal = operator.N + 0.1 * Identity(operator.ishape)
        solver = BlockwiseConjugateGradient(normal, right, image, 5, n_axes=1 if kind == "lines" else 2)
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


def test_the_rowwise_solver_solves_and_does_so_sooner_than_the_common_one():
    csm, sampled, _, kspace = problem((4, 13, 24), "lines", seed=3)
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


def test_rows_without_signal_and_rows_that_are_solved_stay_finite():
    csm, sampled, _, kspace = problem(SHAPES[0], "lines")
    csm[:, 4] = 0
    encode = Encoding(csm, sampled)
    image = np.zeros(SHAPES[0][1:], np.complex64)
    normal = encode.N + 0.1 * Identity(encode.ishape)
    solver = BlockwiseConjugateGradient(normal, encode.H(kspace), image, 200, n_axes=1)
    while not solver.done():
        solver.update()
    assert np.isfinite(image).all() and not image[4].any() and image[3].any()
