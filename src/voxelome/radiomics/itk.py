"""Arrays as images of ITK, which PyRadiomics takes."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import SimpleITK

from voxelome.imageio import Array

Spacing: TypeAlias = tuple[float, float, float]


def to_itk(values: Array, spacing: Spacing) -> Any:
    """Return an array as an image of ITK; a mask becomes 0 and 1.

    Parameters
    ----------
    values : ndarray, shape (z, y, x)
        Intensities, or a region.
    spacing : tuple of three float
        Voxel sizes in mm along z, y, x.
    """
    whole = np.ascontiguousarray(values)
    image = SimpleITK.GetImageFromArray(whole.astype(np.uint8) if whole.dtype == bool else whole)
    image.SetSpacing(spacing[::-1])
    return image
