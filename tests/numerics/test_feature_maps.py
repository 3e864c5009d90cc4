"""Maps of features around each voxel, against the voxel-based extraction of PyRadiomics."""

import logging
import tracemalloc

import numpy as np
import pytest
import SimpleITK
from radiomics.featureextractor import RadiomicsFeatureExtractor
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.radiomics.maps import feature_maps, parse_maps, voxels_at_a_time
from voxelome.radiomics.settings import from_parameters

AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])


def scene(shape=(18, 16, 14), seed=0):
    """A textured image and a ragged region that touches one border."""
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.normal(size=shape), 1) * 400 + 300
    mask = np.zeros(shape, dtype=bool)
    mask[0:7, 4:11, 3:9] = rng.random((7, 7, 6)) < 0.8
    return image.astype(np.float32), mask


def peer(image, mask, content, kernel):
    """Maps of PyRadiomics by name, on the grid of the image."""
    logging.getLogger("radiomics").setLevel(logging.CRITICAL + 1)
    extractor = RadiomicsFeatureExtractor({**content, "voxelSetting": {**kernel, "initValue": float("nan")}})
    pair = [SimpleITK.GetImageFromArray(item.transpose()) for item in (image, mask.astype(np.uint8))]
    for item in pair:
        item.SetSpacing(np.diag(AFFINE)[:3].tolist())
    found = extractor.execute(*pair, voxelBased=True)
    maps = {}
    for name, value in found.items():
        if not name.startswith("diagnostics"):
            whole = SimpleITK.Resample(
                value, pair[0], SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, float("nan")
            )
            maps[name] = SimpleITK.GetArrayFromImage(whole).transpose()
    return maps


@pytest.mark.parametrize("kernel", [{}, {"kernelRadius": 2}, {"maskedKernel": False}])
@pytest.mark.parametrize("setting", [{"binWidth": 60}, {"binCount": 6, "force2D": True}])
def test_every_map_equals_that_of_pyradiomics(kernel, setting):
    image, mask = scene()
    chosen = {
        "firstorder": ["Mean", "Entropy"],
        "glcm": ["JointEntropy", "Contrast", "MCC"],
        "glrlm": ["RunEntropy"],
        "glszm": ["ZonePercentage"],
        "gldm": ["DependenceEntropy"],
        "ngtdm": ["Coarseness"],
    }
    content = {"setting": setting, "imageType": {"Original": {}, "Gradient": {}}, "featureClass": chosen}
    settings = from_parameters(content)
    names = [f"{f}_{c}_{n}" for f in ("original", "gradient") for c, ns in chosen.items() for n in ns]
    expected = peer(image, mask, content, kernel)
    maps = list(feature_maps(image, mask, AFFINE, settings, parse_maps(names, settings), kernel))
    assert {str(item.name) for item in maps} == expected.keys()
    for item in maps:
        assert item.values.shape == image.shape
        assert np.isnan(item.values[~mask]).all()
        assert np.allclose(item.values, expected[str(item.name)], rtol=1e-5, equal_nan=True), item.name


def test_the_mean_around_a_voxel_is_the_mean_of_its_neighbors_in_the_region():
    image, mask = scene()
    settings = from_parameters({})
    (item,) = feature_maps(image, mask, AFFINE, settings, parse_maps(["firstorder_Mean"], settings))
    for voxel in np.argwhere(mask)[::23]:
        around = tuple(slice(max(at - 1, 0), at + 2) for at in voxel)
        expected = image[around][mask[around]].mean()
        assert item.values[tuple(voxel)] == pytest.approx(expected, rel=1e-6)


def test_memory_does_not_grow_with_the_region():
    rng = np.random.default_rng(0)
    settings = from_parameters({"setting": {"binCount": 16}})
    names = parse_maps(["glcm_JointEntropy"], settings)
    peaks = []
    for size in (14, 28):
        image = rng.normal(size=(size, size, size)).astype(np.float32)
        mask = np.ones(image.shape, dtype=bool)
        tracemalloc.start()
        (item,) = feature_maps(image, mask, AFFINE, settings, names)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert np.isfinite(item.values).all()
    assert peaks[1] < 1.5 * peaks[0]
    assert voxels_at_a_time(1024, 1) >= 1


def test_a_region_without_features_has_no_map_and_a_reason():
    image, mask = scene()
    settings = from_parameters({})
    names = parse_maps(["firstorder_Mean", "glcm_Contrast"], settings)
    for region, reason in ((mask & False, "The region is empty."), (mask, "constant")):
        flat = image * 0 + 5
        maps = list(feature_maps(flat, region, AFFINE, settings, names))
        assert [item.values for item in maps] == [None, None]
        assert all(reason in item.reason for item in maps)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("glcm_Contrst", "there is no glcm feature 'Contrst'; did you mean Contrast"),
        ("gclm_Contrast", "there is no feature class 'gclm'.*did you mean .*glcm"),
        ("wavelet-LLH_glcm_Contrast", "there is no derived image 'wavelet-LLH'.*there are: original"),
        ("Contrast", "there is no feature class ''"),
        ("shape_Sphericity", "there is no feature class 'shape'"),
    ],
)
def test_a_map_that_does_not_exist_is_refused(name, words):
    with pytest.raises(DataError, match=words):
        parse_maps([name], from_parameters({}))


def test_maps_on_another_grid_are_refused():
    settings = from_parameters({"setting": {"resampledPixelSpacing": [1, 1, 1]}})
    with pytest.raises(DataError, match="resampledPixelSpacing asks for another"):
        parse_maps(["firstorder_Mean"], settings)
