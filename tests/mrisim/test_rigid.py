"""Rigid poses against an object whose value is known at every point: a sum of plane waves."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from mrisim.gridding import resample_array
from mrisim.rigid import RigidObject
from mrisim.testing import COMPLEX_TYPES, assert_linear, complex_arrays, image_shapes, relative_difference, tolerance

GRIDDING = 2e-5
"""Relative error that the off-grid interpolation may leave, in single precision."""
N_PLACES = 13
"""Of a hybrid space, some of which poses go to: more than go together, as coils are more than see them together."""


def plane_waves(shape, n_waves=12, seed=0):
    """Return (frequencies in turns per field of view, amplitudes) of an object that the grid can hold exactly."""
    rng = np.random.default_rng(seed)
    frequency = np.stack([rng.integers(-(n // 2), n - n // 2, n_waves) for n in shape], axis=1)
    return frequency, rng.normal(size=n_waves) + 1j * rng.normal(size=n_waves)


def value_at(waves, shape, row, column):
    """Sum the plane waves at points given in pixels from the centre pixel n // 2."""
    total = np.zeros(np.broadcast_shapes(np.shape(row), np.shape(column)), complex)
    for (k, q), amplitude in zip(*waves, strict=True):
        total += amplitude * np.exp(2j * np.pi * (k * row / shape[0] + q * column / shape[1]))
    return total


