"""The iterative inversions on analytic fields, what each is made for, their weight, and streaks."""

from __future__ import annotations

from functools import cache, partial
from unittest import mock

import numpy as np
import pytest

from tests.numerics.test_qsm_susceptibility import (
    TILTED,
    TIMES,
    Phantom,
    average,
    grid,
    phantom,
    rotation_to,
    sphere_field,
)
from voxelome.qsm import susceptibility
from voxelome.qsm.dipole import forward_field
from voxelome.qsm.direct import tkd
from voxelome.qsm.inversion import total_variation
from voxelome.qsm.masking import map_edge_weights
from voxelome.qsm.medi import morphology_enabled
from voxelome.qsm.methods import INVERSION
from voxelome.qsm.nonlinear import descended, nonlinear_descent, steps_of, update_phase
from voxelome.qsm.pipeline import QSMResult, reconstruct
from voxelome.qsm.streaking import streaking_index
from voxelome.qsm.susceptibility import QSMSettings
from voxelome.qsm.tgv import generalised_variation

SPACING = (2.0, 2.0, 2.0)
SPHERE = ((0.5, -0.4, 0.3), 9.0, 0.15)
RADIANS = 16.0
NLTV = partial(total_variation, regularisation=5e-4, iterations=60, radians=RADIANS)
TGV = partial(generalised_variation, regularisation=5e-4, iterations=60)
NDI = partial(nonlinear_descent, regularisation=2e-3, radians=RADIANS)


