"""Radiomic features against PyRadiomics itself and known solids."""

from __future__ import annotations

import time

import numpy as np
import pytest
import SimpleITK
from radiomics import cShape
from radiomics.featureextractor import RadiomicsFeatureExtractor
from radiomics.shape import RadiomicsShape
from scipy.ndimage import gaussian_filter

from voxelome.errors import DataError
from voxelome.radiomics.extract import FeatureValue, extract_features, shape_features
from voxelome.radiomics.settings import CLASSES, RadiomicsSettings
from voxelome.radiomics.shape import measure_mesh

LEVELS_32 = RadiomicsSettings(bin_width=None, bin_count=32)


def by_name(values: list[FeatureValue]) -> dict[tuple[str, str], float | None]:
    return {(item.feature_class, item.feature): item.value for item in values}


def blob(shape: tuple[int, int, int], seed: int = 0, smooth: float = 2.0) -> np.ndarray:
    return gaussian_filter(np.random.default_rng(seed).normal(size=shape), smooth) > 0.02


def ellipsoid(spacing: float, axes: tuple[float, float, float]) -> np.ndarray:
    grids = [np.arange(-axis - 3, axis + 3, spacing) for axis in axes]
    x, y, z = np.meshgrid(*grids, indexing="ij", sparse=True)
    return (x / axes[0]) ** 2 + (y / axes[1]) ** 2 + (z / axes[2]) ** 2 <= 1


@pytest.mark.parametrize("binning", [{"binCount": 16}, {"binWidth": 0.25}])
def test_every_feature_equals_that_of_pyradiomics_own_extractor(binning: dict[str, float]) -> None:
    spacing = (0.8, 1.0, 2.5)
    image = gaussian_filter(np.random.default_rng(1).normal(size=(22, 30, 14)), 0.8)
    region = blob(image.shape)
    settings = RadiomicsSettings(binning.get("binWidth"), binning.get("binCount"))
    affine = np.diag([*spacing, 1.0])
    ours = by_name([*extract_features(image, region, affine, settings), *shape_features(region, affine)])

    pair = [SimpleITK.GetImageFromArray(data.transpose()) for data in (image, region.astype(np.uint8))]
    for item in pair:
        item.SetSpacing(spacing)
    extractor = RadiomicsFeatureExtractor(**binning)
    extractor.disableAllFeatures()
    for name in (*CLASSES, "shape"):
        extractor.enableFeatureClassByName(name)
    theirs = {
        tuple(key.split("_", 2)[1:]): float(value)
        for key, value in extractor.execute(*pair).items()
        if key.startswith("original_")
    }
    assert ours.keys() == theirs.keys()
    assert len(ours) == 107
    for key, value in theirs.items():
        assert ours[key] == pytest.approx(value, rel=1e-9, abs=1e-12), key


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 1.3, 2.5)])
@pytest.mark.parametrize("smooth", [0.0, 1.0, 2.0])
def test_the_mesh_of_a_ragged_region_measures_what_pyradiomics_measures_by_brute_force(
    spacing: tuple[float, float, float], smooth: float
) -> None:
    region = blob((18, 24, 21), seed=3, smooth=smooth)
    area, volume, diameters = cShape.calculate_coefficients(np.pad(region, 1), np.array(spacing))
    mesh = measure_mesh(region, spacing)
    assert mesh.area == pytest.approx(area, rel=1e-11)
    assert mesh.volume == pytest.approx(volume, rel=1e-11)
    assert mesh.diameters == pytest.approx(diameters, rel=1e-12)


