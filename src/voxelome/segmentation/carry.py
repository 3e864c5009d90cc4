"""Label images: what they must be, and how they go to another grid."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, voxel_sizes
from voxelome.orientation import largest_displacement

# Corners of two grids that differ by less than this (mm) are the same grid: headers round.
TOLERANCE = 0.05


def same_grid(
    shape: tuple[int, ...],
    affine: Affine,
    other_shape: tuple[int, ...],
    other_affine: Affine,
    tolerance: float = TOLERANCE,
) -> bool:
    """Whether two grids have the same shape and put their corners at the same place within `tolerance` mm."""
    if tuple(shape) != tuple(other_shape):
        return False
    return largest_displacement(shape, affine, other_affine) <= tolerance


def check_labels(labels: Array) -> Array:
    """Label image as integers, shape (x, y, z).

    Raises
    ------
    DataError
        It is not 3D, empty, negative, or holds values that are no whole numbers.
    """
    if labels.ndim == 4 and labels.shape[3] == 1:
        labels = labels[..., 0]
    if labels.ndim != 3:
        raise DataError(f"is {labels.ndim}D with shape {labels.shape}", "give one 3D label image a file")
    if not np.isfinite(labels).all():
        raise DataError("holds NaN or infinite values", "write labels as whole numbers")
    whole = np.rint(labels)
    if np.abs(labels - whole).max() > 1e-3:
        raise DataError(
            "holds values that are no whole numbers (a probability map?)", "threshold it, or give labels"
        )
    if whole.min() < 0:
        raise DataError(f"holds the label {int(whole.min())}", "labels are 1 or more, 0 is the background")
    if not whole.any():
        raise DataError("is empty: every voxel is 0", "draw the region, or take the file out of the dataset")
    return whole.astype(np.int16 if whole.max() < 2**15 else np.int32)


def carry_labels(
    labels: Array,
    affine: Affine,
    target_shape: tuple[int, ...],
    target_affine: Affine,
    matrix: Affine | None = None,
) -> Array:
    """Label image on another grid, each voxel with the label that fills most of it.

    The share of each label in a target voxel is computed by sampling a lattice of points inside the
    voxel, so that neither a coarse nor a fine target changes volumes on average.

    Parameters
    ----------
    labels : ndarray of int, shape (x, y, z)
    affine : ndarray, shape (4, 4)
        Grid of the labels, RAS+ mm.
    target_shape, target_affine
        Grid wanted.
    matrix : ndarray, shape (4, 4), optional
        Takes a point of the target's world to the labels' world, in mm.
    """
    matrix = np.eye(4) if matrix is None else matrix
    unmoved = np.allclose(matrix, np.eye(4), atol=1e-6)
    if unmoved and same_grid(labels.shape, affine, target_shape, target_affine):
        return labels.copy()
    to_labels = np.linalg.inv(affine) @ matrix @ target_affine
    result = np.zeros(target_shape, dtype=labels.dtype)
    box = _box(labels, to_labels, target_shape)
    shape = tuple(part.stop - part.start for part in box)
    if min(shape) == 0:
        return result
    shift = np.eye(4)
    shift[:3, 3] = [part.start for part in box]
    best, together = np.zeros((2, *shape), dtype=np.float32)
    inside = result[box]
    for value in (int(value) for value in np.unique(labels) if value != 0):
        share = _share(labels == value, to_labels @ shift, shape, _density(affine, target_affine))
        inside[share > best] = value
        np.maximum(best, share, out=best)
        together += share
    # The largest label wins where the labels together fill half the voxel.
    inside[together < 0.5] = 0
    return result


def _box(labels: Array, to_labels: Affine, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Part of the target grid that the labels can reach."""
    found = [np.flatnonzero(labels.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    corners = np.array(np.meshgrid(*[(where[0] - 1, where[-1] + 1) for where in found])).reshape(3, -1)
    reached = (np.linalg.inv(to_labels) @ np.vstack([corners, np.ones(8)]))[:3]
    low = np.clip(np.floor(reached.min(axis=1)).astype(int) - 1, 0, shape)
    high = np.clip(np.ceil(reached.max(axis=1)).astype(int) + 2, low, shape)
    return tuple(slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))


def _density(affine: Affine, target_affine: Affine) -> tuple[int, ...]:
    """Points an axis inside a target voxel: as many as it is wide in voxels of the labels, at least 2."""
    finest = min(voxel_sizes(affine))
    return tuple(int(np.clip(np.ceil(size / finest), 2, 5)) for size in voxel_sizes(target_affine))


def _share(inside: Array, to_labels: Affine, shape: tuple[int, ...], density: tuple[int, ...]) -> Array:
    """Share of each target voxel that lies inside, from linear interpolation at a lattice of points."""
    source = inside.astype(np.float32)
    total = np.zeros(shape, dtype=np.float32)
    offsets = [(np.arange(count) + 0.5) / count - 0.5 for count in density]
    lattice = np.array(np.meshgrid(*offsets, indexing="ij")).reshape(3, -1).T
    for offset in lattice:
        start = to_labels[:3, :3] @ offset + to_labels[:3, 3]
        total += ndimage.affine_transform(source, to_labels[:3, :3], start, output_shape=shape, order=1)
    return total / len(lattice)


def label_volumes(labels: Array, affine: Affine) -> dict[int, float]:
    """Volume in ml of each label that occurs."""
    voxel = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    values, counts = np.unique(labels, return_counts=True)
    return {
        int(value): float(count) * voxel for value, count in zip(values, counts, strict=True) if value != 0
    }