def ball(size: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Mask of a ball of tissue, and the distance of each voxel from the sphere in it."""
    points = grid(size, 2.0)
    mask = sum(axis**2 for axis in points) <= (size - 4) ** 2
    return mask, np.sqrt(sum((axis - c) ** 2 for axis, c in zip(points, SPHERE[0], strict=True)))


def field_of_sphere(direction: tuple[float, ...], size: int = 48) -> np.ndarray:
    return average(sphere_field(grid(size, 2.0, 3), SPHERE, direction), 3).astype(np.float32)


def found_in_sphere(chi: np.ndarray, mask: np.ndarray, distance: np.ndarray) -> float:
    return float(chi[distance < 7].mean() - chi[mask & (distance > 12)].mean())


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), TILTED])
@pytest.mark.parametrize("invert", [NLTV, TGV])
def test_a_sphere_in_its_analytic_field_gets_its_susceptibility(invert, direction) -> None:
    mask, distance = ball()
    chi = invert(field_of_sphere(direction), mask.astype(np.float32), mask, SPACING, direction)
    assert found_in_sphere(chi, mask, distance) == pytest.approx(0.15, rel=0.06)
    assert not chi[~mask].any()


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), TILTED])
@pytest.mark.parametrize("invert", [total_variation, generalised_variation])
def test_weights_from_a_first_map_let_strong_smoothing_take_less_off_a_sphere(invert, direction) -> None:
    mask, distance = ball()
    noise = np.random.default_rng(4).normal(0, 2e-3, mask.shape)
    field = (field_of_sphere(direction) + noise).astype(np.float32)
    given = (field, mask.astype(np.float32), mask, SPACING, direction)
    found, spread, edges = [], [], None
    for _ in range(2):
        chi = invert(*given, regularisation=2e-3, iterations=60, edges=edges)
        edges = map_edge_weights(chi, mask)
        found.append(found_in_sphere(chi, mask, distance))
        spread.append(chi[mask & (distance > 12)].std())
    assert SPHERE[2] - found[1] < 0.5 * (SPHERE[2] - found[0])
    assert spread[1] < 1.1 * spread[0]


@pytest.mark.parametrize("method", ["tv", "nltv", "tgv"])
def test_the_second_inversion_of_the_whole_way_smooths_by_the_first_map(method, monkeypatch) -> None:
    data = phantom(TILTED)
    given = (data.magnitude, data.phase, TIMES, 3.0, data.affine, data.mask)
    settings = QSMSettings(inversion=method, iterations=2)
    first = reconstruct(*given, settings)
    asked = []

    def even(chi: np.ndarray, mask: np.ndarray) -> np.ndarray:
        asked.append(chi)
        return np.ones(mask.shape, np.float32)

    monkeypatch.setattr(susceptibility, "map_edge_weights", even)
    second = reconstruct(*given, settings)
    assert len(asked) == 1
    assert not np.array_equal(first.chi, second.chi)
    assert any("edges of the first map" in words for words in first.parameters.values())


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), TILTED])
def test_the_descent_underestimates_a_sphere_by_what_sources_outside_take(direction) -> None:
    mask, distance = ball()
    field = field_of_sphere(direction)
    chi = NDI(field, mask.astype(np.float32), mask, SPACING, direction)
    assert found_in_sphere(chi, mask, distance) == pytest.approx(0.15, rel=0.2)
    assert found_in_sphere(chi, mask, distance) < 0.15
    everywhere = np.ones(mask.shape, bool)
    chi = NDI(field, everywhere.astype(np.float32), everywhere, SPACING, direction)
    assert found_in_sphere(chi, mask, distance) == pytest.approx(0.15, rel=0.15)


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), TILTED])
def test_a_sphere_with_an_edge_in_the_magnitude_gets_its_susceptibility_from_medi(direction) -> None:
    mask, distance = ball()
    even = np.abs(distance - SPHERE[1]) > 2.5
    options = {"regularisation": 5e-4, "radians": RADIANS, "even": even}
    weight = mask.astype(np.float32)
    chi = morphology_enabled(field_of_sphere(direction), weight, mask, SPACING, direction, **options)
    assert found_in_sphere(chi, mask, distance) == pytest.approx(0.15, rel=0.06)
    assert chi[distance < 6].std() < 0.01
    assert not chi[~mask].any()


def test_whole_turns_in_the_field_spoil_the_linear_inversion_alone() -> None:
    mask, _ = ball()
    field, weight = field_of_sphere((0.0, 0.0, 1.0)), mask.astype(np.float32)
    wrong = field.copy()
    wrong[10:14, 24, 24] += 2 * np.pi / RADIANS
    errors = []
    for radians in (0.0, RADIANS):
        invert = partial(total_variation, regularisation=5e-4, iterations=40, outside=1.0, radians=radians)
        maps = [invert(values, weight, mask, SPACING, (0.0, 0.0, 1.0)) for values in (field, wrong)]
        errors.append(np.std((maps[1] - maps[0])[mask]))
    assert errors[1] < 0.2 * errors[0]


def test_the_compromise_of_phases_is_where_its_cost_is_least() -> None:
    rng = np.random.default_rng(2)
    predicted, measured = (rng.normal(0, 0.05, (6, 6, 6)).astype(np.float32) for _ in range(2))
    trust = rng.uniform(0.5, 2, (6, 6, 6)).astype(np.float32)
    slack, target = (np.zeros((6, 6, 6), np.float32) for _ in range(2))
    update_phase(predicted, measured, trust, np.float32(1), np.float32(RADIANS), slack, target)
    split = predicted - slack
    values = split[..., None] + np.linspace(-0.02, 0.02, 41)
    cost = trust[..., None] * (1 - np.cos(RADIANS * (values - measured[..., None]))) / RADIANS**2
    cost += (values - predicted[..., None]) ** 2 / 2
    assert (np.abs(cost.argmin(axis=-1) - 20) <= 1).all()


def test_a_ramp_is_made_a_staircase_by_total_variation_and_not_by_the_generalised() -> None:
    mask, distance = ball(40)
    rng = np.random.default_rng(0)
    x = grid(40, 2.0)[0] + 0 * distance
    true = np.where(distance < 24, 0.004 * x, 0).astype(np.float32)
    field = forward_field(true, SPACING, (0.0, 0.0, 1.0)) + rng.normal(0, 2e-3, mask.shape).astype(np.float32)
    shared = {"regularisation": 4e-3, "iterations": 60, "outside": 1.0}
    weight = mask.astype(np.float32)
    inside = distance < 18
    errors = []
    for invert in (total_variation, generalised_variation):
        chi = invert(field, weight, mask, SPACING, (0.0, 0.0, 1.0), **shared)
        errors.append(np.std(np.diff(chi - true, axis=0)[inside[1:]]))
    assert errors[1] < 0.8 * errors[0]


def test_voxels_with_an_absurd_field_are_trusted_less_by_medi() -> None:
    mask, distance = ball(40)
    field = field_of_sphere((0.0, 0.0, 1.0), 40)
    even = np.abs(distance - SPHERE[1]) > 2.5
    options = {"regularisation": 5e-4, "radians": RADIANS, "even": even, "outside": 1.0}
    wrong = field.copy()
    wrong[20, 20, 30] += 0.15
    weight = mask.astype(np.float32)
    chi = morphology_enabled(wrong, weight, mask, SPACING, (0.0, 0.0, 1.0), **options)
    linear = total_variation(
        wrong, weight, mask, SPACING, (0.0, 0.0, 1.0), regularisation=5e-4, iterations=60, outside=1.0
    )
    tissue = mask & (distance > 12)
    assert np.abs(chi[tissue]).max() < 0.7 * np.abs(linear[tissue]).max()


def test_the_descent_takes_of_a_trusted_field_what_its_response_says() -> None:
    shape = (32, 32, 32)
    rng = np.random.default_rng(4)
    field = 1e-4 * rng.normal(size=shape).astype(np.float32)
    mask = np.ones(shape, bool)
    kernel = np.linspace(-0.66, 0.33, 50, dtype=np.float32)
    share = 2 * 4 / 45 * 2 - 4 * np.mean((1 / 3 - ((np.arange(9999) + 0.5) / 9999) ** 2) ** 4)
    np.testing.assert_allclose(descended(kernel, 0.25), (4 * kernel - 4 * kernel**3) / share, atol=1e-4)
    chi = nonlinear_descent(
        field, mask.astype(np.float32), mask, SPACING, (0, 0, 1), radians=8, regularisation=1
    )
    # One step: the mean of D^2 over directions is 4/45.
    np.testing.assert_allclose(chi, 45 / 4 * forward_field(field, SPACING, (0, 0, 1)), atol=1e-6)
    assert steps_of(1) == 1


@cache
def whole_way(method: str) -> tuple[Phantom, QSMResult, int]:
    """Reconstruct with a method, and count how often it asked for the edges of its first map."""
    data = phantom()
    arguments = (data.magnitude, data.phase, TIMES, 3.0, data.affine, data.mask)
    with mock.patch.object(susceptibility, "map_edge_weights", wraps=map_edge_weights) as asked:
        result = reconstruct(*arguments, QSMSettings(inversion=method))
    return data, result, asked.call_count


@pytest.mark.parametrize("method", ["nltv", "medi", "tgv", "ndi"])
def test_every_method_measures_the_nuclei_and_says_its_weight(method) -> None:
    data, result, _ = whole_way(method)
    assert 0.85 < data.slope(result.chi) < 1.15
    assert result.parameters["dipole inversion"] == INVERSION[method]
    assert "chosen from the field's standard error" in result.parameters["regularisation"]
    assert (result.chi_error[result.mask] > 0).all()


def test_an_inversion_by_edges_of_the_magnitude_asks_for_none_of_the_first_map() -> None:
    _, result, asked = whole_way("medi")
    assert asked == 0
    assert not any("edges of the first map" in words for words in result.parameters.values())
    assert whole_way("nltv")[2] > 0


@pytest.mark.parametrize(
    ("method", "weight", "words"),
    [
        ("tv", 3e-4, "0.0003 ppm a voxel, given"),
        ("tkd", 0.3, "threshold 0.3, given"),
        ("tikhonov", 0.05, "regularisation 0.05, given"),
    ],
)
def test_a_weight_that_is_given_is_used_and_noted(method, weight, words) -> None:
    data = phantom()
    arguments = (data.magnitude, data.phase, TIMES, 3.0, data.affine, data.mask)
    given = reconstruct(*arguments, QSMSettings(inversion=method, regularisation=weight))
    usual = reconstruct(*arguments, QSMSettings(inversion=method))
    assert given.parameters["regularisation"] == words
    # A larger one lets less noise through, and that is what the standard error says.
    assert given.quality["chi_standard_error_ppb"] < usual.quality["chi_standard_error_ppb"]
    assert not np.allclose(given.chi, usual.chi, atol=1e-3)


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), TILTED])
def test_streaks_raise_the_streaking_index(direction) -> None:
    rng = np.random.default_rng(1)
    mask, distance = ball()
    true = np.where(distance < 9, 0.15, 0) + rng.normal(0, 0.01, mask.shape)
    assert streaking_index(true, mask, SPACING, direction) == pytest.approx(1, abs=0.05)
    field = field_of_sphere(direction) + rng.normal(0, 1e-3, mask.shape)
    found = [
        streaking_index(tkd(field, mask, SPACING, direction, threshold=threshold), mask, SPACING, direction)
        for threshold in (0.3, 0.1, 0.02)
    ]
    assert found[0] < found[1] < found[2]
    assert found[0] < 1
    assert found[2] > 1.5


def test_the_index_sees_streaks_along_the_true_field_only() -> None:
    rng = np.random.default_rng(1)
    mask, _ = ball()
    noise = rng.normal(0, 1e-3, mask.shape)
    chi = tkd(noise, mask, SPACING, TILTED, threshold=0.02)
    affine = np.eye(4)
    affine[:3, :3] = rotation_to(TILTED)
    assert streaking_index(chi, mask, SPACING, TILTED) > 1.5 * streaking_index(chi, mask, SPACING, (0, 0, 1))
    assert streaking_index(0 * chi, mask, SPACING, TILTED) is None
