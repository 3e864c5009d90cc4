"""Where a gradient-echo magnitude has tissue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Array, MaskArray
from voxelome.regions import largest_region, otsu_threshold

_AIR_TO_TISSUE = 0.4  # above this ratio of class means the darker class is tissue too
_TRUSTED_SHARE = 0.3
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


def trusted_mask(mask: MaskArray, magnitude: Array) -> MaskArray:
    """Part of a brain mask in which the phase can be trusted.

    Where the last echo has less than 0.3 of the signal that is usual in the mask, its phase is noise. At the
    rim of the brain (bone, air cells, the neighbourhood of sinuses) such voxels are outside of it or lie
    in a field that no sphere mean can tell from tissue, and a few hundred of them bend the whole
    susceptibility map; so they are left out. Inside the brain (veins, bleeds, iron) they stay: the fit
    gives them little weight.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
    magnitude : ndarray, shape (x, y, z)
        Magnitude of the last echo.

    Raises
    ------
    DataError
        Nothing of the mask is left.
    """
    bright = mask & (magnitude > _TRUSTED_SHARE * np.median(magnitude[mask]))
    return largest_region(ndimage.binary_opening(bright), _SMALLEST) & mask
