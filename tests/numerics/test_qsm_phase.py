"""Phase scaling, tissue mask, unwrapping and the field fit, against known truth."""

from __future__ import annotations

import numpy as np
import pytest

from voxelome.errors import DataError
from voxelome.qsm.fieldmap import fit_field, to_ppm
from voxelome.qsm.masking import magnitude_mask, trusted_mask
from voxelome.qsm.phase import phase_to_radians, polar
from voxelome.qsm.unwrap import unwrap_spatially, wrap_fraction

TURN = 2 * np.pi


def angles(seed: int = 0) -> np.ndarray:
    """Wrapped phase that fills its range."""
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, (20, 20, 20, 2))


def turns_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distance of two phases on the circle, but for one constant."""
    difference = np.exp(1j * (first - second))
    return np.abs(np.angle(difference / difference.ravel()[0]))


@pytest.mark.parametrize(
    ("scale", "offset", "slope"),
    [
        (1.0, 0.0, 1.0),
        (1.0, np.pi, 1.0),
        (4096 / TURN, 2048.0, 1.0),
        (4096 / TURN, 0.0, 1.0),
        (8192 / TURN, 0.0, 2.0),
        (8192 / TURN, 0.0, 1.0),
        (1000.0, 0.0, 1.0),
    ],
)
def test_phase_in_every_known_range_comes_back_in_radians(scale: float, offset: float, slope: float) -> None:
    true = angles()
    radians, how = phase_to_radians(true * scale + offset, None, slope)
    assert radians.dtype == np.float32
    assert turns_between(radians, true).max() < 1e-3
    assert "read as" in how


def test_a_crop_that_fills_part_of_siemens_range_keeps_its_scale() -> None:
    true = angles() * 0.7
    radians, _ = phase_to_radians(true * 4096 / TURN + 2048, "arbitrary", 1.0)
    assert turns_between(radians, true).max() < 1e-3
    radians, _ = phase_to_radians(true * 8192 / TURN, "arbitrary", 2.0)
    assert turns_between(radians, true).max() < 1e-3


def test_phase_in_radians_is_taken_as_it_is() -> None:
    true = angles().astype(np.float32)
    radians, how = phase_to_radians(true, "rad", 1.0)
    np.testing.assert_array_equal(radians, true)
    assert "radians" in how


@pytest.mark.parametrize(
    ("factor", "units", "match"),
    [
        (100.0, None, "none that is known"),
        (900.0, None, "fits"),
        (5.0, "rad", "more than one turn: it is already unwrapped"),
        (0.0, None, "everywhere"),
        (1.0, "Hz", "not a unit of phase"),
    ],
)
def test_phase_of_unknown_or_wrong_scale_is_refused(factor: float, units: str | None, match: str) -> None:
    with pytest.raises(DataError, match=match):
        phase_to_radians(angles() * factor, units, 1.0)


def test_whole_numbers_that_are_said_to_be_radians_are_not_called_unwrapped() -> None:
    with pytest.raises(DataError, match="whole numbers and not in rad"):
        phase_to_radians(np.round(angles() * 4096 / TURN), "rad", 1.0)


def test_real_and_imaginary_parts_become_magnitude_and_phase() -> None:
    true = angles()
    magnitude, phase = polar(3 * np.cos(true), 3 * np.sin(true))
    assert magnitude.dtype == phase.dtype == np.float32
    np.testing.assert_allclose(magnitude, 3, rtol=1e-5)
    assert turns_between(phase, true).max() < 1e-4


@pytest.mark.parametrize(("shift", "crop", "match"), [(9.0, 20, "no negative"), (0.0, 19, "has shape")])
def test_real_and_imaginary_parts_that_do_not_belong_together_are_refused(
    shift: float, crop: int, match: str
) -> None:
    true = angles()
    with pytest.raises(DataError, match=match):
        polar(np.cos(true), np.sin(true[:crop]) + shift)


def ball(shape: tuple[int, int, int], radius: float) -> np.ndarray:
    """Mask of a centred ball."""
    axes = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    return sum(axis**2 for axis in axes) <= radius**2


def test_the_mask_of_a_noisy_ball_with_dark_vessels_is_the_ball() -> None:
    rng = np.random.default_rng(0)
    true = ball((40, 40, 40), 15)
    signal = np.where(true, 100.0, 0.0)
    signal[15:25, 20, 20] = 5.0
    magnitude = np.abs(signal + rng.normal(0, 5, true.shape) + 1j * rng.normal(0, 5, true.shape))
    mask = magnitude_mask(magnitude, (2.0, 2.0, 2.0))
    assert mask[15:25, 20, 20].all()
    assert 2 * (mask & true).sum() / (mask.sum() + true.sum()) > 0.96


def test_a_crop_without_air_is_tissue_throughout() -> None:
    magnitude = 1 + 0.3 * np.random.default_rng(0).uniform(-1, 1, (20, 20, 20))
    assert magnitude_mask(magnitude, (1.0, 1.0, 1.0)).all()


def test_a_volume_without_signal_has_no_mask() -> None:
    with pytest.raises(DataError, match="no positive value"):
        magnitude_mask(np.zeros((10, 10, 10)), (1.0, 1.0, 1.0))


def test_a_ramp_of_many_turns_is_unwrapped_but_for_a_constant() -> None:
    mask = ball((40, 36, 32), 15)
    x, y, z = np.meshgrid(*(np.arange(n) for n in mask.shape), indexing="ij")
    true = 2.0 * x + 0.7 * y + 0.02 * (z - 16) ** 2
    unwrapped = unwrap_spatially(np.angle(np.exp(1j * true)), np.ones(mask.shape), mask)
    constant = np.round((unwrapped - true)[mask] / TURN)
    assert np.ptp(true[mask]) > 9 * TURN
    assert np.ptp(constant) == 0
    np.testing.assert_allclose((unwrapped - true)[mask], constant * TURN, atol=1e-4)
    assert (unwrapped[~mask] == 0).all()
    assert wrap_fraction(unwrapped, mask) == 0


def test_unwrapping_grows_around_voxels_of_noise() -> None:
    rng = np.random.default_rng(1)
    mask = np.ones((30, 30, 30), bool)
    x, _, z = np.meshgrid(*(np.arange(n) for n in mask.shape), indexing="ij")
    true, magnitude = 0.9 * x + 0.3 * z, np.ones(mask.shape)
    noisy = rng.uniform(size=mask.shape) < 0.1
    magnitude[noisy] = 0.05
    phase = np.angle(np.exp(1j * np.where(noisy, rng.uniform(-np.pi, np.pi, mask.shape), true)))
    unwrapped = unwrap_spatially(phase, magnitude, mask)
    assert np.ptp(np.round((unwrapped - true)[~noisy] / TURN)) == 0


def test_each_part_of_a_split_mask_is_brought_near_zero() -> None:
    mask = np.zeros((30, 10, 10), bool)
    mask[2:10], mask[20:28] = True, True
    true = np.where(np.arange(30)[:, None, None] < 15, 0.5, 0.5 + 6 * TURN) * np.ones(mask.shape)
    unwrapped = unwrap_spatially(np.angle(np.exp(1j * true)), np.ones(mask.shape), mask)
    np.testing.assert_allclose(unwrapped[mask], 0.5, atol=1e-4)


@pytest.mark.parametrize(
    "times", [[0.02], [0.005, 0.012], [0.005, 0.012, 0.02], [0.004, 0.008, 0.012, 0.016]]
)
def test_a_field_with_wraps_and_a_phase_offset_is_recovered(times: list[float]) -> None:
    mask = ball((40, 40, 40), 18)
    x, y, z = (np.asarray(a) - 19.5 for a in np.meshgrid(*(np.arange(40),) * 3, indexing="ij"))
    field = 25.0 * z + 150 * np.exp(-(x**2 + y**2) / 60)
    offset = 0.8 + 0.05 * y + 0.0005 * x**2 if len(times) > 1 else 0.0
    te = np.asarray(times)
    phase = np.angle(np.exp(1j * (field[..., None] * te + np.asarray(offset)[..., None])))
    magnitude = np.exp(-20 * te) * np.ones(phase.shape)
    fit = fit_field(phase, magnitude, times, mask, (2.0, 2.0, 2.0))
    error = (fit.field - field)[mask]
    # A constant shift of the field is a multiple of one turn between the echoes; background removal drops it.
    error -= np.median(error)
    assert np.abs(error).max() < 0.01 * np.ptp(field[mask])
    assert np.sqrt(np.mean(error**2)) < 0.005 * field[mask].std()


def test_noise_lowers_the_weight_and_raises_the_residual() -> None:
    rng = np.random.default_rng(0)
    times, mask = [0.005, 0.012, 0.02], np.ones((20, 20, 20), bool)
    signal = np.full((20, 20, 20, 3), 1.0, complex)
    signal[:10] *= 0.2
    signal += 0.05 * (rng.normal(size=signal.shape) + 1j * rng.normal(size=signal.shape))
    fit = fit_field(np.angle(signal), np.abs(signal), times, mask, (2.0, 2.0, 2.0))
    assert np.median(fit.weight[10:]) / np.median(fit.weight[:10]) == pytest.approx(5, rel=0.05)
    assert np.median(fit.residual[:10]) > 3 * np.median(fit.residual[10:])


def test_one_ppm_at_three_tesla_is_128_hertz() -> None:
    assert to_ppm(np.array([TURN * 127.732435554]), 3.0)[0] == pytest.approx(1.0, rel=1e-6)


def test_noise_at_the_rim_of_a_brain_mask_is_left_out_and_dark_veins_inside_are_kept():
    grid = np.indices((40, 40, 40)) - 19.5
    distance = np.linalg.norm(grid, axis=0)
    brain, mask = distance < 14, distance < 16
    magnitude = np.where(brain, 100.0, 5.0)
    vein = (np.abs(grid[0]) < 1) & (np.abs(grid[1]) < 1) & (np.abs(grid[2]) < 8)
    magnitude[vein] = 5.0
    found = trusted_mask(mask, magnitude)
    assert found[vein].all()
    assert (found & ~brain).sum() == 0
    assert found.sum() > 0.97 * brain.sum()
