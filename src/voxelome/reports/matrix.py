"""A table of shares as an SVG picture: what classes were taken for."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from voxelome.reports.svg import ACCENT, page, text

_CELL, _LEFT, _TOP = 74, 150, 60
_LONGEST = 18
# From here on white letters are easier to read than those of the page.
_DARK = 0.6


def shares(names: Sequence[str], values: Sequence[Sequence[float]], title: str, axes: tuple[str, str]) -> str:
    """Return a square of shares, each written in its cell and the darker the larger.

    Parameters
    ----------
    names : sequence of str
        Of rows and columns, in order.
    values : sequence of sequence of float
        Shares, by row.
    title : str
        For those who cannot see the picture.
    axes : tuple of str
        What the columns and the rows are.
    """
    side = _CELL * len(names)
    parts = [
        text(_LEFT + side / 2, 18, axes[0], "middle"),
        f'<g transform="translate(14 {_TOP + side / 2:g}) rotate(-90)">{text(0, 0, axes[1], "middle")}</g>',
    ]
    for number, name in enumerate(names):
        shown = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
        middle = _CELL * (number + 0.5)
        parts += [
            text(_LEFT + middle, _TOP - 10, shown, "middle", title=name),
            text(_LEFT - 10, _TOP + middle + 4, shown, "end", title=name),
        ]
    for row, (true, line) in enumerate(zip(names, values, strict=True)):
        for column, (taken, value) in enumerate(zip(names, line, strict=True)):
            x, y = _LEFT + _CELL * column, _TOP + _CELL * row
            words = escape(f"{true} taken for {taken}: {value:.0%}")
            color = "white" if value > _DARK else "currentColor"
            parts.append(
                f'<g fill="{color}"><rect x="{x}" y="{y}" width="{_CELL - 2}" height="{_CELL - 2}" rx="3"'
                f' fill="{ACCENT}" fill-opacity="{0.06 + 0.9 * value:.2f}"><title>{words}</title></rect>'
                + text(x + _CELL / 2 - 1, y + _CELL / 2 + 4, f"{value:.0%}", "middle", bold=row == column)
                + "</g>"
            )
    return page(_LEFT + side + 14, _TOP + side + 14, title, parts)
