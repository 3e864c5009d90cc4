"""Checks, orientation, bias field, intensities and skull stripping of anatomical images."""

import numpy as np
import pytest

from tests.shared import REAL, needs_real_data
from voxelome.anat.bias import correct_bias, head_mask, thin_out
from voxelome.anat.checks import check_volume
from voxelome.anat.normalise import zscore
from voxelome.anat.stripped import stripped_mask
from voxelome.errors import DataError
from voxelome.imageio import load_volume
from voxelome.orientation import to_canonical
from voxelome.registration.resample import resample

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def ball(shape=(60, 60, 60), radius=20.0):
    grid = np.indices(shape) - (np.array(shape).reshape(3, 1, 1, 1) - 1) / 2
    return np.linalg.norm(grid, axis=0) <= radius


def head(seed=0):
    """A ball of two tissues in a shell of scalp, in noisy air."""
    rng = np.random.default_rng(seed)
    data = np.abs(rng.normal(0, 4, (60, 60, 60)))
    data[ball(radius=27)] += 90
    data[ball(radius=24)] = np.abs(rng.normal(12, 4, ball(radius=24).sum()))
    data[ball(radius=22)] = rng.normal(70, 4, ball(radius=22).sum())
    data[ball(radius=15)] = rng.normal(100, 4, ball(radius=15).sum())
    return data.astype(np.float32)


@pytest.mark.parametrize(
    ("data", "affine", "says"),
    [
        (np.random.default_rng(0).normal(size=(9, 9, 9, 4)), AFFINE, r"4D with shape .* \(4 volumes\)"),
        (np.full((9, 9, 9), np.nan), AFFINE, "729 of 729 voxels are NaN"),
        (np.full((9, 9, 9), 7.0), AFFINE, "every voxel is 7"),
        (
            np.random.default_rng(0).normal(size=(9, 9, 9)),
            np.diag([2000, 2000, 2000, 1.0]),
            "voxels are 2e[+]03",
        ),
        (np.random.default_rng(0).normal(size=(9, 9, 2)), AFFINE, r"shape \(9, 9, 2\)"),
        (np.random.default_rng(0).normal(size=(9, 9, 9)), np.diag([2, 2, 0, 1.0]), "voxels are 2 x 2 x 0"),
        (
            np.random.default_rng(0).normal(size=(9, 9, 9)),
            np.array([[1.0, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
            "not at right angles",
        ),
    ],
)
def test_an_image_that_cannot_be_used_is_refused_with_the_reason(data, affine, says):
    with pytest.raises(DataError, match=says):
        check_volume(data, affine)


def test_thick_slices_and_small_fields_of_view_are_only_warned_of():
    data = np.random.default_rng(0).normal(size=(200, 200, 10))
    warnings = check_volume(data, np.diag([1.0, 1.0, 6.0, 1.0]))
    assert "thick slices (1 x 1 x 6 mm)" in warnings[0]
    assert "60 mm" in warnings[1]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (1, -1, -1)])
def test_reorientation_moves_no_voxel_in_the_world(order, signs):
    rng = np.random.default_rng(1)
    data = rng.normal(size=(5, 6, 7))
    affine = np.eye(4)
    affine[:3, :3] = np.diag([1.0, 2.0, 3.0])[:, order] * np.array(signs)
    affine[:3, 3] = (10, -20, 30)
    turned, turned_affine = to_canonical(data, affine)
    assert np.all(np.diag(turned_affine)[:3] > 0)
    voxel = np.array([1, 4, 5, 1])
    world = affine @ voxel
    again = np.rint(np.linalg.solve(turned_affine, world)).astype(int)
    assert turned[tuple(again[:3])] == data[1, 4, 5]


def test_a_known_bias_field_is_recovered():
    clean = head()
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 60)] * 3, indexing="ij")
    field = np.exp(0.5 * x - 0.4 * y + 0.3 * z * x)
    mask = ball(radius=22)
    field /= np.exp(np.log(field[mask]).mean())
    corrected, found = correct_bias(clean * field, AFFINE, mask)
    left = np.log(found / field)[mask]
    assert left.std() < 0.25 * np.log(field[mask]).std()
    white = ball(radius=14)
    assert (
        corrected[white].std() / corrected[white].mean()
        < 0.5 * (clean * field)[white].std() / clean[white].mean()
    )


