"""Image error: closed forms on small images, SSIM against scikit-image."""

import numpy as np
import pytest
import scipy.ndimage as ndi
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mrisim.quality import foreground_mask, nrmse, psnr, rss, ssim


def volume(shape=(3, 21, 34), seed=0):
    return np.random.default_rng(seed).gamma(2.0, 1.0, shape).astype(np.float32)


def test_rss_sums_the_power_of_the_coils():
    coils = np.array([3 + 4j, -5j, 12.0]).reshape(1, 3, 1, 1) * np.ones((2, 1, 4, 5))
    magnitude = rss(coils.astype(np.complex64))
    assert magnitude.shape == (2, 4, 5) and magnitude.dtype == np.float32
    np.testing.assert_allclose(magnitude, np.sqrt(25 + 25 + 144), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e18])
def test_rss_neither_overflows_nor_vanishes(scale):
    coils = np.full((1, 2, 3, 4), 3 + 4j) * scale
    np.testing.assert_allclose(rss(coils.astype(np.complex64)), 5 * np.sqrt(2) * scale, rtol=1e-6)


def test_foreground_is_closed_filled_and_does_not_erode_at_the_edge():
    magnitude = np.zeros((2, 30, 41), np.float32)
    magnitude[0, :20, 5:35] = 1.0  # touches the edge
    magnitude[0, 6:16, 12:22] = 0.02  # a dark hole inside, wider than the closing reaches
    magnitude[0, 3, 20] = 50.0  # one bright pixel does not move the threshold
    magnitude[1, 10:20, 10:20] = 0.2  # above a tenth of the 99th percentile of the volume
    magnitude[1, 25, 30] = 0.05  # below
    mask = foreground_mask(magnitude)
    expected = np.zeros_like(mask)
    expected[0, :20, 5:35] = True
    expected[1, 10:20, 10:20] = True
    np.testing.assert_array_equal(mask, expected)


def test_foreground_closes_gaps_of_three_pixels_but_no_wider():
    magnitude = np.zeros((1, 30, 40), np.float32)
    magnitude[0, 5:25, 5:35] = 1
    magnitude[0, 5:25, 12:15] = 0
    magnitude[0, 5:25, 22:30] = 0
    mask = foreground_mask(magnitude)[0]
    assert mask[15, 12:15].all()
    assert not mask[15, 23:29].any()


@pytest.mark.parametrize("shape", [(40, 55), (23, 8), (5, 4), (2, 1)])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_foreground_is_that_of_scipys_morphology(shape, share):
    rng = np.random.default_rng(round(10 * share))
    smooth = ndi.uniform_filter(rng.random((5, *shape)), (0, 3, 3))
    magnitude = (smooth > np.quantile(smooth, 1 - share)).astype(np.float32)
    magnitude[:, 0, 0] = 1
    cross = ndi.generate_binary_structure(2, 1)
    for plane, mask in zip(magnitude, foreground_mask(magnitude), strict=True):
        closed = ndi.binary_closing(np.pad(plane > 0.1, 2), cross, iterations=2)
        np.testing.assert_array_equal(mask, ndi.binary_fill_holes(closed)[2:-2, 2:-2])


def test_nrmse_fits_no_gain_and_counts_where_only():
    clean = volume()
    assert nrmse(clean, clean) == 0
    assert nrmse(1.3 * clean, clean) == pytest.approx(0.3, rel=1e-6)
    assert nrmse(clean * 0, clean) == pytest.approx(1)
    changed, where = clean.copy(), np.zeros(clean.shape, bool)
    where[0, :5] = True
    changed[~where] += 100
    assert nrmse(changed, clean, where) == 0
    changed[where] *= 0.8
    assert nrmse(changed, clean, where) == pytest.approx(0.2, rel=1e-6)
    assert np.isnan(nrmse(clean, clean * 0))


def test_psnr_against_scikit_image_and_its_definition():
    clean, image = volume(), volume(seed=1)
    expected = peak_signal_noise_ratio(clean.astype(float), image.astype(float), data_range=float(clean.max()))
    assert psnr(image, clean) == pytest.approx(expected, abs=1e-6)
    assert psnr(clean, clean) == float("inf")
    constant = np.full((1, 4, 4), 2.0)
    assert psnr(constant - 0.02, constant) == pytest.approx(40)


@pytest.mark.parametrize("shape", [(3, 21, 34), (1, 7, 8), (2, 64, 51)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_ssim_against_scikit_image(shape, scale):
    clean = scale * volume(shape)
    image = clean + 0.3 * scale * volume(shape, seed=1)
    # slice by slice, with the peak of the whole clean volume: the fastMRI definition
    expected = np.mean(
        [
            structural_similarity(a.astype(float), b.astype(float), data_range=float(clean.max()), win_size=7)
            for a, b in zip(clean, image, strict=True)
        ]
    )
    assert ssim(image, clean) == pytest.approx(expected, abs=1e-6)
    assert ssim(clean, clean) == pytest.approx(1, abs=1e-12)


def test_ssim_of_an_image_smaller_than_its_window_is_nan():
    assert np.isnan(ssim(volume((1, 6, 20)), volume((1, 6, 20))))
