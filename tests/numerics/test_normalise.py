"""Intensities that can be compared: what each method makes of known tissues, and of real images."""

import numpy as np
import pytest
from scipy import ndimage

from tests.shared import REAL, needs_real_data
from voxelome.anat.bias import correct_bias
from voxelome.anat.normalise import METHODS, apply_scale, normalise, zscore
from voxelome.errors import DataError
from voxelome.imageio import load_volume
from voxelome.phantom.anatomy import tissues_at
from voxelome.phantom.cohort import make_cohort
from voxelome.phantom.deform import Grid
from voxelome.phantom.person import make_person

# White matter, gray matter, fluid and lesion.
SIGNALS = {
    "T1w": (1000, 700, 220, 400),
    "ce-gadolinium_T1w": (1000, 720, 220, 1500),
    "T2w": (450, 620, 1200, 1000),
    "FLAIR": (550, 700, 60, 1100),
    "PDw": (700, 820, 1000, 1050),
}


def brain(contrast, *, white=0.4, gray=0.45, noise=20.0, lesion=0.0, step=0, thick=1, seed=0):
    """Image of compact tissues of given shares with partial volume, Rician noise, and the white matter."""
    rng = np.random.default_rng(seed)
    shape = (50, 50, 50 * thick)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 4)
    limits = np.quantile(field, [white, white + gray])
    tissue = np.digitize(field, limits)
    middle = np.array(shape).reshape(3, 1, 1, 1) / 2
    radius = np.linalg.norm(np.indices(shape) - middle, axis=0)
    tissue[radius < np.quantile(radius, lesion)] = 3
    image = ndimage.gaussian_filter(np.take(SIGNALS[contrast], tissue).astype(float), 0.6)
    image = image.reshape(50, 50, 50, thick).mean(axis=3)
    image = np.hypot(image + noise * rng.normal(size=image.shape), noise * rng.normal(size=image.shape))
    return np.rint(image / step) * step if step else image


def stripe_mean(image, contrast):
    return normalise(image, np.ones(image.shape, dtype=bool), "whitestripe", contrast).offset


@pytest.mark.parametrize("contrast", ["T1w", "ce-gadolinium_T1w"])
@pytest.mark.parametrize("white", [0.3, 0.45, 0.6])
@pytest.mark.parametrize("noise", [10, 50])
@pytest.mark.parametrize("lesion", [0, 0.1])
def test_the_white_stripe_lies_on_the_white_matter_that_was_planted(contrast, white, noise, lesion):
    image = brain(contrast, white=white, gray=0.85 - white, noise=noise, lesion=lesion)
    assert stripe_mean(image, contrast) == pytest.approx(1000, rel=0.02)


@pytest.mark.parametrize("contrast", ["T2w", "FLAIR", "PDw"])
@pytest.mark.parametrize("white", [0.35, 0.6])
@pytest.mark.parametrize("lesion", [0, 0.1])
def test_where_white_matter_is_dark_it_is_found_though_there_be_more_gray(contrast, white, lesion):
    image = brain(contrast, white=white, gray=0.85 - white, lesion=lesion)
    assert stripe_mean(image, contrast) == pytest.approx(SIGNALS[contrast][0], rel=0.05)


def test_fluid_that_flair_has_nulled_is_not_taken_for_tissue():
    image = brain("FLAIR", white=0.3, gray=0.25)
    assert stripe_mean(image, "FLAIR") == pytest.approx(550, rel=0.05)


@pytest.mark.parametrize("contrast", ["T1w", "T2w"])
@pytest.mark.parametrize("step", [10, 50])
def test_integer_steps_and_thick_slices_do_not_move_the_stripe(contrast, step):
    image = brain(contrast, noise=10, step=step, thick=3)
    assert stripe_mean(image, contrast) == pytest.approx(SIGNALS[contrast][0], rel=0.04)
    assert normalise(image, image > 0, "whitestripe", contrast).scale > 1


def test_the_stripe_is_a_tenth_of_the_brain_with_mean_0_and_deviation_1():
    image = brain("T1w")
    mask = np.zeros(image.shape, dtype=bool)
    mask[5:-5] = True
    result = normalise(image, mask, "whitestripe", "T1w")
    found = result.parameters
    stripe = mask & (image >= found["WhiteStripeLow"]) & (image <= found["WhiteStripeHigh"])
    assert stripe.sum() == pytest.approx(0.1 * mask.sum(), rel=0.01)
    assert result.data[stripe].mean() == pytest.approx(0, abs=0.01)
    assert result.data[stripe].std() == pytest.approx(1, abs=0.01)
    assert not result.data[~mask].any()


def test_what_lies_outside_the_field_of_view_does_not_count():
    image = brain("T2w")
    cut = image.copy()
    cut[..., :20] = 0
    assert stripe_mean(cut, "T2w") == pytest.approx(stripe_mean(image, "T2w"), rel=0.01)


