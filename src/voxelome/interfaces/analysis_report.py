"""From the files of an analysis to its page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voxelome.imageio import load_json, save_text
from voxelome.interfaces.analysis_figures import explanation_figures, figures_of
from voxelome.interfaces.analysis_summary import hold_out_sentences, measures_of, sentences_of
from voxelome.interfaces.summaries import software_of
from voxelome.outcomes import HEADLINES
from voxelome.provenance import model_digest
from voxelome.reports.analysis_methods import methods_of, references_of
from voxelome.reports.analysis_page import (
    AnalysisPage,
    Table,
    caution_of,
    comparison_table,
    headline_of,
    render_analysis_page,
    selected_table,
    univariate_table,
    verdict_of,
)
from voxelome.reports.checklist_facts import Facts
from voxelome.reports.checklists import clear, metrics_score
from voxelome.reports.flow import flow_diagram, flow_of
from voxelome.step import StepRecord

# The most rows of mixed models that are shown.
_MOST = 20


def write_analysis_page(record: StepRecord, dataset: str, processing: Mapping[str, Any]) -> Path:
    """Write the page of one analysis beside its numbers, and return where it is.

    Parameters
    ----------
    record : StepRecord
        Of the analysis.
    dataset : str
        Name of the dataset.
    processing : mapping
        Settings of the images' processing, by stage.
    """
    metrics_path = record.path("metrics")
    assert metrics_path is not None  # every analysis writes its metrics
    folder = metrics_path.parent
    metrics, about = load_json(metrics_path), load_json(folder / "model.json")
    tables = {name: _rows(record, name) for name in ("selected", "univariate", "mixed", "contributions")}
    versions = software_of([record])
    features = _measured_with(about)
    facts = Facts(
        settings=about["Settings"],
        metrics=metrics,
        features=features,
        processing=processing,
        versions=versions,
        columns=about["Features"],
        missing=_mean(tables["univariate"], "missing"),
        n_selected=len(tables["selected"]),
        n_univariate=len(tables["univariate"]),
        hold_out=_opened(folder),
    )
    paragraphs = methods_of(about["Settings"], metrics, features, versions)
    status, verdict = verdict_of(metrics)
    page = AnalysisPage(
        name=metrics["name"],
        dataset=dataset,
        headline=headline_of(metrics),
        status=status,
        verdict=verdict,
        caution=caution_of(metrics),
        sentences=[*sentences_of(metrics), *hold_out_sentences(folder, metrics)],
        flow=flow_diagram(flow_of(metrics)),
        figures=figures_of(metrics),
        measures=measures_of(metrics),
        comparisons=comparison_table(metrics),
        selected=selected_table(tables["selected"]),
        univariate=univariate_table(tables["univariate"]),
        explanation_figures=explanation_figures(metrics, tables["contributions"]),
        explanation_tables=[*_foremost(metrics), *_mixed(tables["mixed"])],
        notes=record.warnings,
        checklists=[clear(facts), metrics_score(facts)],
        methods=paragraphs,
        citations=[str(reference) for reference in references_of(paragraphs)],
        software=versions,
        group_href="../../group.html",
    )
    return save_text(folder / "report.html", render_analysis_page(page))


def _measured_with(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings and the program that radiomic features were measured with, if there are any."""
    for kind, settings in about["FeatureSettings"].items():
        if "options" in settings:
            return {**settings, "software": about["FeatureSoftware"].get(kind, "")}
    return {}


def _opened(folder: Path) -> dict[str, Any]:
    """Return what the hold-out said of this model; nothing where it is locked, or was opened for another."""
    path = folder / "hold_out.json"
    found = load_json(path) if path.is_file() else {}
    return found if found and found["Opening"]["model"] == model_digest(folder) else {}


def _rows(record: StepRecord, name: str) -> list[dict[str, Any]]:
    """Rows of one of the analysis' tables; none where it has no such table."""
    import pandas as pd

    path = record.path(name)
    if path is None:
        return []
    found: list[dict[str, Any]] = pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False).to_dict(
        "records"
    )
    return found


def _mean(rows: list[dict[str, Any]], name: str) -> float | None:
    return sum(float(row[name]) for row in rows) / len(rows) if rows else None


def _foremost(metrics: Mapping[str, Any]) -> list[Table]:
    """Return the clusters of features that the model makes most of."""
    found = metrics.get("explanation")
    if not found:
        return []
    rows = []
    for each in found["foremost"]:
        if each["importance"] is not None:
            interval = ""
            if each["low"] is not None:
                interval = f" ({each['low']:.3f} to {each['high']:.3f})"
            rows.append((each["representative"], each["features"], f"{each['importance']:.3f}{interval}"))
    measure = HEADLINES[metrics["kind"]].name
    columns = ("Cluster, named by", "Features", f"{measure} lost (95 % interval)")
    caption = (
        f"{len(rows)} of {found['clusters']} clusters of features that correlate. Lost where the cluster's"
        " features are dealt out anew among participants held out; clusters.tsv says what is in which."
    )
    return [Table(columns, rows, caption, (1, 2))] if rows else []


def _mixed(rows: list[dict[str, Any]]) -> list[Table]:
    """Return the features that change otherwise over visits in those with the outcome."""
    chosen = [row for row in rows if "x time" in str(row["term"]) and row["p"] == row["p"]]
    if not chosen:
        return []
    chosen = sorted(chosen, key=lambda row: float(row["p"]))[:_MOST]
    shown = [
        (
            row["feature"],
            row["term"],
            "{estimate:.3g} ({low:.3g} to {high:.3g})".format(**row),
            f"{row['p']:.2g}",
            f"{row['q']:.2g}",
        )
        for row in chosen
    ]
    columns = ("Feature", "Term", "Estimate (95 % interval)", "p", "q")
    caption = (
        "Linear mixed models of all visits, with an intercept for each participant: whether a feature changes"
        " otherwise over time in those with the outcome. mixed.tsv holds all terms."
    )
    return [Table(columns, shown, caption, (2, 3, 4))]
