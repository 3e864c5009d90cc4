"""Thresholds and regions that several stages share."""

import numpy as np
import pytest

from voxelome.errors import DataError
from voxelome.regions import largest_region, otsu_threshold


def test_otsu_parts_two_groups():
    rng = np.random.default_rng(2)
    low, high = rng.normal(10, 1, 500), rng.normal(50, 5, 800)
    threshold = otsu_threshold(np.concatenate([low, high]))
    assert low.max() < threshold < high.min()


def test_the_largest_region_wins_and_its_holes_are_filled():
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[2:10, 2:10, 2:10] = True
    mask[5, 5, 5] = False
    mask[15:17, 15:17, 15:17] = True
    found = largest_region(mask)
    assert found.sum() == 8**3
    assert found[5, 5, 5]


def test_an_empty_image_has_no_region():
    with pytest.raises(DataError, match="nothing in the image"):
        largest_region(np.zeros((5, 5, 5), dtype=bool))
