"""Voxel orders: flips and swaps of axes, never an interpolation."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from voxelome.imageio import Affine, Array


def to_canonical(data: Array, affine: Affine) -> tuple[Array, Affine]:
    """Image and affine in the voxel order nearest to RAS+.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
    affine : ndarray, shape (4, 4)
        Voxel indices to RAS+ mm.
    """
    orientation = nib.io_orientation(affine)
    turned = np.ascontiguousarray(nib.apply_orientation(data, orientation))
    return turned, affine @ nib.orientations.inv_ornt_aff(orientation, data.shape)


def reorder_like(data: Array, affine: Affine, target_affine: Affine) -> Array:
    """Image in the voxel order of another affine; the two grids are the same but for flips and swaps."""
    change = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.io_orientation(target_affine))
    turned: Array = nib.apply_orientation(data, change)
    return turned


def largest_displacement(shape: tuple[int, ...], first: Affine, second: Affine) -> float:
    """Largest distance in mm between where two affines put a voxel of an image."""
    ends = np.array(np.meshgrid(*[(0, count - 1) for count in shape[:3]], [1], indexing="ij")).reshape(4, -1)
    return float(np.linalg.norm(((first - second) @ ends)[:3], axis=0).max())
