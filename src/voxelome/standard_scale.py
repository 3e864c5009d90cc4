"""The standard scale of intensities of Nyul: where the percentiles of the brain lie on it.

References
----------
Nyul LG, Udupa JK, Zhang X. New variants of a method of MRI scale standardization. IEEE Trans Med Imaging 19
(2000) 143.
Shah M, Xiao Y, Subbanna N, et al. Evaluating intensity normalization on MRIs of human brain with multiple
sclerosis. Med Image Anal 15 (2011) 267 (deciles, and the landmarks' mean on a range from 0 to 100).
"""

from __future__ import annotations

import numpy as np

from voxelome.imageio import Array, FloatArray

# Of the values in the brain: the ends of the scale, and the deciles.
PERCENTILES = (1, *range(10, 100, 10), 99)
LOW, HIGH = 0.0, 100.0
# Fewer people are no standard.
FEWEST = 3


def on_range(landmarks: Array) -> FloatArray:
    """Landmarks with the ends of each image brought to the ends of the scale.

    Parameters
    ----------
    landmarks : ndarray, shape (..., 11)
        Values of the :data:`PERCENTILES` of an image, the last above the first. An image may be on any scale
        that rises linearly with its own: the result is the same.
    """
    low, high = landmarks[..., :1], landmarks[..., -1:]
    found: FloatArray = LOW + (HIGH - LOW) * (landmarks - low) / (high - low)
    return found


def to_scale(values: Array, landmarks: Array, standard: Array) -> FloatArray:
    """Values on the standard scale: linear between landmarks, and beyond the outermost as beside them.

    Parameters
    ----------
    values : ndarray
        Intensities of one image.
    landmarks, standard : ndarray, shape (11,)
        Landmarks of the image, not all of one value, and where they lie on the scale.
    """
    at, where = np.unique(np.asarray(landmarks, dtype=np.float64), return_inverse=True)
    # Landmarks of one value, as of coarse integers, lie at the mean of theirs.
    to = np.bincount(where, weights=np.asarray(standard, dtype=np.float64)) / np.bincount(where)
    values = np.asarray(values, dtype=np.float64)
    moved: FloatArray = np.interp(values, at, to)
    low, high = values < at[0], values > at[-1]
    moved[low] = to[0] + (values[low] - at[0]) * (to[1] - to[0]) / (at[1] - at[0])
    moved[high] = to[-1] + (values[high] - at[-1]) * (to[-1] - to[-2]) / (at[-1] - at[-2])
    return moved
