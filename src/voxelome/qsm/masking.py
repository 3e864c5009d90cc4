"""Where a gradient-echo magnitude has tissue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Array, MaskArray

_BINS = 256
_AIR_TO_TISSUE = 0.4  # above this ratio of class means the darker class is tissue too
_SMALLEST = 64  # voxels; fewer hold no anatomy


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


def magnitude_mask(magnitude: Array, spacing: Sequence[float]) -> MaskArray:
    """Mask of the tissue that gives signal.

    Otsu's threshold on the smoothed magnitude, opened to cut thin bridges, its largest component with
    holes filled (veins and iron-rich nuclei are dark, but inside). Where even the darker class is
    no air (a crop inside the head), everything with signal counts.

    Parameters
    ----------
    magnitude : ndarray, shape (x, y, z)
        Magnitude of the first echo, which has lost the least signal.
    spacing : sequence of 3 floats
        Voxel sizes in mm.

    Returns
    -------
    ndarray of bool, shape (x, y, z)

    Raises
    ------
    DataError
        There is no signal, or no connected region of it.
    """
    if not np.any(magnitude > 0):
        raise DataError("the magnitude has no positive value", "export the magnitude images again")
    sigma = [0.5 * max(spacing) / size for size in spacing]
    smooth = ndimage.gaussian_filter(magnitude.astype(np.float32), sigma)
    threshold = otsu_threshold(smooth)
    dark, bright = smooth[smooth <= threshold], smooth[smooth > threshold]
    if dark.size == 0 or bright.size == 0 or dark.mean() > _AIR_TO_TISSUE * bright.mean():
        tissue = magnitude > 0
    else:
        # Otsu's threshold lies halfway between air and tissue and would cut dim tissue far from the coil.
        tissue = smooth > 0.7 * threshold
        tissue = ndimage.binary_opening(tissue)
    labels, count = ndimage.label(tissue)
    sizes = np.bincount(labels.ravel(), minlength=2)[1:]
    if count == 0 or sizes.max() < _SMALLEST:
        raise DataError(
            f"the magnitude has no region of tissue (the largest has {int(sizes.max())} voxels)",
            "check that these are magnitude images of a head",
        )
    mask: MaskArray = ndimage.binary_fill_holes(labels == 1 + int(np.argmax(sizes)))
    return mask
