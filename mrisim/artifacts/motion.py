"""Rigid motion during the scan: every k-space line sees the object in the pose of its own time; the coils stay.

Cause: the patient moves between echo trains. Appearance: ghosts and ringing of high-contrast edges along phase encode,
blur; sudden moves give sharp doubled edges, periodic ones regular replicas, slow drift mostly blur.

Law: y_c(k_j) = sum_r s_c(r) [T(t_j) x](r) exp(-2 pi i k_j r). A translation is a phase ramp of the *object*, a rotation
turns its k-space; the sensitivities s_c are fixed in the scanner. Ramping each coil's k-space instead would carry the
coils along, which is wrong by 10-58 % of the image. In delta form y' = y + F S T x - F S x on the lines whose pose
changed; the others are copied.

References
----------
Batchelor et al. 2005, 10.1002/mrm.20656 (matrix description); Zaitsev, Maclaren & Herbst 2015, 10.1002/jmri.24850;
Gallichan, Marques & Gruetter 2016, 10.1002/mrm.25670 (random walk and sudden moves); Olsson et al. 2024,
10.1371/journal.pone.0301132.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from mrisim.artifacts.base import ArtifactSpec, Check, Stage
from mrisim.coil_sums import add_to_lines, set_lines
from mrisim.echo_order import Ordering, echo_order
from mrisim.fourier import Array, array_module, centred_fft, centred_ifft, to_device
from mrisim.reference import reference_of
from mrisim.rigid import RigidObject
from mrisim.scan import Acquisition, ObjectModel, Scan

Trajectory = Literal["walk", "sudden", "drift", "periodic"]
N_WALK_STEPS = 32
"""Knots of the random walk over the scan: slower than the shots, as breathing patients drift."""
N_SUDDEN = 2
"""Sudden moves in a scan."""
CHUNK = 16
"""Moved images held at a time."""
ROUNDING = 1e-9
"""A re-centred course below this fraction of the course itself is the rounding error of one constant pose."""


@dataclass(frozen=True)
class MotionLatents:
    """The course of the motion, for rms = 1."""

    unit_pose: np.ndarray
    """(phase_encode, 3): row mm, column mm, degrees of each line; 0 where no line was acquired."""


class Motion(ArtifactSpec):
    """Move the object while its k-space lines are acquired.

    Limits: in-plane rigid motion; no through-plane motion, spin history, or change of B0 with pose. All slices share
    one pose(t). The order of the lines is assumed. The object is periodic in the field of view: what leaves one side
    enters at the other.
    """

    kind: Literal["motion"] = "motion"
    rms: float = Field(
        default=0.0, ge=0, le=200, description="RMS over lines of sqrt(dx^2 + dy^2 [mm^2] + angle^2 [deg^2])."
    )
    trajectory: Trajectory = Field(
        default="walk", description="walk = smooth random walk with two sudden moves; sudden, drift, periodic."
    )
    ordering: Ordering = "tse"
    recenter: bool = Field(
        default=True, description="Take the energy-weighted mean pose out, so that the image stays registered."
    )
    readout_weight: float = Field(default=1.0, ge=0, description="Relative size of the motion along the readout axis.")
    phase_encode_weight: float = Field(default=1.0, ge=0, description="Relative size along the phase-encode axis.")
    rotation_weight: float = Field(default=1.0, ge=0, description="Relative size of the rotation, degrees per mm.")
    frequency_hz: float = Field(default=0.25, gt=0, description="Of the periodic trajectory: 0.25 is breathing.")

    stage: ClassVar[Stage] = Stage.POSE
    scope: ClassVar[Literal["volume", "slice"]] = "volume"
    severity: ClassVar[str] = "rms"
    identity: ClassVar[float] = 0.0
    needs_object_model: ClassVar[bool] = True
    slices_share: ClassVar[bool] = True
    latents_type: ClassVar[type] = MotionLatents
    only_where: ClassVar[dict[str, tuple[str, str]]] = {"frequency_hz": ("trajectory", "periodic")}

    def draw(self, scan: Scan, *, rng: np.random.Generator) -> MotionLatents:
        """Draw the trajectory and read it off at the time of every acquired line."""
        lines = scan.sampled_lines
        time_ms = echo_order(scan, self.ordering).time_ms[lines]
        course = self._course(time_ms, rng) * (self.readout_weight, self.phase_encode_weight, self.rotation_weight)
        extent = np.abs(course).max()
        if self.recenter:
            course -= np.average(course, axis=0, weights=reference_of(scan).line_energy[lines])
        if np.abs(course).max() <= ROUNDING * extent:
            course[:] = 0  # one pose for all lines, as of breathing once a repetition: not to be blown up to rms
        rms = float(np.sqrt(np.mean(np.sum(course**2, axis=1))))
        unit_pose = np.zeros((scan.matrix[1], 3))
        unit_pose[lines] = course / (rms or 1.0)
        return MotionLatents(unit_pose=unit_pose)

    def apply(self, scan: Scan, latents: MotionLatents) -> Scan:
        """Replace what the object at rest gave by what the moved object gives, on the acquired lines that moved."""
        model = scan.object_model
        assert model is not None, "corrupt() attaches the object model"
        before = np.zeros_like(latents.unit_pose) if model.pose is None else model.pose
        after = _compose(before, self.rms * latents.unit_pose)
        lines = np.flatnonzero(scan.sampled.any(axis=0) & (after != before).any(axis=1))
        kspace = scan.kspace.copy(order="C")
        moving = RigidObject(model.image, scan.voxel_mm)
        change = centred_fft(changed_lines(moving, model.csm, before, after, lines), axes=(-2,), overwrite=True)
        add_to_lines(kspace, lines, change, scan.sampled)
        return replace(scan, kspace=kspace, object_model=replace(model, pose=after))

    def _course(self, time_ms: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the raw trajectory (line, 3): the same draws whatever the number of lines."""
        fraction = (time_ms - time_ms.min()) / (np.ptp(time_ms) or 1.0)
        walk = np.concatenate([np.zeros((1, 3)), np.cumsum(rng.normal(size=(N_WALK_STEPS, 3)), axis=0)])
        walk /= np.sqrt(N_WALK_STEPS)
        move_at, move_by = np.sort(rng.random(N_SUDDEN)), rng.normal(size=(N_SUDDEN, 3))
        drift, phase = rng.normal(size=3), rng.uniform(0, 2 * np.pi)
        sudden = (fraction[:, None] >= move_at).astype(float) @ move_by
        if self.trajectory == "sudden":
            return sudden
        if self.trajectory == "drift":
            return fraction[:, None] * drift
        if self.trajectory == "periodic":
            return np.sin(2 * np.pi * self.frequency_hz * time_ms / 1000 + phase)[:, None] * drift
        knots = np.linspace(0, 1, N_WALK_STEPS + 1)
        return sudden + np.stack([np.interp(fraction, knots, axis) for axis in walk.T], axis=1)

    @classmethod
    def oracle(cls, device: str) -> tuple[Check, ...]:
        """Hold moved scans to the rolled image, the turned image, and the dense encoding sum."""
        rng = np.random.default_rng(4)
        image = (rng.normal(size=(15, 15)) + 1j * rng.normal(size=(15, 15))).astype(np.complex64)
        uniform = np.ones((1, 15, 15), np.complex64)
        csm = (rng.normal(size=(3, 15, 15)) + 1j * rng.normal(size=(3, 15, 15))).astype(np.complex64)
        poses = rng.normal(size=(15, 3)) * (1, 1, 5)
        cases = (
            (
                "integer shift of one coil is a roll",
                uniform,
                np.tile([2.0, -3.0, 0.0], (15, 1)),
                np.roll(image, (2, -3), (0, 1)),
            ),
            ("90 degrees turn the image", uniform, np.tile([0.0, 0.0, 90.0], (15, 1)), np.rot90(image)),
        )
        checks = []
        for law, maps, pose, expected in cases:
            got = to_device(centred_ifft(_encoded(image, maps, pose, device)), "cpu")[0]
            error = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
            checks.append(Check(f"{law}: relative difference", 0.0, error, 3e-5))
        dense = dense_motion_kspace(image, csm, poses, (1.0, 1.0))
        got = to_device(_encoded(image, csm, poses, device), "cpu")
        error = float(np.linalg.norm(got - dense) / np.linalg.norm(dense))
        return (*checks, Check("a pose per line: relative difference to the dense sum", 0.0, error, 3e-5))


