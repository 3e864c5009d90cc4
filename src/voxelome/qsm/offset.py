"""The phase at echo time 0, which the coils and the readout give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from voxelome.imageio import Array, MaskArray
from voxelome.qsm.unwrap import unwrap_spatially

_POLYNOMIAL_SAMPLES = 20_000
_OFFSET_SIGMA = 5.0  # mm; coil phase varies over centimetres


def plane(values: Array) -> Array:
    """Phase in rad of complex values as a constant and slopes along the axes; the constant within pi."""
    ramp = np.zeros((1, 1, 1), np.float32)
    for axis, size in enumerate(values.shape):
        moved = np.moveaxis(values, axis, 0)
        slope = np.angle(np.vdot(moved[:-1], moved[1:]))
        centred = np.arange(size, dtype=np.float32) - (size - 1) / 2
        ramp = ramp + np.moveaxis((slope * centred)[:, None, None], 0, axis)
    constant: Array = ramp + np.angle(np.sum(values * np.exp(-1j * ramp)))
    return constant


def smooth_offset(offset: Array, magnitude: Array, mask: MaskArray, spacing: Sequence[float]) -> Array:
    """Phase offset without its noise, smoothed as a complex number so that wraps do not matter.

    At the rim of the mask, smoothing sees one side of a slope only, and what it gets wrong there goes into
    the field. So the mean slope is taken out first, and then a polynomial of third order.
    """
    weighted = (np.where(mask, magnitude, 0) * np.exp(1j * offset)).astype(np.complex64)
    ramp = plane(weighted)
    rough = unwrap_spatially(_smooth_phase(weighted, ramp, spacing), magnitude, mask) + ramp
    shape = _polynomial(rough, magnitude, mask)
    # What is left is small enough not to wrap, and has not been smoothed.
    shape += _polynomial(np.angle(weighted * np.exp(-1j * shape)), magnitude, mask)
    return np.where(mask, _smooth_phase(weighted, shape, spacing) + shape, 0).astype(np.float32)


def _smooth_phase(values: Array, trend: Array, spacing: Sequence[float]) -> Array:
    """Phase of complex values without a trend (rad), smoothed over 5 mm."""
    flat = values * np.exp(-1j * trend)
    sigma = [_OFFSET_SIGMA / size for size in spacing]
    real, imaginary = (ndimage.gaussian_filter(part, sigma, truncate=3) for part in (flat.real, flat.imag))
    phase: Array = np.arctan2(imaginary, real).astype(np.float32)
    return phase


def _polynomial(values: Array, weight: Array, mask: MaskArray) -> Array:
    """Polynomial of third order that fits values in a mask best."""
    inside = np.argwhere(mask)
    picked = inside[:: max(1, len(inside) // _POLYNOMIAL_SAMPLES)]
    axes = [
        ((np.arange(n) - n / 2) / max(n, 2) * 2)[tuple(slice(None) if k == axis else None for k in range(3))]
        for axis, n in enumerate(mask.shape)
    ]
    powers = [(i, j, k) for i in range(4) for j in range(4) for k in range(4) if i + j + k <= 3]
    places = [np.broadcast_to(axis, mask.shape)[tuple(picked.T)] for axis in axes]
    design = np.stack([places[0] ** i * places[1] ** j * places[2] ** k for i, j, k in powers], axis=1)
    trust = weight[tuple(picked.T)].astype(np.float64)
    scaled = design * trust[:, None]
    factors = np.linalg.lstsq(scaled, values[tuple(picked.T)] * trust, rcond=None)[0]
    total = np.zeros(mask.shape, np.float32)
    for factor, (i, j, k) in zip(factors, powers, strict=True):
        total += (factor * axes[0] ** i * axes[1] ** j * axes[2] ** k).astype(np.float32)
    return total
