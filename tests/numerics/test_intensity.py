"""Intensities are scaled by the rule of the network, and what cannot be scaled is refused or pointed out."""

from __future__ import annotations

import numpy as np
import pytest

from voxelome.errors import DataError
from voxelome.segmentation.intensity import far_outside, scale
from voxelome.segmentation.spec import InputSpec

RNG = np.random.default_rng(3)
SHAPE = (12, 13, 14)
BRAIN = np.zeros(SHAPE, bool)
BRAIN[3:9, 3:9, 3:9] = True


def head(mean: float = 400.0, sd: float = 50.0) -> np.ndarray:
    """Air of 0, a brain of noise, and a bright skull."""
    image = np.zeros(SHAPE, np.float32)
    image[2:10, 2:10, 2:10] = 3000
    image[BRAIN] = RNG.normal(mean, sd, BRAIN.sum())
    return image


def test_zscore_has_mean_zero_and_deviation_one_in_the_brain() -> None:
    image = head()
    scaled = scale(image, BRAIN, InputSpec("T1w", rule="zscore", region="brain"))
    assert scaled.shape == (1, *SHAPE)
    assert scaled.dtype == np.float32
    assert scaled[0][BRAIN].mean() == pytest.approx(0, abs=1e-5)
    assert scaled[0][BRAIN].std() == pytest.approx(1, abs=1e-5)
    assert np.corrcoef(scaled.ravel(), image.ravel())[0, 1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("region", "pick"),
    [("brain", BRAIN), ("nonzero", head() != 0), ("image", np.ones(SHAPE, bool))],
)
def test_percentiles_come_from_the_region(region: str, pick: np.ndarray) -> None:
    image = head()
    spec = InputSpec("T2w", rule="percentile", region=region, low=2, high=90)
    scaled = scale(image, BRAIN, spec)[0]
    low, high = np.percentile(image[pick], [2, 90])
    assert scaled == pytest.approx((image - low) / (high - low), abs=1e-4)


def test_minimum_and_maximum_are_the_percentiles_0_and_100() -> None:
    scaled = scale(head(), None, InputSpec("T1w", rule="percentile", region="image", low=0, high=100))
    assert (scaled.min(), scaled.max()) == (0, 1)


def test_scaled_values_are_cut_at_the_bounds() -> None:
    scaled = scale(head(), BRAIN, InputSpec("T1w", clip=(-2.0, 3.0)))
    assert (scaled.min(), scaled.max()) == (-2, 3)


def test_every_window_is_a_channel_from_its_lower_to_its_upper_edge() -> None:
    units = np.linspace(-1000, 2000, 2 * 3 * 4).reshape(2, 3, 4)
    spec = InputSpec("ct", rule="window", windows=((40, 80), (500, 3000)))
    brain, bone = scale(units, None, spec)
    assert brain == pytest.approx(np.clip(units / 80, 0, 1), abs=1e-6)
    assert bone == pytest.approx(np.clip((units + 1000) / 3000, 0, 1), abs=1e-6)


def test_without_a_rule_the_values_stay() -> None:
    image = head()
    assert (scale(image, None, InputSpec("T1w", rule="none"))[0] == image).all()


def test_the_image_given_is_not_changed() -> None:
    image = head()
    before = image.copy()
    scale(image, BRAIN, InputSpec("T1w", clip=(0.0, 1.0)))
    scale(image, BRAIN, InputSpec("T1w", rule="none", clip=(0.0, 1.0)))
    assert (image == before).all()


@pytest.mark.parametrize("value", [0.0, 7.3, -1e6, 1e-3])
@pytest.mark.parametrize("rule", ["zscore", "percentile"])
def test_a_constant_image_is_refused(value: float, rule: str) -> None:
    spec = InputSpec("FLAIR", rule=rule, region="image")
    with pytest.raises(DataError, match="FLAIR has no contrast"):
        scale(np.full(SHAPE, value, np.float32), None, spec)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted_and_refused(bad: float) -> None:
    image = head()
    image[0, 0, :3] = bad
    with pytest.raises(DataError, match="holds 3 NaN or infinite"):
        scale(image, BRAIN, InputSpec("T1w"))


def test_large_finite_values_are_no_infinite_ones() -> None:
    image = np.linspace(1e30, 1e38, 64).reshape(4, 4, 4)
    assert scale(image, None, InputSpec("T1w", rule="percentile", region="image")).max() < 1.1


def test_an_empty_region_is_refused() -> None:
    with pytest.raises(DataError, match="brain mask is empty"):
        scale(head(), np.zeros(SHAPE, bool), InputSpec("T1w"))
    with pytest.raises(DataError, match="there is no brain mask"):
        scale(head(), None, InputSpec("T1w"))
    with pytest.raises(DataError, match="every voxel is 0"):
        scale(np.zeros(SHAPE), None, InputSpec("T1w", region="nonzero"))


def test_usual_images_raise_no_word() -> None:
    assert far_outside(head(), BRAIN, InputSpec("T1w")) == ""
    assert far_outside(head(), None, InputSpec("T1w", region="image")) == ""
    assert far_outside(head(), None, InputSpec("T1w", rule="none")) == ""
    ct = InputSpec("ct", rule="window", windows=((40, 80),))
    units = np.full(SHAPE, -1000.0)
    units[2:10, 2:10, 2:10] = 1200
    units[BRAIN] = RNG.normal(35, 6, BRAIN.sum())
    assert far_outside(units, None, ct) == ""
    assert far_outside(units, BRAIN, ct) == ""


def test_a_mask_in_the_place_of_an_image_is_pointed_out() -> None:
    image = head()
    image[BRAIN] = np.where(RNG.random(BRAIN.sum()) < 0.8, 1.0, 2.0)
    assert "T1w: 8" in far_outside(image, BRAIN, InputSpec("T1w"))


def test_a_spike_is_pointed_out() -> None:
    image = RNG.normal(100, 1, (40, 40, 40))
    image[5, 5, 5] = 1e6
    assert "standard deviations" in far_outside(image, None, InputSpec("T1w", region="image"))


@pytest.mark.parametrize(
    ("offset", "factor"), [(1024, 1.0), (0, 1 / 255)], ids=["stored values", "scaled to 0..1"]
)
def test_a_ct_that_is_not_in_hounsfield_units_is_pointed_out(offset: float, factor: float) -> None:
    units = np.full(SHAPE, -1000.0)
    units[2:10, 2:10, 2:10] = 1200
    units[BRAIN] = RNG.normal(35, 6, BRAIN.sum())
    wrong = (units + offset) * factor if offset else np.clip(units, 0, 255) * factor
    ct = InputSpec("ct", rule="window", windows=((40, 80),))
    assert "Hounsfield" in far_outside(wrong, None, ct)
    if offset:
        assert "Hounsfield" in far_outside(wrong, BRAIN, ct)
