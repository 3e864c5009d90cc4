"""Two maps, with and without the strong sources, made into one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import ndimage

from voxelome.imageio import Array, MaskArray
from voxelome.qsm.masking import signal_mask
from voxelome.qsm.susceptibility import Susceptibility


def map_twice(
    one_pass: Callable[[MaskArray], Susceptibility], mask: MaskArray, reliable: MaskArray
) -> Susceptibility:
    """Susceptibility from a pass without strong sources, and in these from one over the whole mask.

    A calcification or a bleed has little signal and a field so strong that its phase cannot be relied on;
    what is wrong there streaks into the tissue around it. One map is made without such voxels, one of the
    whole mask, and of that only what the first one lacks is taken (Stewart et al., Magn Reson Med
    87:1289, 2022). Where there are no such voxels, one map is made.

    Parameters
    ----------
    one_pass : callable
        Makes a map from the voxels of a mask.
    mask : ndarray of bool, shape (x, y, z)
        With its holes filled.
    reliable : ndarray of bool, shape (x, y, z)
        The part of it whose phase can be relied on, with its holes.

    Raises
    ------
    DataError
        The reliable part is too thin for the method.
    """
    share = 1 - float(reliable.sum()) / float(mask.sum())
    said = f"{share:.2%} of the mask without reliable phase"
    filled = one_pass(mask)
    if share == 0:
        return replace(filled, parameters=filled.parameters | {"second pass": f"none: {said}"})
    first = one_pass(reliable)
    both = first.mask & filled.mask
    # Each map is known but for a constant of its own.
    shift = np.float32(np.median(first.chi[both] - filled.chi[both])) if both.any() else np.float32(0)
    return Susceptibility(
        np.where(first.mask, first.chi, filled.chi + shift),
        np.where(first.mask, first.chi_error, filled.chi_error),
        np.where(first.mask, first.local_field, filled.local_field),
        filled.mask | first.mask,
        first.parameters | {"second pass": f"of strong sources, {said}"},
    )


def reliable_mask(mask: MaskArray, magnitude: Array, linear: MaskArray) -> MaskArray:
    """Part of a mask whose phase can be relied on; holes stay holes.

    A voxel beside one that cannot be relied on is left out too: it holds part of the same source.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
    magnitude : ndarray, shape (x, y, z)
        Of the last echo: where it has little signal, its phase is noise.
    linear : ndarray of bool, shape (x, y, z)
        Where a line over the echoes fits the phase.
    """
    poor = mask & ~(signal_mask(mask, magnitude) & linear)
    reliable: MaskArray = mask & ~ndimage.binary_dilation(poor)
    return reliable
