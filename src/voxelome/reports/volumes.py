"""Small 8-bit volumes for the viewer in a report: coarse grids, windows, labels."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, MaskArray, voxel_sizes
from voxelome.reports.view import filled_bounds

COARSE = 2.0
"""Voxel size in mm: a head is a million voxels, half a megabyte."""

MOST_LABELS = 255
"""Labels that a volume of bytes can hold beside the background."""

_LEVELS = 255
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


def numbered_anew(labels: Array) -> tuple[Bytes, list[int]]:
    """Labels as 1, 2, 3 ... in the order of their values, 0 as it is, and the values.

    Raises
    ------
    DataError
        There are more labels than a byte can hold.
    """
    found, numbers = np.unique(labels, return_inverse=True)
    values = [int(value) for value in found if value != 0]
    if len(values) > MOST_LABELS:
        raise DataError(f"there are {len(values)} labels", f"{MOST_LABELS} can be shown")
    new = np.zeros(found.size, dtype=np.uint8)
    new[found != 0] = np.arange(1, len(values) + 1)
    return new[numbers].reshape(labels.shape), values


def coarse_labels(labels: Array, affine: Affine, grid: CoarseGrid) -> Bytes:
    """Labels of the nearest voxels of the image.

    A connected part of a label that falls between voxels, also inside another label, keeps those that it
    lies in; where two such parts lie in one voxel, it goes to the rarer label.

    Raises
    ------
    DataError
        A label is below 0 or above 255.
    """
    if labels.size and (labels.min() < 0 or labels.max() > MOST_LABELS):
        raise DataError("labels are not between 0 and 255", "number them anew")
    change = np.linalg.inv(affine) @ grid.affine
    source = np.ascontiguousarray(labels, dtype=np.uint8)
    found: Bytes = ndimage.affine_transform(
        source, change[:3, :3], change[:3, 3], output_shape=grid.shape, order=0
    )
    voxels = np.argwhere(source)
    back = np.linalg.inv(change)
    places = np.rint(voxels @ back[:3, :3].T + back[:3, 3]).astype(int)
    inside = ((places >= 0) & (places < grid.shape)).all(axis=1)
    voxels, places = voxels[inside], places[inside]
    values = source[tuple(voxels.T)]
    seen = np.zeros(source.shape, dtype=bool)
    seen[tuple(voxels.T)] = found[tuple(places.T)] == values
    lost = _untouched(seen, source)[tuple(voxels.T)]
    places, values = places[lost], values[lost]
    rarest_last = np.argsort(-np.bincount(source.ravel())[values], kind="stable")
    found[tuple(places[rarest_last].T)] = values[rarest_last]
    return found


def _untouched(mask: MaskArray, labels: Bytes) -> MaskArray:
    """Connected parts of each label that lie outside of a mask."""
    outside = (labels > 0) & ~mask
    count = int(outside.sum())
    # All that is inside is one node of the graph, the first.
    nodes = np.zeros(labels.shape, dtype=np.int32)
    nodes[outside] = np.arange(1, count + 1)
    pairs = []
    for axis in range(labels.ndim):
        kind, node = np.moveaxis(labels, axis, 0), np.moveaxis(nodes, axis, 0)
        joined = (kind[1:] == kind[:-1]) & ((node[1:] > 0) | (node[:-1] > 0))
        pairs.append((node[:-1][joined], node[1:][joined]))
    first, second = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    graph = sparse.coo_array((np.ones(first.size, dtype=bool), (first, second)), shape=(count + 1, count + 1))
    _, parts = csgraph.connected_components(graph, directed=False)
    outside[outside] = parts[1:] != parts[0]
    return outside


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
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)
