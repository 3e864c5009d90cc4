"""The field, from a fit of the complex signal."""

from __future__ import annotations

from typing import Any

import numpy as np

from voxelome.compiled import compiled
from voxelome.imageio import Array

_MOST_STEPS = 30
_SMALLEST_STEP = 1e-4  # rad, at the last echo time


def fit_complex(phase: Array, magnitude: Array, times: Array, start: Array) -> Array:
    """Field that brings a signal of the measured magnitudes closest to the measured complex signal.

    Minimises ``sum_e |m_e exp(i p_e) - m_e exp(i w t_e)|^2`` over the field w of each voxel by Gauss-Newton
    steps from a first guess (Kressler et al., IEEE Trans Med Imaging 29:273, 2010; Liu et al., Magn Reson
    Med 69:467, 2013). The noise is alike in the real and imaginary part of every echo, so that the complex
    residual needs no weight; near the solution this is the line with weights magnitude squared. Unlike the
    line it is not pulled by echoes whose phase is noise: a residual of half a turn has no pull. Theirs fits
    the phase offset of each voxel too; here it is known from all voxels together and has been taken out.

    Parameters
    ----------
    phase : ndarray, shape (voxel, echo)
        rad, without the phase offset; whole turns do not matter.
    magnitude : ndarray, shape (voxel, echo)
    times : ndarray, shape (echo,)
        s.
    start : ndarray, shape (voxel,)
        First guess in rad/s, right to half a turn at the last echo.

    Returns
    -------
    ndarray of float32, shape (voxel,)
        rad/s; as in `start` where there is no signal.
    """
    parts = (np.ascontiguousarray(part, dtype=np.float32) for part in (phase, magnitude, times, start))
    field: Array = _refine(*parts)
    return field


@compiled()
def _refine(phase: Any, magnitude: Any, times: Any, start: Any) -> Any:
    """Field after Gauss-Newton steps; the curvature never exceeds theirs, so that none overshoots."""
    voxels, echoes = phase.shape
    result = np.empty(voxels, np.float32)
    last = times[echoes - 1]
    for voxel in range(voxels):
        bottom = 0.0
        for echo in range(echoes):
            bottom += (magnitude[voxel, echo] * times[echo]) ** 2
        field = float(start[voxel])
        for _ in range(_MOST_STEPS if bottom > 0 else 0):
            top = 0.0
            for echo in range(echoes):
                error = np.sin(phase[voxel, echo] - field * times[echo])
                top += magnitude[voxel, echo] ** 2 * times[echo] * error
            step = top / bottom
            field += step
            if abs(step) * last < _SMALLEST_STEP:
                break
        result[voxel] = field
    return result
