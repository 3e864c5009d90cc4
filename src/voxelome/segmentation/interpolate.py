"""Linear interpolation between two grids: along the axes where they are parallel, else in space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from voxelome.imageio import Affine, Array

FloatVolume = NDArray[np.float32]

# Coarser than this, linear interpolation skips voxels (noise, aliasing); the same bound as in registration.
ALIASES = 1.5
_ROUNDING = 1e-4


def linear(data: Array, mapping: Affine, shape: Sequence[int]) -> FloatVolume:
    """Image on another grid, linearly interpolated.

    A voxel reaches half a voxel beyond its centre; beyond the outermost ones the result is 0. Where the
    new voxels are more than 1.5 times as long along an axis, the image is first smoothed along it with a
    Gaussian of full width ``sqrt(ratio^2 - 1)`` voxels, which takes the one voxel's point spread to the
    other's (Cardoso et al., Scale factor point spread function matching, MICCAI 2015).

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
    mapping : ndarray, shape (4, 4)
        Takes voxel indices of the new grid to those of `data`.
    shape : sequence of 3 int
        New grid.

    Returns
    -------
    ndarray of float32, shape `shape`
        May share its memory with `data` where the grids are the same.
    """
    source = data.astype(np.float32, copy=False)
    order = parallel_axes(mapping)
    if order is None:
        return _in_space(source, mapping, shape)
    result = source.transpose(order)
    steps = [(float(mapping[axis, new]), float(mapping[axis, 3])) for new, axis in enumerate(order)]
    # What shrinks goes first, so that the others have less to do.
    for axis in sorted(range(3), key=lambda new: shape[new] / result.shape[new]):
        step, start = steps[axis]
        result = _along(result, axis, start, step, shape[axis])
    return np.ascontiguousarray(result)


def parallel_axes(mapping: Affine) -> tuple[int, ...] | None:
    """Axis of the source that each new axis runs along; None where the grids are at an angle."""
    matrix = np.abs(mapping[:3, :3])
    order = tuple(int(axis) for axis in matrix.argmax(axis=0))
    rest = matrix.copy()
    rest[order, range(3)] = 0
    parallel = len(set(order)) == 3 and rest.max() <= 1e-5 * matrix.max()
    return order if parallel else None


def _along(data: FloatVolume, axis: int, start: float, step: float, size: int) -> FloatVolume:
    """Samples along one axis at ``start + step * i``."""
    count = data.shape[axis]
    if abs(step) > ALIASES and count > 1:
        data = ndimage.gaussian_filter1d(data, _sigma(abs(step)), axis, mode="nearest", truncate=3)
    where = start + step * np.arange(size)
    beyond = (where < -0.5 - _ROUNDING) | (where > count - 0.5 + _ROUNDING)
    where = np.clip(where, 0, count - 1)
    low = np.floor(where + _ROUNDING).astype(np.intp)
    share = np.maximum(where - low, 0).astype(np.float32)
    before = (slice(None),) * axis
    if share.max() <= _ROUNDING:
        result = data[(*before, _picked(low))] if not beyond.any() else np.take(data, low, axis)
    else:
        across = tuple(-1 if other == axis else 1 for other in range(3))
        result = np.take(data, low, axis)
        high = np.take(data, np.minimum(low + 1, count - 1), axis)
        high -= result
        high *= share.reshape(across)
        result += high
    if beyond.any():
        result[(*before, beyond)] = 0
    return result


def _picked(index: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    """Index as a slice, which copies nothing, where it counts up or down one by one."""
    steps = np.diff(index)
    if (steps == 1).all():
        return slice(int(index[0]), int(index[-1]) + 1)
    if (steps == -1).all():
        # An end before the first is written as None.
        return slice(int(index[0]), int(index[-1]) - 1 if index[-1] else None, -1)
    return index


def _in_space(data: FloatVolume, mapping: Affine, shape: Sequence[int]) -> FloatVolume:
    extent = np.linalg.norm(mapping[:3, :3], axis=1)
    coarser = (extent > ALIASES) & (np.array(data.shape) > 1)
    if coarser.any():
        sigma = [_sigma(float(ratio)) if wide else 0.0 for ratio, wide in zip(extent, coarser, strict=True)]
        data = ndimage.gaussian_filter(data, sigma, mode="nearest", truncate=3)
    # One voxel more on each side with the value at the edge: what is within half a voxel of it keeps it.
    padded = np.pad(data, 1, mode="edge")
    result: FloatVolume = ndimage.affine_transform(
        padded, mapping[:3, :3], mapping[:3, 3] + 1, tuple(shape), output=np.float32, order=1
    )
    i, j, k = (np.arange(size, dtype=np.float32) for size in shape)
    for (a, b, c, start), count in zip(mapping[:3].astype(np.float32), data.shape, strict=True):
        where = (a * i + start)[:, np.newaxis, np.newaxis] + (b * j)[:, np.newaxis] + c * k
        result[(where < -0.5 - _ROUNDING) | (where > count - 0.5 + _ROUNDING)] = 0
    return result


def _sigma(ratio: float) -> float:
    return float(np.sqrt((ratio**2 - 1) / (8 * np.log(2))))
