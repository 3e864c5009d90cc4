"""Chains of perturbations against known solids, known noise and features without anything shared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from radiomics.featureextractor import RadiomicsFeatureExtractor
from scipy import ndimage

from tests.shared import DATA
from voxelome.errors import DataError
from voxelome.radiomics.extract import extract_regions, shape_features
from voxelome.radiomics.noise import noise_field, noise_level
from voxelome.radiomics.perturbation import (
    Perturbation,
    filter_reach,
    perturb,
    perturbations,
    perturbed_features,
)
from voxelome.radiomics.perturbed_outline import supervoxels
from voxelome.radiomics.results import FeatureValue
from voxelome.radiomics.settings import RadiomicsSettings, from_parameters

BRAIN1 = DATA / "extra" / "pyradiomics_brain1"
ISOTROPIC, THICK = np.eye(4), np.diag([0.8, 0.8, 4.0, 1.0])
SETTINGS = RadiomicsSettings(None, 16)
CHAIN = Perturbation(rotation=5.0, translation=(0.25, 0.75, 0.25), noise=3, volume=0.15, contour=7, rim=1)


def grid(shape: tuple[int, int, int], centre: tuple[float, float, float]) -> np.ndarray:
    axes = [np.arange(size) - middle for size, middle in zip(shape, centre, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def ball(size: int = 40, radius: float = 10.0) -> np.ndarray:
    return np.linalg.norm(grid((size,) * 3, ((size - 1) / 2,) * 3), axis=0) <= radius


def head(seed: int = 0, noise: float = 8.0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A smooth bright head in a frame of exact zeros, with two regions that differ from it."""
    rng = np.random.default_rng(seed)
    shape = (44, 48, 36)
    x, y, z = grid(shape, (22, 24, 18))
    regions = {
        "large": (x / 10) ** 2 + (y / 8) ** 2 + (z / 7) ** 2 <= 1,
        "small": (x - 9) ** 2 + (y + 9) ** 2 + (z - 4) ** 2 <= 4**2,
    }
    image = 300 + 40 * ndimage.gaussian_filter(rng.normal(size=shape), 4) / 0.02
    image = image + 60 * regions["large"] - 50 * regions["small"] + noise * rng.normal(size=shape)
    image[(x / 20) ** 2 + (y / 22) ** 2 + (z / 16) ** 2 > 1] = 0.0
    return image, regions


def numbers(values: list[FeatureValue]) -> dict[tuple[str, str, str], float | None]:
    return {(item.filter, item.feature_class, item.feature): item.value for item in values}


def brain1() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image, label = (SimpleITK.ReadImage(str(BRAIN1 / f"brain1_{name}.nrrd")) for name in ("image", "label"))
    data, mask = (SimpleITK.GetArrayFromImage(item).transpose() for item in (image, label))
    return data, mask == 1, np.diag([*image.GetSpacing(), 1.0])


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int16])
def test_a_chain_without_perturbations_gives_the_same_image_and_region(kind: type) -> None:
    image, regions = head()
    image = image.astype(kind)
    for mask in regions.values():
        found, region = perturb(image, mask, ISOTROPIC, Perturbation())
        assert np.array_equal(found, image)
        assert np.array_equal(region, mask)
        assert found.dtype == np.result_type(kind, np.float32)


def test_the_same_seed_gives_the_same_chains_within_their_bounds() -> None:
    chains = perturbations(50, 4, rotation=13.0, volume=0.1)
    assert chains == perturbations(50, 4, rotation=13.0, volume=0.1)
    assert chains != perturbations(50, 5, rotation=13.0, volume=0.1)
    assert len(set(chains)) == 50
    assert len({chain.motion for chain in chains}) == 10
    assert 15 <= sum(chain.noise is None for chain in chains) <= 35
    assert all(abs(chain.rotation) <= 13 and abs(chain.volume) <= 0.1 for chain in chains)
    assert {shift for chain in chains for shift in chain.translation} == {0.25, 0.75}
    still = perturbations(5, 0, rotation=0.0, shifts=(0.0,), volume=0.0, noise=False, contour=False)
    assert {replace(chain, rim=0) for chain in still} == {Perturbation()}