def changed_lines(moving: RigidObject, csm: Array, before: np.ndarray, after: np.ndarray, lines: np.ndarray) -> Array:
    """Return F S T_after x - F S T_before x of some lines, whose poses differ from line to line.

    The transform along the readout is left to the caller: it is the same for all lines.

    Parameters
    ----------
    moving : RigidObject
        x: (slice, readout, phase_encode).
    csm : (slice, coil, readout, phase_encode)
    before, after : (phase_encode, 3)
        Row mm, column mm, degrees.
    lines : (line,) int
        The phase-encode columns wanted.

    Returns
    -------
    (slice, coil, readout position, line), complex
    """
    xp = array_module(csm)
    hybrid = xp.empty((*csm.shape[:-1], lines.size), csm.dtype)
    poses = np.concatenate([before, after], axis=1)[lines]
    distinct, group, n_members = np.unique(poses, axis=0, return_inverse=True, return_counts=True)

    def change(index: int) -> Array:
        return moving.at(distinct[index, 3:]) - moving.at(distinct[index, :3])

    many = n_members >= _many_lines(csm.shape[1])
    for index in map(int, np.flatnonzero(many)):
        members = np.flatnonzero(group == index)
        spectrum = centred_fft(csm * change(index)[:, None], axes=(-1,), overwrite=True)
        set_lines(hybrid, members, spectrum, lines[members])
    few = ~many[group]
    in_rows = few & isinstance(csm, np.ndarray) & ~poses[:, :3].any(axis=1) & (poses[:, 5] != 0)
    if in_rows.any():
        waves = _waves(lines[in_rows], csm.shape[-1]).astype(csm.dtype)
        moving.encode_changes(poses[in_rows, 3:], waves, csm, hybrid, np.flatnonzero(in_rows))
    # The rest image by image, lines of one pose after another, so that each pose is made once.
    order = np.argsort(group, kind="stable")
    order = order[(few & ~in_rows)[order]]
    chunk = xp.empty((min(CHUNK, order.size), *moving.image.shape), csm.dtype)
    made, image = -1, None
    for begin in range(0, order.size, CHUNK):
        members = order[begin : begin + CHUNK]
        waves = xp.asarray(_waves(lines[members], csm.shape[-1]).astype(csm.dtype))
        for place, index in enumerate(group[members]):
            if index != made:
                made, image = index, change(index)
            xp.multiply(image, waves[place], out=chunk[place])
        # for each slice and readout position: (coil, phase-encode position) @ (phase-encode position, line)
        seen = xp.matmul(csm.swapaxes(1, 2), chunk[: members.size].transpose(1, 2, 3, 0))
        hybrid[..., xp.asarray(members)] = seen.swapaxes(1, 2)
    return hybrid


