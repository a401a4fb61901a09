"""Estimate the object of a scan: the one image x in fixed coils S that explains y = P F S x."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from mrisim.calibration import estimate_csm
from mrisim.coil_sums import combine, energy_of_slices
from mrisim.errors import DataError
from mrisim.fourier import Array, array_module, centred_fft, centred_ifft, current_device, to_device
from mrisim.reconstruct import DEFAULTS, acquired_part, maps_norm, seen_by_coils, solve
from mrisim.scan import ObjectModel, Scan


def estimate_object(scan: Scan, *, device: str = "cpu") -> ObjectModel:
    """Estimate what moves when the object moves, slice by slice.

    Where every line between the first and the last was acquired, x is the least squares fit to the coil images,
    x = sum_c conj(S_c) i_c / sum_c |S_c|^2: the empty lines around them (padding) count as measured zeros. So it is for
    one coil, which cannot unfold: its own image explains its lines whole. Else x comes from SENSE; the adjoint would
    hand on the folded image.

    Parameters
    ----------
    scan : Scan
    device : str
        "cpu", "cuda", "cuda:N": where the model is computed and comes to lie.

    Returns
    -------
    ObjectModel
        Maps: those of the scan ("true"), ones for one coil ("uniform"), else `estimate_csm` ("estimated"). x is 0
        where no coil sees anything. The shading moves with the object where the maps do not hold it: one coil
        without a map, or maps of the file whose root sum of squares is constant.

    Raises
    ------
    DataError
        If data or maps are not finite, or maps cannot be estimated.

    The relative error of a slice is ||P(y - E x)|| / ||y|| less, in quadrature, the share that noise of the scan's
    covariance explains.

    Limits
    ------
    One object for the whole scan: what moved or decayed while it was measured is in x as an artifact.

    References
    ----------
    Pruessmann et al. 1999, Magn Reson Med 42:952; Batchelor et al. 2005, 10.1002/mrm.20656.
    """
    origin: Literal["true", "estimated", "uniform"]
    with current_device(device):
        if scan.csm is not None:
            csm, origin = to_device(scan.csm, device).astype(np.complex64, copy=False), "true"
        else:
            csm = estimate_csm(scan, device=device)
            origin = "uniform" if scan.n_coils == 1 else "estimated"
        norm = maps_norm(csm)
        shading_moves = scan.n_coils == 1 if origin != "true" else scan.n_coils > 1 and _is_constant(norm)
        xp = array_module(csm)
        image = xp.empty((scan.n_slices, *scan.matrix), np.complex64)
        errors = []
        for index, slice_id in enumerate(scan.slice_ids):
            kspace = acquired_part(scan, index, device)
            energy = float(energy_of_slices(kspace))
            try:
                image[index], error = _fit(kspace, csm[index], norm[index], scan, energy)
            except DataError as failure:
                raise DataError(f"object model of slice {slice_id}: {failure}") from None
            errors.append(_without_noise(error, energy, scan))
        return ObjectModel(image, csm, tuple(errors), origin, shading_moves)


def _fit(kspace: Array, csm: Array, norm: Array, scan: Scan, energy: float) -> tuple[Array, float]:
    """Return x and the relative misfit of one slice; the k-space, of that energy, may be overwritten."""
    xp = array_module(kspace)
    seen = seen_by_coils(norm)
    if not scan.fully_sampled and scan.n_coils > 1:
        unit_image, error = solve("sense", kspace, csm, scan.sampled, *DEFAULTS["sense"])
        return xp.where(seen, unit_image / xp.where(seen, norm, 1), 0).astype(np.complex64), error
    if isinstance(kspace, np.ndarray) and scan.sampled.all():
        # Every sample was acquired: the misfit is as large in the image, and one pass gives image and misfit.
        image, misfit = combine(centred_ifft(kspace, overwrite=True), csm, seen)
        return image, math.sqrt(misfit / energy) if energy > 0 else 0.0
    images = centred_ifft(kspace)
    image = xp.where(seen, xp.sum(csm.conj() * images, axis=0) / xp.where(seen, norm, 1) ** 2, 0).astype(np.complex64)
    return image, _relative_error(kspace, csm, image, scan.sampled)


def _without_noise(error: float, energy: float, scan: Scan) -> float:
    """Return the model error less the share of it that measured noise explains, where the noise is known.

    One image cannot follow the independent noise of C coils: 1 - 1/C of the noise energy stays in the residual.
    """
    if scan.noise_covariance is None:
        return error
    if energy == 0:
        return error
    noise = float(np.trace(scan.noise_covariance).real) * int(scan.sampled.sum()) * (1 - 1 / scan.n_coils)
    return math.sqrt(max(error**2 - noise / energy, 0.0))


def _relative_error(kspace: Array, csm: Array, image: Array, sampled: np.ndarray) -> float:
    xp = array_module(kspace)
    energy = float(energy_of_slices(kspace))
    residual = xp.where(xp.asarray(sampled), kspace - centred_fft(csm * image, overwrite=True), 0)
    return math.sqrt(float(energy_of_slices(residual)) / energy) if energy > 0 else 0.0


def _is_constant(norm: Array) -> bool:
    xp = array_module(norm)
    seen = norm[norm > 1e-3 * norm.max()]
    return bool(xp.ptp(seen) <= 1e-2 * seen.mean()) if seen.size else False
