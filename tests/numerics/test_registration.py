"""Rigid and template registration against motions and deformations that are known."""

from __future__ import annotations

import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ants
import nibabel as nib
import numpy as np
import pytest
from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tests.shared import REAL, needs_real_data
from voxelome.errors import DataError
from voxelome.registration import rigid
from voxelome.registration.metrics import mutual_information
from voxelome.registration.prepare import reduce_resolution
from voxelome.registration.resample import resample
from voxelome.registration.rigid import register_rigid
from voxelome.registration.stages import Transforms, read_affine, read_warp
from voxelome.registration.template import jacobian_determinant, load_template, register_template

LARGEST_ERROR = 0.5  # mm, on average over the brain


def motion(degrees: float, shift: list[float]) -> Any:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(degrees) * np.array([0.6, 0.48, 0.64])).as_matrix()
    matrix[:3, 3] = shift
    return matrix


TEN_DEGREES = motion(10, [5, -6, 6])


@dataclass
class Head:
    image: Any
    affine: Any
    mask: Any

    def moved(self, matrix: Any, shape: tuple[int, ...] | None = None, affine: Any = None) -> Any:
        """Another contrast (gray levels turned round) of the head after `matrix`, with noise."""
        other = np.where(self.image > 0.05, 1.2 - self.image, 0).astype(np.float32)
        shape, affine = (self.image.shape, self.affine) if shape is None else (shape, affine)
        data = resample(other, self.affine, shape, affine, matrix=np.linalg.inv(matrix))
        return data + np.random.default_rng(0).normal(0, 0.03, data.shape).astype(np.float32)

    def error(self, found: Any, truth: Any) -> float:
        """Mean distance in mm between where two matrices take the brain's voxels."""
        points = np.argwhere(self.mask)[::50] @ self.affine[:3, :3].T + self.affine[:3, 3]
        difference = found - truth
        return float(np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1).mean())


@pytest.fixture(scope="module")
def head() -> Head:
    return Head(*load_template(2))


def test_mutual_information_of_gaussians_is_the_analytic_value() -> None:
    rng, correlation = np.random.default_rng(1), 0.8
    first, noise = rng.normal(size=(2, 1_000_000))
    second = correlation * first + np.sqrt(1 - correlation**2) * noise
    expected = -0.5 * np.log2(1 - correlation**2)
    assert mutual_information(first, second, bins=64) == pytest.approx(expected, rel=0.03)
    assert mutual_information(first, -second, bins=64) == pytest.approx(expected, rel=0.03)
    assert mutual_information(first, noise) < 0.002
    assert mutual_information(first, np.ones_like(first)) == pytest.approx(0, abs=1e-9)


