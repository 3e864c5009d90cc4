"""The data dictionary of features and derived images."""

from __future__ import annotations

import json
import re

import pytest

from voxelome.errors import DataError
from voxelome.radiomics.derived import derived_names
from voxelome.radiomics.dictionary import (
    defined_features,
    definition,
    dictionary,
    filter_description,
)
from voxelome.radiomics.engine import feature_names
from voxelome.radiomics.settings import CLASSES, IMAGE_TYPES, SHAPES, from_parameters

ALL_CLASSES = (*SHAPES, *CLASSES)
ALL = [(kind, name) for kind in ALL_CLASSES for name in feature_names(kind)]


@pytest.mark.parametrize("feature_class", ALL_CLASSES)
def test_every_feature_is_defined_and_nothing_else(feature_class: str) -> None:
    assert sorted(defined_features(feature_class)) == feature_names(feature_class)


def test_definitions_are_sentences_and_no_two_features_share_a_code() -> None:
    found = [definition(*key) for key in ALL]
    for item in found:
        assert item.description[0].isupper()
        assert item.description.endswith(".")
        assert not item.deviation or item.deviation.endswith(".")
    codes = [item.ibsi for item in found if item.ibsi]
    assert len(codes) == len(set(codes)) == 102
    assert all(re.fullmatch("[0-9A-Z]{4}", code) for code in codes)


def test_a_dictionary_holds_each_feature_once_and_is_text_for_json() -> None:
    table = dictionary(
        [("glcm", "Idm"), ("firstorder", "Kurtosis"), ("glcm", "Idm"), ("shape", "MeshVolume")]
    )
    assert json.loads(json.dumps(table)) == table
    assert list(table) == ["glcm", "firstorder", "shape"]
    assert table["shape"]["MeshVolume"]["Unit"] == "mm3"
    assert table["glcm"]["Idm"]["IBSI"] == "WF0Z"
    assert "less by 3" in table["firstorder"]["Kurtosis"]["Deviation"]
    assert all(set(entry) == {"Description", "IBSI", "Unit", "Deviation"} for entry in table["glcm"].values())


def test_every_derived_image_has_a_description() -> None:
    own = {"LoG": {"sigma": [2.0, 3]}, "Wavelet": {"level": 2}}
    types = {name: own.get(name, {}) for name in IMAGE_TYPES}
    found = {
        name: filter_description(name) for name, _ in derived_names(from_parameters({"imageType": types}))
    }
    assert len(found) == 26
    assert len({item.description for item in found.values()}) == len(found)
    assert "of 2.0 mm" in found["log-sigma-2-0-mm-3D"].description
    assert {found["log-sigma-3-mm-3D"].ibsi, found["wavelet-LLH"].ibsi} == {"L6PA", "25BO"}
    assert not found["wavelet-LLH"].deviation
    assert found["wavelet2-LLH"].deviation
    assert not found["original"].ibsi


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean Kurtosis"):
        definition("firstorder", "kurtosi")
    with pytest.raises(DataError, match="did you mean squareroot"):
        filter_description("square-root")
