"""Scan: complex multi-coil k-space, and what is known about how it was acquired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from mrisim.errors import DataError
from mrisim.fourier import Array, centred_ifft

KspaceOrigin = Literal["measured", "emulated-singlecoil", "simulated", "synthesised-from-magnitude"]


@dataclass(frozen=True)
class Acquisition:
    """How the k-space was acquired: geometry, timing, limits, provenance.

    Lengths and matrix are those of the *encoded* space: readout oversampling and phase-encode padding are inside.
    """

    fov_mm: tuple[float, float]
    """Encoded field of view (readout, phase_encode)."""
    slice_thickness_mm: float = 4.0
    repetition_time_ms: float = 2800.0
    echo_time_ms: float = 30.0
    echo_spacing_ms: float = 10.0
    echo_train_length: int = 8
    dwell_time_us: float = 10.0
    """Time between two readout samples of the encoded (oversampled) matrix."""
    field_strength_t: float = 3.0
    n_phase_encode_axes: Literal[1, 2] = 1
    """2 where the readout axis of the arrays is a second phase-encode axis (a 3-D scan after its readout transform)."""
    readout_oversampling: float = 1.0
    recon_shape: tuple[int, int] | None = None
    """Image matrix (rows, columns) to crop to; None keeps the encoded matrix."""
    contrast: str = ""
    patient_id: str = ""
    kspace_origin: KspaceOrigin = "measured"
    assumed: tuple[str, ...] = ()
    """Names of the fields above that the file did not state."""
    notes: tuple[str, ...] = ()
    """One-line warnings of the reader, for the user and for the sidecar."""


@dataclass(frozen=True)
class Reference:
    """What the artifacts' physical units refer to, measured once on the clean input, the whole volume."""

    signal_rms: float
    """A: root mean square of the RSS magnitude over the foreground."""
    line_energy: np.ndarray
    """(phase_encode,): sum of abs(kspace)**2 of each line."""
    magnitude: np.ndarray
    """(slice, readout, phase_encode): RSS magnitude of the whole volume."""
    foreground: np.ndarray
    """(slice, readout, phase_encode), bool."""
    sampled: np.ndarray
    """(readout, phase_encode), bool: what the scanner acquired; simulated undersampling does not change its timing."""
    air_covariance: np.ndarray | None = None
    """(coil, coil): noise covariance in the air corners of a readout-oversampled image, where there are any."""
    dead_coils: tuple[int, ...] = ()
    """`Scan.dead_coils` of the whole volume."""


@dataclass(frozen=True)
class ObjectModel:
    """The estimate y = P F S x of a scan: one object in fixed coils. It is what moves when the object moves."""

    image: Array
    """x: (slice, readout, phase_encode)."""
    csm: Array
    """S: (slice, coil, readout, phase_encode), with the B1- shading in it."""
    relative_error: tuple[float, ...]
    """||y - E x|| / ||y|| of each slice."""
    csm_origin: Literal["true", "estimated", "uniform"]
    shading_moves_with_object: bool
    pose: np.ndarray | None = None
    """(phase_encode, 3): row mm, column mm, degrees that the object of each line has already moved; None = at rest."""


@dataclass(frozen=True, eq=False)
class Scan:
    """K-space of one 2-D multi-slice scan.

    Raises
    ------
    DataError
        If the shapes of the parts do not fit each other.
    """

    kspace: Array
    """(slice, coil, readout, phase_encode), complex; DC at index N//2."""
    acquisition: Acquisition
    sampled: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), bool))
    """(readout, phase_encode), bool: where the scanner acquired data. Empty = everywhere."""
    csm: Array | None = None
    """Coil sensitivity maps (slice, coil, readout, phase_encode), where the file brings them."""
    noise_covariance: np.ndarray | None = None
    """(coil, coil): Psi = E[n n^H] of the k-space noise."""
    slice_ids: tuple[int, ...] = ()
    """Index of each slice in the file: a part of a volume keeps the indices of the whole."""
    reference: Reference | None = None
    object_model: ObjectModel | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.kspace.shape)
        if len(shape) != 4 or self.kspace.dtype.kind != "c":
            raise DataError(
                f"kspace has shape {shape} and dtype {self.kspace.dtype}; "
                "expected a complex array (slice, coil, readout, phase_encode)"
            )
        if 0 in shape:
            raise DataError(f"kspace has shape {shape}; expected at least one sample on every axis")
        if self.sampled.size == 0:
            object.__setattr__(self, "sampled", np.ones(shape[2:], bool))
        if not self.slice_ids:
            object.__setattr__(self, "slice_ids", tuple(range(shape[0])))
        n_slices, n_coils = shape[:2]
        expected = {"sampled": shape[2:], "noise_covariance": (n_coils, n_coils), "csm": shape}
        for name, want in expected.items():
            part = getattr(self, name)
            if part is not None and tuple(part.shape) != want:
                raise DataError(f"{name} has shape {tuple(part.shape)}; expected {want} for kspace of shape {shape}")
        if len(self.slice_ids) != n_slices:
            raise DataError(f"slice_ids names {len(self.slice_ids)} slices; expected {n_slices}")

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return self.kspace.shape[0]

    @property
    def n_coils(self) -> int:
        """Number of receive coils."""
        return self.kspace.shape[1]

    @property
    def dead_coils(self) -> tuple[int, ...]:
        """Coils that hold nothing but zeros in every slice: channels that received neither signal nor noise."""
        return tuple(i for i in range(self.n_coils) if not any(bool(coils[i].any()) for coils in self.kspace))

    @property
    def matrix(self) -> tuple[int, int]:
        """Encoded matrix (readout, phase_encode)."""
        return self.kspace.shape[2:]

    @property
    def voxel_mm(self) -> tuple[float, float]:
        """Pixel size (readout, phase_encode) of the encoded grid."""
        fov, matrix = self.acquisition.fov_mm, self.matrix
        return fov[0] / matrix[0], fov[1] / matrix[1]

    @property
    def sampled_lines(self) -> np.ndarray:
        """Indices of the phase-encode lines with at least one acquired sample, ascending."""
        return np.flatnonzero(self.sampled.any(axis=0))

    @property
    def fully_sampled(self) -> bool:
        """Whether every sample between the first and the last acquired line was acquired."""
        lines = self.sampled_lines
        return bool(self.sampled[:, lines[0] : lines[-1] + 1].all()) if lines.size else False

    def select(self, slices: Sequence[int]) -> Scan:
        """Return the part of the volume with the given positions; its reference stays that of the whole volume."""
        positions = list(slices)
        first = positions[0] if positions else 0
        neighbours = first >= 0 and positions == list(range(first, first + len(positions)))
        # neighbours need no copy: scans are never changed in place
        index = slice(first, first + len(positions)) if neighbours else positions
        model = self.object_model
        if model is not None:
            errors = tuple(model.relative_error[i] for i in positions)
            model = replace(model, image=model.image[index], csm=model.csm[index], relative_error=errors)
        return replace(
            self,
            kspace=self.kspace[index],
            csm=None if self.csm is None else self.csm[index],
            slice_ids=tuple(self.slice_ids[i] for i in positions),
            object_model=model,
        )


def coil_images(scan: Scan) -> Array:
    """Return the complex coil images (slice, coil, readout, phase_encode) of a scan, unacquired samples as zero."""
    return centred_ifft(scan.kspace)
