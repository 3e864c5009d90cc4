"""Other outlines of a region: larger, smaller, or drawn anew along the supervoxels of the image."""

from __future__ import annotations

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Array, FloatArray, MaskArray
from voxelome.radiomics.itk import to_itk

# The largest change of the volume, as a share of it.
LARGEST_CHANGE = 0.5
# A supervoxel measures 500 mm3 (Zwanenburg et al.), less where the region has fewer than 30 of them, and has
# at least 20 voxels.
_SUPERVOXEL_MM3, _FEWEST_SUPERVOXELS, _SMALLEST_SUPERVOXEL = 500.0, 30, 20
# Weight of the distance against the intensity, of which the region has a range of 1: less makes supervoxels
# ragged by noise, more makes them cubes that cross the edges of the image.
_COMPACTNESS = 0.1
# Share by which intensities may go beyond those of the region before they are cut off.
_BEYOND = 0.1
# A supervoxel with more than the one share in the region is always in, with less than the other never.
ALWAYS, NEVER = 0.9, 0.2


def growth_reach(count: int, sizes: tuple[float, ...]) -> tuple[int, int, int]:
    """Return how many voxels from its surface a region can reach when it grows by the largest change.

    Of all regions of one volume the ball has the least room around it (Brunn and Minkowski).
    """
    radius = (count * float(np.prod(sizes)) * 3 / (4 * np.pi)) ** (1 / 3)
    farthest = radius * ((1 + LARGEST_CHANGE) ** (1 / 3) - 1)
    first, second, third = (int(np.ceil(farthest / size)) + 1 for size in sizes)
    return first, second, third


def distance_map(mask: MaskArray, sizes: tuple[float, ...], *, outwards: bool) -> FloatArray:
    """Return the distance in mm of voxels around a region from it, or of its own from its surroundings.

    Beyond the array there are surroundings.
    """
    if outwards:
        distance: FloatArray = ndimage.distance_transform_edt(~mask, sampling=sizes)
        return distance
    padded: FloatArray = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=sizes)
    return padded[1:-1, 1:-1, 1:-1]


def resized(mask: MaskArray, distance: FloatArray, change: float, seed: int) -> MaskArray:
    """Return a region that is larger or smaller by a share of its volume, to the voxel.

    What is added is nearest to the region, what is taken away nearest to its surroundings; which of the
    voxels at the last distance is a matter of chance, as in the paper.

    Parameters
    ----------
    mask : ndarray of bool
        The region, with room around it to grow.
    distance : ndarray
        What :func:`distance_map` gives, outwards to grow.
    change : float
        Share of the volume, negative to shrink.
    seed : int

    Raises
    ------
    DataError
        Nothing would be left of the region, or it has no room.

    References
    ----------
    Zwanenburg et al. (2019), Sci Rep 9:614 (volume adaptation). There rims are counted in voxels; here in mm,
    so that thick slices do not grow before thin ones.
    """
    count = int(np.count_nonzero(mask))
    target = round(count * (1 + change))
    if target == 0:
        raise DataError(
            f"nothing is left of {count} voxels that shrink by {-change:.0%}", "leave the region out"
        )
    candidates = np.flatnonzero(~mask if target > count else mask)
    needed = abs(target - count)
    if needed > candidates.size:
        problem = f"the image ends before {count} voxels have grown by {change:.0%}"
        raise DataError(problem, "leave the growth of this region out")
    result = mask.copy()
    if needed:
        chosen = _nearest(distance.ravel()[candidates], needed, np.random.default_rng(seed))
        result.ravel()[candidates[chosen]] = target > count
    return result


def _nearest(distance: FloatArray, count: int, rng: np.random.Generator) -> NDArray[np.int_]:
    """Return the indices of the smallest distances, and a random choice of those at the last."""
    last = np.partition(distance, count - 1)[count - 1]
    sure = np.flatnonzero(distance < last)
    rim = np.flatnonzero(distance == last)
    return np.concatenate([sure, rng.choice(rim, count - sure.size, replace=False)])