def test_without_a_mode_of_white_matter_there_is_no_white_stripe():
    rng = np.random.default_rng(0)
    mask = np.ones((40, 40, 40), dtype=bool)
    with pytest.raises(DataError, match="no tissue stands out"):
        normalise(rng.uniform(1, 2, mask.shape), mask, "whitestripe", "T1w")
    # A bias field makes white matter so broad that gray matter has the one mode.
    white = rng.random(mask.shape) < 0.5
    spread = np.where(white, rng.normal(550, 180, mask.shape), rng.normal(330, 50, mask.shape))
    with pytest.raises(DataError, match="white matter, the brightest tissue, has no mode"):
        normalise(spread, mask, "whitestripe", "T1w")
    with pytest.raises(DataError, match="only 8 voxels"):
        normalise(np.arange(8.0).reshape(2, 2, 2) + 1, mask[:2, :2, :2], "whitestripe", "T1w")


# Mean of the stripe by intensity-normalization 3.0.1, and the step of the grid on which it looks for the
# mode: it cannot find it any nearer.
@needs_real_data
@pytest.mark.parametrize(("contrast", "theirs", "step"), [("FLAIR", 327.07, 9.9), ("T2w", 472.33, 33.6)])
def test_a_real_stripe_is_that_of_another_program(contrast, theirs, step):
    image = load_volume(REAL / f"sub-du7294/anat/sub-du7294_{contrast}.nii.gz").data
    result = normalise(image, image > 0, "whitestripe", contrast)
    assert result.offset == pytest.approx(theirs, abs=0.6 * step)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """T1w of three people at two sites, bias field corrected: image, brain, white matter."""
    folder = tmp_path_factory.mktemp("normalise") / "bids"
    make_cohort(folder, participants=3, sites=2, spacing=3.0)
    heads = []
    for index in range(3):
        person = make_person(index, 2, 0)
        name = f"sub-{person.label}"
        volume = load_volume(folder / f"{name}/anat/{name}_T1w.nii.gz")
        lesion = load_volume(folder / f"derivatives/masks/{name}/anat/{name}_desc-lesion_dseg.nii.gz").data
        points = Grid(volume.data.shape, volume.affine).points()
        tissues = tissues_at(person.warp.to_template(points), 3.0)
        # Few iterations leave some of the field, as there is in any image.
        image, _ = correct_bias(volume.data, volume.affine, tissues.brain, iterations=(30, 20))
        heads.append((image, tissues.brain, (tissues.fractions["wm"] > 0.98) & (lesion == 0) & tissues.brain))
    return heads


def spread_of_white_matter(heads, method, contrast="T1w"):
    """Deviation of white matter between images, against the range of the brain's values."""
    white, extent = [], []
    for image, mask, where in heads:
        data = normalise(image, mask, method, contrast).data
        white.append(np.median(data[where]))
        extent.append(np.ptp(np.percentile(data[mask], [1, 99])))
    return np.std(white) / np.mean(extent)


def test_white_matter_of_all_people_and_sites_has_one_value_more_so_than_by_zscore(cohort):
    spread = {method: spread_of_white_matter(cohort, method) for method in METHODS}
    assert spread["whitestripe"] < 0.5 * spread["zscore"]
    assert spread["whitestripe"] < 0.006
    assert spread["none"] > 0.2


def test_white_matter_has_one_value_whatever_the_lesion_and_the_atrophy_unlike_by_zscore():
    heads = []
    for scale, white, gray, lesion in ((1, 0.4, 0.5, 0), (2.5, 0.4, 0.3, 0), (1.4, 0.5, 0.4, 0.1)):
        image = brain("T1w", white=white, gray=gray, lesion=lesion, noise=30) * scale
        where = np.abs(image / scale - 1000) < 100
        heads.append((image, np.ones(image.shape, dtype=bool), where))
    assert spread_of_white_matter(heads, "whitestripe") < 0.1 * spread_of_white_matter(heads, "zscore")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_a_line_that_can_be_applied_again_and_is_0_outside(method):
    image = brain("T1w")
    mask = np.indices(image.shape)[0] > 10
    result = normalise(image, mask, method, "T1w")
    assert result.data.dtype == np.float32
    assert not result.data[~mask].any()
    assert np.allclose(result.data[mask] * result.scale + result.offset, image[mask], rtol=1e-4, atol=0.01)
    assert np.array_equal(apply_scale(image, mask, result.offset, result.scale), result.data)
    other = normalise(3 * image + 0, mask, method, "T1w")
    if method != "none":
        assert np.allclose(other.data, result.data, atol=0.01)


def test_percentiles_become_0_and_1_and_nothing_is_clipped():
    image = brain("T1w")
    mask = np.ones(image.shape, dtype=bool)
    result = normalise(image, mask, "percentile", "T1w")
    assert np.allclose(np.percentile(result.data, [1, 99]), [0, 1], atol=1e-5)
    assert result.data.min() < 0
    assert result.data.max() > 1
    assert "not clipped" in result.units


def test_zscores_are_the_same_by_both_names():
    image = brain("T1w")
    mask = image > 300
    assert np.array_equal(zscore(image, mask), normalise(image, mask, "zscore", "T1w").data)


def test_none_keeps_the_values():
    image = brain("T1w").astype(np.float32)
    mask = image > 300
    assert np.array_equal(normalise(image, mask, "none", "T1w").data, np.where(mask, image, 0))


def test_a_method_that_there_is_not_and_an_empty_mask_are_refused():
    image = brain("T1w")
    with pytest.raises(DataError, match="did you mean whitestripe"):
        normalise(image, image > 0, "whitestrip", "T1w")
    for method in METHODS:
        with pytest.raises(DataError, match="no voxel of the image lies in the brain mask"):
            normalise(image, image < 0, method, "T1w")
