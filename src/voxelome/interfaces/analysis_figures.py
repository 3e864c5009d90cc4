"""Pictures of an analysis, from the numbers that it wrote."""

from __future__ import annotations

from bisect import bisect
from typing import Any

from voxelome.outcomes import HEADLINES
from voxelome.reports.curves import Curve, curves, round_up
from voxelome.reports.forest import Interval, forest, swarm
from voxelome.reports.matrix import shares
from voxelome.reports.model import Figure
from voxelome.reports.plots import roc_curve, strip

UNIT = ((0.0, 1.0), (0.0, 1.0))
_PROBABILITIES = ("Predicted probability", "Observed share")
_ON_THE_DIAGONAL = (
    "Groups of participants with like predictions. On the diagonal, predictions come true as often as they"
    " say."
)


def figures_of(metrics: dict[str, Any]) -> list[Figure]:
    """Return the pictures that the kind of outcome has."""
    kind = metrics["kind"]
    found: list[Figure] = []
    if kind == "binary":
        found = [*_roc(metrics), *_calibration_and_benefit(metrics)]
    elif kind == "survival":
        found = _survival(metrics)
    elif kind in ("multiclass", "ordinal"):
        found = [_confusion(metrics), _calibration_by_class(metrics)]
    return [*found, *_learning(metrics), *_by_site(metrics)]


def _roc(metrics: dict[str, Any]) -> list[Figure]:
    if "roc" not in metrics:
        return []
    numbers = (float(metrics[key]) for key in ("auc", "auc_low", "auc_high"))
    plot = roc_curve(metrics["roc"]["fpr"], metrics["roc"]["tpr"], *numbers)
    caption = "Each participant is predicted by models that have not seen it."
    return [Figure(f"ROC curve of {metrics['name']}", caption, svg=plot)]


def _calibration_and_benefit(metrics: dict[str, Any]) -> list[Figure]:
    """Calibration and net benefit of held-out probabilities."""
    name, benefit = metrics["name"], metrics["decision_curve"]
    observed = {"held out (95 % interval)": _observed(metrics["calibration"])}
    first = curves(observed, f"Calibration of {name}", _PROBABILITIES, UNIT, diagonal=True)
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
    worth = (
        "Where the model's curve lies above both others, deciding by it does more good than harm (Vickers and"
        " Elkin 2006)."
    )
    return [
        Figure(f"Calibration of {name}", _ON_THE_DIAGONAL, svg=first),
        Figure(f"Net benefit of {name}", worth, svg=second),
    ]


def _observed(calibration: dict[str, Any]) -> Curve:
    return Curve(*(calibration[key] for key in ("predicted", "observed", "low", "high")))


def _calibration_by_class(metrics: dict[str, Any]) -> Figure:
    """Calibration of the probability of each class."""
    name = f"Calibration of {metrics['name']}"
    given = {each["class"]: _observed(each["calibration"]) for each in metrics["one_against_rest"]}
    return Figure(name, _ON_THE_DIAGONAL, svg=curves(given, name, _PROBABILITIES, UNIT, diagonal=True))


def _confusion(metrics: dict[str, Any]) -> Figure:
    """Share of each class that was taken for each."""
    title = f"What the classes of {metrics['name']} were taken for"
    plot = shares(metrics["classes"], metrics["confusion"], title, ("Predicted", "True"))
    caption = "Share of each true class (row), over all repeats, by the most probable class held out."
    return Figure(title, caption, svg=plot)


def _survival(metrics: dict[str, Any]) -> list[Figure]:
    """Survival of participants with high and with low held-out risk."""
    groups = metrics["risk_groups"]
    if groups is None:
        return []
    times, title = groups["time"], f"Survival by risk of {metrics['name']}"
    given = {
        f"risk above the median of training ({groups['n_high']})": Curve(times, groups["high"]),
        f"risk below it ({groups['n_low']})": Curve(times, groups["low"]),
    }
    plot = curves(given, title, ("Time", "Survival"), ((0.0, times[-1]), (0.0, 1.0)))
    caption = (
        "Each participant's risk is that of models that have not seen it, cut at the median of their "
        f"training. Log-rank p = {groups['log_rank_p']:.2g}, a description: several models made the groups."
    )
    return [Figure(title, caption, svg=plot)]


