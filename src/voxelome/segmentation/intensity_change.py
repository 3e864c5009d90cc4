"""Change between two visits from the images alone: where FLAIR is brighter or darker than noise explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Array, FloatArray, MaskArray
from voxelome.segmentation.change import Comparison
from voxelome.segmentation.parts import Box, box_of, connected_parts, part_sizes, same_shape, voxel_ml

BRIGHTER, DARKER = 1, 2
# Normal tissue of less is too little to compare two images by.
_FEWEST = 1000
_MAD = 1.4826
# Standard deviations (mm) of the Gaussians of the smooth difference (coil sensitivity) that is taken off, and
# of what averages the noise over the size of the smallest lesions.
_DRIFT_MM, _FINE_MM = 15.0, 1.0
_GRADIENT_BINS = 12


@dataclass(frozen=True)
class DetectionRules:
    """What of a map of z scores is a change.

    The numbers are from simulated pairs of heads with slices of 4 and 3 mm, half a degree and half a
    millimetre off: there they find 0.79 of the lesions that are new or grew, with 1.2 false ones a pair.

    Attributes
    ----------
    seed, extent : float
        A change holds a z score of `seed`, and reaches as far as z is above `extent` (hysteresis).
    bright : float
        What changed is brighter than normal tissue, at the visit where it is brighter, by so many of its
        robust standard deviations.
    smallest_ml : float
        Smaller ones are left out.
    rim_mm : float
        This near to the border of where lesions are looked for nothing counts: masks and registrations
        differ there.
    """

    seed: float = 7.0
    extent: float = 2.5
    bright: float = 1.0
    smallest_ml: float = 0.01
    rim_mm: float = 2.0


@dataclass(frozen=True)
class IntensityChange:
    """Two images of a brain, compared voxel by voxel.

    Attributes
    ----------
    score : ndarray of float32, shape (x, y, z)
        Difference second less first in units of its standard deviation where nothing changed; 0 outside the
        brain.
    first, second : ndarray of float32, shape (x, y, z)
        Both images in robust standard deviations from the median of normal tissue, the smooth difference
        between them taken off, half from each; 0 outside the brain.
    """

    score: FloatArray
    first: FloatArray
    second: FloatArray


def score_change(
    first: FloatArray,
    second: FloatArray,
    brain: MaskArray,
    spacing: Sequence[float],
    lesions: MaskArray | None = None,
) -> IntensityChange:
    """Z scores of the change of intensity between two registered images of one contrast.

    1. Each image is brought to median 0 and robust standard deviation 1 in normal tissue; this makes one a
       linear function of the other by the reduced major axis, which, unlike a regression, does not flatten
       the slope for the noise of one of them, and so does not make lesions that stay the same look brighter.
    2. The smooth difference of the two is taken off, and the rest averaged over the size of small lesions.
    3. It is divided by its robust standard deviation, which grows with the gradient of the image:
       where it is steep, a shift of a fraction of a voxel makes a difference.

    Parameters
    ----------
    first, second : ndarray, shape (x, y, z)
        Images on one grid, registered.
    brain : ndarray of bool, shape (x, y, z)
    spacing : sequence of 3 float
        Voxel sizes in mm.
    lesions : ndarray of bool, shape (x, y, z), optional
        Lesions of either visit, which are no normal tissue.

    Raises
    ------
    DataError
        Shapes differ, the brain is nearly empty, or an image is constant or not finite there.
    """
    shape = first.shape
    same_shape(shape, second_image=second, the_brain_mask=brain, the_lesion_mask=lesions)
    voxel_ml(spacing)
    normal = brain if lesions is None else brain & ~lesions
    if int(normal.sum()) < _FEWEST:
        raise DataError(
            f"only {int(normal.sum())} voxels are brain and no lesion in both images",
            "give a brain mask on the images' grid",
        )
    # What lies outside the brain costs time and says nothing.
    box = box_of(brain) or ()
    first, second, brain, normal = first[box], second[box], brain[box], normal[box]
    one, other = (
        _standardised(image, brain, normal, name) for image, name in ((first, "first"), (second, "second"))
    )
    difference = other - one
    most = _clip(difference[normal])
    drift = _smooth(np.clip(difference, -most, most), normal, _DRIFT_MM, spacing)
    # Half to each, so that the visits exchanged give the same but for the sign.
    one, other = (np.where(brain, image, 0) for image in (one + drift / 2, other - drift / 2))
    difference = np.where(brain, _smooth(other - one, brain, _FINE_MM, spacing), 0)
    score = difference / _noise((one + other) / 2, difference, brain, normal, spacing)
    return IntensityChange(*(_whole(image, shape, box) for image in (score, one, other)))


def _whole(image: FloatArray, shape: tuple[int, ...], box: Box) -> FloatArray:
    result = np.zeros(shape, dtype=np.float32)
    result[box] = image
    return result


def _standardised(image: FloatArray, brain: MaskArray, normal: MaskArray, name: str) -> FloatArray:
    values = image[brain]
    if not np.isfinite(values).all():
        raise DataError(f"the {name} image holds NaN or infinite values in the brain", "replace them")
    middle, spread = _robust(image[normal])
    if spread <= 0:
        raise DataError(f"the {name} image is constant in most of the brain", "check image and brain mask")
    return np.where(brain, (image - middle) / spread, 0).astype(np.float32)


def _robust(values: Array) -> tuple[float, float]:
    """Median, and standard deviation from the median absolute deviation."""
    middle = float(np.median(values))
    return middle, _MAD * float(np.median(np.abs(values - middle)))


def _clip(values: Array) -> float:
    middle, spread = _robust(values)
    return abs(middle) + 2 * spread


def _smooth(image: FloatArray, mask: MaskArray, width: float, spacing: Sequence[float]) -> FloatArray:
    """Gaussian mean of what lies in the mask."""
    sigma = [width / size for size in spacing]
    weight = ndimage.gaussian_filter(mask.astype(np.float32), sigma, truncate=3)
    total = ndimage.gaussian_filter(np.where(mask, image, 0).astype(np.float32), sigma, truncate=3)
    return np.asarray(total / np.maximum(weight, np.float32(1e-3)))


def _noise(
    image: FloatArray, difference: FloatArray, brain: MaskArray, normal: MaskArray, spacing: Sequence[float]
) -> FloatArray:
    """Standard deviation of the difference where nothing changed, given how steep the image is."""
    size = min(spacing)
    parts = [
        ndimage.gaussian_filter1d(image, 0.7, axis, order=1) * (size / step)
        for axis, step in enumerate(spacing)
    ]
    steep = np.sqrt(sum(part**2 for part in parts))
    edges = np.quantile(steep[normal], np.linspace(0, 1, _GRADIENT_BINS + 1))
    inside = np.clip(np.searchsorted(edges, steep[normal]) - 1, 0, _GRADIENT_BINS - 1)
    spread = np.array([_robust(difference[normal][inside == bin_])[1] for bin_ in range(_GRADIENT_BINS)])
    centres = (edges[:-1] + edges[1:]) / 2
    result = np.ones(image.shape, dtype=np.float32)
    result[brain] = np.interp(steep[brain], centres, np.maximum.accumulate(np.maximum(spread, 1e-6)))
    return result


def changed_regions(
    found: IntensityChange, where: MaskArray, spacing: Sequence[float], rules: DetectionRules | None = None
) -> Array:
    """Label image of where the second image is brighter (1) or darker (2), as :class:`DetectionRules` says.

    Parameters
    ----------
    found : IntensityChange
    where : ndarray of bool, shape (x, y, z)
        The brain, or the part of it where lesions are looked for. In folds of cortex near the vertex, slices
        of another thickness or position look like a change; a mask of white matter leaves those out.
    spacing : sequence of 3 float
        Voxel sizes in mm.
    rules : DetectionRules, optional
    """
    rules = rules or DetectionRules()
    same_shape(found.score.shape, the_mask_of_where_to_look=where)
    result = np.zeros(where.shape, dtype=np.uint8)
    box = box_of(where)
    if box is None:
        return result
    inside = np.pad(where[box], 1)
    deep = ndimage.distance_transform_edt(inside, sampling=spacing)[1:-1, 1:-1, 1:-1] > rules.rim_mm
    score, first, second = found.score[box], found.first[box], found.second[box]
    for value, signed, image in ((BRIGHTER, score, second), (DARKER, -score, first)):
        parts, count = connected_parts(deep & (signed > rules.extent) & (image > rules.bright))
        if not count:
            continue
        keep = part_sizes(parts, count) * voxel_ml(spacing) >= rules.smallest_ml
        keep &= np.asarray(ndimage.maximum(signed, parts, np.arange(1, count + 1))) > rules.seed
        result[box][np.r_[False, keep][parts]] = value
    return result


def change_scores(comparison: Comparison, found: IntensityChange) -> dict[int, float]:
    """Mean z score of the voxels that each changed group of lesions gained or lost, by its number.

    What is new or grown is confirmed by a score well above 0, what shrank or vanished by one well below; the
    masks of two visits may differ where the images do not.
    """
    same_shape(comparison.map.shape, the_map_of_scores=found.score)
    moved = {"new": 1, "grown": 2, "shrunk": 3, "vanished": 4}
    scores = {}
    for group in comparison.groups:
        if group.change in moved:
            where = (comparison.numbers == group.number) & (comparison.map == moved[group.change])
            scores[group.number] = float(found.score[where].mean())
    return scores
