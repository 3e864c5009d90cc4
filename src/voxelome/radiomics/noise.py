"""Noise of an image: how strong it is, and more of it.

References
----------
Chang SG, Yu B, Vetterli M. Adaptive wavelet thresholding for image denoising and compression. IEEE Trans
Image Process 9 (2000) 1532.
Donoho DL, Johnstone IM. Ideal spatial adaptation by wavelet shrinkage. Biometrika 81 (1994) 425.
Zwanenburg A, Leger S, Agolli L, et al. Assessing robustness of radiomic features by image perturbation. Sci
Rep 9 (2019) 614.
"""

from __future__ import annotations

import numpy as np
import pywt
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Array, FloatArray
from voxelome.radiomics.checks import Box

# Slices that noise is estimated in, and the fewest bright places of them.
_SLICES, _FEWEST = 12, 100
# Share of negative voxels that an earlier interpolation may leave; an image with more holds no magnitudes.
_MOST_NEGATIVE = 0.01
# Median of the magnitude of a Gaussian of standard deviation 1.
_MEDIAN_MAGNITUDE = 0.6745


def slice_axis(sizes: tuple[float, ...]) -> int:
    """Return the axis across slices: the one with the largest voxels, the third where all are alike."""
    return 2 - int(np.argmax(np.round(sizes, 3)[::-1]))


def noise_level(image: Array, sizes: tuple[float, ...]) -> float:
    """Return the standard deviation of the noise, from the finest diagonal details of slices.

    By Chang's method, as in the perturbation chains of Zwanenburg et al., except that of magnitudes only
    bright places count (all around them above half of the mean): air and what was set to zero have less
    noise. An image that was interpolated has less noise in these details than it has otherwise.

    Parameters
    ----------
    image : ndarray, shape (x, y, z)
    sizes : tuple of three float
        Voxel sizes in mm; details are taken across the axis with the largest.

    Raises
    ------
    DataError
        Hardly anything is bright.
    """
    axis = slice_axis(sizes)
    step = -(-image.shape[axis] // _SLICES)
    details = image[(slice(None),) * axis + (slice(step // 2, None, step),)].astype(np.float64)
    known = np.isfinite(details) & (details != 0)
    details[~known] = 0.0
    bright = known & (details >= _darkest(details[known]))
    high = pywt.Wavelet("coif1").dec_hi
    for along in (other for other in range(3) if other != axis):
        details = ndimage.convolve1d(details, high, axis=along)
        bright = ndimage.minimum_filter1d(bright.view(np.uint8), len(high) + 1, axis=along) > 0
    if np.count_nonzero(bright) < _FEWEST:
        problem = f"only {np.count_nonzero(bright)} places of the image are bright enough to show its noise"
        raise DataError(problem, "leave noise out of the perturbations")
    return float(np.median(np.abs(details[bright]))) / _MEDIAN_MAGNITUDE


def _darkest(values: FloatArray) -> float:
    """Return below which intensity an image shows air, if at all."""
    if not values.size or np.mean(values < 0) > _MOST_NEGATIVE:
        return -np.inf
    return float(values.mean()) / 2


def noise_field(box: Box, shape: tuple[int, ...], seed: int) -> FloatArray:
    """Return Gaussian noise of standard deviation 1 in a box; a voxel has the same in every box.

    Parameters
    ----------
    box : tuple of three slice
    shape : tuple of three int
        Size of the image.
    seed : int
    """
    first, rows, depth = box
    planes = [
        np.random.default_rng((seed, plane)).standard_normal((rows.stop, shape[2]), dtype=np.float32)
        for plane in range(first.start, first.stop)
    ]
    return np.stack([plane[rows.start :, depth] for plane in planes]).astype(np.float64)