def test_the_bias_field_does_not_change_the_mean_brightness():
    mask = ball(radius=22)
    _, field = correct_bias(head(), AFFINE, mask)
    assert np.log(field[mask]).mean() == pytest.approx(0, abs=1e-3)


def test_the_bias_field_does_not_depend_on_the_scale_of_the_intensities():
    mask = ball(radius=22)
    _, one = correct_bias(head(), AFFINE, mask)
    _, other = correct_bias(head() * 1e-4, AFFINE, mask)
    assert np.allclose(one[mask], other[mask], rtol=1e-3)


def test_an_empty_mask_is_refused_by_bias_correction():
    with pytest.raises(DataError, match="voxels have signal"):
        correct_bias(head(), AFFINE, np.zeros((60, 60, 60), dtype=bool))


def test_the_head_mask_is_the_head():
    mask = head_mask(head())
    truth = ball(radius=27)
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.98


def test_zscores_have_mean_0_and_deviation_1_in_the_mask_and_0_outside():
    mask = ball(radius=22)
    result = zscore(head(), mask)
    assert result[mask].mean() == pytest.approx(0, abs=1e-5)
    assert result[mask].std() == pytest.approx(1, abs=1e-5)
    assert not result[~mask].any()


def test_a_constant_brain_has_no_zscore():
    with pytest.raises(DataError, match="every voxel in the brain is 3"):
        zscore(np.full((5, 5, 5), 3.0), np.ones((5, 5, 5), dtype=bool))


def test_a_brain_without_its_skull_is_recognised_and_a_head_is_not():
    whole = head()
    brain = np.where(ball(radius=22), whole, 0)
    assert stripped_mask(brain, AFFINE) is not None
    assert stripped_mask(whole, AFFINE) is None


def test_a_head_whose_air_was_set_to_zero_is_not_taken_for_a_brain():
    affine = np.diag([3.5, 3.5, 3.5, 1.0])
    assert stripped_mask(np.where(ball(radius=27), head(), 0), affine) is None


def test_a_head_as_small_as_a_brain_is_known_by_its_skull():
    small = np.diag([2.4, 2.4, 2.4, 1.0])
    assert ball(radius=27).sum() * 2.4**3 / 1000 < 2200
    assert stripped_mask(np.where(ball(radius=27), head(), 0), small) is None
    assert stripped_mask(np.where(ball(radius=22), head(), 0), small) is not None


def test_the_mask_of_a_stripped_image_is_its_object_with_holes_filled():
    brain = np.where(ball(radius=22), head(), 0)
    brain[28:31, 28:31, 28:31] = 0
    assert np.array_equal(stripped_mask(brain, AFFINE), ball(radius=22))


@needs_real_data
@pytest.mark.parametrize(
    ("name", "stripped"),
    [
        ("sub-du7294/anat/sub-du7294_T1w.nii.gz", True),
        ("sub-du7294/anat/sub-du7294_FLAIR.nii.gz", True),
        ("sub-chris/anat/sub-chris_T1w.nii.gz", False),
        ("sub-ms01/ses-01/anat/sub-ms01_ses-01_FLAIR.nii.gz", False),
        ("sub-brain1/anat/sub-brain1_ce-gadolinium_T1w.nii.gz", False),
    ],
)
def test_real_images_are_told_apart(name, stripped):
    volume = load_volume(REAL / name)
    assert (stripped_mask(*to_canonical(volume.data, volume.affine)) is not None) == stripped


@pytest.mark.parametrize("shape", [(60, 61, 37), (64, 9, 50)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.7, 6.5), (2.0, 2.0, 4.0)])
def test_a_smooth_field_comes_back_from_a_few_of_its_voxels_up_to_the_edges(shape, spacing):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-40, 12, 7)
    x, y, z = (np.arange(count) * size for count, size in zip(shape, spacing, strict=True))
    field = np.exp(np.sin(x / 40)[:, None, None] * np.cos(y / 50)[:, None] * 0.3 + z / 500).astype(np.float32)
    coarse, coarse_affine = thin_out(field, affine)
    assert coarse.size <= field.size
    found = resample(coarse, coarse_affine, shape, affine)
    # A field beside its place would be off by 0.0075 a mm; the outermost voxels stand for what is beyond.
    np.testing.assert_allclose(found, field, rtol=0.02)
    inside = tuple(slice(int(5 / size) + 1, -int(5 / size) - 1) for size in spacing)
    np.testing.assert_allclose(found[inside], field[inside], rtol=0.003)
