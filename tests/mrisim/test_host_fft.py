"""The compiled transforms against the definition, for every kind of length, and what they leave alone."""

import numpy as np
import pytest

from mrisim import fft_kernels, host_fft
from mrisim.fft_kernels import LONGEST
from mrisim.fourier import centred_fft, centred_ifft, filtered, plain_fft, plain_ifft
from mrisim.lane_vectors import LANES, ROW
from mrisim.testing import relative_difference

LENGTHS = [
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    11,
    12,
    13,
    15,
    16,
    22,
    25,
    30,
    31,
    49,
    64,
    77,
    96,
    121,
    127,
    128,
    210,
    318,
    320,
    368,
]
SIGNALS = [1, 7, 8, 9, 15, 16, 17, 33]


def drawn(shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def by_definition(array, axis, sign, centred):
    """Return sum_r x(r) exp(sign 2 pi i k r / n) along an axis."""
    n = array.shape[axis]
    index = np.arange(n) - (n // 2 if centred else 0)
    matrix = np.exp(sign * 2j * np.pi * (np.multiply.outer(index, index) % n) / n)
    return np.moveaxis(np.tensordot(matrix, array.astype(complex), axes=(1, axis)), 0, axis)


@pytest.mark.parametrize("axis", [-2, -1])
@pytest.mark.parametrize("n", LENGTHS)
def test_every_length_is_the_sum_of_the_definition(n, axis):
    for n_signals in SIGNALS if n < 20 else SIGNALS[-2:]:
        array = drawn((2, n, n_signals) if axis == -2 else (2, n_signals, n), n)
        assert host_fft.possible(array, (axis,))
        for centred in (False, True):
            for inverse in (False, True):
                expected = 0.5 * by_definition(array, axis, 1 if inverse else -1, centred)
                options = {"inverse": inverse, "scale": 0.5, "centred": centred}
                got = host_fft.transform(array, (axis,), overwrite=False, **options)
                assert got.dtype == np.complex64
                assert relative_difference(got, expected) < 1e-6, (n_signals, centred, inverse)


@pytest.mark.parametrize("shape", [(2, 3), (24, 20), (17, 62), (3, 40, 53), (2, 2, 35, 48)])
def test_both_axes_and_both_scales(shape):
    array = drawn(shape)
    both = np.fft.fft2(array.astype(complex))
    assert relative_difference(plain_fft(array, ortho=False), both) < 1e-6
    assert relative_difference(plain_fft(array), both / np.sqrt(np.prod(shape[-2:]))) < 1e-6
    assert relative_difference(plain_ifft(plain_fft(array, ortho=False), ortho=False), array) < 1e-6
    assert relative_difference(centred_ifft(centred_fft(array)), array) < 1e-6


def test_the_input_is_kept_unless_it_may_be_overwritten():
    array = drawn((3, 20, 24))
    before = array.copy()
    kept = plain_fft(array)
    np.testing.assert_array_equal(array, before)
    overwritten = plain_fft(array, overwrite=True)
    assert np.shares_memory(overwritten, array)
    np.testing.assert_array_equal(overwritten, kept)


def test_a_file_that_is_mapped_to_memory_is_kept(tmp_path):
    array = drawn((3, 20, 24))
    np.save(tmp_path / "array.npy", array)
    mapped = np.load(tmp_path / "array.npy", mmap_mode="r+")
    np.testing.assert_array_equal(centred_fft(mapped), centred_fft(array))
    np.testing.assert_array_equal(mapped, array)


def test_strided_input_gives_the_same():
    array = drawn((24, 3, 20))
    for view in (array.swapaxes(0, 1), array[:, :, ::2].transpose(1, 2, 0), array[::-1]):
        np.testing.assert_array_equal(plain_fft(view), plain_fft(np.ascontiguousarray(view)))
        np.testing.assert_array_equal(array, drawn((24, 3, 20)))


@pytest.mark.parametrize("axis", [-2, -1])
def test_signals_do_not_see_each_other(axis):
    """A signal gives the same samples wherever it lies and whatever lies beside it: NaN, or nothing."""
    array = drawn((40, 40))
    crowded, lonely = array.copy(), np.full_like(array, np.nan)
    np.moveaxis(crowded, axis, 0)[:, 5] = np.nan
    np.moveaxis(lonely, axis, 0)[:, 33] = np.moveaxis(array, axis, 0)[:, 33]
    spectra = [np.moveaxis(plain_fft(one, (axis,)), axis, 0) for one in (array, crowded, lonely)]
    others = np.arange(40) != 5
    np.testing.assert_array_equal(spectra[1][:, others], spectra[0][:, others])
    np.testing.assert_array_equal(spectra[2][:, 33], spectra[0][:, 33])
    assert np.isnan(spectra[1][:, 5]).all()


@pytest.mark.parametrize(
    ("array", "axes"),
    [
        (drawn((8, 2 * 131)), (-1,)),
        (drawn((8, 1)), (-1,)),
        (drawn((8, 8)).astype(complex), (-2, -1)),
        (drawn((4, 8, 8)), (0,)),
        (drawn((4, 8, 8)), (-3,)),
    ],
)
def test_the_rest_is_scipys(array, axes):
    """A long prime factor, one sample, double precision, a stack's axis: the same law by another road."""
    assert not host_fft.possible(array, axes)
    (axis,) = axes if len(axes) == 1 else (None,)
    for inverse, transform in ((False, plain_fft), (True, plain_ifft)):
        got = transform(array, axes, ortho=False)
        expected = array.astype(complex)
        for one in axes if axis is None else (axis,):
            expected = by_definition(expected, one, 1 if inverse else -1, False)
            expected = expected / array.shape[one] if inverse else expected
        assert got.dtype == array.dtype
        assert relative_difference(got, expected) < 1e-6


def test_the_longest_radix_has_its_limit():
    assert host_fft.plan(LONGEST) is not None and host_fft.plan(2 * LONGEST) is not None
    assert host_fft.plan(131) is None and host_fft.plan(1) is None


@pytest.mark.parametrize("n", [6, 20, 96, 124, 23 * 29])
def test_the_transposed_form_is_the_transpose_and_leads_back(n):
    plan = host_fft.plan(n)
    one, other = (host_fft.aligned((n * ROW,)) for _ in range(2))
    one[:], other[:] = np.random.default_rng(n).normal(size=(2, n * ROW)).astype(np.float32)

    def numbers(tile):
        parts = tile.reshape(n, 2, LANES)
        return parts[:, 0] + 1j * parts[:, 1].astype(complex)

    x, y = numbers(one), numbers(other)
    fft_kernels.to_frequencies(one, 0, plan.radices, plan.twiddles)
    fft_kernels.from_frequencies(other, 0, plan.radices, plan.twiddles)
    assert relative_difference(numbers(one), np.fft.fft(x, axis=0)[plan.order]) < 1e-6
    np.testing.assert_allclose((numbers(one) * y).sum(0), (x * numbers(other)).sum(0), rtol=1e-4)


@pytest.mark.parametrize("n", [4, 20, 96, 124])
def test_through_the_frequencies_is_a_masked_projection(n):
    plan, rng = host_fft.plan(n), np.random.default_rng(n)
    tile, mask = host_fft.aligned((2 * ROW + n * ROW,)), host_fft.aligned((LANES + n * LANES,))
    tile[:], mask[:] = rng.normal(size=tile.size), rng.random(mask.size) < 0.5
    before = tile.copy()
    parts = tile[2 * ROW :].reshape(n, 2, LANES)
    x = parts[:, 0] + 1j * parts[:, 1].astype(complex)
    weights = np.empty((n, LANES))
    weights[plan.order] = mask[LANES:].reshape(n, LANES)
    fft_kernels.through_frequencies(tile, 2 * ROW, plan.radices, plan.twiddles, mask, LANES)
    got = parts[:, 1] + 1j * parts[:, 0]  # the parts come back exchanged
    assert relative_difference(got, n * np.fft.ifft(weights * np.fft.fft(x, axis=0), axis=0)) < 1e-6
    np.testing.assert_array_equal(tile[: 2 * ROW], before[: 2 * ROW])


@pytest.mark.parametrize("dtype", [np.complex64, complex])
@pytest.mark.parametrize("axis", [-2, -1])
@pytest.mark.parametrize("n", [2, 7, 30, 77, 131, 320])  # 131 is left to SciPy
def test_a_filter_multiplies_the_spectrum(n, axis, dtype):
    array = drawn((2, n, 19) if axis == -2 else (2, 19, n), n).astype(dtype)
    factors, before = drawn((n,), 1), array.copy()
    weight = factors[:, None] if axis == -2 else factors
    expected = by_definition(weight * by_definition(array, axis, -1, False), axis, 1, False) / n
    got = filtered(array, factors, axis)
    assert got.dtype == dtype
    assert relative_difference(got, expected) < 2e-6
    np.testing.assert_array_equal(array, before)
    assert relative_difference(filtered(array, factors, axis, overwrite=True), expected) < 2e-6
