"""R2*, T2* and S0 from the decay of the magnitude."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from voxelome.imageio import Array, MaskArray
from voxelome.qsm.arlo import decay_rate

Relaxometry = Literal["linear", "arlo"]
RELAXOMETRY = {
    "linear": "weighted line through the logarithm of the magnitude",
    "arlo": "auto-regression on linear operations (ARLO)",
}
_FASTEST = 1000.0  # 1/s; faster decay is gone before the first echo
_SLOWEST = 1.0  # 1/s; below this T2* is beyond what an echo train of tens of ms can tell
_PASSES = 2


def fit_r2star(
    magnitude: Array, echo_times: Sequence[float], mask: MaskArray, method: Relaxometry = "linear"
) -> tuple[Array, Array, Array]:
    """R2* (1/s), T2* (s) and S0 of a mono-exponential decay.

    By default weighted least squares of the logarithm, whose variance is the inverse of the squared signal.
    So the weights are the squared signal: first as measured, then as fitted, which keeps late echoes near
    the noise floor from pulling. Exact on data without noise, for any spacing of at least two echoes.
    ARLO (:func:`voxelome.qsm.arlo.decay_rate`) takes the rate from integrals of the signal; S0 is that of the
    decay of this rate that is closest to the signal.

    Parameters
    ----------
    magnitude : ndarray, shape (x, y, z, echo)
    echo_times : sequence of float
        s, increasing.
    mask : ndarray of bool, shape (x, y, z)
    method : {"linear", "arlo"}

    Returns
    -------
    r2star, t2star, s0 : ndarray of float32, shape (x, y, z)
        R2* is between 0 and 1000. T2* is 0 where R2* is below 1. All are 0 outside the mask and where
        fewer than two echoes have signal.

    Raises
    ------
    DataError
        ARLO cannot be used: there are fewer than three echoes, or they are not evenly spaced.
    """
    times = np.asarray(echo_times, dtype=np.float64)
    signal = magnitude[mask].astype(np.float64)
    fit = _arlo if method == "arlo" else _weighted_line
    rate, s0 = (np.where((signal > 0).sum(axis=-1) > 1, part, 0.0) for part in fit(signal, times))
    t2star = np.where(rate > _SLOWEST, 1 / np.maximum(rate, _SLOWEST), 0.0)
    return _fill(rate, mask), _fill(t2star, mask), _fill(s0, mask)


def _weighted_line(signal: Array, times: Array) -> tuple[Array, Array]:
    """R2* and S0 of weighted lines through the logarithm of (voxel, echo) signals."""
    seen = signal > 0
    logarithm = np.log(np.where(seen, signal, 1.0))
    # Scaled by the brightest echo, for weights that neither overflow nor vanish.
    peak = np.maximum(signal.max(axis=-1, keepdims=True), np.finfo(np.float64).tiny)
    model = signal / peak
    for _ in range(_PASSES):
        rate, intercept = _line(logarithm, np.where(seen, model**2, 0.0), times)
        model = np.exp(np.clip(intercept[:, None] - rate[:, None] * times - np.log(peak), -12.0, 3.0))
    return rate, np.exp(np.minimum(intercept, 80.0))


def _arlo(signal: Array, times: Array) -> tuple[Array, Array]:
    """R2* and S0 by ARLO of (voxel, echo) signals."""
    rate = _plausible(decay_rate(signal, times))
    decay = np.exp(-rate[:, None] * times)
    return rate, (signal * decay).sum(axis=-1) / (decay**2).sum(axis=-1)


def _line(logarithm: Array, weights: Array, times: Array) -> tuple[Array, Array]:
    """Decay rate, held to its plausible range, and intercept of weighted lines."""
    total = np.maximum(weights.sum(axis=-1), np.finfo(np.float64).tiny)
    mean_time = (weights * times).sum(axis=-1) / total
    mean_log = (weights * logarithm).sum(axis=-1) / total
    centred = times - mean_time[:, None]
    spread = (weights * centred**2).sum(axis=-1)
    slope = (weights * centred * logarithm).sum(axis=-1) / np.where(spread > 0, spread, 1.0)
    rate = _plausible(-slope)
    return rate, mean_log + rate * mean_time


def _plausible(rate: Array) -> Array:
    """Rate held to its plausible range."""
    # Not exactly 0, which stands for "not known" outside of the mask.
    held: Array = np.clip(rate, 1e-3, _FASTEST)
    return held


def _fill(values: Array, mask: MaskArray) -> Array:
    """Volume with these values inside the mask and 0 outside."""
    volume = np.zeros(mask.shape, np.float32)
    volume[mask] = values
    return volume
