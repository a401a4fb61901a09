"""The variational network: its operators are adjoint, and its steps solve what they should."""

import pytest
import torch
from torch import nn

from diagnose.networks.varnet import (
    SIZES,
    Cascade,
    ComplexUNet,
    SensitivityMaps,
    VarNet,
    calibration_lines,
    combine_coils,
    expand_coils,
    varnet,
)
from diagnose.norms import norm_layer, plain_instance_norm
from diagnose.reconstruction.torch_fourier import centred_fft, centred_ifft

SHAPE = (2, 3, 9, 12)


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def unit_maps(seed=1):
    maps = draw(*SHAPE, seed=seed)
    return maps / maps.abs().square().sum(1, keepdim=True).sqrt()


class Nothing(nn.Module):
    def forward(self, images):
        return torch.zeros_like(images)


class FixedMaps(nn.Module):
    def __init__(self, csm):
        super().__init__()
        self.csm = csm

    def forward(self, kspace, mask):
        return self.csm


def mask_of(*lines, n=12):
    mask = torch.zeros(n, dtype=torch.bool)
    mask[list(lines)] = True
    return mask


@pytest.mark.parametrize(("name", "n_parameters"), [("varnet-small", 9_212_090), ("varnet-large", 29_936_966)])
def test_parameters_are_those_of_the_paper(name, n_parameters):
    n_cascades, width = SIZES[name]
    with torch.device("meta"):
        network = varnet(seed=0, n_cascades=n_cascades, width=width)
    assert sum(parameter.numel() for parameter in network.parameters()) == n_parameters


def test_combining_is_the_adjoint_of_expanding_and_its_left_inverse_for_unit_maps():
    csm, x, k = unit_maps(), draw(2, 9, 12, seed=2), draw(*SHAPE, seed=3)
    assert expand_coils(x, csm).shape == SHAPE
    assert combine_coils(k, csm).shape == x.shape
    left, right = (expand_coils(x, csm) * k.conj()).sum(), (x * combine_coils(k, csm).conj()).sum()
    assert abs((left - right).item()) < 1e-5 * x.norm().item() * k.norm().item()
    torch.testing.assert_close(combine_coils(expand_coils(x, csm), csm), x, rtol=1e-4, atol=1e-5)


def run_cascades(step, n_cascades, measured, start, mask, prior=Nothing):
    lines = mask[None, None, None, :].expand(2, 1, 1, 12)
    estimate = start
    for _ in range(n_cascades):
        cascade = Cascade(prior())
        cascade.step.data.fill_(step)
        estimate = cascade(estimate, measured, lines, unit_maps())
    return estimate


def test_without_data_consistency_and_prior_k_space_stays_what_it_is():
    start = draw(*SHAPE, seed=4)
    result = run_cascades(0.0, 3, draw(*SHAPE, seed=5), start, mask_of(5, 6, 9))
    torch.testing.assert_close(result, start, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("step", "n_cascades"), [(1.0, 1), (0.3, 1), (0.3, 4), (1.6, 3)])
def test_without_a_prior_the_misfit_shrinks_by_one_minus_the_step_on_measured_lines_only(step, n_cascades):
    measured, start, mask = draw(*SHAPE, seed=5), draw(*SHAPE, seed=4), mask_of(2, 5, 6, 9)
    result = run_cascades(step, n_cascades, measured, start, mask)
    expected = torch.where(mask, measured + (1 - step) ** n_cascades * (start - measured), start)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


def test_a_prior_gradient_of_x_takes_the_coil_image_out_and_leaves_what_no_image_explains():
    start, csm = draw(*SHAPE, seed=4), unit_maps()
    result = run_cascades(0.0, 1, start, start, mask_of(5, 6), prior=nn.Identity)
    images = centred_ifft(start)
    explained = csm * (csm.conj() * images).sum(1, keepdim=True)
    torch.testing.assert_close(result, centred_fft(images - explained), rtol=1e-4, atol=1e-5)
    assert combine_coils(result, csm).abs().max() < 1e-5


def test_an_object_of_known_support_is_recovered_by_the_prior_that_knows_it():
    """One coil of unit modulus: the cascades are projections onto two sets that meet in one point."""
    csm, mask = torch.exp(1j * draw(2, 1, 9, 12).real), mask_of(0, 2, 4, 5, 6, 8, 10)
    support = torch.zeros(9, 12)
    support[3:6, 4:8] = 1
    truth = expand_coils(draw(2, 9, 12, seed=6) * support, csm)

    class Outside(nn.Module):
        def forward(self, images):
            return images * (1 - support)

    def relative_error(n_cascades):
        network = VarNet(FixedMaps(csm), [Cascade(Outside()) for _ in range(n_cascades)])
        return ((network(truth * mask, mask) - truth).norm() / truth.norm()).item()

    assert relative_error(1) > 0.2
    assert relative_error(60) < 1e-3


