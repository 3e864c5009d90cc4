"""Checklists of radiomics, filled in as far as settings and results show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from voxelome.reports import evidence_of_data, evidence_of_model
from voxelome.reports.checklist_facts import Evidence, Facts, Rule, State

__all__ = ["Answer", "Checklist", "Evidence", "Facts", "Item", "State", "answer", "clear", "metrics_score"]


@dataclass(frozen=True)
class Item:
    """An item of a checklist.

    Attributes
    ----------
    number : int
        As the checklist counts.
    section, title : str
        Where it stands, and what it asks for, in our own words.
    write : str
        What the author has to do where the software cannot answer.
    rule : str
        Function of `evidence_of_data` or `evidence_of_model`; empty where there is none.
    weight : float or None
        Where the checklist is a score.
    """

    number: int
    section: str
    title: str
    write: str
    rule: str = ""
    weight: float | None = None


@dataclass(frozen=True)
class Answer:
    """An item with its answer: yes, no, author (who has to answer) or n/a, and the reason.

    `write` says what to do where the answer is no or the author's.
    """

    item: Item
    state: State
    evidence: str
    write: str


@dataclass(frozen=True)
class Checklist:
    """A checklist with all answers; `score` is the lowest and highest that it can have, in %."""

    name: str
    reference: str
    answers: Sequence[Answer]
    score: tuple[float, float] | None = None

    @property
    def summary(self) -> str:
        """How many items are answered how, and the score where there is one."""
        count = Counter(each.state for each in self.answers)
        told = (
            f"{count['yes']} of {len(self.answers)} items met, {count['no']} not met, "
            f"{count['author']} for the"
            f" author to answer, {count['n/a']} not applicable."
        )
        if self.score is None:
            return told
        low, high = self.score
        return f"{told} Score: {low:.1f} % if none of the author's items is met, {high:.1f} % if all are."


def answer(item: Item, facts: Facts) -> Answer:
    """Return what the facts say of an item; where they say nothing it is the author's."""
    found = (_rule(item.rule)(facts) if item.rule else None) or Evidence("author")
    write = f"{item.write}." if found.state in ("author", "no") else ""
    return Answer(item, found.state, found.text, write)


def clear(facts: Facts) -> Checklist:
    """Return CLEAR, the checklist of what a paper on radiomics reports.

    References
    ----------
    Kocak et al. (2023), Insights into Imaging 14:75.
    """
    return _filled("clear", facts)


def metrics_score(facts: Facts) -> Checklist:
    """Return METRICS, the score of how good the methods of radiomics are.

    The score is the weight of the items that are met over that of those that apply.

    References
    ----------
    Kocak et al. (2024), Insights into Imaging 15:8.
    """
    return _filled("metrics_score", facts)


def _filled(name: str, facts: Facts) -> Checklist:
    title, reference, items = _read(name)
    answers = [answer(item, facts) for item in items]
    score = _score(answers) if all(item.weight is not None for item in items) else None
    return Checklist(title, reference, answers, score)


@cache
def _read(name: str) -> tuple[str, str, tuple[Item, ...]]:
    content: dict[str, Any] = yaml.safe_load(
        (files("voxelome.reports") / "checklists" / f"{name}.yaml").read_text(encoding="utf-8")
    )
    return content["name"], content["reference"], tuple(Item(**item) for item in content["items"])


def _rule(name: str) -> Rule:
    module = evidence_of_data if hasattr(evidence_of_data, name) else evidence_of_model
    rule: Rule = getattr(module, name)
    return rule


def _score(answers: Sequence[Answer]) -> tuple[float, float]:
    """Return the score if the author's items are not met, and if they are, in %.

    An item of the author that turns out not to apply lies between the two.
    """
    total = dict.fromkeys(("yes", "no", "author"), 0.0)
    for each in answers:
        if each.state != "n/a":
            total[each.state] += each.item.weight or 0.0
    whole = sum(total.values())
    return 100 * total["yes"] / whole, 100 * (total["yes"] + total["author"]) / whole
