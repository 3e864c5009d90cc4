"""The IBSI engine against IBSI's consensus values and known solids; `make test-mirp` runs it with mirp."""

from __future__ import annotations

import csv
import json
import logging
import re
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tests.shared import IBSI, needs_ibsi
from voxelome.errors import DataError
from voxelome.imageio import save_volume
from voxelome.interfaces import ExtractRadiomics
from voxelome.radiomics import selfcheck
from voxelome.radiomics.ibsi_engine import check_settings, extract_regions, shape_features
from voxelome.radiomics.results import FeatureValue
from voxelome.radiomics.settings import RadiomicsSettings
from voxelome.step import StepRecord

needs_mirp = pytest.mark.skipif(find_spec("mirp") is None, reason="mirp is not here: make test-mirp has it")

STORED = Path(selfcheck.__file__).with_name("selfcheck_mirp.json")

SPACING = (0.8, 1.0, 1.5)
AFFINE = np.diag([*SPACING, 1.0])
COUNT_16 = RadiomicsSettings(bin_width=None, bin_count=16)
# Names that mirp has for IBSI's ways of aggregation.
AGGREGATIONS = {
    "2d_avg": "2D_avg",
    "2d_s_mrg": "2D_comb",
    "2.5d_d_mrg": "2_5D_avg",
    "2.5d_v_mrg": "2_5D_comb",
    "3d_avg": "3D_avg",
    "3d_v_mrg": "3D_comb",
    "2d": "2D",
    "2.5d": "2_5D",
    "3d": "3D",
}


def by_name(values: list[FeatureValue]) -> dict[str, float | None]:
    return {item.feature: item.value for item in values}


def reasons(values: list[FeatureValue], *classes: str) -> set[str]:
    return {item.reason for item in values if not classes or item.feature_class in classes}


def textured(shape: tuple[int, int, int]) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(5).normal(size=shape), 1.0)
    return (noise * 1000).astype(np.float32)


def ball(shape: tuple[int, int, int], center: tuple[int, int, int], radius: float) -> np.ndarray:
    offsets = [
        (at - middle) * size for at, middle, size in zip(np.indices(shape), center, SPACING, strict=True)
    ]
    return sum(offset**2 for offset in offsets) <= radius**2


SHAPE = (36, 34, 28)
IMAGE = textured(SHAPE)
BALL = ball(SHAPE, (16, 16, 14), 4.0)


@pytest.fixture(scope="module")
def phantom_values() -> dict[str, float | None]:
    """Features of the digital phantom by IBSI's tags, in three dimensions and slice by slice."""
    image, mask = (
        nib.load(IBSI / "ibsi1_digital_phantom" / f"{name}.nii.gz") for name in ("phantom", "mask")
    )
    region = np.asarray(mask.dataobj) > 0
    found: dict[str, float | None] = {}
    for flat in (False, True):
        # Levels of width 1 from 1 on are the gray levels that the phantom has.
        options = {"resegmentRange": [1, 6], "force2D": flat}
        settings = RadiomicsSettings(bin_width=1.0, bin_count=None, options=options)
        values = extract_regions(image.get_fdata(), {"region": region}, image.affine, settings)[
            "region"
        ].values
        found |= by_name([*values, *shape_features(region, image.affine, settings)])
    return {ibsi_tag(name): value for name, value in found.items()}


def ibsi_tag(name: str) -> str:
    """Tag of IBSI's table for a tag of mirp."""
    plain = re.sub(r"_d1(_a0\.0)?(?=_)", "", name)
    for way, tag in AGGREGATIONS.items():
        if plain.endswith(f"_{way}"):
            return plain.removesuffix(way) + tag
    return plain


def consensus() -> dict[str, tuple[float, float]]:
    """Value and tolerance by IBSI's tag, where there is a consensus."""
    with (IBSI / "ibsi1_reference" / "ibsi_1_dig_phantom.csv").open() as file:
        rows = [row for row in csv.DictReader(file, delimiter=";") if row["reference value"]]
    return {row["tag"]: (float(row["reference value"]), float(row["tolerance"])) for row in rows}


