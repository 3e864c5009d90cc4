"""Sides of the body: names that say one, and the axis of a grid that runs from one to the other."""

from __future__ import annotations

import re

# Where a capital begins a word: ThalamusLeft, LThalamus.
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# Left and right begin words too (leftthalamus); the short forms are whole words. A number may follow, but for
# L and R, which are other things then (L1).
_SIDE = re.compile(r"(?<![a-z])(?:left|right|(?:lh|rh|lt|rt)(?![a-z])|(?<![0-9])[lr](?![a-z0-9]))")


def names_side(name: str) -> bool:
    """Whether the name of a structure says its side.

    Examples
    --------
    >>> [names_side(name) for name in ("Left-Thalamus", "ctx-lh-cuneus", "Hippocampus_R", "ThalamusLeft")]
    [True, True, True, True]
    >>> [names_side(name) for name in ("bright lesion", "cleft", "VentralDC", "tumor-core")]
    [False, False, False, False]
    """
    return _SIDE.search(_spaced(name)) is not None


def without_side(name: str) -> str:
    """The name of a structure in lower case, without its side.

    Examples
    --------
    >>> without_side("Left-Thalamus"), without_side("ctx_rh_cuneus"), without_side("Hippocampus_L")
    ('-thalamus', 'ctx__cuneus', 'hippocampus_')
    """
    return _SIDE.sub("", _spaced(name))


def _spaced(name: str) -> str:
    """The name in lower case, with a space where a capital begins a word."""
    return _CAPITAL.sub(" ", name).lower()


def left_right_axes(orientation: str) -> list[int]:
    """Axes of a grid, of axis codes such as ``RAS``, that run between left and right: one, if it is a grid.

    Examples
    --------
    >>> left_right_axes("RAS"), left_right_axes("SAL")
    ([0], [2])
    """
    return [axis for axis, code in enumerate(orientation) if code in "LR"]
