"""The fast encoding operator against SigPy's and as an operator."""

import gc
import weakref

import numpy as np
import pytest
from sigpy.app import LinearLeastSquares
from sigpy.mri.linop import Sense

from mrisim.encoding import Encoding
from mrisim.host_normal import HostNormal
from mrisim.testing import encoding_problem, relative_difference

SHAPES = [(3, 11, 14), (5, 12, 9), (2, 40, 62), (2, 33, 31)]
"""Compiled loops for lines and for samples; for lines alone; whole arrays, because of a long prime factor."""


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["lines", "samples"])
def test_it_is_the_operator_of_sigpy(shape, kind):
    csm, sampled, image, kspace = encoding_problem(shape, kind)
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
    csm, sampled, image, kspace = encoding_problem(SHAPES[0], kind)
    operator = Encoding(csm, sampled)
    before = image.copy(), kspace.copy()
    assert np.vdot(operator(image), kspace) == pytest.approx(np.vdot(image, operator.H(kspace)), rel=1e-5)
    assert relative_difference(operator.N(image), operator.H(operator(image))) < 1e-6
    assert relative_difference(operator.H.H(image), operator(image)) == 0
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(kspace, before[1])


@pytest.mark.parametrize("kind", ["lines", "samples"])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_misfit_is_the_energy_of_what_the_image_does_not_explain(kind, dtype):
    csm, sampled, image, kspace = encoding_problem(SHAPES[0], kind)
    operator, image, kspace = Encoding(csm.astype(dtype), sampled), image.astype(dtype), kspace.astype(dtype)
    expected = np.linalg.norm(operator(image) - kspace) ** 2
    assert operator.misfit(image, kspace) == pytest.approx(expected, rel=1e-5)
    assert operator.misfit(image, operator(image)) < 1e-10 * expected
    several = Encoding(np.stack([csm, csm]).astype(dtype), sampled)
    np.testing.assert_allclose(
        several.misfit(np.stack([image, 0 * image]), np.stack([kspace, kspace])),
        [expected, np.linalg.norm(kspace) ** 2],
        rtol=1e-5,
    )


def test_which_lengths_have_compiled_loops():
    for shape, expected in (((1, 12, 9), (True, True)), ((1, 11, 14), (True, False)), ((1, 12, 31), (False, False))):
        csm = np.zeros(shape, np.complex64)
        assert (HostNormal.possible(csm, True), HostNormal.possible(csm, False)) == expected
    assert not HostNormal.possible(np.zeros((1, 12, 9)), False)


@pytest.mark.parametrize("kind", ["lines", "samples"])
def test_double_precision_stays_double(kind):
    csm, sampled, image, _ = encoding_problem(SHAPES[1], kind)
    image = image.astype(complex)
    got = Encoding(csm, sampled).N(image)
    assert got.dtype == complex
    assert relative_difference(got, Encoding(csm, sampled).H(Encoding(csm, sampled)(image))) < 1e-6


def test_an_operator_is_gone_when_nobody_holds_it():
    """Not when garbage is collected: hundreds of MB of maps would wait for that, slice after slice."""
    csm, sampled, image, kspace = encoding_problem(SHAPES[1], "samples")
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
    """Operator, adjoint on k-space with garbage outside of the mask, normal operator."""
    problems = [encoding_problem(shape, kind, seed) for seed in range(3)]
    sampled = problems[0][1]
    csm, images, kspace = (
        np.stack([strength * each[part] for strength, each in zip((1, 0.3, 5), problems, strict=True)])
        for part in (0, 2, 3)
    )
    kspace = np.where(sampled, kspace, np.nan).astype(np.complex64)
    together, alone = Encoding(csm, sampled), [Encoding(maps, sampled) for maps in csm]

    for action, arguments in (
        (lambda one, image: one(image), images),
        (lambda one, image: one.N(image), images),
        (lambda one, data: one.H(data), kspace),
    ):
        got = action(together, arguments)
        for one, operator, argument in zip(got, alone, arguments, strict=True):
            assert relative_difference(one, action(operator, argument)) < 1e-5


def test_unsampled_garbage_is_not_looked_at():
    csm, sampled, _, kspace = encoding_problem(SHAPES[0], "samples")
    broken = np.where(sampled, kspace, np.nan).astype(np.complex64)
    np.testing.assert_array_equal(Encoding(csm, sampled).H(broken), Encoding(csm, sampled).H(kspace))


def test_it_works_in_the_apps_of_sigpy():
    csm, sampled, _, kspace = encoding_problem(SHAPES[1], "samples")
    images = [
        LinearLeastSquares(operator, np.where(sampled, kspace, 0), lamda=0.1, max_iter=60, show_pbar=False).run()
        for operator in (Encoding(csm, sampled), Sense(csm, weights=sampled.astype(np.float32)))
    ]
    assert relative_difference(*images) < 1e-5
