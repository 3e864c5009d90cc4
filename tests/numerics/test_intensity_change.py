"""Change is found where two images differ by more than noise, gain, drift and part of a voxel explain."""

import numpy as np
import pytest
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.segmentation.change import compare_visits
from voxelome.segmentation.intensity_change import (
    DetectionRules,
    change_scores,
    changed_regions,
    score_change,
)
from voxelome.segmentation.parts import connected_parts

SPACING = (1.0, 1.0, 3.0)
SHAPE = (80, 90, 24)
POSITION = np.stack(
    np.meshgrid(*[np.arange(count) * size for count, size in zip(SHAPE, SPACING, strict=True)], indexing="ij")
)


def ball(centre, radius):
    return np.linalg.norm(POSITION - np.reshape(centre, (3, 1, 1, 1)), axis=0) <= radius


BRAIN = ball((40, 45, 36), 33)


def anatomy():
    """White and grey matter in folds, and lesions of both visits by name."""
    waves = np.sin(POSITION[0] / 4) + np.sin(POSITION[1] / 5 + 1) + np.sin(POSITION[2] / 6)
    folds = 0.55 + 0.15 / (1 + np.exp(-6 * waves))
    lesions = {
        "stays": ball((30, 45, 36), 4),
        "new": ball((50, 45, 36), 4),
        "gone": ball((40, 28, 30), 4),
        "faint": ball((40, 62, 42), 3.5),
    }
    return folds, lesions


def visits(seed=0, gain=(3.0, 500.0), drift=0.0, shift=0.0, changes=True):
    folds, lesions = anatomy()
    rng = np.random.default_rng(seed)
    bright = (
        {"stays": (1, 1), "new": (0, 1), "gone": (1, 0), "faint": (0.0, 0.6)}
        if changes
        else {"stays": (1, 1)}
    )
    images = []
    for visit in (0, 1):
        image = folds.copy()
        for name, share in bright.items():
            image += lesions[name] * share[visit] * (1.0 - image)
        image = ndimage.gaussian_filter(image, (0.6, 0.6, 0.3))
        if visit:
            image = ndimage.shift(image, (shift, -shift, 0), order=1, mode="nearest")
            image *= 1 + drift * (POSITION[0] - 40) / 40
        image = np.where(BRAIN, image, 0) + rng.normal(0, 0.015, SHAPE)
        images.append((gain[visit] * image).astype(np.float32))
    return images, lesions


def found_in(images, **options):
    result = score_change(*images, BRAIN, SPACING, **options)
    return result, changed_regions(result, BRAIN, SPACING)


def test_new_and_vanished_lesions_are_found_and_nothing_else():
    images, lesions = visits()
    _, changes = found_in(images)
    for value, names in ((1, ("new", "faint")), (2, ("gone",))):
        truth = np.any([lesions[name] for name in names], axis=0)
        found = changes == value
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.75
        assert connected_parts(found)[1] == len(names)


@pytest.mark.parametrize("seed", range(4))
def test_the_same_brain_with_another_gain_drift_and_a_third_of_a_voxel_off_has_no_change(seed):
    images, _ = visits(seed, drift=0.15, shift=0.33, changes=False)
    result, changes = found_in(images)
    assert not changes.any()
    assert np.std(result.score[BRAIN]) == pytest.approx(1.15, abs=0.2)


def test_gain_offset_and_drift_do_not_hide_what_changed():
    plain, lesions = visits()
    uneven, _ = visits(drift=0.15)
    uneven[0] = uneven[0] + 20
    for images in (plain, uneven):
        _, changes = found_in(images)
        assert changes[lesions["new"]].mean() > 0.6
        assert not (changes[lesions["stays"]] > 0).any()


