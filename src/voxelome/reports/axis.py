"""The axis of pictures that have a row for each name."""

from __future__ import annotations

import numpy as np

from voxelome.reports.svg import text

LABEL, WIDTH = 170, 680


class Axis:
    """A horizontal axis with round ticks that hold all values.

    Parameters
    ----------
    low, high : float
        Of the values.
    label, width : int
        Room for the names of the rows, and of the whole picture.
    """

    def __init__(self, low: float, high: float, label: int = LABEL, width: int = WIDTH) -> None:
        self.label, self.width = label, width
        if not high > low:
            low, high = low - max(abs(low) * 0.05, 0.5), high + max(abs(high) * 0.05, 0.5)
        raw = (high - low) / 5
        power = 10 ** np.floor(np.log10(raw))
        step = float(power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999))
        first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
        self.ticks = [float(tick) * step for tick in np.arange(first, last + 1)]

    def at(self, value: float) -> float:
        """Horizontal place of a value."""
        low, high = self.ticks[0], self.ticks[-1]
        return self.label + (value - low) / (high - low) * (self.width - self.label - 60)

    def draw(self, bottom: float, words: str) -> list[str]:
        """Axis, ticks and grid below the rows."""
        grid = "".join(f"M{self.at(tick):.1f} 4V{bottom:g}" for tick in self.ticks)
        return [
            f'<path d="{grid}" stroke="currentColor" stroke-opacity=".12"/>',
            *(text(self.at(t), bottom + 16, f"{t:.6g}", "middle", opacity=0.75) for t in self.ticks),
            text((self.at(self.ticks[0]) + self.at(self.ticks[-1])) / 2, bottom + 36, words, "middle"),
        ]