@needs_mirp
@needs_ibsi
def test_the_digital_phantom_has_every_consensus_value_of_ibsi(phantom_values) -> None:
    # In these two the phantom's levels count as they are; levels of a width count as their middle.
    middle = dict.fromkeys(("ivh_i10", "ivh_i90"), 0.5)
    agreed = 0
    for tag, (expected, tolerance) in consensus().items():
        # Published with three digits: half a unit of the third is rounding, not deviation.
        rounding = 0.5 * 10.0 ** (np.floor(np.log10(abs(expected))) - 2) if expected else 0.0
        value = phantom_values[tag] - middle.get(tag, 0.0)
        assert value == pytest.approx(expected, abs=tolerance + 1.001 * rounding), tag
        agreed += tag not in middle
    assert agreed == 480


@needs_mirp
@needs_ibsi
@pytest.mark.parametrize(
    ("test", "phantom", "image_type", "name"),
    [
        ("2_a", "impulse", {"LoG": {"sigma": [3.0]}}, "log-sigma-3-0-mm-3D"),
        ("5_a_1", "impulse", {"Wavelet": {"wavelet": "db2"}}, "wavelet-LHL"),
        ("6_a_1", "sphere", {"Wavelet": {"wavelet": "coif1"}}, "wavelet-HHL"),
    ],
)
def test_derived_images_have_the_statistics_of_ibsis_response_maps(test, phantom, image_type, name) -> None:
    path = IBSI / "ibsi2_digital_phantom" / phantom / "image" / f"{phantom}.nii.gz"
    response = IBSI / "ibsi2_reference" / "response_maps" / f"{test}-ValidCRM.nii.gz"
    image, expected = nib.load(path), nib.load(response).get_fdata()
    region = np.zeros(image.shape, dtype=bool)
    region[28:36, 30:33, 27:38] = True
    settings = RadiomicsSettings(None, 16, classes=("firstorder",), image_types=image_type)
    found = extract_regions(image.get_fdata(), {"region": region}, image.affine, settings)["region"]
    values = {item.feature: item.value for item in found.values if item.filter == name}
    inside = expected[region]
    accuracy = 1e-4 * np.ptp(expected)
    assert values["stat_mean"] == pytest.approx(inside.mean(), abs=accuracy)
    assert values["stat_min"] == pytest.approx(inside.min(), abs=accuracy)
    assert values["stat_max"] == pytest.approx(inside.max(), abs=accuracy)
    assert values["stat_var"] == pytest.approx(inside.var(), rel=1e-3)


BOX = np.zeros((14, 12, 10), dtype=bool)
BOX[2:12, 3:9, 4:8] = True


@needs_mirp
def test_a_box_has_the_axes_and_the_volume_that_geometry_says() -> None:
    found = by_name(shape_features(BOX, AFFINE))
    counts = (10, 6, 4)
    # Voxels count as points at their centers, with the variance of a sample of all of them.
    lengths = [
        4 * size * np.sqrt((count**2 - 1) / 12 * 240 / 239)
        for count, size in zip(counts, SPACING, strict=True)
    ]
    least, minor, major = sorted(lengths)
    assert found["morph_vol_approx"] == pytest.approx(np.prod(counts) * np.prod(SPACING))
    assert found["morph_pca_maj_axis"] == pytest.approx(major)
    assert found["morph_pca_min_axis"] == pytest.approx(minor)
    assert found["morph_pca_least_axis"] == pytest.approx(least)


@needs_mirp
def test_resampling_along_x_leaves_the_extent_along_y_and_z() -> None:
    settings = RadiomicsSettings(None, 2, options={"resampledPixelSpacing": [0.4, 0.0, 0.0]})
    before, after = by_name(shape_features(BOX, AFFINE)), by_name(shape_features(BOX, AFFINE, settings))
    assert after["morph_vol_approx"] == pytest.approx(before["morph_vol_approx"], rel=0.06)
    for axis in ("min", "least"):
        assert after[f"morph_pca_{axis}_axis"] == pytest.approx(before[f"morph_pca_{axis}_axis"], rel=2e-3)
    assert after["morph_pca_maj_axis"] != pytest.approx(before["morph_pca_maj_axis"], rel=2e-3)


