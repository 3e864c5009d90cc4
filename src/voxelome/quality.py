"""Measures of quality and the traffic light of each: the one table of thresholds.

A light says where to look, not what is right: green needs no look, amber deserves one, red means that the
result should not be used before somebody has looked.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Light = Literal["green", "amber", "red"]
COLUMNS = ("image", "measure", "value", "unit", "light", "green", "amber", "meaning")


@dataclass(frozen=True)
class Measure:
    """A measure, and the ranges in which its light is green or amber; beyond both it is red.

    Attributes
    ----------
    green, amber : (float, float)
        Closed ranges; the amber one holds the green one.
    unit : str
    meaning : str
        What the value says, in one sentence, with the source of the thresholds.
    """

    green: tuple[float, float]
    amber: tuple[float, float]
    unit: str
    meaning: str

    def light(self, value: float) -> Light:
        """Traffic light of a value; one that is not a number is red."""
        for colour, (low, high) in (("green", self.green), ("amber", self.amber)):
            if low <= value <= high:
                return "green" if colour == "green" else "amber"
        return "red"


_INFINITE = float("inf")
MEASURES: dict[str, Measure] = {
    "brain volume": Measure(
        (1000, 1900),
        (900, 2100),
        "ml",
        "Volume of the brain mask with sulci and ventricles; adults have 1000 to 1900 ml.",
    ),
    "brain mask agreement": Measure(
        (0.96, 1),
        (0.90, 1),
        "Dice",
        "Overlap of the masks that two independent methods found.",
    ),
    "brain covered": Measure(
        (98, 100),
        (80, 100),
        "%",
        "Share of the reference's brain that lies in the image's field of view.",
    ),
    "mutual information before": Measure(
        (0, _INFINITE), (0, _INFINITE), "bits", "What image and reference share as their headers place them."
    ),
    "mutual information after": Measure(
        (0.1, _INFINITE),
        (0.05, _INFINITE),
        "bits",
        "What image and reference share after registration; noise gives up to 0.05.",
    ),
    "movement": Measure(
        (0, 20),
        (0, 60),
        "mm",
        "How far registration moved the middle of the brain from where its header puts it.",
    ),
    "inverse consistency": Measure(
        (0, 0.5),
        (0, 1.0),
        "mm",
        "Mean displacement in the brain after registration there and back, each found by itself.",
    ),
    "agreement of all pairs": Measure(
        (0, 0.5),
        (0, 1.0),
        "mm",
        "Mean distance in the brain between a pair's own registration and that of all visits together.",
    ),
    "mirrored fit": Measure(
        (0, 0.833),
        (0, 1.2),
        "ratio",
        "Mutual information with left and right exchanged, relative to that without.",
    ),
    "template overlap": Measure(
        (0.95, 1),
        (0.90, 1),
        "Dice",
        "Overlap of the brain, carried to the template, with the template's brain.",
    ),
    "template Jacobian minimum": Measure(
        (0.2, 1),
        (0.05, 1),
        "ratio",
        "Strongest local shrinking on the way to the template; 0 and less: folded.",
    ),
    "template Jacobian maximum": Measure(
        (1, 5), (1, 10), "ratio", "Strongest local stretching on the way to the template."
    ),
    "template inverse consistency": Measure(
        (0, 0.5),
        (0, 1.5),
        "mm",
        "Mean distance in the brain after the deformation and its inverse.",
    ),
}


def check(image: str, measure: str, value: float) -> dict[str, Any]:
    """Row of a measured value with its traffic light.

    Parameters
    ----------
    image : str
        What was measured, such as ``FLAIR``.
    measure : str
        A key of :data:`MEASURES`.
    value : float
    """
    return {
        "image": image,
        "measure": measure,
        "value": round(float(value), 4),
        "light": MEASURES[measure].light(float(value)),
    }


def table(checks: Iterable[Mapping[str, Any]]) -> str:
    """Rows of :func:`check` as TSV, with units, ranges and meanings."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in checks:
        measure = MEASURES[row["measure"]]
        writer.writerow(
            [
                row["image"],
                row["measure"],
                row["value"],
                measure.unit,
                row["light"],
                interval(measure.green),
                interval(measure.amber),
                measure.meaning,
            ]
        )
    return text.getvalue()


def interval(limits: tuple[float, float]) -> str:
    """Range as text.

    Examples
    --------
    >>> interval((0.95, 1))
    '0.95 to 1'
    >>> interval((0.1, float("inf")))
    'from 0.1'
    """
    low, high = limits
    return f"from {low:g}" if high == _INFINITE else f"{low:g} to {high:g}"


def alarms(checks: Iterable[Mapping[str, Any]]) -> list[str]:
    """Sentences for the measures whose light is red."""
    return [
        f"{row['image']}: {row['measure']} is {row['value']:.3g} {MEASURES[row['measure']].unit}, outside of "
        f"{interval(MEASURES[row['measure']].amber)}."
        for row in checks
        if row["light"] == "red"
    ]
