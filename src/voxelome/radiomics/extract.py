"""Radiomic features of one region of one image, computed by PyRadiomics."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK
from radiomics import getFeatureClasses

from voxelome.errors import DataError
from voxelome.imageio import Affine, FloatArray, MaskArray, voxel_sizes
from voxelome.radiomics.shape import LargeRegionShape

# Every problem that PyRadiomics would log is told in a reason instead.
logging.getLogger("radiomics").setLevel(logging.CRITICAL + 1)

FILTER = "original"
TEXTURES = ("glcm", "glrlm", "glszm", "gldm", "ngtdm")
CLASSES = ("firstorder", *TEXTURES)
# A co-occurrence matrix takes memory with the square of the gray levels, in each of 13 directions.
MAXIMUM_LEVELS = 1024
MINIMUM_SIZE = 2
# What PyRadiomics gives for a neighborhood matrix of zeros; its other features are then placeholders too.
_NO_COARSENESS = 1e6

_INTENSITY = (
    "10Percentile",
    "90Percentile",
    "InterquartileRange",
    "Maximum",
    "Mean",
    "MeanAbsoluteDeviation",
    "Median",
    "Minimum",
    "Range",
    "RobustMeanAbsoluteDeviation",
    "RootMeanSquared",
)
_LENGTHS = (
    "LeastAxisLength",
    "MajorAxisLength",
    "MinorAxisLength",
    "Maximum2DDiameterColumn",
    "Maximum2DDiameterRow",
    "Maximum2DDiameterSlice",
    "Maximum3DDiameter",
)
UNITS: dict[tuple[str, str], str] = {
    **{("firstorder", name): "intensity" for name in _INTENSITY},
    ("firstorder", "Energy"): "intensity2",
    ("firstorder", "Variance"): "intensity2",
    ("firstorder", "TotalEnergy"): "intensity2 mm3",
    ("firstorder", "Entropy"): "bit",
    **{("shape", name): "mm" for name in _LENGTHS},
    ("shape", "MeshVolume"): "mm3",
    ("shape", "VoxelVolume"): "mm3",
    ("shape", "SurfaceArea"): "mm2",
    ("shape", "SurfaceVolumeRatio"): "mm-1",
}


@dataclass(frozen=True)
class RadiomicsSettings:
    """How features are computed.

    Attributes
    ----------
    bin_width : float or None
        Width of a gray level in the unit of the image.
    bin_count : int or None
        Number of gray levels between the extremes of the region. Exactly one of the two is given.
    classes : tuple of str
        Feature classes, out of :data:`CLASSES`, in the order wanted.
    minimum_voxels : int
        A region with fewer voxels has no features.
    """

    bin_width: float | None
    bin_count: int | None
    classes: tuple[str, ...] = CLASSES
    minimum_voxels: int = 10

    def __post_init__(self) -> None:
        if (self.bin_width is None) == (self.bin_count is None):
            seen = f"gray levels have a width of {self.bin_width} and a count of {self.bin_count}"
            raise DataError(seen, "give one of the two")
        if self.bin_width is not None and not 0 < self.bin_width < np.inf:
            raise DataError(f"a gray level is {self.bin_width} wide", "give a positive bin width")
        if self.bin_count is not None and not 2 <= self.bin_count <= MAXIMUM_LEVELS:
            remedy = f"give a bin count of 2 to {MAXIMUM_LEVELS}"
            raise DataError(f"there are {self.bin_count} gray levels", remedy)
        if unknown := [name for name in self.classes if name not in CLASSES]:
            remedy = f"choose among {', '.join(CLASSES)}"
            raise DataError(f"there is no feature class {', '.join(unknown)}", remedy)

    @property
    def binning(self) -> dict[str, Any]:
        """The gray levels, as PyRadiomics names them."""
        return {"binWidth": self.bin_width} if self.bin_count is None else {"binCount": self.bin_count}


@dataclass(frozen=True)
class FeatureValue:
    """One feature; `value` is None where it cannot be computed, and `reason` then says why."""

    filter: str
    feature_class: str
    feature: str
    value: float | None
    unit: str
    reason: str


def extract_features(
    image: FloatArray, mask: MaskArray, affine: Affine, settings: RadiomicsSettings
) -> list[FeatureValue]:
    """Return the intensity and texture features of a region, classes in the order of the settings.

    Parameters
    ----------
    image : ndarray of float, shape (x, y, z)
        Intensities, in any unit.
    mask : ndarray of bool, shape (x, y, z)
        The region.
    affine : ndarray, shape (4, 4)
        Voxel to world (mm); features depend on the voxel sizes only.
    settings : RadiomicsSettings
        Gray levels and classes.

    Returns
    -------
    list of FeatureValue
        Every feature of every class, also those that the region does not allow.

    Raises
    ------
    DataError
        Image and mask are not three-dimensional arrays of one shape.

    References
    ----------
    van Griethuysen et al. (2017), Cancer Research 77:e104-e107. Names, definitions and deviations from
    IBSI (Zwanenburg et al. 2020, Radiology 295:328-338) are those of PyRadiomics.
    """
    if image.shape != mask.shape:
        problem = f"the image is {image.shape} and the region {mask.shape}"
        raise DataError(problem, "resample one to the other's grid")
    where = _box(mask)
    region = mask[where]
    values = np.where(region, image[where], 0.0).astype(np.float64)
    inside = values[region]
    reason = _unusable(region, settings.minimum_voxels) or _unusable_values(inside, settings)
    texture_reason = reason or _one_level(inside, settings)
    images = None if reason else _to_itk(values, region, affine)
    found: list[FeatureValue] = []
    for name in settings.classes:
        why = texture_reason if name in TEXTURES else reason
        found += _computed(name, None if why else images, why, settings.binning)
    return found


def shape_features(mask: MaskArray, affine: Affine, *, minimum_voxels: int = 1) -> list[FeatureValue]:
    """Return the shape features of a region.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
        The region.
    affine : ndarray, shape (4, 4)
        Voxel to world (mm). Slice, column and row of PyRadiomics' planar diameters are the planes
        across the third, second and first array axis: axial, coronal and sagittal for an RAS+ array.
    minimum_voxels : int
        A smaller region has no features.
    """
    region = mask[_box(mask)]
    reason = _unusable(region, minimum_voxels)
    images = None if reason else _to_itk(region.astype(np.float64), region, affine)
    return _computed("shape", images, reason, {})


def _box(mask: MaskArray) -> tuple[slice, ...]:
    """Return the smallest box around the region; one without voxels where the region is empty."""
    if mask.ndim != 3:
        raise DataError(f"the region has {mask.ndim} dimensions", "give an image of three")
    where = []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if not len(filled):
            return (slice(0, 0),) * 3
        where.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(where)


def _unusable(region: MaskArray, minimum_voxels: int) -> str:
    """Say why a region has no features; empty where it has."""
    count = int(region.sum())
    if count == 0:
        return "The region is empty."
    if count < minimum_voxels:
        return f"The region has {count} voxels, fewer than {minimum_voxels}."
    if min(region.shape) < MINIMUM_SIZE:
        return "The region is one voxel thick: features in three dimensions are not defined."
    return ""


def _unusable_values(inside: FloatArray, settings: RadiomicsSettings) -> str:
    """Say why intensities have no features; empty where they have."""
    if wrong := int(np.sum(~np.isfinite(inside))):
        return f"{wrong} of the region's {inside.size} voxels are not finite."
    low, high = float(inside.min()), float(inside.max())
    if low == high:
        return f"The image is constant in the region ({low:g})."
    width = settings.bin_width or (high - low) / (settings.bin_count or 1)
    if width <= np.spacing(max(abs(low), abs(high))):
        return f"Intensities differ by rounding only (from {low!r} to {high!r})."
    if (high - low) / width > MAXIMUM_LEVELS:
        span = f"Intensities from {low:g} to {high:g}"
        return f"{span} make more than {MAXIMUM_LEVELS} gray levels of width {width:g}."
    return ""


def _one_level(inside: FloatArray, settings: RadiomicsSettings) -> str:
    """Say that a bin width leaves one gray level, which has no texture; empty where there are more."""
    width = settings.bin_width
    # PyRadiomics puts the edges at multiples of the width.
    if width and np.floor(inside.min() / width) == np.floor(inside.max() / width):
        return f"All intensities of the region lie in one gray level of width {width:g}."
    return ""


def _to_itk(values: FloatArray, region: MaskArray, affine: Affine) -> tuple[Any, Any]:
    """Return image and mask for PyRadiomics, which counts array axes from z."""
    images = (
        SimpleITK.GetImageFromArray(np.ascontiguousarray(values.transpose())),
        SimpleITK.GetImageFromArray(np.ascontiguousarray(region.transpose()).astype(np.uint8)),
    )
    for image in images:
        image.SetSpacing(voxel_sizes(affine))
    return images


def _computed(
    name: str, images: tuple[Any, Any] | None, reason: str, binning: dict[str, Any]
) -> list[FeatureValue]:
    """Return every feature of one class, in alphabetical order."""
    kind = LargeRegionShape if name == "shape" else getFeatureClasses()[name]
    results: dict[str, Any] = {}
    if images is not None:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            results = kind(*images, **binning).execute()
    if results.get("Coarseness") == _NO_COARSENESS:
        results, reason = {}, "No voxel differs from its neighbors in the region, or none has any."
    found = []
    for feature in sorted(key for key, deprecated in kind.getFeatureNames().items() if not deprecated):
        value = float(results.get(feature, np.nan))
        known = bool(np.isfinite(value))
        why = "" if known else reason or "The definition of the feature gives no finite number here."
        unit = UNITS.get((name, feature), "")
        found.append(FeatureValue(FILTER, name, feature, value if known else None, unit, why))
    return found