def test_samples_outside_the_mask_are_not_read():
    network, mask = varnet(seed=0, n_cascades=1, width=4, n_pools=2), mask_of(1, 4, 5, 6, 7, 11)
    kspace = draw(*SHAPE, seed=7)
    spoilt = torch.where(mask, kspace, torch.full_like(kspace, complex("nan")))
    torch.testing.assert_close(network(spoilt, mask), network(kspace, mask), rtol=0, atol=0)
    changed = kspace.clone()
    changed[..., 4] *= 2
    assert not torch.allclose(network(changed, mask), network(kspace, mask))


@pytest.mark.parametrize(
    ("n", "lines", "expected"),
    [
        (12, (1, 4, 5, 6, 7, 10), (4, 5, 6, 7)),
        (12, (3, 4, 5, 6, 7, 10), (4, 5, 6, 7)),  # a line of the grid that touches the run is not counted one-sidedly
        (9, (2, 3, 4, 5, 8), (2, 3, 4, 5)),
        (12, tuple(range(12)), tuple(range(12))),
    ],
)
def test_calibration_lines_are_the_symmetric_run_about_the_centre(n, lines, expected):
    found = calibration_lines(mask_of(*lines, n=n)[None])[0]
    assert tuple(found.nonzero()[:, 0].tolist()) == expected


def test_sensitivity_maps_come_from_calibration_lines_and_have_unit_power():
    maps_of = SensitivityMaps(nn.Identity())
    kspace, mask = draw(*SHAPE, seed=8), mask_of(1, 4, 5, 6, 7, 11).expand(2, 12)
    maps = maps_of(kspace, mask)
    torch.testing.assert_close(maps.abs().square().sum(1), torch.ones(2, 9, 12), rtol=1e-5, atol=1e-5)
    low = torch.zeros_like(kspace)
    low[..., 4:8] = kspace[..., 4:8]
    images = centred_ifft(low)
    torch.testing.assert_close(maps, images / images.abs().square().sum(1, keepdim=True).sqrt(), rtol=1e-4, atol=1e-4)


def test_each_slice_may_have_its_own_mask():
    network = varnet(seed=0, n_cascades=2, width=4, n_pools=2).eval()
    kspace, masks = draw(*SHAPE, seed=9), torch.stack([mask_of(0, 4, 5, 6, 7), mask_of(5, 6, 9)])
    both = network(kspace, masks)
    for index in range(2):
        alone = network(kspace[index : index + 1], masks[index])
        torch.testing.assert_close(both[index : index + 1], alone, rtol=1e-3, atol=1e-5)


def test_a_gain_of_the_data_is_a_gain_of_the_result():
    network, mask = varnet(seed=0, n_cascades=2, width=4, n_pools=2), mask_of(1, 4, 5, 6, 7, 11)
    kspace = draw(*SHAPE, seed=7)
    result = network(kspace, mask)
    torch.testing.assert_close(1e5 * network(1e-5 * kspace, mask), result, rtol=1e-2, atol=1e-4)


def test_complex_u_net_pads_and_crops_symmetrically():
    network = ComplexUNet(plain_instance_norm, width=4, n_pools=2)
    seen = []

    class Recorder(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x

    network.unet = Recorder()
    x = draw(2, 9, 14)
    torch.testing.assert_close(network(x), x, rtol=1e-4, atol=1e-5)
    assert seen[0].shape == (2, 2, 12, 16)
    inside = seen[0][:, :, 1:10, 1:15]
    assert seen[0].abs().sum().item() == pytest.approx(inside.abs().sum().item())
    torch.testing.assert_close(inside[:, 0], (x.real - x.real.mean((1, 2), True)) / x.real.std((1, 2), keepdim=True))


@pytest.mark.parametrize("norm", ["bn", "gn", "ln", "in", "none"])
def test_every_norm_fits_and_every_parameter_learns(norm):
    network = varnet(
        norm_layer(norm, width=4), seed=0, n_cascades=2, width=4, n_pools=2,
        sensitivity_norm_layer=norm_layer(norm, width=8),
    )  # fmt: skip
    network(draw(*SHAPE), mask_of(1, 4, 5, 6, 7, 11)).abs().square().sum().backward()
    dead = {
        name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    }
    assert dead == {"cascades.0.step"}  # the first estimate is what was measured: there is no misfit yet


@pytest.mark.parametrize(
    ("kspace", "mask", "message"),
    [
        (draw(3, 9, 12), mask_of(5, 6), r"expected complex \(slice, coil, readout, phase_encode\)"),
        (draw(*SHAPE).real, mask_of(5, 6), "dtype torch.float32; expected complex"),
        (draw(*SHAPE), mask_of(5, 6, n=9), r"mask has shape \(9,\).*expected bool of \(12,\) or \(2, 12\)"),
        (draw(*SHAPE), mask_of(5, 6).float(), "dtype torch.float32; expected bool"),
        (draw(*SHAPE), mask_of(5, 7), "leaves out line 5 or 6 of 12; expected calibration lines"),
    ],
)
def test_what_does_not_fit_is_refused(kspace, mask, message):
    with pytest.raises(ValueError, match=message):
        varnet(seed=0, n_cascades=1, width=4, n_pools=2)(kspace, mask)
    with pytest.raises(ValueError, match="n_cascades is 0"):
        varnet(seed=0, n_cascades=0)
