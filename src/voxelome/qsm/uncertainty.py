"""What the noise of the field becomes in the susceptibility."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import fft

from voxelome.imageio import Array, FloatArray, MaskArray
from voxelome.qsm.dipole import dipole_kernel, surrounded
from voxelome.qsm.direct import damped, thresholded
from voxelome.qsm.inversion import linear_response
from voxelome.qsm.methods import Inversion
from voxelome.qsm.nonlinear import descended


def propagated_error(
    field_error: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    direction: Sequence[float],
    method: Inversion,
    parameter: float,
    *,
    threads: int = 1,
) -> FloatArray:
    """Standard error of the susceptibility that the noise of the field causes.

    The variance of the field is convolved with the square of the inversion's response: of the division with
    its threshold, or of the linear step of `total_variation`, ``D / (D^2 + 100 regularisation |k|^2)``. The
    latter holds at edges; in even tissue total variation smooths further, and the true error is less.
    The same is taken for the other variations (nltv, medi, tgv), with their weight. Systematic errors
    (background, streaks of what was regularised away) are not in it.

    Parameters
    ----------
    field_error : ndarray, shape (x, y, z)
        Standard error of the field in ppm.
    mask : ndarray of bool, shape (x, y, z)
    spacing, direction : sequences of 3 floats
        Voxel sizes in mm; main field along the voxel axes.
    method : {"tv", "nltv", "medi", "tgv", "ndi", "tkd", "rts", "tikhonov"}
        The inversion.
    parameter : float
        Its regularisation or threshold.
    threads : int
        Threads of the Fourier transforms.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        ppm; 0 outside the mask.
    """
    shape, inner = surrounded(mask.shape, spacing)
    kernel = dipole_kernel(shape, spacing, direction)
    if method in ("tkd", "rts"):
        inverse = thresholded(kernel, parameter)
    elif method == "tikhonov":
        inverse = damped(kernel, parameter)
    elif method == "ndi":
        inverse = descended(kernel, parameter)
    else:
        inverse = linear_response(kernel, shape, spacing, parameter)
    response = fft.irfftn(inverse.astype(np.complex64), s=shape, workers=threads)
    variance = np.zeros(shape, np.float32)
    variance[inner] = np.where(mask, field_error, 0) ** 2
    spectrum = fft.rfftn(variance, workers=threads) * fft.rfftn(response**2, workers=threads)
    spread = fft.irfftn(spectrum, s=shape, workers=threads)[inner]
    return np.where(mask, np.sqrt(np.maximum(spread, 0)), 0).astype(np.float32)
