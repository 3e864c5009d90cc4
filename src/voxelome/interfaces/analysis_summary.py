"""From the record of an analysis to what the group's report shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from voxelome.imageio import load_json
from voxelome.interfaces.analysis_figures import figures_of
from voxelome.outcomes import HEADLINES
from voxelome.provenance import model_digest
from voxelome.reports.analysis_words import headline, validation
from voxelome.reports.model import AnalysisSummary
from voxelome.step import StepRecord

SHOWN_METRICS = {
    "model": "model",
    "n_features": "features offered",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "accuracy": "accuracy",
    "accuracy_of_largest_class": "accuracy of always saying the most frequent class",
    "balanced_accuracy": "balanced accuracy",
    "kappa": "kappa with quadratic weights",
    "mean_class_error": "mean distance from the true class",
    "average_precision": "average precision",
    "brier": "Brier score",
    "brier_of_prevalence": "Brier score of always saying the prevalence",
    "brier_of_shares": "Brier score of always saying the shares of the classes",
    "log_loss": "log loss",
    "log_loss_of_shares": "log loss of always saying the shares of the classes",
    "rmse": "root mean squared error",
    "rmse_of_mean": "root mean squared error of always saying the mean",
    "mae": "mean absolute error",
    "correlation": "correlation of predicted and true",
    "calibration_slope": "calibration slope (1 is right)",
    "calibration_in_the_large": "calibration in the large (0 is right)",
    "integrated_calibration_index": "integrated calibration index",
    "calibration_e90": "calibration error of nine in ten participants at most",
    "uno_c": "Uno's concordance",
    "integrated_brier": "integrated Brier score",
    "integrated_brier_of_kaplan_meier": "integrated Brier score of Kaplan and Meier's curve",
}


def summarise_analysis(record: StepRecord) -> AnalysisSummary:
    """Result of one analysis for the group's report."""
    metrics_path = record.path("metrics")
    assert metrics_path is not None  # every analysis writes its metrics
    metrics = load_json(metrics_path)
    kind, outcome = metrics["kind"], str(metrics["outcome"])
    common: dict[str, Any] = {
        "href": f"group/{metrics['name']}/report.html",
        "name": metrics["name"],
        "outcome": outcome,
        "n": metrics["n"],
        "validation": validation(metrics),
        "notes": record.warnings,
        "selected_columns": ("feature", "among the foremost in folds (%)"),
        "selected": _selected(record),
        "metrics": measures_of(metrics),
        "figures": figures_of(metrics),
    }
    found = [] if kind == "binary" else [_headline(metrics)]
    sentences = [*found, *sentences_of(metrics), *hold_out_sentences(metrics_path.parent, metrics)]
    if kind != "binary":
        return AnalysisSummary(**common, sentences=sentences)
    auc, low, high = (float(metrics[key]) for key in ("auc", "auc_low", "auc_high"))
    return AnalysisSummary(
        **common,
        n_positive=metrics["n_positive"],
        positive=f"{outcome} {metrics['positive']}",
        auc=auc,
        low=low,
        high=high,
        sentences=sentences,
    )


def sentences_of(metrics: dict[str, Any]) -> list[str]:
    """Further results in plain words, and how the measure was made."""
    return [*_more(metrics), *beside(metrics), metrics[f"{HEADLINES[metrics['kind']].key}_method"]]


def _headline(metrics: dict[str, Any]) -> str:
    """The measure with its interval, and whether that includes chance."""
    found = headline(metrics)
    assert found is not None  # every analysis has its measure
    events = f", {metrics['n_events']} events" if metrics["kind"] == "survival" else ""
    return f"{found.sentence}{events}. {metrics['chance']}"


def measures_of(metrics: dict[str, Any]) -> list[tuple[str, Any]]:
    """Rows of the table of measures; those that have an interval with it."""
    shown: list[tuple[str, Any]] = []
    for key, name in SHOWN_METRICS.items():
        if (value := metrics.get(key)) is not None:
            low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
            if low is not None and high is not None:
                # Rounded first: -0.001 is 0.00, and not -0.00.
                told = [f"{round(float(end), 2) + 0.0:.2f}" for end in (value, low, high)]
                value = "{} ({} to {})".format(*told)
            shown.append((name, value))
    size = metrics["sample_size"]
    return [*shown, ("events per candidate feature", size["events_per_variable"])]


