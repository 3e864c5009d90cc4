"""Smooth shading of a susceptibility map, taken out by the fluid, which is the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from voxelome.imageio import Array, FloatArray, MaskArray
from voxelome.qsm.masking import slow_decay_mask

# Width in mm of the Gaussian over which the fluid's values are averaged: it holds a few sulci.
_SIGMA = 8.0
# Share of fluid in that window at which half of its deviation is believed; about 25 mm^3.
_PRIOR = 0.003
# In standard deviations, as the median tells them: a cyst, or a vein, counts no more than this.
_MOST = 3.0


@dataclass(frozen=True)
class Shading:
    """What shades a map.

    Attributes
    ----------
    values : ndarray of float32, shape (x, y, z)
        In ppm; 0 outside the mask, and where there is no fluid near.
    voxels : int
        Of fluid that tell of it.
    rms : float
        Root mean square over the mask, in ppm.
    """

    values: FloatArray
    voxels: int
    rms: float


def shading_of(chi: Array, r2star: Array, mask: MaskArray, spacing: Sequence[float]) -> Shading:
    """Shading of a map, from what its fluid deviates by.

    The field tells of smooth parts of the susceptibility near the edge of a mask hardly more than of sources
    outside; what background removal and inversion get wrong there is smooth. Cerebrospinal fluid has one
    susceptibility, and lies in ventricles, cisterns and sulci: that it should be uniform is demanded of the
    inversion in MEDI+0 of the ventricles (Liu et al., Magn Reson Med 79:2795, 2018) and of all fluid, found
    by its slow decay, by Dimov et al. (J Neuroimaging 32:141, 2022), with less shading and better
    repeatability in people. Here the deviation of the fluid from its median is averaged over a Gaussian
    window, ``s = G(f d) / (G(f) + p)`` with the fluid f, its deviation d, and a prior p that pulls to 0 what
    little fluid tells; it can be taken off the map of any inversion.

    Parameters
    ----------
    chi : ndarray, shape (x, y, z)
        Susceptibility in ppm.
    r2star : ndarray, shape (x, y, z)
        1/s.
    mask : ndarray of bool, shape (x, y, z)
        Where the map is known.
    spacing : sequence of 3 floats
        Voxel sizes in mm.
    """
    fluid = slow_decay_mask(r2star, mask)
    count = int(fluid.sum())
    if not count:
        return Shading(np.zeros(chi.shape, np.float32), 0, 0.0)
    deviation = chi[fluid] - np.median(chi[fluid])
    most = _MOST * 1.4826 * float(np.median(np.abs(deviation)))
    held = np.zeros(chi.shape, np.float32)
    held[fluid] = np.clip(deviation, -most, most)
    sigma = [_SIGMA / size for size in spacing]
    share = ndimage.gaussian_filter(fluid.astype(np.float32), sigma, mode="constant")
    shade = ndimage.gaussian_filter(held, sigma, mode="constant") / (share + np.float32(_PRIOR))
    values = np.where(mask, shade, 0).astype(np.float32)
    return Shading(values, count, float(np.sqrt(np.mean(values[mask].astype(float) ** 2))))
