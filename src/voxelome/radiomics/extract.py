"""Radiomic features of regions of one image: PyRadiomics' numbers, derived images made once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK
from radiomics import imageoperations

from voxelome.columns import ORIGINAL
from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, MaskArray, voxel_sizes
from voxelome.radiomics.checks import NOWHERE, Box, box_of, unusable_region, unusable_values
from voxelome.radiomics.derived import DerivedImage, derived_images, derived_names
from voxelome.radiomics.engine import RegionValues, class_features, feature_names
from voxelome.radiomics.itk import Spacing, to_itk
from voxelome.radiomics.results import FeatureValue, RegionFeatures
from voxelome.radiomics.settings import TEXTURES, RadiomicsSettings
from voxelome.radiomics.units import UNITS

# Where voxel sizes do not count.
_ANY_SPACING: Spacing = (1.0, 1.0, 1.0)
_SHAPE_OF_ANY_SIZE = RadiomicsSettings(None, 32, minimum_voxels=1)
# What PyRadiomics gives for a neighborhood matrix of zeros; its other features are then placeholders too.
_NO_COARSENESS = 1e6


@dataclass(frozen=True)
class _Region:
    """A region on the grid of its image; arrays count from z."""

    mask: MaskArray
    box: Box
    reason: str


def extract_features(
    image: Array, mask: MaskArray, affine: Affine, settings: RadiomicsSettings
) -> list[FeatureValue]:
    """Return the intensity and texture features of one region, as :func:`extract_regions` does."""
    return extract_regions(image, {"region": mask}, affine, settings)["region"].values


def extract_regions(
    image: Array, masks: Mapping[str, MaskArray], affine: Affine, settings: RadiomicsSettings
) -> dict[str, RegionFeatures]:
    """Return the intensity and texture features of regions of an image.

    Parameters
    ----------
    image : ndarray, shape (x, y, z)
        Intensities, in any unit. The type counts: the edges of gray levels have its precision.
    masks : mapping of str to ndarray of bool, shape (x, y, z)
        The regions; they may overlap.
    affine : ndarray, shape (4, 4)
        Voxel to world (mm); features depend on the voxel sizes only.
    settings : RadiomicsSettings
        Derived images, gray levels and classes.

    Returns
    -------
    dict of str to RegionFeatures
        For each region every feature, derived images and classes in the order of the settings.

    Raises
    ------
    DataError
        Image and mask are not three-dimensional arrays of one shape.

    References
    ----------
    van Griethuysen et al. (2017), Cancer Research 77:e104-e107. Names, definitions and deviations from
    IBSI (Zwanenburg et al. 2020, Radiology 295:328-338) are those of PyRadiomics.
    """
    for mask in masks.values():
        if image.shape != mask.shape:
            problem = f"the image is {image.shape} and the region {mask.shape}"
            raise DataError(problem, "resample one to the other's grid")
    first, second, third = voxel_sizes(affine)
    spacing = (third, second, first)
    whole = normalised(image.transpose(), settings)
    if not (settings.resamples or settings.options.get("preCrop")):
        regions = {name: _region(whole, mask.transpose(), settings) for name, mask in masks.items()}
        return _extracted(whole, spacing, regions, settings)
    found: dict[str, RegionFeatures] = {}
    for name, mask in masks.items():
        part, flipped, sizes, reason = _own_grid(whole, mask.transpose(), spacing, settings)
        regions = {name: _region(part, flipped, settings, reason)}
        found |= _extracted(part, sizes, regions, settings)
    return found


def shape_features(
    mask: MaskArray, affine: Affine, settings: RadiomicsSettings = _SHAPE_OF_ANY_SIZE
) -> list[FeatureValue]:
    """Return the shape features of a region.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
        The region.
    affine : ndarray, shape (4, 4)
        Voxel to world (mm). Slice, column and row of PyRadiomics' planar diameters are the planes
        across the third, second and first array axis: axial, coronal and sagittal for an RAS+ array.
    settings : RadiomicsSettings
        Smallest size, voxel size, classes and features of the shape; by default all, of any size.
    """
    first, second, third = voxel_sizes(affine)
    region, spacing, reason = mask.transpose(), (third, second, first), ""
    if settings.resamples:
        _, region, spacing, reason = _own_grid(region.astype(np.uint8), region, spacing, settings)
    box = box_of(region)
    reason = reason or unusable_region(region, box, settings)
    part = RegionValues(region[box].astype(np.float64), region[box], spacing, settings.options)
    values: list[FeatureValue] = []
    for name in settings.shapes:
        why = reason or (_not_flat(part, settings) if name == "shape2D" else "")
        values += _computed(ORIGINAL, name, part, why, settings)
    return values


def _not_flat(part: RegionValues, settings: RadiomicsSettings) -> str:
    """Say why a region has no shape in two dimensions; empty where it has."""
    if not settings.options.get("force2D"):
        return "Shape in two dimensions needs force2D."
    thick = part.mask.shape[settings.options.get("force2Ddimension", 0)]
    return f"The region is {thick} voxels thick: it has no shape in two dimensions." if thick > 1 else ""


def normalised(whole: Array, settings: RadiomicsSettings) -> Array:
    """Return the image with mean 0 and deviation 1 over the whole of it, where that is asked for."""
    if not settings.options.get("normalize"):
        return whole
    scaled = imageoperations.normalizeImage(to_itk(whole, _ANY_SPACING), **settings.options)
    values: Array = SimpleITK.GetArrayFromImage(scaled)
    return values


def _own_grid(
    whole: Array, mask: MaskArray, spacing: Spacing, settings: RadiomicsSettings
) -> tuple[Array, MaskArray, Spacing, str]:
    """Return the part of the image around a region, resampled where asked, as PyRadiomics makes it.

    There the part is cut out before the filters, so that every region has derived images of its own.
    """
    if unusable_region(mask, box_of(mask), settings):
        return whole, mask, spacing, ""
    image, region = to_itk(whole, spacing), to_itk(mask, spacing)
    options = {"interpolator": "sitkBSpline", "padDistance": 5, **settings.options, "label": 1}
    try:
        if settings.resamples:
            image, region = imageoperations.resampleImage(image, region, **options)
        else:
            bounds, _ = imageoperations.checkMask(image, region, label=1, minimumROIDimensions=1)
            image, region = imageoperations.cropToTumorMask(image, region, bounds, **options)
    except (ValueError, AssertionError, RuntimeError) as error:
        return whole, mask, spacing, f"The region cannot be resampled: {' '.join(str(error).split())}"
    x, y, z = image.GetSpacing()
    return SimpleITK.GetArrayFromImage(image), SimpleITK.GetArrayFromImage(region) == 1, (z, y, x), ""


def _region(whole: Array, mask: MaskArray, settings: RadiomicsSettings, reason: str = "") -> _Region:
    """Return a region on the grid of its image, resegmented where asked, and why it has no features."""
    box = box_of(mask)
    reason = reason or unusable_region(mask, box, settings)
    if not reason and settings.options.get("resegmentRange") is not None:
        try:
            kept = imageoperations.resegmentMask(
                to_itk(whole[box], _ANY_SPACING),
                to_itk(mask[box], _ANY_SPACING),
                **{**settings.options, "label": 1},
            )
        except ValueError as error:
            return _Region(mask, box, f"Resegmentation left nothing: {error}.")
        mask = np.zeros_like(mask)
        mask[box] = SimpleITK.GetArrayFromImage(kept) == 1
        box = box_of(mask)
        reason = unusable_region(mask, box, settings)
    return _Region(mask, box, reason)


def _extracted(
    whole: Array, spacing: Spacing, regions: Mapping[str, _Region], settings: RadiomicsSettings
) -> dict[str, RegionFeatures]:
    """Return the features of regions on the grid of their image."""
    found = {name: RegionFeatures() for name in regions}
    usable = [region for region in regions.values() if not region.reason]
    if usable:
        box = _around([region.box for region in usable])
        together = np.logical_or.reduce([region.mask for region in usable])
        images = derived_images(whole, together, spacing, box, settings)
    else:
        box = NOWHERE
        images = iter(DerivedImage(name, None, options) for name, options in derived_names(settings))
    for derived in images:
        for name, region in regions.items():
            _add(found[name], derived, box, region, spacing, settings)
    return found


def _add(
    found: RegionFeatures,
    derived: DerivedImage,
    box: Box,
    region: _Region,
    spacing: Spacing,
    settings: RadiomicsSettings,
) -> None:
    """Append the features of a region of one derived image."""
    reason, texture_reason, part = region.reason or derived.reason, "", None
    if not reason and derived.values is not None:
        inner = tuple(
            slice(a.start - b.start, a.stop - b.start) for a, b in zip(region.box, box, strict=True)
        )
        part = RegionValues(derived.values[inner], region.mask[region.box], spacing, derived.options)
        reason, levels = unusable_values(part.values[part.mask], derived.options)
        if levels:
            found.levels[derived.name] = levels
        if levels == 1:
            width = derived.options["binWidth"]
            texture_reason = f"All intensities of the region lie in one gray level of width {width:g}."
    for name in settings.classes:
        why = reason or (texture_reason if name in TEXTURES else "")
        found.values.extend(_computed(derived.name, name, part, why, settings))


def _around(boxes: list[Box]) -> Box:
    """Return the smallest box around boxes."""
    low = [min(box[axis].start for box in boxes) for axis in range(3)]
    high = [max(box[axis].stop for box in boxes) for axis in range(3)]
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])


def _computed(
    filter_name: str, feature_class: str, part: RegionValues | None, reason: str, settings: RadiomicsSettings
) -> list[FeatureValue]:
    """Return every feature of one class, in alphabetical order."""
    chosen = settings.features.get(feature_class, ())
    names = feature_names(feature_class, chosen)
    results: dict[str, float] = {}
    if part is not None and not reason:
        results = class_features(feature_class, part, chosen)
    if feature_class == "ngtdm" and results.get("Coarseness") == _NO_COARSENESS:
        results, reason = {}, "No voxel differs from its neighbors in the region, or none has any."
    found = []
    for feature in names:
        value = results.get(feature, np.nan)
        known = bool(np.isfinite(value))
        why = "" if known else reason or "The definition of the feature gives no finite number here."
        unit = UNITS.get((feature_class, feature), "")
        found.append(FeatureValue(filter_name, feature_class, feature, value if known else None, unit, why))
    return found
