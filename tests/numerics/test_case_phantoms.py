"""Simulated head CT and aged brains: what was planted is there, and only that."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from voxelome.training import age_phantom, ct_phantom
from voxelome.training.age_phantom import simulate_brain, widened
from voxelome.training.bleeds import KINDS
from voxelome.training.ct_phantom import simulate_head_ct

# Voxels of 3.5 x 3.5 x 5 mm.
QUIET = ct_phantom.Scanner(
    (64, 64, 32), (224, 224), (160, 160), thickness=(0.01, 0.01), noise=(1e-3, 1e-3), streaks=(0, 0)
)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_a_haemorrhage_is_denser_than_brain_and_as_large_as_is_said(kind):
    head = simulate_head_ct(rng(), bleeding=True, kind=kind, scanner=QUIET)
    full = head.blood > 0.9 * head.blood.max()
    assert head.kind == kind
    assert 42 < np.median(head.image[full]) < 95
    assert head.millilitres == pytest.approx(head.blood.sum() * 3.5 * 3.5 * 5 / 1000)
    assert 1 <= head.millilitres < 160


def test_a_block_of_20_by_30_by_40_mm_of_blood_is_24_ml_however_it_is_turned():
    blood = np.zeros((16, 16, 16), np.float32)
    blood[2:12, 1:7, 3:11] = 1
    turn = Rotation.from_euler("xyz", (10, 20, 30), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([2.0, 5.0, 5.0])
    assert ct_phantom.HeadCT(blood, affine, blood, "subdural").millilitres == pytest.approx(24)
    # Half of what is in every voxel is half of the volume.
    assert ct_phantom.HeadCT(blood, affine, blood / 2, "subdural").millilitres == pytest.approx(12)


def test_the_same_person_without_haemorrhage_has_brain_of_20_to_50_hu_and_air_of_minus_1000():
    """Attenuation of tissues: Bushberg et al., The Essential Physics of Medical Imaging."""
    heads = [simulate_head_ct(rng(seed), bleeding=False, scanner=QUIET) for seed in range(3)]
    for head in heads:
        assert not head.blood.any()
        assert head.kind == ""
        middle = head.image[24:40, 24:40, 14:20]
        assert 20 < np.median(middle) < 50
        assert head.image[:, 0].min() == pytest.approx(-1000, abs=30)
        assert head.image.max() > 700


def test_of_many_haemorrhages_every_kind_occurs_and_none_is_below_a_millilitre():
    heads = [simulate_head_ct(rng(seed), bleeding=True) for seed in range(12)]
    assert {head.kind for head in heads} == set(KINDS)
    assert min(head.millilitres for head in heads) >= 1


def test_the_noise_of_the_unseen_scanner_is_beyond_that_of_the_training():
    known, unseen = ct_phantom.Scanner(), ct_phantom.UNSEEN
    assert unseen.noise[0] > known.noise[1]
    assert unseen.shape[2] < known.shape[2]
    known, unseen = age_phantom.Scanner(), age_phantom.UNSEEN
    assert unseen.noise[0] > known.noise[1]
    assert unseen.bias[0] > known.bias[1]
    assert unseen.elongation[0] > known.elongation[1]


def test_the_same_seed_gives_the_same_head_and_brain():
    first, second = (simulate_head_ct(rng(3), bleeding=True).image for _ in range(2))
    assert np.array_equal(first, second)
    first, second = (simulate_brain(rng(3)).image for _ in range(2))
    assert np.array_equal(first, second)


def test_with_age_ventricles_widen_and_gray_comes_nearer_to_white():
    still = age_phantom.Scanner(noise=(0, 0), bias=(0, 0), exponent=(1, 1))
    fluid, contrast = [], []
    for age in (25, 85):
        people = [simulate_brain(rng(seed), age=age, scanner=still) for seed in range(3)]
        fluid.append(np.mean([(person.image[person.brain] < 0.5).mean() for person in people]))
        contrast.append(np.mean([np.std(p.image[p.brain & (p.image > 0.55)]) for p in people]))
    assert fluid[1] > 1.15 * fluid[0]
    assert contrast[1] < contrast[0]


@pytest.mark.parametrize("amount", [0.3, 0.6])
def test_ventricles_widen_without_a_fold(amount):
    axes = [np.arange(low, high, 4.0) for low, high in ((-60, 60), (-80, 60), (-40, 70))]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    moved = widened(points, amount)
    gradient = np.stack([np.stack(np.gradient(part, 4.0)) for part in moved])
    determinant = np.linalg.det(np.moveaxis(gradient, (0, 1), (-2, -1)))
    assert determinant.min() > 0
    assert widened(points, 0.0) == pytest.approx(points)
