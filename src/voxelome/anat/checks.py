"""What an image must be before anything is computed from it."""

from __future__ import annotations

import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, voxel_sizes

SMALLEST, LARGEST = 0.1, 12.0
FEWEST_VOXELS = 8
# Cosine of the angle between two voxel axes above which the grid is sheared.
SHEAR = 0.01


def check_volume(data: Array, affine: Affine) -> list[str]:
    """Warnings about an image that can be used.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
        Voxel values.
    affine : ndarray, shape (4, 4)
        Voxel indices to RAS+ mm.

    Raises
    ------
    DataError
        The image is not 3D, not finite, constant, or its grid is implausible.
    """
    if data.ndim != 3:
        count = int(np.prod(data.shape[3:])) if data.ndim > 3 else 0
        raise DataError(
            f"is {data.ndim}D with shape {data.shape}" + (f" ({count} volumes)" if count else ""),
            "give one 3D volume a file",
        )
    _check_grid(data, affine)
    broken = int(data.size - np.isfinite(data).sum())
    if broken:
        raise DataError(
            f"{broken} of {data.size} voxels are NaN or infinite", "replace them, or export the image again"
        )
    if data.max() == data.min():
        raise DataError(f"every voxel is {data.flat[0]:g}", "export the image again")
    warnings = []
    spacing = voxel_sizes(affine)
    if max(spacing) > 3 * min(spacing):
        warnings.append(
            f"thick slices ({' x '.join(f'{size:.2g}' for size in spacing)} mm): thin structures are lost."
        )
    if min(size * count for size, count in zip(spacing, data.shape, strict=True)) < 100:
        extent = " x ".join(f"{size * count:.0f}" for size, count in zip(spacing, data.shape, strict=True))
        warnings.append(f"the field of view ({extent} mm) does not hold a whole head.")
    return warnings


def _check_grid(data: Array, affine: Affine) -> None:
    if min(data.shape) < FEWEST_VOXELS:
        raise DataError(
            f"has shape {data.shape}", f"give a volume of at least {FEWEST_VOXELS} voxels an axis"
        )
    if not np.isfinite(affine).all():
        raise DataError("its affine is not finite", "mend the header (qform or sform)")
    spacing = voxel_sizes(affine)
    if not all(SMALLEST <= size <= LARGEST for size in spacing):
        sizes = " x ".join(f"{size:.3g}" for size in spacing)
        raise DataError(
            f"its voxels are {sizes} mm", f"brain MRI has {SMALLEST} to {LARGEST} mm: mend the header"
        )
    axes = affine[:3, :3] / np.array(spacing)
    overlap = np.abs(axes.T @ axes - np.eye(3)).max()
    if overlap > SHEAR:
        angle = np.degrees(np.arcsin(min(overlap, 1)))
        raise DataError(
            f"its voxel axes are not at right angles (off by {angle:.1f} degrees)",
            "mend the header, or resample the image",
        )
