"""Who was analysed and who was left out why, as the diagram that TRIPOD and CONSORT ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from voxelome.reports.svg import ACCENT, page, text

_MAIN, _SIDE, _GAP, _EDGE = 300, 300, 44, 8
_LINE, _PAD, _ARROW = 17, 11, 22
# Width of a letter of 12 px, on the safe side for the fonts that a page may have.
_LETTER = 6.9
# More classes than fit beside each other are listed in one box.
_MOST_ENDS, _END_GAP = 4, 14
Line = tuple[str, bool]


@dataclass(frozen=True)
class _Box:
    """A frame with lines of text (words, bold), centred or from the left."""

    x: float
    y: float
    width: float
    lines: Sequence[Line]
    centred: bool = True
    accent: bool = False

    @property
    def height(self) -> float:
        return _height(self.lines)

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    def draw(self) -> list[str]:
        color = ACCENT if self.accent else "currentColor"
        parts = [
            f'<rect x="{self.x:g}" y="{self.y:g}" width="{self.width:g}" height="{self.height:g}" rx="5"'
            f' fill="{color}" fill-opacity="{0.1 if self.accent else 0.04}" stroke="{color}"'
            f' stroke-opacity="{0.9 if self.accent else 0.45}"/>'
        ]
        x, anchor = (self.middle, "middle") if self.centred else (self.x + _PAD, "start")
        for row, (words, bold) in enumerate(self.lines):
            parts.append(text(x, self.y + _PAD + 12 + _LINE * row, words, anchor, bold=bold))
        return parts


def flow_of(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of an analysis, the last of them with its classes or events.

    Parameters
    ----------
    metrics : mapping
        As metrics.json holds it.
    """
    steps = [dict(step) for step in metrics.get("flow", ())]
    ends: list[dict[str, Any]] = []
    outcome = metrics.get("outcome", "outcome")
    if "n_of_class" in metrics:
        ends = [{"n": n, "label": f"{outcome} {name}"} for name, n in metrics["n_of_class"].items()]
    elif "n_positive" in metrics:
        ends = [
            {"n": metrics[f"n_{which}"], "label": f"{outcome} {metrics.get(which, which)}"}
            for which in ("positive", "negative")
        ]
    elif "n_events" in metrics:
        events = metrics["n_events"]
        ends = [{"n": events, "label": "with the event"}, {"n": metrics["n"] - events, "label": "censored"}]
    if steps and ends:
        steps[-1]["ends"] = ends
    return steps


def flow_diagram(steps: Sequence[Mapping[str, Any]], title: str = "Flow of participants") -> str:
    """Return the flow of participants as SVG: boxes downwards, beside them who was left out and why.

    Parameters
    ----------
    steps : sequence of mapping
        ``n`` participants and a ``label`` of who they are; optionally ``left_out``, mappings of ``n`` and
        ``why``, of those who do not come to the next step, and in the last step ``ends``, mappings of ``n``
        and ``label``, into which it splits.
    title : str
        For those who cannot see the picture.

    References
    ----------
    Collins et al. (2024), BMJ 385:e078378.
    """
    boxes: list[_Box] = []
    lines: list[str] = []
    y = float(_EDGE)
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        own = [(f"n = {step['n']:,}", True), *_wrapped(str(step["label"]), _MAIN)]
        main = _Box(_EDGE, y, _MAIN, own, accent=last)
        boxes.append(main)
        ends = step.get("ends", ()) if last else ()
        below = y + main.height
        if step.get("left_out"):
            side = _Box(_EDGE + _MAIN + _GAP, below + _ARROW / 2, _SIDE, _left_out(step["left_out"]), False)
            boxes.append(side)
            middle = side.y + side.height / 2
            lines += [_line((main.middle, middle), (side.x, middle))]
            if last and not ends:
                lines.append(_stem(main.middle, below, middle))
            below = side.y + side.height - _ARROW / 2
        y = below + _ARROW
        if not last:
            lines.append(_line((main.middle, main.y + main.height), (main.middle, y)))
        elif ends:
            y = _split(main, y + _ARROW, ends, boxes, lines)
    width = max((box.x + box.width for box in boxes), default=_MAIN) + _EDGE
    height = max((box.y + box.height for box in boxes), default=0) + _EDGE
    return page(
        width, height, f"{title}: {_told(steps)}", [*lines, *(p for box in boxes for p in box.draw())]
    )


