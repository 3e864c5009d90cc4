"""The viewer's small volumes lie where the image lies, keep its values, and lose no lesion."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from voxelome.errors import DataError
from voxelome.reports.volumes import (
    coarse_grid,
    coarse_image,
    coarse_labels,
    numbered_anew,
    packed,
    to_bytes,
    window_of,
)

OBLIQUE = np.array(
    [[0.98, -0.17, 0.0, -30.0], [0.17, 0.98, 0.0, -42.0], [0.0, 0.0, 1.2, 11.0], [0.0, 0.0, 0.0, 1.0]]
)


def blob(shape=(50, 60, 40), middle=(20.0, 33.0, 18.0), width=8.0) -> np.ndarray:
    """A smooth bright spot."""
    axes = np.meshgrid(*[np.arange(size) for size in shape], indexing="ij")
    distance = sum((axis - place) ** 2 for axis, place in zip(axes, middle, strict=True))
    return (100 * np.exp(-distance / (2 * width**2))).astype(np.float32)


def centre(values: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Centre of gravity in mm."""
    voxels = np.argwhere(values > 0)
    weights = values[values > 0].astype(float)
    return affine[:3, :3] @ (voxels * weights[:, None]).sum(0) / weights.sum() + affine[:3, 3]


@pytest.mark.parametrize("affine", [np.diag([1.0, 1.0, 1.0, 1.0]), OBLIQUE, np.diag([0.5, 0.7, 4.0, 1.0])])
def test_a_coarse_volume_lies_where_the_image_lies(affine):
    data = blob()
    grid = coarse_grid(data, affine)
    small = coarse_image(data, affine, grid)
    assert small.size < data.size
    assert np.linalg.norm(centre(small, grid.affine) - centre(data, affine)) < 0.3


def test_a_constant_stays_constant_and_axes_that_are_coarse_already_are_kept():
    data, affine = np.full((30, 30, 9), 7.0, np.float32), np.diag([1.0, 1.0, 5.0, 1.0])
    grid = coarse_grid(data, affine)
    assert grid.shape == (15, 15, 9)
    assert np.allclose(coarse_image(data, affine, grid), 7)


def test_the_grid_leaves_out_the_air_around_the_head():
    data = np.zeros((100, 100, 100), np.float32)
    data[40:60, 40:60, 40:60] = 1
    assert max(coarse_grid(data, np.eye(4)).shape) <= 15


def test_values_come_back_from_the_file_within_half_a_level_and_end_at_the_window():
    values = np.linspace(-0.3, 0.3, 1000).reshape(10, 10, 10).astype(np.float32)
    window = (-0.15, 0.15)
    packed_file = packed(to_bytes(values, window), np.eye(4), window)
    image = nib.Nifti1Image.from_bytes(gzip.decompress(packed_file))
    error = np.abs(image.get_fdata() - np.clip(values, *window))
    assert image.get_data_dtype() == np.uint8
    assert error.max() <= 0.5 * 0.3 / 255 + 1e-6


def test_what_has_no_value_is_dark_where_values_may_be_negative():
    values = np.array([[[0.0, -1.0, 1.0]]], np.float32)
    assert to_bytes(values, (-1, 1), hide_zero=True).ravel().tolist() == [0, 0, 255]
    assert to_bytes(values, (-1, 1)).ravel().tolist() == [128, 0, 255]


def test_a_window_of_an_empty_or_flat_image_is_not_empty():
    assert window_of(np.zeros((2, 2, 2), np.float32)) == (0, 1)
    low, high = window_of(np.full((2, 2, 2), 3, np.float32))
    assert high > low


def test_labels_keep_their_volume_and_their_place():
    data = blob()
    labels = (data > 50).astype(np.uint8) * 3
    grid = coarse_grid(data, OBLIQUE)
    small = coarse_labels(labels, OBLIQUE, grid)
    assert set(np.unique(small)) == {0, 3}
    fine = labels.astype(bool).sum() * abs(np.linalg.det(OBLIQUE))
    coarse = small.astype(bool).sum() * abs(np.linalg.det(grid.affine))
    assert coarse == pytest.approx(fine, rel=0.05)
    assert np.linalg.norm(centre(small, grid.affine) - centre(labels, OBLIQUE)) < 1  # half a voxel


def test_a_lesion_of_one_voxel_is_kept_wherever_it_lies():
    affine = np.eye(4)
    grid = coarse_grid(np.ones((20, 20, 20), np.float32), affine)
    for place in np.ndindex(4, 4, 4):
        labels = np.zeros((20, 20, 20), np.uint8)
        labels[tuple(np.array(place) + 8)] = 2
        small = coarse_labels(labels, affine, grid)
        assert (small == 2).sum() == 1
        assert np.linalg.norm(centre(small, grid.affine) - (np.array(place) + 8)) <= np.sqrt(3)


def test_a_small_label_inside_a_large_one_is_kept_wherever_it_lies():
    affine = np.eye(4)
    grid = coarse_grid(np.ones((20, 20, 20), np.float32), affine)
    for place in np.ndindex(4, 4, 4):
        labels = np.full((20, 20, 20), 1, np.uint8)
        labels[tuple(np.array(place) + 8)] = 2
        small = coarse_labels(labels, affine, grid)
        assert (small == 2).sum() == 1
        assert (small == 1).sum() == small.size - 1


def test_each_part_of_a_label_is_kept_and_none_grows_into_its_neighbour():
    labels = np.ones((40, 40, 40), np.uint8)
    labels[:, :, 20:] = 2
    spots = [(5, 5, 5), (12, 7, 30), (21, 20, 9), (30, 31, 33)]
    for spot in spots:
        labels[spot] = 3
    grid = coarse_grid(np.ones(labels.shape, np.float32), np.eye(4))
    small = coarse_labels(labels, np.eye(4), grid)
    assert (small == 3).sum() == len(spots)
    assert set(np.unique(small[:, :, :9])) == {1, 3}
    assert set(np.unique(small[:, :, 11:])) == {2, 3}


def test_labels_of_any_size_are_numbered_anew_in_the_order_of_their_values():
    labels = np.array([[[0, 2035, 1001, 2035]]], np.int16)
    numbered, values = numbered_anew(labels)
    assert numbered.ravel().tolist() == [0, 2, 1, 2]
    assert values == [1001, 2035]
    with pytest.raises(DataError, match="256 labels"):
        numbered_anew(np.arange(257).reshape(1, 1, 257))


def test_the_same_volume_gives_the_same_bytes():
    levels = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert packed(levels, np.eye(4), (0, 1)) == packed(levels, np.eye(4), (0, 1))


@pytest.mark.parametrize("labels", [np.full((3, 3, 3), -1), np.full((3, 3, 3), 256)])
def test_labels_that_a_byte_cannot_hold_are_refused(labels):
    grid = coarse_grid(np.ones((3, 3, 3), np.float32), np.eye(4))
    with pytest.raises(DataError, match="between 0 and 255"):
        coarse_labels(labels, np.eye(4), grid)


def test_an_image_of_four_dimensions_is_refused():
    with pytest.raises(DataError, match="3D"):
        coarse_grid(np.ones((3, 3, 3, 2), np.float32), np.eye(4))