def test_a_perturbed_image_and_region_are_the_same_every_time() -> None:
    image, regions = head()
    first, again = (perturb(image, regions["large"], THICK, CHAIN) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize("affine", [ISOTROPIC, np.diag([1.0, 1.3, 1.1, 1.0])])
@pytest.mark.parametrize("rotation", [-13.0, 4.0, 90.0])
def test_the_volume_of_a_solid_stays_when_it_is_rotated(affine: np.ndarray, rotation: float) -> None:
    mask = ball()
    _, rotated = perturb(np.ones(mask.shape), mask, affine, Perturbation(rotation=rotation))
    assert rotated.sum() == pytest.approx(mask.sum(), rel=0.02)


def test_a_rod_turns_from_the_first_towards_the_second_axis_in_millimeters() -> None:
    x, y, z = grid((81, 41, 9), (40, 20, 4))
    rod = (x / 35) ** 2 + (y / 6) ** 2 + (z / 4) ** 2 <= 1
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    _, turned = perturb(np.ones(rod.shape), rod, affine, Perturbation(rotation=10.0))
    spread = np.cov((np.argwhere(turned) * [1.0, 2.0, 3.0])[:, :2].T)
    angle = 0.5 * np.arctan2(2 * spread[0, 1], spread[0, 0] - spread[1, 1])
    assert np.rad2deg(angle) == pytest.approx(10.0, abs=0.5)


def test_the_axis_across_thick_slices_is_that_of_the_rotation() -> None:
    x, y, z = grid((9, 41, 41), (4, 20, 20))
    rod = (abs(x) <= 2) & (abs(y) <= 15) & (abs(z) <= 3)
    _, turned = perturb(np.ones(rod.shape), rod, np.diag([4.0, 1.0, 1.0, 1.0]), Perturbation(rotation=10.0))
    assert np.array_equal(turned.any(axis=(1, 2)), rod.any(axis=(1, 2)))
    assert np.cov(np.argwhere(turned)[:, 1:].T)[0, 1] > 5


def test_a_translation_moves_a_ramp_by_its_gradient_times_the_shift() -> None:
    shape, gradient = (60, 60, 50), np.array([2.0, -1.0, 0.5])
    ramp = 1000 + np.tensordot(gradient, grid(shape, (0, 0, 0)), axes=1)
    mask = np.zeros(shape, dtype=bool)
    mask[26:34, 26:34, 21:29] = True
    shift = (0.25, 0.75, 0.25)
    moved, region = perturb(ramp, mask, ISOTROPIC, Perturbation(translation=shift))
    assert (moved - ramp)[mask] == pytest.approx(-gradient @ shift, abs=1e-8)
    # Of the cube, the voxels that it covers by more than a half.
    assert np.array_equal(np.argwhere(region).min(axis=0), [26, 27, 21])
    assert region.sum() <= mask.sum()


def test_far_from_the_region_the_image_stays_as_it_was() -> None:
    image = np.random.default_rng(0).normal(100, 10, (90, 90, 60))
    mask = np.zeros(image.shape, dtype=bool)
    mask[40:50, 40:50, 25:35] = True
    found, _ = perturb(image, mask, ISOTROPIC, Perturbation(rotation=5.0, noise=1), reach=(2, 2, 2))
    changed = found != image
    where = np.argwhere(changed)
    assert changed[mask].all()
    assert np.all(where.min(axis=0) > 10)
    assert np.all(where.max(axis=0) < np.array(image.shape) - 11)


def test_intensities_of_a_rotated_ellipsoid_stay() -> None:
    x, y, z = grid((50, 50, 40), (25, 25, 20))
    solid = (x / 14) ** 2 + (y / 8) ** 2 + (z / 9) ** 2 <= 1
    image = ndimage.gaussian_filter(np.where(solid, 200.0, 100.0), 1.0) + x
    chain = Perturbation(rotation=9.0, translation=(0.25, 0.25, 0.75))
    moved, region = perturb(image, solid, ISOTROPIC, chain)
    assert moved[region].mean() == pytest.approx(image[solid].mean(), rel=0.005)
    assert np.percentile(moved[region], 5) == pytest.approx(np.percentile(image[solid], 5), rel=0.03)


@pytest.mark.parametrize("affine", [ISOTROPIC, THICK])
@pytest.mark.parametrize("change", [-0.5, -0.1, 0.1, 0.203, 0.5])
def test_growth_and_shrinkage_change_the_volume_to_the_voxel_at_the_surface(
    affine: np.ndarray, change: float
) -> None:
    image, regions = head()
    for mask in regions.values():
        _, changed = perturb(image, mask, affine, Perturbation(volume=change))
        assert changed.sum() == round(mask.sum() * (1 + change))
        assert np.all(changed[mask]) if change > 0 else not np.any(changed & ~mask)
        spacing = np.diag(affine)[:3]
        distance = ndimage.distance_transform_edt(~mask if change > 0 else mask, sampling=spacing)
        side = ~mask if change > 0 else mask
        taken, left = distance[(changed != mask) & side], distance[(changed == mask) & side]
        assert taken.max() <= left.min()


def test_the_voxels_of_the_last_rim_are_a_matter_of_chance() -> None:
    image, regions = head()
    one, same, other = (
        perturb(image, regions["large"], ISOTROPIC, Perturbation(volume=0.1, rim=rim))[1] for rim in (0, 0, 1)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert one.sum() == other.sum()


@pytest.mark.parametrize("noise", [4.0, 8.0, 20.0])
@pytest.mark.parametrize("frame", [True, False])
def test_the_estimate_of_noise_is_that_of_simulated_noise(noise: float, frame: bool) -> None:
    image, _ = head(noise=noise)
    if not frame:
        # Air has less noise than tissue.
        image = np.where(image == 0, abs(np.random.default_rng(1).normal(0, noise, image.shape)), image)
    assert noise_level(image, (1.0, 1.0, 1.0)) == pytest.approx(noise, rel=0.1)


def test_noise_is_added_as_strong_as_that_of_the_image() -> None:
    image, regions = head(noise=8.0)
    noisy, region = perturb(image, regions["large"], ISOTROPIC, Perturbation(noise=5))
    added = (noisy - image)[region]
    assert np.array_equal(region, regions["large"])
    assert added.std() == pytest.approx(noise_level(image, (1.0, 1.0, 1.0)), rel=0.03)
    assert added.mean() == pytest.approx(0, abs=0.5)
    assert np.array_equal(noisy == 0, image == 0)


def test_a_voxel_has_the_same_noise_in_every_box() -> None:
    shape = (20, 21, 22)
    whole = noise_field((slice(0, 20), slice(0, 21), slice(0, 22)), shape, 3)
    part = noise_field((slice(4, 9), slice(3, 8), slice(10, 22)), shape, 3)
    assert np.array_equal(whole[4:9, 3:8, 10:22], part)
    assert abs(np.corrcoef(whole[0].ravel(), whole[1].ravel())[0, 1]) < 0.15
    assert whole.std() == pytest.approx(1, abs=0.03)


def test_what_is_not_known_stays_so_and_dims_nothing_beside_it() -> None:
    image = np.full((30, 30, 30), 100.0)
    image[:10] = 0.0
    mask = np.zeros(image.shape, dtype=bool)
    mask[10:16, 8:20, 8:20] = True
    moved, _ = perturb(image, mask, ISOTROPIC, Perturbation(rotation=6.0, translation=(0.25, 0.25, 0.25)))
    assert moved[moved != 0] == pytest.approx(100.0, abs=1e-9)
    assert (moved == 0).sum() == pytest.approx((image == 0).sum(), rel=0.02)


def test_another_outline_differs_near_the_surface_only_and_keeps_the_volume_on_average() -> None:
    rng = np.random.default_rng(0)
    mask = ball(48, 13.0)
    image = ndimage.gaussian_filter(np.where(mask, 200.0, 100.0), 1.0) + rng.normal(0, 20, mask.shape)
    outlines = [perturb(image, mask, ISOTROPIC, Perturbation(contour=seed))[1] for seed in range(12)]
    depth = ndimage.distance_transform_edt(mask) + ndimage.distance_transform_edt(~mask)
    assert len({outline.tobytes() for outline in outlines}) > 6
    for outline in outlines:
        # A supervoxel has a side of 8 voxels here.
        assert depth[outline != mask].max() <= 8
    assert np.mean([outline.sum() for outline in outlines]) == pytest.approx(mask.sum(), rel=0.05)


def test_supervoxels_follow_the_edges_of_the_image() -> None:
    mask = ball(48, 14.0)
    image = np.where(mask, 200.0, 20.0) + np.random.default_rng(0).normal(0, 5, mask.shape)
    labels = supervoxels(image, mask, (1.0, 1.0, 1.0))
    count = np.bincount(labels.ravel())
    share = (np.bincount(labels[mask], minlength=count.size) / np.maximum(count, 1))[labels]
    assert np.mean((share > 0.9)[mask]) > 0.8
    assert np.mean((share < 0.1)[~mask]) > 0.8


def by_hand(
    image: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    settings: RadiomicsSettings,
    chain: Perturbation,
    centre: tuple[float, float, float] | None = None,
) -> list[FeatureValue]:
    reach = filter_reach(settings, affine)
    moved, region = perturb(image, mask, affine, chain, reach=reach, centre=centre)
    found = extract_regions(moved, {"": region & (moved != 0)}, affine, settings)[""]
    return [*shape_features(region, affine, settings), *found.values]


FAMILY = [
    Perturbation(),
    CHAIN,
    replace(CHAIN, noise=None),
    replace(CHAIN, noise=None, volume=-0.2, contour=None),
    Perturbation(noise=2),
    Perturbation(rotation=-3.0, contour=1),
]
FILTERS = {
    "plain": {"Original": {}},
    "in a box": {"Original": {}, "Wavelet": {}, "Gradient": {}},
    "far-reaching": {"LoG": {"sigma": [1.0]}, "Square": {}},
}
OPTIONS = {
    "far-reaching": {"normalize": True, "normalizeScale": 100},
    "resampled": {"resampledPixelSpacing": [1.1, 1.1, 2.0]},
}


@pytest.mark.parametrize("kind", ["plain", "in a box", "far-reaching", "resampled"])
@pytest.mark.parametrize("affine", [ISOTROPIC, THICK])
def test_features_are_those_of_the_perturbed_image_and_region(kind: str, affine: np.ndarray) -> None:
    image, regions = head()
    settings = RadiomicsSettings(
        None,
        16,
        classes=("firstorder", "glcm"),
        image_types=FILTERS.get(kind, FILTERS["plain"]),
        options=OPTIONS.get(kind, {}),
    )
    mask = regions["large"]
    found = perturbed_features(image, {"one": mask}, affine, settings, FAMILY)
    assert list(found) == ["one"]
    for chain, features in zip(FAMILY, found["one"], strict=True):
        expected = numbers(by_hand(image, mask, affine, settings, chain))
        assert numbers(features.values) == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert None not in expected.values()


def test_regions_move_together_about_their_common_centre() -> None:
    image, regions = head()
    centre = np.argwhere(regions["large"] | regions["small"]).mean(axis=0)
    found = perturbed_features(image, regions, ISOTROPIC, SETTINGS, FAMILY[:3])
    for name, mask in regions.items():
        for chain, features in zip(FAMILY[:3], found[name], strict=True):
            expected = numbers(by_hand(image, mask, ISOTROPIC, SETTINGS, chain, tuple(centre)))
            assert numbers(features.values) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("corner", [(0, 0, 0), (34, 38, 0)])
def test_a_region_at_the_border_of_the_image_has_the_features_of_what_is_left_in_it(
    corner: tuple[int, int, int],
) -> None:
    image = np.random.default_rng(0).normal(100, 10, (44, 48, 36))
    mask = np.zeros(image.shape, dtype=bool)
    mask[tuple(slice(at, at + 10) for at in corner)] = True
    settings = RadiomicsSettings(None, 8, classes=("firstorder",), image_types=FILTERS["in a box"])
    (first, second) = perturbed_features(image, {"": mask}, ISOTROPIC, settings, [CHAIN, FAMILY[3]])[""]
    for chain, features in ((CHAIN, first), (FAMILY[3], second)):
        assert all(item.value is not None for item in features.values)
        expected = numbers(by_hand(image, mask, ISOTROPIC, settings, chain))
        assert numbers(features.values) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        (Perturbation(), "3 voxels, fewer than 10"),
        (Perturbation(translation=(0.0, 0.25, 0.75)), "3 voxels, fewer than 10"),
        (Perturbation(translation=(0.5, 0.6, 0.6)), "Nothing is left of the region where it moved"),
        (Perturbation(contour=0), "No supervoxel is left of 3 voxels"),
        (Perturbation(volume=0.5), "4 voxels, fewer than 10"),
    ],
)
def test_a_tiny_region_has_a_reason_and_no_features(chain: Perturbation, reason: str) -> None:
    image, _ = head()
    mask = np.zeros(image.shape, dtype=bool)
    mask[20:23, 24, 18] = True
    (found,) = perturbed_features(image, {"tiny": mask}, ISOTROPIC, SETTINGS, [chain])["tiny"]
    textures = [item for item in found.values if item.feature_class != "shape"]
    assert len(textures) == 93
    assert all(item.value is None and reason in item.reason for item in textures)