def supervoxel_size(count: int, sizes: tuple[float, ...]) -> tuple[int, int, int]:
    """Return the extent in voxels of the supervoxels for a region: about a cube in mm."""
    voxel = float(np.prod(sizes))
    wanted = min(_SUPERVOXEL_MM3 / voxel, count / _FEWEST_SUPERVOXELS)
    side = (max(wanted, _SMALLEST_SUPERVOXEL) * voxel) ** (1 / 3)
    first, second, third = (max(1, round(side / size)) for size in sizes)
    return first, second, third


def supervoxels(image: Array, mask: MaskArray, sizes: tuple[float, ...]) -> Array:
    """Return the number of each voxel's supervoxel, from 1.

    Supervoxels are compact parts of an image with much the same intensity (simple linear iterative
    clustering). Intensities are cut off where they leave the range of the region, and smoothed a little.

    Parameters
    ----------
    image : ndarray, shape (x, y, z)
        Intensities around a region.
    mask : ndarray of bool, shape (x, y, z)
        The region.
    sizes : tuple of three float
        Voxel sizes in mm.

    Raises
    ------
    DataError
        None of the region's intensities is finite.

    References
    ----------
    Achanta et al. (2012), SLIC superpixels compared to state-of-the-art superpixel methods, IEEE Trans
    Pattern Anal Mach Intell 34:2274-2282. Zwanenburg et al. (2019), Sci Rep 9:614.
    """
    inside = image[mask]
    inside = inside[np.isfinite(inside)]
    if not inside.size:
        raise DataError("no intensity of the region is finite", "leave its outline as it is")
    low, high = float(inside.min()), float(inside.max())
    # A flat region has supervoxels by distance alone.
    scaled = np.clip((np.nan_to_num(image, nan=low) - low) / ((high - low) or 1.0), -_BEYOND, 1 + _BEYOND)
    # Smoothed after the cut, so that the edge of a region stays where it is, however dark its surroundings.
    smooth = ndimage.gaussian_filter(scaled.astype(np.float32), [min(sizes) / size for size in sizes])
    clusters = SimpleITK.SLIC(
        to_itk(smooth.transpose(), (1.0, 1.0, 1.0)),
        superGridSize=supervoxel_size(int(np.count_nonzero(mask)), sizes),
        spatialProximityWeight=_COMPACTNESS,
    )
    labels: Array = SimpleITK.GetArrayFromImage(clusters).transpose()
    return labels + 1


def randomised(mask: MaskArray, labels: Array, seed: int) -> MaskArray:
    """Return a region made of the supervoxels that it overlaps, each with its share as the probability.

    The volume stays much the same on average: a share in the region that never counts is lost, one outside
    of it that always counts is won.

    Parameters
    ----------
    mask : ndarray of bool
        The region.
    labels : ndarray of int
        Number of each voxel's supervoxel; 0 is never in.
    seed : int

    Raises
    ------
    DataError
        No supervoxel is in.

    References
    ----------
    Zwanenburg et al. (2019), Sci Rep 9:614 (contour randomisation). There, the supervoxel with the largest
    share is always in, which would hide that a region is too small for this.
    """
    size = np.bincount(labels.ravel())
    share = np.bincount(labels[mask], minlength=size.size) / np.maximum(size, 1)
    # One draw for each supervoxel of the image, so that its fate does not depend on the others.
    kept = np.random.default_rng(seed).random(size.size) < share
    kept = (kept | (share > ALWAYS)) & (share >= NEVER)
    kept[0] = False
    if not kept.any():
        problem = f"no supervoxel is left of {int(np.count_nonzero(mask))} voxels with another outline"
        raise DataError(problem, "leave the outline of this region as it is")
    result: MaskArray = kept[labels]
    return result
