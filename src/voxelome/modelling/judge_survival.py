"""How good held-out risks are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelome.modelling.resampling import Estimate
from voxelome.modelling.scoring import Scored
from voxelome.modelling.survival_curves import kaplan_meier, log_rank
from voxelome.modelling.survival_metrics import cross_validated_concordance

LEVEL = 0.95
C_METHOD = (
    "Harrell's C: share of pairs of participants, held out in one fold, of whom the one with the event has"
    " the higher risk by the fold's model, over all repeats. 95% interval: jackknife over participants; it"
    " does not include the variation between models trained on other participants."
)
_POINTS = 100


def concordance(scored: list[Scored]) -> Estimate:
    """Return Harrell's C over pairs held out together, with its interval."""
    return cross_validated_concordance([(fold.who, fold.target, fold.prediction) for fold in scored], LEVEL)


def judge_survival(scored: list[Scored], target: NDArray[Any]) -> dict[str, Any]:
    """Return the metrics of held-out risks.

    Parameters
    ----------
    scored : list of Scored
        Every fold of every repeat; `naive` is the median risk in training.
    target : structured ndarray, shape (n_participants,)
        Events and times.
    """
    found = concordance(scored)
    known = bool(np.isfinite([found.low, found.high]).all())
    includes = "includes" if not known or found.low <= 0.5 <= found.high else "does not include"
    return {
        "n_events": int(target["event"].sum()),
        "c_index": found.value,
        "c_index_low": found.low if known else None,
        "c_index_high": found.high if known else None,
        "c_index_level": LEVEL,
        "c_index_method": C_METHOD,
        **_groups(scored, target),
        "chance": f"The interval of the concordance {includes} 0.5, which is chance.",
    }


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
