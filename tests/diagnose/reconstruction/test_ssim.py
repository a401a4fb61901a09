"""SSIM is fastMRI's, to 1e-6 of scikit-image, with a true gradient."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from diagnose.reconstruction.ssim import ssim_loss, ssim_of_slices, volume_ssim
from mrisim import quality
from mrisim.errors import DataError


def volume(seed=0, shape=(3, 33, 26), noise=0.2, scale=1.0):
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape[1:])
    target = np.stack([(k + 1) * (np.hypot(rows - 14, columns - 12) < 5 + 2 * k) for k in range(shape[0])])
    target = target + 0.1 * rng.random(shape)
    image = np.abs(0.9 * target + noise * rng.normal(size=shape))
    return scale * image, scale * target


def reference(image, target):
    return [
        structural_similarity(b, a, win_size=7, data_range=target.max(), K1=0.01, K2=0.03)
        for a, b in zip(image, target, strict=True)
    ]


@pytest.mark.parametrize("scale", [1.0, 1e-5, 3e4])
@pytest.mark.parametrize("noise", [0.0, 0.05, 1.0])
def test_each_slice_equals_scikit_image(scale, noise):
    image, target = volume(noise=noise, scale=scale)
    np.testing.assert_allclose(volume_ssim(image, target), reference(image, target), rtol=0, atol=1e-9)
    single = image.astype(np.float32), target.astype(np.float32)
    expected = reference(*(part.astype(np.float64) for part in single))
    np.testing.assert_allclose(volume_ssim(*single), expected, rtol=0, atol=1e-9)
    assert quality.ssim(image, target) == pytest.approx(np.mean(expected), abs=1e-6)


def test_loss_in_single_precision_is_one_minus_the_metric():
    image, target = (part.astype(np.float32) for part in volume(1, scale=1e-4))
    peak = torch.full((3,), float(target.max()))
    loss = ssim_loss(torch.from_numpy(image), torch.from_numpy(target), peak)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(1 - np.mean(reference(image.astype(float), target.astype(float))), abs=1e-6)


def test_data_range_is_that_of_each_slices_own_volume():
    image, target = volume(2)
    x, y = torch.from_numpy(image), torch.from_numpy(target)
    found = ssim_of_slices(x, y, torch.tensor([1.0, 2.0, 30.0]))
    expected = [
        structural_similarity(b, a, win_size=7, data_range=peak)
        for a, b, peak in zip(image, target, (1.0, 2.0, 30.0), strict=True)
    ]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


def test_gradient_is_that_of_finite_differences():
    image, target = volume(3, shape=(2, 9, 8))
    x, y = torch.from_numpy(image).requires_grad_(), torch.from_numpy(target)
    peak = torch.tensor([1.5, 1.5], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ssim_loss(x, y, peak), (x,), atol=1e-6)


def test_equal_images_are_one_and_descent_reaches_them():
    _, target = volume(4)
    y = torch.from_numpy(target)
    peak = torch.full((3,), float(target.max()))
    assert ssim_of_slices(y, y, peak).tolist() == pytest.approx([1, 1, 1], abs=1e-12)
    x = torch.from_numpy(volume(4, noise=0.3)[0]).requires_grad_()
    first = ssim_loss(x, y, peak).item()
    optimiser = torch.optim.Adam([x], lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        ssim_loss(x, y, peak).backward()
        optimiser.step()
    assert ssim_loss(x, y, peak).item() < 0.1 * first


@pytest.mark.parametrize(
    ("image", "target", "message"),
    [
        (np.ones((2, 8, 8)), np.ones((2, 8, 9)), r"images are \(2, 8, 8\) and targets \(2, 8, 9\)"),
        (np.ones((1, 6, 9)), np.ones((1, 6, 9)), "sides of at least the window, 7"),
        (np.ones((1, 9, 9)), np.zeros((1, 9, 9)), "the target's maximum is 0.0; expected"),
        (np.ones((1, 9, 9)), np.full((1, 9, 9), np.nan), "the target's maximum is nan"),
    ],
)
def test_what_has_no_similarity_is_refused(image, target, message):
    with pytest.raises(DataError, match=message):
        volume_ssim(image, target)


def test_data_range_must_be_one_number_a_slice():
    with pytest.raises(ValueError, match=r"data_range has shape \(\); expected \(2,\)"):
        ssim_of_slices(torch.ones(2, 8, 8), torch.ones(2, 8, 8), torch.tensor(1.0))
