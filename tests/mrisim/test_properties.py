"""Laws of every operator and kind, over all the shapes that `mrisim.testing` draws."""

from dataclasses import fields, is_dataclass, replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from mrisim.artifacts import KINDS
from mrisim.artifacts.motion import Motion
from mrisim.artifacts.undersampling import Undersampling
from mrisim.corrupt import corrupt
from mrisim.fourier import centred_fft, centred_ifft
from mrisim.reference import reference_of
from mrisim.seeding import stream
from mrisim.testing import (
    MAX_LINES,
    artifacts,
    assert_adjoint,
    assert_isometric,
    assert_linear,
    complex_arrays,
    relative_difference,
    scaled,
    scans,
    tolerance,
)

BY_KIND = pytest.mark.parametrize("kind", list(KINDS))
FEW = settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
SEEDS = st.integers(0, 2**20)
LINEAR = ("ghosting", "undersampling")
"""Kinds that multiply or select: linear in the k-space, the latents given."""
ADDITIVE = ("noise", "spikes")
"""Kinds that add something the signal does not know of, the latents given."""


def realise(spec, scan, seed):
    """Draw on the scan and apply, with the scan's exact object model."""
    return spec.apply(scan, spec.draw(scan, rng=stream(seed, spec.kind)))


def fingerprint(part):
    """Every byte of a scan and of its object model."""
    arrays = {}
    for entry in fields(part):
        value = getattr(part, entry.name)
        if is_dataclass(value):
            arrays[entry.name] = fingerprint(value)
        else:
            arrays[entry.name] = value.tobytes() if isinstance(value, np.ndarray) else value
    return arrays


@BY_KIND
@given(data=st.data(), scan=scans(), seed=SEEDS)
@FEW
def test_shape_and_precision_are_kept_and_the_input_is_not_touched(kind, data, scan, seed):
    spec = data.draw(artifacts(kinds=[kind], n_coils=scan.n_coils))
    before = fingerprint(scan)
    result = realise(spec, scan, seed)
    assert fingerprint(scan) == before
    assert (result.kspace.shape, result.kspace.dtype) == (scan.kspace.shape, scan.kspace.dtype)
    assert np.isfinite(result.kspace).all()
    assert not np.shares_memory(result.kspace, scan.kspace)


@BY_KIND
@given(data=st.data(), scan=scans(sampling=("padded", "masked lines", "padded and masked")), seed=SEEDS)
@FEW
def test_padding_and_skipped_lines_stay_plus_zero(kind, data, scan, seed):
    spec = data.draw(artifacts(kinds=[kind], n_coils=scan.n_coils))
    empty = realise(spec, scan, seed).kspace[..., ~scan.sampled]
    assert empty.tobytes() == np.zeros_like(empty).tobytes()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "undersampling"])
@given(data=st.data(), scan=scans(sampling=("padded", "masked lines")), seed=SEEDS)
@FEW
def test_unacquired_samples_keep_every_bit(kind, data, scan, seed):
    """Whatever a file holds there, minus zeros included; and the kept ones do not notice."""
    spec = data.draw(artifacts(kinds=[kind], n_coils=scan.n_coils))
    latents = spec.draw(scan, rng=stream(seed))
    junk = np.array(complex(-0.0, 3.0), scan.kspace.dtype)
    dirty = replace(scan, kspace=np.where(scan.sampled, scan.kspace, junk))
    got = spec.apply(dirty, latents).kspace
    assert got[..., ~scan.sampled].tobytes() == dirty.kspace[..., ~scan.sampled].tobytes()
    if not (kind == "ghosting" and spec.delay_us):  # there the readout is transformed, line by line
        np.testing.assert_array_equal(got[..., scan.sampled], spec.apply(scan, latents).kspace[..., scan.sampled])


@BY_KIND
@given(data=st.data(), scan=scans(), seed=SEEDS, exponent=st.integers(-12, 12))
@FEW
def test_a_power_of_two_passes_through_bit_by_bit(kind, data, scan, seed, exponent):
    spec = data.draw(artifacts(kinds=[kind], n_coils=scan.n_coils))
    expected = scaled(realise(spec, scan, seed), 2.0**exponent).kspace
    assert realise(spec, scaled(scan, 2.0**exponent), seed).kspace.tobytes() == expected.tobytes()


