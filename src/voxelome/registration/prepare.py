"""Images made ready for registration: working resolution, intensities from 0 to 1, a box around the head."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, MaskArray, voxel_sizes
from voxelome.registration.stages import Grid

WORKING_SPACING = 2.0


def prepare_image(data: Array, affine: Affine, mask: MaskArray | None, name: str) -> Grid:
    """Image at the working resolution, from 0 to 1, its extreme half percents clipped."""
    if data.ndim != 3:
        raise DataError(f"the {name} image has {data.ndim} dimensions, not 3", "give one volume of it")
    if mask is not None and (mask.shape != data.shape or not mask.any()):
        raise DataError(
            f"the {name} mask (shape {mask.shape}, {int(mask.sum())} voxels) is empty or not "
            f"on the image's grid (shape {data.shape})",
            "give a mask of the brain on the image's grid",
        )
    if not np.isfinite(data).all():
        raise DataError(f"the {name} image holds NaN or infinite values", "replace them")
    reduced, grid = reduce_resolution(data, affine)
    low, high = np.percentile(reduced, [0.5, 99.5])
    if high <= low:  # nearly all is background: a small object in a large field of view
        low, high = float(reduced.min()), float(reduced.max())
    if high <= low:
        raise DataError(f"the {name} image holds only the value {low:g}", "check the image")
    kept = None if mask is None else reduce_resolution(mask, affine)[0] >= 0.5
    return Grid(np.clip((reduced - low) / (high - low), 0, 1), grid, kept)


def reduce_resolution(
    data: Array, affine: Affine, spacing: float = WORKING_SPACING
) -> tuple[FloatArray, Affine]:
    """Image averaged over blocks of voxels about `spacing` mm long, and its affine.

    Averaging, unlike picking, neither aliases nor keeps the noise; an axis with thick slices stays as
    it is. Voxels that fill no block at the far end of an axis are left out.
    """
    factors = np.maximum(1, np.rint(spacing / np.array(voxel_sizes(affine))).astype(int))
    factors = np.minimum(factors, data.shape)
    counts = np.array(data.shape) // factors
    kept = data[tuple(slice(0, count * factor) for count, factor in zip(counts, factors, strict=True))]
    split = [number for pair in zip(counts, factors, strict=True) for number in pair]
    blocks = kept.reshape(split).mean(axis=(1, 3, 5), dtype=np.float32)
    voxels = np.eye(4)
    voxels[:3, :3] = np.diag(factors)
    voxels[:3, 3] = (factors - 1) / 2
    return blocks, affine @ voxels


def crop_to_mask(grid: Grid, margin: int = 4) -> Grid:
    """Part of the image around its mask, `margin` voxels wider; the whole image if it has no mask."""
    if grid.mask is None:
        return grid
    found = np.argwhere(grid.mask)
    low = np.maximum(found.min(axis=0) - margin, 0)
    high = np.minimum(found.max(axis=0) + margin + 1, grid.data.shape)
    box = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
    shift = np.eye(4)
    shift[:3, 3] = low
    return Grid(grid.data[box], grid.affine @ shift, grid.mask[box])


def centre_of_mass(grid: Grid) -> FloatArray:
    """Centre of mass of the intensities in world mm."""
    centre = np.array(ndimage.center_of_mass(grid.data))
    return np.asarray(grid.affine[:3, :3] @ centre + grid.affine[:3, 3])


def translation(shift: FloatArray) -> Affine:
    """Matrix that adds `shift` (mm) to a point."""
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return matrix
