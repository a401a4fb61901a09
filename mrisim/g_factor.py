"""The noise amplification of parallel imaging, exactly: one dense matrix per readout position."""

import numpy as np
import scipy.linalg

from mrisim.errors import DataError
from mrisim.prewhitening import mix_channels, whitening_matrix


def g_factor(csm: np.ndarray, psi: np.ndarray, sampled_lines: np.ndarray) -> np.ndarray:
    """Return the noise amplification of SENSE: g = sqrt([(E^H E)^-1]_ii [S^H Psi^-1 S]_ii / R), E whitened.

    Exact for every choice of phase-encode lines - regular, with ACS, R that does not divide N: one dense matrix per
    readout position. For regular lines it equals the formula over the R aliased pixels.

    Parameters
    ----------
    csm : complex array (coil, readout, phase_encode)
    psi : (coil, coil)
        Noise covariance.
    sampled_lines : bool array (phase_encode,)
        R is the number of lines over the number of sampled ones.

    Returns
    -------
    float64 array (readout, phase_encode)
        1 or more; nan where no coil sees the pixel, which is also kept out of the unknowns.

    Raises
    ------
    DataError
        If the shapes do not fit, Psi is not positive definite, or the lines do not determine the image.

    References
    ----------
    Pruessmann et al. 1999, SENSE: sensitivity encoding for fast MRI, Magn Reson Med 42:952.
    """
    n_lines = csm.shape[-1]
    sampled_lines = np.asarray(sampled_lines, bool)
    if csm.ndim != 3 or sampled_lines.shape != (n_lines,) or not sampled_lines.any():
        raise DataError(
            f"csm has shape {csm.shape} and sampled_lines {sampled_lines.shape}, {int(sampled_lines.sum())} of them "
            "set; expected (coil, readout, phase_encode) and (phase_encode,) with one line or more, for the g-factor"
        )
    whitened = mix_channels(whitening_matrix(psi), csm.astype(np.complex128))
    acceleration = n_lines / int(sampled_lines.sum())
    # P F^H F of the lines: entry (y, y') depends on y - y' alone.
    signed = np.flatnonzero(sampled_lines) - n_lines // 2
    phase = np.exp(2j * np.pi * np.outer(np.arange(n_lines), signed) / n_lines)
    aliasing = phase @ phase.conj().T / n_lines
    result = np.full(csm.shape[1:], np.nan)
    for row in range(csm.shape[1]):
        maps = whitened[:, row]
        seen = np.flatnonzero(np.any(maps != 0, axis=0))
        if not seen.size:
            continue
        maps = maps[:, seen]
        full = np.sum(np.abs(maps) ** 2, axis=0)
        # Scaling to a unit diagonal keeps pixels at the edge of the array from spoiling the condition.
        unit = maps / np.sqrt(full)
        normal = aliasing[np.ix_(seen, seen)] * (unit.conj().T @ unit)
        variance = _inverse_diagonal(normal)
        if variance is None:
            raise DataError(
                f"readout position {row} is not determined by {int(sampled_lines.sum())} lines of {csm.shape[0]} "
                f"coils; expected fewer unknowns than {seen.size} pixels, or coils that differ, for the g-factor"
            )
        result[row, seen] = np.sqrt(variance / acceleration)
    return result


def _inverse_diagonal(normal: np.ndarray) -> np.ndarray | None:
    """Return the diagonal of the inverse of a Hermitian matrix with ones on its own; None if it is singular."""
    try:
        lower = np.linalg.cholesky(normal)
    except np.linalg.LinAlgError:
        return None
    inverse = scipy.linalg.solve_triangular(lower, np.eye(len(normal)), lower=True, check_finite=False)
    diagonal = np.sum(np.abs(inverse) ** 2, axis=0)
    return diagonal if diagonal.max() < 1e10 else None
