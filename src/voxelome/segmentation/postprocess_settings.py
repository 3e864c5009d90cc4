"""The steps after a segmentation and their settings, checked before any of them runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voxelome.errors import DataError, listed, suggest

Check = Callable[[Any, Sequence[str]], str]


@dataclass(frozen=True)
class _Setting:
    """One setting: `problem` says what is wrong with a value, given the names of the labels, or nothing."""

    problem: Check
    required: bool = False


def _label(value: Any, names: Sequence[str]) -> str:
    return "" if value in names else f"is no label ({suggest(str(value), names)})"


def _labels(value: Any, names: Sequence[str], fewest: int = 1) -> str:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) < fewest:
        return f"is no list of {fewest} or more labels"
    if len(set(value)) < len(value):
        return "names a label twice"
    wrong = [(item, problem) for item in value if (problem := _label(item, names))]
    return f"has {wrong[0][0]}, which {wrong[0][1]}" if wrong else ""


def _order(value: Any, names: Sequence[str]) -> str:
    return _labels(value, names, 2)


def _ml(value: Any, names: Sequence[str]) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return "" if number and math.isfinite(value) and value > 0 else "is no volume in ml above 0"


def _flag(value: Any, names: Sequence[str]) -> str:
    return "" if isinstance(value, bool) else "is neither true nor false"


def _one_of(*choices: str) -> Check:
    def problem(value: Any, names: Sequence[str]) -> str:
        return "" if value in choices else f"is none of {listed(choices)}"

    return problem


_PARTS = {"labels": _Setting(_labels), "each": _Setting(_flag)}
_SETTINGS: dict[str, dict[str, _Setting]] = {
    "largest_component": _PARTS,
    "minimum_volume": {"ml": _Setting(_ml, required=True), **_PARTS},
    "fill_holes": _PARTS,
    "hierarchy": {
        "order": _Setting(_order, required=True),
        "by": _Setting(_one_of("parts", "probabilities")),
        "orphans": _Setting(_one_of("remove", "relabel")),
    },
    "relabel_small": {
        "label": _Setting(_label, required=True),
        "into": _Setting(_label, required=True),
        "ml": _Setting(_ml, required=True),
        "each": _Setting(_flag),
    },
}
STEPS = tuple(_SETTINGS)


def needed_probabilities(steps: Sequence[Mapping[str, Any]], names: Mapping[int, str]) -> set[int]:
    """Label values whose probabilities the steps, which were checked, read."""
    by_name = {name: value for value, name in names.items()}
    nested = [item for item in steps if item["name"] == "hierarchy" and item.get("by") == "probabilities"]
    return {by_name[name] for item in nested for name in item["order"][:-1]}


def check_steps(steps: Sequence[Mapping[str, Any]], names: Mapping[int, str]) -> None:
    """Refuse steps that do not exist, or whose settings do not fit.

    Parameters
    ----------
    steps : sequence of mapping
        Each with ``name`` and its settings.
    names : mapping
        Name by label value.

    Raises
    ------
    DataError
        A step, a setting or a label is unknown, or a setting is missing or has a wrong value.
    """
    labels = list(names.values())
    for settings in steps:
        name = settings.get("name")
        if name not in _SETTINGS:
            raise DataError(f"there is no step {name} after a segmentation", suggest(str(name), STEPS))
        known = _SETTINGS[name]
        for key, value in settings.items():
            if key == "name":
                continue
            if key not in known:
                raise DataError(f"the step {name} has no setting {key}", suggest(key, list(known)))
            if problem := known[key].problem(value, labels):
                raise DataError(f"the step {name} has {key}: {value}, which {problem}", "mend the entry")
        if missing := [key for key, item in known.items() if item.required and key not in settings]:
            raise DataError(f"the step {name} lacks {', '.join(missing)}", "add it to the entry")