def test_a_flat_image_has_the_shape_of_every_outline_and_a_reason_for_the_rest() -> None:
    mask = ball()
    found = perturbed_features(np.full(mask.shape, 7.0), {"": mask}, ISOTROPIC, SETTINGS, FAMILY)[""]
    for features in found:
        for item in features.values:
            assert (item.value is None) == (item.feature_class != "shape")
            assert bool(item.reason) == (item.value is None)


def test_an_empty_region_has_a_reason_and_leaves_the_others_alone() -> None:
    image, regions = head()
    nothing = np.zeros(image.shape, dtype=bool)
    both = {"none": nothing, "large": regions["large"]}
    found = perturbed_features(image, both, ISOTROPIC, SETTINGS, FAMILY[:2])
    assert list(found) == ["none", "large"]
    assert (
        found["large"]
        == perturbed_features(image, {"large": regions["large"]}, ISOTROPIC, SETTINGS, FAMILY[:2])["large"]
    )
    for features in found["none"]:
        assert len(features.values) == 107
        assert {(item.value, item.reason) for item in features.values} == {(None, "The region is empty.")}
    assert perturbed_features(image, {"none": nothing}, ISOTROPIC, SETTINGS, FAMILY[:1])["none"]
    assert perturbed_features(image, {}, ISOTROPIC, SETTINGS, FAMILY) == {}


