"""The simulated array against the law of Biot and Savart, summed over straight segments of each loop."""

import numpy as np
import pytest

from mrisim.coils import _loop_field, _loop_potential, loop_array, simulated_csm, simulated_noise_covariance
from mrisim.errors import ConfigError

FOV_MM = (210.0, 180.0)
MATRIX = (21, 16)


def loop_segments(array, coil, n_segments=2000):
    """Return the corners' midpoints and the segments (point, 3) of one loop, in mm."""
    angle = array.angle_rad[coil]
    axis = np.array([np.cos(angle), np.sin(angle), 0])
    tangent, along_b0 = np.array([-np.sin(angle), np.cos(angle), 0]), np.array([0, 0, 1.0])
    turn = 2 * np.pi * np.arange(n_segments + 1) / n_segments
    corners = array.radius_mm * axis + array.loop_radius_mm * (
        np.outer(np.cos(turn), tangent) + np.outer(np.sin(turn), along_b0)
    )
    return (corners[1:] + corners[:-1]) / 2, np.diff(corners, axis=0)


def pixel_points(matrix, fov_mm, offset_mm=0.0):
    axes = [(np.arange(n) - n // 2) * fov / n for n, fov in zip(matrix, fov_mm, strict=True)]
    x, y = np.meshgrid(*axes, indexing="ij")
    return np.stack([x, y, np.full_like(x, offset_mm)], axis=-1)


@pytest.mark.parametrize("offset_mm", [0.0, 30.0])
def test_maps_follow_the_law_of_biot_and_savart(offset_mm):
    n_coils = 6
    csm = simulated_csm(MATRIX, FOV_MM, n_coils=n_coils, offset_mm=offset_mm)
    array = loop_array(FOV_MM, n_coils)
    points = pixel_points(MATRIX, FOV_MM, offset_mm).reshape(-1, 1, 3)
    summed = np.empty((n_coils, points.shape[0]), complex)
    wires_mm = np.full(points.shape[0], np.inf)
    for coil in range(n_coils):
        middle, segment = loop_segments(array, coil)
        distance = points - middle
        field = np.sum(np.cross(segment, distance) / np.linalg.norm(distance, axis=-1)[..., None] ** 3, axis=1)
        summed[coil] = field[:, 0] - 1j * field[:, 1]
        wires_mm = np.minimum(wires_mm, np.linalg.norm(distance, axis=-1).min(axis=1))
    # The corners of this field of view reach the wires, which are thick in the model and thin in the sum.
    clear = wires_mm > 4
    assert clear.mean() > 0.95
    csm, summed = csm.reshape(n_coils, -1)[:, clear], summed[:, clear]
    gain = np.vdot(summed, csm) / np.vdot(summed, summed)
    assert abs(gain.imag) < 1e-6 * gain.real, "one positive constant for the array"
    np.testing.assert_allclose(csm, gain.real * summed, atol=2e-5 * np.abs(csm).max())


def test_isocentre_has_the_closed_form():
    n_coils, radius_mm, loop_radius_mm = 7, 120.0, 50.0
    csm = simulated_csm(MATRIX, FOV_MM, n_coils=n_coils, radius_mm=radius_mm, loop_radius_mm=loop_radius_mm)
    centre = csm[:, MATRIX[0] // 2, MATRIX[1] // 2]
    phase = np.exp(-2j * np.pi * np.arange(n_coils) / n_coils)
    np.testing.assert_allclose(centre / np.abs(centre[0]), phase, atol=1e-6)
    # On the axis of loop 0, B = b^2 / (b^2 + a^2)^(3/2): the ratio of two pixels is free of the array's scale.
    x_mm = 4 * FOV_MM[0] / MATRIX[0]
    law = ((loop_radius_mm**2 + radius_mm**2) / (loop_radius_mm**2 + (radius_mm - x_mm) ** 2)) ** 1.5
    moved = csm[0, MATRIX[0] // 2 + 4, MATRIX[1] // 2]
    np.testing.assert_allclose(moved / centre[0], law, rtol=1e-6)


@pytest.mark.parametrize("matrix", [(12, 9), (15, 16)])
def test_maps_of_two_matrices_agree_where_their_pixels_coincide(matrix):
    coarse = simulated_csm(matrix, FOV_MM, n_coils=5)
    fine = simulated_csm((2 * matrix[0], 2 * matrix[1]), FOV_MM, n_coils=5)
    # The centre pixel N//2 of both grids is the isocentre.
    first = [n - 2 * (n // 2) for n in matrix]
    np.testing.assert_allclose(fine[:, first[0] :: 2, first[1] :: 2], coarse, rtol=1e-5)


@pytest.mark.parametrize(("n_coils", "most"), [(4, 10), (8, 7), (16, 5)])
def test_scale_and_shading(n_coils, most):
    csm = simulated_csm((95, 80), (200.0, 200.0), n_coils=n_coils)
    points = pixel_points((95, 80), (200.0, 200.0))
    distance = np.hypot(points[..., 0], points[..., 1])
    norm = np.sqrt(np.sum(np.abs(csm) ** 2, axis=0))
    assert csm.dtype == np.complex64
    assert norm[distance < 100].mean() == pytest.approx(1, abs=0.02)
    object_ = norm[distance < 80]
    assert 2.5 < object_.max() / object_.min() < most, "B1- is shaded, not normalised"


def test_one_coil_is_a_uniform_volume_coil():
    np.testing.assert_array_equal(simulated_csm((5, 4), FOV_MM, n_coils=1), np.ones((1, 5, 4), np.complex64))
    np.testing.assert_array_equal(simulated_noise_covariance(FOV_MM, n_coils=1), [[1]])


@pytest.mark.parametrize(
    ("matrix", "fov_mm", "options"),
    [
        ((0, 4), FOV_MM, {}),
        ((5, 4), (200.0, 0.0), {}),
        ((5, 4), FOV_MM, {"n_coils": 0}),
        ((5, 4), FOV_MM, {"radius_mm": -1.0}),
        ((5, 4), FOV_MM, {"loop_radius_mm": float("nan")}),
    ],
)
def test_impossible_arrays_are_refused(matrix, fov_mm, options):
    with pytest.raises(ConfigError, match="expected"):
        simulated_csm(matrix, fov_mm, **options)


def test_electric_field_is_the_vector_potential():
    array = loop_array(FOV_MM, 5)
    rng = np.random.default_rng(0)
    points = rng.uniform(-60, 60, (40, 3))
    points[0] = [0, 0, 0]  # on the axis of every loop
    field = array.electric_field(*points.T)
    summed = np.empty_like(field)
    for coil in range(5):
        middle, segment = loop_segments(array, coil)
        distance = np.linalg.norm(points[:, None] - middle, axis=-1)
        summed[:, coil] = np.einsum("ps,sa->ap", 1 / distance, segment)
    # _loop_field and _loop_potential are in units of mu0 I / 2 pi, the sum in mu0 I / 4 pi.
    np.testing.assert_allclose(field, summed / 2, atol=1e-5 * np.abs(field).max())


def test_noise_covariance_is_the_overlap_of_the_electric_fields():
    n_coils, fov_mm = 5, (200.0, 160.0)
    psi = simulated_noise_covariance(fov_mm, n_coils=n_coils, coil_noise_fraction=0.2)
    grid = (np.arange(25) - 12) / 12.5
    x, y, z = np.meshgrid(64 * grid, 64 * grid, 64 * grid, indexing="ij")
    inside = np.hypot(x, y) < 64
    field = loop_array(fov_mm, n_coils).electric_field(x[inside], y[inside], z[inside])
    overlap = np.einsum("aip,ajp->ij", field, field)
    expected = 0.8 * overlap / np.mean(np.diag(overlap)) + 0.2 * np.eye(n_coils)
    np.testing.assert_allclose(psi, expected, atol=0.02)
    assert np.mean(np.diag(psi)).real == pytest.approx(1)
    assert np.linalg.eigvalsh(psi)[0] > 0.1
    np.testing.assert_allclose(psi, np.roll(psi, (1, 1), (0, 1)), atol=1e-6, err_msg="a ring looks the same from each")
    eight = simulated_noise_covariance(fov_mm, n_coils=8).real
    assert eight[0, 1] > 0.3 > abs(eight[0, 2]), "neighbours look into the same tissue"


def test_noise_fraction_is_checked():
    with pytest.raises(ConfigError, match=r"coil_noise_fraction is 0\.0"):
        simulated_noise_covariance(FOV_MM, coil_noise_fraction=0.0)


def test_the_field_near_the_axis_of_a_loop():
    """The closed form is a difference of equal numbers there: relative, not absolute, agreement with the sum."""
    loop_radius_mm, axial_mm = 60.0, 80.0
    radial_mm = np.array([1e-9, 1e-3, 0.1, 0.5, 2.0, 10.0])
    along, outward = _loop_field(np.full_like(radial_mm, axial_mm), radial_mm, loop_radius_mm)
    potential = _loop_potential(np.full_like(radial_mm, axial_mm), radial_mm, loop_radius_mm)
    # Trapezoids over the angle are exact to rounding for a periodic integrand. The terms that are odd about
    # cos = 0 are summed in pairs, t and t + pi, so that nothing cancels but what the formulas say.
    turn = np.pi * (np.arange(200) + 0.5) / 200 - np.pi / 2
    square = loop_radius_mm**2 + axial_mm**2 + radial_mm[:, None] ** 2
    lean = 2 * loop_radius_mm * radial_mm[:, None] * np.cos(turn) / square
    step, b = np.pi / 200, loop_radius_mm

    def odd(power):
        return -np.expm1(power * (np.log1p(-lean) - np.log1p(lean))) * (1 - lean) ** -power / square**power

    even = ((1 - lean) ** -1.5 + (1 + lean) ** -1.5) / square**1.5
    np.testing.assert_allclose(potential, 0.5 * step * np.sum(b * np.cos(turn) * odd(0.5), axis=1), rtol=1e-6)
    np.testing.assert_allclose(outward, 0.5 * step * np.sum(axial_mm * b * np.cos(turn) * odd(1.5), axis=1), rtol=1e-6)
    expected = b * b * even - radial_mm[:, None] * b * np.cos(turn) * odd(1.5)
    np.testing.assert_allclose(along, 0.5 * step * np.sum(expected, axis=1), rtol=1e-6)
