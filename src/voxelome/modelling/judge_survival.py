"""How good held-out risks are."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.modelling.comparison import corrected_t_test
from voxelome.modelling.crossval import FoldResult
from voxelome.modelling.fold_bootstrap import LEVEL, widened
from voxelome.modelling.resampling import Estimate
from voxelome.modelling.scoring import Scored, mean_of
from voxelome.modelling.survival_brier import brier_score
from voxelome.modelling.survival_curves import kaplan_meier, log_rank
from voxelome.modelling.survival_metrics import (
    cross_validated_concordance,
    time_dependent_auc,
    uno_concordance,
)
from voxelome.modelling.visits import Cohort

C_METHOD = (
    "Harrell's C: share of pairs of participants, held out in one fold, of whom the one with the event has"
    " the higher risk by the fold's model, over all repeats. 95% interval: jackknife over participants"
)
_POINTS = 100


def concordance(scored: list[Scored], level: float = LEVEL) -> Estimate:
    """Return Harrell's C over pairs held out together, with its interval."""
    return cross_validated_concordance([(fold.who, fold.target, fold.prediction) for fold in scored], level)


def judge_survival(scored: list[Scored], target: NDArray[Any], level: float = LEVEL) -> dict[str, Any]:
    """Return the metrics of held-out risks.

    Parameters
    ----------
    scored : list of Scored
        Every fold of every repeat; `naive` is the median risk in training.
    target : structured ndarray, shape (n_participants,)
        Events and times.
    level : float
        As of :func:`voxelome.modelling.judge.judge`.
    """
    found = concordance(scored, level)
    known = bool(np.isfinite([found.low, found.high]).all())
    includes = "includes" if not known or found.low <= 0.5 <= found.high else "does not include"
    return {
        "n_events": int(target["event"].sum()),
        "c_index": found.value,
        "c_index_low": found.low if known else None,
        "c_index_high": found.high if known else None,
        "c_index_level": LEVEL,
        "c_index_method": C_METHOD + widened(level),
        **_groups(scored, target),
        "chance": f"The interval of the concordance {includes} 0.5, which is chance.",
    }


def judge_curves(
    cohort: Cohort, results: list[FoldResult], times: NDArray[np.float64], horizons: tuple[float, ...]
) -> dict[str, Any]:
    """Return how true held-out survival curves are, and how well risks order participants at certain times.

    Each is the mean over folds, and its interval that of the corrected resampled t-test: folds that hold out
    too few events tell nothing and are counted.

    Parameters
    ----------
    cohort : Cohort
        Events and times.
    results : list of FoldResult
        Folds of the model, with survival at `times`.
    times : ndarray, shape (n_times,)
        Ascending.
    horizons : tuple of float
        Times of the AUC; empty takes the quartiles of the times of events.
    """
    seen = cohort.target["time"][cohort.target["event"]]
    asked = np.array(horizons) if horizons else np.unique(np.quantile(seen, [0.25, 0.5, 0.75]))
    found: dict[str, list[float]] = {name: [] for name in ("uno", "brier", "baseline")}
    at: dict[float, list[float]] = {float(when): [] for when in asked}
    sizes = []
    for result in results:
        training = cohort.target[result.split.train]
        who, place = np.unique(cohort.participant[result.visits], return_inverse=True)
        y, risk = cohort.target[who], mean_of(place, result.prediction)
        assert result.survival is not None  # asked for of every fold of a survival
        sizes.append((len(result.split.train), len(result.split.test)))
        with suppress(DataError):
            score = brier_score(training, y, mean_of(place, result.survival), times)
            found["brier"].append(score.integrated)
            found["baseline"].append(score.integrated_baseline)
        with suppress(DataError):
            found["uno"].append(uno_concordance(training, y, risk, tau=float(times[-1])).value)
        for when, values in at.items():
            with suppress(DataError):
                values.append(time_dependent_auc(training, y, risk, [when]).estimates[0].value)
    train, test = np.mean(sizes, axis=0)
    return {
        **_over_folds("uno_c", found["uno"], train, test),
        "uno_c_until": float(times[-1]),
        **_over_folds("integrated_brier", found["brier"], train, test),
        "integrated_brier_of_kaplan_meier": float(np.mean(found["baseline"])) if found["baseline"] else None,
        "integrated_brier_from": float(times[0]),
        "integrated_brier_until": float(times[-1]),
        "time_dependent_auc": [
            {"time": when, **_over_folds("auc", values, train, test)} for when, values in at.items()
        ],
    }


def _over_folds(name: str, values: list[float], train: float, test: float) -> dict[str, float | None]:
    """Return the mean of a measure over folds and its interval; None where the folds do not tell."""
    known = np.array([value for value in values if np.isfinite(value)])
    if not len(known):
        return {name: None, f"{name}_low": None, f"{name}_high": None, f"{name}_folds": 0}
    mean: dict[str, float | None] = {name: float(known.mean()), f"{name}_folds": len(known)}
    if len(known) < 2 or np.ptp(known) == 0:
        return {**mean, f"{name}_low": None, f"{name}_high": None}
    difference = corrected_t_test(known, np.zeros(len(known)), train, test).difference
    return {**mean, f"{name}_low": difference.low, f"{name}_high": difference.high}


def _groups(scored: list[Scored], target: NDArray[Any]) -> dict[str, Any]:
    """Return survival of those whose risk is above the median of training in most repeats, and of the others.

    The groups come from models of several folds; the p of the log-rank test is therefore a description.
    """
    count = len(target)
    who = np.concatenate([fold.who for fold in scored])
    high = np.concatenate([fold.prediction > fold.naive for fold in scored])
    times = np.bincount(who, minlength=count)
    risky = np.bincount(who, high, count) > times / 2
    held_out = times > 0
    if risky[held_out].all() or not risky[held_out].any():
        return {"risk_groups": None}
    grid = np.linspace(0, float(target["time"].max()), _POINTS)
    curves: dict[str, Any] = {"time": grid.tolist()}
    for name, group in (("high", held_out & risky), ("low", held_out & ~risky)):
        # Behind the last follow-up of a group nothing is known of it.
        followed = grid <= target["time"][group].max()
        values = kaplan_meier(target[group]).at(grid[followed]).tolist()
        curves[name] = [*values, *[None] * int(np.sum(~followed))]
        curves[f"n_{name}"] = int(group.sum())
    test = log_rank(target[held_out], risky[held_out])
    return {"risk_groups": {**curves, "log_rank_p": float(test.p)}}
