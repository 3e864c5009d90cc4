"""Scanner phase in radians, and the phase of real and imaginary images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import Array

_FILLED = 0.95  # a range so well filled is the one that the scanner used
_HALF_FILLED = 0.4  # below this, a crop tells nothing
_SIEMENS_SLOPE = 2.0  # dcm2niix keeps Siemens' rescale: stored 0..4095, slope 2, intercept -4096
_REMEDY = (
    "set Units to rad in the JSON file and rescale the image so that one turn spans 2 pi, or export the "
    "wrapped phase again"
)


class _Range(NamedTuple):
    low: float
    high: float
    radians_per_unit: float
    name: str


_SIEMENS = "-4096 to 4095 (Siemens, rescaled)"
_TURN = 2 * np.pi
_KNOWN = (
    _Range(-np.pi, np.pi, 1.0, "radians from -pi to pi"),
    _Range(0.0, _TURN, 1.0, "radians from 0 to 2 pi"),
    _Range(0.0, 4096.0, _TURN / 4096, "0 to 4095 (Siemens, stored values)"),
    _Range(-2048.0, 2048.0, _TURN / 4096, "-2048 to 2047"),
    _Range(-1000 * np.pi, 1000 * np.pi, 1e-3, "milliradians (GE, Philips)"),
    _Range(-4096.0, 4096.0, np.pi / 4096, _SIEMENS),
)


def phase_to_radians(phase: Array, units: str | None, slope: float) -> tuple[Array, str]:
    """Phase in radians, and a sentence that says how it was read.

    A scanner's phase is one turn spread over a range of numbers; which range, the data tell. Only
    the scale matters: a constant offset (0..2 pi against -pi..pi) is no field. A range counts as
    recognised when the values stay in it and either fill it, or fill it in part while no other
    known range of another scale would fit (a crop).

    Parameters
    ----------
    phase : ndarray
        Phase of all echoes together, with the header's scaling applied.
    units : str or None
        ``Units`` of the BIDS sidecar: ``rad``, ``arbitrary``, or None where there is none.
    slope : float
        The header's slope; 2 marks Siemens' -4096..4094.

    Returns
    -------
    radians : ndarray of float32, same shape
    how : str

    Raises
    ------
    DataError
        The unit is rad but the values span more than wrapped phase can, the range is not known or
        fits several, or the phase is constant.
    """
    low, high = float(phase.min()), float(phase.max())
    if not high > low:
        raise DataError(f"phase is {low:g} everywhere", "export the phase images again")
    unit = (units or "").strip().lower()
    if unit in ("rad", "radian", "radians"):
        return _checked_radians(phase, low, high)
    if unit not in ("", "arbitrary"):
        raise DataError(f"phase has Units {units!r}, which is not a unit of phase", _REMEDY)
    known = _recognise(low, high, slope)
    middle = (known.low + known.high) / 2
    radians = (phase.astype(np.float32) - np.float32(middle)) * np.float32(known.radians_per_unit)
    return radians, f"Phase without a unit, {low:g} to {high:g}, was read as {known.name}."


def _checked_radians(phase: Array, low: float, high: float) -> tuple[Array, str]:
    """Phase as it is, if it is wrapped phase in radians."""
    # Interpolating wrapped phase overshoots a little; unwrapped phase and integer codes go far beyond.
    limit = _TURN * 1.02
    if high > limit or low < -limit or high - low > limit:
        whole = bool((phase == np.round(phase)).all())
        raise DataError(
            f"phase has Units rad but spans {low:g} to {high:g}, more than one turn: it is "
            + ("the scanner's whole numbers and not in rad" if whole else "already unwrapped, or not in rad"),
            "give the wrapped phase as the scanner exports it, or correct Units in the JSON file",
        )
    return phase.astype(np.float32), f"Phase in radians, {low:.4g} to {high:.4g}."


def _recognise(low: float, high: float, slope: float) -> _Range:
    """Range that the values come from."""
    span = high - low
    fitting = [
        known
        for known in _KNOWN
        if low >= known.low - 0.01 * (known.high - known.low)
        and high <= known.high + 0.01 * (known.high - known.low)
        and span >= _HALF_FILLED * (known.high - known.low)
    ]
    siemens = [known for known in fitting if known.name == _SIEMENS]
    if slope == _SIEMENS_SLOPE and siemens:
        return siemens[0]
    filled = [known for known in fitting if span >= _FILLED * (known.high - known.low)]
    if filled:
        return filled[0]
    if not fitting:
        raise DataError(f"phase has no unit and its range {low:g} to {high:g} is none that is known", _REMEDY)
    if len({known.radians_per_unit for known in fitting}) > 1:
        names = " and ".join(known.name for known in fitting)
        raise DataError(f"phase has no unit and its range {low:g} to {high:g} fits {names}", _REMEDY)
    return fitting[0]


def polar(real: Array, imaginary: Array) -> tuple[Array, Array]:
    """Magnitude and phase (rad) of real and imaginary images.

    Parameters
    ----------
    real, imaginary : ndarray, shape (x, y, z, echo)
        Signed, both of one scale.

    Returns
    -------
    magnitude, phase : ndarray of float32, same shape

    Raises
    ------
    DataError
        Shapes differ, or one of the two holds no negative value.
    """
    if real.shape != imaginary.shape:
        raise DataError(
            f"the real part has shape {real.shape} and the imaginary part {imaginary.shape}",
            "give both parts of each echo, on one grid",
        )
    for name, part in (("real", real), ("imaginary", imaginary)):
        # Exported as unsigned numbers the zero lies elsewhere, and every angle would be wrong.
        if not part.min() < 0:
            raise DataError(
                f"the {name} part holds no negative value",
                "export real and imaginary parts as signed numbers, or with the intercept in the header",
            )
    signal = real.astype(np.float32) + np.complex64(1j) * imaginary.astype(np.float32)
    return np.abs(signal), np.angle(signal)
