"""Values with intervals, and values of many cases, in rows: what models make of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from voxelome.reports.axis import Axis
from voxelome.reports.svg import ACCENT, page, text

_LABEL, _WIDTH, _ROW = 300, 790, 30
_LONGEST = 44
_GOLDEN = 0.6180339887498949
# From low to high: told apart by colour-blind readers, and on light and dark.
_LOW, _HIGH, _UNKNOWN = (59, 111, 182), (217, 119, 6), "currentColor"


class Interval(NamedTuple):
    """A value with the ends of its interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


def forest(rows: Mapping[str, Interval], title: str, words: str) -> str:
    """Return values with their intervals, a row each, about a line at 0.

    Parameters
    ----------
    rows : mapping of str to Interval
        By name, in order.
    title, words : str
        For those who cannot see the picture; what the axis is.
    """
    ends = [end for row in rows.values() for end in row if end is not None]
    scale = Axis(min(0.0, *ends), max(0.0, *ends), _LABEL, _WIDTH)
    parts = [*scale.draw(8 + _ROW * len(rows), words), _zero(scale, len(rows))]
    for number, (name, row) in enumerate(rows.items()):
        middle = 8 + _ROW * (number + 0.5)
        parts.append(_name(name, middle))
        if row.low is not None and row.high is not None:
            parts.append(
                f'<path d="M{scale.at(row.low):.1f} {middle:g}H{scale.at(row.high):.1f}" stroke="{ACCENT}"'
                ' stroke-width="2.4" stroke-opacity=".6"/>'
            )
        told = f"{name}: {row.value:.3g}"
        parts.append(
            f'<circle cx="{scale.at(row.value):.1f}" cy="{middle:g}" r="5" fill="{ACCENT}">'
            f"<title>{escape(told)}</title></circle>"
        )
    return page(_WIDTH, 8 + _ROW * len(rows) + 44, title, parts)


def swarm(rows: Mapping[str, Sequence[tuple[float, float | None]]], title: str, words: str) -> str:
    """Return dots in rows, each coloured by a share between 0 and 1 (grey where it has none).

    Parameters
    ----------
    rows : mapping of str to sequence of (float, float or None)
        By name: the place of each dot, and its share.
    title, words : str
        For those who cannot see the picture; what the axis is.
    """
    places = [place for dots in rows.values() for place, _ in dots]
    scale = Axis(min([0.0, *places]), max([0.0, *places]), _LABEL, _WIDTH)
    parts = [*scale.draw(8 + _ROW * len(rows), words), _zero(scale, len(rows))]
    for number, (name, dots) in enumerate(rows.items()):
        middle = 8 + _ROW * (number + 0.5)
        parts.append(_name(name, middle))
        for count, (place, share) in enumerate(dots):
            y = middle + ((count * _GOLDEN) % 1 - 0.5) * 18
            parts.append(
                f'<circle cx="{scale.at(place):.1f}" cy="{y:.1f}" r="3" fill="{_color(share)}"'
                ' fill-opacity=".85"/>'
            )
    bottom = 8 + _ROW * len(rows) + 62
    parts += [
        f'<circle cx="{_LABEL + 6}" cy="{bottom - 4}" r="4" fill="{_color(0.0)}"/>',
        text(_LABEL + 16, bottom, "low value of the feature"),
        f'<circle cx="{_LABEL + 196}" cy="{bottom - 4}" r="4" fill="{_color(1.0)}"/>',
        text(_LABEL + 206, bottom, "high value"),
    ]
    return page(_WIDTH, bottom + 10, title, parts)


def _zero(scale: Axis, rows: int) -> str:
    return f'<path d="M{scale.at(0):.1f} 4V{8 + _ROW * rows}" stroke="currentColor" stroke-opacity=".5"/>'


def _name(name: str, middle: float) -> str:
    shown = name if len(name) <= _LONGEST else f"\N{HORIZONTAL ELLIPSIS}{name[-_LONGEST + 1 :]}"
    return text(_LABEL - 12, middle + 4, shown, "end", title=name)


def _color(share: float | None) -> str:
    if share is None:
        return _UNKNOWN
    mixed = (round(low + share * (high - low)) for low, high in zip(_LOW, _HIGH, strict=True))
    return f"rgb({','.join(map(str, mixed))})"
