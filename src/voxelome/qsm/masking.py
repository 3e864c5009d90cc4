"""Where a gradient-echo magnitude has tissue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Array, FloatArray, MaskArray
from voxelome.regions import largest_region, otsu_threshold

_AIR_TO_TISSUE = 0.4  # above this ratio of class means the darker class is tissue too
_TRUSTED_SHARE = 0.3
_SLOW = 15.0  # mm
_EDGE_SIGMA = 0.7  # voxels
_EDGE_PERCENTILE, _AT_EDGES = 70, 0.3
_FAINT = 0.005  # ppm a voxel
_DARKEST = 0.05  # of the mean
_SLACK = 1.01
_VENTRICLES, _SLOW_DECAY = 30.0, 5.0  # mm, 1/s
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


def signal_mask(mask: MaskArray, magnitude: Array) -> MaskArray:
    """Part of a mask that has at least 0.3 of the signal usual in it.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
    magnitude : ndarray, shape (x, y, z)
        Magnitude of the last echo.
    """
    bright: MaskArray = mask & (magnitude > _TRUSTED_SHARE * np.median(magnitude[mask]))
    return bright


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
    bright = ndimage.binary_opening(signal_mask(mask, magnitude))
    if bright.sum() < _SMALLEST:
        raise DataError(
            "no part of the mask is 3 voxels thick and has signal in the last echo",
            "check the brain mask and its registration to the gradient echo",
        )
    return largest_region(bright, _SMALLEST) & mask


def edge_weights(magnitude: Array, mask: MaskArray, spacing: Sequence[float]) -> FloatArray:
    """Weight of smoothness: 0.3 where the magnitude has an edge, 1 elsewhere.

    An edge is where the logarithm of the magnitude, without its slow change over 15 mm, is steeper than in
    70 percent of the mask: the morphology prior of MEDI (Liu et al., Magn Reson Med 66:777, 2011), softened.

    Parameters
    ----------
    magnitude : ndarray, shape (x, y, z, echo)
    mask : ndarray of bool, shape (x, y, z)
    spacing : sequence of 3 floats
        Voxel sizes in mm.
    """
    combined = np.sqrt((magnitude.astype(np.float32) ** 2).sum(axis=-1))
    combined = np.where(mask, combined, combined[mask].mean())
    even = combined / ndimage.gaussian_filter(combined, [_SLOW / size for size in spacing])
    steepness = ndimage.gaussian_gradient_magnitude(np.log(np.maximum(even, _DARKEST)), _EDGE_SIGMA)
    steep = steepness > np.percentile(steepness[mask], _EDGE_PERCENTILE)
    return np.where(steep, np.float32(_AT_EDGES), np.float32(1))


def map_edge_weights(chi: Array, mask: MaskArray) -> FloatArray:
    """Weight of smoothness from a first map: 1 where it is even, less the steeper it is.

    With it, total variation counts edges and hardly their height, so that it takes less off them (reweighted
    l1 minimisation, Candes et al., J Fourier Anal Appl 14:877, 2008).

    Parameters
    ----------
    chi : ndarray, shape (x, y, z)
        Susceptibility in ppm.
    mask : ndarray of bool, shape (x, y, z)
    """
    filled = np.where(mask, chi, chi[mask].mean()).astype(np.float32)
    steepness = ndimage.gaussian_gradient_magnitude(filled, _EDGE_SIGMA)
    weights: FloatArray = np.float32(_FAINT) / (np.float32(_FAINT) + steepness)
    return weights


def inner_mask(mask: MaskArray, spacing: Sequence[float], rim: float) -> MaskArray:
    """Mask without the voxels that reach within `rim` mm of its edge, and at least its outermost ones.

    Of anisotropic voxels, those count as outermost that the edge touches along a short side.
    """
    least = max(rim, min(spacing)) * _SLACK
    reach = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    inner: MaskArray = mask & (reach > least)
    return inner


def slow_decay_mask(r2star: Array, mask: MaskArray) -> MaskArray:
    """Fluid: R2* below 5/s, without what is thinner than 3 voxels.

    Parameters
    ----------
    r2star : ndarray, shape (x, y, z)
        1/s.
    mask : ndarray of bool, shape (x, y, z)
    """
    slow: MaskArray = ndimage.binary_opening(mask & (r2star > 0) & (r2star < _SLOW_DECAY))
    return slow


def fluid_mask(r2star: Array, mask: MaskArray, spacing: Sequence[float]) -> MaskArray:
    """Cerebrospinal fluid of the ventricles: slow decay in the middle of the brain; empty if there is none.

    R2* below 5/s within 30 mm of the mask's centre, without what is thinner than 3 voxels, and of its parts
    the three largest (after the automatic reference of MEDI+0, Liu et al., Magn Reson Med 79:2795, 2018).

    Parameters
    ----------
    r2star : ndarray, shape (x, y, z)
        1/s.
    mask : ndarray of bool, shape (x, y, z)
    spacing : sequence of 3 floats
        Voxel sizes in mm.
    """
    centre = [float(part.mean()) for part in np.nonzero(mask)]
    offsets = np.meshgrid(
        *((np.arange(n) - c) * size for n, c, size in zip(mask.shape, centre, spacing, strict=True)),
        indexing="ij",
        sparse=True,
    )
    near = sum(offset**2 for offset in offsets) < _VENTRICLES**2
    parts, count = ndimage.label(slow_decay_mask(r2star, mask & near))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    largest: MaskArray = np.isin(parts, np.argsort(sizes)[::-1][:3]) & (sizes[parts] >= _SMALLEST)
    return largest
