"""Derived images and their features against PyRadiomics, region by region."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import SimpleITK
from radiomics import imageoperations
from radiomics.featureextractor import RadiomicsFeatureExtractor
from scipy.ndimage import gaussian_filter

from voxelome.errors import DataError
from voxelome.radiomics.derived import derived_images, derived_names
from voxelome.radiomics.extract import extract_features, extract_regions, shape_features
from voxelome.radiomics.settings import from_parameters, unused_parameters

SPACING = (0.8, 1.0, 2.5)
AFFINE = np.diag([*SPACING, 1.0])
TYPES = {
    "Original": {},
    "LoG": {"sigma": [1.0, 3.0]},
    "Wavelet": {"binWidth": 60},
    "Square": {},
    "SquareRoot": {},
    "Logarithm": {},
    "Exponential": {},
    "Gradient": {},
    "LBP3D": {"binCount": 8},
}
CLASSES = dict.fromkeys(("firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm"))
# Why a value may be missing although PyRadiomics gives a number: it has none to say there.
NOTHING_TO_MEASURE = ("one gray level", "constant", "by rounding", "No voxel differs")


def textured(shape: tuple[int, int, int], kind: type = np.float32) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(1).normal(size=shape), 0.8) * 400
    image = (noise + 50).astype(kind)
    # A flat corner: filters give exact zeros or rounding there, whose sign decides the gray level.
    image[:10, -10:, :6] = 7
    return image


def regions(shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    smooth = gaussian_filter(np.random.default_rng(3).normal(size=shape), 2.0)
    inner, border = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    inner[9:18, 10:21, 4:9] = True
    border[:14, -14:, :8] = True
    return {"inner": inner & (smooth > -0.05), "border": border, "ragged": smooth > 0.05}


def pair_of(image: np.ndarray, mask: np.ndarray) -> list[SimpleITK.Image]:
    pair = [SimpleITK.GetImageFromArray(data.transpose()) for data in (image, mask.astype(np.uint8))]
    for item in pair:
        item.SetSpacing(SPACING)
    return pair


def numbers(extractor: RadiomicsFeatureExtractor, image: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    found = extractor.execute(*pair_of(image, mask))
    return {key: float(value) for key, value in found.items() if not key.startswith("diagnostics")}


@pytest.mark.parametrize("shape", [(30, 32, 14), (31, 33, 15)])
@pytest.mark.parametrize("kind", [np.int16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("wavelet", "flat"),
    [({}, {}), ({"level": 2, "start_level": 1, "wavelet": "db3"}, {}), ({}, {"force2D": True})],
)
def test_derived_images_are_bit_by_bit_those_of_pyradiomics(shape, kind, wavelet, flat) -> None:
    types = {**TYPES, "Wavelet": wavelet}
    settings = from_parameters({"imageType": types, "setting": flat})
    image = textured(shape, kind)
    for mask in regions(shape).values():
        where = np.argwhere(mask.transpose())
        box = tuple(slice(a, b + 1) for a, b in zip(where.min(axis=0), where.max(axis=0), strict=True))
        ours = list(derived_images(image.transpose(), mask.transpose(), SPACING[::-1], box, settings))
        assert [item.name for item in ours] == [name for name, _ in derived_names(settings)]
        theirs = {}
        for kind_name, own in types.items():
            make = getattr(imageoperations, f"get{kind_name}Image")
            for result, name, _ in make(*pair_of(image, mask), **flat, **own):
                theirs[name] = SimpleITK.GetArrayFromImage(result)[box]
        assert {item.name for item in ours} == theirs.keys()
        for item in ours:
            inside = mask.transpose()[box]
            assert item.values.dtype == theirs[item.name].dtype, item.name
            np.testing.assert_array_equal(item.values[inside], theirs[item.name][inside], item.name)


@pytest.mark.parametrize(
    ("shape", "setting"),
    [
        ((30, 32, 14), {"binWidth": 40}),
        ((31, 33, 15), {"binWidth": 40}),
        ((31, 33, 15), {"binCount": 16, "normalize": True, "normalizeScale": 100, "removeOutliers": 2}),
        ((30, 32, 14), {"binWidth": 40, "resegmentRange": [-2, 2], "resegmentMode": "sigma"}),
        ((31, 33, 15), {"binWidth": 40, "force2D": True, "force2Ddimension": 0}),
        ((30, 32, 14), {"binWidth": 40, "resampledPixelSpacing": [1, 1, 2], "padDistance": 8}),
        ((31, 33, 15), {"binWidth": 40, "preCrop": True, "padDistance": 6}),
        ((30, 32, 14), {"binWidth": 40, "distances": [1, 2], "weightingNorm": "euclidean", "gldm_a": 1}),
    ],
)
def test_every_feature_of_every_derived_image_equals_that_of_pyradiomics(shape, setting) -> None:
    image, masks = textured(shape), regions(shape)
    content = {"setting": setting, "imageType": TYPES, "featureClass": CLASSES}
    found = extract_regions(image, masks, AFFINE, from_parameters(content))
    extractor = RadiomicsFeatureExtractor(content)
    for name, mask in masks.items():
        theirs = numbers(extractor, image, mask)
        ours = {f"{v.filter}_{v.feature_class}_{v.feature}": v for v in found[name].values}
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            if ours[key].value is not None:
                assert ours[key].value == pytest.approx(value, rel=1e-9, abs=1e-12), (name, key)
            elif np.isfinite(value):
                assert any(why in ours[key].reason for why in NOTHING_TO_MEASURE), (key, ours[key].reason)
        given = sum(item.value is not None for item in ours.values())
        assert given > 0.95 * len(ours), name


def test_shape_after_resampling_equals_that_of_pyradiomics() -> None:
    content = {
        "setting": {"resampledPixelSpacing": [1, 1, 1]},
        "featureClass": {"shape": ["MeshVolume", "Maximum3DDiameter", "Sphericity"]},
    }
    image = textured((30, 32, 14))
    for mask in regions(image.shape).values():
        theirs = numbers(RadiomicsFeatureExtractor(content), image, mask)
        ours = shape_features(mask, AFFINE, from_parameters(content))
        assert len(ours) == len(theirs) == 3
        for value in ours:
            assert value.value == pytest.approx(theirs[f"original_shape_{value.feature}"], rel=1e-9)


def test_a_region_of_one_slice_has_a_shape_in_two_dimensions_where_that_is_asked_for() -> None:
    content = {"setting": {"force2D": True}, "featureClass": {"shape2D": None, "firstorder": ["Mean"]}}
    image = textured((30, 32, 14))
    mask = regions(image.shape)["ragged"]
    mask[:, :, :7] = mask[:, :, 8:] = False
    theirs = numbers(RadiomicsFeatureExtractor(content), image, mask)
    ours = shape_features(mask, AFFINE, from_parameters(content))
    ours += extract_features(image, mask, AFFINE, from_parameters(content))
    assert {f"original_{v.feature_class}_{v.feature}": v.value for v in ours} == pytest.approx(theirs)
    for setting, reason in (
        ({}, "needs force2D"),
        ({"force2D": True, "force2Ddimension": 2}, "voxels thick"),
    ):
        given = {"setting": {**setting, "minimumROIDimensions": 2}, "featureClass": {"shape2D": None}}
        assert all(reason in v.reason for v in shape_features(mask, AFFINE, from_parameters(given)))


def test_an_image_too_small_for_a_width_has_a_reason_for_that_width_only() -> None:
    settings = from_parameters({"imageType": {"LoG": {"sigma": [1.0, 60.0]}}})
    image = textured((30, 32, 14))
    found = extract_features(image, regions(image.shape)["inner"], AFFINE, settings)
    reasons = {item.filter: item.reason for item in found if item.feature == "Mean"}
    assert reasons["log-sigma-1-0-mm-3D"] == ""
    assert "too small for a width of 60 mm" in reasons["log-sigma-60-0-mm-3D"]


@pytest.mark.parametrize(
    ("width", "doubtful", "known"),
    [
        (50.0, {"original": 2}, True),
        (10.0, {}, True),
        (0.098, {"original": 1020}, True),
        (0.05, {"original": 1999}, False),
    ],
)
def test_the_number_of_gray_levels_is_told_where_it_is_doubtful(width, doubtful, known) -> None:
    image = np.linspace(0.01, 99.91, 12**3).reshape(12, 12, 12)
    settings = from_parameters({"setting": {"binWidth": width}, "featureClass": {"firstorder": ["Mean"]}})
    found = extract_regions(image, {"all": image > 0}, AFFINE, settings)["all"]
    assert found.doubtful_levels() == doubtful
    assert [item.value is not None for item in found.values] == [known]


def test_local_binary_patterns_that_pyradiomics_cannot_make_have_a_reason(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "trimesh.creation", None)
    settings = from_parameters({"imageType": {"LBP3D": {}}, "featureClass": {"firstorder": ["Mean"]}})
    image = textured((30, 32, 14))
    found = extract_features(image, regions(image.shape)["inner"], AFFINE, settings)
    assert len(found) == 3
    assert all(item.value is None and "trimesh" in item.reason for item in found)


def test_resegmentation_that_leaves_nothing_is_the_reason() -> None:
    image = textured((30, 32, 14))
    settings = from_parameters({"setting": {"resegmentRange": [1e6]}})
    found = extract_features(image, regions(image.shape)["inner"], AFFINE, settings)
    assert all(item.value is None and "Resegmentation left nothing" in item.reason for item in found)


@pytest.mark.parametrize(
    ("content", "near"),
    [
        ({"setting": {"binwidth": 25}}, "binWidth"),
        ({"imageType": {"Wavelets": {}}}, "Wavelet"),
        ({"imageType": {"LoG": {"sigmas": [1]}}}, "sigma"),
        ({"featureClass": {"glcms": None}}, "glcm"),
        ({"featureClass": {"glcm": ["Contrasts"]}}, "Contrast"),
        ({"settings": {}}, "setting"),
        ({"imageType": {"LoG": {}}}, "sigma"),
        ({"imageType": {"LBP2D": {}}}, "not offered"),
        ({"imageType": {"Wavelet": {"binCount": 5000}}}, "5000 gray levels"),
        ({"setting": {"resegmentShape": True}}, "resegmentShape"),
        ({"setting": {"binWidth": -1}}, "binWidth"),
        ({"setting": {"interpolator": "sitkBest"}}, "sitkBest"),
        ([], "holds no settings"),
    ],
)
def test_a_parameter_file_that_cannot_be_followed_is_refused_with_the_key(content, near) -> None:
    with pytest.raises(DataError, match=near):
        from_parameters(content)


def test_settings_that_the_caller_decides_are_told() -> None:
    content = {"setting": {"label": 2, "binWidth": 5}, "voxelSetting": {"kernelRadius": 2, "initValue": 0}}
    assert unused_parameters(content) == ["label", "initValue"]
    assert from_parameters(content).options == {}