def test_chains_that_fail_leave_the_others_alone() -> None:
    image = np.zeros((30, 30, 30))
    mask = ball(30, 5.0)
    image[ball(30, 6.0)] = np.random.default_rng(0).normal(100, 10, ball(30, 6.0).sum())
    chains = [Perturbation(), Perturbation(noise=1)]
    fine, failed = perturbed_features(image, {"": mask}, ISOTROPIC, SETTINGS, chains)[""]
    assert all(item.value is not None for item in fine.values)
    assert all("places of the image are bright enough" in item.reason for item in failed.values)
    assert [(i.filter, i.feature, i.unit) for i in fine.values] == [
        (i.filter, i.feature, i.unit) for i in failed.values
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda image, mask: perturb(image[:-1], mask, ISOTROPIC, CHAIN),
        lambda image, mask: perturb(image[0], mask[0], ISOTROPIC, CHAIN),
        lambda image, mask: perturb(image, np.zeros_like(mask), ISOTROPIC, CHAIN),
        lambda image, mask: perturb(image, np.ones_like(mask), ISOTROPIC, Perturbation(volume=0.1)),
        lambda image, mask: Perturbation(volume=0.6),
        lambda image, mask: Perturbation(volume=np.nan),
        lambda image, mask: Perturbation(rotation=np.inf),
        lambda image, mask: Perturbation(noise=-1),
        lambda image, mask: perturbations(0, 1),
        lambda image, mask: perturbations(5, 1, shifts=()),
    ],
)
def test_what_cannot_be_perturbed_is_refused(wrong: Callable[[np.ndarray, np.ndarray], object]) -> None:
    image, regions = head()
    with pytest.raises(DataError):
        wrong(image, regions["large"])


@pytest.mark.skipif(not BRAIN1.is_dir(), reason=f"there is no image at {BRAIN1}")
def test_features_of_a_perturbed_tumour_are_those_of_pyradiomics_own_extractor() -> None:
    image, mask, affine = brain1()
    content = {"setting": {"binWidth": 25}, "imageType": {"Original": {}}}
    chains = [CHAIN, replace(CHAIN, noise=None, volume=-0.1)]
    found = perturbed_features(image, {"": mask}, affine, from_parameters(content), chains)[""]
    extractor = RadiomicsFeatureExtractor(content)
    for chain, features in zip(chains, found, strict=True):
        pair = [
            SimpleITK.GetImageFromArray(array.transpose().astype(np.float32))
            for array in perturb(image, mask, affine, chain)
        ]
        for item in pair:
            item.SetSpacing([float(size) for size in np.diag(affine)[:3]])
        theirs = extractor.execute(pair[0], SimpleITK.Cast(pair[1], SimpleITK.sitkUInt8))
        assert len(features.values) == 107
        for item in features.values:
            value = float(theirs[f"{item.filter}_{item.feature_class}_{item.feature}"])
            assert item.value == pytest.approx(value, rel=1e-9, abs=1e-12), item