@needs_mirp
@pytest.mark.parametrize(
    "settings",
    [
        COUNT_16,
        RadiomicsSettings(
            bin_width=100.0,
            bin_count=None,
            classes=("glcm", "ngtdm"),
            image_types={"Original": {}, "LoG": {"sigma": [1.5], "binCount": 8}},
            options={"resegmentRange": [-500.0], "resampledPixelSpacing": [1.0, 1.0, 1.0]},
        ),
    ],
)
def test_regions_of_one_image_have_the_features_that_each_has_alone(settings: RadiomicsSettings) -> None:
    # Above 1,000 voxels mirp draws numbers for some features: the same ones every time.
    masks = {"large": ball(SHAPE, (18, 18, 14), 7.5), "overlapping": BALL}
    together = extract_regions(IMAGE, masks, AFFINE, settings)
    assert reasons([item for found in together.values() for item in found.values]) == {""}
    for name, mask in masks.items():
        assert extract_regions(IMAGE, {name: mask}, AFFINE, settings)[name] == together[name]


@needs_mirp
def test_features_are_named_and_ordered_alike_whether_a_region_has_them_or_not() -> None:
    found = extract_regions(IMAGE, {"there": BALL, "not": np.zeros_like(BALL)}, AFFINE, COUNT_16)
    there, absent = (
        [(item.feature_class, item.feature) for item in found[name].values] for name in ("there", "not")
    )
    assert there == absent
    classes = list(dict.fromkeys(name for name, _ in there))
    assert classes[:5] == ["firstorder", "intensityhistogram", "ivh", "localintensity", "spatial"]
    assert classes[5:] == ["glcm", "glrlm", "glszm", "gldzm", "gldm", "ngtdm"]
    assert ("glcm", "cm_joint_max_d1_3d_avg") in there
    assert found["there"].levels == {"original": 16}


@needs_mirp
def test_a_region_that_allows_no_features_gets_a_reason_and_no_value() -> None:
    one, line = np.zeros_like(BALL), np.zeros_like(BALL)
    one[5, 5, 5] = line[2:20, 5, 5] = True
    plane = BALL & (np.indices(SHAPE)[2] == 14)
    masks = {"empty": np.zeros_like(BALL), "one": one, "line": line, "plane": plane}
    any_size = RadiomicsSettings(None, 16, minimum_voxels=1)
    thin = "The region is one voxel thick: features in three dimensions are not defined."
    expected = {
        "empty": "The region is empty.",
        "one": "The region is one voxel.",
        "line": thin,
        "plane": thin,
    }
    for name, found in extract_regions(IMAGE, masks, AFFINE, any_size).items():
        values = [*found.values, *shape_features(masks[name], AFFINE)]
        assert reasons(values) == {expected[name]}
        assert {item.value for item in values} == {None}
    found = extract_regions(IMAGE, {"one": one}, AFFINE, COUNT_16)["one"]
    assert reasons(found.values) == {"The region has 1 voxels, fewer than 10."}


@needs_mirp
def test_intensities_that_allow_no_features_get_a_reason_and_no_value() -> None:
    constant, broken = IMAGE.copy(), IMAGE.copy()
    constant[BALL] = 7.0
    broken[16, 16, 14] = np.nan
    for image, reason in (
        (constant, "The image is constant in the region (7)."),
        (broken, f"1 of the region's {np.count_nonzero(BALL)} voxels are not finite."),
    ):
        values = extract_regions(image, {"ball": BALL}, AFFINE, COUNT_16)["ball"].values
        assert reasons(values) == {reason}
        assert {item.value for item in values} == {None}


