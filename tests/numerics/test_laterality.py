"""An image whose header has left and right exchanged is found out; others are not accused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tests.shared import REAL, needs_real_data
from voxelome.errors import DataError
from voxelome.imageio import load_volume
from voxelome.registration.laterality import Laterality, check_laterality
from voxelome.registration.resample import resample
from voxelome.registration.rigid import register_rigid
from voxelome.registration.template import load_template

MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


def motion(x: float, y: float, z: float, shift: Any = (0, 0, 0)) -> Any:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [x, y, z], degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


@dataclass
class Head:
    image: Any
    affine: Any
    mask: Any

    def other_contrast(self) -> Any:
        turned = np.where(self.image > 0.05, 1.2 - self.image, 0)
        return turned + np.random.default_rng(0).normal(0, 0.05, turned.shape)

    def check(self, moving_affine: Any, matrix: Any, tilt: Any = MIRROR @ MIRROR) -> Laterality:
        """Verdict on its other contrast; `tilt` moves the head of the fixed image."""
        fixed_affine, matrix = tilt @ self.affine, matrix @ np.linalg.inv(tilt)
        other = self.other_contrast()
        return check_laterality(other, moving_affine, self.image, fixed_affine, self.mask, matrix)


@pytest.fixture(scope="module")
def symmetric() -> Head:
    """The template, which is its own mirror image; on voxels of 3 mm it is quick to register."""
    brain, affine, mask = load_template(2)
    voxels = affine @ np.diag([1.5, 1.5, 1.5, 1.0])
    voxels[0, 3] = -97.5  # symmetric about x = 0, too
    grid = ((66, 78, 63), voxels)
    return Head(resample(brain, affine, *grid), voxels, resample(mask, affine, *grid, order="nearest"))


@pytest.fixture(scope="module")
def head(symmetric: Head) -> Head:
    """The template after a smooth deformation of some millimetres, different left and right."""
    rng = np.random.default_rng(1)
    shape = symmetric.image.shape
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), 3.3) for _ in "xyz"], axis=-1)
    field = (field * 8 / np.abs(field).max()).astype(np.float32)
    options: Any = {"displacement": field}
    image = resample(symmetric.image, symmetric.affine, shape, symmetric.affine, **options)
    return Head(image, symmetric.affine, image > 0.05)


# The template's brain lies about x = 0, so that its mirror image lies in the same place: no shift is needed.
def test_a_header_with_left_and_right_exchanged_is_told_from_a_true_one(head: Head) -> None:
    tilt = motion(5, 12, -15, (10, -5, 8))
    true = head.check(head.affine, np.eye(4), tilt)
    exchanged = head.check(MIRROR @ head.affine, np.eye(4), tilt)
    assert (true.verdict, exchanged.verdict) == ("same", "mirrored")
    assert true.ratio < 0.75
    assert exchanged.ratio > 1.33
    assert exchanged.mirrored_mutual_information == pytest.approx(true.mutual_information, rel=0.05)


def test_a_head_that_is_its_own_mirror_image_decides_nothing(symmetric: Head) -> None:
    found = symmetric.check(symmetric.affine, np.eye(4))
    assert found.verdict == "undecided"
    assert found.ratio == pytest.approx(1, abs=0.03)


def test_an_alignment_that_has_failed_is_no_mirrored_header(head: Head) -> None:
    found = head.check(head.affine, motion(8, 5, -5, (8, 0, 5)))
    assert found.verdict == "same"


def test_noise_decides_nothing(head: Head) -> None:
    coarse = (slice(None, None, 2),) * 3
    image, mask, affine = head.image[coarse], head.mask[coarse], head.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    noise = np.random.default_rng(0).normal(size=image.shape)
    found = check_laterality(noise, affine, image, affine, mask, np.eye(4))
    assert found.verdict == "undecided"


def test_a_mask_without_brain_is_refused(head: Head) -> None:
    with pytest.raises(DataError, match="mask"):
        check_laterality(head.image, head.affine, head.image, head.affine, head.mask & False, np.eye(4))
    fine = head.affine @ np.diag([0.2, 0.2, 0.2, 1])
    speck = np.zeros_like(head.mask)
    speck[50, 50, 50] = True
    with pytest.raises(DataError, match="nothing left"):
        check_laterality(head.image, fine, head.image, fine, speck, np.eye(4))


@needs_real_data
@pytest.mark.parametrize("exchanged", [False, True])
def test_a_real_head_has_sides_across_contrasts_and_visits(exchanged: bool) -> None:
    target, source = (
        load_volume(REAL / f"sub-ms01/ses-{visit}/anat/sub-ms01_ses-{visit}_{name}.nii.gz")
        for visit, name in (("01", "T1w"), ("02", "FLAIR"))
    )
    away = (np.indices(target.data.shape).T - np.array(target.data.shape) / 2) * target.spacing
    mask = np.linalg.norm(away / (66, 84, 62), axis=-1).T < 1  # mm: 93 % of the brain
    affine = MIRROR @ source.affine if exchanged else source.affine
    images = (source.data, affine, target.data, target.affine)
    matrix = register_rigid(*images, fixed_mask=mask).matrix
    found = check_laterality(*images, mask, matrix)
    assert found.verdict == ("mirrored" if exchanged else "same")
    assert abs(np.log(found.ratio)) > np.log(1.5)
