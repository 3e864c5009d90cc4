"""Laplacian unwrapping, the fit of the complex signal, and ARLO, against known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.qsm.arlo import decay_rate
from voxelome.qsm.complexfit import fit_complex
from voxelome.qsm.fieldmap import fit_field
from voxelome.qsm.laplacian import unwrap_echoes, unwrap_laplacian
from voxelome.qsm.relaxometry import fit_r2star

TURN = 2 * np.pi
SPACING = (1.0, 1.5, 2.0)
SHAPE = (40, 36, 32)
X, Y, Z = (axis - axis.mean() for axis in np.indices(SHAPE).astype(float))
MASK = X**2 + Y**2 + Z**2 < 14**2
# Up to 2.4 rad from voxel to voxel, over several turns, and not harmonic.
TRUE = 14 * np.exp(-(X**2 + Y**2) / 50) + 1.1 * X + 0.3 * Z


def wrap(phase: np.ndarray) -> np.ndarray:
    return np.angle(np.exp(1j * phase))


def laplacian(values: np.ndarray) -> np.ndarray:
    return sum(
        ndimage.correlate1d(values, [1, -2, 1], axis=axis) / size**2 for axis, size in enumerate(SPACING)
    )


def test_the_laplacian_finds_a_known_field_of_whole_turns() -> None:
    wrapped = wrap(TRUE)
    turns = (TRUE - wrapped) / TURN
    unwrapped = unwrap_laplacian(wrapped, np.ones(SHAPE, bool), SPACING)
    found = (unwrapped - wrapped) / TURN
    found -= (found - turns).mean()
    assert np.ptp(np.round(turns)) >= 8
    np.testing.assert_allclose(found, turns, atol=1e-3)


def test_in_a_mask_the_laplacian_loses_a_harmonic_part_alone() -> None:
    noise = np.random.default_rng(0).uniform(-np.pi, np.pi, SHAPE)
    unwrapped = unwrap_laplacian(np.where(MASK, wrap(TRUE), noise), MASK, SPACING)
    lost = unwrapped - TRUE
    inner = ndimage.binary_erosion(MASK)
    assert np.std(lost[inner]) > 0.5
    assert np.abs(laplacian(lost)[inner]).max() < 2e-3 * np.abs(laplacian(TRUE)[inner]).max()
    assert not unwrapped[~MASK].any()


def test_echoes_unwrapped_by_the_laplacian_lie_on_a_line() -> None:
    times = np.array([0.004, 0.012, 0.02, 0.028])
    field = TRUE / 0.01
    echoes = unwrap_echoes(wrap(field[..., None] * times + 0.3 * X[..., None] / 14), MASK, SPACING)
    slopes = np.diff(echoes[MASK], axis=-1) / np.diff(times)
    np.testing.assert_allclose(slopes, slopes[:, :1] * np.ones(3), atol=1e-3 * np.ptp(field[MASK]))


@pytest.mark.parametrize("times", [[0.01], [0.004, 0.012, 0.02]])
def test_the_field_by_the_laplacian_is_that_by_region_growing_but_for_a_harmonic_part(times) -> None:
    magnitude = np.exp(-20 * np.array(times)) * np.ones((*SHAPE, len(times)))
    phase = wrap(TRUE[..., None] / 0.01 * np.array(times))
    grown, found = (
        fit_field(phase, magnitude, times, MASK, SPACING, unwrapping=name) for name in ("romeo", "laplacian")
    )
    inner = ndimage.binary_erosion(MASK)
    lost = laplacian(found.field - grown.field)[inner]
    assert np.abs(lost).max() < 0.02 * np.abs(laplacian(grown.field)[inner]).max()
    assert np.median(found.residual[MASK]) < 0.02


def test_the_fit_of_the_complex_signal_is_exact_without_noise_and_whole_turns_do_not_matter() -> None:
    times = np.array([0.005, 0.012, 0.02])
    field = np.linspace(-900, 900, 500)
    phase = wrap(field[:, None] * times)
    magnitude = 100 * np.exp(-30 * times) * np.ones(phase.shape)
    found = fit_complex(phase, magnitude, times, field + 40)
    np.testing.assert_allclose(found, field, atol=0.02)
    assert fit_complex(phase[:1], 0 * magnitude[:1], times, np.array([7.0])) == 7


def test_the_fit_of_the_complex_signal_reaches_the_bound_of_its_noise() -> None:
    times, noise = np.array([0.004, 0.012, 0.02, 0.028]), 0.02
    rng = np.random.default_rng(0)
    decay = np.exp(-20 * times)
    signal = decay * np.exp(1j * 100 * times) * np.ones((30, 30, 30, 4))
    noisy = signal + noise * (rng.normal(size=signal.shape) + 1j * rng.normal(size=signal.shape))
    mask = np.ones(signal.shape[:3], bool)
    fit = fit_field(np.angle(noisy), np.abs(noisy), list(times), mask, SPACING, method="nonlinear")
    bound = noise / np.sqrt(((decay * times) ** 2).sum())
    assert np.sqrt(np.mean((fit.field - 100) ** 2)) == pytest.approx(bound, rel=0.03)
    assert np.median(fit.standard_error) == pytest.approx(bound, rel=0.05)


def test_an_echo_of_wrong_phase_pulls_the_fit_of_the_complex_signal_less_than_the_line() -> None:
    times = np.array([0.004, 0.012, 0.02, 0.028])
    unwrapped = 100 * times + [0, 0, 2.8, 0]
    line = (times * unwrapped).sum() / (times**2).sum()
    found = fit_complex(wrap(unwrapped)[None], np.ones((1, 4)), times, np.array([line]))
    assert abs(found[0] - 100) < 0.4 * abs(line - 100)


def test_arlo_is_exact_on_a_decay_as_far_as_simpsons_rule_is() -> None:
    times = np.linspace(0.004, 0.028, 7)
    rate = np.linspace(2, 150, 1000).reshape(10, 10, 10)
    mask = np.ones(rate.shape, bool)
    mask[0] = False
    r2star, t2star, s0 = fit_r2star(700 * np.exp(-rate[..., None] * times), list(times), mask, "arlo")
    inexact = np.maximum((rate * 0.004) ** 4 / 90, 1e-6)
    assert (np.abs(r2star / rate - 1) < inexact)[mask].all()
    np.testing.assert_allclose(t2star[mask], 1 / r2star[mask], rtol=1e-5)
    np.testing.assert_allclose(s0[mask], 700, rtol=2e-3)
    assert not r2star[0].any()


@pytest.mark.parametrize("times", [[0.004, 0.012], [0.004, 0.012, 0.02, 0.03]])
def test_arlo_refuses_echoes_that_are_few_or_not_evenly_spaced(times) -> None:
    with pytest.raises(DataError, match=r"evenly spaced echoes.*0.004, 0.012.*choose qsm: .relaxometry"):
        decay_rate(np.ones((5, len(times))), times)


def test_arlo_stays_finite_without_signal_and_where_it_grows() -> None:
    magnitude = np.array([[0.0, 0, 0], [5, 0, 0], [1, 2, 3], [1e4, 1e-6, 1e-20]])[:, None, None, :]
    for values in fit_r2star(magnitude, [0.005, 0.01, 0.015], np.ones((4, 1, 1), bool), "arlo"):
        assert np.isfinite(values).all()
        assert values[0, 0, 0] == values[1, 0, 0] == 0


def test_the_weighted_line_scatters_no_more_than_arlo_and_is_no_more_biased() -> None:
    times = [0.004, 0.012, 0.02, 0.028]
    rng = np.random.default_rng(0)
    signal = np.exp(-30 * np.array(times)) * np.ones((40, 40, 40, 4))
    mask = np.ones(signal.shape[:3], bool)
    for noise in (0.01, 0.025, 0.05):
        noisy = np.abs(signal + noise * (rng.normal(size=signal.shape) + 1j * rng.normal(size=signal.shape)))
        line, arlo = (fit_r2star(noisy, times, mask, name)[0] for name in ("linear", "arlo"))
        assert line.std() < 0.95 * arlo.std()
        assert abs(line.mean() - 30) < max(abs(arlo.mean() - 30), 0.02)