@needs_mirp
def test_one_gray_level_leaves_statistics_and_no_texture() -> None:
    settings = RadiomicsSettings(1e5, None, options={"resegmentRange": [-1e4]})
    found = extract_regions(IMAGE, {"ball": BALL}, AFFINE, settings)["ball"]
    assert found.levels == {"original": 1}
    assert reasons(found.values, "firstorder", "localintensity", "spatial") == {""}
    one = "All intensities of the region lie in one gray level of width 100000."
    assert reasons(
        found.values, "intensityhistogram", "glcm", "glrlm", "glszm", "gldzm", "gldm", "ngtdm"
    ) == {one}


@needs_mirp
def test_a_region_that_processing_empties_says_which_step_did() -> None:
    options = {"resegmentRange": [1e6]}
    settings = RadiomicsSettings(None, 16, options=options)
    found = extract_regions(IMAGE, {"ball": BALL}, AFFINE, settings)["ball"]
    assert reasons(found.values) == {"Resegmentation left nothing of the region."}
    speck = np.zeros_like(BALL)
    speck[9:11, 8:10, 7:9] = True
    coarse = RadiomicsSettings(
        None, 16, minimum_voxels=1, options={"resampledPixelSpacing": [12.0, 12.0, 12.0]}
    )
    found = extract_regions(IMAGE, {"speck": speck}, AFFINE, coarse)["speck"]
    assert reasons(found.values) == {"Resampling left nothing of the region."}
    assert reasons(shape_features(speck, AFFINE, coarse)) == {"Resampling left nothing of the region."}


@needs_mirp
def test_where_no_voxel_differs_from_its_neighbors_coarseness_is_not_a_million() -> None:
    two = np.zeros(SHAPE, dtype=bool)
    two[3:8, 3:8, 3:8] = two[20:25, 20:25, 20:25] = True
    image = np.where(np.indices(SHAPE)[0] < 14, 7.0, 9.0)
    found = extract_regions(image, {"two": two}, AFFINE, COUNT_16)["two"]
    none = "No voxel differs from its neighbors in the region, or none has any."
    assert reasons(found.values, "ngtdm") == {none}
    assert reasons(found.values, "glrlm") == {""}


@needs_mirp
def test_slices_are_taken_one_by_one_where_that_is_asked() -> None:
    flat = RadiomicsSettings(None, 16, options={"force2D": True}, image_types={"Original": {}, "Wavelet": {}})
    plane = BALL & (np.indices(SHAPE)[2] == 14)
    square = np.diag([1.0, 1.0, 3.0, 1.0])
    found = extract_regions(IMAGE, {"plane": plane}, square, flat)["plane"]
    values = by_name([item for item in found.values if item.filter == "original"])
    assert values["cm_contrast_d1_2d_avg"] == pytest.approx(values["cm_contrast_d1_2.5d_d_mrg"])
    assert list(found.levels) == ["original", "wavelet-LL", "wavelet-LH", "wavelet-HL", "wavelet-HH"]
    thinner = RadiomicsSettings(None, 16, options={"force2D": True, "resampledPixelSpacing": [1, 1, 1]})
    with pytest.raises(DataError, match="force2D leaves slices apart"):
        extract_regions(IMAGE, {"plane": plane}, square, thinner)


@needs_mirp
def test_filters_are_refused_on_voxels_of_unequal_sides() -> None:
    settings = RadiomicsSettings(None, 16, image_types={"LoG": {"sigma": [2.0]}})
    with pytest.raises(DataError, match=r"LoG on voxels of equal sides; these are 0\.8 x 1 x 1\.5 mm"):
        extract_regions(IMAGE, {"ball": BALL}, AFFINE, settings)


@needs_mirp
def test_the_log_of_the_program_is_left_as_it_was() -> None:
    root = logging.getLogger()
    before = list(root.handlers), root.level, root.manager.disable
    extract_regions(IMAGE, {"ball": BALL}, AFFINE, COUNT_16)
    assert (list(root.handlers), root.level, root.manager.disable) == before


