"""Phrases on an analysis, from its settings and numbers, that methods and checklists share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from voxelome.outcomes import HEADLINES

Content = Mapping[str, Any]
_MEASURES = {
    "auc": "AUC",
    "hand_till": "AUC of Hand and Till",
    "ordinal_concordance": "concordance with the order",
    "c_index": "Harrell's concordance",
    "uno_c": "Uno's concordance",
    "integrated_brier": "integrated Brier score",
    "r2": "R2",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "balanced_accuracy": "balanced accuracy",
    "confusion": "confusion of classes",
    "kappa": "kappa with quadratic weights",
    "average_precision": "average precision",
    "brier": "Brier score",
    "log_loss": "log loss",
    "calibration_slope": "calibration slope",
    "decision_curve": "net benefit",
    "expected_to_observed": "expected over observed events",
    "time_dependent_auc": "AUC at certain times",
}


class Result(NamedTuple):
    """The one number of an analysis, its interval where there is one, and what chance reaches."""

    key: str
    name: str
    value: float
    low: float | None
    high: float | None
    chance: float

    @property
    def sentence(self) -> str:
        """Name and value with its interval, without a full stop."""
        found = f"{self.name[0].upper()}{self.name[1:]} {self.value:.2f}"
        if self.low is None or self.high is None:
            return found
        return f"{found} (95 % interval {self.low:.2f} to {self.high:.2f})"


def headline(metrics: Content) -> Result | None:
    """Return the one number of an analysis; None where it is not known."""
    if metrics.get("kind") not in HEADLINES:
        return None
    key, name, chance = HEADLINES[metrics["kind"]]
    value = metrics.get(key)
    if value is None:
        return None
    return Result(key, name, value, metrics.get(f"{key}_low"), metrics.get(f"{key}_high"), chance)


def sentence(words: str) -> str:
    """Return words as a sentence."""
    return f"{words[0].upper()}{words[1:].rstrip('.')}." if words else ""


def joined(names: Sequence[str]) -> str:
    """Return names as ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def some(names: Sequence[str], most: int = 8) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counts(metrics: Content) -> str:
    """Return the sizes of classes, or the events, after a colon; empty where there are none."""
    if "n_of_class" in metrics:
        sizes = dict(metrics["n_of_class"])
    elif "n_positive" in metrics:
        sizes = {metrics.get(name, name): metrics[f"n_{name}"] for name in ("positive", "negative")}
    else:
        return f": {metrics['n_events']} events" if "n_events" in metrics else ""
    return ": " + ", ".join(
        f"{n} with {name}" if name.isdigit() else f"{n} {name}" for name, n in sizes.items()
    )


def validation(metrics: Content) -> str:
    """Return how an analysis was validated."""
    if metrics["validation"] == "leave_one_group_out":
        return (
            f"nested cross-validation that left out each of {metrics['folds']} groups of "
            f"{metrics['groups']} once"
        )
    times = "once" if metrics["repeats"] == 1 else f"{metrics['repeats']} times"
    return f"nested cross-validation with {metrics['folds']} folds, {times}"


def partition(metrics: Content) -> str:
    """Return a sentence on how training and test data were kept apart."""
    who = "participant" if metrics["groups"] == "participant_id" else metrics["groups"]
    told = (
        f"{validation(metrics)}; all visits of one {who} were on one side of each split; imputation, scaling,"
    )
    told += " choice of features and tuning were learned from the training part alone"
    return sentence(f"{told}; seed {metrics['random_seed']}")


def held_out(metrics: Content, opened: Content) -> list[str]:
    """Return what is known of the locked hold-out, as sentences."""
    if not metrics.get("n_held_out"):
        return []
    if not opened:
        return [f"{metrics['n_held_out']} more participants were locked away: nothing here looked at them."]
    found = headline({"kind": metrics["kind"], **opened})
    told = [f"{opened['n']} participants were locked away until the model was done" + _result(found) + "."]
    if before := opened.get("OpenedBefore", 0):
        told.append(f"They had been opened {before} time(s) before.")
    return told


def _result(found: Result | None) -> str:
    return "" if found is None else f": {found.sentence}"


def measures(metrics: Content) -> str:
    """Return the names of the measures that there are."""
    return ", ".join(name for key, name in _MEASURES.items() if metrics.get(key) not in (None, []))


def alternatives(metrics: Content) -> list[dict[str, Any]]:
    """Return the models that stand beside that of the analysis."""
    return list(metrics.get("alternatives", ()))


def comparisons(metrics: Content) -> str:
    """Return the models beside that of the analysis, with the difference where it was tested."""
    measure = HEADLINES[metrics["kind"]][1] if metrics.get("kind") in HEADLINES else ""
    told = []
    for each in alternatives(metrics):
        words = f"{each['name']} ({each['features']}): {measure} {each['value']:.2f}"
        if each["p"] is not None:
            words += " (model better by {difference:.2f}, {low:.2f} to {high:.2f}, p = {p:.2g})".format(
                **each
            )
        told.append(words)
    return "; ".join(told)


def processing(stages: Mapping[str, Content]) -> str:
    """Return sentences on how images were processed, from the settings of the stages."""
    first, second = stages.get("preprocess", {}), stages.get("register", {})
    told = []
    if "bias_correction" in first:
        told.append(
            "bias field corrected by N4 (Tustison 2010)" if first["bias_correction"] else "no bias correction"
        )
    if "denoising" in first:
        told.append("denoised by non-local means" if first["denoising"] else "no denoising")
    if "brain_extraction" in first:
        told.append(f"brain extraction: {first['brain_extraction']}")
    if "normalisation" in second:
        told.append(f"intensity normalisation in the brain: {second['normalisation']}")
    if "transform" in second:
        told.append(
            f"other contrasts registered to the reference ({second['transform']}) and interpolated once"
        )
    return sentence(", ".join(told))


def image_types(types: Mapping[str, Content]) -> str:
    """Return image types with their settings."""
    return ", ".join(
        f"{name} ({', '.join(f'{key} {value}' for key, value in own.items())})" if own else name
        for name, own in types.items()
    )


def feature_software(features: Content) -> str:
    """Return a sentence on the software of the features; empty where it is not known."""
    if not features.get("software"):
        return ""
    flat = features.get("options", {}).get("force2D")
    space = "in 2D slices" if flat else "in 3D"
    if features.get("engine") == "mirp":
        agreement = "the reference implementation of IBSI (Zwanenburg 2024)"
    else:
        agreement = (
            "PyRadiomics (van Griethuysen 2017); its agreement with IBSI (Zwanenburg 2020) is "
            "measured in docs/ibsi.md"
        )
    return f"{features['software']}, {space}: {agreement}."