def _many_lines(n_coils: int) -> int:
    """Return how many lines in one pose make one FFT of all lines of every coil cost less than a sum for each line.

    Measured on a CPU, one slice and eight: 2 and 6 lines for one coil, 3 and 4 for 4, 4 and 8 for 8. It must not depend
    on the number of slices: a slice has the same samples alone and among others.
    """
    return 2 + n_coils // 2


def _waves(lines: np.ndarray, n_lines_total: int) -> np.ndarray:
    """Return exp(-2 pi i k q / N) / sqrt(N): (line, phase-encode position)."""
    position = np.arange(n_lines_total) - n_lines_total // 2
    # whole turns are taken out before they cost precision
    turns = np.multiply.outer(lines - n_lines_total // 2, position) % n_lines_total / n_lines_total
    return np.exp(-2j * np.pi * turns) / np.sqrt(n_lines_total)


def dense_motion_kspace(
    image: np.ndarray, csm: np.ndarray, pose: np.ndarray, voxel_mm: tuple[float, float]
) -> np.ndarray:
    """Return the moved scan by plain sums over every pixel and frequency, in double precision: the reference, slow.

    Parameters
    ----------
    image : (readout, phase_encode); csm : (coil, readout, phase_encode); pose : (phase_encode, 3)

    Returns
    -------
    (coil, readout, phase_encode), complex128
    """
    n_rows, n_columns = image.shape
    rows, columns = np.arange(n_rows) - n_rows // 2, np.arange(n_columns) - n_columns // 2
    fourier_rows = np.exp(-2j * np.pi * np.outer(rows, rows) / n_rows)
    fourier_columns = np.exp(-2j * np.pi * np.outer(columns, columns) / n_columns)
    spectrum = fourier_rows @ image @ fourier_columns.T / (n_rows * n_columns)
    kspace = np.empty(csm.shape, complex)
    row_mm, column_mm = np.meshgrid(rows * voxel_mm[0], columns * voxel_mm[1], indexing="ij")
    for line, (shift_row, shift_column, degrees) in enumerate(pose):
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        source_row = (cosine * (row_mm - shift_row) + sine * (column_mm - shift_column)) / voxel_mm[0]
        source_column = (-sine * (row_mm - shift_row) + cosine * (column_mm - shift_column)) / voxel_mm[1]
        basis_rows = np.exp(2j * np.pi * np.multiply.outer(source_row, rows) / n_rows)
        basis_columns = np.exp(2j * np.pi * np.multiply.outer(source_column, columns) / n_columns)
        moved = np.einsum("rck,kl,rcl->rc", basis_rows, spectrum, basis_columns, optimize=True)
        seen = csm * moved
        kspace[..., line] = np.einsum("kr,crp,p->ck", fourier_rows, seen, fourier_columns[line], optimize=True)
    return kspace / np.sqrt(n_rows * n_columns)


def _compose(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the pose of an object moved by `first` and then by `second`, line by line."""
    angle = np.radians(second[:, 2])
    cosine, sine = np.cos(angle), np.sin(angle)
    row = cosine * first[:, 0] - sine * first[:, 1] + second[:, 0]
    column = sine * first[:, 0] + cosine * first[:, 1] + second[:, 1]
    return np.stack([row, column, first[:, 2] + second[:, 2]], axis=1)


def _encoded(image: np.ndarray, csm: np.ndarray, pose: np.ndarray, device: str) -> Array:
    """Return the k-space of an explicit motion, through `Motion.apply`."""
    clean = centred_fft(csm * image)
    model = ObjectModel(to_device(image[None], device), to_device(csm[None], device), (0.0,), "true", False)
    acquisition = Acquisition(fov_mm=(float(image.shape[0]), float(image.shape[1])))
    scan = Scan(to_device(clean[None], device), acquisition, object_model=model)
    return Motion(rms=1.0, recenter=False).apply(scan, MotionLatents(unit_pose=pose)).kspace[0]