@pytest.mark.skipif(find_spec("mirp") is not None, reason="mirp is here")
def test_without_mirp_the_environment_to_install_is_named() -> None:
    with pytest.raises(DataError, match=r"voxelome\[radiomics-ibsi\]"):
        extract_regions(IMAGE, {"ball": BALL}, AFFINE, COUNT_16)


def test_every_setting_without_a_counterpart_is_refused_by_name() -> None:
    types = {"Square": {}, "LBP3D": {}, "Wavelet": {"start_level": 1}}
    options = {
        "normalize": True,
        "preCrop": True,
        "padDistance": 3,
        "distances": [1, 2],
        "interpolator": "sitkGaussian",
        "resegmentMode": "sigma",
    }
    settings = RadiomicsSettings(
        None, 16, image_types=types, options=options, shapes=("shape2D",), features={"glcm": ("Idm",)}
    )
    with pytest.raises(DataError) as refusal:
        check_settings(settings)
    for named in (
        *options,
        "image type Square",
        "image type LBP3D",
        "start_level of image type Wavelet",
        "feature class shape2D",
        "Idm of class glcm",
    ):
        assert named in refusal.value.problem


def test_settings_that_ask_for_what_ibsi_does_anyway_are_taken() -> None:
    options = {
        "distances": [1],
        "normalize": False,
        "symmetricalGLCM": True,
        "force2D": False,
        "resampledPixelSpacing": [1, 1, 0],
        "interpolator": "sitkLinear",
        "resegmentRange": [0, 100],
    }
    types = {
        "Original": {},
        "LoG": {"sigma": [1, 3], "binCount": 32},
        "Wavelet": {"level": 2, "binCount": 32},
    }
    check_settings(RadiomicsSettings(5.0, None, image_types=types, options=options))


def test_a_width_of_gray_levels_needs_a_range_and_values_that_have_a_unit() -> None:
    with pytest.raises(DataError, match="give resegmentRange"):
        check_settings(RadiomicsSettings(5.0, None))
    with pytest.raises(DataError, match="give image type LoG a binCount"):
        check_settings(RadiomicsSettings(5.0, None, image_types={"LoG": {"sigma": [1.0]}}))


@needs_mirp
def test_the_engine_checks_itself_on_every_feature_of_the_built_in_image() -> None:
    assert selfcheck.check_engine("mirp") == len(json.loads(STORED.read_text())) > 200


@needs_mirp
def test_the_step_measures_a_visit_by_this_engine(tmp_path) -> None:
    image, mask = np.abs(textured(SHAPE)) + 1, ball(SHAPE, (18, 17, 14), 8)
    registered = StepRecord("register", "sub-01")
    registered.add(save_volume(tmp_path / "mask.nii.gz", mask, AFFINE), "mask", space="T1w", name="brain")
    registered.add(save_volume(tmp_path / "t1.nii.gz", image, AFFINE), "image", image="T1w", space="T1w")
    records = [str(registered.save(tmp_path / "register.json"))]
    ExtractRadiomics(
        unit="sub-01", records=records, engine="mirp", out_dir=tmp_path, record=tmp_path / "radiomics.json"
    ).run()
    path = tmp_path / "sub-01_desc-radiomics_features.tsv"
    found = {row["feature"]: row for row in csv.DictReader(path.open(), delimiter="\t")}
    assert float(found["stat_mean"]["value"]) == pytest.approx(image[mask].mean(), rel=1e-5)
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["Software"] == "mirp 2.7.0"
    assert {row["feature"] for row in found.values()} == {
        name for features in about["Features"].values() for name in features
    }
    assert (tmp_path / "sub-01_desc-histogram_features.tsv").is_file()


if __name__ == "__main__":
    # The stored values of the self-check are those of the version of mirp that is pinned.
    lines = ",\n".join(f' "{name}": {value:.12g}' for name, value in selfcheck.computed("mirp").items())
    STORED.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
