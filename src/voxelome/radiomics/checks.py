"""Which regions have no features, and why: the same for every engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Array, MaskArray
from voxelome.radiomics.settings import MAXIMUM_LEVELS, RadiomicsSettings

Box = tuple[slice, slice, slice]
NOWHERE: Box = (slice(0, 0), slice(0, 0), slice(0, 0))
# A cube of one voxel has no texture; a line or a plane has none in three dimensions.
DIMENSIONS = 3


def box_of(mask: MaskArray) -> Box:
    """Return the smallest box around the region; one without voxels where the region is empty."""
    if mask.ndim != DIMENSIONS:
        raise DataError(f"the region has {mask.ndim} dimensions", "give an image of three")
    (found,) = ndimage.find_objects(mask.astype(np.uint8), 1)
    return found or NOWHERE


def unusable_region(mask: MaskArray, box: Box, settings: RadiomicsSettings) -> str:
    """Say why a region has no features; empty where it has."""
    count = int(np.count_nonzero(mask[box]))
    if count == 0:
        return "The region is empty."
    if count < settings.minimum_voxels:
        return f"The region has {count} voxels, fewer than {settings.minimum_voxels}."
    thick = sum(part.stop - part.start > 1 for part in box)
    needed = settings.options.get(
        "minimumROIDimensions", 2 if settings.options.get("force2D") else DIMENSIONS
    )
    if thick == 0:
        return "The region is one voxel."
    if thick < needed:
        wanted = "three" if needed == DIMENSIONS else "two"
        return f"The region is one voxel thick: features in {wanted} dimensions are not defined."
    return ""


def unusable_values(inside: Array, options: Mapping[str, Any]) -> tuple[str, int]:
    """Say why intensities have no features, empty where they have, and how many gray levels they span."""
    if wrong := int(np.sum(~np.isfinite(inside))):
        return f"{wrong} of the region's {inside.size} voxels are not finite.", 0
    low, high = float(inside.min()), float(inside.max())
    if low == high:
        return f"The image is constant in the region ({low:g}).", 0
    count = options.get("binCount")
    width = (high - low) / count if count else options["binWidth"]
    if width <= np.spacing(max(abs(low), abs(high))):
        return f"Intensities differ by rounding only (from {low!r} to {high!r}).", 0
    # PyRadiomics puts the edges at multiples of a width.
    levels = count or int(np.floor(high / width) - np.floor(low / width)) + 1
    if levels > MAXIMUM_LEVELS:
        span = f"Intensities from {low:g} to {high:g}"
        return f"{span} make {levels}, more than {MAXIMUM_LEVELS} gray levels of width {width:g}.", levels
    return "", levels
