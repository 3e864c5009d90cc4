"""Whether an image came without its skull, and the mask that it then brings."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from voxelome.imageio import Affine, Array, MaskArray, voxel_sizes
from voxelome.regions import largest_region

# A head with its scalp has 3 to 5 l, an adult brain 0.8 to 2 l.
LARGEST_BRAIN_ML = 2200.0
# Air of a whole head is never exactly one value in so many voxels of the outside, unless it was cut out.
FLAT_SHARE = 0.97
# Skull, air cells and the fluid around the brain are dark at this depth (mm) below a scalp; below the edge of
# a brain there is cortex.
RIND_MM = (3.0, 15.0)
# Share of that layer that is darker than a quarter of the median: at most 0.024 in eight images of four
# stripped brains, at least 0.070 in six images of three heads whose air was set to zero.
DARK, DARK_SHARE = 0.25, 0.04


def stripped_mask(data: Array, affine: Affine) -> MaskArray | None:
    """Mask of what an earlier skull stripping left of an image; None where the skull is there.

    It has been stripped when, outside of one compact object no larger than a brain, nearly every voxel has
    one value, and no dark shell of skull lies below its edge. A whole head has noise or ghosts in its
    air, or, where the scanner wrote its air as zeros, is larger than any brain or shows its skull.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
    affine : ndarray, shape (4, 4)
        For the size of the object.
    """
    signal = data - _background(data)
    # Ringing of an earlier interpolation is no signal.
    foreground = signal > 0.01 * float(np.percentile(signal, 99.5))
    if not foreground.any() or foreground.mean() > 0.8:
        return None
    mask = largest_region(foreground)
    outside = ~ndimage.binary_dilation(mask, iterations=2)
    flat = float(np.mean(signal[outside] == 0)) if outside.any() else 0.0
    volume = float(mask.sum()) * abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    if flat < FLAT_SHARE or volume > LARGEST_BRAIN_ML or _touches_edges(mask):
        return None
    return mask if _dark_share(signal, mask, voxel_sizes(affine)) < DARK_SHARE else None


def _dark_share(signal: Array, mask: MaskArray, spacing: tuple[float, ...]) -> float:
    """Share of dark voxels in the layer below the edge of an object, on a grid of about 2 mm."""
    thin = tuple(slice(None, None, max(1, round(2 / size))) for size in spacing)
    inside, values = mask[thin], signal[thin]
    steps = [part.step * size for part, size in zip(thin, spacing, strict=True)]
    depth = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=steps)[1:-1, 1:-1, 1:-1]
    rind = (depth > RIND_MM[0]) & (depth <= RIND_MM[1])
    if not rind.any():
        return 0.0
    return float(np.mean(values[rind] < DARK * np.median(values[inside])))


def _touches_edges(mask: MaskArray) -> bool:
    """Whether the object is cut by the field of view on more than two sides, as a head or a slab is."""
    sides = [mask.take(index, axis).any() for axis in range(mask.ndim) for index in (0, -1)]
    return bool(sum(sides) > 2)


def _background(data: Array) -> float:
    """Commonest value of an image."""
    values, counts = np.unique(data, return_counts=True)
    return float(values[int(np.argmax(counts))])
