"""How good held-out predictions are, for each kind of outcome, with intervals that count participants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from voxelome.modelling import problems
from voxelome.modelling.calibration import recalibration
from voxelome.modelling.calibration_curve import calibration_error, calibration_groups
from voxelome.modelling.cox_snell import cox_snell_of_auc
from voxelome.modelling.fold_bootstrap import LEVEL, fold_bootstrap, widened
from voxelome.modelling.fold_measures import OF_CLASSES, OF_NUMBERS
from voxelome.modelling.judge_classes import has_pairs_of_classes, judge_classes, separation
from voxelome.modelling.judge_survival import concordance, judge_survival
from voxelome.modelling.metrics import auc_interval, cross_validated_auc, finite, pairs_of
from voxelome.modelling.net_benefit import decision_curve
from voxelome.modelling.resampling import Estimate
from voxelome.modelling.sample_size import events_per_variable, for_binary, for_continuous, for_survival
from voxelome.modelling.scoring import Scored
from voxelome.modelling.survival_outcome import read_survival
from voxelome.modelling.univariate_cox import single_cox
from voxelome.modelling.visits import Cohort

_RESAMPLES = 1000
AUC_METHOD = (
    "Share of pairs of a positive and a negative participant, held out in one fold, that the fold's model"
    " orders rightly, over all repeats. 95% interval: Newcombe (2006), method 5, with the number of"
    " participants"
)
R2_METHOD = (
    "Share of the squared error of the mean in training that the held-out predictions do away with; below 0"
    " the mean would have been better. 95% interval: bootstrap over participants"
)


def headline(kind: str, scored: list[Scored]) -> float:
    """Return the one number that models are compared by: AUC or concordance over folds, or R2."""
    if kind == problems.BINARY:
        return cross_validated_auc([(fold.target, fold.prediction) for fold in scored])
    if kind == problems.SURVIVAL:
        return concordance(scored).value
    if kind in problems.SEVERAL:
        return separation(kind, scored).value
    error, spread = _squares(scored)
    return float(1 - error.sum() / spread.sum())


def judge(
    kind: str,
    scored: list[Scored],
    target: NDArray[Any],
    seed: int,
    classes: tuple[str, ...] = (),
    *,
    level: float = LEVEL,
    group: NDArray[np.intp] | None = None,
) -> dict[str, Any]:
    """Return the metrics of held-out predictions, with intervals of 95 %.

    Parameters
    ----------
    kind : str
        ``binary``, ``multiclass``, ``ordinal``, ``continuous`` or ``survival``.
    scored : list of Scored
        Every fold of every repeat.
    target : ndarray, shape (n_participants,)
        Outcome.
    seed : int
        Of the bootstrap.
    classes : tuple of str
        Names of the classes, where there are several.
    level : float
        Confidence to ask of intervals for one given model, so that over folds it is 95 %
        (:func:`voxelome.modelling.fold_bootstrap.level_over_folds`).
    group : ndarray of int, shape (n_participants,), optional
        Participants with one number are alike: the bootstrap draws them together.
    """
    if kind == problems.SURVIVAL:
        return judge_survival(scored, target, level)
    if kind in problems.SEVERAL:
        return judge_classes(kind, scored, target, classes, seed, level)
    if kind == problems.BINARY:
        return _judge_binary(scored, target, seed, level, group)
    return _judge_number(scored, seed, level, group)


def _judge_binary(
    scored: list[Scored],
    truth: NDArray[np.bool_],
    seed: int,
    level: float,
    group: NDArray[np.intp] | None,
) -> dict[str, Any]:
    n_positive, n_negative = int(truth.sum()), int((~truth).sum())
    value = headline(problems.BINARY, scored)
    low, high = auc_interval(value, n_positive, n_negative, level)
    prevalence = n_positive / len(truth)
    chance = "includes" if low <= 0.5 <= high else "does not include"
    return {
        "n_positive": n_positive,
        "n_negative": n_negative,
        "auc": value,
        "auc_low": low,
        "auc_high": high,
        "auc_level": LEVEL,
        "auc_method": AUC_METHOD + widened(level),
        **_with_intervals(fold_bootstrap(scored, OF_CLASSES, _RESAMPLES, level, seed, group)),
        **_calibration(scored, truth, level),
        "brier_of_prevalence": prevalence * (1 - prevalence),
        "chance": f"The interval of the AUC {chance} 0.5, which is chance.",
    }


def _with_intervals(found: Mapping[str, Estimate]) -> dict[str, float | None]:
    """Return each measure and the ends of its interval, as JSON holds them."""
    every: dict[str, float | None] = {}
    for name, each in found.items():
        every |= {
            name: finite(each.value),
            f"{name}_low": finite(each.low),
            f"{name}_high": finite(each.high),
        }
    return every


def _calibration(scored: list[Scored], truth: NDArray[np.bool_], level: float) -> dict[str, Any]:
    """Return calibration and net benefit of participants' mean held-out probability."""
    probability = by_participant(scored, len(truth))
    held_out = np.isfinite(probability)
    positive, probability = truth[held_out], probability[held_out]
    found = recalibration(positive, probability, level)
    groups = calibration_groups(positive, probability, groups=min(10, max(2, len(positive) // 20)))
    error = calibration_error(positive, probability)
    thresholds = np.round(np.linspace(0.05, 0.95, 19), 2)
    curve = decision_curve(positive, probability, thresholds)
    return {
        **_with_intervals({"calibration_slope": found.slope, "calibration_in_the_large": found.in_the_large}),
        "integrated_calibration_index": finite(error.ici),
        "calibration_e90": finite(error.e90),
        "calibration": {
            "predicted": _listed(groups.predicted),
            "observed": _listed(groups.observed),
            "low": _listed(groups.low),
            "high": _listed(groups.high),
        },
        "decision_curve": {
            "threshold": _listed(curve.threshold),
            "model": _listed(curve.model),
            "treat_all": _listed(curve.treat_all),
        },
    }


def by_participant(scored: list[Scored], count: int) -> NDArray[np.float64]:
    """Return the mean held-out prediction of each participant, shape (count,); NaN if never held out."""
    who = np.concatenate([fold.who for fold in scored])
    total = np.bincount(who, np.concatenate([fold.prediction for fold in scored]), count)
    times = np.bincount(who, minlength=count)
    return np.where(times > 0, total / np.maximum(times, 1), np.nan)


def sample_size_of(cohort: Cohort, parameters: int, value: float, scored: list[Scored]) -> dict[str, Any]:
    """Return events for each candidate feature, and how many participants Riley's criteria ask for.

    Parameters
    ----------
    cohort : Cohort
        Outcome.
    parameters : int
        Candidate features, before any selection.
    value : float
        AUC or R2 that was reached.
    scored : list of Scored
        What was held out; for survival it tells the share explained.
    """
    target = cohort.target
    if cohort.kind == problems.BINARY:
        prevalence = float(np.mean(target))
        events = int(target.sum())
        per_variable = events_per_variable(events, len(target) - events, parameters)
        if not 0.5 < value < 1:
            return {"events_per_variable": per_variable, "needed": None, "sentence": _not_sized(value)}
        needed = for_binary(parameters, cox_snell_of_auc(value, prevalence), prevalence)
    elif cohort.kind == problems.SURVIVAL:
        return _survival_size(scored, target, parameters)
    elif cohort.kind in problems.SEVERAL:
        fewest = int(np.bincount(target).min())
        sentence = f"The rarest class has {fewest} participants for {parameters} candidate features."
        return {"events_per_variable": fewest / parameters, "needed": None, "sentence": sentence}
    else:
        per_variable = len(target) / parameters
        if not 0 < value < 1:
            return {"events_per_variable": per_variable, "needed": None, "sentence": _not_sized(value)}
        needed = for_continuous(parameters, value, float(np.mean(target)), float(np.std(target, ddof=1)))
    return {"events_per_variable": per_variable, "needed": needed.minimum, "sentence": needed.sentence}


def _survival_size(scored: list[Scored], target: Any, parameters: int) -> dict[str, Any]:
    """Return events for each candidate feature, and Riley's criteria by the R2 of the held-out risk.

    Risks are in standard deviations of their fold, as those of different models have no common unit; R2 is
    that of Cox and Snell for the model with this risk alone. Risk is wanted at the median follow-up.
    """
    events = int(target["event"].sum())
    found: dict[str, Any] = {"events_per_variable": events / parameters, "needed": None}
    unit = [replace(fold, prediction=_standardised(fold.prediction)) for fold in scored]
    risk = by_participant(unit, len(target))
    held_out = np.isfinite(risk)
    alone = single_cox(risk[held_out, None], read_survival(target[held_out]))
    explained = 1 - np.exp(-chi2.isf(alone.p[0], 1) / held_out.sum())
    if not (alone.coefficient[0] > 0 and 0 < explained < 1):
        return {**found, "sentence": f"{events} events. {_not_sized(0.0)}"}
    time = target["time"]
    rate, follow_up = events / float(time.sum()), float(time.mean())
    needed = for_survival(parameters, float(explained), rate, float(np.median(time)), follow_up)
    return {**found, "needed": needed.minimum, "sentence": needed.sentence}


def _standardised(risk: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = risk.std()
    return np.zeros_like(risk) if spread == 0 else (risk - risk.mean()) / spread


def _not_sized(value: float) -> str:
    """Say why the criteria do not apply: they rest on the share of the outcome that a model explains."""
    why = "makes no error" if value >= 1 else "explains nothing"
    return f"The model {why} here, so that no sample size can be planned from it."


def _listed(values: NDArray[np.float64]) -> list[float | None]:
    return [finite(float(value)) for value in values]


def _judge_number(
    scored: list[Scored], seed: int, level: float, group: NDArray[np.intp] | None
) -> dict[str, Any]:
    found = fold_bootstrap(scored, OF_NUMBERS, _RESAMPLES, level, seed, group)
    _, spread = _squares(scored)
    truth, predicted = (
        np.concatenate(parts)
        for parts in zip(*((fold.target, fold.prediction) for fold in scored), strict=True)
    )
    varies = np.ptp(predicted) > 0
    includes = "includes" if found["r2"].low <= 0 <= found["r2"].high else "does not include"
    return {
        **_with_intervals(found),
        "r2_level": LEVEL,
        "r2_method": R2_METHOD + widened(level),
        "rmse_of_mean": float(np.sqrt(spread.mean())),
        "correlation": float(np.corrcoef(truth, predicted)[0, 1]) if varies else None,
        "calibration_slope": float(np.polyfit(predicted, truth, 1)[0]) if varies else None,
        "chance": f"The interval of R2 {includes} 0, which the mean of the others reaches.",
    }


def _squares(scored: list[Scored]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return squared errors of the model and of the mean in training, averaged by participant."""
    who = np.concatenate([fold.who for fold in scored])
    error = np.concatenate([(fold.target - fold.prediction) ** 2 for fold in scored])
    spread = np.concatenate([(fold.target - fold.naive) ** 2 for fold in scored])
    times = np.bincount(who)
    held_out = times > 0
    return (
        (np.bincount(who, error)[held_out] / times[held_out]),
        (np.bincount(who, spread)[held_out] / times[held_out]),
    )


def has_pairs(kind: str, scored: list[Scored]) -> bool:
    """Return whether the folds hold out anything that can be judged."""
    if kind == problems.SURVIVAL:
        return any(problems.comparable(fold.target) for fold in scored)
    if kind in problems.SEVERAL:
        return has_pairs_of_classes(scored, kind)
    return kind != problems.BINARY or any(pairs_of(fold.target) for fold in scored)
