"""Parts of SVG pictures that follow the colours of the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

ACCENT = "var(--accent, #2b6cb0)"


def text(
    x: float,
    y: float,
    words: str,
    anchor: str = "start",
    *,
    size: int = 12,
    bold: bool = False,
    opacity: float = 1,
    title: str = "",
) -> str:
    """Return a text at a place; `title` is shown when the pointer is over it."""
    extra = ' font-weight="600"' if bold else ""
    extra += f' fill-opacity="{opacity:g}"' if opacity != 1 else ""
    inner = escape(words) + (f"<title>{escape(title)}</title>" if title and title != words else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{extra}>{inner}</text>'


def page(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """Return a whole picture, with a title for those who cannot see it."""
    words = escape(title, quote=True)
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img"'
        f' aria-label="{words}" fill="currentColor" font-family="inherit"><title>{words}</title>'
        + "".join(parts)
        + "</svg>"
    )
