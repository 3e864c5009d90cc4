"""What analyses and their reports call the same: measures of outcomes, and rules of who is in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Headline(NamedTuple):
    """The one number of a kind of outcome: its key among the metrics, its name, and what chance reaches."""

    key: str
    name: str
    chance: float


HEADLINES = {
    "binary": Headline("auc", "AUC", 0.5),
    "multiclass": Headline("hand_till", "AUC of Hand and Till", 0.5),
    "ordinal": Headline("ordinal_concordance", "concordance with the order", 0.5),
    "survival": Headline("c_index", "concordance", 0.5),
    "continuous": Headline("r2", "R2", 0.0),
}


def rules_in_words(rules: Mapping[str, Any]) -> str:
    """Return the rules of `where` or `hold_out` as a text.

    Examples
    --------
    >>> rules_in_words({"grade": 4, "age": {"min": 18}, "site": ["A", "B"]})
    'grade 4, age at least 18, site A or B'
    """
    return ", ".join(f"{name} {_rule(rule)}" for name, rule in rules.items())


def _rule(rule: Any) -> str:
    if isinstance(rule, Mapping):
        bounds = {"min": "at least", "max": "at most"}
        return " and ".join(f"{bounds.get(key, key)} {value}" for key, value in rule.items())
    return " or ".join(map(str, rule)) if isinstance(rule, list | tuple) else str(rule)
