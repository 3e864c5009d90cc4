"""Susceptibility-weighted images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from voxelome.imageio import Affine, Array, MaskArray, voxel_sizes

_POWER = 4


def combine_echoes(magnitude: Array, echo_times: Sequence[float]) -> Array:
    """Mean of the echoes weighted by their echo time, for contrast of late echoes at less noise.

    Parameters
    ----------
    magnitude : ndarray, shape (x, y, z, echo)
    echo_times : sequence of float
        s.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
    """
    times = np.asarray(echo_times, dtype=np.float32)
    combined: Array = magnitude.astype(np.float32) @ (times / times.sum())
    return combined


def phase_mask(local_phase: Array) -> Array:
    """Factor 1 for phase up to 0, falling linearly to 0 at pi (Haacke et al., Magn Reson Med 52:612, 2004).

    Phase is positive where the field is raised, as it is inside veins along the main field.

    Parameters
    ----------
    local_phase : ndarray
        Phase of the local field in rad, unwrapped.
    """
    return np.clip(1 - local_phase / np.float32(np.pi), 0, 1)


def swi(magnitude: Array, local_phase: Array, mask: MaskArray) -> Array:
    """Magnitude darkened where the local phase shows paramagnetic matter.

    The magnitude times the fourth power of the phase mask (Haacke et al., 2004). The phase is that of the
    local field after background removal, in place of a homodyne filter, which leaves fringes near air.

    Parameters
    ----------
    magnitude, local_phase : ndarray, shape (x, y, z)
        Combined magnitude; phase in rad, 0 where the local field is not known.
    mask : ndarray of bool, shape (x, y, z)

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        In the magnitude's unit; 0 outside the mask.
    """
    return np.where(mask, magnitude * phase_mask(local_phase) ** _POWER, 0).astype(np.float32)


def minip(image: Array, mask: MaskArray, affine: Affine, slab: float = 8.0) -> Array:
    """Minimum over a slab that slides along the voxel axis closest to the head's long axis.

    Parameters
    ----------
    image : ndarray, shape (x, y, z)
    mask : ndarray of bool, shape (x, y, z)
        Voxels outside do not count: the air would hide all else.
    affine : ndarray, shape (4, 4)
    slab : float
        Thickness in mm.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        0 outside the mask.
    """
    spacing = voxel_sizes(affine)
    axis = int(np.argmax(np.abs(affine[2, :3]) / spacing))
    slices = max(1, round(slab / spacing[axis]))
    lowest = ndimage.minimum_filter1d(np.where(mask, image, np.inf), slices, axis=axis, mode="nearest")
    return np.where(mask, lowest, 0).astype(np.float32)
