"""One label image from several of the same image, by several networks or raters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from voxelome.errors import DataError
from voxelome.imageio import Array, FloatArray, MaskArray

# Of STAPLE: sensitivity and specificity that the iteration starts from, as Warfield et al. propose; the
# largest change of a rater's performance at which it ends; and when it is given up.
START = 0.99999
TOLERANCE = 1e-7
ITERATIONS = 1000
TINY = np.finfo(np.float64).tiny

# Of SIMPLE: share of the best rater's weight below which a rater is dropped, by how much it grows with every
# round, and where it stays: at a Dice of 0.41 where the best has 1. The first two are those of the BraTS
# Toolkit, whose share does not grow in fact, so that it drops nobody. Then the change in voxels at which it
# ends, and the most rounds, also the Toolkit's.
SHARE, GROWTH, HIGHEST = 0.05, 0.07, 0.5
SETTLED = 25
ROUNDS = 25


@dataclass(frozen=True)
class Staple:
    """Consensus of STAPLE.

    Attributes
    ----------
    labels : ndarray of int, shape (x, y, z)
        Likeliest label of each voxel.
    confidence : ndarray of float32, shape (x, y, z)
        Its probability.
    values : tuple of int
        Labels that occur, with 0.
    performance : ndarray, shape (raters, values, values)
        Probability that a rater gives the label of the row where that of the column is true.
    iterations : int
        Until it had settled.
    """

    labels: Array
    confidence: FloatArray
    values: tuple[int, ...]
    performance: FloatArray
    iterations: int


@dataclass(frozen=True)
class Simple:
    """Consensus of SIMPLE.

    Attributes
    ----------
    labels : ndarray of int, shape (x, y, z)
    weights : dict of int to ndarray, shape (raters,)
        Weight of each rater in the last vote on a label; 0 where it was dropped.
    """

    labels: Array
    weights: dict[int, FloatArray]


def majority(segmentations: Sequence[Array]) -> Array:
    """Label that at least half of the segmentations give; background where there is none.

    Where two labels have half of the votes each, the smaller one wins. So does any label against the
    background. This is the rule of the BraTS Toolkit (Kofler et al., Front Neurosci 14 (2020) 125).

    Parameters
    ----------
    segmentations : sequence of ndarray of int, shape (x, y, z)

    Raises
    ------
    DataError
        There are none, they are not on one grid, or hold no labels.

    Examples
    --------
    >>> majority([np.array([[[1, 1, 2]]]), np.array([[[1, 2, 2]]]), np.array([[[1, 3, 0]]])])
    array([[[1, 0, 2]]], dtype=int16)
    """
    ballot = _Ballot.of(segmentations)
    fused = np.zeros(ballot.counts.size, np.int16)
    for value in reversed(ballot.values[1:]):
        fused[_won(ballot.votes == value, np.ones(len(ballot.votes)))] = value
    return ballot.image(fused)


def staple(segmentations: Sequence[Array]) -> Staple:
    """Likeliest labels when each rater errs in a way of its own, both estimated together.

    Expectation maximisation with a confusion matrix a rater; the prior of a label is its share of all votes.
    Small regions in a large image of background lose: a rater's specificity is then nearly 1 for everybody,
    and every voxel that some give counts. Crop the images to what is in question where that matters.

    Parameters
    ----------
    segmentations : sequence of ndarray of int, shape (x, y, z)

    Raises
    ------
    DataError
        There are none, they are not on one grid, hold no labels, or the estimate does not settle.

    References
    ----------
    Warfield SK, Zou KH, Wells WM. Simultaneous truth and performance level estimation (STAPLE): an algorithm
    for the validation of image segmentation. IEEE Trans Med Imaging 23 (2004) 903-921.
    """
    ballot = _Ballot.of(segmentations)
    kinds, raters = len(ballot.values), len(ballot.votes)
    # Whether a rater gives a label in a pattern, shape (raters, values, patterns).
    given = (ballot.votes[:, None, :] == np.array(ballot.values)[None, :, None]).astype(np.float64)
    performance = np.full((raters, kinds, kinds), (1 - START) / max(1, kinds - 1))
    performance[:, range(kinds), range(kinds)] = START
    prior = (given @ ballot.counts).sum(axis=0) / (raters * ballot.counts.sum())
    rounds, change = 0, np.inf
    while change >= TOLERANCE:
        if rounds == ITERATIONS:
            problem = f"STAPLE has not settled after {ITERATIONS} iterations"
            raise DataError(problem, "use majority voting, or leave out the segmentation unlike the others")
        weighted = _posterior(given, performance, prior) * ballot.counts[:, None]
        updated = given @ weighted / np.maximum(weighted.sum(axis=0), TINY)
        change = float(np.abs(updated - performance).max())
        performance, rounds = updated, rounds + 1
    truth = _posterior(given, performance, prior)
    labels = np.array(ballot.values, np.int16)[truth.argmax(axis=1)]
    confidence = truth.max(axis=1).astype(np.float32)
    return Staple(ballot.image(labels), ballot.image(confidence), ballot.values, performance, rounds)


def _posterior(given: FloatArray, performance: FloatArray, prior: FloatArray) -> FloatArray:
    """Probability of each label in each pattern, shape (patterns, values)."""
    logs = np.log(np.maximum(prior, TINY)) + np.einsum(
        "rgp,rgt->pt", given, np.log(np.maximum(performance, TINY))
    )
    return np.asarray(special.softmax(logs, axis=1))


def simple(segmentations: Sequence[Array]) -> Simple:
    """Weighted votes, label by label, in which raters far from the consensus are dropped.

    From a majority vote on, each rater weighs the square of 1 + its Dice with the consensus; who weighs
    less than a share of the best is dropped; the others vote again; the share grows with every round. Weights
    and share are those of the BraTS Toolkit (Kofler et al., Front Neurosci 14 (2020) 125).

    Parameters
    ----------
    segmentations : sequence of ndarray of int, shape (x, y, z)

    Raises
    ------
    DataError
        There are none, they are not on one grid, or hold no labels.

    References
    ----------
    Langerak TR, van der Heide UA, Kotte ANTJ, et al. Label fusion in atlas-based segmentation using a
    selective and iterative method for performance level estimation (SIMPLE). IEEE Trans Med Imaging 29 (2010)
    2000-2008.
    """
    ballot = _Ballot.of(segmentations)
    fused = np.zeros(ballot.counts.size, np.int16)
    weights = {}
    for value in ballot.values[1:]:
        consensus, weights[value] = _simple_region(ballot.votes == value, ballot.counts)
        fused[consensus] = value
    return Simple(ballot.image(fused), weights)


def _simple_region(masks: MaskArray, counts: FloatArray) -> tuple[MaskArray, FloatArray]:
    """Consensus on one region in each pattern, and the weight of each rater."""
    weights = np.ones(len(masks))
    consensus = _won(masks, weights)
    sizes, share = masks @ counts, SHARE
    for _ in range(ROUNDS):
        before = float(consensus @ counts)
        if before == 0:
            break
        dice = 2 * ((masks & consensus) @ counts) / (sizes + before)
        quality = np.where(weights > 0, (1 + dice) ** 2, 0.0)
        weights = np.where(quality > share * quality.max(), quality, 0.0)
        consensus = _won(masks, weights)
        if share == HIGHEST and abs(float(consensus @ counts) - before) < SETTLED:
            break
        share = min(share + GROWTH, HIGHEST)
    return consensus, weights


def _won(masks: MaskArray, weights: FloatArray) -> MaskArray:
    """Where at least half of the weight is."""
    return np.asarray(weights @ masks >= weights.sum() / 2)


@dataclass(frozen=True)
class _Ballot:
    """Ways in which the raters vote on a voxel: a few patterns that stand for millions of voxels.

    Attributes
    ----------
    votes : ndarray of int, shape (raters, patterns)
        Labels. The first pattern is background by all.
    counts : ndarray, shape (patterns,)
        Voxels of each pattern.
    values : tuple of int
        Labels that occur, with 0.
    inside : ndarray of bool, shape (x, y, z)
        Where somebody gives a label.
    place : ndarray of int, shape (voxels inside,)
        Pattern of each.
    """

    votes: Array
    counts: FloatArray
    values: tuple[int, ...]
    inside: MaskArray
    place: Array

    @classmethod
    def of(cls, segmentations: Sequence[Array]) -> _Ballot:
        """Ballot of checked segmentations."""
        checked = _checked(segmentations)
        inside = np.logical_or.reduce([item > 0 for item in checked])
        marked = [item[inside].astype(np.int64) for item in checked]
        place = np.zeros(int(inside.sum()), np.int64)
        for item in marked:
            place = np.unique(place * 2**15 + item, return_inverse=True)[1]
        _, first, counts = np.unique(place, return_index=True, return_counts=True)
        votes = np.stack([np.concatenate([[0], item[first]]) for item in marked])
        outside = inside.size - place.size
        values = tuple(int(value) for value in np.unique(votes))
        return cls(votes, np.concatenate([[outside], counts]).astype(np.float64), values, inside, place + 1)

    def image(self, result: Array) -> Array:
        """What was found for each pattern, voxel by voxel."""
        full = np.full(self.inside.shape, result[0])
        full[self.inside] = result[self.place]
        return full


def _checked(segmentations: Sequence[Array]) -> list[Array]:
    """Segmentations, all of them labels on one grid."""
    if not segmentations:
        raise DataError("there are no segmentations to fuse", "give one or more label images")
    for item in segmentations:
        if item.shape != segmentations[0].shape:
            problem = f"segmentations of shapes {segmentations[0].shape} and {item.shape} cannot be fused"
            raise DataError(problem, "resample them to one grid")
        whole = np.issubdtype(item.dtype, np.integer) or np.array_equal(np.rint(item), item)
        if not whole or (item.size and (item.min() < 0 or item.max() >= 2**15)):
            raise DataError("a segmentation holds values that are no labels", "give whole numbers from 0 on")
    return list(segmentations)
