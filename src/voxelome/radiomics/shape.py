"""Volume, surface and diameters of a region's mesh, as PyRadiomics defines them, for regions of any size.

PyRadiomics compares every pair of mesh vertices to find the diameters, which takes hours for a whole
brain. The numbers here are the same (the tests compare them), found in another way:

- A 2x2x2 cube of voxels has one of 256 patterns, and the pattern alone decides the triangles in it.
  PyRadiomics is asked once for the area and the volume of each pattern; a region is the sum over its cubes.
- The two vertices farthest apart are corners of the convex hull.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import SimpleITK
from radiomics import cShape
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from voxelome.imageio import FloatArray, MaskArray

CORNERS = tuple(product((0, 1), repeat=3))
EMPTY, FULL = 0, 255


@dataclass(frozen=True)
class MeshMeasures:
    """Measures of the surface mesh of a region.

    Attributes
    ----------
    area, volume : float
        In mm2 and mm3.
    diameters : tuple of four float
        Largest distance in mm between two vertices whose first, second, third array coordinate is the
        same, and between any two vertices.
    """

    area: float
    volume: float
    diameters: tuple[float, float, float, float]


def measure_mesh(mask: MaskArray, spacing: tuple[float, float, float]) -> MeshMeasures:
    """Return area, volume and diameters of the marching-cubes mesh of a region.

    Parameters
    ----------
    mask : ndarray of bool, shape (a, b, c)
        The region; not empty.
    spacing : tuple of three float
        Voxel sizes in mm along the three axes.

    References
    ----------
    Lorensen and Cline (1987), Marching cubes, ACM SIGGRAPH 21:163-169; the patterns are those of
    PyRadiomics (van Griethuysen et al. 2017, Cancer Research 77:e104-e107).
    """
    padded = np.pad(mask, 1)
    area, volume = _area_and_volume(padded, spacing)
    vertices = _mesh_vertices(padded)
    scale = np.asarray(spacing) / 2
    first, second, third = (_planar_diameter(vertices, axis, scale) for axis in range(3))
    return MeshMeasures(area, volume, (first, second, third, _diameter(vertices, scale)))


def measure_for_pyradiomics(features: Any) -> None:
    """Give PyRadiomics' shape features the measures of this module, in place of its own brute force.

    Parameters
    ----------
    features : radiomics.shape.RadiomicsShape
        The object that computes the features; its attributes are set.
    """
    spacing = features.inputImage.GetSpacing()[::-1]
    features.pixelSpacing = np.array(spacing)
    features.maskArray = SimpleITK.GetArrayFromImage(features.inputMask) == features.label
    features.labelledVoxelCoordinates = np.where(features.maskArray)
    mesh = measure_mesh(features.maskArray, spacing)
    features.SurfaceArea, features.Volume, features.diameters = mesh.area, mesh.volume, mesh.diameters
    centred = np.stack(features.labelledVoxelCoordinates, axis=1) * features.pixelSpacing
    centred -= centred.mean(axis=0)
    # A covariance matrix has no negative eigenvalue but by rounding.
    features.eigenValues = np.maximum(np.linalg.eigvalsh(centred.T @ centred / len(centred)), 0.0)


@lru_cache(maxsize=8)
def _patterns(spacing: tuple[float, float, float]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return area (256,), volume (256,) and vector area (256, 3) of each pattern at the origin.

    The volume is the sum of signed tetrahedra with the origin as apex. Where the cube lies at t instead,
    a pattern with the vector area n has the volume v + t n / 3; PyRadiomics gives no n, so it is found
    from the volume that the pattern has one voxel farther along each axis.
    """
    sizes = np.asarray(spacing)
    cubes = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(bool).reshape(-1, 2, 2, 2)
    area, volume, vector = np.zeros(256), np.zeros(256), np.zeros((256, 3))
    for code, cube in enumerate(cubes):
        area[code], volume[code] = cShape.calculate_coefficients(cube, sizes)[:2]
    for code, axis in product(range(256), range(3)):
        near = np.take(cubes[code], [0, 0], axis=axis)
        longer = np.ascontiguousarray(np.take(cubes[code], [0, 0, 1], axis=axis))
        both = cShape.calculate_coefficients(longer, sizes)[1]
        near_code = int(near.reshape(-1) @ (1 << np.arange(8)))
        vector[code, axis] = 3 * (both - volume[near_code] - volume[code]) / sizes[axis]
    return area, volume, vector


def _area_and_volume(padded: MaskArray, spacing: tuple[float, float, float]) -> tuple[float, float]:
    """Return area and volume of the mesh of a mask that does not touch the border."""
    inner = tuple(size - 1 for size in padded.shape)
    codes = np.zeros(inner, dtype=np.uint8)
    for bit, corner in enumerate(CORNERS):
        window = tuple(slice(at, at + size) for at, size in zip(corner, inner, strict=True))
        codes |= padded[window].astype(np.uint8) << np.uint8(bit)
    where = np.nonzero((codes != EMPTY) & (codes != FULL))
    found = codes[where]
    areas, volumes, vectors = _patterns(spacing)
    count = np.bincount(found, minlength=256)
    total = float(count @ volumes)
    for axis in range(3):
        place = np.bincount(found, weights=where[axis] * spacing[axis], minlength=256)
        total += float(place @ vectors[:, axis]) / 3
    return float(count @ areas), total


def _mesh_vertices(padded: MaskArray) -> Any:
    """Return the vertices of the mesh, midway between a voxel inside and one outside, in half voxels."""
    found = []
    for axis in range(3):
        points = np.stack(np.nonzero(np.diff(padded, axis=axis)), axis=1) * 2
        points[:, axis] += 1
        found.append(points)
    return np.concatenate(found)


def _ends(points: Any, lines: tuple[int, ...], along: int) -> Any:
    """Return the first and the last point of each line; no other can be a corner of the hull."""
    points = points[np.lexsort((points[:, along], *(points[:, axis] for axis in lines)))]
    change = np.any(np.diff(points[:, list(lines)], axis=0) != 0, axis=1)
    first, last = np.r_[True, change], np.r_[change, True]
    return points[first | last]


def _planar_diameter(vertices: Any, axis: int, scale: FloatArray) -> float:
    """Return the largest distance between two vertices in one plane across `axis`."""
    row, column = (other for other in range(3) if other != axis)
    points = _ends(vertices, (row, axis), column)
    flat = points[:, [row, column]] * scale[[row, column]]
    starts = np.r_[0, np.flatnonzero(np.diff(points[:, axis])) + 1]
    sides = np.maximum.reduceat(flat, starts) - np.minimum.reduceat(flat, starts)
    diagonals = np.linalg.norm(sides, axis=1)
    planes = np.split(flat, starts[1:])
    largest = 0.0
    # No two points of a plane are farther apart than its box: the largest boxes first, others perhaps never.
    for index in np.argsort(-diagonals):
        if diagonals[index] <= largest:
            break
        if len(planes[index]) > 1:
            largest = max(largest, float(pdist(planes[index]).max()))
    return largest


def _diameter(vertices: Any, scale: FloatArray) -> float:
    """Return the largest distance between two vertices."""
    points = _ends(vertices, (1, 0), 2) * scale
    return float(pdist(points[ConvexHull(points).vertices]).max())
