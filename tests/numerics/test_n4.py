"""N4 beside ITK's own filter."""

import numpy as np
import pytest
from scipy import ndimage

from voxelome.anat.n4 import fit_n4, sharpened
from voxelome.ants_image import AntsImage, run_ants

SHAPE = (40, 44, 36)


@pytest.fixture(scope="module")
def head():
    """Three tissues in shells with texture and noise, times a smooth field; voxels of 5 mm, and a mask."""
    x, y, z = (
        np.linspace(-1, 1, n)[tuple(np.s_[:] if k == axis else None for k in range(3))]
        for axis, n in enumerate(SHAPE)
    )
    rng = np.random.default_rng(5)
    radius = np.sqrt(x**2 + y**2 + z**2) + 0.1 * ndimage.gaussian_filter(rng.normal(size=SHAPE), 2) * 8
    tissue = np.select([radius < 0.45, radius < 0.7, radius < 0.9], [100.0, 70.0, 30.0], 0.0)
    field = np.exp(0.25 * x + 0.2 * y * z - 0.15 * z**2)
    return np.abs(tissue * field + rng.normal(0, 2, SHAPE)), radius < 0.85, field


def itk_field(data, mask, iterations):
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    image, corrected, field = (AntsImage(data.astype(np.float32), affine) for _ in range(3))
    region = AntsImage(mask.astype(np.float32), affine)  # N4 takes it for the image's type
    options = ["-d", "3", "-i", image.argument, "-x", region.argument, "-s", "1", "-b", "[1x1x1]"]
    options += ["-c", f"[{'x'.join(map(str, iterations))},1e-6]"]
    run_ants("N4BiasFieldCorrection", [*options, "-o", f"[{corrected.argument},{field.argument}]"])
    return np.log(field.array())


def own_field(data, mask, iterations):
    places = [np.linspace(0, 1, count) for count in data.shape]
    return fit_n4(np.log(np.where(mask, data, 1)), mask, places, iterations=iterations).on_grid(places)


@pytest.mark.parametrize("iterations", [(1,), (30,), (30, 30, 20)])
def test_the_field_is_that_of_itk(head, iterations):
    data, mask, _ = head
    own, itk = (found(data, mask, iterations)[mask] for found in (own_field, itk_field))
    assert np.corrcoef(own, itk)[0, 1] > 0.995
    difference = (own - own.mean()) - (itk - itk.mean())
    assert difference.std() < 0.1 * itk.std()


def test_a_known_field_is_found(head):
    data, mask, field = head
    own = own_field(data, mask, (30, 30, 20))[mask]
    assert np.corrcoef(own, np.log(field[mask]))[0, 1] > 0.95


def test_an_image_of_one_value_has_no_field():
    mask = np.ones((12, 12, 12), bool)
    assert np.abs(own_field(np.full(mask.shape, 7.0), mask, (10, 10))).max() == 0


def test_sharpening_draws_values_to_the_peaks_of_their_histogram():
    rng = np.random.default_rng(2)
    true = rng.choice([1.0, 2.0], 20000)
    blurred = true + rng.normal(0, 0.064, true.size)  # full width at half maximum 0.15
    assert np.std(sharpened(blurred) - true) < 0.5 * np.std(blurred - true)
