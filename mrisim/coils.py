"""A simulated array of receive coils: its sensitivity maps, and the covariance of its noise.

The simulated array is one ring of circular loops around the object. The axis of each loop is radial, in the slice's
plane; B0 points through the plane; x runs along the readout axis and y along the phase-encode axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ellipe, ellipk

from mrisim.errors import ConfigError

RADIUS_OVER_FOV = 0.6
"""Radius of the ring over the shorter side of the field of view: just outside the object, as a head array is."""
LOOP_RADIUS_OVER_RADIUS = 0.5
"""Radius of a loop over that of the ring. Eight loops then overlap to almost no mutual inductance (0.79 diameters
between centres; about 0.75 in Roemer 1990). More loops on one ring keep this size: smaller ones see the skin alone."""
WIRE_RADIUS_MM = 3.0
"""Closer to a wire than this the field stays what it is at this distance."""
PARAXIAL = 1e-4
"""Elliptic parameter below which a power series stands in: the closed form is a difference of two equal numbers there,
and series and difference are both good to 1e-8 here."""
COIL_NOISE_FRACTION = 0.1
"""Share of a loop's noise power that arises in the coil and its preamplifier; the rest arises in the body."""


@dataclass(frozen=True)
class LoopArray:
    """One ring of equal circular loops on a cylinder about the isocentre; loop c stands at the angle 2 pi c / n_coils.

    Raises
    ------
    ConfigError
        If a length or the number of coils is not positive.
    """

    n_coils: int
    radius_mm: float
    loop_radius_mm: float
    offset_mm: float = 0.0
    """Distance along B0 from the plane of the loops' centres to the slice."""

    def __post_init__(self) -> None:
        for name in ("n_coils", "radius_mm", "loop_radius_mm"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected a positive number, in the coil array")

    @property
    def angle_rad(self) -> np.ndarray:
        """(coil,): where each loop stands on the ring."""
        return 2 * np.pi * np.arange(self.n_coils) / self.n_coils

    def local(self, x_mm: np.ndarray, y_mm: np.ndarray, z_mm: np.ndarray | float) -> tuple[np.ndarray, ...]:
        """Return axial, tangential and B0-axis distance (coil, ...) of points from the centre of each loop."""
        angle = self.angle_rad.reshape(-1, *(1,) * np.ndim(x_mm))
        axial = x_mm * np.cos(angle) + y_mm * np.sin(angle) - self.radius_mm
        tangential = -x_mm * np.sin(angle) + y_mm * np.cos(angle)
        return axial, tangential, np.broadcast_to(z_mm, tangential.shape)

    def receive_field(self, x_mm: np.ndarray, y_mm: np.ndarray) -> np.ndarray:
        """Return B1- = Bx - i By of unit currents (coil, ...), up to one real constant, at points of the slice."""
        axial, tangential, z = self.local(x_mm, y_mm, self.offset_mm)
        radial = np.hypot(tangential, z)
        along, outward = _loop_field(axial, radial, self.loop_radius_mm)
        share = np.divide(tangential, radial, out=np.zeros_like(radial), where=radial > 0)
        angle = self.angle_rad.reshape(-1, *(1,) * np.ndim(x_mm))
        # In the plane the loop's axis is exp(-i angle) and the tangent -i exp(-i angle), under x -> 1, y -> -i.
        return (along - 1j * outward * share) * np.exp(-1j * angle)

    def electric_field(self, x_mm: np.ndarray, y_mm: np.ndarray, z_mm: np.ndarray) -> np.ndarray:
        """Return E (3, coil, ...) of unit currents up to one constant: the vector potential, free charges neglected."""
        axial, tangential, z = self.local(x_mm, y_mm, z_mm)
        radial = np.hypot(tangential, z)
        potential = _loop_potential(axial, radial, self.loop_radius_mm)
        over_radial = np.divide(potential, radial, out=np.zeros_like(radial), where=radial > 0)
        angle = self.angle_rad.reshape(-1, *(1,) * np.ndim(x_mm))
        # The current circles about the loop's axis n: n x (tangential t + z e_z) = tangential e_z - z t.
        return np.stack([z * np.sin(angle), -z * np.cos(angle), tangential]) * over_radial


def loop_array(
    fov_mm: tuple[float, float],
    n_coils: int,
    radius_mm: float | None = None,
    loop_radius_mm: float | None = None,
    offset_mm: float = 0.0,
) -> LoopArray:
    """Return the array of `simulated_csm`: ring and loops in proportion to the shorter side of the field of view."""
    if radius_mm is None:
        radius_mm = RADIUS_OVER_FOV * min(fov_mm)
    if loop_radius_mm is None:
        loop_radius_mm = LOOP_RADIUS_OVER_RADIUS * radius_mm
    return LoopArray(n_coils, radius_mm, loop_radius_mm, offset_mm)


def simulated_csm(
    matrix: tuple[int, int],
    fov_mm: tuple[float, float],
    *,
    n_coils: int = 8,
    radius_mm: float | None = None,
    loop_radius_mm: float | None = None,
    offset_mm: float = 0.0,
) -> np.ndarray:
    """Weight the signal by the receive field B1- = Bx - i By of a ring of circular loops (law of Biot and Savart).

    A loop's field is the closed form in elliptic integrals. On the isocentre, loop c therefore has the phase
    exp(-2 pi i c / n_coils) and the magnitude b^2 / (R^2 + b^2)^(3/2), up to one constant for the array. The maps
    bring their real shading: they are *not* divided by their root sum of squares. One coil is a volume coil: ones.

    Parameters
    ----------
    matrix : (readout, phase_encode)
    fov_mm : (readout, phase_encode)
    n_coils : int
    radius_mm : float, optional
        Distance R of the loops' centres from the isocentre; default 0.6 of the shorter side of the field of view.
    loop_radius_mm : float, optional
        Radius b of a loop; default R/2.
    offset_mm : float
        Distance along B0 from the plane of the loops' centres to the slice.

    Returns
    -------
    complex64 array (coil, readout, phase_encode)
        Scaled so that the mean root sum of squares over the disc inscribed in the field of view is 1, whatever the
        matrix: maps of two matrices agree where their pixels coincide.

    Raises
    ------
    ConfigError
        If the matrix, a length, or the number of coils is not positive.

    Limits
    ------
    Quasi-static: no wavelength effects in the body (strong from 3 T on), no coupling between the loops, one ring.

    References
    ----------
    Roemer et al. 1990, 10.1002/mrm.1910160203. Simpson et al. 2001, NASA NTRS 20010038494 (elliptic integrals).
    """
    if min(matrix) < 1 or not min(fov_mm) > 0 or n_coils < 1:
        raise ConfigError(
            f"matrix is {matrix}, fov_mm {fov_mm}, n_coils {n_coils}; expected positive numbers, in the coil maps"
        )
    if n_coils == 1:
        return np.ones((1, *matrix), np.complex64)
    array = loop_array(fov_mm, n_coils, radius_mm, loop_radius_mm, offset_mm)
    x_mm, y_mm = ((np.arange(n) - n // 2) * (fov / n) for n, fov in zip(matrix, fov_mm, strict=True))
    field = array.receive_field(*np.meshgrid(x_mm, y_mm, indexing="ij"))
    return (field / _mean_rss(array, min(fov_mm) / 2)).astype(np.complex64)


def simulated_noise_covariance(
    fov_mm: tuple[float, float],
    *,
    n_coils: int = 8,
    sample_radius_mm: float | None = None,
    sample_length_mm: float | None = None,
    coil_noise_fraction: float = COIL_NOISE_FRACTION,
) -> np.ndarray:
    """Correlate the coils' noise as a conducting body does: Psi_ij = integral of E_i . conj(E_j), plus the coils' own.

    Parameters
    ----------
    fov_mm : (readout, phase_encode)
        Sets the array, as in `simulated_csm`.
    n_coils : int
    sample_radius_mm, sample_length_mm : float, optional
        Cylinder of uniform conductivity along B0; default 0.4 and 0.8 of the shorter side of the field of view.
    coil_noise_fraction : float
        Share of each coil's noise power that is its own and not correlated, 0 < fraction <= 1.

    Returns
    -------
    complex128 array (coil, coil)
        Hermitian, positive definite, mean diagonal 1. Multiply by E|n|^2 for the covariance of a noise level.

    Raises
    ------
    ConfigError
        If the fraction is outside 0 ... 1.

    Limits
    ------
    E is the vector potential: the field of charges on the body's surface, and a coil's loss by size, are neglected.

    References
    ----------
    Roemer et al. 1990, 10.1002/mrm.1910160203.
    """
    if not 0 < coil_noise_fraction <= 1:
        raise ConfigError(f"coil_noise_fraction is {coil_noise_fraction}; expected above 0 and up to 1")
    if n_coils == 1:
        return np.ones((1, 1), np.complex128)
    array = loop_array(fov_mm, n_coils)
    sample_radius_mm = 0.4 * min(fov_mm) if sample_radius_mm is None else sample_radius_mm
    sample_length_mm = 0.8 * min(fov_mm) if sample_length_mm is None else sample_length_mm
    x_mm, y_mm, area = _disc_quadrature(sample_radius_mm)
    node, weight = np.polynomial.legendre.leggauss(12)
    field = array.electric_field(*np.broadcast_arrays(x_mm[:, None], y_mm[:, None], node * sample_length_mm / 2))
    psi = np.einsum("aipz,ajpz,p,z->ij", field, field, area, weight)
    psi = (1 - coil_noise_fraction) * psi / np.mean(np.diag(psi)) + coil_noise_fraction * np.eye(n_coils)
    return psi.astype(np.complex128)


def _loop_distances(axial: np.ndarray, radial: np.ndarray, loop_radius: float) -> tuple[np.ndarray, ...]:
    near = np.maximum((loop_radius - radial) ** 2 + axial**2, WIRE_RADIUS_MM**2)
    far = near + 4 * loop_radius * radial
    return near, far, 4 * loop_radius * radial / far


def _loop_field(axial: np.ndarray, radial: np.ndarray, loop_radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the axial and radial field of a loop at the origin, in units of mu0 I / 2 pi."""
    near, far, parameter = _loop_distances(axial, radial, loop_radius)
    first, second = ellipk(parameter), ellipe(parameter)
    squares = radial**2 + axial**2
    along = (first + (loop_radius**2 - squares) / near * second) / np.sqrt(far)
    paraxial = parameter < PARAXIAL
    over_radial = axial / np.where(paraxial, 1.0, radial)
    outward = over_radial * (-first + (loop_radius**2 + squares) / near * second) / np.sqrt(far)
    series = 1.5 * np.pi * loop_radius**2 * axial * radial / (loop_radius**2 + axial**2) ** 2.5
    return along, np.where(paraxial, series, outward)


def _loop_potential(axial: np.ndarray, radial: np.ndarray, loop_radius: float) -> np.ndarray:
    """Return the azimuthal vector potential of a loop at the origin, in units of mu0 I / 2 pi."""
    _, far, parameter = _loop_distances(axial, radial, loop_radius)
    paraxial = parameter < PARAXIAL
    safe = np.where(paraxial, 0.5, parameter)
    bracket = ((2 - safe) * ellipk(safe) - 2 * ellipe(safe)) / safe
    series = np.pi / 16 * (parameter + 0.75 * parameter**2)
    return 2 * loop_radius / np.sqrt(far) * np.where(paraxial, series, bracket)


def _disc_quadrature(radius_mm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y and area share of points that integrate over a disc, whatever the matrix of an image."""
    node, weight = np.polynomial.legendre.leggauss(16)
    r = radius_mm * (node + 1) / 2
    angle = 2 * np.pi * (np.arange(64) + 0.5) / 64
    x_mm, y_mm = np.outer(r, np.cos(angle)).ravel(), np.outer(r, np.sin(angle)).ravel()
    share = np.repeat(weight * r, angle.size)
    return x_mm, y_mm, share / share.sum()


def _mean_rss(array: LoopArray, disc_radius_mm: float) -> float:
    x_mm, y_mm, share = _disc_quadrature(disc_radius_mm)
    field = array.receive_field(x_mm, y_mm)
    return float(share @ np.sqrt(np.sum(np.abs(field) ** 2, axis=0)))