def test_a_motion_of_ten_degrees_is_recovered_across_contrasts_and_twice_the_same(head: Head) -> None:
    moving = head.moved(TEN_DEGREES)
    results = [
        register_rigid(moving, head.affine, head.image, head.affine, fixed_mask=head.mask, seed=3)
        for _ in range(2)
    ]
    assert head.error(results[0].matrix, TEN_DEGREES) < LARGEST_ERROR
    assert head.error(results[0].matrix, results[1].matrix) < 1e-3
    rotation = results[0].matrix[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
    assert results[0].mutual_information_after > 2 * results[0].mutual_information_before
    assert results[0].notes == []


def test_a_motion_is_recovered_from_thick_slices(head: Head) -> None:
    affine = head.affine @ np.diag([0.5, 0.5, 2.5, 1])
    moving = head.moved(TEN_DEGREES, (198, 234, 38), affine)
    result = register_rigid(moving, affine, head.image, head.affine, fixed_mask=head.mask)
    assert head.error(result.matrix, TEN_DEGREES) < LARGEST_ERROR


def test_a_motion_is_recovered_from_a_slab(head: Head) -> None:
    affine = head.affine.copy()
    affine[2, 3] = -10
    moving = head.moved(TEN_DEGREES, (99, 117, 20), affine)
    result = register_rigid(moving, affine, head.image, head.affine, fixed_mask=head.mask)
    assert head.error(result.matrix, TEN_DEGREES) < LARGEST_ERROR


def test_an_image_whose_header_has_lost_its_position_is_found(head: Head) -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    lost = affine @ np.linalg.inv(head.affine)
    moving = head.moved(TEN_DEGREES)
    result = register_rigid(moving, affine, head.image, head.affine, fixed_mask=head.mask)
    assert head.error(result.matrix, lost @ TEN_DEGREES) < LARGEST_ERROR


def test_a_result_worse_than_the_headers_is_not_used(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rigid, "run_stages", lambda *_, **__: Transforms(TEN_DEGREES))
    moving = head.moved(np.eye(4))
    result = register_rigid(moving, head.affine, head.image, head.affine, fixed_mask=head.mask)
    np.testing.assert_array_equal(result.matrix, np.eye(4))
    assert result.mutual_information_after == result.mutual_information_before
    assert len(result.notes) == 1
    assert "headers was kept" in result.notes[0]


def test_noise_is_not_aligned_and_the_user_is_told(head: Head) -> None:
    noise = np.random.default_rng(0).normal(size=head.image.shape)
    result = register_rigid(noise, head.affine, head.image, head.affine, fixed_mask=head.mask)
    np.testing.assert_array_equal(result.matrix, np.eye(4))
    assert "same head" in result.notes[0]


def test_a_single_slice_keeps_its_header_and_the_user_is_told(head: Head) -> None:
    affine = head.affine.copy()
    affine[2, 3] = 20
    result = register_rigid(head.image[:, :, 46:47], affine, head.image, head.affine, fixed_mask=head.mask)
    np.testing.assert_array_equal(result.matrix, np.eye(4))
    assert "overlap too little" in result.notes[0]


def test_images_that_cannot_be_aligned_are_refused(head: Head) -> None:
    flat = np.ones((20, 20, 20))
    with pytest.raises(DataError, match="only the value 1"):
        register_rigid(flat, head.affine, head.image, head.affine, fixed_mask=head.mask)
    with pytest.raises(DataError, match="mask"):
        register_rigid(head.image, head.affine, head.image, head.affine, fixed_mask=head.mask & False)
    with pytest.raises(DataError, match="NaN"):
        register_rigid(flat * np.nan, head.affine, head.image, head.affine)


def test_averaging_over_blocks_keeps_every_place_where_it_was() -> None:
    affine = motion(20, [3, 4, 5]) @ np.diag([0.7, 1.0, 3.0, 1.0])
    slope = np.array([0.2, -0.5, 0.9])
    voxels = np.stack(np.meshgrid(*map(np.arange, (31, 20, 9)), indexing="ij"), axis=-1)
    ramp = (voxels @ affine[:3, :3].T + affine[:3, 3]) @ slope
    reduced, coarse = reduce_resolution(ramp, affine)
    assert reduced.shape == (10, 10, 9)
    voxels = np.stack(np.meshgrid(*map(np.arange, reduced.shape), indexing="ij"), axis=-1)
    np.testing.assert_allclose(reduced, (voxels @ coarse[:3, :3].T + coarse[:3, 3]) @ slope, atol=1e-4)


def test_the_template_is_loaded_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for spacing, shape in ((1, (197, 233, 189)), (2.0, (99, 117, 95))):
        brain, affine, mask = load_template(spacing)
        assert brain.shape == mask.shape == shape
        np.testing.assert_array_equal(np.diag(affine), [spacing, spacing, spacing, 1])
        assert not brain[~mask].any()
        # Whole brain with ventricles; the cerebral and cerebellar template volume is about 1.9 l.
        assert mask.sum() * spacing**3 / 1e6 == pytest.approx(1.88, abs=0.02)
    with pytest.raises(DataError, match="3 mm"):
        load_template(3)


@dataclass
class Deformed:
    image: Any
    mask: Any
    tissue: Any
    template_tissue: Any


@pytest.fixture(scope="module")
def deformed(head: Head) -> Deformed:
    """The template's brain after an affine and a smooth deformation of up to 8 mm."""
    white, gray = (
        np.asarray(load(resolution=2).dataobj) for load in (load_mni152_wm_template, load_mni152_gm_template)
    )
    tissue = np.where(head.mask, np.where(white > np.maximum(gray, 0.3), 2, np.where(gray > 0.3, 1, 3)), 0)
    tissue = tissue.astype(np.uint8)
    rng = np.random.default_rng(0)
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=tissue.shape), 7) for _ in "xyz"], axis=-1)
    field = (field * 8 / np.abs(field[head.mask]).max()).astype(np.float32)
    matrix = motion(8, [5, -8, 10]) @ np.diag([1.06, 0.94, 1.03, 1])
    to_template: Any = {"matrix": np.linalg.inv(matrix), "displacement": field}
    grid = (tissue.shape, head.affine)
    image = resample(head.image, head.affine, *grid, **to_template)
    image += rng.normal(0, 0.02, image.shape).astype(np.float32) * (image > 0)
    moved = resample(tissue, head.affine, *grid, order="label", **to_template)
    return Deformed(image, moved > 0, moved, tissue)


