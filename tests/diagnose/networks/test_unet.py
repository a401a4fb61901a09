"""The third paper's U-Net: its three sizes, any image size, and the scaling around it."""

import pytest
import torch
from torch import nn

from diagnose.networks.unet import WIDTHS, ImageScaled, _filled_to, unet
from diagnose.norms import NORMS, norm_layer, plain_instance_norm


def images(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "n_parameters"), [("unet-xsmall", 757_501), ("unet-small", 7_756_097), ("unet-large", 124_093_697)]
)
def test_parameters_are_those_of_the_paper(name, n_parameters):
    with torch.device("meta"):
        network = unet(seed=0, width=WIDTHS[name])
    assert sum(parameter.numel() for parameter in network.parameters()) == n_parameters


def test_published_norm_is_torch_instance_norm_without_parameters():
    x, reference = 3 * images(2, 6, 7, 5) + 1, nn.InstanceNorm2d(6)
    torch.testing.assert_close(plain_instance_norm(6)(x), reference(x), rtol=1e-4, atol=1e-5)
    assert not list(plain_instance_norm(6).parameters())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(32, 48), (37, 23)])
def test_every_norm_and_any_size(norm, shape):
    network = unet(norm_layer(norm, width=4), seed=0, width=4, n_pools=3)
    output = network(images(2, 1, *shape))
    assert output.shape == (2, 1, *shape)
    output.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


def test_a_short_side_is_mirrored():
    x = images(1, 2, 4, 6)
    torch.testing.assert_close(_filled_to(x, (5, 7)), nn.functional.pad(x, (0, 1, 0, 1), mode="reflect"))
    assert _filled_to(x, (4, 6)) is x


def test_convolutions_start_as_torch_starts_them():
    network = unet(seed=0, width=32)
    weight = network.down[2].get_submodule("3").weight  # (128, 128, 3, 3)
    bound = (128 * 9) ** -0.5
    assert weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert weight.abs().max().item() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)
    reference = nn.ConvTranspose2d(64, 32, 2, bias=False)
    rise = network.rise[-1].get_submodule("0").weight
    assert rise.shape == reference.weight.shape
    assert rise.abs().max().item() == pytest.approx(reference.weight.abs().max().item(), rel=0.01)


@pytest.mark.parametrize("shape", [(16, 15), (16, 16)])
def test_an_image_that_is_too_small_is_refused(shape):
    with pytest.raises(ValueError, match="two sides of at least 16, one of them of 32"):
        unet(seed=0, width=4, n_pools=4)(images(1, 1, *shape))


def test_scaled_network_sees_z_scores_and_its_output_is_scaled_back():
    seen = []

    class Recorder(nn.Module):
        def forward(self, x):
            seen.append(x)
            return 2 * x + 1

    x = 1e-4 * images(3, 1, 16, 12).abs()
    output = ImageScaled(Recorder())(x)
    mean, std = x.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), keepdim=True)
    torch.testing.assert_close(seen[0], (x - mean) / std, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(output, 2 * (x - mean) + std + mean, rtol=1e-4, atol=1e-9)


def test_an_empty_image_has_a_finite_output_and_gradient():
    network = ImageScaled(unet(seed=0, width=4, n_pools=2))
    x = torch.zeros(1, 1, 16, 16, requires_grad=True)
    network(x).sum().backward()
    assert torch.isfinite(x.grad).all()
