"""Every way to remove the background and to invert, on analytic fields."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from tests.numerics.test_qsm_susceptibility import TIMES, average, grid, phantom, sphere_field
from voxelome.errors import DataError
from voxelome.qsm.direct import tikhonov
from voxelome.qsm.fieldmap import fit_field
from voxelome.qsm.harmonic import iterative_means, laplacian_boundary_values, resharp
from voxelome.qsm.inversion import two_steps
from voxelome.qsm.pipeline import reconstruct
from voxelome.qsm.susceptibility import BACKGROUND, QSMSettings, map_susceptibility

SPACING = (2.0, 2.0, 2.0)
REMOVERS = [resharp, laplacian_boundary_values, iterative_means]


@pytest.mark.parametrize("remove", REMOVERS)
@pytest.mark.parametrize("spacing", [SPACING, (1.5, 1.5, 3.0)])
def test_the_field_of_a_source_outside_is_removed(remove, spacing) -> None:
    axes = [np.arange(-44, 44.1, step) for step in spacing]
    points = list(np.meshgrid(*axes, indexing="ij", sparse=True))
    mask = sum(axis**2 for axis in points) <= 40**2
    background = sphere_field(points, ((5.0, 55.0, 20.0), 12.0, 9.4), (0.0, 0.0, 1.0))
    local, kept = remove(background, mask, spacing)
    assert kept.sum() > 0.5 * mask.sum()
    assert np.sqrt(np.mean(local[kept] ** 2)) < 0.05 * np.std(background[kept])
    assert not local[~kept].any()


@pytest.mark.parametrize("remove", REMOVERS)
def test_the_field_of_sources_inside_stays(remove) -> None:
    data = phantom()
    local, kept = remove(data.local, data.mask, SPACING)
    assert np.corrcoef(local[kept], data.local[kept])[0, 1] > 0.9
    assert np.polyfit(data.local[kept], local[kept], 1)[0] == pytest.approx(1, abs=0.1)


# A sphere of long voxels is not quite round.
@pytest.mark.parametrize(("spacing", "share"), [(SPACING, 0.01), ((1.5, 1.5, 3.0), 0.04)])
def test_iterative_means_leave_a_harmonic_field_at_zero(spacing, share) -> None:
    axes = [np.arange(-30, 30.1, step) for step in spacing]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    mask = x**2 + y**2 + z**2 <= 27**2
    harmonic = (
        3
        + 0.1 * x
        - 0.05 * z
        + 0.01 * x * y
        + 0.004 * (2 * z**2 - x**2 - y**2)
        + 2e-4 * y * (y**2 - 3 * x**2)
    )
    local, kept = iterative_means(harmonic, mask, spacing)
    assert kept.sum() > 0.4 * mask.sum()
    assert np.abs(local[kept]).max() < share * np.std(harmonic[kept])


def test_a_start_near_the_background_saves_most_iterations() -> None:
    points = grid(60, 2.0)
    mask = sum(axis**2 for axis in points) <= 50**2
    background = sphere_field(points, ((0.0, 63.0, -20.0), 10.0, 9.4), (0.0, 0.0, 1.0)).astype(np.float32)
    near = background * np.float32(1.05)
    errors = [
        np.std(laplacian_boundary_values(background, mask, SPACING, iterations=8, **more)[0][mask])
        for more in ({}, {"start": near})
    ]
    assert errors[1] < 0.1 * errors[0]


def test_only_the_outermost_voxels_are_lost_to_the_boundary_values() -> None:
    data = phantom()
    _, kept = laplacian_boundary_values(data.local, data.mask, SPACING)
    np.testing.assert_array_equal(kept, ndimage.binary_erosion(data.mask))


@pytest.mark.parametrize(
    "invert", [partial(tikhonov, regularisation=0.02), partial(two_steps, threshold=0.15)]
)
@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (0.0, 0.6, 0.8)])
def test_a_sphere_gets_its_susceptibility(invert, direction) -> None:
    points = grid(48, 2.0)
    sphere = ((0.5, -0.4, 0.3), 9.0, 0.15)
    mask = sum(axis**2 for axis in points) <= 44**2
    field = average(sphere_field(grid(48, 2.0, 3), sphere, direction), 3)
    chi = invert(field, mask, SPACING, direction)
    distance = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(points, sphere[0], strict=True)))
    found = chi[distance < 7].mean() - chi[mask & (distance > 12)].mean()
    assert found == pytest.approx(0.15, rel=0.08)
    assert not chi[~mask].any()


@pytest.mark.parametrize(
    ("background", "inversion"),
    [("resharp", "rts"), ("lbv", "tikhonov"), ("pdf", "rts"), ("vsharp", "tv"), ("ismv", "tv")],
)
def test_every_method_measures_the_nuclei_beside_an_air_cavity(background, inversion) -> None:
    data = phantom()
    settings = QSMSettings(background=background, inversion=inversion)
    result = reconstruct(data.magnitude, data.phase, TIMES, 3.0, data.affine, data.mask, settings)
    assert 0.8 < data.slope(result.chi) < 1.15
    assert result.parameters["background removal"] == BACKGROUND[background]
    assert (result.chi_error[result.mask] > 0).all()
    assert not result.chi_error[~result.mask].any()


@pytest.mark.parametrize("background", ["vsharp", "resharp", "lbv", "ismv"])
def test_a_mask_thinner_than_the_spheres_is_refused(background) -> None:
    shape = (30, 30, 2)
    rng = np.random.default_rng(1)
    mask, series = np.ones(shape, bool), np.ones((*shape, 2))
    fit = fit_field(0 * series, series, (0.01, 0.02), mask, SPACING)
    settings = QSMSettings(background=background)
    affine = np.diag([*SPACING, 1.0])
    with pytest.raises(DataError, match="no inside"):
        map_susceptibility(rng.normal(size=shape), np.full(shape, 1e-3), fit, series, mask, affine, settings)
