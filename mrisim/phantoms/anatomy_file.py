"""A real head from a file: fuzzy tissue maps of one T1-weighted volume, to stand in for the procedural anatomy.

The brain is found by morphology, split into fluid, grey and white matter by a mixture of three normals whose prior is
the smoothed posterior of the neighbourhood, and everything outside it is named by geometry and brightness.

Limits
------
Tested on Colin27 (`ch2.nii.gz` of mricron-data, 1 mm, full head). Needs a T1-weighted head with scalp, without large
lesions and with little shading. Bone and air look alike in T1 and both become compact bone; deep nuclei come out as
their brightness says, partly white matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrisim.errors import DataError
from mrisim.formats.nifti import is_label_map
from mrisim.phantoms.brain_anatomy import INDEX, TISSUES

FloatArray = NDArray[np.floating]
Mask = NDArray[np.bool_]

BRAIN_CENTRE_MM = (0.0, -18.0, 8.0)
"""Where the brain's centre of mass is placed in head coordinates: about its place in MNI space."""
SUBARACHNOID_MM = 1.0
SKIN_MM = 2.0
_N_ITERATIONS = 8


@dataclass(frozen=True)
class TemplateAnatomy:
    """Tissue maps of a real head, read by trilinear interpolation.

    Attributes
    ----------
    maps : (n_tissues, x, y, z) float16, RAS, each voxel summing to at most one; only the tissues in `present`.
    present : index into `brain_anatomy.TISSUES` of each map. origin_mm : head coordinates of voxel 0.
    voxel_mm : (3,). intensity_means : T1-weighted brightness of fluid, grey and white matter in the file.
    """

    maps: NDArray[np.float16]
    present: tuple[int, ...]
    origin_mm: tuple[float, float, float]
    voxel_mm: tuple[float, float, float]
    intensity_means: tuple[float, float, float]

    def fractions(self, x: FloatArray, y: FloatArray, z: FloatArray, edge_mm: float) -> FloatArray:
        """Tissue fractions (n_tissues, n_points) at points in head coordinates; the file's resolution limits edges."""
        index = np.stack(
            [(p - o) / step for p, o, step in zip((x, y, z), self.origin_mm, self.voxel_mm, strict=True)]
        ).astype(np.float32)
        result = np.zeros((len(TISSUES), x.size), np.float32)
        # A slice touches few planes: only the part round the points is widened to float32.
        low = np.maximum(np.floor(index.min(1)).astype(int) - 1, 0)
        high = np.ceil(index.max(1)).astype(int) + 2
        part = tuple(slice(a, max(b, a + 1)) for a, b in zip(low, high, strict=True))
        index -= low[:, None].astype(np.float32)
        for tissue, volume in zip(self.present, self.maps, strict=True):
            near = volume[part].astype(np.float32)
            if near.size:
                result[tissue] = ndimage.map_coordinates(near, index, order=1, output=np.float32)
        return result

    def volumes_ml(self) -> dict[str, float]:
        """Volume of each tissue in the file."""
        voxel_ml = float(np.prod(self.voxel_mm)) / 1000
        return {
            TISSUES[t]: float(volume.sum(dtype=np.float64)) * voxel_ml
            for t, volume in zip(self.present, self.maps, strict=True)
        }


def anatomy_from_file(path: str | Path) -> TemplateAnatomy:
    """Read a T1-weighted head and return its tissue maps.

    Parameters
    ----------
    path : NIfTI file, 3-D, full head, T1-weighted.

    Raises
    ------
    DataError : not readable, 4-D, a label map, too coarse, or no brain can be found in it.
    """
    image, voxel_mm = _read_head(Path(path))
    head = _head_mask(image, voxel_mm)
    brain = _brain_mask(image, head, voxel_mm)
    volume_ml = float(brain.sum() * np.prod(voxel_mm)) / 1000
    if not 700 <= volume_ml <= 2300:
        raise DataError(
            f"{Path(path).name}: found a brain of {volume_ml:.0f} ml; expected a T1-weighted head, 700 to 2300 ml"
        )
    posterior, means = _mixture(image, brain, voxel_mm)
    maps = _tissue_maps(image, head, brain, posterior, means, voxel_mm)
    centre = [float(c) for c in ndimage.center_of_mass(brain)]
    ox, oy, oz = (m - c * step for m, c, step in zip(BRAIN_CENTRE_MM, centre, voxel_mm, strict=True))
    present = tuple(maps)
    return TemplateAnatomy(
        np.stack([maps[t] for t in present]).astype(np.float16), present, (ox, oy, oz), voxel_mm, means
    )


