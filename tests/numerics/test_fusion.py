"""Fusion of label images: results reproduced, SimpleITK as peer, simulated raters of known skill."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK

from tests.shared import DATA
from voxelome.errors import DataError
from voxelome.imageio import Array, load_volume
from voxelome.segmentation.fusion import majority, simple, staple

CASE = DATA / "extra" / "tcga_du_7294"
ALGORITHMS = ("hnfnetv1-20", "isen-20", "sanet0-20", "scan-20", "yixinmpl-20")
REGIONS = {"whole tumour": (1, 2, 4), "core": (1, 4)}
needs_case = pytest.mark.skipif(not CASE.is_dir(), reason=f"there are no segmentations at {CASE}")


def read(name: str) -> Array:
    data: Array = load_volume(CASE / f"seg_{name}.nii.gz", dtype=np.int16).data
    return data


@pytest.fixture(scope="module")
def five() -> list[Array]:
    """What five algorithms made of one glioma."""
    return [read(name) for name in ALGORITHMS]


def dice(one: Array, other: Array) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


def raters(truth: Array, skills: list[tuple[float, float]], seed: int = 4) -> list[Array]:
    """Masks by raters of these sensitivities and specificities, who err in each voxel by themselves."""
    draw = np.random.default_rng(seed).random((len(skills), *truth.shape))
    found = []
    for (sensitivity, specificity), chance in zip(skills, draw, strict=True):
        found.append(np.where(truth > 0, chance < sensitivity, chance > specificity).astype(np.int16))
    return found


@pytest.fixture
def truth() -> Array:
    """A ball."""
    grid = np.indices((40, 40, 40)) - 19.5
    return ((grid**2).sum(axis=0) < 12**2).astype(np.int16)


@needs_case
def test_majority_voting_is_that_of_the_brats_toolkit_to_the_voxel(five: list[Array]) -> None:
    assert np.array_equal(majority(five), read("fusion_mav"))


@needs_case
def test_simple_is_that_of_the_brats_toolkit_to_the_voxel(five: list[Array]) -> None:
    assert np.array_equal(simple(five).labels, read("fusion_simple"))


@needs_case
def test_staple_agrees_with_the_given_fusion_better_than_any_algorithm(five: list[Array]) -> None:
    given = read("fusion_simple")
    box = tuple(slice(int(part.min()), int(part.max()) + 1) for part in np.nonzero(np.any(five, axis=0)))
    likely = np.zeros_like(given)
    likely[box] = staple([item[box] for item in five]).labels
    for members in REGIONS.values():
        inside = np.isin(given, members)
        best = max(dice(np.isin(item, members), inside) for item in five)
        assert dice(np.isin(likely, members), inside) > max(0.989, best)


def test_ties_go_to_the_smaller_label_and_a_label_beats_the_background() -> None:
    columns = np.array([[1, 2, 0, 3], [1, 1, 0, 3], [2, 2, 3, 0], [2, 1, 3, 4]], np.int16)
    found = majority([row.reshape(1, 1, -1) for row in columns])
    assert found.ravel().tolist() == [1, 1, 3, 3]


def test_no_label_with_half_of_the_votes_is_background() -> None:
    found = majority([np.full((2, 2, 2), value, np.int16) for value in (1, 2, 3)])
    assert not found.any()


def test_staple_of_masks_is_that_of_simpleitk(truth: Array) -> None:
    masks = raters(truth, [(0.95, 0.9), (0.8, 0.99), (0.6, 0.7), (0.9, 0.95)])
    found = staple(masks)
    theirs = SimpleITK.STAPLEImageFilter()
    theirs.SetForegroundValue(1)
    theirs.SetMaximumIterations(1000)
    expected = SimpleITK.GetArrayFromImage(
        theirs.Execute([SimpleITK.GetImageFromArray(mask) for mask in masks])
    )
    probability = np.where(found.labels == 1, found.confidence, 1 - found.confidence)
    assert np.abs(probability - expected).max() < 1e-5
    assert found.performance[:, 1, 1] == pytest.approx(theirs.GetSensitivity(), abs=1e-5)
    assert found.performance[:, 0, 0] == pytest.approx(theirs.GetSpecificity(), abs=1e-5)


def test_staple_finds_the_skill_of_raters_and_the_truth_behind_them() -> None:
    # Half of the image, so that the share of the votes is the prior that it stands for.
    truth = np.zeros((40, 40, 40), np.int16)
    truth[:20] = 1
    skills = [(0.97, 0.95), (0.95, 0.97), (0.7, 0.65), (0.6, 0.65), (0.65, 0.6)]
    masks = raters(truth, skills)
    found = staple(masks)
    assert found.performance[:, 1, 1] == pytest.approx([skill[0] for skill in skills], abs=0.01)
    assert found.performance[:, 0, 0] == pytest.approx([skill[1] for skill in skills], abs=0.01)
    # Two good raters among five: the majority does not know them.
    reached, voted = dice(found.labels == 1, truth == 1), dice(majority(masks) == 1, truth == 1)
    assert reached > 0.97
    assert reached > voted + 0.03


def test_staple_of_several_labels_finds_who_mistakes_which_for_which(truth: Array) -> None:
    labels = truth * np.where(np.arange(40) < 20, 3, 7).astype(np.int16)
    good = [labels, labels.copy(), labels.copy()]
    confused = np.where(labels == 7, 3, labels)
    for number, item in enumerate(good):
        item[number] = 0
    found = staple([*good, confused])
    assert found.values == (0, 3, 7)
    assert np.array_equal(found.labels, labels)
    assert found.performance[3, 1, 2] > 0.99
    assert np.allclose(found.performance.sum(axis=1), 1)


def test_simple_drops_a_rater_who_drew_something_else_and_is_nearer_to_the_truth(truth: Array) -> None:
    elsewhere = np.roll(truth, 12, axis=0)
    good = [np.roll(truth, shift, axis=1) for shift in (-1, 0, 1)]
    found = simple([*good, elsewhere])
    assert found.weights[1][3] == 0
    assert (found.weights[1][:3] > 3).all()
    assert np.array_equal(found.labels, majority(good))
    voted = majority([*good, elsewhere])
    assert dice(found.labels == 1, truth == 1) > dice(voted == 1, truth == 1)


@pytest.mark.parametrize(
    "fuse", [majority, lambda items: staple(items).labels, lambda items: simple(items).labels]
)
def test_one_or_equal_segmentations_come_back_and_nothing_stays_nothing(
    fuse: Callable[[list[Array]], Array], truth: Array
) -> None:
    assert np.array_equal(fuse([truth]), truth)
    assert np.array_equal(fuse([truth, truth.astype(np.float32)]), truth)
    assert not fuse([np.zeros_like(truth)] * 3).any()


@pytest.mark.parametrize("fuse", [majority, staple, simple])
@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "no segmentations"),
        ([np.zeros((2, 2, 2)), np.zeros((2, 2, 3))], "shapes"),
        ([np.full((2, 2, 2), 0.5)], "no labels"),
        ([np.full((2, 2, 2), np.nan)], "no labels"),
        ([np.full((2, 2, 2), -1)], "no labels"),
    ],
)
def test_what_is_no_set_of_labels_on_one_grid_is_refused(
    fuse: Callable[[list[Array]], object], items: list[Array], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        fuse(items)
