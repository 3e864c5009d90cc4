"""FreeSurfer's conformed image: 256 voxels of 1 mm along each axis, in LIA order, one byte a voxel.

References
----------
``mri_convert --conform`` of FreeSurfer, as FastSurfer's ``conform.py`` restates it (Henschel et al.,
NeuroImage 219 (2020) 117012): linear interpolation first, then the intensities, with figures from the image
as it came. niivue, which brainchop conforms with, follows the same text.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array

EDGE = 256
SHAPE = (EDGE, EDGE, EDGE)
# Columns: the first axis goes to the left, the second down, the third to the front.
_LIA = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
BINS = 1000
# Share of the voxels that are not 0 above which intensities are cut.
HIGH_SHARE = 0.999


def conformed_affine(shape: tuple[int, ...], affine: Affine) -> Affine:
    """Affine, shape (4, 4), of the conformed grid: its middle is the middle of the image's field of view."""
    result = np.eye(4)
    result[:3, :3] = _LIA
    middle = affine @ np.array([*(size / 2 for size in shape[:3]), 1.0])
    result[:3, 3] = middle[:3] - _LIA @ np.full(3, EDGE / 2)
    return result


def intensity_range(data: Array) -> tuple[float, float]:
    """Value that becomes 0, and value that becomes 255.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)

    Notes
    -----
    The lower is the minimum. The upper is read off a histogram of 1000 bins: the edge two before the one
    below which all voxels lie but a thousandth of those that are not 0.

    Raises
    ------
    DataError
        The image is constant.
    """
    low, high = float(data.min()), float(data.max())
    counts, edges = np.histogram(data.astype(np.float64, copy=False), bins=BINS, range=(low, high))
    below = np.concatenate([[0], np.cumsum(counts)])
    nonzero = int(np.count_nonzero(np.abs(data) >= 1e-15))
    wanted = data.size - int((1 - HIGH_SHARE) * nonzero)
    upper = max(0, int(np.flatnonzero(below >= wanted)[0]) - 2)
    if not high > low or upper == 0:
        problem = f"the image has no contrast (nearly all voxels are {low:g})"
        raise DataError(problem, "look at the image: is it the right one?")
    return low, float(edges[upper])


def conform(data: Array, affine: Affine) -> tuple[NDArray[np.uint8], Affine]:
    """Conformed image, shape (256, 256, 256), and its affine.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
        An image of bytes keeps its intensities, any other is scaled to 0 to 255; what is 0 stays 0.
    affine : ndarray, shape (4, 4)
        Voxels to world, RAS+ mm.

    Raises
    ------
    DataError
        The image is not 3D, holds values that are not finite, or is constant.
    """
    if data.ndim != 3:
        raise DataError(f"the image has {data.ndim} dimensions, not 3", "give one volume of it")
    if not np.isfinite(data).all():
        raise DataError("the image holds NaN or infinite values", "set them to 0 and give it again")
    target = conformed_affine(data.shape, affine)
    voxels = np.linalg.inv(affine) @ target
    # In double precision: of what lies between two bytes, each program must round the same way.
    moved = ndimage.affine_transform(
        data.astype(np.float64), voxels[:3, :3], voxels[:3, 3], SHAPE, output=np.float64, order=1
    )
    outside = moved == 0
    if data.dtype != np.uint8:
        low, high = intensity_range(data)
        moved -= low
        moved *= 255 / (high - low)
    scaled = np.rint(np.clip(moved, 0, 255, out=moved), out=moved).astype(np.uint8)
    scaled[outside] = 0
    return scaled, target
