"""PyRadiomics' feature classes, fed with gray levels that all classes of one region share.

The formulas are PyRadiomics' own. What is left out is what it does anew for every class: finding the names of
its features, and sorting the intensities into gray levels.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, cast

import numpy as np
import SimpleITK
from radiomics import getFeatureClasses
from radiomics.imageoperations import binImage

from voxelome.imageio import Array, MaskArray
from voxelome.radiomics.shape import LargeRegionShape

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
    spacing: tuple[float, float, float]
    options: Mapping[str, Any]

    @cached_property
    def images(self) -> tuple[Any, Any]:
        """Image and mask for PyRadiomics."""
        pair = (
            SimpleITK.GetImageFromArray(np.ascontiguousarray(self.values)),
            SimpleITK.GetImageFromArray(np.ascontiguousarray(self.mask).astype(np.uint8)),
        )
        for image in pair:
            image.SetSpacing(self.spacing[::-1])
        return pair

    @cached_property
    def binned(self) -> Array:
        """Gray levels from 1, and 0 outside of the region."""
        levels: Array = binImage(self.values, self.mask, **self.options)[0]
        return levels

    @cached_property
    def levels(self) -> Array:
        """Gray levels that occur, ascending."""
        return np.unique(self.binned[self.mask])


class _Shared:
    """What a feature class of PyRadiomics takes from :class:`RegionValues`."""

    settings: dict[str, Any]
    coefficients: dict[str, Any]

    @classmethod
    def getFeatureNames(cls) -> dict[str, bool]:  # noqa: N802 - the name is PyRadiomics'
        names: dict[str, bool] = _named(cast(Any, cls))
        return names

    def _initSegmentBasedCalculation(self) -> None:  # noqa: N802 - the name is PyRadiomics'
        self.maskArray = self.settings["region"].mask

    def _applyBinning(self, _: Any) -> Array:  # noqa: N802 - the name is PyRadiomics'
        region: RegionValues = self.settings["region"]
        self.coefficients |= {"grayLevels": region.levels, "Ng": int(region.levels[-1])}
        return region.binned


@cache
def _named(kind: Any) -> dict[str, bool]:
    names: dict[str, bool] = super(_Shared, kind).getFeatureNames()
    return names


_SHAPES: dict[str, Any] = {"shape": LargeRegionShape, "shape2D": getFeatureClasses()["shape2D"]}
_CLASSES: dict[str, Any] = {
    **{
        name: type(kind.__name__, (_Shared, kind), {})
        for name, kind in getFeatureClasses().items()
        if name not in _SHAPES
    },
    **_SHAPES,
}


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
