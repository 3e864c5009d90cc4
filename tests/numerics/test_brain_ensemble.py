"""The atlas finds the brain whatever contrast and pose; the ensemble says where the methods disagree."""

from __future__ import annotations

import json
from pathlib import Path

import fill_voids
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation
from scipy.special import expit

from tests.shared import REAL, needs_real_data
from voxelome.anat.bias import correct_bias, head_mask
from voxelome.errors import DataError
from voxelome.imageio import load_volume
from voxelome.orientation import to_canonical
from voxelome.phantom.cohort import make_cohort
from voxelome.registration.atlas_brain import EDGE_SCALE, atlas_brain
from voxelome.registration.resample import resample
from voxelome.segmentation.deepbet import BrainExtractor, export_deepbet
from voxelome.segmentation.ensemble import DOUBTFUL, GOOD, fuse


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    make_cohort(folder, participants=1, sites=1, spacing=3.0)
    return folder


def simulated(cohort: Path, label: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, affine, and the true brain on its grid."""
    volume = load_volume(cohort / "sub-01" / "anat" / f"sub-01_{label}.nii.gz")
    truth = cohort / "derivatives" / "truth" / "sub-01" / "anat"
    brain = load_volume(truth / "sub-01_desc-brain_mask.nii.gz")
    motion = json.loads((truth / "sub-01_from-T1w_to-images_mode-image_xfm.json").read_text())["Transforms"]
    back = np.linalg.inv(np.array(motion.get(label, np.eye(4))))
    moved = resample(brain.data, brain.affine, volume.data.shape, volume.affine, matrix=back)
    return volume.data, volume.affine, moved > 0.5


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def test_the_atlas_finds_the_brain_whatever_the_contrast_the_pose_and_the_origin(cohort):
    """The simulated brain is the template's, deformed: the registration is proven, not the choice of edge."""
    data, affine, truth = simulated(cohort, "T2w")
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", [20, -10, 15], degrees=True).as_matrix()
    pose[:3, 3] = [60, -120, 90]
    found = atlas_brain(data, pose @ affine)
    assert dice(found.probability > 0.5, truth) > 0.96
    assert found.mutual_information > 0.5


@needs_real_data
def test_the_outline_of_a_head_is_not_taken_for_its_brain():
    """Slices of 6.5 mm and little contrast within the brain: the head's outline is the strongest edge."""
    name = "sub-brain1_ce-gadolinium_T1w.nii.gz"
    volume = load_volume(REAL / "sub-brain1" / "anat" / name)
    data, affine = to_canonical(volume.data, volume.affine)
    even, _ = correct_bias(data, affine, head_mask(data))
    brain = atlas_brain(even, affine).probability > 0.5
    # The largest of adults' brains; deepbet has 1705 ml, the head 3762 ml.
    assert brain.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000 < 2100


def test_an_image_without_a_head_is_refused():
    noise = np.random.default_rng(0).normal(100, 10, (60, 60, 60)).astype(np.float32)
    with pytest.raises(DataError, match="share only"):
        atlas_brain(noise, np.diag([3.0, 3.0, 3.0, 1.0]))


def test_the_mask_of_deepbet_is_what_its_probability_says(cohort, tmp_path, monkeypatch):
    data, affine, truth = simulated(cohort, "T1w")
    export_deepbet(tmp_path)
    extractor = BrainExtractor(tmp_path)
    answer = extractor._inside(data, affine)
    monkeypatch.setattr(extractor, "_inside", lambda *_: answer)  # seconds, and the same for both
    probability = extractor.probability(data, affine)
    assert probability.dtype == np.float32
    assert probability.shape == data.shape
    assert probability.min() >= 0
    assert probability.max() <= 1
    labels, _ = ndimage.label(probability > 0.5, np.ones((3, 3, 3)))
    largest = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    mask = extractor(data, affine)
    np.testing.assert_array_equal(mask, fill_voids.fill(largest))
    assert dice(mask, truth) > 0.96


SHAPE = (56, 56, 56)


def depth(radius: float, centre: tuple[float, float, float] = (28, 28, 28)) -> np.ndarray:
    """Distance in mm to the surface of a ball, positive inside, of voxels of 1 mm."""
    return radius - np.linalg.norm(np.indices(SHAPE).T - np.array(centre), axis=-1).T


def network(radius: float) -> np.ndarray:
    return (depth(radius) > 0).astype(np.float32)


def atlas(radius: float) -> np.ndarray:
    return expit(depth(radius) / EDGE_SCALE).astype(np.float32)


def test_methods_that_agree_leave_nothing_to_say():
    fused = fuse(network(20), atlas(20))
    assert fused.agreement > GOOD
    assert fused.notes == []


def test_a_difference_at_the_edge_is_said():
    fused = fuse(network(20), atlas(18.9))
    assert DOUBTFUL < fused.agreement < GOOD
    assert "at the edge" in fused.notes[0]


@pytest.mark.parametrize(("one", "other", "ratio"), [(20, 26, "0.4"), (20, 12, "4.")])
def test_a_gross_disagreement_is_said_and_a_lost_atlas_does_not_carry_the_mask_off(one, other, ratio):
    fused = fuse(network(one), atlas(other))
    assert fused.agreement < DOUBTFUL
    assert "nothing tells which" in fused.notes[0]
    assert f"{ratio}" in fused.notes[0]
    assert dice(fused.mask, depth(one) > 0) > 0.99
