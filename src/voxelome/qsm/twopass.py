"""Two maps, with and without the strong sources, made into one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from voxelome.imageio import Affine, Array, MaskArray
from voxelome.qsm.fieldmap import FieldFit
from voxelome.qsm.masking import signal_mask
from voxelome.qsm.susceptibility import POOR_FIT, QSMSettings, Susceptibility, map_susceptibility


def map_twice(
    total: Array,
    error: Array,
    fit: FieldFit,
    signal: Array,
    mask: MaskArray,
    affine: Affine,
    settings: QSMSettings,
    *,
    threads: int = 1,
) -> Susceptibility:
    """Susceptibility from a pass without strong sources, and in these from one over the whole mask.

    A calcification or a bleed has little signal and a field so strong that its phase cannot be relied on;
    what is wrong there streaks into the tissue around it. One map is made without such voxels, one of the
    whole mask, and of that only what the first one lacks is taken (Stewart et al., Magn Reson Med
    87:1289, 2022). Where there are no such voxels, one map is made.

    Parameters
    ----------
    total, error : ndarray, shape (x, y, z)
        Field in ppm and its standard error.
    fit : FieldFit
    signal : ndarray, shape (x, y, z, echo)
        Magnitude.
    mask : ndarray of bool, shape (x, y, z)
        With its holes filled.
    affine : ndarray, shape (4, 4)
    settings : QSMSettings
    threads : int
        Threads of the Fourier transforms.

    Raises
    ------
    DataError
        The mask is too thin for the method.
    """
    reliable = reliable_mask(mask, signal[..., -1], fit.residual)
    share = 1 - float(reliable.sum()) / float(mask.sum())
    filled = map_susceptibility(total, error, fit, signal, mask, affine, settings, threads=threads)
    said = f"{share:.2%} of the mask without reliable phase"
    if reliable.all(where=mask):
        return replace(filled, parameters=filled.parameters | {"second pass": f"none: {said}"})
    first = map_susceptibility(total, error, fit, signal, reliable, affine, settings, threads=threads)
    both = first.mask & filled.mask
    # Each map is known but for a constant of its own.
    shift = np.float32(np.median(first.chi[both] - filled.chi[both])) if both.any() else np.float32(0)
    return Susceptibility(
        np.where(first.mask, first.chi, filled.chi + shift),
        np.where(first.mask, first.chi_error, filled.chi_error),
        np.where(first.mask, first.local_field, filled.local_field),
        first.mask | filled.mask,
        first.parameters | {"second pass": f"for {said}"},
    )


def reliable_mask(mask: MaskArray, magnitude: Array, residual: Array) -> MaskArray:
    """Part of a mask whose phase can be relied on; holes stay holes.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
    magnitude : ndarray, shape (x, y, z)
        Of the last echo.
    residual : ndarray, shape (x, y, z)
        Measured minus fitted phase in rad.
    """
    poor = mask & ~(signal_mask(mask, magnitude) & (residual <= POOR_FIT))
    # Voxels beside a strong source hold part of it.
    near: MaskArray = mask & ~ndimage.binary_dilation(poor)
    return near
