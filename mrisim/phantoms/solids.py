"""Signed distances of simple solids in millimetres: negative inside, first-order accurate near the surface.

Coordinates are arrays of any one shape (float32 in the phantoms). Distances that are not exact say so; the phantoms
use them for shells of a few millimetres and for antialiased edges, where first order suffices.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Distance = NDArray[np.floating]
Point = tuple[float, float, float]


def ellipsoid(x: Distance, y: Distance, z: Distance, centre: Point, radii: Point, tilt_rad: float = 0.0) -> Distance:
    """Distance to an ellipsoid, (r - 1) r / |grad r| to first order; `tilt_rad` turns its x-y section."""
    u, v, w = x - centre[0], y - centre[1], z - centre[2]
    if tilt_rad:
        c, s = float(np.cos(tilt_rad)), float(np.sin(tilt_rad))
        u, v = u * c + v * s, v * c - u * s
    a, b, c2 = (1.0 / radius for radius in radii)
    p, q, t = u * a, v * b, w * c2
    squared = p * p + q * q + t * t
    gradient = np.sqrt((p * a) ** 2 + (q * b) ** 2 + (t * c2) ** 2 + 1e-9)
    # (r^2 - r) / |grad|, with r |grad r| = gradient: exact on the axes' ends.
    return (squared - np.sqrt(squared)) / gradient


def column(
    x: Distance,
    z: Distance,
    centre_x: Distance | float,
    centre_z: Distance | float,
    radius_x: Distance | float,
    radius_z: Distance | float,
) -> Distance:
    """Distance to a column of elliptic section along y, whose centre and radii may change with y."""
    p, t = (x - centre_x) / radius_x, (z - centre_z) / radius_z
    return (np.sqrt(p * p + t * t + 1e-9) - 1) * np.minimum(radius_x, radius_z)


def polyline(
    x: Distance, y: Distance, z: Distance, points: Sequence[Point], flatten_z: float = 1.0
) -> tuple[Distance, Distance]:
    """Distance to a polyline and the fraction of its length at the nearest point; `flatten_z` > 1 widens it along z."""
    best = np.full(np.shape(x), np.inf, np.float32)
    along = np.zeros(np.shape(x), np.float32)
    n_segments = len(points) - 1
    for index, (start, end) in enumerate(pairwise(points)):
        dx, dy, dz = end[0] - start[0], end[1] - start[1], (end[2] - start[2]) / flatten_z
        u, v, w = x - start[0], y - start[1], (z - start[2]) / flatten_z
        part = np.clip((u * dx + v * dy + w * dz) / (dx * dx + dy * dy + dz * dz), 0, 1)
        squared = (u - part * dx) ** 2 + (v - part * dy) ** 2 + (w - part * dz) ** 2
        closer = squared < best
        best = np.where(closer, squared, best)
        along = np.where(closer, (part + index) / n_segments, along)
    return np.sqrt(best), along


def bezier_points(start: Point, control: Point, end: Point, n_points: int = 6) -> list[Point]:
    """Points of a quadratic Bezier curve."""
    t = np.linspace(0, 1, n_points)[:, None]
    curve = (1 - t) ** 2 * np.array(start) + 2 * t * (1 - t) * np.array(control) + t * t * np.array(end)
    return [(x, y, z) for x, y, z in curve.tolist()]


def smooth_union(first: Distance, second: Distance, blend_mm: float) -> Distance:
    """Union whose seam is rounded over `blend_mm` (polynomial smooth minimum)."""
    h = np.maximum(blend_mm - np.abs(first - second), 0)
    return np.minimum(first, second) - h * h * (0.25 / blend_mm)


def smooth_intersection(first: Distance, second: Distance, blend_mm: float) -> Distance:
    """Intersection whose edge is rounded over `blend_mm`."""
    h = np.maximum(blend_mm - np.abs(first - second), 0)
    return np.maximum(first, second) + h * h * (0.25 / blend_mm)