def grid(shape):
    return np.meshgrid(*(np.arange(n) - n // 2 for n in shape), indexing="ij")


def moved_exactly(waves, shape, voxel_mm, pose):
    """Where a point of the moved object comes from: undo the translation, then the rotation, in millimetres."""
    row, column = grid(shape)
    row_mm, column_mm = row * voxel_mm[0] - pose[0], column * voxel_mm[1] - pose[1]
    angle = np.radians(pose[2])
    source_row = np.cos(angle) * row_mm + np.sin(angle) * column_mm
    source_column = -np.sin(angle) * row_mm + np.cos(angle) * column_mm
    return value_at(waves, shape, source_row / voxel_mm[0], source_column / voxel_mm[1])


@pytest.mark.parametrize("shape", [(17, 12), (12, 17), (16, 10), (11, 15), (14, 131)])
@pytest.mark.parametrize(
    "pose",
    [(0, 0, 90), (0, 0, -3.7), (2.3, 0, 0), (0, -4.1, 0), (1.7, -2.9, 14.0), (-5.0, 3.0, 211.0), (300.0, 0.5, 1e-3)],
)
def test_a_pose_off_the_grid_is_exact_for_plane_waves(shape, pose):
    waves, voxel_mm = plane_waves(shape), (1.3, 0.8)
    image = value_at(waves, shape, *grid(shape))
    expected = moved_exactly(waves, shape, voxel_mm, pose)
    assert relative_difference(RigidObject(image, voxel_mm).at(np.array(pose)), expected) < GRIDDING
    single = RigidObject(image.astype(np.complex64), voxel_mm).at(np.array(pose))
    assert single.dtype == np.complex64
    assert relative_difference(single, expected) < 2 * GRIDDING


@pytest.mark.parametrize("shape", [(9, 14), (14, 9)])
def test_a_translation_by_whole_pixels_is_a_roll(shape):
    image = np.random.default_rng(0).normal(size=shape) + 1j
    moved = RigidObject(image, (2.0, 0.5)).at(np.array([4.0, -1.5, 0]))
    assert relative_difference(moved, np.roll(image, (2, -3), (0, 1))) < tolerance(complex)


def test_a_point_moves_where_the_signs_say():
    image = np.zeros((9, 13), complex)
    image[4 + 2, 6 + 1] = 1  # 2 rows below the centre pixel, 1 column right of it
    for pose, expected in (
        ((1, 0, 0), (4 + 3, 6 + 1)),  # towards larger row index
        ((0, 1, 0), (4 + 2, 6 + 2)),  # towards larger column index
        ((0, 0, 90), (4 - 1, 6 + 2)),  # the row axis turns towards the column axis
        ((3, 0, 90), (4 + 2, 6 + 2)),  # first the rotation, then the translation
    ):
        moved = np.abs(RigidObject(image, (1.0, 1.0)).at(np.array(pose, float)))
        assert np.unravel_index(np.argmax(moved), moved.shape) == expected, pose


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_right_angles_are_rot90_on_an_odd_square(turns):
    rng = np.random.default_rng(1)
    image = rng.normal(size=(15, 15)) + 1j * rng.normal(size=(15, 15))
    moved = RigidObject(image, (1.0, 1.0)).at(np.array([0, 0, 90.0 * turns]))
    assert relative_difference(moved, np.rot90(image, turns)) < GRIDDING


def test_anisotropic_voxels_turn_in_millimetres():
    # a point at (2 rows of 1 mm) turns by 90 degrees to (1 column of 2 mm)
    image = np.zeros((11, 9), complex)
    image[5 + 2, 4] = 1
    moved = np.abs(RigidObject(image, (1.0, 2.0)).at(np.array([0, 0, 90.0])))
    assert np.unravel_index(np.argmax(moved), moved.shape) == (5, 4 + 1)


def test_at_rest_the_image_itself_is_returned():
    image = np.ones((4, 5), np.complex64)
    assert RigidObject(image, (1.0, 1.0)).at(np.zeros(3)) is image


@given(x=complex_arrays(image_shapes()), row=st.floats(-40, 40), column=st.floats(-40, 40))
@settings(max_examples=30)
def test_a_translation_keeps_the_norm_and_is_undone_by_its_opposite(x, row, column):
    moved = RigidObject(x, (1.5, 0.7)).at(np.array([row, column, 0]))
    assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm(x), rel=tolerance(x.dtype))
    back = RigidObject(moved, (1.5, 0.7)).at(np.array([-row, -column, 0]))
    assert np.linalg.norm(back - x) <= 2 * tolerance(x.dtype) * np.linalg.norm(x)


@given(x=complex_arrays((9, 14)), y=complex_arrays((9, 14)), angle=st.floats(-180, 180))
@settings(max_examples=20)
def test_a_pose_is_linear_in_the_image(x, y, angle):
    y = y.astype(x.dtype)
    assert_linear(lambda image: RigidObject(image, (1.0, 1.2)).at(np.array([0.3, -1.1, angle])), x, y)


def test_two_translations_compose():
    shape = (10, 15)
    waves = plane_waves(shape)
    once = RigidObject(value_at(waves, shape, *grid(shape)), (1.0, 1.0)).at(np.array([1.4, 0.3, 0.0]))
    twice = RigidObject(once, (1.0, 1.0)).at(np.array([0.5, -2.0, 0.0]))
    assert relative_difference(twice, moved_exactly(waves, shape, (1.0, 1.0), (1.9, -1.7, 0.0))) < tolerance(complex)


def changes_material(n_slices, shape, dtype, n_coils=6, n_poses=11):
    """Return images, maps, rotated poses, waves, and the places of a hybrid space that the poses go to."""
    rng = np.random.default_rng(3)

    def draw(*size):
        return (rng.normal(size=size) + 1j * rng.normal(size=size)).astype(dtype)

    poses = rng.normal(size=(n_poses, 3)) * (3, 3, 20)
    places = rng.permutation(N_PLACES)[:n_poses]
    return draw(n_slices, *shape), draw(n_slices, n_coils, *shape), poses, draw(n_poses, shape[1]), places


@pytest.mark.parametrize("dtype", COMPLEX_TYPES)
@pytest.mark.parametrize("n_slices", [2, 4, 9])
@pytest.mark.parametrize("shape", [(12, 17), (9, 75)])
def test_a_stack_moves_as_each_slice_alone_bit_by_bit(shape, n_slices, dtype):
    images, csm, poses, waves, places = changes_material(n_slices, shape, dtype)
    stack, together = RigidObject(images, (1.0, 1.4)), np.zeros((*csm.shape[:-1], N_PLACES), dtype)
    moved = stack.at(poses[0])
    stack.encode_changes(poses, waves, csm, together, places)
    assert moved.dtype == dtype and moved.shape == images.shape
    for index, image in enumerate(images):
        alone, hybrid = RigidObject(image, (1.0, 1.4)), np.zeros((1, *csm.shape[1:-1], N_PLACES), dtype)
        assert alone.at(poses[0]).tobytes() == moved[index].tobytes()
        alone.encode_changes(poses, waves, csm[index : index + 1], hybrid, places)
        assert hybrid.tobytes() == together[index].tobytes()


@pytest.mark.parametrize("dtype", COMPLEX_TYPES)
@pytest.mark.parametrize("shape", [(12, 17), (15, 75)])
def test_encoded_changes_are_those_of_the_moved_images(shape, dtype):
    images, csm, poses, waves, places = changes_material(2, shape, dtype)
    moving, hybrid = RigidObject(images, (1.0, 1.4)), np.full((*csm.shape[:-1], N_PLACES), 7, dtype)
    expected = hybrid.copy()
    for pose, wave, place in zip(poses, waves, places, strict=True):
        change = (moving.at(pose) - images)[:, None]
        expected[..., place] = np.sum(csm * change * wave, axis=-1)
    moving.encode_changes(poses, waves, csm, hybrid, places)
    assert relative_difference(hybrid, expected) < 1e-6


@pytest.mark.parametrize("dtype", COMPLEX_TYPES)
@pytest.mark.parametrize("shape", [(2, 12, 17), (1, 15, 10)])
def test_the_array_formula_for_the_gpu_is_the_compiled_kernel(shape, dtype):
    rng = np.random.default_rng(3)
    images = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    moving = RigidObject(images, (1.0, 1.4))
    angle = np.radians(23.0)
    matrix = np.array([[np.cos(angle), np.sin(angle) * 1.4], [-np.sin(angle) / 1.4, np.cos(angle)]])
    offset = matrix @ (0.7, -3.2)
    got = resample_array(moving._oversampled, matrix, offset, shape)
    assert got.dtype == dtype
    assert relative_difference(got, moving.at(np.array([0.7, -3.2 * 1.4, 23.0]))) < 1e-6
