"""The field shift, from the phase of one or more echoes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from voxelome.imageio import Array, MaskArray
from voxelome.qsm.complexfit import fit_complex
from voxelome.qsm.echoes import evenly_spaced
from voxelome.qsm.laplacian import unwrap_echoes
from voxelome.qsm.offset import plane, smooth_offset
from voxelome.qsm.unwrap import unwrap_spatially, unwrap_to

Unwrapping = Literal["romeo", "laplacian"]
EchoFit = Literal["linear", "nonlinear"]
UNWRAPPING = {
    "romeo": "region growing over space by quality (as ROMEO)",
    "laplacian": "Laplacian, each echo from the one before; a harmonic part of the field is left out",
}
ECHO_FIT = {
    "linear": "weighted least squares over echo times, phase offset taken out (MCPC-3D-S)",
    "nonlinear": "nonlinear fit of the complex signal over echo times, phase offset taken out (MCPC-3D-S)",
}
GYROMAGNETIC_RATIO = 42.577478518e6  # Hz/T, proton
_NORMAL_MEDIAN = 0.6745
_LEAST_ALTERNATION = 0.1  # rad


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
    phase: Array,
    magnitude: Array,
    echo_times: Sequence[float],
    mask: MaskArray,
    spacing: Sequence[float],
    *,
    unwrapping: Unwrapping = "romeo",
    method: EchoFit = "linear",
    threads: int = 1,
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
    unwrapping : {"romeo", "laplacian"}
        Over space: by region growing, or all echoes by :func:`voxelome.qsm.laplacian.unwrap_echoes`, which
        leaves a harmonic part of the field out.
    method : {"linear", "nonlinear"}
        The line, or from there the fit of the complex signal, :func:`voxelome.qsm.complexfit.fit_complex`.
    threads : int
        Threads of the Laplacian's cosine transforms.
    """
    times = np.asarray(echo_times, dtype=np.float32)
    noise = signal_noise(magnitude[..., 0] * np.exp(1j * phase[..., 0]), mask)
    alternating = alternating_phase(phase, magnitude, times, mask)
    if alternating is not None:
        signs = np.where(np.arange(len(times)) % 2, -0.5, 0.5).astype(np.float32)
        phase = phase - alternating[..., None] * signs
    if unwrapping == "laplacian":
        phase = unwrap_echoes(phase, mask, spacing, threads=threads)
    values, signal = phase[mask].astype(np.float32), magnitude[mask].astype(np.float32)
    offset = np.zeros(mask.shape, np.float32)
    if len(times) == 1:
        first = phase[..., 0]
        if unwrapping == "romeo":
            first = unwrap_spatially(first, magnitude[..., 0], mask)
        start = first[mask] / times[0]
    else:
        difference = phase[..., 1] - phase[..., 0]
        if unwrapping == "romeo":
            wrapped, product = np.angle(np.exp(1j * difference)), magnitude[..., 0] * magnitude[..., 1]
            difference = unwrap_spatially(wrapped, product, mask)
        rough = difference / (times[1] - times[0])
        offset = smooth_offset(phase[..., 0] - rough * times[0], magnitude[..., 0], mask, spacing)
        start = rough[mask]
    field, residual = _fit(values - offset[mask, None], signal, times, start, method)
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
    if not evenly_spaced(echo_times[:3]):
        return None
    double = phase[..., 0] - 2 * phase[..., 1] + phase[..., 2]
    weight = np.where(mask, magnitude[..., :3].min(axis=-1), 0)
    ramp = plane(weight * np.exp(1j * double))
    share = float(np.abs(ramp[mask]).max()) / 2
    return (ramp / 2).astype(np.float32) if share > _LEAST_ALTERNATION else None


def to_ppm(field: Array, field_strength: float) -> Array:
    """Field shift in ppm of the main field, from rad/s and T."""
    return field * np.float32(1e6 / (2 * np.pi * GYROMAGNETIC_RATIO * field_strength))


def to_hertz(field: Array) -> Array:
    """Frequency shift in Hz, from rad/s."""
    return field * np.float32(1 / (2 * np.pi))


def _fit(phase: Array, magnitude: Array, times: Array, start: Array, method: EchoFit) -> tuple[Array, Array]:
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
    if method == "nonlinear":
        field = fit_complex(unwrapped, magnitude, times, field)
        unwrapped = unwrap_to(field[:, None] * times, unwrapped)
    error = unwrapped - field[:, None] * times
    residual = np.sqrt((weights * error**2).sum(axis=-1) / weights.sum(axis=-1))
    return field, residual


def _fill(values: Array, mask: MaskArray) -> Array:
    """Volume with these values inside the mask and 0 outside."""
    volume = np.zeros(mask.shape, np.float32)
    volume[mask] = values
    return volume
