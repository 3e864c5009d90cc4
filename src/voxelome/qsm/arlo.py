"""R2* by auto-regression on linear operations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import Array
from voxelome.qsm.echoes import evenly_spaced


def decay_rate(signal: Array, echo_times: Sequence[float] | Array) -> Array:
    """R2* in 1/s of evenly spaced echoes, without a logarithm (ARLO).

    Over two echo spacings a mono-exponential decay falls by its integral times R2*. With Simpson's rule for
    the integral ``s_i`` and ``d_i = m_i - m_(i+2)``, this is a regression, whose solution is

    ``R2* = (a sum(d^2) + sum(s d)) / (sum(s^2) + a sum(s d))``, a being a third of the spacing

    (Pei et al., Magn Reson Med 73:843, 2015, for T2* = 1/R2*). Simpson's rule is inexact by
    (R2* x spacing)^4 / 180 of the integral.

    Parameters
    ----------
    signal : ndarray, shape (voxel, echo)
        Magnitude.
    echo_times : sequence of float
        s, increasing.

    Returns
    -------
    ndarray, shape (voxel,)
        0 where there is no signal; below 0 where it grows.

    Raises
    ------
    DataError
        There are fewer than three echoes, or they are not evenly spaced.
    """
    if not evenly_spaced(echo_times):
        times = ", ".join(f"{time:g}" for time in echo_times)
        raise DataError(
            f"ARLO needs three or more evenly spaced echoes, and there are those at {times} s",
            "choose qsm: {relaxometry: linear}",
        )
    third = (echo_times[-1] - echo_times[0]) / (len(echo_times) - 1) / 3
    first, second, last = signal[:, :-2], signal[:, 1:-1], signal[:, 2:]
    integral, fall = third * (first + 4 * second + last), first - last
    both = (integral * fall).sum(axis=-1)
    top = third * (fall**2).sum(axis=-1) + both
    bottom = (integral**2).sum(axis=-1) + third * both
    rate: Array = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
    return rate
