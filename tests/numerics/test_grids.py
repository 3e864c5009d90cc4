"""Images reach the network's grid where they belong, and probabilities come back to where they came from."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from nibabel.processing import conform as nibabel_conform
from scipy import ndimage
from scipy.spatial.transform import Rotation

from voxelome.errors import DataError
from voxelome.imageio import voxel_sizes
from voxelome.segmentation.conform import SHAPE, conform, conformed_affine, intensity_range
from voxelome.segmentation.grids import from_network, network_grid, to_network
from voxelome.segmentation.interpolate import linear
from voxelome.segmentation.spec import GridSpec

WHOLE = {"brain_only": False}


def affine_of(spacing: tuple[float, ...], angles: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    """Affine with voxels of `spacing`, turned by angles in degrees, and off the origin."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing
    affine[:3, 3] = (-31.0, 17.0, 5.0)
    return affine


def world(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """World coordinates of every voxel, shape (3, x, y, z)."""
    index = np.indices(shape).reshape(3, -1)
    return (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *shape)


def ramp(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """An image that is linear in space, so that linear interpolation is exact."""
    x, y, z = world(shape, affine)
    return (3 * x - 2 * y + 0.5 * z + 400).astype(np.float32)


@pytest.mark.parametrize("orientation", ["RAS", "LIA", "PSR"])
@pytest.mark.parametrize("angles", [(0, 0, 0), (12, -7, 20)])
def test_every_voxel_of_the_network_gets_the_value_of_its_place(orientation: str, angles: tuple) -> None:
    shape, affine = (20, 26, 14), affine_of((1.3, 0.9, 2.4), angles) @ np.diag([-1, 1, 1, 1])
    spec = GridSpec("spacing", (1.1, 1.2, 1.3), orientation, **WHOLE)
    grid = network_grid(shape, affine, spec)
    assert "".join(nib.aff2axcodes(grid.affine)) == orientation
    assert voxel_sizes(grid.affine) == pytest.approx(spec.spacing)
    found = to_network(ramp(shape, affine), grid)
    inner = (slice(2, -2),) * 3
    assert found[inner] == pytest.approx(ramp(grid.shape, grid.affine)[inner], abs=1e-2)


def test_the_same_grid_is_taken_voxel_by_voxel() -> None:
    shape, affine = (11, 12, 13), affine_of((1.00001, 0.99999, 1.0), (5, 5, 5))
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    grid = network_grid(shape, affine, GridSpec("spacing", (1, 1, 1), "LIA", **WHOLE))
    found = to_network(image, grid)
    turned = nib.as_closest_canonical(nib.Nifti1Image(image, affine)).get_fdata()
    assert (found == np.flip(turned.transpose(0, 2, 1), (0, 1)).astype(np.float32)).all()
    (back,) = from_network([found], grid, background=False)
    assert (back == image).all()


def test_the_field_of_view_is_covered_and_centred() -> None:
    grid = network_grid((100, 50, 31), affine_of((0.7, 1.0, 5.0)), GridSpec("spacing", (2, 2, 2), **WHOLE))
    assert grid.shape == (35, 25, 78)
    middle = grid.affine @ [17, 12, 38.5, 1]
    assert middle == pytest.approx(affine_of((0.7, 1.0, 5.0)) @ [49.5, 24.5, 15, 1])
    assert grid.box == (slice(0, 100), slice(0, 50), slice(0, 31))


def test_a_cube_spans_the_field_of_view() -> None:
    shape, affine = (30, 40, 20), affine_of((1.0, 1.5, 3.0), (10, 0, 0))
    grid = network_grid(shape, affine, GridSpec("cube", patch=(32, 32, 32), orientation="RAS", **WHOLE))
    assert grid.shape == (32, 32, 32)
    assert voxel_sizes(grid.affine) == pytest.approx((30 / 32, 60 / 32, 60 / 32))
    assert grid.affine @ [15.5, 15.5, 15.5, 1] == pytest.approx(affine @ [14.5, 19.5, 9.5, 1])


def test_the_grid_is_cut_to_the_brain_and_its_margin() -> None:
    shape, affine = (60, 60, 40), affine_of((1.0, 1.0, 2.0))
    brain = np.zeros(shape, bool)
    brain[20:41, 10:31, 15:26] = True
    spec = GridSpec("spacing", (1, 1, 2), margin=4.0)
    grid = network_grid(shape, affine, spec, brain)
    assert grid.box == (slice(16, 45), slice(6, 35), slice(13, 28))
    assert grid.shape == (29, 29, 15)
    near_the_edge = network_grid(shape, affine, GridSpec("spacing", (1, 1, 2), margin=50.0), brain)
    assert near_the_edge.shape == shape
    kept_around = GridSpec("spacing", (1, 1, 2), brain_only=False, crop=True, margin=4.0)
    assert network_grid(shape, affine, kept_around, brain).box == grid.box


def test_a_cut_grid_without_a_brain_is_refused() -> None:
    shape, affine = (9, 9, 9), np.eye(4)
    with pytest.raises(DataError, match="no brain mask"):
        network_grid(shape, affine, GridSpec())
    with pytest.raises(DataError, match="brain mask is empty"):
        network_grid(shape, affine, GridSpec(), np.zeros(shape, bool))
    with pytest.raises(DataError, match="no inverse"):
        network_grid(shape, np.zeros((4, 4)), GridSpec(**WHOLE))


def test_a_brain_beyond_256_mm_is_refused() -> None:
    brain = np.zeros((400, 4, 4), bool)
    brain[:3] = True
    with pytest.raises(DataError, match="field of view"):
        network_grid(brain.shape, np.eye(4), GridSpec("conform", margin=0.0), brain)


@pytest.mark.parametrize("kind", ["spacing", "cube", "conform"])
def test_probabilities_come_back_to_their_place_with_their_volume(kind: str) -> None:
    """A ball on a turned grid of thick slices: to the network, and back."""
    shape, affine = (64, 60, 24), affine_of((1.0, 1.1, 3.2), (17, -9, 24))
    points = world(shape, affine)
    middle = (affine @ [31, 29, 12, 1])[:3]
    distance = np.linalg.norm(points - middle.reshape(3, 1, 1, 1), axis=0)
    ball = np.clip((15 - distance) / 3.2 + 0.5, 0, 1).astype(np.float32)
    spec = GridSpec(kind, (1.2, 1.2, 1.2), patch=(60, 60, 60), **WHOLE)
    grid = network_grid(shape, affine, spec)
    there = to_network(ball, grid)
    true = world(grid.shape, grid.affine) - middle.reshape(3, 1, 1, 1)
    centre = np.array([(axis * there).sum() for axis in true]) / there.sum()
    assert np.abs(centre).max() < 0.1
    back = np.zeros(shape, np.float32)
    (back[grid.box],) = from_network([there], grid, background=False)
    dice = 2 * ((back > 0.5) & (ball > 0.5)).sum() / ((back > 0.5).sum() + (ball > 0.5).sum())
    assert dice > 0.97
    assert back.sum() == pytest.approx(ball.sum(), rel=0.01)


def test_outside_of_the_networks_grid_everything_is_background() -> None:
    shape, affine = (40, 40, 40), affine_of((1, 1, 1), (20, 0, 0))
    brain = np.zeros(shape, bool)
    brain[18:22, 18:22, 18:22] = True
    grid = network_grid(shape, affine, GridSpec("conform", margin=5.0), brain)
    none, all_of_it = np.zeros(grid.shape, np.float32), np.ones(grid.shape, np.float32)
    background, label = from_network([none, all_of_it], grid)
    assert background + label == pytest.approx(np.ones(label.shape), abs=1e-6)
    # The box around a turned cube has corners that the cube does not reach.
    assert (label == 0).any()
    assert label[tuple(size // 2 for size in label.shape)] == 1


def test_a_coarser_grid_gets_the_mean_and_not_single_voxels() -> None:
    noise = np.random.default_rng(1).normal(size=(120, 60, 60)).astype(np.float32)
    step = np.diag([3.0, 3.0, 3.0, 1.0])
    step[:3, 3] = 1
    coarse = linear(noise, step, (40, 20, 20))
    blocks = noise.reshape(40, 3, 20, 3, 20, 3).mean(axis=(1, 3, 5))
    assert coarse.std() < 0.3
    assert np.corrcoef(coarse.ravel(), blocks.ravel())[0, 1] > 0.85


@pytest.mark.parametrize("angles", [(0, 0, 0), (8, 15, -20)])
def test_interpolation_is_scipys_inside_and_zero_beyond_half_a_voxel(angles: tuple) -> None:
    data = np.random.default_rng(2).normal(size=(15, 16, 17)).astype(np.float32) + 5
    mapping = np.eye(4)
    mapping[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag([0.8, 1.2, -1.1])
    mapping[:3, 3] = (-1.3, 2.2, 15.4)
    shape = (22, 14, 18)
    points = (mapping[:3, :3] @ np.indices(shape).reshape(3, -1) + mapping[:3, 3:]).reshape(3, *shape)
    expected = ndimage.map_coordinates(data, points, order=1, mode="nearest")
    beyond = [(p < -0.5) | (p > n - 0.5) for p, n in zip(points, data.shape, strict=True)]
    expected[np.any(beyond, axis=0)] = 0
    assert linear(data, mapping, shape) == pytest.approx(expected, abs=1e-4)


def literal_conform(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """FastSurfer's conform, step by step: map the image, find the scale by counting, cut, round."""
    out = conformed_affine(data.shape, affine)
    vox2vox = np.linalg.inv(out) @ affine
    mapped = ndimage.affine_transform(data.astype(float), np.linalg.inv(vox2vox), output_shape=SHAPE, order=1)
    if data.dtype == np.uint8:
        return np.clip(np.rint(mapped), 0, 255).astype(np.uint8)
    low, high = data.min(), data.max()
    width = (high - low) / 1000
    counts = [0] * 1000
    for value in data.ravel().tolist():
        counts[min(999, int((value - low) / width))] += 1
    nonzero = sum(1 for value in data.ravel().tolist() if abs(value) >= 1e-15)
    target = data.size - int((1.0 - 0.999) * nonzero)
    running, edge = 0, 0
    while running < target:
        running += counts[edge]
        edge += 1
    upper = low + (edge - 2) * width
    scaled = np.clip(255 / (upper - low) * (mapped - low), 0, 255)
    scaled[mapped == 0] = 0
    return np.rint(scaled).astype(np.uint8)


def skewed_image(shape: tuple[int, ...]) -> np.ndarray:
    """Air, tissue and a few very bright voxels."""
    rng = np.random.default_rng(4)
    image = rng.gamma(3.0, 100.0, shape)
    image[: shape[0] // 3] = 0
    image[-2, -2, :3] = 9000.0
    return np.round(image)


@pytest.mark.parametrize("angles", [(0, 0, 0), (6, -11, 4)])
def test_conforming_is_what_fastsurfer_does(angles: tuple) -> None:
    image, affine = skewed_image((50, 41, 32)), affine_of((1.1, 1.0, 1.7), angles)
    found, out = conform(image, affine)
    expected = literal_conform(image, affine)
    assert found.shape == SHAPE
    assert found.dtype == np.uint8
    assert (found == expected).all()
    assert nib.aff2axcodes(out) == ("L", "I", "A")
    assert voxel_sizes(out) == pytest.approx((1, 1, 1))


def test_an_image_of_bytes_keeps_its_intensities() -> None:
    image = np.random.default_rng(5).integers(0, 200, (30, 31, 32)).astype(np.uint8)
    found, out = conform(image, np.diag([1.0, 1.0, 1.0, 1.0]))
    assert (found == literal_conform(image, np.eye(4))).all()
    # An odd count of voxels has its middle between two: only the even axes fall on whole voxels.
    even, _ = conform(image[:, 1:], np.eye(4))
    assert even.max() == image[:, 1:].max()
    assert even.sum() == image[:, 1:].sum()
    assert out[:3, 3] == pytest.approx([15 + 128, 15.5 - 128, 16 + 128])


def test_the_conformed_grid_is_nibabels_but_for_its_centre() -> None:
    """nibabel centres a voxel, FreeSurfer the point between two: up to a voxel apart."""
    image = nib.Nifti1Image(np.zeros((40, 50, 60), np.float32), affine_of((1.0, 1.0, 1.0)))
    theirs = nibabel_conform(image, orientation="LIA").affine
    ours = conformed_affine(image.shape, image.affine)
    assert ours[:3, :3] == pytest.approx(theirs[:3, :3])
    assert np.abs(ours[:3, 3] - theirs[:3, 3]).max() <= 1


def test_the_range_of_intensities_cuts_the_brightest_thousandth() -> None:
    values = np.arange(100_000, dtype=float).reshape(100, 100, 10)
    assert intensity_range(values) == pytest.approx((0, 99_899.001 - 99.999), abs=100)


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_constant_image_is_not_conformed(value: float) -> None:
    with pytest.raises(DataError, match="no contrast"):
        conform(np.full((8, 8, 8), value), np.eye(4))


def test_what_is_no_finite_volume_is_not_conformed() -> None:
    with pytest.raises(DataError, match="4 dimensions"):
        conform(np.ones((3, 3, 3, 2)), np.eye(4))
    with pytest.raises(DataError, match="NaN"):
        conform(np.full((3, 3, 3), np.nan), np.eye(4))
