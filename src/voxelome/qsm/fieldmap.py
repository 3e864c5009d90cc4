"""The field shift, from the phase of one or more echoes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from voxelome.imageio import Array, MaskArray
from voxelome.qsm.unwrap import unwrap_spatially, unwrap_to

GYROMAGNETIC_RATIO = 42.577478518e6  # Hz/T, proton
_NORMAL_MEDIAN = 0.6745
_EVEN = 0.02  # spacing of echoes that differs by less counts as even
_LEAST_ALTERNATION = 0.1  # rad
_POLYNOMIAL_SAMPLES = 20_000
_OFFSET_SIGMA = 5.0  # mm; coil phase varies over centimetres


@dataclass(frozen=True)
class FieldFit:
    """A field fitted to the phase.

    Attributes
    ----------
    field : ndarray of float32, shape (x, y, z)
        Angular frequency shift in rad/s; 0 outside the mask.
    offset : ndarray of float32, shape (x, y, z)
        Phase at echo time 0 in rad; 0 with one echo, where it cannot be known.
    residual : ndarray of float32, shape (x, y, z)
        Root mean square of measured minus fitted phase in rad, weighted as the fit is.
    weight : ndarray of float32, shape (x, y, z)
        Root of the sum of squared (magnitude x echo time): inverse to the field's standard error.
    noise : float
        Standard deviation of the noise in the signal's real and imaginary part, in the magnitude's unit.
    bipolar : float
        Largest phase in rad by which even echoes differed from odd ones in the mask, and which was taken
        out; 0 where nothing was.
    """

    field: Array
    offset: Array
    residual: Array
    weight: Array
    noise: float
    bipolar: float = 0.0

    @property
    def standard_error(self) -> Array:
        """Standard error of the field that the noise causes, in rad/s; 0 where there is no signal."""
        known = self.weight > 0
        return np.where(known, self.noise / np.where(known, self.weight, 1), 0).astype(np.float32)


def fit_field(
    phase: Array, magnitude: Array, echo_times: Sequence[float], mask: MaskArray, spacing: Sequence[float]
) -> FieldFit:
    """Field by weighted least squares over the echoes.

    With several echoes the phase offset is found from the first two and taken out (MCPC-3D-S, Eckstein et
    al., Magn Reson Med 79:2996, 2018); each echo is then unwrapped in time against the field of the
    echoes before it (the template unwrapping of ROMEO), and the field is the line through the origin with
    weights magnitude squared, the inverse of the phase's variance. With one echo the field is
    its unwrapped phase over the echo time. With three or more evenly spaced echoes the phase by which even
    and odd ones differ when the readout is bipolar is found and taken out first.

    Parameters
    ----------
    phase, magnitude : ndarray, shape (x, y, z, echo)
        Wrapped phase in rad; magnitude.
    echo_times : sequence of float
        s, increasing.
    mask : ndarray of bool, shape (x, y, z)
    spacing : sequence of 3 floats
        Voxel sizes in mm.
    """
    times = np.asarray(echo_times, dtype=np.float32)
    noise = signal_noise(magnitude[..., 0] * np.exp(1j * phase[..., 0]), mask)
    alternating = alternating_phase(phase, magnitude, times, mask)
    if alternating is not None:
        signs = np.where(np.arange(len(times)) % 2, -0.5, 0.5).astype(np.float32)
        phase = phase - alternating[..., None] * signs
    values, signal = phase[mask].astype(np.float32), magnitude[mask].astype(np.float32)
    offset = np.zeros(mask.shape, np.float32)
    if len(times) == 1:
        first = unwrap_spatially(phase[..., 0], magnitude[..., 0], mask)[mask]
        start = first / times[0]
    else:
        difference = unwrap_spatially(
            np.angle(np.exp(1j * (phase[..., 1] - phase[..., 0]))),
            magnitude[..., 0] * magnitude[..., 1],
            mask,
        )
        rough = difference / (times[1] - times[0])
        offset = _smooth_offset(phase[..., 0] - rough * times[0], magnitude[..., 0], mask, spacing)
        start = rough[mask]
    field, residual = _fit(values - offset[mask, None], signal, times, start)
    weight = np.sqrt((signal**2 * times**2).sum(axis=-1))
    ramp = 0.0 if alternating is None else float(np.abs(alternating[mask]).max())
    return FieldFit(_fill(field, mask), offset, _fill(residual, mask), _fill(weight, mask), noise, ramp)


def signal_noise(signal: Array, mask: MaskArray) -> float:
    """Standard deviation of the noise in the real and imaginary part of a complex image.

    From differences along all three axes at once, in which anatomy all but cancels (the finest diagonal
    wavelet band, Donoho, IEEE Trans Inf Theory 41:613, 1995). 0 where the mask holds no block of 8 voxels.
    """
    whole = mask
    for axis in range(3):
        part, cut = np.moveaxis(signal, axis, 0), np.moveaxis(whole, axis, 0)
        signal = np.moveaxis(part[1:] - part[:-1], 0, axis)
        whole = np.moveaxis(cut[1:] & cut[:-1], 0, axis)
    if not whole.any():
        return 0.0
    spread = np.median(np.abs(np.concatenate([signal.real[whole], signal.imag[whole]])))
    return float(spread / _NORMAL_MEDIAN / np.sqrt(8))


def alternating_phase(phase: Array, magnitude: Array, echo_times: Array, mask: MaskArray) -> Array | None:
    """Phase in rad by which odd echoes (1st, 3rd, ...) lead even ones, or None where they do not.

    Echoes read in both directions differ by a constant and a ramp along the readout (Eckstein et al., Magn
    Reson Med 79:2996, 2018). Of three evenly spaced echoes, phase 1 - 2 x phase 2 + phase 3 holds neither
    the field nor the offset, but twice this difference. A constant and slopes along all axes are fitted to it
    as a complex number, so that wraps do not matter; it is known but for a multiple of pi, of which
    the smallest is taken.
    """
    if len(echo_times) < 3:
        return None
    steps = np.diff(echo_times)
    if np.ptp(steps[:2]) > _EVEN * steps[0]:
        return None
    double = phase[..., 0] - 2 * phase[..., 1] + phase[..., 2]
    weight = np.where(mask, magnitude[..., :3].min(axis=-1), 0)
    ramp = _plane(weight * np.exp(1j * double))
    share = float(np.abs(ramp[mask]).max()) / 2
    return (ramp / 2).astype(np.float32) if share > _LEAST_ALTERNATION else None


def _plane(values: Array) -> Array:
    """Phase in rad of complex values as a constant and slopes along the axes; the constant within pi."""
    ramp = np.zeros((1, 1, 1), np.float32)
    for axis, size in enumerate(values.shape):
        moved = np.moveaxis(values, axis, 0)
        slope = np.angle(np.vdot(moved[:-1], moved[1:]))
        centred = np.arange(size, dtype=np.float32) - (size - 1) / 2
        ramp = ramp + np.moveaxis((slope * centred)[:, None, None], 0, axis)
    constant: Array = ramp + np.angle(np.sum(values * np.exp(-1j * ramp)))
    return constant


def to_ppm(field: Array, field_strength: float) -> Array:
    """Field shift in ppm of the main field, from rad/s and T."""
    return field * np.float32(1e6 / (2 * np.pi * GYROMAGNETIC_RATIO * field_strength))


def _smooth_offset(offset: Array, magnitude: Array, mask: MaskArray, spacing: Sequence[float]) -> Array:
    """Phase offset without its noise, smoothed as a complex number so that wraps do not matter.

    At the rim of the mask, smoothing sees one side of a slope only, and what it gets wrong there goes into
    the field. So the mean slope is taken out first, and then a polynomial of third order.
    """
    weighted = (np.where(mask, magnitude, 0) * np.exp(1j * offset)).astype(np.complex64)
    ramp = _plane(weighted)
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


def _fit(phase: Array, magnitude: Array, times: Array, start: Array) -> tuple[Array, Array]:
    """Slope through the origin of (voxel, echo) phase and its residual, unwrapping echo by echo."""
    field, top, bottom = start, np.zeros_like(start), np.zeros_like(start)
    unwrapped = np.empty_like(phase)
    weights = magnitude**2 + np.finfo(np.float32).tiny
    for echo, time in enumerate(times):
        unwrapped[:, echo] = unwrap_to(field * time, phase[:, echo])
        top += weights[:, echo] * time * unwrapped[:, echo]
        bottom += weights[:, echo] * time**2
        # The first echo alone cannot better a start that came from the first two.
        if echo > 0 or len(times) == 1:
            field = top / bottom
    error = unwrapped - field[:, None] * times
    residual = np.sqrt((weights * error**2).sum(axis=-1) / weights.sum(axis=-1))
    return field, residual


def _fill(values: Array, mask: MaskArray) -> Array:
    """Volume with these values inside the mask and 0 outside."""
    volume = np.zeros(mask.shape, np.float32)
    volume[mask] = values
    return volume
