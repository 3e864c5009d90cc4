"""Susceptibility-weighted images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from voxelome.imageio import Affine, Array, MaskArray, voxel_sizes

WEIGHTING = {"classic": "classic phase mask", "clear": "CLEAR-SWI"}
_POWER = 4
_SENSITIVITY = 10.0  # mm


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


def clear_swi(
    magnitude: Array, local_phase: Array, mask: MaskArray, spacing: Sequence[float], *, strength: float = 4.0
) -> Array:
    """Image of even brightness, darkened by a sigmoid of the local phase (after CLEAR-SWI).

    All echoes' magnitudes together (root of the sum of squares) are divided by the coils' sensitivity, a mean
    over 10 mm of tissue. Positive phase darkens by ``(1 + tanh(1 - phase / m)) / (1 + tanh 1)``, m being 10
    times the median positive phase over `strength`: weak veins show, and no fringe turns black (Eckstein et
    al., NeuroImage 237:118175, 2021).

    Parameters
    ----------
    magnitude : ndarray, shape (x, y, z, echo)
    local_phase : ndarray, shape (x, y, z)
        rad, 0 where the local field is not known.
    mask : ndarray of bool, shape (x, y, z)
    spacing : sequence of 3 floats
        Voxel sizes in mm.
    strength : float
        Of the darkening.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        About 1 in tissue without contrast; 0 outside the mask.
    """
    combined = np.where(mask, np.sqrt((magnitude.astype(np.float32) ** 2).sum(axis=-1)), 0)
    sigma = [_SENSITIVITY / size for size in spacing]
    share = ndimage.gaussian_filter(mask.astype(np.float32), sigma)
    smooth = ndimage.gaussian_filter(combined, sigma)
    even = np.where(mask, combined * share / np.where(smooth > 0, smooth, 1), 0)
    positive = mask & (local_phase > 0)
    if not positive.any():
        return even.astype(np.float32)
    scale = 10 * np.median(local_phase[positive]) / strength
    # Divided by its value at 0, so that no contour shows where the phase changes its sign.
    factor = np.where(positive, (1 + np.tanh(1 - local_phase / scale)) / (1 + np.tanh(1.0)), 1)
    weighted: Array = (even * factor).astype(np.float32)
    return weighted


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
