"""Curves in a square frame as SVG: calibration, net benefit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from voxelome.reports.svg import ACCENT, page, text

_SIDE, _LEFT, _TOP = 280, 62, 14
_DASHES = ("", "6 4", "2 3")


@dataclass(frozen=True)
class Curve:
    """Points of a curve, and where given an interval at each; missing points are left out."""

    x: Sequence[float | None]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


def curves(
    given: Mapping[str, Curve],
    title: str,
    axes: tuple[str, str],
    limits: tuple[tuple[float, float], tuple[float, float]],
    *,
    diagonal: bool = False,
) -> str:
    """Return curves in one frame, with a legend.

    Parameters
    ----------
    given : mapping of str to Curve
        By name; the first is drawn in color and with its points, the others in dashes.
    title : str
        For those who cannot see the picture.
    axes : tuple of str
        What lies along x and y.
    limits : tuple of two pairs
        Ends of x and of y; what lies beyond is cut off.
    diagonal : bool
        Whether to draw where x is y.
    """
    (left, right), (bottom, top) = limits

    def place(x: float, y: float) -> tuple[float, float]:
        y = min(max(y, bottom), top)
        return _LEFT + (x - left) / (right - left) * _SIDE, _TOP + (top - y) / (top - bottom) * _SIDE

    parts = [
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="currentColor"'
        ' stroke-opacity=".35"/>'
    ]
    if diagonal:
        (x0, y0), (x1, y1) = place(left, left), place(right, right)
        parts.append(
            f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="currentColor" stroke-opacity=".5"'
            ' stroke-dasharray="4 4"/>'
        )
    for number, (name, curve) in enumerate(given.items()):
        color = ACCENT if number == 0 else "currentColor"
        dash = _DASHES[min(number, len(_DASHES) - 1)]
        pairs = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if x is not None and y is not None]
        points = [place(x, y) for x, y in pairs]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"'
            f' stroke-dasharray="{dash}"/>'
        )
        for x, low, high in zip(curve.x, curve.low, curve.high, strict=False):
            if x is not None and low is not None and high is not None:
                (across, down), (_, up) = place(x, low), place(x, high)
                parts.append(
                    f'<path d="M{across:.1f} {down:.1f}V{up:.1f}" stroke="{color}" stroke-opacity=".6"/>'
                )
        if curve.low:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="{color}"/>' for x, y in points]
        row = _TOP + _SIDE + 58 + 18 * number
        parts += [
            f'<path d="M{_LEFT} {row - 4}h26" stroke="{color}" stroke-width="2" stroke-dasharray="{dash}"/>',
            text(_LEFT + 34, row, name),
        ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = _LEFT + share * _SIDE, _TOP + (1 - share) * _SIDE
        parts += [
            text(x, _TOP + _SIDE + 17, f"{left + share * (right - left):.3g}", "middle"),
            text(_LEFT - 8, y + 4, f"{bottom + share * (top - bottom):.3g}", "end"),
        ]
    parts += [
        text(_LEFT + _SIDE / 2, _TOP + _SIDE + 36, axes[0], "middle"),
        f'<g transform="translate(14 {_TOP + _SIDE / 2:g}) rotate(-90)">{text(0, 0, axes[1], "middle")}</g>',
    ]
    return page(_LEFT + _SIDE + 14, _TOP + _SIDE + 52 + 18 * len(given), title, parts)


def round_up(value: float) -> float:
    """Return the next larger number of one digit, for the end of an axis."""
    power = 10.0 ** np.floor(np.log10(value)) if value > 0 else 1.0
    return float(np.ceil(value / power - 1e-9) * power) if value > 0 else 1.0
