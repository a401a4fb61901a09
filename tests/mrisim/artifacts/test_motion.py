"""Motion against a dense encoding operator, the coils that stay, time courses, and what must not change."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.special import jv

from mrisim.artifacts.motion import Motion, MotionLatents
from mrisim.echo_order import echo_order
from mrisim.seeding import stream
from mrisim.testing import dft_matrix, encoded, modelled_scan, relative_difference, tolerance

GRIDDING = 3e-5
"""What the off-grid rotation and single precision may leave."""


def random_complex(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def moved(scan, poses, **parameters):
    """Apply explicit poses: (phase_encode, 3), row mm, column mm, degrees."""
    latents = MotionLatents(unit_pose=np.asarray(poses, float))
    return Motion(rms=1.0, recenter=False, **parameters).apply(scan, latents).kspace


def random_waves(shape, n_waves=15, seed=2):
    """An object known at every point: plane waves that the grid can hold."""
    rng = np.random.default_rng(seed)
    turns = np.stack([rng.integers(-(n // 2), n - n // 2, n_waves) for n in shape], axis=1)
    return turns, random_complex(n_waves, seed)


def value_at(waves, shape, row, column):
    return sum(
        amplitude * np.exp(2j * np.pi * (k * row / shape[0] + q * column / shape[1]))
        for (k, q), amplitude in zip(*waves, strict=True)
    )


def pixel_grid(shape):
    return np.meshgrid(*(np.arange(n) - n // 2 for n in shape), indexing="ij")


def dense_encoding(waves, csm, poses, voxel_mm):
    """y_c(k_j) = 1/sqrt(N) sum_r s_c(r) x(T_j^-1 r) exp(-2 pi i k_j r): pose by pose, pixel by pixel."""
    _n_coils, n_rows, n_columns = csm.shape
    row, column = pixel_grid((n_rows, n_columns))
    kspace = np.empty(csm.shape, complex)
    for j, (dx, dy, degrees) in enumerate(poses):
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        p, q = row * voxel_mm[0] - dx, column * voxel_mm[1] - dy
        seen = csm * value_at(
            waves, (n_rows, n_columns), (cosine * p + sine * q) / voxel_mm[0], (cosine * q - sine * p) / voxel_mm[1]
        )
        for i in range(n_rows):
            turns = (i - n_rows // 2) * row / n_rows + (j - n_columns // 2) * column / n_columns
            kspace[:, i, j] = (seen * np.exp(-2j * np.pi * turns)).sum((1, 2)) / np.sqrt(n_rows * n_columns)
    return kspace


def wave_scan(shape=(12, 17), n_coils=3, voxel_mm=(1.5, 0.8), dtype=np.complex64, **options):
    waves = random_waves(shape)
    image = value_at(waves, shape, *pixel_grid(shape))
    csm = random_complex((n_coils, *shape), seed=7)
    fov_mm = (voxel_mm[0] * shape[0], voxel_mm[1] * shape[1])
    return waves, csm, modelled_scan(image[None], csm[None], dtype=dtype, fov_mm=fov_mm, **options)


@pytest.mark.parametrize("shape", [(12, 17), (11, 14)])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_a_pose_per_line_against_the_dense_encoding_operator(shape, dtype):
    waves, csm, scan = wave_scan(shape, dtype=dtype)
    poses = np.random.default_rng(1).normal(size=(shape[1], 3)) * (2, 2, 8)
    expected = dense_encoding(waves, csm, poses, (1.5, 0.8))
    assert relative_difference(moved(scan, poses)[0], expected) < GRIDDING


@pytest.mark.parametrize("n_poses", [1, 2, 3, 19])
def test_few_poses_of_many_lines_each_against_the_dense_encoding_operator(n_poses):
    """Poses of many lines, of few and of one, in turn: each has a way of its own to be computed."""
    shape = (9, 43)
    waves, csm, scan = wave_scan(shape)
    poses = (np.random.default_rng(2).normal(size=(n_poses, 3)) * (2, 2, 8))[np.arange(shape[1]) ** 2 % n_poses]
    poses[5:9] = (1.2, -0.3, 0.0)
    expected = dense_encoding(waves, csm, poses, (1.5, 0.8))
    assert relative_difference(moved(scan, poses)[0], expected) < GRIDDING


def test_measured_noise_stays_where_it_was():
    """The delta form: y' = y + F S T x - F S x, so that n does not move."""
    waves, csm, scan = wave_scan()
    noise = random_complex(scan.kspace.shape, seed=9).astype(np.complex64)
    poses = np.random.default_rng(1).normal(size=(17, 3)) * (2, 2, 8)
    got = moved(replace(scan, kspace=scan.kspace + noise), poses)[0] - noise[0]
    assert relative_difference(got, dense_encoding(waves, csm, poses, (1.5, 0.8))) < GRIDDING


