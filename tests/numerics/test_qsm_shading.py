"""Smooth shading of a map is told by the fluid, which is uniform."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tests.numerics.test_qsm_twopass import maps_of
from voxelome.phantom.anatomy import NUCLEI
from voxelome.phantom.magnetic import make_susceptibility_head
from voxelome.qsm.pipeline import reconstruct
from voxelome.qsm.shading import shading_of
from voxelome.qsm.susceptibility import QSMSettings

SHAPE = (64, 64, 64)
POINTS = np.indices(SHAPE) - 31.5
BALL = (POINTS**2).sum(0) < 30**2
SPACING = (1.0, 1.0, 1.0)
# A pool of fluid in the middle, and one at the side.
FLUID = ((POINTS**2).sum(0) < 6**2) | (
    ((POINTS - np.array([20, 0, 0]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 5**2
)
R2STAR = np.where(FLUID, 1.0, 20.0)
TISSUE = np.where(FLUID, 0.0, 0.03 * np.sin(POINTS[0]) + 0.01)


def test_uniform_fluid_takes_nothing_out_whatever_the_tissue() -> None:
    found = shading_of(TISSUE - 0.02, R2STAR, BALL, SPACING)
    assert found.voxels == pytest.approx(FLUID.sum(), rel=0.05)
    assert np.abs(found.values).max() < 1e-6


def test_shading_is_found_where_fluid_is_and_not_made_up_far_from_it() -> None:
    shade = 0.01 * np.exp(-((POINTS[0] - 20) ** 2 + POINTS[1] ** 2 + POINTS[2] ** 2) / 2 / 15**2)
    found = shading_of(TISSUE + shade, R2STAR, BALL, SPACING)
    both = shade + np.where(FLUID, 0, np.nan)
    # But for a constant, which no map tells.
    true = shade[52, 32, 32] - shade[32, 32, 32]
    assert found.values[52, 32, 32] - found.values[32, 32, 32] == pytest.approx(true, rel=0.25)
    assert np.nanstd(both - found.values) < 0.4 * np.nanstd(both)
    assert np.abs(found.values[~BALL]).max() == 0
    assert abs(found.values[3, 32, 32]) < 0.1 * abs(true)
    assert found.rms == pytest.approx(np.sqrt(np.mean(found.values[BALL] ** 2)))


def test_a_cyst_with_a_susceptibility_of_its_own_counts_no_more_than_the_spread_of_the_fluid() -> None:
    rng = np.random.default_rng(0)
    noisy = TISSUE + 0.003 * rng.normal(size=SHAPE)
    cyst = ((POINTS - np.array([0, 20, 0]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 4**2
    r2star = np.where(cyst, 1.0, R2STAR)
    found = shading_of(np.where(cyst, 0.5, noisy), r2star, BALL, SPACING)
    assert np.abs(found.values).max() < 0.015


def test_where_there_is_no_fluid_nothing_is_taken_out() -> None:
    found = shading_of(TISSUE, np.full(SHAPE, 20.0), BALL, SPACING)
    assert (found.voxels, found.rms) == (0, 0.0)
    assert not found.values.any()


def test_voxels_of_other_sizes_give_the_same_shading() -> None:
    shade = 0.01 * POINTS[0] / 20
    fine = shading_of(TISSUE + shade, R2STAR, BALL, SPACING).values
    thick = (slice(None), slice(None), slice(0, 64, 2))
    coarse = shading_of((TISSUE + shade)[thick], R2STAR[thick], BALL[thick], (1.0, 1.0, 2.0)).values
    inside = ndimage.binary_erosion(BALL)[thick]
    assert np.corrcoef(fine[thick][inside], coarse[inside])[0, 1] > 0.98
    assert np.std(fine[thick][inside] - coarse[inside]) < 0.2 * np.std(fine[thick][inside])


def test_a_head_comes_out_nearer_to_the_truth_and_its_nuclei_too() -> None:
    truth = make_susceptibility_head(0, seed=5, spacing=1.5, tilt=(25.0, 12.0, 0.0))
    errors, nuclei = {}, {}
    for shading in ("none", "fluid"):
        result = maps_of(truth, QSMSettings(shading=shading))
        m = result.mask
        off = (result.chi - result.chi[m].mean()) - (truth.chi - truth.chi[m].mean())
        errors[shading] = np.linalg.norm(off[m]) / np.linalg.norm(truth.chi[m] - truth.chi[m].mean())
        regions = [m & (truth.labels == number) for number in range(1, len(NUCLEI) + 1)]
        nuclei[shading] = np.sqrt(np.mean([off[region].mean() ** 2 for region in regions]))
        said = result.parameters["shading"]
    assert "voxels of fluid" in said
    assert errors["fluid"] < 0.97 * errors["none"]
    assert nuclei["fluid"] < nuclei["none"]


@pytest.mark.parametrize(("r2star", "why"), [(20.0, "no fluid was found"), (None, "there is only one echo")])
def test_what_is_left_in_is_said_with_the_reason(r2star: float | None, why: str) -> None:
    times = (0.006, 0.012, 0.018) if r2star else (0.018,)
    magnitude = np.stack([BALL * np.exp(-(r2star or 20.0) * time) for time in times], axis=-1)
    phase = np.zeros_like(magnitude)
    result = reconstruct(magnitude, phase, times, 3.0, np.eye(4), BALL, QSMSettings())
    assert result.parameters["shading"].startswith("left in: ")
    assert why in result.parameters["shading"]
