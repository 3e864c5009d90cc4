"""Label images are checked, and keep their volumes on other grids."""

import numpy as np
import pytest

from voxelome.errors import DataError
from voxelome.segmentation.carry import carry_labels, check_labels, label_volumes, same_grid

FINE = np.diag([1.0, 1.0, 1.0, 1.0])


def shells(shape=(50, 50, 50)):
    """A core (1) in a rim (2)."""
    distance = np.linalg.norm(np.indices(shape) - np.array([24.0, 25.0, 23.0]).reshape(3, 1, 1, 1), axis=0)
    return np.where(distance < 9, 1, np.where(distance < 14, 2, 0)).astype(np.int16)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.zeros((4, 4, 4)), "empty"),
        (np.full((4, 4, 4), np.nan), "NaN"),
        (np.full((4, 4, 4), 0.4), "no whole numbers"),
        (np.full((4, 4, 4), -1), "label -1"),
        (np.ones((4, 4, 4, 2)), "4D"),
    ],
)
def test_what_is_no_label_image_is_refused(labels, says):
    with pytest.raises(DataError, match=says):
        check_labels(labels)


def test_labels_written_as_decimals_are_taken():
    assert check_labels(np.array([[[0.0, 4.0000001]]])).tolist() == [[[0, 4]]]


def test_grids_that_differ_by_rounding_are_the_same_and_shifted_ones_are_not():
    shifted = FINE.copy()
    shifted[0, 3] = 0.5
    assert same_grid((9, 9, 9), FINE, (9, 9, 9), FINE + 1e-5)
    assert not same_grid((9, 9, 9), FINE, (9, 9, 9), shifted)
    assert not same_grid((9, 9, 9), FINE, (9, 9, 8), FINE)


def test_the_same_grid_gets_an_exact_copy():
    assert np.array_equal(carry_labels(shells(), FINE, (50, 50, 50), FINE), shells())


@pytest.mark.parametrize("spacing", [0.8, 1.7, 2.5])
def test_volumes_are_kept_on_finer_and_coarser_grids(spacing):
    target = np.diag([spacing] * 3 + [1.0])
    shape = tuple([int(50 / spacing)] * 3)
    carried = carry_labels(shells(), FINE, shape, target)
    before, after = label_volumes(shells(), FINE), label_volumes(carried, target)
    assert set(after) == {1, 2}
    for label in before:
        assert after[label] == pytest.approx(before[label], rel=0.05)


def test_a_rotation_and_its_inverse_bring_labels_back():
    angle = np.radians(20)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = (8, -6, 2)
    there = carry_labels(shells(), FINE, (50, 50, 50), FINE, matrix)
    back = carry_labels(there, FINE, (50, 50, 50), FINE, np.linalg.inv(matrix))
    for label in (1, 2):
        one, other = back == label, shells() == label
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.93


def test_a_translation_moves_the_centre_by_as_much():
    matrix = np.eye(4)
    matrix[:3, 3] = (
        5,
        0,
        -3,
    )  # a point of the target lies 5 mm further left and 3 mm higher than in the labels
    moved = carry_labels(shells(), FINE, (50, 50, 50), FINE, matrix)
    gap = np.argwhere(moved > 0).mean(axis=0) - np.argwhere(shells() > 0).mean(axis=0)
    assert gap == pytest.approx([-5, 0, 3], abs=0.05)


def test_a_label_outside_of_the_target_leaves_it_empty():
    matrix = np.eye(4)
    matrix[0, 3] = 500
    assert not carry_labels(shells(), FINE, (20, 20, 20), FINE, matrix).any()
