"""The page of one analysis: what an editor and a reviewer ask for, in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from voxelome.reports import analysis_words as words
from voxelome.reports.checklists import Checklist
from voxelome.reports.model import Figure, Status
from voxelome.reports.render import render_page
from voxelome.reports.wording import plural, show_value, small_sample, verdict

# The rows of the table of single features that are shown.
MOST_SINGLE = 20
_FLOW = "Who was analysed, and who was left out why, as TRIPOD+AI asks for (Collins 2024, BMJ 385:e078378)."
# Of a checklist's answers: the look of the page's states.
_LOOK: dict[str, Status] = {"yes": "done", "no": "warning", "author": "not run", "n/a": "not run"}


@dataclass(frozen=True)
class Table:
    """A table: its header, its rows, the first cell of each their name, and what to say below.

    `numbers` are the places of the columns that hold numbers; they are aligned to the right.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    numbers: Sequence[int] = ()


@dataclass(frozen=True)
class AnalysisPage:
    """Everything that the page of an analysis shows; what is empty is left out.

    Attributes
    ----------
    name, dataset : str
        Of the analysis, and of the dataset.
    headline : str
        The result in one sentence.
    status, verdict : str
        Whether the result is good news, and what its interval says.
    caution : str
        What a small sample calls for.
    sentences : sequence of str
        Further results in plain words.
    flow : str
        SVG of :func:`voxelome.reports.flow.flow_diagram`.
    figures : sequence of Figure
        All pictures of the result.
    measures : sequence
        (name, value) or (name, value, unit).
    comparisons, selected, univariate : Table, optional
        See :func:`comparison_table`, :func:`selected_table` and :func:`univariate_table`.
    explanation_figures, explanation_tables : sequence
        What the model goes by.
    notes : sequence of str
        What the reader must know before trusting the result.
    checklists : sequence of Checklist
        See :mod:`voxelome.reports.checklists`.
    methods : sequence of str
        Paragraphs of :func:`voxelome.reports.analysis_methods.methods_of`.
    citations : sequence of str
        What they cite.
    software, command, created, group_href
        As in :class:`voxelome.reports.model.SubjectReport`.
    """

    name: str
    dataset: str
    headline: str
    status: Status = "done"
    verdict: str = ""
    caution: str = ""
    sentences: Sequence[str] = ()
    flow: str = ""
    figures: Sequence[Figure] = ()
    measures: Sequence[tuple[str, Any] | tuple[str, Any, str]] = ()
    comparisons: Table | None = None
    selected: Table | None = None
    univariate: Table | None = None
    explanation_figures: Sequence[Figure] = ()
    explanation_tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    checklists: Sequence[Checklist] = ()
    methods: Sequence[str] = ()
    citations: Sequence[str] = ()
    software: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    created: str | None = None
    group_href: str = ""


def render_analysis_page(page: AnalysisPage) -> str:
    """Page of one analysis as HTML; the same content gives the same text."""
    return render_page(
        "analysis.html",
        report=page,
        status=page.status,
        sentence=page.verdict or page.headline,
        look=_LOOK,
        flow=Figure("Flow of participants", _FLOW, svg=page.flow),
    )


def headline_of(metrics: Mapping[str, Any]) -> str:
    """Return the result of an analysis in one sentence."""
    found = words.headline(metrics)
    told = "No measure could be found" if found is None else found.sentence
    counted = words.counts(metrics).removeprefix(": ")
    people = plural(metrics["n"], "participant") + (f" ({counted})" if counted else "")
    return f"{metrics['outcome']}: {told}; {people}; {words.validation(metrics)}."


def verdict_of(metrics: Mapping[str, Any]) -> tuple[Status, str]:
    """Return whether the interval of the result excludes chance, and the sentence that says so."""
    found = words.headline(metrics)
    if found is None:
        return "warning", "There is no result."
    return verdict(found.name, found.low, found.high, found.chance)


def caution_of(metrics: Mapping[str, Any]) -> str:
    """Return the caution that a small sample calls for, empty for a large one."""
    two = [metrics[name] for name in ("n_positive", "n_negative") if name in metrics]
    return small_sample(metrics["n"], min(two) if two else None)


def comparison_table(metrics: Mapping[str, Any]) -> Table | None:
    """Return the model beside the simpler ones; None where there are none."""
    found, others = words.headline(metrics), words.alternatives(metrics)
    if found is None or not others:
        return None
    rows: list[Sequence[Any]] = [("the model", metrics["n_features"], _two(found.value), "", "", "")]
    for each in others:
        tested = each["p"] is not None
        difference = "{difference:.2f} ({low:.2f} to {high:.2f})".format(**each) if tested else ""
        p = f"{each['p']:.2g}" if tested else ""
        rows.append((each["name"], each["features"], _two(each["value"]), difference, p, each["test"]))
    measure = f"{found.name[0].upper()}{found.name[1:]}"
    columns = ("Given", "Columns", measure, "Model better by (95 % interval)", "p", "Test")
    return Table(columns, rows, "All are validated on the same folds.", (1, 2, 3, 4))


def selected_table(rows: Sequence[Mapping[str, Any]], most: int = MOST_SINGLE) -> Table | None:
    """Return the features that folds' models make most of, from rows of selected.tsv."""
    if not rows:
        return None
    shown = [
        (row["feature"], f"{100 * row['frequency']:.0f}", _two(row["importance"]), _two(row["coefficient"]))
        for row in rows[:most]
    ]
    columns = ("Feature", "Among the foremost in folds (%)", "Mean importance (share)", "Mean coefficient")
    caption = (
        f"{len(shown)} of {len(rows)} features. Coefficients are in standard deviations, of linear models."
    )
    return Table(columns, shown, caption, (1, 2, 3))


def univariate_table(rows: Sequence[Mapping[str, Any]], most: int = MOST_SINGLE) -> Table | None:
    """Return what single features tell of the outcome, from rows of univariate.tsv, the smallest p first."""
    if not rows:
        return None
    shown = []
    for row in rows[:most]:
        effect = _two(row["effect"])
        if known(row["low"]) and known(row["high"]):
            effect += f" ({row['low']:.2f} to {row['high']:.2f})"
        shown.append((row["feature"], row["n"], effect, _p(row["p"]), _p(row["q"])))
    first = rows[0]
    columns = ("Feature", "Participants", f"{first['effect_name']} (95 % interval)", "p", "q")
    caption = (
        f"{len(shown)} of {len(rows)} features, by p ({first['test']}); q is the false discovery "
        "rate over all "
        "(Benjamini and Hochberg 1995). All participants are used: no model sees this table."
    )
    return Table(columns, shown, caption, (1, 2, 3, 4))


def known(value: Any) -> bool:
    """Return whether a cell of a table holds a number."""
    return value is not None and bool(np.isfinite(value))


def _two(value: Any) -> str:
    return f"{value:.2f}" if known(value) else "n/a"


def _p(value: Any) -> str:
    return f"{value:.2g}" if known(value) else show_value(None)