def test_a_bright_lesion_that_stays_does_not_seem_brighter_in_noise():
    """A regression of one image on the other, whose slope noise makes flatter, is off by 8 deviations."""
    scores, regressed = [], []
    for seed in range(4):
        images, lesions = visits(seed, changes=False)
        rng = np.random.default_rng(seed)
        one, other = (
            image + scale * rng.normal(0, 0.05, SHAPE) for image, scale in zip(images, (3, 500), strict=True)
        )
        inside = ndimage.binary_erosion(lesions["stays"])
        result, _ = found_in((one, other))
        scores.append(result.score[inside].mean())
        line = np.polyfit(one[BRAIN], other[BRAIN], 1)
        left = other - np.polyval(line, one)
        left = ndimage.gaussian_filter(left, (1, 1, 1 / 3))
        regressed.append(left[inside].mean() / left[ndimage.binary_erosion(BRAIN, iterations=4)].std())
    assert abs(np.mean(scores)) < 1
    assert np.mean(regressed) > 3


def test_the_visits_exchanged_give_the_opposite_change():
    images, _ = visits()
    there, changes = found_in(images)
    back, reverse = found_in(images[::-1])
    assert np.abs(there.score + back.score).max() < 1e-3
    assert np.array_equal(changes == 1, reverse == 2)


def test_lesions_left_out_of_normal_tissue_change_the_scores_little():
    images, lesions = visits()
    mask = np.any(list(lesions.values()), axis=0)
    with_mask, _ = found_in(images, lesions=mask)
    without, _ = found_in(images)
    assert with_mask.score[lesions["new"]].mean() == pytest.approx(
        without.score[lesions["new"]].mean(), rel=0.1
    )


def test_a_change_of_masks_that_the_images_do_not_show_has_no_score():
    images, lesions = visits()
    first = lesions["stays"] | lesions["gone"]
    drawn_wider = ball((30, 45, 36), 8)
    second = drawn_wider | lesions["new"] | ball((25, 60, 36), 3)
    compared = compare_visits(first, second, np.diag([*SPACING, 1.0]))
    result, _ = found_in(images)
    scores = {}
    for number, score in change_scores(compared, result).items():
        scores.setdefault(compared.groups[number - 1].change, []).append(score)
    assert max(scores["new"]) > 6
    assert abs(min(scores["new"])) < 1.5
    assert scores["vanished"][0] < -6
    assert abs(scores["grown"][0]) < 1.5


def test_the_rim_of_the_brain_and_small_spots_count_as_the_rules_say():
    images, _ = visits(changes=False)
    edge = ball((40, 45 + 32, 36), 3)
    images[1] = images[1] + 200 * (edge | ball((40, 45, 36), 0.5)).astype(np.float32)
    result = score_change(*images, BRAIN, SPACING)
    strict = changed_regions(result, BRAIN, SPACING, DetectionRules(smallest_ml=0.05, rim_mm=6))
    loose = changed_regions(result, BRAIN, SPACING, DetectionRules(seed=4, smallest_ml=0.0, rim_mm=0))
    assert not strict.any()
    assert (loose[edge & BRAIN] == 1).any()
    assert loose[40, 45, 12] == 1


def test_bad_input_is_refused():
    images, _ = visits()
    one, other = images
    with pytest.raises(DataError, match="second image has the shape"):
        score_change(one, other[1:], BRAIN, SPACING)
    with pytest.raises(DataError, match="brain mask has the shape"):
        score_change(one, other, BRAIN[1:], SPACING)
    with pytest.raises(DataError, match="only 0 voxels"):
        score_change(one, other, np.zeros_like(BRAIN), SPACING)
    with pytest.raises(DataError, match="second image is constant"):
        score_change(one, np.ones_like(other), BRAIN, SPACING)
    with pytest.raises(DataError, match="first image holds NaN"):
        score_change(np.full_like(one, np.nan), other, BRAIN, SPACING)
    with pytest.raises(DataError, match="voxel sizes"):
        score_change(one, other, BRAIN, (1, 1, -3))
    result = score_change(one, other, BRAIN, SPACING)
    assert not changed_regions(result, np.zeros_like(BRAIN), SPACING).any()