def _split(
    main: _Box, y: float, ends: Sequence[Mapping[str, Any]], boxes: list[_Box], lines: list[str]
) -> float:
    """Add the boxes into which the last one splits; return where they end."""
    if len(ends) > _MOST_ENDS:
        listed = [line for end in ends for line in _wrapped(f"n = {end['n']:,}: {end['label']}", _MAIN)]
        boxes.append(_Box(main.x, y, main.width, listed))
        lines.append(_line((main.middle, main.y + main.height), (main.middle, y)))
        return y + boxes[-1].height
    whole = _MAIN + _GAP + _SIDE if len(ends) > 2 else _MAIN
    width = (whole - _END_GAP * (len(ends) - 1)) / len(ends)
    texts = [[(f"n = {end['n']:,}", True), *_wrapped(str(end["label"]), width)] for end in ends]
    # All as high as the highest.
    most = max(len(own) for own in texts)
    row = [
        _Box(main.x + i * (width + _END_GAP), y, width, [*own, *[("", False)] * (most - len(own))])
        for i, own in enumerate(texts)
    ]
    bar = y - _ARROW
    lines.append(_stem(main.middle, main.y + main.height, bar))
    first, last = min(row[0].middle, main.middle), max(row[-1].middle, main.middle)
    lines.append(f'<path d="M{first:g} {bar:g}H{last:g}" stroke="currentColor" stroke-opacity=".6"/>')
    lines += [_line((box.middle, bar), (box.middle, y)) for box in row]
    boxes += row
    return y + row[0].height


def _left_out(reasons: Sequence[Mapping[str, Any]]) -> list[Line]:
    found: list[Line] = [(f"Left out: n = {sum(reason['n'] for reason in reasons):,}", True)]
    for reason in reasons:
        words = f"{reason['n']:,}: {reason['why']}" if len(reasons) > 1 else str(reason["why"])
        found += _wrapped(words, _SIDE)
    return found


def _wrapped(words: str, width: float) -> list[Line]:
    return [(line, False) for line in wrap(words, max(8, int((width - 2 * _PAD) / _LETTER)))]


def _height(lines: Sequence[Line]) -> float:
    return 2 * _PAD + _LINE * len(lines) - 3


def _stem(x: float, top: float, bottom: float) -> str:
    return f'<path d="M{x:g} {top:g}V{bottom:g}" stroke="currentColor" stroke-opacity=".6"/>'


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Return an arrow to the right or downwards."""
    (x0, y0), (x1, y1) = start, end
    head = (
        f"{x1 - 7:g},{y1 - 4:g} {x1 - 7:g},{y1 + 4:g}"
        if y0 == y1
        else f"{x1 - 4:g},{y1 - 7:g} {x1 + 4:g},{y1 - 7:g}"
    )
    return (
        f'<path d="M{x0:g} {y0:g}L{x1:g} {y1:g}" stroke="currentColor" stroke-opacity=".6"/>'
        f'<polygon points="{x1:g},{y1:g} {head}" fill-opacity=".75"/>'
    )


def _told(steps: Sequence[Mapping[str, Any]]) -> str:
    """Return the diagram in words."""
    parts = []
    for step in steps:
        parts.append(f"{step['n']:,} {step['label']}")
        parts += [f"left out {reason['n']:,} ({reason['why']})" for reason in step.get("left_out", ())]
        parts += [f"of whom {end['n']:,} {end['label']}" for end in step.get("ends", ())]
    return "; ".join(parts)
