"""The three metrics of a volume, in closed form, and what matching intensities takes out."""

import numpy as np
import pytest

from diagnose.reconstruction.quality import METRICS, reconstruction_quality, with_intensities_of
from mrisim.errors import DataError


def target(seed=0):
    return np.random.default_rng(seed).random((2, 16, 12)) + 0.5


def test_a_gain_has_closed_form_errors():
    clean = target()
    found = reconstruction_quality(0.9 * clean, clean)
    assert tuple(found) == METRICS
    assert found["nrmse"] == pytest.approx(0.1)
    power = np.mean((0.1 * clean) ** 2)
    assert found["psnr_db"] == pytest.approx(10 * np.log10(clean.max() ** 2 / power))
    assert 0.9 < found["ssim"] < 1
    assert reconstruction_quality(clean, clean)["ssim"] == pytest.approx(1)


def test_matching_undoes_gain_and_offset_of_each_slice_and_nothing_else():
    clean = target()
    changed = clean * np.array([0.5, 3.0])[:, None, None] + np.array([1.0, -0.2])[:, None, None]
    np.testing.assert_allclose(with_intensities_of(changed, clean), clean, rtol=1e-5)
    noisy = with_intensities_of(clean + target(1), clean)
    np.testing.assert_allclose(noisy.mean((1, 2)), clean.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(noisy.std((1, 2)), clean.std((1, 2)), rtol=1e-5)
    assert reconstruction_quality(noisy, clean)["nrmse"] > 0.1


@pytest.mark.parametrize("measure", [reconstruction_quality, with_intensities_of])
def test_bad_volumes_are_refused(measure):
    with pytest.raises(DataError, match=r"the image is \(2, 16, 12\) and its target \(2, 12, 16\)"):
        measure(target(), target().swapaxes(1, 2))
    broken = target()
    broken[1, 3, 3] = np.nan
    with pytest.raises(DataError, match="NaN or Inf"):
        measure(broken, target())


def test_a_slice_without_contrast_cannot_be_matched():
    flat = target()
    flat[1] = 2
    with pytest.raises(DataError, match="slice 1 of the image has no contrast"):
        with_intensities_of(flat, target())
