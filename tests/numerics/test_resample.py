"""Resampling: geometry, labels, anti-aliasing, and transforms in ITK's form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from voxelome.errors import DataError
from voxelome.registration.resample import Order, load_itk_warp, resample, save_itk_affine, save_itk_warp

RNG = np.random.default_rng(7)
SHAPE = (24, 28, 20)
OBLIQUE = np.eye(4)
TILT = Rotation.from_euler("xyz", [10, -20, 15], degrees=True)
OBLIQUE[:3, :3] = TILT.as_matrix() @ np.diag([1.0, 1.2, 2.5])
OBLIQUE[:3, 3] = [-30, 12, 7]


def rigid(degrees: float, shift: list[float]) -> Any:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(degrees) * np.array([0.6, 0.0, 0.8])).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def world_grid(shape: tuple[int, ...], affine: Any) -> Any:
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def smooth_image(shape: tuple[int, ...] = SHAPE) -> Any:
    return ndimage.gaussian_filter(RNG.normal(size=shape), 2).astype(np.float32)


@pytest.mark.parametrize("order", ["linear", "cubic", "nearest", "label"])
@pytest.mark.parametrize("displaced", [False, True])
def test_resampling_to_the_same_grid_changes_nothing(order: Order, displaced: bool) -> None:
    data = RNG.integers(0, 5, SHAPE).astype(np.int16)
    displacement = np.zeros((*SHAPE, 3), np.float32) if displaced else None
    result = resample(data, OBLIQUE, SHAPE, OBLIQUE, displacement=displacement, order=order)
    np.testing.assert_allclose(result, data, atol=2e-3)
    assert result.dtype == (np.float32 if order in ("linear", "cubic") else np.int16)


@pytest.mark.parametrize("displaced", [False, True])
def test_a_linear_ramp_is_interpolated_exactly_under_a_rigid_motion(displaced: bool) -> None:
    slope, source = np.array([0.3, -0.7, 0.5]), np.diag([1.0, 2.0, 1.5, 1.0])
    source[:3, 3] = [-40, -40, -40]
    shape = (80, 40, 54)
    ramp = (world_grid(shape, source) @ slope).astype(np.float32)
    target = np.diag([2.0, 1.0, 2.0, 1.0])
    target[:3, 3] = [-15, -12, -14]
    matrix, shift = rigid(12, [2, -3, 4]), np.array([1.5, -2.0, 0.5])
    displacement = np.broadcast_to(shift, (15, 24, 14, 3)).astype(np.float32) if displaced else None
    points = world_grid((15, 24, 14), target) + (shift if displaced else 0)
    expected = (points @ matrix[:3, :3].T + matrix[:3, 3]) @ slope
    for order in ("linear", "cubic"):
        result = resample(
            ramp, source, (15, 24, 14), target, matrix=matrix, displacement=displacement, order=order
        )
        np.testing.assert_allclose(result, expected, atol=1e-2)


def test_an_image_reaches_half_a_voxel_beyond_its_outermost_centres() -> None:
    data, target = np.ones((4, 4, 4), np.float32), np.diag([0.25, 1.0, 1.0, 1.0])
    target[0, 3] = -1.0
    line = resample(data, np.eye(4), (24, 4, 4), target)[:, 2, 2]
    inside = np.abs(np.arange(24) * 0.25 - 1.0 - 1.5) <= 2.0
    np.testing.assert_array_equal(line, inside.astype(np.float32))


def test_a_single_slice_can_be_resampled() -> None:
    data = smooth_image((20, 20, 1))
    np.testing.assert_allclose(resample(data, np.eye(4), (20, 20, 1), np.eye(4)), data, atol=1e-6)


@pytest.mark.parametrize("displaced", [False, True])
def test_labels_are_the_argmax_of_interpolated_indicators(displaced: bool) -> None:
    labels = np.digitize(smooth_image(), [-0.03, 0.0, 0.02, 0.04]).astype(np.int32) * 7
    matrix = rigid(9, [1.3, -0.7, 0.4])
    displacement = smooth_image((*SHAPE, 3)) * 5 if displaced else None
    result = resample(
        labels, OBLIQUE, SHAPE, OBLIQUE, matrix=matrix, displacement=displacement, order="label"
    )
    to_source = np.linalg.inv(OBLIQUE) @ matrix
    points = world_grid(SHAPE, OBLIQUE) + (0 if displacement is None else displacement)
    where = np.moveaxis(points @ to_source[:3, :3].T + to_source[:3, 3], -1, 0)
    values = np.unique(labels)
    shares = np.stack(
        [
            ndimage.map_coordinates((labels == value).astype(float), where, order=1, mode="nearest")
            for value in values
        ]
    )
    limits = np.array(SHAPE).reshape(3, 1, 1, 1)
    inside = ((where > -0.5) & (where < limits - 0.5)).all(axis=0)
    ordered = np.sort(shares, axis=0)
    clear = inside & (ordered[-1] - ordered[-2] > 1e-3)
    np.testing.assert_array_equal(result[clear], values[shares.argmax(axis=0)][clear])
    assert set(np.unique(result)) <= {0, *values}
    assert not result[~inside].any()


def test_a_boolean_mask_stays_boolean() -> None:
    mask = smooth_image() > 0
    for order in ("nearest", "label"):
        result = resample(mask, OBLIQUE, SHAPE, OBLIQUE, order=order)
        assert result.dtype == np.bool_
        np.testing.assert_array_equal(result, mask)


def test_a_coarser_grid_averages_noise_instead_of_picking_voxels() -> None:
    noise = (100 + RNG.normal(size=(64, 64, 64))).astype(np.float32)
    coarse = np.diag([4.0, 4.0, 4.0, 1.0])
    coarse[:3, 3] = 1.5
    linear = resample(noise, np.eye(4), (16, 16, 16), coarse)
    assert linear.mean() == pytest.approx(100, abs=0.05)
    # A Gaussian of sigma s averages white noise down to (4 pi s^2)^(-3/4).
    sigma = np.sqrt(15 / (8 * np.log(2)))
    assert linear.std() == pytest.approx((4 * np.pi * sigma**2) ** -0.75, rel=0.2)
    nearest = resample(noise, np.eye(4), (16, 16, 16), coarse, order="nearest")
    assert nearest.std() == pytest.approx(1, rel=0.1)


def test_a_rotation_at_equal_resolution_is_not_smoothed() -> None:
    noise = RNG.normal(size=(40, 40, 40)).astype(np.float32)
    matrix = rigid(45, [0, 0, 0])
    result = resample(noise, np.eye(4), (40, 40, 40), np.eye(4), matrix=matrix)
    where = np.moveaxis(world_grid((40, 40, 40), np.eye(4)) @ matrix[:3, :3].T, -1, 0)
    expected = ndimage.map_coordinates(noise, where, order=1, mode="nearest")
    inside = ((where >= 0) & (where <= 39)).all(axis=0)
    np.testing.assert_allclose(result[inside], expected[inside], atol=1e-4)


def test_data_that_cannot_be_resampled_is_refused() -> None:
    with pytest.raises(DataError, match="4 dimensions"):
        resample(np.zeros((3, 3, 3, 2)), np.eye(4), (3, 3, 3), np.eye(4))
    with pytest.raises(DataError, match="no inverse"):
        resample(np.zeros((3, 3, 3)), np.diag([1.0, 1.0, 0.0, 1.0]), (3, 3, 3), np.eye(4))
    with pytest.raises(DataError, match="displacement"):
        resample(np.zeros((3, 3, 3)), np.eye(4), (3, 3, 3), np.eye(4), displacement=np.zeros((2, 3, 3, 3)))


def test_ants_applies_a_saved_affine_as_resample_does(tmp_path: Path) -> None:
    import ants

    moving, matrix = smooth_image(), rigid(14, [3.0, -2.0, 1.5])
    target = np.diag([1.3, 1.3, 2.0, 1.0])
    target[:3, 3] = OBLIQUE[:3, 3] + [2, 3, 4]
    path = save_itk_affine(tmp_path / "from-T2w_to-T1w_xfm.mat", matrix)
    fixed, floating = (
        ants.from_nibabel_nifti(nib.Nifti1Image(data, affine))
        for data, affine in ((np.zeros(SHAPE, np.float32), target), (moving, OBLIQUE))
    )
    theirs = ants.apply_transforms(fixed, floating, [str(path)]).numpy()
    ours = resample(moving, OBLIQUE, SHAPE, target, matrix=matrix)
    assert (ours != 0).mean() > 0.3
    difference = np.abs(ours - theirs)
    # At the edge of the field of view rounding decides whether a voxel is inside.
    assert np.quantile(difference, 0.999) < 1e-4 * np.abs(moving).max()
    flip = np.diag([-1.0, -1.0, 1.0])
    parameters = np.array(ants.read_transform(str(path)).parameters)
    np.testing.assert_allclose(parameters[:9].reshape(3, 3), flip @ matrix[:3, :3] @ flip, atol=1e-12)
    np.testing.assert_allclose(parameters[9:], flip @ matrix[:3, 3], atol=1e-12)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_labels_on_a_coarser_grid_are_those_that_fill_most_and_not_the_ones_that_are_hit() -> None:
    # Stripes a third as wide as the target's voxels: label 2 fills two thirds everywhere.
    labels = np.where(np.arange(60) % 3 == 1, 1, 2)[:, np.newaxis, np.newaxis] * np.ones((1, 60, 60))
    labels = labels.astype(np.uint8)
    coarse = np.diag([6.0, 6.0, 6.0, 1.0])
    coarse[:3, 3] = 4.0  # on the voxels of label 1
    grid = ((8, 8, 8), coarse)
    for displacement in (None, np.zeros((8, 8, 8, 3), np.float32)):
        assert (resample(labels, np.eye(4), *grid, displacement=displacement, order="nearest") == 1).all()
        assert (resample(labels, np.eye(4), *grid, displacement=displacement, order="label") == 2).all()


def test_ants_applies_a_saved_deformation_as_resample_does(tmp_path: Path) -> None:
    import ants

    moving, matrix = smooth_image(), rigid(14, [3.0, -2.0, 1.5])
    target = np.diag([1.3, 1.3, 2.0, 1.0])
    target[:3, 3] = OBLIQUE[:3, 3] + [2, 3, 4]
    displacement = np.stack([smooth_image() * 9 for _ in "xyz"], axis=-1)
    path = save_itk_warp(tmp_path / "from-T1w_to-template_xfm.nii.gz", displacement, target, matrix)
    fixed, floating = (
        ants.from_nibabel_nifti(nib.Nifti1Image(data, affine))
        for data, affine in ((np.zeros(SHAPE, np.float32), target), (moving, OBLIQUE))
    )
    theirs = ants.apply_transforms(fixed, floating, [str(path)]).numpy()
    grid = (SHAPE, target)
    ours = resample(moving, OBLIQUE, *grid, matrix=matrix, displacement=displacement)
    assert (ours != 0).mean() > 0.3
    assert np.quantile(np.abs(ours - theirs), 0.995) < 1e-4 * np.abs(moving).max()
    whole, affine = load_itk_warp(path)
    again = resample(moving, OBLIQUE, SHAPE, affine, displacement=whole)
    assert np.quantile(np.abs(ours - again), 0.995) < 1e-4 * np.abs(moving).max()
