"""Images as ANTs sees them: the same voxels, with world coordinates in LPS instead of RAS."""

from __future__ import annotations

from typing import Any

import ants
import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, voxel_sizes

# ITK's world axes run to the left and to the back; NIfTI's to the right and to the front.
RAS_TO_LPS: Affine = np.diag([-1.0, -1.0, 1.0, 1.0])
_SHEAR_TOLERANCE = 1e-3


def to_ants(data: Array, affine: Affine) -> Any:
    """ANTs image (single precision) of an array and its affine.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        Voxel values.
    affine : ndarray, shape (4, 4)
        Voxel indices to world coordinates (RAS+, mm).

    Returns
    -------
    ants.ANTsImage
        Same voxels, geometry in LPS mm.

    Raises
    ------
    DataError
        The affine has shear, which ITK's geometry (origin, spacing, direction) cannot hold.
    """
    lps = RAS_TO_LPS @ affine
    spacing = voxel_sizes(affine)
    direction = lps[:3, :3] / np.array(spacing)
    shear = float(np.abs(direction.T @ direction - np.eye(3)).max())
    if shear > _SHEAR_TOLERANCE:
        raise DataError(
            f"the image axes are not perpendicular (cosine up to {shear:.3g})",
            "resample the image to a grid without shear, or mend its affine",
        )
    return ants.from_numpy(
        np.asarray(data, dtype=np.float32), origin=tuple(lps[:3, 3]), spacing=spacing, direction=direction
    )


def from_ants(image: Any) -> Array:
    """Voxel values of an ANTs image, shape (X, Y, Z)."""
    return np.asarray(image.numpy())
