"""Confidence is what its formula says, and orders lesions and cases of known truth."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from voxelome.errors import DataError
from voxelome.segmentation.confidence import (
    case_confidence,
    lesion_confidence,
    lesion_probability,
)
from voxelome.segmentation.parts import connected_parts

MM = (1.0, 1.0, 1.0)


def ball(shape, centre, radius):
    return np.linalg.norm(np.indices(shape) - np.reshape(centre, (3, 1, 1, 1)), axis=0) <= radius


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def blurred(width, radius=7.0):
    """Probability that falls off from 1 inside a ball to 0 outside over `width` mm."""
    distance = np.linalg.norm(np.indices((24, 24, 24)) - 12.0, axis=0) - radius
    return 1 / (1 + np.exp(distance / width))


def test_the_expected_dice_is_the_one_reached_where_probabilities_are_true():
    rng = np.random.default_rng(0)
    for width in (0.2, 0.8, 2.0):
        probability = blurred(width)
        mask = probability > 0.5
        reached = [dice(mask, rng.random(mask.shape) < probability) for _ in range(40)]
        assert case_confidence(mask, probability, MM).expected_dice == pytest.approx(
            np.mean(reached), abs=0.005
        )


def test_cases_are_ordered_by_the_dice_that_they_reach():
    """Truths whose whole border moves, not each voxel by itself."""
    rng = np.random.default_rng(1)
    widths = np.linspace(0.2, 3, 25)
    results, reached = [], []
    for width in widths:
        probability = blurred(width)
        mask = probability > 0.5
        results.append(case_confidence(mask, probability, MM))
        reached.append(np.mean([dice(mask, probability > rng.uniform(0.01, 0.99)) for _ in range(60)]))
    assert spearmanr([result.expected_dice for result in results], reached).statistic > 0.95
    assert spearmanr([result.entropy for result in results], reached).statistic < -0.95


def test_the_volume_is_expected_whether_voxels_are_independent_or_change_together():
    rng = np.random.default_rng(2)
    probability = blurred(1.0)
    result = case_confidence(probability > 0.5, probability, (0.5, 1, 2))
    alone = [(rng.random(probability.shape) < probability).sum() for _ in range(400)]
    together = [(probability > rng.random()).sum() for _ in range(4000)]
    assert result.expected_volume * 1000 == pytest.approx(np.mean(alone), rel=0.005)
    assert result.expected_volume * 1000 == pytest.approx(np.mean(together), rel=0.03)


def test_lesions_are_ordered_by_whether_they_are_true():
    """Lesions are real the more often, the higher their voxels' probability, which noise blurs."""
    rng = np.random.default_rng(3)
    shape = (90, 90, 12)
    probability, real = np.zeros(shape, dtype=np.float32), []
    seeds = np.zeros(shape, dtype=bool)
    seeds[4::9, 4::9, 6] = True
    parts, count = connected_parts(ndimage.binary_dilation(seeds, iterations=2))
    for number in range(1, count + 1):
        level = rng.uniform(0.5, 1)
        inside = parts == number
        probability[inside] = np.clip(level + rng.normal(0, 0.05, inside.sum()), 0, 1)
        real.append(rng.random() < (level - 0.5) * 2)
    found = lesion_confidence(parts, probability)
    best = roc_auc_score(real, ndimage.mean(probability, parts, np.arange(1, count + 1)))
    assert best > 0.75
    for score in (found.mean, found.certainty):
        assert roc_auc_score(real, score) == pytest.approx(best, abs=0.02)
    share = [np.mean(np.array(real)[(found.mean >= low) & (found.mean < low + 0.25)]) for low in (0.5, 0.75)]
    assert share[0] < 0.4 < 0.6 < share[1]


def test_certainty_and_means_are_those_of_the_lesions_voxels():
    parts = np.zeros((3, 3, 3), dtype=np.int32)
    parts[0, 0, :2], parts[2, 2, 2] = 1, 2
    probability = np.full((3, 3, 3), 0.2)
    probability[0, 0, :2], probability[2, 2, 2] = (0.5, 1.0), 0.5
    found = lesion_confidence(parts, probability)
    assert found.mean.tolist() == [0.75, 0.5]
    assert found.highest.tolist() == [1.0, 0.5]
    assert found.certainty == pytest.approx([0.5, 0.0])


def test_a_certain_segmentation_has_dice_one_and_no_entropy():
    mask = ball((12, 12, 12), (6, 6, 6), 3)
    result = case_confidence(mask, mask.astype(np.float32), MM)
    assert (result.expected_dice, result.entropy) == (1.0, 0.0)


def test_nothing_segmented_has_no_expected_dice_but_an_expected_volume():
    nothing, doubt = np.zeros((5, 5, 5), dtype=bool), np.full((5, 5, 5), 0.4)
    result = case_confidence(nothing, doubt, MM)
    assert result.expected_dice is None
    assert result.expected_volume == pytest.approx(0.05)
    assert result.entropy == 0.0
    assert lesion_confidence(nothing.astype(np.int32), doubt).mean.shape == (0,)


def test_bad_input_is_refused():
    parts = np.zeros((4, 4, 4), dtype=np.int32)
    for probability in (np.full((4, 4, 4), 2.0), np.full((4, 4, 4), np.nan), np.full((4, 4, 4), -1.0)):
        with pytest.raises(DataError, match="from 0 to 1"):
            lesion_confidence(parts, probability)
    with pytest.raises(DataError, match="the probability has the shape"):
        case_confidence(parts > 0, np.zeros((4, 4, 5)), MM)


def test_probabilities_of_labels_add_up_where_they_exclude_each_other_and_not_where_they_overlap():
    labels = {1: np.array([0.5, 0.7]), 2: np.array([0.25, 0.6])}
    assert lesion_probability(labels, "softmax") == pytest.approx([0.75, 1.0])
    assert lesion_probability(labels, "sigmoid") == pytest.approx([0.5, 0.7])
    with pytest.raises(DataError, match="no probability"):
        lesion_probability({}, "softmax")