def _read_head(path: Path) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """Return the volume in RAS order and its voxel size; refuse what cannot be a T1-weighted head."""
    import nibabel  # half a second that no other phantom needs

    try:
        file = nibabel.as_closest_canonical(nibabel.load(path))
        data = np.asarray(file.dataobj, np.float32)
    except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise DataError(
            f"{path.name}: cannot be read as NIfTI ({type(error).__name__}); expected a 3-D NIfTI file"
        ) from None
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise DataError(f"{path.name}: shape {data.shape} is {data.ndim}-D; expected one 3-D T1-weighted volume")
    if not np.isfinite(data).all():
        raise DataError(f"{path.name}: has values that are not finite; expected a T1-weighted volume")
    if is_label_map(data):
        n_values = np.unique(data).size
        raise DataError(f"{path.name}: {n_values} distinct whole numbers, a label map; expected a T1-weighted volume")
    a, b, c = (float(step) for step in file.header.get_zooms()[:3])
    if max(a, b, c) > 2.5 or min(data.shape) < 40:
        raise DataError(
            f"{path.name}: shape {data.shape}, voxels {a:g} x {b:g} x {c:g} mm; expected at most 2.5 mm, whole head"
        )
    return data, (a, b, c)


def _head_mask(image: NDArray[np.float32], voxel_mm: tuple[float, ...]) -> Mask:
    """Everything inside the skin: bright voxels, closed, holes filled slice by slice in each direction."""
    smooth = ndimage.gaussian_filter(image, [1.0 / step for step in voxel_mm])
    # A quarter of the bulk's brightness is above noise and below skin.
    bulk = float(np.median(smooth[smooth > smooth.mean()]))
    mask = _largest(smooth > 0.25 * bulk)
    for axis in range(3):
        for plane in np.moveaxis(mask, axis, 0):
            plane[...] = ndimage.binary_fill_holes(plane)
    return mask


def _brain_mask(image: NDArray[np.float32], head: Mask, voxel_mm: tuple[float, ...]) -> Mask:
    """Parenchyma with its inner fluid: erode what is as bright as brain until it comes loose from the scalp, regrow.

    Works on a 2 mm grid, where distances are cheap, and is refined by brightness on the full one.
    """
    zoom = [step / 2.0 for step in voxel_mm]
    coarse = ndimage.zoom(ndimage.gaussian_filter(image, [0.8 / z for z in zoom]), zoom, order=1)
    inside = ndimage.distance_transform_edt(ndimage.zoom(head.astype(np.float32), zoom, order=1) > 0.5) * 2.0
    deep = coarse[inside > 35]
    white = float(np.percentile(deep, 75))
    # What is nearly as bright as white matter hangs together across few bridges; muscle and scalp come loose.
    bright = (coarse > 0.68 * white) & (coarse < 1.30 * white) & (inside > 8)
    core = _largest(ndimage.distance_transform_edt(bright) * 2.0 > 3.0)
    tissue = (coarse > 0.52 * white) & (coarse < 1.30 * white) & (inside > 8)
    grown = (ndimage.distance_transform_edt(~core) * 2.0 <= 6.0) & tissue
    grown = _largest(ndimage.binary_opening(grown, iterations=1))
    # Close over sulci and fill the ventricles.
    padded = np.pad(grown, 8)
    closed = ndimage.distance_transform_edt(~padded) * 2.0 <= 10.0
    closed = ndimage.distance_transform_edt(closed) * 2.0 > 10.0
    closed = ndimage.binary_fill_holes(closed[8:-8, 8:-8, 8:-8] | grown)
    factors = [n / m for n, m in zip(image.shape, closed.shape, strict=True)]
    return ndimage.zoom(closed.astype(np.float32), factors, order=1) > 0.5


def _distance_mm(mask: Mask, voxel_mm: tuple[float, ...], cell_mm: float = 2.0) -> NDArray[np.float32]:
    """Depth inside a mask, computed on a coarse grid (ten times faster) and interpolated; good to about 1 mm."""
    coarse = ndimage.zoom(mask.astype(np.float32), [step / cell_mm for step in voxel_mm], order=1) > 0.5
    depth = ndimage.distance_transform_edt(coarse).astype(np.float32) * np.float32(cell_mm) - np.float32(cell_mm / 2)
    factors = [n / m for n, m in zip(mask.shape, coarse.shape, strict=True)]
    return np.clip(ndimage.zoom(depth, factors, order=1), 0, None) * mask


