"""Features of the neighborhood of each voxel, as maps on the grid of the image."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK
from radiomics import getFeatureClasses

from voxelome.columns import ORIGINAL
from voxelome.errors import DataError, suggest
from voxelome.imageio import Affine, Array, FloatArray, MaskArray, voxel_sizes
from voxelome.radiomics.checks import Box, box_of, unusable_region, unusable_values
from voxelome.radiomics.derived import DerivedImage, derived_images, derived_names
from voxelome.radiomics.engine import feature_names
from voxelome.radiomics.extract import normalised
from voxelome.radiomics.itk import Spacing, to_itk
from voxelome.radiomics.settings import CLASSES, RadiomicsSettings

# What the matrices of the voxels that are worked on at a time may take.
_MEMORY = 256 * 2**20
_DIRECTIONS, _BYTES = 13, 8
_TWO_MAPS_A_MATRIX = 4


@dataclass(frozen=True)
class MapName:
    """One feature of one derived image."""

    filter: str
    feature_class: str
    feature: str

    def __str__(self) -> str:
        return f"{self.filter}_{self.feature_class}_{self.feature}"


@dataclass(frozen=True)
class FeatureMap:
    """A feature around every voxel of a region.

    Attributes
    ----------
    name : MapName
        Which feature.
    values : ndarray of float32, shape (x, y, z), or None
        NaN outside of the region, and where the feature is not defined.
    reason : str
        Why there is no map.
    """

    name: MapName
    values: FloatArray | None
    reason: str = ""


def parse_maps(names: Sequence[str], settings: RadiomicsSettings) -> list[MapName]:
    """Return the maps that a study names, such as ``glcm_JointEntropy`` or ``wavelet-LLH_firstorder_Mean``.

    Raises
    ------
    DataError
        There is no such feature or derived image, or the settings resample.
    """
    if names and settings.resamples:
        problem = "feature maps lie on the grid of the image, but resampledPixelSpacing asks for another"
        raise DataError(problem, "take it out of the parameter file, or ask for no maps")
    filters = [name for name, _ in derived_names(settings)]
    maps = []
    for name in names:
        *first, feature_class, feature = (["", *name.split("_")] if "_" in name else ["", "", name])[-3:]
        filtered = first[0] or ORIGINAL
        if filtered not in filters:
            raise DataError(
                f"there is no derived image {filtered!r} for the map {name}", suggest(filtered, filters)
            )
        if feature_class not in CLASSES:
            raise DataError(
                f"there is no feature class {feature_class!r} for the map {name}",
                suggest(feature_class, CLASSES),
            )
        if feature not in (known := feature_names(feature_class)):
            raise DataError(f"there is no {feature_class} feature {feature!r}", suggest(feature, known))
        maps.append(MapName(filtered, feature_class, feature))
    return maps


def feature_maps(
    image: Array,
    mask: MaskArray,
    affine: Affine,
    settings: RadiomicsSettings,
    wanted: Sequence[MapName],
    kernel: Mapping[str, Any] | None = None,
) -> Iterator[FeatureMap]:
    """Yield maps one by one, in memory that does not grow with the region but for the maps of one class.

    Parameters
    ----------
    image : ndarray, shape (x, y, z)
        Intensities.
    mask : ndarray of bool, shape (x, y, z)
        The region.
    affine : ndarray, shape (4, 4)
        Voxel to world (mm); only the voxel sizes count.
    settings : RadiomicsSettings
        Derived images and gray levels.
    wanted : sequence of MapName
        Which maps.
    kernel : mapping, optional
        PyRadiomics' settings of voxels: ``kernelRadius`` (1 voxel) and ``maskedKernel`` (whether only voxels
        of the region count; true).

    References
    ----------
    van Griethuysen et al. (2017), Cancer Research 77:e104-e107; the voxel-based extraction of PyRadiomics.
    """
    kernel = {"kernelRadius": 1, "maskedKernel": True, **(kernel or {})}
    first, second, third = voxel_sizes(affine)
    spacing = (third, second, first)
    region = mask.transpose()
    if reason := unusable_region(region, box_of(region), settings):
        yield from (FeatureMap(name, None, reason) for name in wanted)
        return
    whole = normalised(image.transpose(), settings)
    box = _padded(box_of(region), int(kernel["kernelRadius"]), region.shape)
    for derived in derived_images(whole, region, spacing, box, settings):
        here = [name for name in wanted if name.filter == derived.name]
        for feature_class in dict.fromkeys(name.feature_class for name in here):
            chosen = [name for name in here if name.feature_class == feature_class]
            for name, values, reason in _class_maps(derived, region[box], spacing, chosen, kernel):
                if values is None:
                    yield FeatureMap(name, None, reason)
                else:
                    full = np.full(region.shape, np.nan, dtype=np.float32)
                    full[box] = values
                    yield FeatureMap(name, full.transpose())


def _padded(box: Box, radius: int, shape: tuple[int, ...]) -> Box:
    """Return a box with a margin, within the image."""
    z, y, x = (
        slice(max(part.start - radius, 0), min(part.stop + radius, size))
        for part, size in zip(box, shape, strict=True)
    )
    return z, y, x


def _class_maps(
    derived: DerivedImage,
    region: MaskArray,
    spacing: Spacing,
    names: list[MapName],
    kernel: Mapping[str, Any],
) -> Iterator[tuple[MapName, Array | None, str]]:
    """Yield the maps of one class on one derived image."""
    reason, levels = derived.reason, 0
    if derived.values is not None and not reason:
        reason, levels = unusable_values(derived.values[region], derived.options)
    if derived.values is None or reason:
        yield from ((name, None, reason) for name in names)
        return
    options = {**derived.options, **kernel, "initValue": np.nan, "voxelBased": True}
    options["voxelBatch"] = voxels_at_a_time(levels, int(kernel["kernelRadius"]))
    images = (to_itk(derived.values, spacing), to_itk(region, spacing))
    found = getFeatureClasses()[names[0].feature_class](*images, **options)
    for name in names:
        found.enableFeatureByName(name.feature)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = found.execute()
    for name in names:
        yield name, SimpleITK.GetArrayFromImage(values[name.feature]), ""


def voxels_at_a_time(levels: int, radius: int) -> int:
    """Return for how many voxels the matrices of their neighborhoods may be in memory together.

    Parameters
    ----------
    levels : int
        Gray levels of the region.
    radius : int
        Of the neighborhood, in voxels.
    """
    longest = max(levels, (2 * radius + 1) ** 3)
    each = max(levels, 1) * longest * _DIRECTIONS * _BYTES * _TWO_MAPS_A_MATRIX
    return max(1, _MEMORY // each)
