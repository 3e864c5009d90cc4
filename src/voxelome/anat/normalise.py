"""Intensities that can be compared between images."""

from __future__ import annotations

import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import Array, FloatArray, MaskArray


def zscore(data: Array, mask: MaskArray) -> FloatArray:
    """Image with mean 0 and standard deviation 1 in the mask, and 0 outside of it.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
    mask : ndarray of bool, shape (x, y, z)

    Raises
    ------
    DataError
        The mask is empty, or the image is constant in it.
    """
    inside = data[mask].astype(np.float64)
    if inside.size == 0:
        raise DataError(
            "no voxel of the image lies in the brain mask", "check the brain mask and the registration"
        )
    spread = float(inside.std())
    if spread == 0:
        raise DataError(f"every voxel in the brain is {inside[0]:g}", "export the image again")
    result = np.zeros(data.shape, dtype=np.float32)
    result[mask] = (inside - inside.mean()) / spread
    return result
