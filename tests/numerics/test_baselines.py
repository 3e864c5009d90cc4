"""Features of PyRadiomics' brain1 case against the baselines that PyRadiomics publishes for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from tests.shared import DATA
from voxelome.radiomics.extract import extract_regions, shape_features
from voxelome.radiomics.settings import from_parameters

CASE = DATA / "extra" / "pyradiomics_brain1"
CLASSES = json.loads(Path(__file__).with_name("baselines.json").read_text(encoding="utf-8"))["classes"]
CASES = [(kind, case) for kind, content in CLASSES.items() for case in content["cases"]]
# The slice that the baseline of two-dimensional shape was made from.
SLICE = 16
# The baselines have 12 digits or more. PyRadiomics' own tests allow 3 %.
TOLERANCE = 1e-11
# PyRadiomics changed the triangles of its mesh after this baseline, and gives our numbers today.
MESH = {("shape", "plain"): ("MeshVolume", "Sphericity", "SurfaceArea", "SurfaceVolumeRatio")}
MESH_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def brain() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image, mask = (SimpleITK.ReadImage(CASE / f"brain1_{name}.nrrd") for name in ("image", "label"))
    region = SimpleITK.GetArrayFromImage(mask) == 1
    affine = np.diag([*image.GetSpacing(), 1.0])
    return SimpleITK.GetArrayFromImage(image).transpose(), region.transpose(), affine


@pytest.mark.skipif(not CASE.is_dir(), reason=f"there is no brain1 case of PyRadiomics at {CASE}")
@pytest.mark.parametrize(("feature_class", "case"), CASES)
def test_every_feature_has_the_value_that_pyradiomics_publishes(
    brain: tuple[np.ndarray, np.ndarray, np.ndarray], feature_class: str, case: str
) -> None:
    image, region, affine = brain
    content: dict[str, Any] = CLASSES[feature_class]
    column = list(content["cases"]).index(case)
    parameters = {"setting": content["cases"][case], "featureClass": {feature_class: None}}
    settings = from_parameters(parameters)
    if feature_class == "shape2D":
        region = region & (np.arange(region.shape[2]) == SLICE)
    if feature_class in ("shape", "shape2D"):
        found = shape_features(region, affine, settings)
    else:
        found = extract_regions(image, {"tumor": region}, affine, settings)["tumor"].values
    ours = {item.feature: item.value for item in found}
    assert ours.keys() == content["values"].keys()
    for name, values in content["values"].items():
        changed = name in MESH.get((feature_class, case), ())
        tolerance = MESH_TOLERANCE if changed else TOLERANCE
        assert ours[name] == pytest.approx(values[column], rel=tolerance, abs=0), name
