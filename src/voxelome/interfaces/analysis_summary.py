"""From the record of an analysis to what the group's report shows."""

from __future__ import annotations

from typing import Any

from voxelome.imageio import load_json
from voxelome.reports.curves import Curve, curves, round_up
from voxelome.reports.model import AnalysisSummary, Figure
from voxelome.reports.plots import roc_curve
from voxelome.step import StepRecord

SHOWN_METRICS = {
    "model": "model",
    "n_features": "features offered",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "balanced_accuracy": "balanced accuracy",
    "average_precision": "average precision",
    "brier": "Brier score",
    "brier_of_prevalence": "Brier score of always saying the prevalence",
    "rmse": "root mean squared error",
    "rmse_of_mean": "root mean squared error of always saying the mean",
    "mae": "mean absolute error",
    "correlation": "correlation of predicted and true",
    "calibration_slope": "calibration slope (1 is right)",
    "calibration_in_the_large": "calibration in the large (0 is right)",
}


def summarise_analysis(record: StepRecord) -> AnalysisSummary:
    """Result of one analysis for the group's report."""
    metrics_path = record.path("metrics")
    assert metrics_path is not None  # every analysis writes its metrics
    metrics = load_json(metrics_path)
    outcome = str(metrics["outcome"])
    if metrics["validation"] == "leave_one_group_out":
        validation = f"nested cross-validation, each of {metrics['folds']} {metrics['groups']} left out once"
    else:
        validation = f"nested cross-validation, {metrics['folds']} folds, {metrics['repeats']} times"
    common: dict[str, Any] = {
        "name": metrics["name"],
        "outcome": outcome,
        "n": metrics["n"],
        "validation": validation,
        "notes": record.warnings,
        "selected_columns": ("feature", "among the foremost in folds (%)"),
        "selected": _selected(record),
        "metrics": _metrics(metrics),
    }
    if metrics["kind"] == "survival":
        found = f"Concordance {metrics['c_index']:.2f}"
        if metrics["c_index_low"] is not None:
            found += " (95 % interval {c_index_low:.2f} to {c_index_high:.2f})".format(**metrics)
        found += f", {metrics['n_events']} events. {metrics['chance']}"
        sentences = [found, *_beside(metrics), metrics["c_index_method"]]
        return AnalysisSummary(**common, sentences=sentences, figures=_survival(metrics))
    if metrics["kind"] != "binary":
        found = "R2 {r2:.2f} (95 % interval {r2_low:.2f} to {r2_high:.2f}). {chance}".format(**metrics)
        return AnalysisSummary(**common, sentences=[found, *_beside(metrics), metrics["r2_method"]])
    auc, low, high = (float(metrics[key]) for key in ("auc", "auc_low", "auc_high"))
    plot = roc_curve(metrics["roc"]["fpr"], metrics["roc"]["tpr"], auc, low, high)
    caption = "Each participant is predicted by models that have not seen it."
    return AnalysisSummary(
        **common,
        n_positive=metrics["n_positive"],
        positive=f"{outcome} {metrics['positive']}",
        auc=auc,
        low=low,
        high=high,
        sentences=[*_beside(metrics), metrics["auc_method"]],
        figures=[Figure(f"ROC curve of {metrics['name']}", caption, svg=plot), *_figures(metrics)],
    )


def _metrics(metrics: dict[str, Any]) -> list[tuple[str, Any]]:
    """Rows of the table of measures."""
    shown = [(name, metrics[key]) for key, name in SHOWN_METRICS.items() if metrics.get(key) is not None]
    size = metrics["sample_size"]
    return [*shown, ("events per candidate feature", size["events_per_variable"])]


def _beside(metrics: dict[str, Any]) -> list[str]:
    """Sentences on what stands beside the model."""
    measure = {"binary": "AUC", "survival": "concordance"}.get(metrics["kind"], "R2")
    sentences = []
    for other in metrics["alternatives"]:
        sentence = f"{other['name'].capitalize()} ({other['features']}): {measure} {other['value']:.2f}"
        if other["p"] is not None:
            sentence += (
                "; the model is better by {difference:.2f} (95 % interval {low:.2f} to {high:.2f}, "
                "p = {p:.2g}, corrected resampled t-test)".format(**other)
            )
        sentences.append(sentence + ".")
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


def _survival(metrics: dict[str, Any]) -> list[Figure]:
    """Survival of participants with high and with low held-out risk."""
    groups = metrics["risk_groups"]
    if groups is None:
        return []
    times = groups["time"]
    plot = curves(
        {
            f"risk above the median of training ({groups['n_high']})": Curve(times, groups["high"]),
            f"risk below it ({groups['n_low']})": Curve(times, groups["low"]),
        },
        f"Survival by risk of {metrics['name']}",
        ("Time", "Survival"),
        ((0.0, times[-1]), (0.0, 1.0)),
    )
    caption = (
        "Each participant's risk is that of models that have not seen it, cut at the median of their "
        f"training. Log-rank p = {groups['log_rank_p']:.2g}, a description: several models made the groups."
    )
    return [Figure(f"Survival by risk of {metrics['name']}", caption, svg=plot)]


def _figures(metrics: dict[str, Any]) -> list[Figure]:
    """Calibration and net benefit of held-out probabilities."""
    name, calibration, benefit = metrics["name"], metrics["calibration"], metrics["decision_curve"]
    observed = Curve(
        calibration["predicted"], calibration["observed"], calibration["low"], calibration["high"]
    )
    unit = ((0.0, 1.0), (0.0, 1.0))
    axes = ("Predicted probability", "Observed share")
    first = curves(
        {"held out (95 % interval)": observed}, f"Calibration of {name}", axes, unit, diagonal=True
    )
    thresholds = benefit["threshold"]
    top = round_up(
        max(value for key in ("model", "treat_all") for value in benefit[key] if value is not None)
    )
    second = curves(
        {
            "model": Curve(thresholds, benefit["model"]),
            "all are treated": Curve(thresholds, benefit["treat_all"]),
            "none is": Curve([0.0, 1.0], [0.0, 0.0]),
        },
        f"Net benefit of {name}",
        ("Probability from which one would treat", "Net benefit"),
        ((0.0, 1.0), (-top / 2, top)),
    )
    return [
        Figure(
            f"Calibration of {name}",
            "Groups of participants with like predictions. On the diagonal, predictions come true as often "
            "as they say.",
            svg=first,
        ),
        Figure(
            f"Net benefit of {name}",
            "Where the model's curve lies above both others, deciding by it does more good than harm "
            "(Vickers and Elkin 2006).",
            svg=second,
        ),
    ]


def _selected(record: StepRecord, most: int = 15) -> list[tuple[Any, ...]]:
    import pandas as pd

    path = record.path("selected")
    if path is None:
        return []
    table = pd.read_csv(path, sep="\t").head(most)
    return [(row["feature"], round(100 * float(row["frequency"]))) for _, row in table.iterrows()]
