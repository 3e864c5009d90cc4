"""R2*, SWI and the minimum-intensity projection, against known truth."""

from __future__ import annotations

import numpy as np
import pytest

from voxelome.errors import DataError
from voxelome.qsm.pipeline import reconstruct_magnitude_only
from voxelome.qsm.relaxometry import fit_r2star
from voxelome.qsm.swi import clear_swi, combine_echoes, minip, phase_mask, swi


@pytest.mark.parametrize("times", [[0.005, 0.02], [0.005, 0.012, 0.02], [0.004, 0.008, 0.012, 0.016, 0.02]])
def test_r2star_is_exact_without_noise(times: list[float]) -> None:
    rate = np.linspace(2, 300, 1000).reshape(10, 10, 10)
    magnitude = 700 * np.exp(-rate[..., None] * np.asarray(times))
    mask = np.ones(rate.shape, bool)
    mask[0] = False
    r2star, t2star, s0 = fit_r2star(magnitude, times, mask)
    np.testing.assert_allclose(r2star[mask], rate[mask], rtol=1e-5)
    np.testing.assert_allclose(t2star[mask], 1 / rate[mask], rtol=1e-5)
    np.testing.assert_allclose(s0[mask], 700, rtol=1e-4)
    assert not r2star[0].any()
    assert not t2star[0].any()
    assert not s0[0].any()


def test_r2star_with_noise_is_unbiased_within_two_percent() -> None:
    rng = np.random.default_rng(0)
    times = np.array([0.005, 0.012, 0.02])
    signal = np.exp(-30 * times) * np.ones((20, 20, 20, 3))
    noisy = np.abs(signal + 0.02 * (rng.normal(size=signal.shape) + 1j * rng.normal(size=signal.shape)))
    r2star, _, s0 = fit_r2star(noisy, list(times), np.ones((20, 20, 20), bool))
    assert r2star.mean() == pytest.approx(30, rel=0.02)
    assert s0.mean() == pytest.approx(1, rel=0.02)
    # The Cramer-Rao bound of the two-parameter fit.
    design = np.stack([signal[0, 0, 0], -times * signal[0, 0, 0]], axis=1) / 0.02
    bound = np.sqrt(np.linalg.inv(design.T @ design)[1, 1])
    assert r2star.std() < 1.1 * bound


def test_voxels_without_signal_growing_or_vanishing_signal_stay_finite() -> None:
    magnitude = np.array([[0.0, 0, 0], [5, 0, 0], [1, 2, 3], [1e4, 1e-6, 1e-20], [4, 0, 2]])[:, None, None, :]
    times = [0.005, 0.012, 0.02]
    r2star, t2star, s0 = fit_r2star(magnitude, times, np.ones((5, 1, 1), bool))
    for values in (r2star, t2star, s0):
        assert np.isfinite(values).all()
    np.testing.assert_allclose(r2star.ravel()[:3], 0, atol=1.001e-3)
    assert r2star[3, 0, 0] == 1000
    assert r2star[4, 0, 0] == pytest.approx(np.log(2) / 0.015, rel=1e-4)
    np.testing.assert_allclose(t2star.ravel()[:3], 0)


def test_one_echo_tells_no_decay() -> None:
    with pytest.raises(DataError, match="at least two echoes"):
        reconstruct_magnitude_only(np.ones((4, 4, 4, 1)), [0.02], np.ones((4, 4, 4), bool))


def test_the_phase_mask_is_one_for_negative_phase_and_falls_to_zero_at_pi() -> None:
    phase = np.array([-2.0, 0.0, np.pi / 2, np.pi, 4.0], np.float32)
    np.testing.assert_allclose(phase_mask(phase), [1, 1, 0.5, 0, 0], atol=1e-6)


def test_a_vein_is_darkened_to_the_fourth_power_and_outside_the_mask_is_zero() -> None:
    magnitude, phase = np.full((4, 4, 4), 10.0), np.zeros((4, 4, 4))
    phase[1, 1, 1] = np.pi / 2
    mask = np.ones((4, 4, 4), bool)
    mask[3] = False
    image = swi(magnitude, phase, mask)
    assert image[1, 1, 1] == pytest.approx(10 / 16)
    assert image[0, 0, 0] == pytest.approx(10)
    assert not image[3].any()


def test_late_echoes_weigh_more() -> None:
    magnitude = np.zeros((2, 2, 2, 2))
    magnitude[..., 1] = 3.0
    np.testing.assert_allclose(combine_echoes(magnitude, [0.01, 0.02]), 2.0, rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_projection_runs_along_the_axis_closest_to_the_scanners_z(axis: int) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.roll(np.diag([1.0, 1.0, 2.0]), axis + 1, axis=1)
    image = np.full((15, 15, 15), 9.0)
    image[7, 7, 7] = 1.0
    projection = minip(image, np.ones(image.shape, bool), affine, slab=10.0)
    assert (projection == 1).sum() == 5
    line = [7, 7, 7]
    line[axis] = 5
    assert projection[tuple(line)] == 1


def test_the_air_around_the_head_does_not_enter_the_projection() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[2:7, 2:7, 2:7] = True
    projection = minip(np.where(mask, 5.0, 0.0), mask, np.diag([2.0, 2.0, 2.0, 1.0]))
    np.testing.assert_array_equal(projection, np.where(mask, 5.0, 0.0))


def test_clear_swi_is_even_where_the_coils_are_not_and_darkens_paramagnetic_matter_alone() -> None:
    shape = (40, 40, 40)
    mask = np.zeros(shape, bool)
    mask[4:-4, 4:-4, 4:-4] = True
    coils = np.linspace(60, 140, 40)[:, None, None] * np.ones(shape)
    phase = np.zeros(shape, np.float32)
    phase[20, 20, 8:32] = 0.8  # a vein
    phase[12, 12, 8:32] = -0.8  # myelin or calcium
    rng = np.random.default_rng(0)
    phase += rng.normal(0, 0.02, shape).astype(np.float32)
    image = clear_swi(np.stack([coils, coils / 2], axis=-1), phase, mask, (1.0, 1.0, 1.0))
    tissue = mask & (phase < 0)
    assert image[12, 12, 20] == pytest.approx(image[tissue].mean(), rel=0.25)
    assert np.std(image[tissue]) / image[tissue].mean() < 0.5 * np.std(coils[tissue]) / coils[tissue].mean()
    assert image[20, 20, 20] < 0.2 * image[20, 24, 20]
    assert not image[~mask].any()
