"""How alike two images are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.imageio import Array, FloatArray

_TAIL_PERCENT = 0.5


def mutual_information(first: Array, second: Array, *, bins: int = 32) -> float:
    """Mutual information in bits of paired intensities.

    The sum over the joint histogram of ``p(a, b) log2(p(a, b) / (p(a) p(b)))`` [1]_, [2]_. It is 0
    where one image says nothing about the other, whatever their contrasts, and it does not change
    when an intensity scale is turned round.

    Parameters
    ----------
    first, second : ndarray, same shape
        Intensities of the two images at the same places.
    bins : int
        Bins of equal width an axis, from the 0.5th to the 99.5th percentile; what lies beyond falls
        into the outermost bins, so that a few bright voxels do not use up the histogram.

    Returns
    -------
    float
        Bits, from 0 to ``log2(bins)``; 0 where there are no values or one image is constant.

    Raises
    ------
    DataError
        The two do not have the same number of values.

    References
    ----------
    .. [1] Maes et al., IEEE Trans Med Imaging 16:187, 1997.
    .. [2] Viola and Wells, Int J Comput Vis 24:137, 1997.
    """
    if first.size != second.size:
        raise DataError(
            f"{first.size} intensities cannot be paired with {second.size}", "compare images on the same grid"
        )
    if first.size == 0:
        return 0.0
    pairs = _bin_indices(first, bins) * bins + _bin_indices(second, bins)
    joint = np.bincount(pairs, minlength=bins * bins).reshape(bins, bins) / first.size
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return max(0.0, float((joint[seen] * np.log2(joint[seen] / independent[seen])).sum()))


def _bin_indices(values: Array, bins: int) -> NDArray[np.intp]:
    """Bin of every value, from 0 to `bins` - 1."""
    flat: FloatArray = np.asarray(values, dtype=np.float64).ravel()
    low, high = np.percentile(flat, [_TAIL_PERCENT, 100 - _TAIL_PERCENT])
    if high <= low:
        # nearly all values are one value (background): let the few others span the bins
        low, high = float(flat.min()), float(flat.max())
        if high <= low:
            return np.zeros(flat.size, dtype=np.intp)
    scaled = (flat - low) * (bins / (high - low))
    return np.asarray(np.clip(scaled, 0, bins - 1), dtype=np.intp)
