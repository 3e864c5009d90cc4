"""How sure a segmentation is of each lesion, and of the case as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import FloatArray, MaskArray
from voxelome.segmentation.parts import Parts, box_of, same_shape, voxel_ml
from voxelome.segmentation.spec import Activation
from voxelome.segmentation.uncertainty import entropy

# Around what was segmented, this far (mm): a border that is doubtful lies on both of its sides.
MARGIN = 3.0
_ROUNDING = 1e-3


@dataclass(frozen=True)
class LesionConfidence:
    """Confidence in each lesion, arrays of shape (lesions,).

    Attributes
    ----------
    mean, highest : ndarray
        Mean and largest probability in the lesion's voxels.
    certainty : ndarray
        1 less the mean binary entropy (bits) of the lesion's voxels: 1 where all are certain. Averages over
        a lesion tell false lesions from true ones (Nair et al., Med Image Anal 59:101557, 2020).
    """

    mean: FloatArray
    highest: FloatArray
    certainty: FloatArray


@dataclass(frozen=True)
class CaseConfidence:
    """Confidence in a whole segmentation.

    Attributes
    ----------
    expected_volume : float
        In ml, the sum of the probabilities: the mean over what may be true, whatever the voxels have to do
        with each other.
    expected_dice : float or None
        Dice with the truth that the probabilities promise, ``2 sum(p m) / (sum(p) + sum(m))``; None if
        nothing was segmented. It is no better calibrated than the probabilities.
    entropy : float
        Mean binary entropy (bits) of the voxels segmented and those within :data:`MARGIN` mm of one; 0 if
        nothing was segmented.
    """

    expected_volume: float
    expected_dice: float | None
    entropy: float


def lesion_probability(probabilities: Mapping[int, FloatArray], activation: Activation) -> FloatArray:
    """Probability of any lesion, from that of each label.

    Labels of ``sigmoid`` overlap, and the largest probability counts; else they exclude each other, and the
    probabilities add up.

    Raises
    ------
    DataError
        There is no label.
    """
    if not probabilities:
        raise DataError("there is no probability of any label", "name at least one label of lesions")
    stack = list(probabilities.values())
    total: FloatArray = stack[0].astype(np.float32)
    for other in stack[1:]:
        total = np.maximum(total, other) if activation == "sigmoid" else total + other
    return np.minimum(total, np.float32(1))


def lesion_confidence(parts: Parts, probability: FloatArray) -> LesionConfidence:
    """Confidence in each lesion of an image of numbered lesions.

    Parameters
    ----------
    parts : ndarray of int, shape (x, y, z)
        Lesions, numbered from 1; 0 elsewhere.
    probability : ndarray, shape (x, y, z)
        Of lesion, from 0 to 1.

    Raises
    ------
    DataError
        Shapes differ, or the probability is none.
    """
    _check(parts.shape, probability)
    index = np.arange(1, int(parts.max(initial=0)) + 1)
    if len(index) == 0:
        none = np.zeros(0)
        return LesionConfidence(none, none, none)
    bits = _entropy(probability)
    return LesionConfidence(
        np.asarray(ndimage.mean(probability, parts, index)),
        np.asarray(ndimage.maximum(probability, parts, index)),
        1 - np.asarray(ndimage.mean(bits, parts, index)),
    )


def case_confidence(mask: MaskArray, probability: FloatArray, spacing: Sequence[float]) -> CaseConfidence:
    """Confidence in a segmentation as a whole.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
        What was segmented.
    probability : ndarray, shape (x, y, z)
        Of it, from 0 to 1.
    spacing : sequence of 3 float
        Voxel sizes in mm.

    Raises
    ------
    DataError
        Shapes differ, the probability is none, or a voxel size is not positive.
    """
    _check(mask.shape, probability)
    voxel = voxel_ml(spacing)
    found = float(mask.sum())
    expected = float(probability.sum(dtype=np.float64))
    shared = float(probability[mask].sum(dtype=np.float64))
    return CaseConfidence(
        expected_volume=expected * voxel,
        expected_dice=2 * shared / (expected + found) if found else None,
        entropy=_mean_entropy_around(mask, probability, spacing),
    )


def _entropy(probability: FloatArray) -> FloatArray:
    """Binary entropy in bits of each voxel; the same shape."""
    return entropy(probability.astype(np.float32, copy=False)[np.newaxis], binary=True)


def _check(shape: tuple[int, ...], probability: FloatArray) -> None:
    same_shape(shape, the_probability=probability)
    low, high = float(probability.min(initial=0)), float(probability.max(initial=0))
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        raise DataError(f"the probability goes from {low:g} to {high:g}", "give one from 0 to 1, without NaN")


def _mean_entropy_around(mask: MaskArray, probability: FloatArray, spacing: Sequence[float]) -> float:
    box = box_of(mask, margin=int(np.ceil(MARGIN / min(spacing))) + 1)
    if box is None:
        return 0.0
    near = ndimage.distance_transform_edt(~mask[box], sampling=spacing) <= MARGIN
    return float(_entropy(probability[box][near]).mean(dtype=np.float64))
