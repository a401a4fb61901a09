"""The orchestrator: order, streams, splits, the composite law, and what it refuses."""

from dataclasses import fields, replace
from itertools import permutations

import numpy as np
import pytest

import mrisim.object_model
from mrisim import slice_batches
from mrisim.artifacts import KINDS, motion
from mrisim.artifacts.bias_field import BiasField
from mrisim.artifacts.ghosting import Ghosting
from mrisim.artifacts.motion import Motion
from mrisim.artifacts.noise import Noise
from mrisim.artifacts.spikes import Spikes
from mrisim.artifacts.undersampling import Undersampling
from mrisim.corrupt import Request, apply, corrupt, draw
from mrisim.errors import ConfigError, DataError
from mrisim.quality import foreground_mask
from mrisim.seeding import stream
from mrisim.testing import encoded, modelled_scan, relative_difference

MATRIX, N_COILS = (26, 37), 3


def smooth_maps(n_slices=1):
    row, column = np.meshgrid(*(np.arange(n) - n // 2 for n in MATRIX), indexing="ij")
    angle = 2 * np.pi * np.arange(N_COILS)[:, None, None] / N_COILS
    distance = (row - 13 * np.cos(angle)) ** 2 + (column - 16 * np.sin(angle)) ** 2
    return np.broadcast_to(np.exp(-distance / 300 + 1j * angle), (n_slices, N_COILS, *MATRIX))


def head(n_slices=1):
    row, column = np.meshgrid(*(np.arange(n) - n // 2 for n in MATRIX), indexing="ij")
    images = [
        ((row / 8) ** 2 + (column / (11 + z)) ** 2 < 1) * (1 + 0.3 * np.cos(row + z) * np.sin(column))
        for z in range(n_slices)
    ]
    return np.stack(images).astype(complex)


def head_scan(n_slices=1, **options):
    return modelled_scan(head(n_slices), smooth_maps(n_slices), fov_mm=(208.0, 222.0), **options)


def all_kinds(level=3):
    return [spec.at_level(level, n_coils=N_COILS) for spec in KINDS.values()]


def same_latents(a, b):
    for entry in fields(a):
        left, right = getattr(a, entry.name), getattr(b, entry.name)
        np.testing.assert_array_equal(left, right)


def test_kinds_act_in_physical_order_whatever_order_they_are_given_in():
    scan = head_scan()
    expected = ["bias-field", "motion", "undersampling", "ghosting", "spikes", "noise"]
    whole = corrupt(scan, all_kinds())
    assert [realisation.spec.kind for realisation in whole.realisations] == expected
    for artifacts in list(permutations(all_kinds()))[::97]:
        assert corrupt(scan, artifacts).scan.kspace.tobytes() == whole.scan.kspace.tobytes()


def test_lines_that_are_given_up_are_not_computed_and_the_rest_is_as_in_physical_order(monkeypatch):
    scan = head_scan()
    artifacts = [Motion.at_level(4), Undersampling.at_level(3), Noise.at_level(2, n_coils=N_COILS)]
    result = corrupt(scan, artifacts, seed=5)
    step = replace(scan, object_model=mrisim.object_model.estimate_object(scan))
    for realisation in result.realisations:
        step = realisation.spec.apply(step, realisation.of_slice(0))
    assert [realisation.spec.kind for realisation in result.realisations] == ["motion", "undersampling", "noise"]
    assert relative_difference(result.scan.kspace, step.kspace) < 1e-6
    np.testing.assert_array_equal(result.scan.sampled, step.sampled)

    computed, plain = [], motion.changed_lines

    def watched(*arguments):
        computed.append(arguments[-1])
        return plain(*arguments)

    monkeypatch.setattr(motion, "changed_lines", watched)
    corrupt(scan, artifacts, seed=5)
    assert set(np.concatenate(computed)) <= set(result.scan.sampled_lines)


def test_object_level_kinds_act_together_on_one_object():
    """y' = y + F S' T x - F S x with S' = b S: the moved object is shaded where it now is."""
    scan = head_scan(dtype=np.complex64)
    bias, motion = BiasField(range_ratio=4.0), Motion(rms=20.0, rotation_weight=0.0, trajectory="drift")
    result = corrupt(scan, [motion, bias], seed=3)
    shade, course = (realisation.latents[-1] for realisation in result.realisations)
    maps = bias.field(MATRIX, shade, 0) * smooth_maps()
    expected = np.empty_like(result.scan.kspace)
    k, q = (np.arange(n) - n // 2 for n in MATRIX)
    spectrum = encoded(head(), np.ones((1, 1, *MATRIX)))[0, 0]
    for line, pose in enumerate(20.0 * course.unit_pose):
        row, column = pose[0] / 8.0, pose[1] / 6.0  # voxels of 8 by 6 mm
        ramp = np.exp(-2j * np.pi * (k[:, None] * row / MATRIX[0] + q * column / MATRIX[1]))
        moved = np.conj(encoded(np.conj(spectrum * ramp)[None], np.ones((1, 1, *MATRIX))))[0]
        expected[..., line] = encoded(moved, maps)[..., line]
    assert np.abs(course.unit_pose).max() > 0.5
    assert relative_difference(result.scan.kspace, expected) < 1e-5
    assert max(result.object_model.relative_error) < 1e-5


def test_what_comes_later_uses_the_units_of_the_clean_input():
    scan = head_scan()
    amplitude = np.linalg.norm(np.abs(smooth_maps() * head()[:, None]), axis=1)
    clean_rms = np.sqrt(np.mean(amplitude[foreground_mask(amplitude)] ** 2))
    result = corrupt(scan, [Noise(snr=10), Undersampling(acceleration=4), BiasField(range_ratio=50)])
    noise = result.realisations[-1]
    assert noise.spec.kind == "noise"
    assert noise.latents[0].signal_rms == pytest.approx(clean_rms, rel=1e-5)


def test_spikes_land_on_the_lines_that_undersampling_kept():
    scan = head_scan(2)
    for seed in range(10):
        result = corrupt(scan, [Spikes(amplitude_ratio=1.0), Undersampling(acceleration=6)], seed=seed)
        mask, spikes = result.realisations
        kept = mask.spec.sampled_after(scan, mask.latents[-1])
        np.testing.assert_array_equal(result.scan.sampled, kept)
        for latents in spikes.latents.values():
            assert kept[tuple(latents.position.T)].all()
        assert not result.scan.kspace[..., ~kept].any()


def test_undersampling_does_not_change_the_time_of_the_kept_lines():
    """A pulsation follows the time of the scan as it was acquired, as motion does."""
    scan = head_scan()
    pulsation = Ghosting(mode="pulsation", modulation=0.5)
    kept = corrupt(scan, [pulsation, Undersampling(acceleration=4)]).scan
    alone = corrupt(scan, [pulsation]).scan
    np.testing.assert_array_equal(kept.kspace[..., kept.sampled], alone.kspace[..., kept.sampled])


def test_a_kind_named_twice_acts_twice_with_a_stream_of_its_own():
    scan = head_scan()
    result = corrupt(scan, [Noise(snr=9.0), Spikes(amplitude_ratio=0.2), Noise(snr=9.0)])
    first, second = result.realisations[1:]
    assert (first.occurrence, second.occurrence) == (0, 1)
    assert first.latents[0].key.tolist() != second.latents[0].key.tolist()
    alone = corrupt(scan, [Noise(snr=9.0)]).realisations[0]
    same_latents(alone.latents[0], first.latents[0])  # the second does not disturb the first


def test_a_latent_depends_on_seed_item_kind_occurrence_and_slice_only():
    scan = head_scan(3)
    full = draw(scan, all_kinds(), seed=5, item_id="knee/a")
    for realisation in full:
        alone = draw(scan, [realisation.spec], seed=5, item_id="knee/a")[0]
        if realisation.spec.kind != "spikes":  # those land on what undersampling left
            for key, latents in realisation.latents.items():
                same_latents(latents, alone.latents[key])
        names = ("knee/a", realisation.spec.kind, 0, realisation.spec.scope)
        for other in (
            draw(scan, [realisation.spec], seed=6, item_id="knee/a"),
            draw(scan, [realisation.spec], seed=5, item_id="knee/b"),
        ):
            latents, others = next(iter(alone.latents.values())), next(iter(other[0].latents.values()))
            with pytest.raises(AssertionError):
                same_latents(latents, others)
        slice_names = () if realisation.spec.scope == "volume" else (0,)
        direct = realisation.spec.draw(scan, rng=stream(5, *names, *slice_names))
        if realisation.spec.kind != "spikes":
            same_latents(next(iter(realisation.latents.values())), direct)


def test_slices_have_noise_of_their_own_and_share_the_motion():
    realisations = {r.spec.kind: r for r in draw(head_scan(3), all_kinds(), seed=0, item_id="a")}
    assert sorted(realisations["noise"].latents) == [0, 1, 2]
    assert list(realisations["motion"].latents) == [-1]
    keys = {tuple(latents.key.tolist()) for latents in realisations["noise"].latents.values()}
    assert len(keys) == 3
    assert realisations["motion"].of_slice(2) is realisations["motion"].latents[-1]
    assert realisations["noise"].of_slice(2) is realisations["noise"].latents[2]


@pytest.mark.parametrize("kind", [*KINDS, "all"])
def test_the_same_bytes_for_any_split_order_and_number_of_threads(kind):
    scan = replace(head_scan(5), slice_ids=(3, 4, 6, 7, 9))
    artifacts = all_kinds() if kind == "all" else [KINDS[kind].at_level(3)]
    whole = corrupt(scan, artifacts, seed=2).scan.kspace
    for n_threads in (2, 4):
        assert corrupt(scan, artifacts, seed=2, n_threads=n_threads).scan.kspace.tobytes() == whole.tobytes()
    for slices in ([0], [3, 1], [2, 0, 3, 1], [4, 2, 0, 1, 3]):
        part = corrupt(scan, artifacts, seed=2, slices=slices)
        assert part.scan.slice_ids == tuple(scan.slice_ids[i] for i in slices)
        assert part.scan.kspace.tobytes() == whole[slices].tobytes()


def test_large_slices_are_corrupted_one_by_one_and_small_ones_together_with_the_same_bytes(monkeypatch):
    scan, sizes, plain = head_scan(5), [], mrisim.object_model.estimate_object

    def watched(part, **options):
        sizes.append(part.n_slices)
        return plain(part, **options)

    monkeypatch.setattr(mrisim.object_model, "estimate_object", watched)
    together = corrupt(scan, all_kinds(), seed=4)
    monkeypatch.setattr(slice_batches, "CORRUPTED_BYTES", 2 * 8 * N_COILS * MATRIX[0] * MATRIX[1])
    by_two = corrupt(scan, all_kinds(), seed=4)
    monkeypatch.setattr(slice_batches, "CORRUPTED_BYTES", 1)
    alone = corrupt(scan, all_kinds(), seed=4)
    assert sizes == [5, 2, 2, 1, 1, 1, 1, 1, 1]
    assert together.scan.kspace.tobytes() == by_two.scan.kspace.tobytes() == alone.scan.kspace.tobytes()
    assert together.object_model == by_two.object_model == alone.object_model
    assert len(together.object_model.relative_error) == 5


def test_a_drawn_corruption_can_be_applied_again():
    scan = head_scan(2)
    result = corrupt(scan, all_kinds(), seed=1)
    again = apply(scan, result.realisations)
    assert again.scan.kspace.tobytes() == result.scan.kspace.tobytes()


def test_without_an_effective_artifact_the_input_array_comes_back():
    scan = head_scan(2)
    for artifacts in ([], [spec.at_level(0) for spec in KINDS.values()]):
        result = corrupt(scan, artifacts)
        assert result.scan.kspace is scan.kspace
        assert result.realisations == () and result.notes == ()


def test_level_zero_beside_another_changes_nothing():
    scan = head_scan()
    alone = corrupt(scan, [Ghosting(phase_rad=1.0)])
    beside = corrupt(scan, [Noise.at_level(0), Ghosting(phase_rad=1.0), Motion.at_level(0)])
    assert beside.scan.kspace.tobytes() == alone.scan.kspace.tobytes()
    assert len(beside.realisations) == 1 and beside.object_model is None


def test_the_result_says_which_samples_are_left_and_nothing_of_what_was_only_needed_inside():
    scan = head_scan()
    result = corrupt(scan, all_kinds())
    assert result.scan.reference is None
    assert result.scan.sampled.sum() == MATRIX[0] * round(MATRIX[1] / 4)
    assert result.scan.acquisition is scan.acquisition


def test_a_poor_fit_of_the_object_model_is_said(monkeypatch):
    scan = head_scan()
    noisy = replace(
        scan, kspace=scan.kspace + np.random.default_rng(0).normal(size=scan.kspace.shape).astype(np.complex64)
    )
    result = corrupt(noisy, [Motion(rms=1.0)])
    assert result.object_model.relative_error[0] > 0.10
    assert "object model misses" in result.notes[0]
    assert corrupt(noisy, [Noise(snr=5)]).object_model is None

    def no_model(*args, **kwargs):
        raise AssertionError("nobody asked for an object model")

    monkeypatch.setattr(mrisim.object_model, "estimate_object", no_model)
    corrupt(scan, [Noise(snr=5), Ghosting(phase_rad=1), Spikes(amplitude_ratio=1), Undersampling(acceleration=2)])


def test_a_request_becomes_a_spec():
    assert Request("rician", 3).spec(1) == Noise.at_level(3, n_coils=1)
    assert Request("motion", 2, (("trajectory", "drift"),)).spec(8) == Motion.at_level(2, trajectory="drift")
    with pytest.raises(ConfigError, match="kind is 'blur'"):
        Request("blur", 1).spec(1)


@pytest.mark.parametrize("seed", [-1, 1.5])
def test_a_bad_seed_is_one_clear_line(seed):
    with pytest.raises(ConfigError, match=r"seed is .*; expected an integer of 0 or more"):
        corrupt(head_scan(), [Noise(snr=5)], seed=seed)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0])
def test_broken_kspace_is_refused(value):
    scan = head_scan()
    kspace = scan.kspace * 0 if value == 0 else scan.kspace.copy()
    kspace[0, 0, 3, 4] = value
    with pytest.raises(DataError):
        corrupt(replace(scan, kspace=kspace), [Noise(snr=5)])


def test_an_artifact_that_changes_nothing_says_so():
    still = Motion(rms=2.0, readout_weight=0, phase_encode_weight=0, rotation_weight=0)
    result = corrupt(head_scan(), [still, Noise(snr=20)])
    assert [note for note in result.notes if "no effect" in note] == [
        "motion changed no sample: with these parameters it has no effect on this scan"
    ]


def test_no_slices_are_refused():
    with pytest.raises(ConfigError, match="slices is empty"):
        corrupt(head_scan(), [Noise(snr=20)], slices=[])
