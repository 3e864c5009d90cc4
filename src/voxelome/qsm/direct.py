"""Inversions of the dipole kernel in one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from scipy import fft

from voxelome.imageio import Array, FloatArray, MaskArray
from voxelome.qsm.dipole import dipole_kernel, surrounded


def tkd(
    field: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    direction: Sequence[float],
    *,
    threshold: float,
    threads: int = 1,
) -> FloatArray:
    """Susceptibility by thresholded k-space division.

    Where the dipole kernel is smaller than the threshold, its size is replaced by the threshold (Shmueli et
    al., Magn Reson Med 62:1510, 2009). That underestimates the susceptibility by a known factor, which is
    divided out (Schweser et al., Magn Reson Med 69:1582, 2013). The factor is here the mean over all
    directions, which is exact for a sphere of any size; the centre of the point-spread function on a
    cubic grid counts the corners of k-space too often and would overcorrect by some 8 percent.

    Parameters
    ----------
    field : ndarray, shape (x, y, z)
        Local field in ppm.
    mask : ndarray of bool, shape (x, y, z)
    spacing, direction : sequences of 3 floats
        Voxel sizes in mm; main field along the voxel axes.
    threshold : float
        Between 0 and 2/3.
    threads : int
        Threads of the Fourier transforms.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        Susceptibility in ppm, known but for a constant; 0 outside the mask.
    """
    return _convolve(field, mask, spacing, direction, partial(thresholded, threshold=threshold), threads)


def tikhonov(
    field: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    direction: Sequence[float],
    *,
    regularisation: float,
    threads: int = 1,
) -> FloatArray:
    """Susceptibility in closed form, ``D / (D^2 + regularisation)``.

    Least squares with a penalty on the squared susceptibility (Bilgic et al., J Magn Reson Imaging 40:181,
    2014). It underestimates; the factor is divided out as in `tkd`.

    Parameters
    ----------
    field : ndarray, shape (x, y, z)
        Local field in ppm.
    mask : ndarray of bool, shape (x, y, z)
    spacing, direction : sequences of 3 floats
        Voxel sizes in mm; main field along the voxel axes.
    regularisation : float
        Weight of the penalty.
    threads : int
        Threads of the Fourier transforms.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        Susceptibility in ppm, known but for a constant; 0 outside the mask.
    """
    inverse = partial(damped, regularisation=regularisation)
    return _convolve(field, mask, spacing, direction, inverse, threads)


def _convolve(
    field: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    direction: Sequence[float],
    inverse: Callable[[Array], Array],
    threads: int,
) -> FloatArray:
    """Field of the mask, divided in k-space by what `inverse` makes of the dipole kernel."""
    shape, inner = surrounded(mask.shape, spacing)
    wide = np.zeros(shape, np.float32)
    wide[inner] = np.where(mask, field, 0)
    spectrum = fft.rfftn(wide, workers=threads) * inverse(dipole_kernel(shape, spacing, direction))
    chi = fft.irfftn(spectrum, s=shape, workers=threads)[inner]
    return np.where(mask, chi, 0).astype(np.float32)


def thresholded(kernel: Array, threshold: float) -> Array:
    """Inverse of the dipole kernel, with small values replaced and what that loses made up for."""
    sign = np.where(kernel < 0, -1.0, 1.0)
    inverse = sign / np.maximum(np.abs(kernel), threshold) / _recovered(threshold)
    inverse[0, 0, 0] = 0
    limited: Array = inverse.astype(np.float32)
    return limited


def damped(kernel: Array, regularisation: float) -> Array:
    """Inverse of the dipole kernel in least squares with a penalty, and what that loses made up for."""
    squares = (1 / 3 - ((np.arange(20000) + 0.5) / 20000) ** 2) ** 2
    recovered = (squares / (squares + regularisation)).mean()
    damped: Array = (kernel / (kernel**2 + np.float32(regularisation)) / recovered).astype(np.float32)
    return damped


def _recovered(threshold: float) -> float:
    """Share of the susceptibility that thresholded division recovers, averaged over directions."""
    cosine = (np.arange(20000) + 0.5) / 20000
    return float(np.minimum(np.abs(1 / 3 - cosine**2) / threshold, 1).mean())
