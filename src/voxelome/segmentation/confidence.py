"""How sure a segmentation is of each lesion, and of the case as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import FloatArray, MaskArray
from voxelome.segmentation.parts import (
    Parts,
    box_of,
    connected_parts,
    part_sizes,
    same_shape,
    voxel_ml,
)
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
    agreement : ndarray or None
        Mean over the members of an ensemble of the intersection over union with those lesions of the
        member that overlap it: 1 less the lesion structural uncertainty of Molchanova et al., Comput Biol
        Med 184:109336, 2025, for which of several such lesions only the one that overlaps most counts.
    """

    mean: FloatArray
    highest: FloatArray
    certainty: FloatArray
    agreement: FloatArray | None = None


@dataclass(frozen=True)
class CaseConfidence:
    """Confidence in a whole segmentation.

    Attributes
    ----------
    volume : float
        In ml, of what was segmented.
    expected_volume : float
        In ml, the sum of the probabilities: the mean over what may be true, whatever the voxels have to do
        with each other.
    volume_sd : tuple of two float
        In ml, standard deviation of that volume were the voxels independent, and were they to change all
        together, as one threshold moves through the probabilities: the greatest there can be. Neighbours
        are alike, so what is true lies between.
    expected_dice : float or None
        Dice with the truth that the probabilities promise, ``2 sum(p m) / (sum(p) + sum(m))``; None if
        nothing was segmented. It is no better calibrated than the probabilities.
    entropy : float
        Mean binary entropy (bits) of the voxels segmented and those within :data:`MARGIN` mm of one; 0 if
        nothing was segmented.
    agreement : float or None
        Mean Dice of the segmentation with each member of an ensemble: 1 less the patient structural
        uncertainty of Molchanova et al., 2025. Two empty ones agree.
    """

    volume: float
    expected_volume: float
    volume_sd: tuple[float, float]
    expected_dice: float | None
    entropy: float
    agreement: float | None = None


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


def lesion_confidence(
    parts: Parts, probability: FloatArray, members: Sequence[MaskArray] = ()
) -> LesionConfidence:
    """Confidence in each lesion of an image of numbered lesions.

    Parameters
    ----------
    parts : ndarray of int, shape (x, y, z)
        Lesions, numbered from 1; 0 elsewhere.
    probability : ndarray, shape (x, y, z)
        Of lesion, from 0 to 1.
    members : sequence of ndarray of bool, shape (x, y, z), optional
        Segmentation of each member of an ensemble.

    Raises
    ------
    DataError
        Shapes differ, or the probability is none.
    """
    _check(parts.shape, probability, members)
    index = np.arange(1, int(parts.max(initial=0)) + 1)
    if len(index) == 0:
        none = np.zeros(0)
        return LesionConfidence(none, none, none, none if members else None)
    bits = _entropy(probability)
    return LesionConfidence(
        np.asarray(ndimage.mean(probability, parts, index)),
        np.asarray(ndimage.maximum(probability, parts, index)),
        1 - np.asarray(ndimage.mean(bits, parts, index)),
        np.mean([_overlaps(parts, member) for member in members], axis=0) if members else None,
    )


def case_confidence(
    mask: MaskArray,
    probability: FloatArray,
    spacing: Sequence[float],
    members: Sequence[MaskArray] = (),
) -> CaseConfidence:
    """Confidence in a segmentation as a whole.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
        What was segmented.
    probability : ndarray, shape (x, y, z)
        Of it, from 0 to 1.
    spacing : sequence of 3 float
        Voxel sizes in mm.
    members : sequence of ndarray of bool, shape (x, y, z), optional
        Segmentation of each member of an ensemble.

    Raises
    ------
    DataError
        Shapes differ, the probability is none, or a voxel size is not positive.
    """
    _check(mask.shape, probability, members)
    voxel = voxel_ml(spacing)
    found = float(mask.sum())
    expected = float(probability.sum(dtype=np.float64))
    apart, together = _count_sd(probability)
    shared = float(probability[mask].sum(dtype=np.float64))
    return CaseConfidence(
        volume=found * voxel,
        expected_volume=expected * voxel,
        volume_sd=(apart * voxel, together * voxel),
        expected_dice=2 * shared / (expected + found) if found else None,
        entropy=_mean_entropy_around(mask, probability, spacing),
        agreement=float(np.mean([_dice(mask, member) for member in members])) if members else None,
    )


def _entropy(probability: FloatArray) -> FloatArray:
    """Binary entropy in bits of each voxel; the same shape."""
    return entropy(probability.astype(np.float32, copy=False)[np.newaxis], binary=True)


def _check(shape: tuple[int, ...], probability: FloatArray, members: Sequence[MaskArray]) -> None:
    same_shape(shape, the_probability=probability)
    for number, member in enumerate(members, 1):
        same_shape(shape, **{f"member {number}": member})
    low, high = float(probability.min(initial=0)), float(probability.max(initial=0))
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        raise DataError(f"the probability goes from {low:g} to {high:g}", "give one from 0 to 1, without NaN")


def _overlaps(parts: Parts, member: MaskArray) -> FloatArray:
    """Largest intersection over union of each lesion with one lesion of a member; shape (lesions,)."""
    count = int(parts.max())
    others, other_count = connected_parts(member)
    both = (parts > 0) & (others > 0)
    pairs: NDArray[np.int64] = parts[both].astype(np.int64) * (other_count + 1) + others[both]
    codes, shared = np.unique(pairs, return_counts=True)
    lesion, other = codes // (other_count + 1) - 1, codes % (other_count + 1) - 1
    sizes, other_sizes = part_sizes(parts, count), part_sizes(others, other_count)
    best = np.zeros(count)
    np.maximum.at(best, lesion, shared / (sizes[lesion] + other_sizes[other] - shared))
    return best


def _count_sd(probability: FloatArray) -> tuple[float, float]:
    """Standard deviation of the number of true voxels, with voxels independent and with one threshold.

    With one threshold t, uniform from 0 to 1, for all voxels, the count is N(t) of those with p > t; the
    integral of N(t)^2 is a sum over the sorted probabilities, ``sum_k (2 k - 1) p_(k)``, the largest first.
    """
    p = np.sort(probability[probability > 0].astype(np.float64))[::-1]
    mean = p.sum()
    square = float(((2 * np.arange(1, len(p) + 1) - 1) * p).sum())
    return float(np.sqrt(max(0.0, (p * (1 - p)).sum()))), float(np.sqrt(max(0.0, square - mean**2)))


def _mean_entropy_around(mask: MaskArray, probability: FloatArray, spacing: Sequence[float]) -> float:
    box = box_of(mask, margin=int(np.ceil(MARGIN / min(spacing))) + 1)
    if box is None:
        return 0.0
    near = ndimage.distance_transform_edt(~mask[box], sampling=spacing) <= MARGIN
    return float(_entropy(probability[box][near]).mean(dtype=np.float64))


def _dice(one: MaskArray, other: MaskArray) -> float:
    total = int(one.sum()) + int(other.sum())
    return 2 * float((one & other).sum()) / total if total else 1.0
