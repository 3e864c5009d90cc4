"""Plots as small SVG pictures that follow the colours of the page, in light and in dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from voxelome.reports.axis import LABEL, WIDTH, Axis
from voxelome.reports.svg import ACCENT, page, text

_GOLDEN = 0.6180339887498949
_EACH_POINT = 200
_FEWEST_FOR_OUTLIERS = 5
_ROW = 30
# Letters that fit beside a row, capitals too.
_LONGEST = 21


def roc_curve(fpr: Sequence[float], tpr: Sequence[float], auc: float, low: float, high: float) -> str:
    """ROC curve as SVG, with its area and the 95 % interval.

    Parameters
    ----------
    fpr, tpr : sequence of float
        False and true positive rates, from (0, 0) to (1, 1).
    auc, low, high : float
        Area under the curve and the ends of its 95 % interval.
    """
    side, left, top = 280, 62, 14

    def point(x: float, y: float) -> str:
        return f"{left + x * side:.1f},{top + (1 - y) * side:.1f}"

    words = f"AUC {auc:.2f} (95 % interval {low:.2f} to {high:.2f})"
    curve = " ".join(point(float(x), float(y)) for x, y in zip(fpr, tpr, strict=True))
    parts = [
        f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="none" stroke="currentColor"'
        ' stroke-opacity=".35"/>',
        f'<polygon points="{curve} {point(1, 0)} {point(0, 0)}" fill="{ACCENT}" fill-opacity=".10"/>',
        f'<polyline points="{point(0, 0)} {point(1, 1)}" fill="none" stroke="currentColor"'
        ' stroke-opacity=".5" stroke-dasharray="4 4"/>',
        f'<polyline points="{curve}" fill="none" stroke="{ACCENT}" stroke-width="2.2"'
        ' stroke-linejoin="round"/>',
    ]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x, y = left + tick * side, top + (1 - tick) * side
        parts += [
            f'<path d="M{x:g} {top + side}v4M{left} {y:g}h-4" stroke="currentColor" stroke-opacity=".6"/>',
            text(x, top + side + 17, f"{tick:g}", "middle"),
            text(left - 8, y + 4, f"{tick:g}", "end"),
        ]
    parts += [
        text(left + side / 2, top + side + 36, "False positive rate (1 - specificity)", "middle"),
        f'<g transform="translate(14 {top + side / 2:g}) rotate(-90)">'
        + text(0, 0, "True positive rate (sensitivity)", "middle")
        + "</g>",
        text(left + side - 10, top + side - 28, f"AUC {auc:.2f}", "end", bold=True),
        text(left + side - 10, top + side - 11, f"95 % interval {low:.2f} to {high:.2f}", "end"),
    ]
    return page(left + side + 14, top + side + 46, f"ROC curve, {words}", parts)


def strip(groups: Mapping[str, Sequence[tuple[str, float]]], title: str, unit: str = "") -> str:
    """Strip plot as SVG: a row a group, a dot a value, with quartiles and named outliers.

    Values beyond 1.5 interquartile ranges from the quartiles (Tukey's fences) are named. Values that
    are not finite are left out and counted.

    Parameters
    ----------
    groups : mapping of str to sequence of (str, float)
        Name (such as the participant) and value of each dot, by group.
    title, unit : str
        What the values are.
    """
    clean = {name: [(who, float(v)) for who, v in dots if np.isfinite(v)] for name, dots in groups.items()}
    missing = sum(len(dots) for dots in groups.values()) - sum(len(dots) for dots in clean.values())
    values = [value for dots in clean.values() for _, value in dots]
    axis = Axis(min(values, default=0.0), max(values, default=1.0))
    parts: list[str] = []
    for row, (name, dots) in enumerate(clean.items()):
        middle = 8 + _ROW * (row + 0.5)
        parts += [_label(middle, name), *_quartiles(dots, middle, axis), *_dots(dots, middle, axis)]
    bottom = 8 + _ROW * max(1, len(clean))
    words = f"{title} ({unit})" if unit else title
    words += f", {missing} not available" if missing else ""
    parts += axis.draw(bottom, words)
    return page(WIDTH, bottom + 44, words, parts)


def densities(curves: Mapping[str, tuple[float, float, Sequence[float]]], title: str, unit: str = "") -> str:
    """Smooth histograms of several regions as SVG, one above the other on one axis, each as high as its row.

    Parameters
    ----------
    curves : mapping of str to (float, float, sequence of float)
        By region: first and last value of the curve, and the curve at even steps between them.
    title, unit : str
        What the values are.
    """
    axis = Axis(min(low for low, _, _ in curves.values()), max(high for _, high, _ in curves.values()))
    row_height = 64
    parts: list[str] = []
    for row, (name, (low, high, curve)) in enumerate(curves.items()):
        bottom = 12 + row_height * (row + 1)
        top = max(curve) or 1.0
        places = zip(np.linspace(low, high, len(curve)), curve, strict=True)
        points = [(axis.at(float(x)), bottom - 52 * float(y) / top) for x, y in places]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        area = f"{points[0][0]:.1f},{bottom:g} {line} {points[-1][0]:.1f},{bottom:g}"
        parts += [
            f'<polygon points="{area}" fill="{ACCENT}" fill-opacity=".25"/>',
            f'<polyline points="{line}" fill="none" stroke="{ACCENT}" stroke-width="1.6"/>',
            _label(bottom - 12, name),
        ]
    bottom = 12 + row_height * len(curves)
    words = f"{title} ({unit})" if unit else title
    parts += axis.draw(bottom, words)
    return page(WIDTH, bottom + 44, words, parts)


def bars(values: Mapping[str, float], title: str, unit: str = "") -> str:
    """Horizontal bars as SVG, one a value, in the order given; each is labelled with its value.

    Values that are not finite have no bar and say so.
    """
    finite = [float(value) for value in values.values() if np.isfinite(value)]
    axis = Axis(min([0.0, *finite]), max([0.0, *finite]))
    parts: list[str] = []
    for row, (name, value) in enumerate(values.items()):
        middle = 8 + _ROW * (row + 0.5)
        parts.append(_label(middle, name))
        if not np.isfinite(value):
            parts.append(text(axis.at(0) + 6, middle + 4, "not available", opacity=0.6))
            continue
        start, end = sorted((axis.at(0), axis.at(value)))
        parts += [
            f'<rect x="{start:.1f}" y="{middle - 8:g}" width="{end - start:.1f}" height="16" rx="2"'
            f' fill="{ACCENT}" fill-opacity=".75"/>',
            text(end + 6, middle + 4, f"{value:.4g}"),
        ]
    bottom = 8 + _ROW * max(1, len(values))
    words = f"{title} ({unit})" if unit else title
    parts += axis.draw(bottom, words)
    return page(WIDTH, bottom + 44, words, parts)


def _quartiles(dots: Sequence[tuple[str, float]], middle: float, axis: Axis) -> list[str]:
    if not dots:
        return [text(axis.at(axis.ticks[0]) + 6, middle + 4, "not available", opacity=0.6)]
    lower, median, upper = (axis.at(q) for q in np.percentile([value for _, value in dots], (25, 50, 75)))
    return [
        f'<rect x="{lower:.1f}" y="{middle - 10:g}" width="{upper - lower:.1f}" height="20" rx="3"'
        ' fill="currentColor" fill-opacity=".10"/>',
        f'<path d="M{median:.1f} {middle - 11:g}v22" stroke="currentColor" stroke-width="2"/>',
    ]


def _dots(dots: Sequence[tuple[str, float]], middle: float, axis: Axis) -> list[str]:
    """Dots, spread up and down so that they do not hide each other; the same every time."""
    places = [
        (who, value, axis.at(value), middle + ((i * _GOLDEN) % 1 - 0.5) * 14)
        for i, (who, value) in enumerate(dots)
    ]
    outlying = _outlying([value for _, value in dots])
    parts = []
    if len(dots) > _EACH_POINT:
        # One path for all: a circle each would make the page of a large study heavy.
        path = "".join(f"M{x:.1f} {y:.1f}h0" for _, _, x, y in places)
        parts.append(
            f'<path d="{path}" stroke="{ACCENT}" stroke-opacity=".5" stroke-width="5"'
            ' stroke-linecap="round"/>'
        )
    else:
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="{ACCENT}" fill-opacity=".75">'
            f"<title>{escape(who)}{': ' if who else ''}{value:.4g}</title></circle>"
            for who, value, x, y in places
        ]
    reach = -np.inf
    for who, _, x, y in sorted(
        (place for place, far in zip(places, outlying, strict=True) if far), key=lambda place: place[2]
    ):
        if x > reach:
            parts.append(text(x + 6, y + 4, _short(who), size=11))
            reach = x + 14 + 6.2 * len(_short(who))
    return parts


def outliers(dots: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Names and values beyond Tukey's fences, the farthest from the median first."""
    clean = [(who, float(value)) for who, value in dots if np.isfinite(value)]
    values = [value for _, value in clean]
    found = [dot for dot, far in zip(clean, _outlying(values), strict=True) if far]
    middle = float(np.median(values)) if values else 0.0
    return sorted(found, key=lambda dot: -abs(dot[1] - middle))


def _outlying(values: Sequence[float]) -> list[bool]:
    if len(values) < _FEWEST_FOR_OUTLIERS:
        return [False] * len(values)
    lower, upper = np.percentile(values, (25, 75))
    reach = 1.5 * (upper - lower)
    return [bool(value < lower - reach or value > upper + reach) for value in values]


def _label(middle: float, name: str) -> str:
    return text(LABEL - 12, middle + 4, _short(name), "end", title=name)


def _short(text: str) -> str:
    """Leave out the middle of a long name: names of one kind differ at their ends."""
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"