@pytest.mark.parametrize("shape", [(9, 14), (10, 13)])
def test_one_pose_of_whole_pixels_and_a_uniform_coil_is_a_roll(shape):
    image = random_complex(shape)
    scan = modelled_scan(image[None], np.ones((1, 1, *shape)))
    got = moved(scan, np.tile([2.0, -3.0, 0.0], (shape[1], 1)))
    expected = encoded(np.roll(image, (2, -3), (0, 1))[None], np.ones((1, 1, *shape)))
    assert relative_difference(got, expected) < tolerance(np.complex64)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_one_pose_of_right_angles_is_rot90(turns):
    image = random_complex((15, 15))
    scan = modelled_scan(image[None], np.ones((1, 1, 15, 15)))
    got = moved(scan, np.tile([0.0, 0.0, 90.0 * turns], (15, 1)))
    assert relative_difference(got, encoded(np.rot90(image, turns)[None], np.ones((1, 1, 15, 15)))) < GRIDDING


def test_all_lines_in_one_pose_leave_no_artifact_in_fixed_coils():
    """The object is elsewhere, sharp, and shaded by the coils at its new place."""
    shape = (12, 17)
    waves, csm, scan = wave_scan(shape, voxel_mm=(1.0, 1.0))
    pose = np.array([1.7, -2.3, 21.0])
    got = moved(scan, np.tile(pose, (shape[1], 1)))
    row, column = pixel_grid(shape)
    p, q = row - pose[0], column - pose[1]
    c, s = np.cos(np.radians(pose[2])), np.sin(np.radians(pose[2]))
    expected = csm * value_at(waves, shape, c * p + s * q, c * q - s * p)
    rows, columns = dft_matrix(shape[0]).conj(), dft_matrix(shape[1]).conj()
    assert relative_difference(rows.T @ got[0] @ columns, expected) < GRIDDING


def smooth_head(shape=(24, 31), n_coils=5):
    """An ellipse in coils that differ by a factor of about six over the object."""
    row, column = pixel_grid(shape)
    image = ((row / 8) ** 2 + (column / 10) ** 2 < 1) * (1 + 0.3 * np.cos(row) * np.sin(column))
    angle = 2 * np.pi * np.arange(n_coils)[:, None, None] / n_coils
    distance = (row - 12 * np.cos(angle)) ** 2 + (column - 14 * np.sin(angle)) ** 2
    return image.astype(complex), np.exp(-distance / 180) * np.exp(1j * angle)


