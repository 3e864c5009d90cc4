"""Regions of an image that stand out: threshold, and the largest part without holes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Array, MaskArray

_BINS = 256


def otsu_threshold(values: Array) -> float:
    """Threshold that parts a histogram into two classes of greatest variance between them.

    Otsu, IEEE Trans Syst Man Cybern 9:62, 1979. Values beyond the 99.5th percentile count into the last
    bin, because a few bright vessels would otherwise use up the histogram.
    """
    top = float(np.percentile(values, 99.5))
    counts, edges = np.histogram(np.minimum(values, top), bins=_BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts).astype(float)
    above = below[-1] - below
    mass = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (mass / below - (mass[-1] - mass) / above) ** 2
    return float(edges[1 + int(np.nanargmax(between[:-1]))])


def largest_region(mask: MaskArray, fewest: int = 1) -> MaskArray:
    """Largest connected part of a mask, with its holes filled.

    Raises
    ------
    DataError
        No part has `fewest` voxels.
    """
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=2)[1:]
    if count == 0 or sizes.max() < fewest:
        raise DataError(
            "nothing in the image stands out from the background "
            f"(the largest region has {int(sizes.max())} voxels)",
            "check that it is an image of a head",
        )
    filled: MaskArray = ndimage.binary_fill_holes(labels == 1 + int(np.argmax(sizes)))
    return filled