def dice(first: Any, second: Any, label: int) -> float:
    both = ((first == label) & (second == label)).sum()
    return float(2 * both / ((first == label).sum() + (second == label).sum()))


def test_a_deformed_brain_is_brought_back_to_the_template_and_no_file_is_left(
    head: Head, deformed: Deformed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = register_template(
        deformed.image, head.affine, deformed.mask, head.image, head.affine, head.mask, threads=1, seed=0
    )
    assert list(tmp_path.iterdir()) == []
    grid = (head.image.shape, head.affine)
    affine: Any = {"matrix": result.affine, "order": "label"}
    linear = resample(deformed.tissue, head.affine, *grid, **affine)
    full = resample(deformed.tissue, head.affine, *grid, **affine, displacement=result.displacement)
    for label in (1, 2):
        before, after = (dice(found, deformed.template_tissue, label) for found in (linear, full))
        assert after > 0.92
        assert after > before + 0.1
    assert 0 < result.jacobian_min < 1 < result.jacobian_max
    jacobian = jacobian_determinant(result.displacement, head.affine)[head.mask]
    assert (jacobian.min(), jacobian.max()) == pytest.approx((result.jacobian_min, result.jacobian_max))


def test_the_jacobian_of_a_stretch_is_its_change_of_volume() -> None:
    affine = motion(30, [1, 2, 3]) @ np.diag([1.0, 2.0, 3.0, 1.0])
    points = np.stack(np.meshgrid(*map(np.arange, (6, 7, 8)), indexing="ij"), axis=-1) @ affine[:3, :3].T
    stretch = np.array([[0.2, 0.1, 0.0], [0.0, -0.1, 0.3], [0.05, 0.0, 0.4]])
    jacobian = jacobian_determinant(points @ stretch.T, affine)
    np.testing.assert_allclose(jacobian, np.linalg.det(np.eye(3) + stretch), rtol=1e-5)


def test_the_transforms_of_ants_mean_the_same_here(head: Head, deformed: Deformed, tmp_path: Path) -> None:
    image, coarse = reduce_resolution(head.image, head.affine, 6)
    moving, moving_affine = reduce_resolution(deformed.image, head.affine, 6)
    # An oblique moving grid, so that a direction that is mistaken shows.
    tilt = motion(25, [10, 20, -15])
    fixed, floating = (
        ants.from_nibabel_nifti(nib.Nifti1Image(data, affine))
        for data, affine in ((image, coarse), (moving, tilt @ moving_affine))
    )
    found = ants.registration(
        fixed, floating, "SyN", outprefix=str(tmp_path / "out"), reg_iterations=(20, 10), grad_step=0.3
    )
    warp, matrix = read_warp(Path(found["fwdtransforms"][0])), read_affine(Path(found["fwdtransforms"][1]))
    np.testing.assert_allclose(warp.affine, coarse, atol=1e-4)
    assert np.abs(warp.data).max() > 2
    theirs = ants.apply_transforms(fixed, floating, found["fwdtransforms"]).numpy()
    ours = resample(moving, tilt @ moving_affine, image.shape, coarse, matrix=matrix, displacement=warp.data)
    brain = image > 0.2
    assert np.corrcoef(ours[brain], theirs[brain])[0, 1] > 0.9999
    assert np.corrcoef(ours[brain], image[brain])[0, 1] > 0.8


@needs_real_data
def test_a_thick_slice_flair_returns_to_the_same_place_after_its_header_is_moved() -> None:
    folder = REAL / "sub-ms01" / "ses-01" / "anat"
    moving, fixed = (nib.load(folder / f"sub-ms01_ses-01_{name}.nii.gz") for name in ("FLAIR", "T1w"))
    data, reference = (np.asarray(image.dataobj, dtype=np.float32) for image in (moving, fixed))
    smooth = ndimage.gaussian_filter(reference, 2)
    head = Head(reference, fixed.affine, smooth > 0.25 * np.percentile(smooth, 99))
    push = motion(7, [8, -5, 6])
    first, second = (
        register_rigid(data, affine, reference, fixed.affine, fixed_mask=head.mask)
        for affine in (moving.affine, push @ moving.affine)
    )
    # The session's own alignment is good; the truth is not known better than that.
    assert head.error(first.matrix, np.eye(4)) < 1.5
    assert head.error(second.matrix, push @ first.matrix) < 0.25
    assert second.mutual_information_after == pytest.approx(first.mutual_information_after, rel=0.01)
