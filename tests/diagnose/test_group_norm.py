"""Group norm on channels-last memory: the formula and its derivative in double precision, the memory format kept."""

import pytest
import torch
from torch import Tensor

from diagnose.group_norm import GroupNorm

SHAPES = [((2, 16, 8, 8), 8), ((3, 6, 5, 3), 3), ((1, 4, 1, 7), 2), ((2, 32, 6, 2), 1), ((2, 8, 4, 4), 8)]
"""(image, channel, rows, columns) and groups: rows of 8, 1, 1, 4 and 8 positions in the kernels."""


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def drawn(shape: tuple[int, ...], n_groups: int, dtype: torch.dtype) -> tuple[GroupNorm, Tensor, Tensor]:
    """Return a layer, its input, whose mean is several times its deviation, and a gradient of its output."""
    generator = torch.Generator().manual_seed(0)
    layer = GroupNorm(n_groups, shape[1], eps=1e-3)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    x, gradient = (torch.randn(shape, generator=generator) for _ in range(2))
    return layer, channels_last((x + 3).to(dtype)).requires_grad_(), channels_last(gradient.to(dtype))


def exact(layer: GroupNorm, x: Tensor, gradient: Tensor) -> list[Tensor]:
    """Return the output and the gradients of input, weight and bias, by the formula, in double precision."""
    x, weight, bias = (part.detach().double().contiguous().requires_grad_() for part in (x, layer.weight, layer.bias))
    groups = x.reshape(x.shape[0], layer.num_groups, -1)
    centred = groups - groups.mean(-1, keepdim=True)
    normalised = centred / (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt()
    y = normalised.reshape(x.shape) * weight[:, None, None] + bias[:, None, None]
    return [y.detach(), *torch.autograd.grad(y, (x, weight, bias), gradient.double())]


@pytest.mark.parametrize(("shape", "n_groups"), SHAPES)
@pytest.mark.parametrize(("dtype", "of_storage"), [(torch.float32, 0.0), (torch.bfloat16, 2.0**-8)])
def test_output_and_gradients_are_those_of_the_formula(shape, n_groups, dtype, of_storage):
    layer, x, gradient = drawn(shape, n_groups, dtype)
    y = layer(x)
    got = [y.detach(), *torch.autograd.grad(y, (x, layer.weight, layer.bias), gradient)]
    assert [part.dtype for part in got] == [dtype, dtype, torch.float32, torch.float32]
    assert all(part.is_contiguous(memory_format=torch.channels_last) for part in got[:2])
    for part, expected, rounding in zip(got, exact(layer, x, gradient), (of_storage, of_storage, 0, 0), strict=True):
        torch.testing.assert_close(part.double(), expected, rtol=rounding, atol=3e-6 * float(expected.abs().max()))


def test_bfloat16_is_the_nearest_to_what_float32_gives():
    layer, x, gradient = drawn((4, 16, 16, 16), 8, torch.bfloat16)
    y = layer(x)
    (x_gradient,) = torch.autograd.grad(y, x, gradient)
    wide = channels_last(x.detach().float()).requires_grad_()
    wide_y = layer(wide)
    (wide_gradient,) = torch.autograd.grad(wide_y, wide, gradient.float())
    assert torch.equal(y, wide_y.bfloat16()) and torch.equal(x_gradient, wide_gradient.bfloat16())


def test_a_number_that_is_none_stays_in_its_group():
    layer, x, _ = drawn((2, 16, 8, 8), 8, torch.bfloat16)
    x.data[1, 5, 2, 2] = float("nan")
    expected = torch.zeros(x.shape, dtype=torch.bool)
    expected[1, 4:6] = True
    assert torch.equal(layer(x).isnan(), expected)


def test_a_weight_that_is_none_is_not_rounded_to_a_number():
    layer, x, _ = drawn((2, 16, 8, 8), 8, torch.bfloat16)
    layer.weight.data.view(torch.int32)[3] = 0x7FFFFFFF  # not a number whatever its lower half is
    y = layer(x)
    assert bool(y[:, 3].isnan().all()) and not bool(y[:, :3].isnan().any())


def test_squares_beyond_the_largest_number_are_not_taken_for_a_flat_image():
    layer, x, _ = drawn((2, 16, 8, 8), 8, torch.float32)
    x.data[0] *= 1e25
    y = layer(x)
    assert bool(y[0].isnan().all()) and not bool(y[1].isnan().any())


def test_an_image_without_contrast_and_without_eps_is_no_number_as_in_torch():
    layer, x = GroupNorm(4, 8, eps=0), channels_last(torch.ones((2, 8, 4, 4)))
    assert bool(layer(x).isnan().all()) and bool(layer(x.contiguous()).isnan().all())


@pytest.mark.parametrize("n_channels", [4, 16])
def test_another_number_of_channels_is_refused(n_channels: int):
    with pytest.raises(RuntimeError, match="Expected weight to be a vector of size equal to the number of channels"):
        GroupNorm(4, 8)(channels_last(torch.ones((2, n_channels, 4, 4))))


def test_a_layer_without_bias_is_torch_s():
    layer, x = GroupNorm(4, 8, bias=False), channels_last(torch.arange(256.0).reshape(2, 8, 4, 4))
    torch.testing.assert_close(layer(x), torch.nn.functional.group_norm(x, 4, layer.weight))


@pytest.mark.parametrize("affine", [True, False])
def test_what_has_no_kernel_is_torch_s_own_function_in_the_same_memory_format(affine: bool):
    layer = GroupNorm(4, 8, affine=affine).double()
    x = channels_last(torch.randn((2, 8, 4, 4), dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    y = layer(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, torch.nn.functional.group_norm(x, 4, layer.weight, layer.bias))


def test_a_gradient_of_any_layout_is_taken():
    layer, x, _ = drawn((2, 16, 8, 8), 8, torch.float32)
    results = []
    for gradient in (torch.ones(()).expand(x.shape), torch.ones(x.shape), channels_last(torch.ones(x.shape))):
        results.append(torch.autograd.grad(layer(x), (x, layer.weight), gradient))
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))