def test_ramping_the_kspace_of_each_coil_is_another_and_a_wrong_thing():
    """It carries the coils along: equal for one uniform coil, wrong by 10-58 % with real coils."""
    image, csm = smooth_head()
    n_rows, n_columns = image.shape
    shift = np.array([4, 5])
    lines = np.arange(n_columns)
    poses = np.where((lines >= n_columns // 3)[:, None], [*shift, 0.0], 0.0)
    k, q = np.arange(n_rows) - n_rows // 2, lines - n_columns // 2
    ramp = np.exp(-2j * np.pi * (k[:, None] * shift[0] / n_rows + q * shift[1] / n_columns))
    ramp = np.where(lines >= n_columns // 3, ramp, 1)
    for maps, wrong in ((np.ones((1, *image.shape)), 0.0), (csm, 0.1)):
        clean = encoded(image[None], maps[None])
        right = encoded(np.roll(image, shift, (0, 1))[None], maps[None])
        expected = np.where(lines >= n_columns // 3, right, clean)
        got = moved(modelled_scan(image[None], maps[None]), poses)
        assert relative_difference(got, expected) < tolerance(np.complex64)
        carried = encoded(np.roll(image, shift, (0, 1))[None], np.roll(maps, shift, (1, 2))[None])
        ramped = clean * ramp
        assert relative_difference(ramped, np.where(lines >= n_columns // 3, carried, clean)) < tolerance(complex)
        error = relative_difference(ramped, expected)
        assert wrong <= error < 0.6
        assert error < 1e-12 or wrong


def test_motion_outside_the_centre_leaves_the_low_pass_image():
    _, _, scan = wave_scan((12, 17))
    outer = np.abs(np.arange(17) - 8) > 3
    poses = np.where(outer[:, None], [1.2, 0.7, 9.0], 0.0)
    got = moved(scan, poses)
    assert got[..., ~outer].tobytes() == scan.kspace[..., ~outer].tobytes()  # copied: not even rounded
    assert np.linalg.norm((got - scan.kspace)[..., outer]) > 0.1 * np.linalg.norm(scan.kspace[..., outer])


@pytest.mark.parametrize(("n_lines", "n_replica"), [(15, 4), (16, 5)])
def test_breathing_along_the_readout_makes_bessel_side_bands(n_lines, n_replica):
    """Displacement a sin(2 pi f t + psi) with integer f TR N_pe = n: replicas J_m(2 pi k a) at m n pixels."""
    shape, fov_mm, tr_s = (14, n_lines), (140.0, 150.0), 0.5
    frequency_hz = n_replica / (tr_s * n_lines)
    image = random_complex(shape)
    scan = modelled_scan(
        image[None], np.ones((1, 1, *shape)), dtype=np.complex128, fov_mm=fov_mm, repetition_time_ms=500.0
    )
    spec = Motion(
        rms=9.0,
        trajectory="periodic",
        ordering="sequential",
        recenter=False,
        frequency_hz=frequency_hz,
        phase_encode_weight=0.0,
        rotation_weight=0.0,
    )
    latents = spec.draw(scan, rng=stream(3))
    # the trajectory is a sine of the acquisition time, of root mean square 1; find its phase
    omega_t = 2 * np.pi * frequency_hz * tr_s * np.arange(n_lines)
    design = np.stack([np.sin(omega_t), np.cos(omega_t)], axis=1)
    (sine, cosine), *_ = np.linalg.lstsq(design, latents.unit_pose[:, 0], rcond=None)
    np.testing.assert_allclose(design @ (sine, cosine), latents.unit_pose[:, 0], atol=1e-12)
    assert np.hypot(sine, cosine) == pytest.approx(np.sqrt(2), rel=1e-12)
    assert not latents.unit_pose[:, 1:].any()
    psi = np.arctan2(cosine, sine) + 2 * np.pi * n_replica * (n_lines // 2) / n_lines
    amplitude = 9.0 * np.sqrt(2) / fov_mm[0]  # in fields of view
    k = (np.arange(shape[0]) - shape[0] // 2)[:, None]
    hybrid = dft_matrix(shape[0]) @ image  # (k_readout, y)
    expected = sum(
        jv(m, 2 * np.pi * k * amplitude) * np.exp(-1j * m * psi) * np.roll(hybrid, m * n_replica, axis=1)
        for m in range(-30, 31)
    )
    got = spec.apply(scan, latents).kspace[0, 0] @ dft_matrix(n_lines).conj()
    assert relative_difference(got, expected) < 1e-10


@pytest.mark.parametrize("trajectory", ["walk", "sudden", "drift", "periodic"])
@pytest.mark.parametrize("recenter", [True, False])
def test_severity_is_the_root_mean_square_over_lines(trajectory, recenter):
    _, _, scan = wave_scan((12, 30))
    sampled = np.ones((12, 30), bool)
    sampled[:, :4] = False
    scan = replace(scan, sampled=sampled, kspace=np.where(sampled, scan.kspace, 0))
    spec = Motion(trajectory=trajectory, recenter=recenter, frequency_hz=0.11)
    pose = spec.draw(scan, rng=stream(0, trajectory)).unit_pose
    assert pose.shape == (30, 3) and not pose[:4].any()
    assert np.sqrt(np.mean(np.sum(pose[4:] ** 2, axis=1))) == pytest.approx(1, rel=1e-12)
    energy = (np.abs(scan.kspace.astype(complex)) ** 2).sum((0, 1, 2))[4:]
    mean = energy @ pose[4:] / energy.sum()
    assert (np.abs(mean).max() < 1e-6) == recenter


def test_a_constant_course_recentred_is_the_clean_scan():
    """Breathing once a repetition puts every line in one pose: no artifact, whatever rounding leaves of the course."""
    _, _, scan = wave_scan(repetition_time_ms=4000.0)
    spec = Motion(rms=5.0, trajectory="periodic", ordering="sequential", frequency_hz=0.25)
    latents = spec.draw(scan, rng=stream(0))
    assert not latents.unit_pose.any()
    assert spec.apply(scan, latents).kspace.tobytes() == scan.kspace.tobytes()


def test_a_single_line_cannot_move_against_itself():
    _, _, scan = wave_scan()
    sampled = np.zeros(scan.matrix, bool)
    sampled[:, 8] = True
    scan = replace(scan, sampled=sampled, kspace=np.where(sampled, scan.kspace, 0))
    for seed in range(10):
        assert not Motion(rms=5.0).draw(scan, rng=stream(seed)).unit_pose.any()


def test_time_courses():
    n_lines = 40
    _, _, scan = wave_scan((12, n_lines), echo_train_length=4)
    time = echo_order(scan, "tse").time_ms
    by_time = np.argsort(time)
    for seed in range(5):
        pose = {
            name: Motion(trajectory=name, recenter=False).draw(scan, rng=stream(seed)).unit_pose[by_time]
            for name in ("sudden", "drift", "walk")
        }
        drift = pose["drift"] / time[by_time].max()
        np.testing.assert_allclose(
            np.diff(drift, axis=0).T * 1.0, np.outer(drift[-1], np.diff(time[by_time])) / time.max()
        )
        assert 1 <= len(np.unique(pose["sudden"], axis=0)) <= 3  # two moves at most
        steps = np.abs(np.diff(pose["sudden"], axis=0)).sum(1)
        assert np.count_nonzero(steps) <= 2 and not pose["sudden"][0].any()


def test_the_walk_is_piecewise_linear_with_two_jumps():
    _, _, scan = wave_scan((12, 300), n_coils=1)
    pose = Motion(trajectory="walk", ordering="sequential", recenter=False).draw(scan, rng=stream(1)).unit_pose
    bends = np.abs(np.diff(pose, n=2, axis=0)).max(axis=1) > 1e-12
    # 31 inner knots bend two second differences each at most, two jumps two each
    assert 31 <= np.count_nonzero(bends) <= 2 * 31 + 4


def test_moments_of_the_walk():
    """Increments of the three axes: mean 0, equal variance, uncorrelated."""
    _, _, _scan = wave_scan((12, 17), n_coils=1)
    ends = np.array(
        [
            Motion(recenter=False, ordering="sequential")._course(np.linspace(0, 1, 17), stream(seed))[-1]
            for seed in range(2000)
        ]
    )
    # walk of variance 1 plus two sudden moves of variance 1 each
    assert stats.kstest(ends.ravel() / np.sqrt(3), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(ends.T) - np.eye(3)).max() < 5 / np.sqrt(2000)


def test_the_weights_select_the_axes():
    _, _, scan = wave_scan()
    for axis, name in enumerate(("readout_weight", "phase_encode_weight", "rotation_weight")):
        weights = {"readout_weight": 0.0, "phase_encode_weight": 0.0, "rotation_weight": 0.0, name: 2.0}
        pose = Motion(**weights).draw(scan, rng=stream(0)).unit_pose
        assert np.flatnonzero(np.abs(pose).max(axis=0)).tolist() == [axis]


def test_lines_of_one_echo_train_share_their_shot():
    """TSE: neighbouring lines belong to different shots; the pose follows the time, not the place in k-space."""
    _, _, scan = wave_scan((12, 32), echo_train_length=8)  # 4 shots of 8 echoes, bands of 4 lines
    pose = Motion(trajectory="sudden", recenter=False).draw(scan, rng=stream(5)).unit_pose
    shots = pose.reshape(8, 4, 3)  # (band, shot)
    np.testing.assert_array_equal(shots, np.broadcast_to(shots[:1], shots.shape))


def test_two_motions_act_one_after_the_other():
    """T2 after T1, on the object: not the sum of both errors."""
    shape = (12, 17)
    waves, csm, scan = wave_scan(shape, voxel_mm=(1.0, 1.0))
    rng = np.random.default_rng(4)
    first, second = (rng.normal(size=(17, 3)) * (2, 2, 10) for _ in range(2))
    once = Motion(rms=1.0).apply(scan, MotionLatents(first))
    twice = Motion(rms=1.0).apply(once, MotionLatents(second)).kspace[0]
    both = np.empty((17, 3))
    for j in range(17):
        turn = np.radians(second[j, 2])
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        both[j] = [*(rotation @ first[j, :2] + second[j, :2]), first[j, 2] + second[j, 2]]
    assert relative_difference(twice, dense_encoding(waves, csm, both, (1.0, 1.0))) < 2 * GRIDDING


def test_unacquired_samples_keep_every_bit_in_lines_that_moved_too():
    _, _, scan = wave_scan()
    sampled = np.random.default_rng(0).random(scan.matrix) < 0.6
    kspace = np.where(sampled, scan.kspace, np.complex64(complex(-0.0, -0.0)))
    scan = replace(scan, kspace=kspace, sampled=sampled)
    got = moved(scan, np.tile([1.0, 2.0, 3.0], (17, 1)))
    assert got[..., ~sampled].tobytes() == kspace[..., ~sampled].tobytes()
    _, _, full = wave_scan()
    np.testing.assert_array_equal(got[..., sampled], moved(full, np.tile([1.0, 2.0, 3.0], (17, 1)))[..., sampled])


def test_every_slice_moves_by_the_same_poses():
    shape = (9, 14)
    image, csm = random_complex((2, *shape)), random_complex((2, 3, *shape), seed=1)
    poses = np.tile([2.0, -1.0, 0.0], (14, 1))
    got = moved(modelled_scan(image, csm), poses)
    assert relative_difference(got, encoded(np.roll(image, (2, -1), (1, 2)), csm)) < tolerance(np.complex64)


@pytest.mark.parametrize(
    "parameters", [{"rms": -1}, {"trajectory": "jump"}, {"ordering": "spiral"}, {"frequency_hz": 0}]
)
def test_impossible_parameters_are_refused(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        Motion(**parameters)