@BY_KIND
@given(data=st.data(), scan=scans(), seed=SEEDS, factor=st.sampled_from([1e-4, 0.3, 7.0, 1e6 / 3]))
@FEW
def test_any_factor_passes_through(kind, data, scan, seed, factor):
    """A foreground pixel on the very threshold may flip by rounding: the unit is another then; the draw is skipped."""
    spec = data.draw(artifacts(kinds=[kind], n_coils=scan.n_coils))
    other = scaled(scan, factor)
    if not np.array_equal(reference_of(scan).foreground, reference_of(other).foreground):
        return
    limit = 1e-6 if kind != "motion" else 2e-6  # hundreds of taps in single precision
    assert (
        relative_difference(realise(spec, other, seed).kspace, scaled(realise(spec, scan, seed), factor).kspace) < limit
    )


@BY_KIND
@given(scan=scans(), parameters=st.booleans())
@FEW
def test_level_zero_returns_the_very_same_array(kind, scan, parameters):
    spec = KINDS[kind].at_level(0, n_coils=scan.n_coils)
    assert spec.is_identity
    assert corrupt(scan, [spec] * (2 if parameters else 1)).scan.kspace is scan.kspace


@pytest.mark.parametrize("kind", LINEAR)
@given(data=st.data(), scan=scans(scales=(1.0,)), seed=SEEDS)
@FEW
def test_kinds_that_multiply_are_linear(kind, data, scan, seed):
    spec = data.draw(artifacts(kinds=[kind]))
    latents = spec.draw(scan, rng=stream(seed))
    rng = np.random.default_rng(seed)
    other = (scan.sampled * rng.normal(size=scan.kspace.shape) * (1 + 2j)).astype(scan.kspace.dtype)
    assert_linear(lambda kspace: spec.apply(replace(scan, kspace=kspace), latents).kspace, scan.kspace, other)


@pytest.mark.parametrize("kind", ADDITIVE)
@given(data=st.data(), scan=scans(scales=(1.0,)), seed=SEEDS)
@FEW
def test_kinds_that_add_do_not_look_at_the_signal(kind, data, scan, seed):
    spec = data.draw(artifacts(kinds=[kind], n_coils=scan.n_coils))
    latents = spec.draw(scan, rng=stream(seed))
    added = spec.apply(replace(scan, kspace=np.zeros_like(scan.kspace)), latents).kspace
    got = spec.apply(scan, latents).kspace
    assert np.linalg.norm(got - (scan.kspace + added)) <= tolerance(scan.kspace.dtype) * np.linalg.norm(got)


@given(scan=scans(scales=(1.0,)), seed=SEEDS, level=st.integers(1, 5))
@FEW
def test_a_mask_is_an_orthogonal_projection(scan, seed, level):
    spec = Undersampling.at_level(level)
    latents = spec.draw(scan, rng=stream(seed))

    def mask(kspace):
        return spec.apply(replace(scan, kspace=kspace), latents).kspace

    rng = np.random.default_rng(seed)
    other = (rng.normal(size=scan.kspace.shape) + 1j).astype(scan.kspace.dtype)
    assert_adjoint(mask, mask, scan.kspace, other)
    assert mask(mask(other)).tobytes() == mask(other).tobytes()


@given(data=st.data(), scan=scans(scales=(1.0,), sampling=("full",)), seed=SEEDS)
@FEW
def test_an_odd_even_phase_error_is_unitary_and_undone_by_the_opposite_polarity(data, scan, seed):
    spec = data.draw(artifacts(kinds=["ghosting"]).filter(lambda s: s.mode == "nyquist"))
    latents = spec.draw(scan, rng=stream(seed))
    opposite = replace(latents, line_sign=-latents.line_sign)

    def ghost(kspace, which=latents):
        return spec.apply(replace(scan, kspace=kspace), which).kspace

    rng = np.random.default_rng(seed)
    other = (rng.normal(size=scan.kspace.shape) + 1j).astype(scan.kspace.dtype)
    assert_isometric(ghost, other)
    assert_adjoint(ghost, lambda kspace: ghost(kspace, opposite), scan.kspace, other)
    assert relative_difference(ghost(ghost(other), opposite), other) < 2 * tolerance(other.dtype)


@pytest.mark.parametrize("kind", ["motion", "bias-field"])
@given(data=st.data(), scan=scans(scales=(1.0,)), seed=SEEDS)
@FEW
def test_object_kinds_are_linear_in_the_object(kind, data, scan, seed):
    spec = data.draw(artifacts(kinds=[kind]))
    latents = spec.draw(scan, rng=stream(seed))
    csm, image = scan.object_model.csm.astype(complex), scan.object_model.image.astype(complex)

    def encode(x):
        """F S' T x on the acquired samples."""
        at_rest = np.where(scan.sampled, centred_fft(csm * x[:, None]), 0)
        model = replace(scan.object_model, image=x, csm=csm)
        return spec.apply(replace(scan, kspace=at_rest, object_model=model), latents).kspace

    other = np.random.default_rng(seed).normal(size=image.shape) * np.exp(1j)
    assert_linear(encode, image, other)


