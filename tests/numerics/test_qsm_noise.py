"""Noise, bipolar readouts, references and errors of the reconstruction, against planted values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tests.numerics.test_qsm_susceptibility import TIMES, grid, phantom, sphere_field
from voxelome.qsm.background import project_dipoles
from voxelome.qsm.direct import tkd
from voxelome.qsm.fieldmap import alternating_phase, fit_field, signal_noise, to_ppm
from voxelome.qsm.inversion import total_variation
from voxelome.qsm.masking import edge_weights, fluid_mask, inner_mask, map_edge_weights
from voxelome.qsm.pipeline import reconstruct
from voxelome.qsm.susceptibility import QSMSettings
from voxelome.qsm.uncertainty import propagated_error

SPACING = (2.0, 2.0, 2.0)


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (0.0, 0.6, 0.8)])
def test_the_projection_removes_a_source_outside_up_to_the_edge_of_the_mask(direction) -> None:
    points = grid(48, 2.0)
    mask = sum(axis**2 for axis in points) <= 40**2
    background = sphere_field(points, ((5.0, 55.0, 20.0), 12.0, 9.4), direction)
    local = project_dipoles(background, mask, SPACING, direction)
    spread = np.std(background[mask])
    inner = ndimage.binary_erosion(mask)
    assert np.sqrt(np.mean(local[inner] ** 2)) < 0.03 * spread
    assert np.sqrt(np.mean(local[mask] ** 2)) < 0.06 * spread
    assert not local[~mask].any()


def test_the_projection_keeps_most_of_the_field_of_sources_inside() -> None:
    data = phantom()
    local = project_dipoles(data.local, data.mask, SPACING, (0.0, 0.0, 1.0))
    assert np.corrcoef(local[data.mask], data.local[data.mask])[0, 1] > 0.95


@pytest.mark.parametrize("slopes", [(0.03, 0.0, 0.0), (0.0, -0.05, 0.01)])
def test_a_bipolar_readout_gives_the_map_of_a_monopolar_one(slopes) -> None:
    data = phantom()
    ramp = sum(
        slope * (np.arange(n) - n / 2).reshape([-1 if k == axis else 1 for k in range(3)])
        for axis, (slope, n) in enumerate(zip(slopes, data.mask.shape, strict=True))
    )
    signs = np.array([0.5, -0.5, 0.5])
    times = [0.005, 0.0125, 0.02]
    even = shifted_times(data, times)
    plain = fit_field(even, data.magnitude, times, data.mask, SPACING)
    found = fit_field(
        np.angle(np.exp(1j * (even + (ramp + 0.4)[..., None] * signs))),
        data.magnitude,
        times,
        data.mask,
        SPACING,
    )
    assert plain.bipolar == 0
    assert found.bipolar > 0.4
    difference = to_ppm(found.field - plain.field, 3.0)[data.mask]
    assert np.std(difference) < 0.03 * np.std(to_ppm(plain.field, 3.0)[data.mask])


def shifted_times(data, times):
    """Phase of the phantom at other echo times: its field is what a fit finds."""
    fit = fit_field(data.phase, data.magnitude, TIMES, data.mask, SPACING)
    return np.angle(np.exp(1j * (fit.field[..., None] * np.array(times, np.float32) + fit.offset[..., None])))


def test_echoes_that_are_not_evenly_spaced_are_not_taken_for_bipolar() -> None:
    data = phantom()
    assert alternating_phase(data.phase, data.magnitude, np.array(TIMES), data.mask) is None


@pytest.mark.parametrize("noise", [0.5, 4.0])
def test_the_noise_of_a_complex_image_is_found_beneath_its_anatomy(noise: float) -> None:
    data = phantom()
    rng = np.random.default_rng(4)
    clean = 100 * np.exp(1j * 3 * ndimage.gaussian_filter(rng.normal(size=data.mask.shape), 6) * 30)
    noisy = clean + noise * (rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape))
    assert signal_noise(noisy, data.mask) == pytest.approx(noise, rel=0.05)


def test_the_standard_error_of_the_field_is_its_scatter_over_repetitions() -> None:
    rng = np.random.default_rng(8)
    times, shape = np.array([0.005, 0.012, 0.02]), (24, 24, 24)
    field = 40 * np.linspace(-1, 1, 24)[:, None, None] * np.ones(shape)
    clean = 100 * np.exp(-20 * times) * np.exp(1j * field[..., None] * times)
    mask = np.ones(shape, bool)
    fits = []
    for _ in range(12):
        noisy = clean + 2 * (rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape))
        fits.append(fit_field(np.angle(noisy), np.abs(noisy), times, mask, (1.0, 1.0, 1.0)))
    scatter = np.std([fit.field for fit in fits], axis=0)[4:-4, 4:-4, 4:-4].mean()
    assert np.median(fits[0].standard_error) == pytest.approx(scatter, rel=0.1)


def test_the_error_of_the_map_is_its_scatter_over_repetitions() -> None:
    rng = np.random.default_rng(9)
    shape, direction = (32, 32, 32), (0.0, 0.0, 1.0)
    mask = np.ones(shape, bool)
    error = np.full(shape, 2e-3, np.float32)
    predicted = propagated_error(error, mask, SPACING, direction, "tkd", 0.2)
    maps = [tkd(rng.normal(0, 2e-3, shape), mask, SPACING, direction, threshold=0.2) for _ in range(12)]
    scatter = np.std(maps, axis=0)[8:-8, 8:-8, 8:-8].mean()
    assert predicted[8:-8, 8:-8, 8:-8].mean() == pytest.approx(scatter, rel=0.1)
    double = propagated_error(2 * error, mask, SPACING, direction, "tkd", 0.2)
    assert double.mean() == pytest.approx(2 * predicted.mean(), rel=1e-3)


def test_the_error_of_a_smooth_map_bounds_its_scatter_over_repetitions() -> None:
    data = phantom()
    rng = np.random.default_rng(9)
    direction, ones = (0.0, 0.0, 1.0), np.ones(data.mask.shape, np.float32)
    error = np.full(data.mask.shape, 1e-3, np.float32)
    predicted = propagated_error(error, data.mask, SPACING, direction, "tv", 4e-4)
    maps = []
    for _ in range(6):
        field = data.local + rng.normal(0, 1e-3, data.mask.shape)
        maps.append(total_variation(field, ones, data.mask, SPACING, direction, regularisation=4e-4))
    inner = ndimage.binary_erosion(data.mask, iterations=4)
    scatter = np.std(maps, axis=0)[inner].mean() * np.sqrt(6 / 5)
    assert scatter < 1.1 * predicted[inner].mean()
    assert scatter > 0.1 * predicted[inner].mean()


def test_more_noise_gives_a_smoother_map_and_a_larger_error() -> None:
    data = phantom()
    rng = np.random.default_rng(3)
    results = []
    for noise in (0.5, 5.0):
        signal = data.magnitude * np.exp(1j * data.phase)
        level = noise / 100 * np.median(np.abs(signal[..., 0][data.mask]))
        signal = signal + level * (rng.normal(size=signal.shape) + 1j * rng.normal(size=signal.shape))
        results.append(
            reconstruct(
                np.abs(signal),
                np.angle(signal),
                TIMES,
                3.0,
                data.affine,
                data.mask,
                QSMSettings(iterations=5),
            )
        )
    weights = [float(result.parameters["regularisation"].split()[0]) for result in results]
    assert weights[0] < weights[1]
    errors = [result.quality["chi_standard_error_ppb"] for result in results]
    assert errors[0] < errors[1]
    assert results[1].quality["signal_to_noise"] == pytest.approx(20, rel=0.2)


def test_the_reference_is_the_one_that_was_asked_for() -> None:
    data = phantom()
    arguments = (data.magnitude, data.phase, TIMES, 3.0, data.affine, data.mask)
    brain, none, fluid = (
        reconstruct(*arguments, QSMSettings(inversion="tkd", reference=name))
        for name in ("brain", "none", "csf")
    )
    assert brain.chi[brain.mask].mean() == pytest.approx(0, abs=1e-6)
    assert none.parameters["reference"] == "none"
    assert np.ptp((brain.chi - none.chi)[brain.mask]) < 1e-6
    # Nothing in this ball decays as slowly as fluid.
    assert fluid.parameters["reference"] == "mean over the mask"
    assert any("No fluid was found" in note for note in fluid.notes)


def test_ventricles_are_found_by_their_slow_decay_in_the_middle() -> None:
    points = grid(40, 2.0)
    distance = np.sqrt(sum(axis**2 for axis in points))
    mask = distance < 36
    r2star = np.where(mask, 20.0, 0.0)
    ventricle = (distance < 10) & mask
    r2star[ventricle] = 1.5
    r2star[(distance > 33) & mask] = 1.5  # fluid in sulci is no ventricle
    found = fluid_mask(r2star, mask, SPACING)
    assert found.any()
    assert not (found & ~ventricle).any()


def test_a_rim_of_a_millimetre_and_at_least_a_voxel_is_left_out() -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[4:16, 4:16, 4:16] = True
    assert inner_mask(mask, (1.0, 1.0, 1.0), 1.0).sum() == 10**3
    assert inner_mask(mask, (2.0, 2.0, 2.0), 1.0).sum() == 10**3
    assert inner_mask(mask, (1.0, 1.0, 4.0), 1.0).sum() == 10 * 10 * 12
    whole = np.ones((20, 20, 20), bool)
    assert inner_mask(whole, (0.5, 0.5, 1.0), 1.0).sum() == 16 * 16 * 18


def test_edges_of_the_magnitude_are_smoothed_less() -> None:
    points = grid(40, 1.0)
    mask = sum(axis**2 for axis in points) < 18**2
    magnitude = np.where(points[0] < 0, 100.0, 60.0) + np.zeros(mask.shape)
    weights = edge_weights(magnitude[..., None], mask, (1.0, 1.0, 1.0))
    assert weights[19, 20, 20] < 0.5
    assert weights[8, 20, 20] == 1


def test_edges_of_a_first_map_are_smoothed_the_less_the_steeper_they_are() -> None:
    points = grid(40, 1.0)
    mask = sum(axis**2 for axis in points) < 18**2
    chi = np.where(points[0] < 0, 0.1, 0.2) + np.where(points[0] < 8, 0.0, 0.02)
    weights = map_edge_weights(np.where(mask, chi, 0).astype(np.float32), mask)
    assert weights[19, 20, 20] < 0.15 < weights[27, 20, 20] < 0.5
    assert weights[24, 20, 20] > 0.9
    # The 0 outside is no susceptibility.
    even = map_edge_weights(np.where(mask, 0.2, 0).astype(np.float32), mask)
    np.testing.assert_allclose(even[mask], 1, rtol=1e-3)


def test_a_steep_phase_offset_leaves_nothing_in_the_field_at_the_rim() -> None:
    rng = np.random.default_rng(6)
    points = grid(50, 2.0)
    mask = sum(axis**2 for axis in points) < 46**2
    times = np.array([0.004, 0.012, 0.020])
    offset = 1.0 + 0.0015 * sum(axis**2 for axis in points) + 0.02 * points[1]
    field = 60 * np.sin(points[0] / 20) * np.cos(points[2] / 25)
    phase = offset[..., None] + field[..., None] * times
    signal = 100 * np.exp(-20 * times) * np.exp(1j * phase)
    signal = signal + rng.normal(0, 1, signal.shape) + 1j * rng.normal(0, 1, signal.shape)
    fit = fit_field(np.angle(signal), np.abs(signal), times, mask, SPACING)
    error = (fit.field - field)[mask]
    rim = (mask & ~ndimage.binary_erosion(mask, iterations=2))[mask]
    error -= np.median(error)
    assert abs(error[rim].mean()) < 0.5 * np.median(fit.standard_error[mask])