def _learning(metrics: dict[str, Any]) -> list[Figure]:
    """The measure against the number of participants that the model learned from."""
    points = metrics["learning_curve"]
    if not points:
        return []
    measure, title = HEADLINES[metrics["kind"]].name, f"Learning curve of {metrics['name']}"
    values = [point["value"] for point in points]
    number = [point["n"] for point in points]
    low = 0.5 if metrics["kind"] != "continuous" else 0.0
    limits = ((0.0, number[-1]), (min(low, *values), 1.0))
    plot = curves({"held out": Curve(number, values)}, title, ("Participants in training", measure), limits)
    caption = "Where it still rises at its end, more participants would make a better model."
    return [Figure(title, caption, svg=plot)]


def _by_site(metrics: dict[str, Any]) -> list[Figure]:
    """Features by site, before and after harmonisation: those that differed most between sites."""
    found = metrics.get("sites")
    if not found:
        return []
    figures = []
    for each in found["shown"]:
        groups = {
            f"{site}, {when}": [("", value) for value in each[when][site]]
            for when in ("before", "after")
            for site in each[when]
        }
        caption = (
            f"Between sites lay {each['share_before']:.0%} of the variance before harmonisation and"
            f" {each['share_after']:.0%} after it (of all {found['features']} features in the median"
            f" {found['median_before']:.0%} and {found['median_after']:.0%}). These are the participants that"
            " the final model learned from; in the validation each fold harmonises by its own training part."
        )
        title = f"{each['feature']} by site"
        figures.append(Figure(title, caption, svg=strip(groups, each["feature"])))
    return figures


def explanation_figures(metrics: dict[str, Any], contributions: list[dict[str, Any]]) -> list[Figure]:
    """Return what the model goes by: importance of clusters, contributions to predictions, dependences."""
    found = metrics.get("explanation")
    if not found:
        return []
    name, measure = metrics["name"], HEADLINES[metrics["kind"]].name
    known = [each for each in found["foremost"] if each["importance"] is not None]
    figures = []
    if known:
        rows = {
            each["representative"]: Interval(each["importance"], each["low"], each["high"]) for each in known
        }
        title = f"What {name} loses without a cluster of features"
        caption = (
            "The cluster's features are dealt out anew among participants held out. Intervals: corrected"
            " resampled t-test over folds. A cluster whose interval holds 0 may play no part."
        )
        figures.append(Figure(title, caption, svg=forest(rows, title, f"{measure} lost")))
    if contributions:
        figures.append(_contributions(name, contributions, [each["cluster"] for each in known]))
    return [*figures, *(_dependence(name, each) for each in found["dependence"])]


def _contributions(name: str, rows: list[dict[str, Any]], clusters: list[int]) -> Figure:
    """What clusters add to the prediction of participants held out."""
    shown: dict[str, list[tuple[float, float | None]]] = {}
    for cluster in [*clusters, 0]:
        own = [row for row in rows if row["cluster"] == cluster]
        values = sorted(row["value"] for row in own if row["value"] == row["value"])
        for row in own:
            share = bisect(values, row["value"]) / len(values) if row["value"] == row["value"] else None
            shown.setdefault(row["representative"], []).append((row["contribution"], share))
    title = f"Contributions to the predictions of {name}"
    caption = (
        "Shapley values: what a cluster of features adds to the prediction of a participant, by a model that"
        " has not seen it, for up to 20 participants a fold and the ten foremost clusters of the fold."
        " Colour: rank of the feature that names the cluster."
    )
    return Figure(title, caption, svg=swarm(shown, title, "Added to the prediction"))


def _dependence(name: str, found: dict[str, Any]) -> Figure:
    """Mean prediction against one feature."""
    title = f"Dependence of {name} on {found['feature']}"
    grid, edges = found["grid"], [*found["low"], *found["high"], *found["mean"]]
    margin = 0.1 * (max(edges) - min(edges)) or 0.1
    given = {
        "mean": Curve(grid, found["mean"]),
        "upper quartile of single participants": Curve(grid, found["high"]),
        "lower quartile": Curve(grid, found["low"]),
    }
    limits = (
        (grid[0], grid[-1] if grid[-1] > grid[0] else grid[0] + 1),
        (min(edges) - margin, max(edges) + margin),
    )
    caption = "Prediction of the final model where this feature alone is changed, the others as they are."
    return Figure(title, caption, svg=curves(given, title, ("Value of the feature", "Prediction"), limits))
