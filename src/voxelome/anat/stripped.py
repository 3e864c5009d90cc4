"""Whether an image came without its skull, and the mask that it then brings."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from voxelome.imageio import Affine, Array, MaskArray
from voxelome.regions import largest_region

# A head with its scalp has 3 to 5 l, an adult brain 0.8 to 2 l.
LARGEST_BRAIN_ML = 2200.0
# Air of a whole head is never exactly one value in so many voxels of the outside, unless it was cut out.
FLAT_SHARE = 0.97


def stripped_mask(data: Array) -> MaskArray:
    """Mask of what was left by an earlier skull stripping: largest part, holes filled.

    Raises
    ------
    DataError
        Nothing is there.
    """
    return largest_region(_object(data))


def is_stripped(data: Array, affine: Affine) -> bool:
    """Whether the skull has been removed from an image of a head.

    It has been when, outside of one compact object no larger than a brain, nearly every voxel has one
    value. A whole head has noise or ghosts in its air, or, where the scanner wrote its air as zeros,
    is larger than any brain.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
    affine : ndarray, shape (4, 4)
        For the size of the object.
    """
    foreground = _object(data)
    if not foreground.any() or foreground.mean() > 0.8:
        return False
    mask = stripped_mask(data)
    outside = ~ndimage.binary_dilation(mask, iterations=2)
    background = _background(data)
    flat = float(np.mean(data[outside] == background)) if outside.any() else 0.0
    volume = float(mask.sum()) * abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    return bool(flat >= FLAT_SHARE and volume <= LARGEST_BRAIN_ML and not _touches_edges(mask))


def _touches_edges(mask: MaskArray) -> bool:
    """Whether the object is cut by the field of view on more than two sides, as a head or a slab is."""
    sides = [mask.take(index, axis).any() for axis in range(mask.ndim) for index in (0, -1)]
    return bool(sum(sides) > 2)


def _background(data: Array) -> float:
    """Commonest value of an image."""
    values, counts = np.unique(data, return_counts=True)
    return float(values[int(np.argmax(counts))])


def _object(data: Array) -> MaskArray:
    """Voxels that stand out from the background; ringing of an earlier interpolation does not."""
    background = _background(data)
    spread = float(np.percentile(data, 99.5)) - background
    result: MaskArray = data - background > 0.01 * spread
    return result