def _largest(mask: Mask) -> Mask:
    labels, n_parts = ndimage.label(mask)
    if not n_parts:
        return mask
    return labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))


def _mixture(
    image: NDArray[np.float32], brain: Mask, voxel_mm: tuple[float, ...]
) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """Shares of (fluid, grey, white) in the brain, (3, x, y, z), by expectation maximisation with a spatial prior."""
    box = ndimage.find_objects(brain.astype(np.int8))[0]
    values, inside = image[box], brain[box]
    sample = values[inside]
    means = np.percentile(sample, (6, 40, 80)).astype(np.float64)
    widths = np.full(3, 0.5 * (means[2] - means[1]))
    prior = np.full((3, *values.shape), 1 / 3, np.float32)
    posterior = prior
    for iteration in range(_N_ITERATIONS):
        likelihood = np.stack(
            [np.exp(-0.5 * ((values - m) / s) ** 2) / s for m, s in zip(means, widths, strict=True)]
        ).astype(np.float32)
        posterior = likelihood * prior + np.float32(1e-20)
        posterior /= posterior.sum(0)
        posterior *= inside
        weight = posterior.sum((1, 2, 3), dtype=np.float64)
        means = (posterior * values).sum((1, 2, 3), dtype=np.float64) / weight
        spread = [(posterior[k] * (values - means[k]) ** 2).sum(dtype=np.float64) / weight[k] for k in range(3)]
        # Equal widths keep the fluid's class from swallowing grey matter.
        widths = np.maximum(0.5 * np.sqrt(spread) + 0.5 * np.sqrt(np.mean(spread)), 1e-3)
        if iteration == _N_ITERATIONS - 1:
            break
        smooth = np.stack([ndimage.gaussian_filter(p, [1.0 / step for step in voxel_mm]) for p in posterior])
        prior = 0.1 + 0.9 * smooth / np.maximum(smooth.sum(0), 1e-6)
    # A voxel between two means is a mixture of both rather than a doubtful member of one.
    fluid, grey, white = means
    ramp_white = np.clip((values - grey) / (white - grey), 0, 1)
    ramp_fluid = np.clip((grey - values) / (grey - fluid), 0, 1)
    partial = np.stack([ramp_fluid, 1 - ramp_white - ramp_fluid, ramp_white]).astype(np.float32) * inside
    result = np.zeros((3, *image.shape), np.float32)
    result[(slice(None), *box)] = 0.5 * (posterior + partial)
    return result, (float(fluid), float(grey), float(white))


def _tissue_maps(
    image: NDArray[np.float32],
    head: Mask,
    brain: Mask,
    posterior: NDArray[np.float32],
    means: tuple[float, float, float],
    voxel_mm: tuple[float, ...],
) -> dict[int, NDArray[np.float32]]:
    """Name everything: brain by its posterior, a fluid shell round it, then skin, fat, muscle, marrow and bone."""
    to_brain, from_skin = _distance_mm(~brain, voxel_mm), _distance_mm(head, voxel_mm)
    brightness = image / np.float32(means[2])
    outside = head & ~brain
    shell = outside & (to_brain <= SUBARACHNOID_MM) & (from_skin > 6) & (brightness < 0.9)
    rest = outside & ~shell
    skin = rest & (from_skin <= SKIN_MM)
    rest &= ~skin
    bright = np.clip((brightness - 0.72) / 0.3, 0, 1) * rest
    dark = np.clip((0.42 - brightness) / 0.2, 0, 1) * rest
    middle = rest - bright - dark
    between = (to_brain < 9) & (from_skin > 6)  # bright between brain and scalp is marrow
    return {
        INDEX["csf"]: posterior[0] + shell,
        INDEX["grey_matter"]: posterior[1],
        INDEX["white_matter"]: posterior[2],
        INDEX["fat"]: bright * ~between,
        INDEX["marrow"]: bright * between,
        INDEX["cortical_bone"]: dark,
        INDEX["muscle"]: middle,
        INDEX["skin"]: skin.astype(np.float32),
    }
