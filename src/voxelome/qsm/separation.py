"""Paramagnetic and diamagnetic sources of one voxel, told apart by how fast they make its signal decay."""

from __future__ import annotations

import numpy as np

from voxelome.imageio import Array, FloatArray, MaskArray

# 1/s a ppm at 3 T: the one constant for iron and myelin of Dimov et al., for R2* and not for R2'.
RELAXOMETRIC_CONSTANT = 274.0
_ITS_FIELD = 3.0  # T
FEWEST_ECHOES = 3


def relaxometric_constant(field_strength: float, at_3t: float = RELAXOMETRIC_CONSTANT) -> float:
    """Decay in 1/s that a ppm of either kind of source adds, in proportion to the field in T."""
    return at_3t * field_strength / _ITS_FIELD


def separate_sources(
    chi: Array,
    r2star: Array,
    mask: MaskArray,
    field_strength: float,
    *,
    constant: float = RELAXOMETRIC_CONSTANT,
) -> tuple[FloatArray, FloatArray]:
    """Paramagnetic and diamagnetic susceptibility from their sum and R2* (R2*-QSM).

    Of static dephasing, the decay grows with the size of the sources and not with their sign, and in
    proportion to the field (Yablonskiy and Haacke, Magn Reson Med 32:749, 1994):
    ``R2* = a (chi_plus + |chi_minus|)`` and ``chi = chi_plus + chi_minus``, so that ``chi_plus =
    (chi + R2* / a) / 2`` and ``chi_minus = (chi - R2* / a) / 2`` (the voxelwise solution of Dimov et al., J
    Neuroimaging 32:852, 2022; Tomography 8:1544, 2022). No measurement of R2 is needed: `a` holds its
    usual share. Where a voxel decays too slowly for its susceptibility it has one kind of source only, so
    the two parts always add up to `chi`.

    Parameters
    ----------
    chi : ndarray, shape (x, y, z)
        Susceptibility in ppm, against tissue or fluid that has neither kind of source.
    r2star : ndarray, shape (x, y, z)
        1/s.
    mask : ndarray of bool, shape (x, y, z)
    field_strength : float
        T.
    constant : float
        `a` in 1/s a ppm at 3 T. 137 is that of R2' = R2* - R2 (Shin et al., NeuroImage 240:118371, 2021).

    Returns
    -------
    paramagnetic, diamagnetic : ndarray of float32, shape (x, y, z)
        ppm, from 0 up and from 0 down; 0 outside the mask.
    """
    size = np.maximum(r2star / np.float32(relaxometric_constant(field_strength, constant)), np.abs(chi))
    plus, minus = (np.where(mask, (chi + sign * size) / 2, 0).astype(np.float32) for sign in (1, -1))
    return plus, minus