def _more(metrics: dict[str, Any]) -> list[str]:
    """Sentences that only some kinds of outcome, or some settings, have."""
    sentences = []
    for each in metrics.get("time_dependent_auc", ()):
        if each["auc"] is not None:
            interval = "" if each["auc_low"] is None else " (95 % interval {auc_low:.2f} to {auc_high:.2f})"
            told = f"AUC at time {each['time']:.3g}: {each['auc']:.2f}" + interval.format(**each)
            sentences.append(told + ".")
        else:
            sentences.append(f"AUC at time {each['time']:.3g}: no fold holds out enough to tell.")
    for each in metrics.get("one_against_rest", ()):
        told = "{class} against the others: AUC {auc:.2f} (95 % interval {auc_low:.2f} to {auc_high:.2f})"
        sentences.append(f"{told.format(**each)}, found in {each['sensitivity']:.0%}.")
    if found := metrics["bootstrap_632"]:
        sentences.append(
            "By the .632+ bootstrap ({draws} draws) the AUC is {estimate_632_plus:.2f}; on its own training "
            "participants the model would show {apparent:.2f}.".format(**found)
        )
    return sentences


def beside(metrics: dict[str, Any]) -> list[str]:
    """Sentences on what stands beside the model."""
    measure = HEADLINES[metrics["kind"]].name
    sentences = [alternative_sentence(other, measure) for other in metrics["alternatives"]]
    if permuted := metrics["permutations"]:
        count = len(permuted["null"])
        sentences.append(
            f"With the outcome dealt out at random {count} times the whole pipeline reached this value with "
            f"a share of p = {permuted['p']:.3g}."
        )
    else:
        sentences.append("No permutation test was done; permutations: 200 asks for one.")
    if probe := metrics["leak_probe"]:
        sentences.append(
            f"A simple model has {measure} {probe['inside']:.2f} with features chosen inside the folds; had "
            f"they been chosen on all participants, {probe['outside']:.2f} would have been reported."
        )
    return [*sentences, metrics["sample_size"]["sentence"]]


def alternative_sentence(other: dict[str, Any], measure: str) -> str:
    """A simpler model beside that of the analysis."""
    sentence = f"{other['name'].capitalize()} ({other['features']}): {measure} {other['value']:.2f}"
    if other["p"] is not None:
        sentence += (
            "; the model is better by {difference:.2f} (95 % interval {low:.2f} to {high:.2f}, "
            "p = {p:.2g}, {test})".format(**other)
        )
    return sentence + "."


def hold_out_sentences(folder: Path, metrics: dict[str, Any]) -> list[str]:
    """What the locked hold-out says, or that it is locked."""
    if not metrics["n_held_out"]:
        return []
    path = folder / "hold_out.json"
    if not path.is_file():
        return [
            f"{metrics['n_held_out']} participants are locked away; voxelome-tools hold-out opens them, once."
        ]
    found = load_json(path)
    if found["Opening"]["model"] != model_digest(folder):
        return [
            f"The {metrics['n_held_out']} participants who are locked away were opened for an earlier model,"
            f" on {found['Opening']['time']}: what was found is not of this one."
        ]
    opening, result = found["Opening"], headline({"kind": metrics["kind"], **found})
    assert result is not None  # what was opened was judged
    told = (
        f"In the {found['n']} participants who were locked away: {result.sentence}. Opened on"
        f" {opening['time']}; configuration {opening['configuration']}, model {opening['model']}."
    )
    before = found["OpenedBefore"]
    again = [
        f"They had been opened {before} time(s) before ({opening['again']}): they are no independent test any"
        " more."
    ]
    others = [f"There: {alternative_sentence(other, result.name)}" for other in found["alternatives"]]
    return [told, *(again if before else []), *others]


def _selected(record: StepRecord, most: int = 15) -> list[tuple[Any, ...]]:
    import pandas as pd

    path = record.path("selected")
    if path is None:
        return []
    table = pd.read_csv(path, sep="\t").head(most)
    return [(row["feature"], round(100 * float(row["frequency"]))) for _, row in table.iterrows()]