@given(
    scan=scans(scales=(1.0,), sampling=("full",), measured_noise=False),
    shift=st.tuples(st.integers(-9, 9), st.integers(-9, 9)),
)
@FEW
def test_a_shift_of_the_object_is_a_ramp_of_its_kspace_where_the_coils_are_uniform(scan, shift):
    """Shift-phase duality, through the motion operator."""
    model = scan.object_model
    uniform = np.broadcast_to(np.arange(1, scan.n_coils + 1)[:, None, None], scan.kspace.shape).astype(model.csm.dtype)
    kspace = centred_fft(uniform * model.image[:, None])
    scan = replace(scan, kspace=kspace, object_model=replace(model, csm=uniform))
    spec = Motion(rms=1.0)
    latents = spec.draw(scan, rng=stream(0))
    poses = np.tile([shift[0] * scan.voxel_mm[0], shift[1] * scan.voxel_mm[1], 0.0], (scan.matrix[1], 1))
    got = spec.apply(scan, replace(latents, unit_pose=poses)).kspace
    k, q = (np.arange(n) - n // 2 for n in scan.matrix)
    ramp = np.exp(-2j * np.pi * (k[:, None] * shift[0] / scan.matrix[0] + q * shift[1] / scan.matrix[1]))
    assert relative_difference(got, kspace * ramp) < 2 * tolerance(kspace.dtype)


@given(data=st.data(), scan=scans(scales=(1.0,)), seed=SEEDS)
@FEW
def test_line_errors_and_masks_commute(data, scan, seed):
    """Both act line by line: the order of the physics matters for units and draws, not for these two."""
    ghost, mask = data.draw(artifacts(kinds=["ghosting"])), data.draw(artifacts(kinds=["undersampling"]))
    wave, lines = ghost.draw(scan, rng=stream(seed)), mask.draw(scan, rng=stream(seed, 1))
    one = ghost.apply(mask.apply(scan, lines), wave).kspace
    other = mask.apply(ghost.apply(scan, wave), lines).kspace
    assert np.linalg.norm(one - other) <= tolerance(scan.kspace.dtype) * np.linalg.norm(scan.kspace)


@given(x=complex_arrays((2, 3, 7, 10)))
@FEW
def test_the_transform_and_back(x):
    assert relative_difference(centred_ifft(centred_fft(x)), x) < tolerance(x.dtype)


@given(data=st.data(), scan=scans(max_slices=5), seed=SEEDS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_the_same_bytes_for_any_split_of_the_slices_and_any_number_of_threads(data, scan, seed):
    specs = data.draw(st.lists(artifacts(n_coils=scan.n_coils), min_size=1, max_size=3))
    slices = data.draw(st.permutations(range(scan.n_slices)))[: data.draw(st.integers(1, scan.n_slices))]
    before = fingerprint(scan)
    whole = corrupt(scan, specs, seed=seed).scan
    part = corrupt(
        scan,
        specs[::-1] if len({s.kind for s in specs}) == len(specs) else specs,
        seed=seed,
        slices=slices,
        n_threads=3,
    ).scan
    assert part.kspace.tobytes() == whole.kspace[list(slices)].tobytes()
    assert fingerprint(scan) == before


@given(data=st.data(), scan=scans(), seed=SEEDS, exponent=st.integers(-12, 12))
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_the_orchestrator_is_equivariant_to_scale(data, scan, seed, exponent):
    specs = data.draw(st.lists(artifacts(n_coils=scan.n_coils), min_size=1, max_size=3))
    result = corrupt(scan, specs, seed=seed).scan
    other = corrupt(scaled(scan, 2.0**exponent), specs, seed=seed).scan
    assert other.kspace.tobytes() == scaled(result, 2.0**exponent).kspace.tobytes()


def test_the_strategies_reach_the_awkward_shapes():
    """A strategy that never draws one coil proves nothing about it."""
    seen = set()

    @given(scan=scans())
    @settings(max_examples=200, database=None)
    def look(scan):
        rows, lines = scan.matrix
        seen.update(
            {
                f"coils {scan.n_coils}",
                f"slices {scan.n_slices}",
                f"rows {rows % 2}",
                f"lines {lines % 2}",
                str(scan.kspace.dtype),
                "full" if scan.sampled.all() else "padded" if scan.fully_sampled else "masked",
            }
        )
        assert rows != lines and max(rows, lines) <= MAX_LINES

    look()
    wanted = {"coils 1", "coils 4", "slices 1", "slices 3", "rows 0", "rows 1", "lines 0", "lines 1"}
    assert wanted | {"complex64", "complex128", "full", "padded", "masked"} <= seen
