"""Where a gradient-echo magnitude has tissue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Array, MaskArray
from voxelome.regions import largest_region, otsu_threshold

_AIR_TO_TISSUE = 0.4  # above this ratio of class means the darker class is tissue too
_SMALLEST = 64  # voxels; fewer hold no anatomy


def magnitude_mask(magnitude: Array, spacing: Sequence[float]) -> MaskArray:
    """Mask of the tissue that gives signal.

    Otsu's threshold on the smoothed magnitude, opened to cut thin bridges, its largest component with
    holes filled (veins and iron-rich nuclei are dark, but inside). Where even the darker class is
    no air (a crop inside the head), everything with signal counts.

    Parameters
    ----------
    magnitude : ndarray, shape (x, y, z)
        Magnitude of the first echo, which has lost the least signal.
    spacing : sequence of 3 floats
        Voxel sizes in mm.

    Returns
    -------
    ndarray of bool, shape (x, y, z)

    Raises
    ------
    DataError
        There is no signal, or no connected region of it.
    """
    if not np.any(magnitude > 0):
        raise DataError("the magnitude has no positive value", "export the magnitude images again")
    sigma = [0.5 * max(spacing) / size for size in spacing]
    smooth = ndimage.gaussian_filter(magnitude.astype(np.float32), sigma)
    threshold = otsu_threshold(smooth)
    dark, bright = smooth[smooth <= threshold], smooth[smooth > threshold]
    if dark.size == 0 or bright.size == 0 or dark.mean() > _AIR_TO_TISSUE * bright.mean():
        tissue = magnitude > 0
    else:
        # Otsu's threshold lies halfway between air and tissue and would cut dim tissue far from the coil.
        tissue = smooth > 0.7 * threshold
        tissue = ndimage.binary_opening(tissue)
    return largest_region(tissue, _SMALLEST)