def test_shape_of_a_mid_size_region_equals_that_of_pyradiomics() -> None:
    region = ellipsoid(1.0, (14.0, 19.0, 11.0)) & (np.random.default_rng(0).random((34, 44, 28)) > 0.05)
    affine = np.array([[0, -1.5, 0, 3], [1.0, 0, 0, -8], [0, 0, 2.0, 5], [0, 0, 0, 1]])
    # Cropped: some meshes of PyRadiomics are not closed, and their volume depends on where the array begins.
    where = np.argwhere(region)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    box = region[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    pair = [SimpleITK.GetImageFromArray(box.transpose().astype(np.uint8)) for _ in range(2)]
    for item in pair:
        item.SetSpacing((1.0, 1.5, 2.0))
    theirs = RadiomicsShape(*pair).execute()
    ours = {name: value for (_, name), value in by_name(shape_features(region, affine)).items()}
    assert ours == pytest.approx({name: float(value) for name, value in theirs.items()}, rel=1e-9)


def test_shape_of_a_digital_ellipsoid_is_that_of_the_ellipsoid() -> None:
    half, spacing = (15.0, 20.0, 10.0), 0.5
    found = by_name(shape_features(ellipsoid(spacing, half), np.diag([spacing] * 3 + [1.0])))
    volume = 4 / 3 * np.pi * np.prod(half)
    assert found["shape", "MeshVolume"] == pytest.approx(volume, rel=0.005)
    assert found["shape", "VoxelVolume"] == pytest.approx(volume, rel=0.005)
    assert found["shape", "Maximum3DDiameter"] == pytest.approx(40.0, abs=spacing)
    assert found["shape", "Maximum2DDiameterRow"] == pytest.approx(40.0, abs=spacing)
    assert found["shape", "Maximum2DDiameterColumn"] == pytest.approx(30.0, abs=spacing)
    # 4 sqrt(eigenvalue) of a homogeneous ellipsoid with the half axis a is 4 a / sqrt(5).
    assert found["shape", "MajorAxisLength"] == pytest.approx(4 * 20 / np.sqrt(5), rel=0.005)
    assert found["shape", "Flatness"] == pytest.approx(0.5, rel=0.01)


def test_features_do_not_depend_on_where_in_the_image_a_region_lies() -> None:
    image = np.random.default_rng(0).normal(size=(12, 13, 14))
    region = blob(image.shape, seed=5)
    wide = np.full((40, 41, 42), np.nan)
    wide[9:21, 17:30, 25:39] = image
    wide_region = np.zeros(wide.shape, dtype=bool)
    wide_region[9:21, 17:30, 25:39] = region
    affine = np.eye(4)
    assert extract_features(wide, wide_region, affine, LEVELS_32) == extract_features(
        image, region, affine, LEVELS_32
    )
    assert by_name(shape_features(wide_region, affine)) == pytest.approx(
        by_name(shape_features(region, affine))
    )


@pytest.mark.parametrize(
    ("region", "level", "reason"),
    [
        (np.zeros((8, 8, 8), dtype=bool), 1.0, "empty"),
        (np.pad(np.ones((2, 2, 2), dtype=bool), 3), 1.0, "8 voxels, fewer than 10"),
        (np.pad(np.ones((6, 6, 1), dtype=bool), ((1, 1), (1, 1), (3, 4))), 1.0, "one voxel thick"),
        (np.pad(np.ones((4, 4, 4), dtype=bool), 2), 0.0, "constant in the region (5)"),
        (np.pad(np.ones((4, 4, 4), dtype=bool), 2), np.nan, "64 of the region's 64 voxels are not finite"),
        (np.pad(np.ones((4, 4, 4), dtype=bool), 2), 1e-16, "constant in the region (5)"),
    ],
)
def test_a_region_that_allows_no_features_has_a_reason_and_no_number(
    region: np.ndarray, level: float, reason: str
) -> None:
    image = 5.0 + level * np.random.default_rng(0).normal(size=region.shape)
    found = extract_features(image, region, np.eye(4), LEVELS_32)
    assert len(found) == 93
    assert all(item.value is None and reason in item.reason for item in found)


def test_a_bin_width_that_fits_the_image_badly_is_told() -> None:
    image = np.random.default_rng(0).uniform(100, 199, size=(6, 6, 6))
    region = np.ones(image.shape, dtype=bool)
    fine = extract_features(image, region, np.eye(4), RadiomicsSettings(0.001, None))
    coarse = extract_features(image, region, np.eye(4), RadiomicsSettings(1000.0, None))
    assert all(item.value is None and "more than 1024 gray levels" in item.reason for item in fine)
    for item in coarse:
        assert (item.value is None) == (item.feature_class != "firstorder")
    assert "one gray level of width 1000" in coarse[-1].reason
    assert by_name(coarse)["firstorder", "Entropy"] == pytest.approx(0.0, abs=1e-9)


def test_scattered_voxels_without_neighbors_get_no_neighborhood_features() -> None:
    region = np.zeros((12, 12, 12), dtype=bool)
    region[::3, ::3, ::3] = True
    image = np.random.default_rng(0).normal(size=region.shape)
    found = extract_features(image, region, np.eye(4), LEVELS_32)
    values = {item.feature_class: [] for item in found}
    for item in found:
        values[item.feature_class].append(item.value)
        assert bool(item.reason) == (item.value is None)
    assert set(values["ngtdm"]) == set(values["glcm"]) == {None}
    assert None not in values["glszm"] + values["firstorder"]


def test_features_come_in_one_order_with_units() -> None:
    image = np.random.default_rng(0).normal(size=(9, 9, 9))
    region = blob(image.shape, smooth=1.0)
    settings = RadiomicsSettings(None, 8, classes=("glszm", "firstorder"))
    first, again = (extract_features(image, region, np.eye(4), settings) for _ in range(2))
    assert first == again
    assert [item.feature_class for item in first] == ["glszm"] * 16 + ["firstorder"] * 18
    units = {item.feature: item.unit for item in [*first, *shape_features(region, np.eye(4))]}
    assert units["Mean"] == "intensity"
    assert units["ZoneEntropy"] == ""
    assert units["MeshVolume"] == "mm3"
    assert units["Maximum3DDiameter"] == "mm"


@pytest.mark.parametrize(
    "bad",
    [
        {"bin_width": None, "bin_count": None},
        {"bin_width": 1.0, "bin_count": 8},
        {"bin_width": -1.0, "bin_count": None},
        {"bin_width": None, "bin_count": 1},
        {"bin_width": None, "bin_count": 8, "classes": ("glcm", "shape2D")},
    ],
)
def test_settings_that_make_no_sense_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(DataError):
        RadiomicsSettings(**bad)


def test_extraction_writes_nothing_to_the_log(caplog: pytest.LogCaptureFixture, capfd) -> None:
    image = np.random.default_rng(0).normal(size=(9, 9, 9))
    extract_features(image, blob(image.shape, smooth=1.0), np.eye(4), LEVELS_32)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_an_image_on_another_grid_is_refused() -> None:
    with pytest.raises(DataError, match="resample"):
        extract_features(np.zeros((4, 4, 4)), np.ones((4, 4, 5), dtype=bool), np.eye(4), LEVELS_32)


def test_a_whole_brain_at_two_millimeters_takes_a_second_or_so() -> None:
    region = ellipsoid(2.0, (70.0, 85.0, 62.0))
    image = np.random.default_rng(0).normal(size=region.shape)
    begin = time.process_time()
    found = [
        *extract_features(image, region, np.diag([2.0, 2, 2, 1]), LEVELS_32),
        *shape_features(region, np.diag([2.0, 2, 2, 1])),
    ]
    assert all(item.value is not None for item in found)
    assert time.process_time() - begin < 5
