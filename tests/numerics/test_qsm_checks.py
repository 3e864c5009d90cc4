"""What is wrong in phase and magnitude is found, and what is right is not complained about."""

import numpy as np
import pytest

from voxelome.errors import DataError
from voxelome.qsm.checks import check_image, check_mask, filled_share

SHAPE = (30, 28, 26)
AWAY = sum((axis - axis.mean()) ** 2 for axis in np.indices(SHAPE).astype(float))
MASK = AWAY < 12**2


def image(part: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    data = rng.uniform(-np.pi, np.pi, SHAPE) if part == "phase" else rng.uniform(0.5, 1, SHAPE)
    return data.astype(np.float32)


@pytest.mark.parametrize("part", ["magnitude", "phase"])
def test_a_good_image_gives_no_warning(part):
    assert check_image(image(part), MASK, part) == []


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("part", "value"), [("magnitude", 0), ("phase", 0), ("phase", -np.pi)])
def test_slices_without_data_in_the_middle_are_refused_with_their_numbers(axis, part, value):
    data = image(part)
    np.moveaxis(data, axis, 0)[[12, 13]] = value
    name = ("first", "second", "third")[axis]
    with pytest.raises(DataError, match=rf"no {part} in slices 12, 13 \(counted from 0\) of the {name} axis"):
        check_image(data, MASK, part)


def test_slices_without_data_at_the_end_of_the_mask_are_named_only():
    data = image("magnitude")
    data[:, :, 20:] = 0
    found = check_image(data, MASK, "magnitude")
    assert "is constant in slices 20, 21, 22, 23 (counted from 0) of the third axis" in found[0]


def test_a_constant_slice_that_is_not_0_is_named_only():
    data = image("phase")
    data[:, 12] = 0.7
    assert check_image(data, MASK, "phase") == ["is constant in slice 12 (counted from 0) of the second axis"]


def test_an_image_of_one_value_is_refused():
    with pytest.raises(DataError, match="phase is 0 everywhere in the mask"):
        check_image(np.zeros(SHAPE, np.float32), MASK, "phase")


def test_voxels_without_magnitude_are_counted():
    data = image("magnitude")
    data[12:16, 12:16, 12:16] = 0
    (text,) = check_image(data, MASK, "magnitude")
    assert text == f"is exactly 0 in {64 / MASK.sum():.1%} of the mask"


@pytest.mark.parametrize("value", [0, np.pi, -np.pi])
def test_phase_that_was_masked_out_before_is_found_whatever_it_was_filled_with(value):
    data = image("phase")
    data[:10] = value
    (text, *more) = [t for t in check_image(data, MASK, "phase") if "exactly" in t]
    share = MASK[:10].sum() / MASK.sum()
    assert text.startswith(f"is exactly 0 or pi in {share:.0%} of the mask")
    assert more == []


def test_phase_in_few_steps_is_not_taken_for_masked():
    narrow = np.random.default_rng(0).normal(0, 0.1, 50_000)
    step = 2 * np.pi / 256
    stepped = (np.round(narrow / step) * step).astype(np.float32)
    assert (stepped == 0).mean() > 0.05
    assert filled_share(stepped) < 0.01


def test_holes_of_a_mask_are_counted_and_its_outside_is_none():
    mask = MASK.copy()
    mask[10:13, 10:13, 10:13] = False
    mask[18:20, 13:15, 13:15] = False
    assert check_mask(MASK) == []
    assert check_mask(mask) == ["The mask has 2 hole(s) of 35 voxels together: there is no map in them."]


def test_a_mask_of_few_voxels_is_refused():
    with pytest.raises(DataError, match="has 123 voxels"):
        check_mask(np.arange(MASK.size).reshape(SHAPE) < 123)
