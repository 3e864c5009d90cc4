"""Values with intervals, and values of many cases, in rows: what models make of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from voxelome.reports.svg import ACCENT, page, text

_LABEL, _WIDTH, _ROW, _RIGHT = 300, 760, 30, 30
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
    scale = _Scale(min(0.0, *ends), max(0.0, *ends))
    parts = scale.draw(len(rows), words)
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
    scale = _Scale(min([0.0, *places]), max([0.0, *places]))
    parts = scale.draw(len(rows), words)
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


class _Scale:
    """A horizontal axis between two numbers, 0 among them."""

    def __init__(self, low: float, high: float) -> None:
        if not high > low:
            low, high = -1.0, 1.0
        margin = 0.05 * (high - low)
        self.low, self.high = low - margin, high + margin

    def at(self, value: float) -> float:
        """Horizontal place of a value."""
        return _LABEL + (value - self.low) / (self.high - self.low) * (_WIDTH - _LABEL - _RIGHT)

    def draw(self, rows: int, words: str) -> list[str]:
        """Line at 0, axis and its numbers below the rows."""
        bottom, middle = 8 + _ROW * rows, (_LABEL + _WIDTH - _RIGHT) / 2
        ticks = [self.low + share * (self.high - self.low) for share in (0, 0.25, 0.5, 0.75, 1)]
        return [
            f'<path d="M{self.at(0):.1f} 4V{bottom}" stroke="currentColor" stroke-opacity=".5"/>',
            f'<path d="M{_LABEL} {bottom}H{_WIDTH - _RIGHT}" stroke="currentColor" stroke-opacity=".25"/>',
            *(text(self.at(tick), bottom + 16, f"{tick:.2g}", "middle", opacity=0.75) for tick in ticks),
            text(middle, bottom + 36, words, "middle"),
        ]


def _name(name: str, middle: float) -> str:
    shown = name if len(name) <= _LONGEST else f"\N{HORIZONTAL ELLIPSIS}{name[-_LONGEST + 1 :]}"
    return text(_LABEL - 12, middle + 4, shown, "end", title=name)


def _color(share: float | None) -> str:
    if share is None:
        return _UNKNOWN
    mixed = (round(low + share * (high - low)) for low, high in zip(_LOW, _HIGH, strict=True))
    return f"rgb({','.join(map(str, mixed))})"
