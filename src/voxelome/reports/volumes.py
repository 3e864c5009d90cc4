"""Small 8-bit volumes for the viewer in a report: coarse grids, windows, labels."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, voxel_sizes
from voxelome.reports.view import filled_bounds

COARSE = 2.0
"""Voxel size in mm: a head is a million voxels, half a megabyte."""

_LEVELS = 255
_MOST_LABELS = 255
# Half the width at half maximum of a block average.
_BLUR = 0.35
_SAMPLE = 500_000

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class CoarseGrid:
    """Grid of the volumes of one scene: `shape`, and `affine` from voxel indices to RAS+ mm."""

    shape: tuple[int, int, int]
    affine: Affine


def coarse_grid(data: FloatArray, affine: Affine, size: float = COARSE) -> CoarseGrid:
    """Grid that covers what an image fills, its axes along the image's.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
    affine : ndarray, shape (4, 4)
        Voxel indices to RAS+ mm.
    size : float
        Voxel size in mm along axes on which the image's own is smaller.

    Raises
    ------
    DataError
        The image is not 3D.
    """
    if data.ndim != 3 or 0 in data.shape:
        raise DataError(f"the image has shape {data.shape}", "give one 3D volume")
    bounds = filled_bounds(np.nan_to_num(data, posinf=0, neginf=0))
    steps = np.maximum(1.0, size / np.array(voxel_sizes(affine)))
    margin = np.ceil(2 * steps)
    low = np.maximum(0, [first for first, _ in bounds] - margin)
    high = np.minimum(data.shape, [last for _, last in bounds] + margin)
    counts = np.maximum(1, np.floor((high - low) / steps)).astype(int)
    # The first voxel's centre lies half a coarse voxel from the edge.
    change = np.diag([*steps, 1.0])
    change[:3, 3] = low + (steps - 1) / 2
    return CoarseGrid((int(counts[0]), int(counts[1]), int(counts[2])), affine @ change)


def coarse_image(data: FloatArray, affine: Affine, grid: CoarseGrid) -> FloatArray:
    """Image averaged and sampled on a coarse grid; 0 outside of its own."""
    change = np.linalg.inv(affine) @ grid.affine
    ratio = np.array(voxel_sizes(grid.affine)) / np.array(voxel_sizes(affine))
    clean = np.nan_to_num(np.asarray(data, dtype=np.float32), posinf=0, neginf=0)
    smooth = ndimage.gaussian_filter(clean, _BLUR * np.where(ratio > 1.2, ratio, 0), truncate=2)
    sampled: FloatArray = ndimage.affine_transform(
        smooth, change[:3, :3], change[:3, 3], output_shape=grid.shape, order=1, cval=0.0
    )
    return sampled


def coarse_labels(labels: Array, affine: Affine, grid: CoarseGrid) -> Bytes:
    """Labels of the nearest voxels of the image; a region that falls between voxels keeps those it lies in.

    Raises
    ------
    DataError
        A label is below 0 or above 255.
    """
    if labels.size and (labels.min() < 0 or labels.max() > _MOST_LABELS):
        raise DataError("labels are not between 0 and 255", "number them anew")
    change = np.linalg.inv(affine) @ grid.affine
    source = labels.astype(np.uint8)
    found: Bytes = ndimage.affine_transform(
        source, change[:3, :3], change[:3, 3], output_shape=grid.shape, order=0
    )
    regions, count = ndimage.label(source > 0)
    if not count:
        return found
    voxels = np.argwhere(regions > 0)
    back = np.linalg.inv(change)
    places = np.rint(voxels @ back[:3, :3].T + back[:3, 3]).astype(int)
    inside = ((places >= 0) & (places < grid.shape)).all(axis=1)
    voxels, places = voxels[inside], places[inside]
    which = regions[tuple(voxels.T)]
    seen = np.zeros(count + 1, dtype=bool)
    seen[which[found[tuple(places.T)] > 0]] = True
    lost = ~seen[which]
    found[tuple(places[lost].T)] = source[tuple(voxels[lost].T)]
    return found


def window_of(values: FloatArray) -> tuple[float, float]:
    """Percentiles 1 and 99.7 of the values that are not 0: darkest and brightest."""
    inside = values[values != 0]
    if inside.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(inside[:: max(1, inside.size // _SAMPLE)], (1, 99.7))
    return float(low), float(high) if high > low else float(low) + 1.0


def to_bytes(values: FloatArray, window: tuple[float, float], *, hide_zero: bool = False) -> Bytes:
    """Values as levels from 0 (the window's low end) to 255 (its high end).

    With `hide_zero` voxels of exactly 0 get level 0: where an image has negative values and no
    background, mid-gray would look like tissue.
    """
    low, high = window
    levels: Bytes = np.clip(np.rint((values - low) / (high - low) * _LEVELS), 0, _LEVELS).astype(np.uint8)
    if hide_zero:
        levels[values == 0] = 0
    return levels


def packed(levels: Bytes, affine: Affine, window: tuple[float, float] | None = None) -> bytes:
    """NIfTI file, compressed; the same input gives the same bytes.

    The header's scaling turns levels back into values of the window; without one they are labels.
    """
    image = nib.Nifti1Image(levels, affine)
    image.header.set_xyzt_units("mm")
    if window is not None:
        low, high = window
        image.header.set_slope_inter((high - low) / _LEVELS, low)
    return gzip.compress(image.to_bytes(), compresslevel=9, mtime=0)
