"""PyRadiomics' feature classes, fed with gray levels that all classes of one region share.

The formulas are PyRadiomics' own. What is left out is what it does anew for every class: finding the names of
its features, and sorting the intensities into gray levels.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from radiomics import getFeatureClasses
from radiomics.imageoperations import binImage

from voxelome.imageio import Array, MaskArray
from voxelome.radiomics.glcm import (
    cluster_prominence,
    cluster_shade,
    coefficients_for_pyradiomics,
    maximal_correlation,
)
from voxelome.radiomics.itk import Spacing, to_itk
from voxelome.radiomics.shape import measure_for_pyradiomics

# Every problem that PyRadiomics would log is told in a reason instead.
logging.getLogger("radiomics").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True)
class RegionValues:
    """Intensities in the box of a region, with what its feature classes need of them.

    Attributes
    ----------
    values : ndarray, shape (z, y, x)
        Intensities.
    mask : ndarray of bool, shape (z, y, x)
        The region, which touches all six faces of the box.
    spacing : tuple of three float
        Voxel sizes in mm along z, y, x.
    options : mapping
        Settings by PyRadiomics' names.
    """

    values: Array
    mask: MaskArray
    spacing: Spacing
    options: Mapping[str, Any]

    @cached_property
    def images(self) -> tuple[Any, Any]:
        """Image and mask for PyRadiomics."""
        return to_itk(self.values, self.spacing), to_itk(self.mask, self.spacing)

    @cached_property
    def binned(self) -> Array:
        """Gray levels from 1, and 0 outside of the region."""
        levels: Array = binImage(self.values, self.mask, **self.options)[0]
        return levels

    @cached_property
    def levels(self) -> Array:
        """Gray levels that occur, ascending."""
        return np.unique(self.binned[self.mask])


def _take_mask(features: Any) -> None:
    features.maskArray = features.settings["region"].mask


def _take_levels(features: Any, _: Any) -> Array:
    region: RegionValues = features.settings["region"]
    features.coefficients |= {"grayLevels": region.levels, "Ng": int(region.levels[-1])}
    return region.binned


def _with(kind: Any, **replaced: Any) -> Any:
    """Return a feature class of PyRadiomics with some of its methods replaced and its names found once."""
    names = kind.getFeatureNames()
    # Its module names its logger, which is silent.
    own = {"__module__": kind.__module__, "getFeatureNames": staticmethod(lambda: names)}
    return type(kind.__name__, (kind,), {**replaced, **own})


def _feature_classes() -> dict[str, Any]:
    kinds = dict(getFeatureClasses())
    shape = _with(kinds.pop("shape"), _initSegmentBasedCalculation=measure_for_pyradiomics)
    flat = kinds.pop("shape2D")
    shared = {"_initSegmentBasedCalculation": _take_mask, "_applyBinning": _take_levels}
    glcm = {
        "_calculateCoefficients": coefficients_for_pyradiomics,
        "getClusterProminenceFeatureValue": cluster_prominence,
        "getClusterShadeFeatureValue": cluster_shade,
        "getMCCFeatureValue": maximal_correlation,
    }
    own = {name: {**shared, **(glcm if name == "glcm" else {})} for name in kinds}
    textures = {name: _with(kind, **own[name]) for name, kind in kinds.items()}
    return {"shape": shape, "shape2D": flat, **textures}


_CLASSES = _feature_classes()


def feature_names(feature_class: str, chosen: Iterable[str] = ()) -> list[str]:
    """Return the features of a class in alphabetical order, without the deprecated ones, or those chosen."""
    known = _CLASSES[feature_class].getFeatureNames()
    return sorted(chosen) or sorted(name for name, deprecated in known.items() if not deprecated)


def class_features(feature_class: str, region: RegionValues, chosen: Iterable[str] = ()) -> dict[str, float]:
    """Return the values of one class by name; not a number where the definition gives none.

    References
    ----------
    van Griethuysen et al. (2017), Cancer Research 77:e104-e107.
    """
    names = feature_names(feature_class, chosen)
    found = _CLASSES[feature_class](*region.images, **region.options, region=region)
    for name in names:
        found.enableFeatureByName(name)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = found.execute()
    return {name: float(values.get(name, np.nan)) for name in names}
