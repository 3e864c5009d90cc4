"""Co-occurrence features in less time are those of PyRadiomics, however many gray levels there are."""

import numpy as np
import pytest
from radiomics import getFeatureClasses
from scipy import ndimage

from voxelome.radiomics.engine import RegionValues, class_features, feature_names


def region(levels: float, smooth: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A texture of about so many gray levels of width 1 and two rare ones far away, in a ragged region."""
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.normal(size=(16, 15, 14)), smooth)
    image *= levels / 6 / image.std()
    image[3, 3, 3], image[12, 9, 9] = image.max() + 20, image.min() - 20
    return image, rng.random(image.shape) < 0.9


@pytest.mark.parametrize(
    "options", [{}, {"symmetricalGLCM": False}, {"distances": [1, 3]}, {"force2D": True}]
)
@pytest.mark.parametrize(("levels", "smooth"), [(6, 0), (60, 1), (120, 2)])
def test_every_co_occurrence_feature_equals_that_of_pyradiomics(levels, smooth, options) -> None:
    image, mask = region(levels, smooth)
    values = RegionValues(image, mask, (1.0, 1.0, 1.0), {"binWidth": 1.0, **options})
    peer = getFeatureClasses()["glcm"](*values.images, **values.options)
    for name in feature_names("glcm"):
        peer.enableFeatureByName(name)
    expected = {name: float(value) for name, value in peer.execute().items()}
    assert values.levels.size > levels / 2
    assert class_features("glcm", values) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("weighting", ["euclidean", "no_weighting"])
def test_weighted_matrices_too(weighting) -> None:
    image, mask = region(30, 1)
    values = RegionValues(image, mask, (2.0, 1.0, 1.0), {"binWidth": 1.0, "weightingNorm": weighting})
    peer = getFeatureClasses()["glcm"](*values.images, **values.options)
    peer.enableAllFeatures()
    expected = {name: float(value) for name, value in peer.execute().items()}
    assert class_features("glcm", values) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_two_levels_that_say_nothing_of_each_other_have_no_correlation() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 2, (40, 40, 40)).astype(float)
    values = RegionValues(image, np.ones(image.shape, dtype=bool), (1.0, 1.0, 1.0), {"binWidth": 1.0})
    assert 0 <= class_features("glcm", values)["MCC"] < 0.02
