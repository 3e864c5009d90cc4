"""R2*, T2* and S0 from the decay of the magnitude."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxelome.imageio import Array, MaskArray

_FASTEST = 1000.0  # 1/s; faster decay is gone before the first echo
_SLOWEST = 1.0  # 1/s; below this T2* is beyond what an echo train of tens of ms can tell
_PASSES = 2


def fit_r2star(magnitude: Array, echo_times: Sequence[float], mask: MaskArray) -> tuple[Array, Array, Array]:
    """R2* (1/s), T2* (s) and S0 of a mono-exponential decay.

    Weighted least squares of the logarithm. The logarithm's variance is the inverse of the squared signal,
    so the weights are the squared signal: first as measured, then as fitted, which keeps late echoes near
    the noise floor from pulling. Exact on data without noise, for any spacing of at least two echoes.

    Parameters
    ----------
    magnitude : ndarray, shape (x, y, z, echo)
    echo_times : sequence of float
        s, increasing.
    mask : ndarray of bool, shape (x, y, z)

    Returns
    -------
    r2star, t2star, s0 : ndarray of float32, shape (x, y, z)
        R2* is between 0 and 1000. T2* is 0 where R2* is below 1. All are 0 outside the mask and where
        fewer than two echoes have signal.
    """
    times = np.asarray(echo_times, dtype=np.float64)
    signal = magnitude[mask].astype(np.float64)
    seen = signal > 0
    logarithm = np.log(np.where(seen, signal, 1.0))
    # Scaled by the brightest echo, for weights that neither overflow nor vanish.
    peak = np.maximum(signal.max(axis=-1, keepdims=True), np.finfo(np.float64).tiny)
    model = signal / peak
    usable = seen.sum(axis=-1) > 1
    for _ in range(_PASSES):
        rate, intercept = _line(logarithm, np.where(seen, model**2, 0.0), times)
        model = np.exp(np.clip(intercept[:, None] - rate[:, None] * times - np.log(peak), -12.0, 3.0))
    rate = np.where(usable, rate, 0.0)
    s0 = np.where(usable, np.exp(np.minimum(intercept, 80.0)), 0.0)
    t2star = np.where(rate > _SLOWEST, 1 / np.maximum(rate, _SLOWEST), 0.0)
    return _fill(rate, mask), _fill(t2star, mask), _fill(s0, mask)


def _line(logarithm: Array, weights: Array, times: Array) -> tuple[Array, Array]:
    """Decay rate, held to its plausible range, and intercept of weighted lines."""
    total = np.maximum(weights.sum(axis=-1), np.finfo(np.float64).tiny)
    mean_time = (weights * times).sum(axis=-1) / total
    mean_log = (weights * logarithm).sum(axis=-1) / total
    centred = times - mean_time[:, None]
    spread = (weights * centred**2).sum(axis=-1)
    slope = (weights * centred * logarithm).sum(axis=-1) / np.where(spread > 0, spread, 1.0)
    # Not exactly 0, which stands for "not known" outside of the mask.
    rate = np.clip(-slope, 1e-3, _FASTEST)
    return rate, mean_log + rate * mean_time


def _fill(values: Array, mask: MaskArray) -> Array:
    """Volume with these values inside the mask and 0 outside."""
    volume = np.zeros(mask.shape, np.float32)
    volume[mask] = values
    return volume
