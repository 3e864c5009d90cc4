"""Inversions of the dipole kernel in one step, and what noise becomes in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import fft

from voxelome.imageio import Array, FloatArray, MaskArray
from voxelome.qsm.dipole import dipole_kernel, squared_frequencies, surrounded

_SURROUNDINGS = 20.0  # mm


def tkd(
    field: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    direction: Sequence[float],
    *,
    threshold: float = 0.2,
    threads: int = 1,
) -> Array:
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
    shape = _padded(mask.shape)
    inverse = _thresholded(dipole_kernel(shape, spacing, direction), threshold)
    spectrum = fft.rfftn(np.where(mask, field, 0).astype(np.float32), s=shape, workers=threads)
    chi = fft.irfftn(spectrum * inverse, s=shape, workers=threads)
    return np.where(mask, chi[tuple(slice(n) for n in mask.shape)], 0).astype(np.float32)


def tikhonov(
    field: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    direction: Sequence[float],
    *,
    regularisation: float = 0.02,
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
    shape = _padded(mask.shape)
    kernel = dipole_kernel(shape, spacing, direction)
    spectrum = fft.rfftn(np.where(mask, field, 0).astype(np.float32), s=shape, workers=threads)
    chi = fft.irfftn(spectrum * _damped(kernel, regularisation), s=shape, workers=threads)
    return np.where(mask, chi[tuple(slice(n) for n in mask.shape)], 0).astype(np.float32)


def propagated_error(
    field_error: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    direction: Sequence[float],
    method: Literal["tv", "tkd", "rts", "tikhonov"],
    parameter: float,
    *,
    threads: int = 1,
) -> FloatArray:
    """Standard error of the susceptibility that the noise of the field causes.

    The variance of the field is convolved with the square of the inversion's response: of the division with
    its threshold, or of the linear step of `total_variation`, ``D / (D^2 + 100 regularisation |k|^2)``. The
    latter holds at edges; in even tissue total variation smooths further, and the true error is less.
    Systematic errors (background, streaks of what was regularised away) are not in it.

    Parameters
    ----------
    field_error : ndarray, shape (x, y, z)
        Standard error of the field in ppm.
    mask : ndarray of bool, shape (x, y, z)
    spacing, direction : sequences of 3 floats
        Voxel sizes in mm; main field along the voxel axes.
    method : {"tv", "tkd", "rts", "tikhonov"}
        The inversion: `total_variation`, `tkd`, `two_steps` or `tikhonov`.
    parameter : float
        Its regularisation or threshold.
    threads : int
        Threads of the Fourier transforms.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        ppm; 0 outside the mask.
    """
    shape, inner = surrounded(mask.shape, [_SURROUNDINGS / size for size in spacing])
    kernel = dipole_kernel(shape, spacing, direction)
    if method == "tv":
        system = kernel**2 + np.float32(100 * parameter) * squared_frequencies(shape, spacing)
        system[0, 0, 0] = 1.0
        inverse = kernel / system
    elif method == "tikhonov":
        inverse = _damped(kernel, parameter)
    else:
        inverse = _thresholded(kernel, parameter)
    response = fft.irfftn(inverse.astype(np.complex64), s=shape, workers=threads)
    variance = np.zeros(shape, np.float32)
    variance[inner] = np.where(mask, field_error, 0) ** 2
    spectrum = fft.rfftn(variance, workers=threads) * fft.rfftn(response**2, workers=threads)
    spread = fft.irfftn(spectrum, s=shape, workers=threads)[inner]
    return np.where(mask, np.sqrt(np.maximum(spread, 0)), 0).astype(np.float32)


def _thresholded(kernel: Array, threshold: float) -> Array:
    """Inverse of the dipole kernel, with small values replaced and what that loses made up for."""
    sign = np.where(kernel < 0, -1.0, 1.0)
    inverse = sign / np.maximum(np.abs(kernel), threshold) / _recovered(threshold)
    inverse[0, 0, 0] = 0
    limited: Array = inverse.astype(np.float32)
    return limited


def _damped(kernel: Array, regularisation: float) -> Array:
    """Inverse of the dipole kernel in least squares with a penalty, and what that loses made up for."""
    squares = (1 / 3 - ((np.arange(20000) + 0.5) / 20000) ** 2) ** 2
    recovered = (squares / (squares + regularisation)).mean()
    damped: Array = (kernel / (kernel**2 + np.float32(regularisation)) / recovered).astype(np.float32)
    return damped


def _recovered(threshold: float) -> float:
    """Share of the susceptibility that thresholded division recovers, averaged over directions."""
    cosine = (np.arange(20000) + 0.5) / 20000
    return float(np.minimum(np.abs(1 / 3 - cosine**2) / threshold, 1).mean())


def _padded(shape: Sequence[int]) -> tuple[int, ...]:
    """Grid with room for the field to fade before it wraps round."""
    return tuple(fft.next_fast_len(n + max(n // 4, 8), real=True) for n in shape)
