"""Regions made out of other regions."""

import numpy as np
import pytest

from voxelome.errors import DataError
from voxelome.radiomics.algebra import make_regions, mirrored, parse_recipes

AFFINE = np.array([[1.0, 0, 0, -20], [0, 1.5, 0, -24], [0, 0, 2.0, -20], [0, 0, 0, 1]])
SHAPE = (41, 33, 21)
X, Y, Z = (AFFINE[axis, axis] * np.indices(SHAPE)[axis] + AFFINE[axis, 3] for axis in range(3))


def ball(centre, radius):
    return np.sqrt((X - centre[0]) ** 2 + (Y - centre[1]) ** 2 + (Z - centre[2]) ** 2) <= radius


@pytest.fixture
def masks():
    core = ball((8, 0, 0), 4)
    return {
        "brain": ball((0, 0, 0), 17),
        "tumor-core": core,
        "tumor-edema": ball((8, 0, 0), 7) & ~core,
        "spots": ball((-8, 6, 0), 3) | ball((-8, -8, 0), 4) | ball((9, 0, 13), 1),
    }


def made(masks, *items, plane=None):
    return make_regions(parse_recipes(items), masks, AFFINE, plane)


def test_a_union_by_pattern_is_the_whole_tumor(masks):
    whole = made(masks, {"name": "whole", "union": ["tumor-*"]}).masks["whole"]
    assert np.array_equal(whole, ball((8, 0, 0), 7))


def test_a_shell_reaches_as_far_as_it_says_and_stays_in_the_brain(masks):
    items = ({"name": "whole", "union": ["tumor-*"]}, {"name": "ring", "shell": "whole", "mm": 5})
    found = made(masks, *items).masks
    points = np.argwhere(found["whole"]) * np.diag(AFFINE)[:3]
    distances = [
        np.sqrt(((points - where * np.diag(AFFINE)[:3]) ** 2).sum(axis=1)).min()
        for where in np.ndindex(SHAPE)
    ]
    near = (np.array(distances) <= 5).reshape(SHAPE)
    assert np.array_equal(found["ring"], near & ~found["whole"] & masks["brain"])
    assert (near & ~masks["brain"]).any()


def test_growing_and_shrinking_keep_to_the_brain_and_to_the_region(masks):
    items = (
        {"name": "more", "grow": "tumor-core", "mm": 3},
        {"name": "less", "shrink": "tumor-core", "mm": 2},
    )
    found = made(masks, *items).masks
    assert np.array_equal(found["more"] & masks["tumor-core"], masks["tumor-core"])
    assert np.array_equal(found["less"] | masks["tumor-core"], masks["tumor-core"])
    assert 0 < found["less"].sum() < masks["tumor-core"].sum() < found["more"].sum()
    radius = ball((8, 0, 0), 1.5)
    assert found["less"][radius].all()


def test_what_lies_outside_is_taken_away_and_what_is_common_is_kept(masks):
    items = (
        {"name": "normal", "difference": ["brain", "tumor-*", "spots"]},
        {"name": "both", "intersection": ["brain", "spots"]},
    )
    found = made(masks, *items).masks
    tumor = masks["tumor-core"] | masks["tumor-edema"]
    assert np.array_equal(found["normal"], masks["brain"] & ~tumor & ~masks["spots"])
    assert np.array_equal(found["both"], masks["brain"] & masks["spots"])


def test_lesions_are_told_apart_from_the_largest_to_the_smallest(masks):
    items = ({"name": "big", "largest": "spots"}, {"name": "spot", "each": "spots", "minimum_ml": 0.02})
    found = made(masks, *items).masks
    assert list(found) == ["big", "spot-1", "spot-2"]
    assert np.array_equal(found["big"], ball((-8, -8, 0), 4))
    assert np.array_equal(found["spot-1"], found["big"])
    assert np.array_equal(found["spot-2"], ball((-8, 6, 0), 3))


def test_sides_are_those_of_the_patient_also_where_the_head_is_turned(masks):
    items = ({"name": "r", "right": "brain"}, {"name": "l", "left": "brain"})
    found = made(masks, *items, plane=np.eye(4)).masks
    assert np.array_equal(found["r"], masks["brain"] & (X >= 0))
    assert np.array_equal(found["l"], masks["brain"] & (X < 0))
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    turned = made(masks, *items, plane=turn).masks
    assert np.array_equal(turned["r"], masks["brain"] & (np.cos(angle) * X + np.sin(angle) * Y >= 0))


def test_the_mirror_image_lies_where_the_other_hemisphere_has_the_same_place(masks):
    found = made(masks, {"name": "opposite", "mirror": "tumor-core"}, plane=np.eye(4)).masks
    assert np.array_equal(found["opposite"], ball((-8, 0, 0), 4))
    shifted = np.eye(4)
    shifted[0, 3] = -2
    other = made(masks, {"name": "opposite", "mirror": "tumor-core"}, plane=shifted).masks
    assert np.array_equal(other["opposite"], ball((-4, 0, 0), 4) & ~masks["tumor-core"])


def test_a_mirror_image_of_a_mirror_image_is_the_region_itself():
    angle = np.deg2rad(8)
    tilt = np.eye(4)
    tilt[:2, :2] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    mask = ball((7, 3, -2), 6)
    back = mirrored(mirrored(mask, AFFINE, tilt), AFFINE, tilt)
    assert 2 * (back & mask).sum() / (back.sum() + mask.sum()) > 0.93


def test_what_a_visit_lacks_is_said_and_the_rest_is_made(masks):
    items = (
        {"name": "whole", "union": ["tumor-core", "tumor-necrosis"]},
        {"name": "ring", "shell": "cyst", "mm": 3},
        {"name": "side", "left": "brain"},
        {"name": "tiny", "union": ["tumor-core"], "minimum_ml": 50},
        {"name": "nothing", "intersection": ["tumor-core", "tumor-edema"]},
    )
    found = made(masks, *items)
    assert list(found.masks) == ["whole"]
    assert dict(found.skipped) == {
        "tumor-necrosis in whole": "there is no such region",
        "ring": "there is no region cyst",
        "side": "the plane between the hemispheres is not known without a template space",
        "tiny": f"{masks['tumor-core'].sum() * 0.003:.3g} ml is less than 50 ml",
        "nothing": "it has no voxel",
    }


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"union": ["a"]}, "has no name"),
        ({"name": "x", "unoin": ["a"]}, "unknown setting 'unoin'; did you mean union"),
        ({"name": "x"}, "has the operations: none"),
        ({"name": "x", "union": ["a"], "left": "b"}, "has the operations: union and left"),
        ({"name": "x", "shell": "a"}, "has no positive distance"),
        ({"name": "x", "left": "a", "mm": 3}, "which left does not use"),
        ({"name": "x", "left": ["a", "b"]}, "left takes one region"),
        ({"name": "x", "difference": ["a"]}, "difference of 1 regions"),
        ({"name": "brain", "union": ["a"]}, "two regions brain"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(item, words):
    with pytest.raises(DataError, match=words):
        parse_recipes([item])
