"""A palette picture: gray levels, outlines, small text, a bar of grays and a legend."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

LEVELS = 97
"""Levels of gray: more are not seen and make the file larger."""

_TEXT_LEVELS = 16
_FIRST_TEXT = LEVELS
_FIRST_COLOUR = LEVELS + _TEXT_LEVELS
# Colours that people with colour-blindness tell apart, after Okabe and Ito (2008), the dark ones
# lightened for a black background.
COLOURS = (
    (86, 180, 233),
    (240, 228, 66),
    (230, 159, 0),
    (204, 121, 167),
    (0, 190, 140),
    (255, 110, 40),
    (255, 255, 255),
    (140, 150, 255),
)
_OPAQUE = 127
_LINE = 18
_LEFT = 8
_SMALL, _NORMAL, _LARGE = 10, 12, 14
_MOST_NAMES, _LONGEST_NAME = 24, 40

Levels = NDArray[np.uint8]


def contour_colour(rank: int) -> int:
    """Palette entry of the outline of the n-th label, from 1; the colours repeat after eight."""
    return _FIRST_COLOUR + (rank - 1) % len(COLOURS)


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Font that comes with Pillow, so that every machine draws the same."""
    return ImageFont.load_default(size)


class Canvas:
    """A picture of palette entries, and its text, which is laid over it at the end."""

    def __init__(self, width: int, height: int) -> None:
        self._pixels: Levels = np.zeros((height, width), dtype=np.uint8)
        self._notes: list[tuple[int, int, str, int, str, int]] = []

    def paste(self, left: int, top: int, levels: Levels) -> None:
        """Lay a tile of gray levels on the picture."""
        height, width = levels.shape
        self._pixels[top : top + height, left : left + width] = levels

    def draw_over(self, left: int, top: int, entries: Levels) -> None:
        """Lay palette entries over the picture where they are not 0."""
        height, width = entries.shape
        part = self._pixels[top : top + height, left : left + width]
        part[entries > 0] = entries[entries > 0]

    def note(self, right: int, bottom: int, text: str) -> None:
        """Write a small gray note whose lower right corner is given."""
        self._notes.append((right, bottom, text, _SMALL, "rs", 170))

    def letters(self, box: tuple[int, int, int, int], letters: str) -> None:
        """Write the letters of directions at the left, right, top and bottom of a tile."""
        left, top, width, height = box
        middle, centre = top + height // 2, left + width // 2
        for letter, x, y, anchor, size in zip(
            letters,
            (left + 2, left + width - 2, centre, centre),
            (middle, middle, top + 2, top + height - 2),
            ("lm", "rm", "mt", "ms"),
            (_LARGE, _LARGE, _SMALL, _SMALL),
            strict=True,
        ):
            self._notes.append((x, y, letter, size, anchor, 255 if size == _LARGE else 200))

    def footer(self, window: tuple[float, float] | None, unit: str, legend: list[tuple[int, str]]) -> None:
        """Append the bar of grays, where there is a window, and the legend of outlines."""
        if window is None and not legend:
            return
        height, width = self._pixels.shape
        x, y = _LEFT, height + 2
        pieces: list[tuple[int, int, Levels]] = []
        if window is not None:
            x = self._bar(x, y, window, unit, pieces)
        items = legend[:_MOST_NAMES]
        if len(legend) > _MOST_NAMES:
            items = [*items, (0, f"and {len(legend) - _MOST_NAMES} more")]
        for entry, name in items:
            text = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."
            needed = 16 + round(font(_NORMAL).getlength(text)) + 16
            if x + needed > width and x > _LEFT:
                x, y = _LEFT, y + _LINE
            if entry:
                pieces.append((x, y + 4, np.full((9, 9), entry, dtype=np.uint8)))
            self._notes.append((x + 14, y + 9, text, _NORMAL, "lm", 225))
            x += needed
        blank = np.zeros((y + _LINE + 2 - height, width), dtype=np.uint8)
        self._pixels = np.vstack([self._pixels, blank])
        for left, top, piece in pieces:
            self.paste(left, top, piece)

    def _bar(
        self, x: int, y: int, window: tuple[float, float], unit: str, pieces: list[tuple[int, int, Levels]]
    ) -> int:
        """Add a bar of grays with its two ends; return where the next thing may start."""
        low, high = (_number(value) for value in window)
        self._notes.append((x, y + 9, low, _NORMAL, "lm", 225))
        x += round(font(_NORMAL).getlength(low)) + 6
        ramp = np.rint(np.linspace(0, LEVELS - 1, 120)).astype(np.uint8)
        pieces.append((x, y + 4, np.tile(ramp, (9, 1))))
        end = f"{high} {unit}".strip()
        self._notes.append((x + 126, y + 9, end, _NORMAL, "lm", 225))
        return int(x + 126 + round(font(_NORMAL).getlength(end)) + 24)

    def _write(self) -> None:
        """Lay the text over the picture, with a dark rim that keeps it legible on bright tissue."""
        height, width = self._pixels.shape
        rim, ink = Image.new("L", (width, height)), Image.new("L", (width, height))
        on_rim, on_ink = ImageDraw.Draw(rim), ImageDraw.Draw(ink)
        for x, y, text, size, anchor, shade in self._notes:
            face = font(size)
            on_rim.text((x, y), text, fill=255, stroke_width=1 + (size == _LARGE), font=face, anchor=anchor)
            on_ink.text((x, y), text, fill=shade, font=face, anchor=anchor)
        level = np.asarray(ink) // (256 // _TEXT_LEVELS)
        covered = (np.asarray(rim) > _OPAQUE) | (level > 0)
        self._pixels[covered] = _FIRST_TEXT + level[covered]

    def png(self) -> bytes:
        """Encode the picture; call once, at the end."""
        self._write()
        image = Image.fromarray(self._pixels)
        image.putpalette(_palette())
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


def _number(value: float) -> str:
    """Three significant digits, and all digits of a large number rather than an exponent."""
    short = f"{value:.3g}"
    return f"{value:.0f}" if "e+" in short else short


def _palette() -> bytes:
    """Red, green and blue of every palette entry."""
    grays = np.concatenate([np.linspace(0, 255, LEVELS), np.linspace(0, 255, _TEXT_LEVELS)])
    entries = np.rint(np.vstack([np.repeat(grays[:, None], 3, axis=1), np.array(COLOURS)]))
    return bytes(entries.astype(np.uint8))
