"""Noise of magnitude images: how strong it is, and adaptive non-local means against it.

References
----------
Manjon JV, Coupe P, Marti-Bonmati L, Collins DL, Robles M. Adaptive non-local means denoising of MR images
with spatially varying noise levels. J Magn Reson Imaging 31 (2010) 192.
Donoho DL, Johnstone IM. Ideal spatial adaptation by wavelet shrinkage. Biometrika 81 (1994) 425.
Coupe P, Manjon JV, Gedamu E, et al. Robust Rician noise estimation for MR images. Med Image Anal 14 (2010)
483.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from voxelome.anat.bias import head_mask
from voxelome.ants_image import AntsImage, run_ants
from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, MaskArray, voxel_sizes

# Radii in voxels of the patches, and of the search for those that resemble one.
PATCH, SEARCH = 1, 2
# Value of bright tissue that ANTs sees: it takes a variance below 1e-5 for none, whatever the image's scale.
_BRIGHT = 1000.0
# How far a voxel's result looks: patch, search, patch and local mean in voxels; the smoothing of the Rician
# bias (Gaussian of 2 mm2, cut off at 1 % of its mass) in mm.
_REACH_VOXELS = 2 * PATCH + SEARCH + 1
_REACH_MM = 6.0
# Share of negative voxels that an earlier interpolation may leave; an image with more is no magnitude.
_MOST_NEGATIVE = 0.01
# Share of the object, the flattest, that the noise is estimated in, and the fewest places.
_FLATTEST = 0.1
_FEWEST = 50
# Distance between the quartiles of a Gaussian of standard deviation 1.
_QUARTILES = 1.349


def denoise(data: Array, affine: Affine, mask: MaskArray | None = None) -> tuple[FloatArray, float]:
    """Image with less noise by adaptive non-local means for Rician noise, and the noise it had.

    What ANTs' DenoiseImage makes of the whole image, computed in the mask alone. Outside of it, the image
    stays as it was.

    Patches are counted in voxels: where voxels are coarse (2 mm) and noise is low (3 % of white matter), the
    filter takes more of the cortex than of the noise.

    ANTs' threads add to common voxels without a lock where their parts of the image meet: with more than
    one, two runs differ there. Set ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS to 1 before ANTs runs for the first
    time in a process.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
        Magnitudes; what little of it is negative counts as 0.
    affine : ndarray, shape (4, 4)
        Voxel indices to RAS+ mm.
    mask : ndarray of bool, shape (x, y, z), or None
        Where to reduce noise; None: the head and a margin around it.

    Returns
    -------
    image : ndarray of float32, shape (x, y, z)
    noise : float
        Standard deviation of the noise before, by :func:`noise_sd`.

    Raises
    ------
    DataError
        The image holds no magnitudes, nothing stands out from its background, the mask is empty, or the
        axes are sheared.
    """
    region = head_mask(data) if mask is None else mask
    noise = noise_sd(data, region)
    if float(np.mean(data[region] < 0)) > _MOST_NEGATIVE:
        raise DataError(
            f"{np.mean(data[region] < 0):.0%} of its voxels are negative, so it holds no magnitudes",
            "leave denoising out",
        )
    active = _grow(region, [_REACH_VOXELS + round(_REACH_MM / size) for size in voxel_sizes(affine)])
    # The comparison of patches refers to the largest value of the image: it must be in the box.
    brightest = np.unravel_index(int(np.argmax(data)), data.shape)
    box = _box(active, brightest)
    # A power of two, because floats keep all their digits.
    scale = 2.0 ** round(np.log2(_BRIGHT / float(np.percentile(data[region], 99))))
    part = (np.clip(data[box], 0, None) * scale).astype(np.float32)
    result = data.astype(np.float32)
    keep = active if mask is None else mask
    result[box] = np.where(keep[box], _non_local_means(part, affine, active[box]) / scale, result[box])
    return result, noise


def noise_sd(data: Array, region: MaskArray) -> float:
    """Standard deviation of the noise, from inside the object: scanners may have set the air to zero.

    From the finest diagonal details of Haar's wavelets (over all cubes of two voxels an axis), which hold
    little of the anatomy, by their quartiles (Donoho 1994; Coupe 2010). Only places where the means of the
    neighbouring cubes hardly differ count; these means and the details have independent noise. Only bright
    voxels count, where Rician noise is Gaussian. An image that was interpolated has less noise at this
    scale than at others, and fine structure of coarse voxels counts as noise.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
    region : ndarray of bool, shape (x, y, z)
        Head or brain.

    Raises
    ------
    DataError
        Hardly anything of the region is bright.
    """
    inside = np.asarray(region, dtype=bool)
    if inside.any():
        inside = inside & (data > max(0.0, 0.5 * float(np.median(data[inside]))))
    detail = mean = data.astype(np.float64)
    for axis in range(3):
        detail = np.diff(detail, axis=axis)
        ahead, behind = _pair(mean, axis)
        mean = (ahead + behind) / 2
        ahead, behind = _pair(inside, axis)
        inside = ahead & behind
    if inside.sum() < _FEWEST:
        raise DataError(
            f"only {int(inside.sum())} places of the image have signal enough to estimate its noise",
            "check the image and its mask, or leave denoising out",
        )
    slope = np.sum([np.square(np.gradient(mean, axis=axis)[inside]) for axis in range(3)], axis=0)
    rank = min(inside.sum() - 1, max(_FEWEST, round(_FLATTEST * float(inside.sum()))))
    flat = slope <= np.partition(slope, rank)[rank]
    # The sum of eight voxels, with signs, has their noise times the root of 8.
    return _interquartile_range(detail[inside][flat]) / (_QUARTILES * 8**0.5)


def _interquartile_range(values: FloatArray) -> float:
    """Range between the quartiles; of integers, between steps too."""
    levels, counts = np.unique(values, return_counts=True)
    shares = (np.cumsum(counts) - counts / 2) / values.size
    low, high = np.interp([0.25, 0.75], shares, levels)
    return float(high - low)


def _pair(array: Array, axis: int) -> tuple[Array, Array]:
    """Array without its first and without its last plane."""
    count = array.shape[axis]
    return array.take(range(1, count), axis), array.take(range(count - 1), axis)


def _grow(mask: MaskArray, radii: list[int]) -> MaskArray:
    """Mask and all voxels within a box of these radii (voxels) around each of its voxels."""
    grown = mask.astype(np.uint8)
    for axis, radius in enumerate(radii):
        grown = ndimage.maximum_filter1d(grown, 2 * radius + 1, axis=axis, mode="constant")
    return grown > 0


def _box(mask: MaskArray, voxel: tuple[np.intp, ...]) -> tuple[slice, ...]:
    """Smallest box of one more voxel and of what the result in a mask depends on."""
    box = []
    for axis, index in enumerate(voxel):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        where = np.flatnonzero(mask.any(axis=others))
        first = min(int(where[0]) - _REACH_VOXELS, int(index))
        last = max(int(where[-1]) + _REACH_VOXELS, int(index))
        box.append(slice(max(first, 0), last + 1))
    return tuple(box)


def _non_local_means(data: FloatArray, affine: Affine, mask: MaskArray) -> FloatArray:
    """What DenoiseImage of ANTs makes of an image inside a mask."""
    # The program reads image and result in single precision and the mask as bytes, and cannot tell another.
    image, result, region = AntsImage(data, affine), AntsImage(data, affine), AntsImage(mask, affine)
    options = {
        "-d": "3",
        "-i": image.argument,
        "-n": "Rician",
        "-x": region.argument,
        "-s": "1",
        "-p": str(PATCH),
        "-r": str(SEARCH),
        "-o": result.argument,
    }
    run_ants("DenoiseImage", [text for option in options.items() for text in option])
    return result.array()
