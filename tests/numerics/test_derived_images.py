"""Derived images against PyRadiomics' own extractor, region by region."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from radiomics.featureextractor import RadiomicsFeatureExtractor
from scipy.ndimage import gaussian_filter

from voxelome.errors import DataError
from voxelome.radiomics.extract import extract_regions
from voxelome.radiomics.settings import from_parameters

SPACING = (0.8, 1.0, 2.5)
TYPES = {
    "Original": {},
    "LoG": {"sigma": [1.0, 3.0]},
    "Wavelet": {"binWidth": 5},
    "Square": {},
    "SquareRoot": {},
    "Logarithm": {},
    "Exponential": {},
    "Gradient": {},
}


def regions(shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    smooth = gaussian_filter(np.random.default_rng(3).normal(size=shape), 2.0)
    inner, border = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    inner[9:18, 10:21, 4:9] = True
    border[:8, -9:, :5] = True
    return {"inner": inner & (smooth > -0.05), "border": border, "ragged": smooth > 0.05}


@pytest.mark.parametrize("shape", [(30, 32, 14), (31, 33, 15)])
@pytest.mark.parametrize("kind", [np.int16, np.float32, np.float64])
@pytest.mark.parametrize(
    "setting",
    [
        {"binWidth": 20},
        {"binCount": 16, "normalize": True, "normalizeScale": 100},
        {"binWidth": 20, "resegmentRange": [-2, 2], "resegmentMode": "sigma"},
        {"binWidth": 20, "force2D": True, "force2Ddimension": 0},
        {"binWidth": 20, "resampledPixelSpacing": [1, 1, 2], "padDistance": 8},
    ],
)
def test_every_feature_of_every_derived_image_equals_that_of_pyradiomics(shape, kind, setting) -> None:
    noise = gaussian_filter(np.random.default_rng(1).normal(size=shape), 0.8) * 400
    image = (noise + 50).astype(kind)
    content = {"setting": setting, "imageType": TYPES, "featureClass": {"firstorder": None, "glszm": None}}
    masks = regions(shape)
    found = extract_regions(image, masks, np.diag([*SPACING, 1.0]), from_parameters(content))
    extractor = RadiomicsFeatureExtractor(content)
    for name, mask in masks.items():
        pair = [SimpleITK.GetImageFromArray(data.transpose()) for data in (image, mask.astype(np.uint8))]
        for item in pair:
            item.SetSpacing(SPACING)
        theirs = {k: float(v) for k, v in extractor.execute(*pair).items() if "diagnostics" not in k}
        ours = {f"{v.filter}_{v.feature_class}_{v.feature}": v.value for v in found[name].values}
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            if ours[key] is not None:
                assert ours[key] == pytest.approx(value, rel=1e-9, abs=1e-12), (name, key)
        assert sum(value is not None for value in ours.values()) > 0.7 * len(ours)


@pytest.mark.parametrize(
    ("content", "near"),
    [
        ({"setting": {"binwidth": 25}}, "binWidth"),
        ({"imageType": {"Wavelets": {}}}, "Wavelet"),
        ({"imageType": {"LoG": {"sigmas": [1]}}}, "sigma"),
        ({"featureClass": {"glcms": None}}, "glcm"),
        ({"featureClass": {"glcm": ["Contrasts"]}}, "Contrast"),
        ({"settings": {}}, "setting"),
    ],
)
def test_a_misspelt_key_of_a_parameter_file_is_told_with_the_nearest(content, near) -> None:
    with pytest.raises(DataError, match=near):
        from_parameters(content)


def test_a_value_that_pyradiomics_schema_does_not_allow_is_refused() -> None:
    with pytest.raises(DataError):
        from_parameters({"setting": {"binWidth": -1}})
