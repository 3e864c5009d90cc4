"""Penalised linear models along a path of penalties, without a cross-validation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import expit, logit
from sklearn import config_context
from sklearn.linear_model import enet_path

from voxelome.imageio import Array
from voxelome.modelling.association import Outcome, best, martingale_residuals, unit_columns

# Penalties, from one under which no feature is left: those of glmnet, 100 down to a hundredth.
_PENALTIES = np.geomspace(1, 0.01, 100)[1:]
# Cox models come from scikit-survival, that many penalties at a time: few paths are walked to their end.
_STRIDE = 20


def within(X: Array, outcome: Outcome, l1_ratio: float, most: int) -> Array:
    """Return the coefficients, (n_models, n_features), as soon as `most` features are in, or before more.

    Where the first features to enter are more, all but the largest coefficients are 0.
    """
    scaled = unit_columns(X) * np.sqrt(len(X))
    most = min(most, int(scaled.any(axis=0).sum()))
    chosen: Array = np.zeros((1, X.shape[1]))
    for coefficients in _paths(scaled, outcome, l1_ratio):
        size = np.abs(coefficients).max(axis=0)
        count = np.count_nonzero(size)
        if count > most:
            return chosen if chosen.any() else np.where(best(size, most), coefficients, 0.0)
        chosen = coefficients
        if count == most:
            break
    return chosen


def _paths(X: Array, outcome: Outcome, l1_ratio: float) -> Iterator[Array]:
    """Give coefficients, (n_models, n_features), under ever lower penalties; nothing where none helps.

    `X` has columns with mean 0 and variance 1, or of zeros.
    """
    X = np.asfortranarray(X)
    if outcome.kind == "survival":
        yield from _cox_path(X, outcome, l1_ratio)
        return
    logistic = outcome.kind != "continuous"
    targets = [outcome.values]
    if logistic:
        # In a part of the cases there may be fewer classes than in all.
        labels = np.unique(outcome.values)
        targets = [outcome.values == label for label in (labels if len(labels) > 2 else labels[1:])]
    paths = [_path(X, target.astype(np.float64), l1_ratio, logistic) for target in targets]
    for coefficients in zip(*paths, strict=False):
        yield np.stack(coefficients)


def _path(X: Array, y: Array, l1_ratio: float, logistic: bool) -> Iterator[Array]:
    """Give coefficients (n_features,) of a linear or logistic regression under ever lower penalties.

    Under each, only features are looked at that may enter: those of the sequential strong rule of Tibshirani
    et al. (2012, Journal of the Royal Statistical Society B 74:245-266), and any that it missed.
    """
    coefficients = np.zeros(X.shape[1])
    margin = np.full(len(y), logit(y.mean()) if logistic else y.mean())
    slope = np.abs((y - y.mean()) @ X) / len(y)
    strongest = last = slope.max() / l1_ratio
    for penalty in strongest * _PENALTIES if strongest > 0 else ():
        held = (coefficients != 0) | (slope >= l1_ratio * (2 * penalty - last))
        missed = held
        while missed.any():
            columns = np.flatnonzero(held)
            coefficients[columns], margin = _newton(
                X[:, columns], y, coefficients[columns], margin, penalty, l1_ratio, logistic
            )
            slope = np.abs((y - (expit(margin) if logistic else margin)) @ X) / len(y)
            missed = ~held & (slope > l1_ratio * penalty * (1 + 1e-6))
            held |= missed
        last = penalty
        yield coefficients.copy()


def _newton(
    X: Array, y: Array, coefficients: Array, margin: Array, penalty: float, l1_ratio: float, logistic: bool
) -> tuple[Array, Array]:
    """Return the coefficients and linear predictors that minimise the penalised loss.

    The loss of a logistic regression is replaced by its expansion of second order, again and again.
    """
    for _ in range(25):
        mean = expit(margin) if logistic else margin
        # Where a case is certain its weight is none: the bound is glmnet's.
        weight = np.maximum(mean * (1 - mean), 1e-5) if logistic else np.ones(len(y))
        response = margin + (y - mean) / weight
        centre, level = weight @ X / weight.sum(), weight @ response / weight.sum()
        deviation, root = X - centre, np.sqrt(weight)
        # Checks of parameters that are never wrong would take most of the time.
        with config_context(skip_parameter_validation=True):
            coefficients = enet_path(
                np.asfortranarray(deviation * root[:, None]),
                (response - level) * root,
                l1_ratio=l1_ratio,
                alphas=[penalty],
                precompute=False,
                coef_init=coefficients,
                check_input=False,
                tol=1e-7,
                max_iter=10000,
            )[1][:, 0]
        before, margin = margin, level + deviation @ coefficients
        if not logistic or np.abs(margin - before).max() < 1e-5:
            break
    return coefficients, margin


def _cox_path(X: Array, outcome: Outcome, l1_ratio: float) -> Iterator[Array]:
    """Give coefficients (1, n_features) of a Cox model under ever lower penalties."""
    from sksurv.linear_model import CoxnetSurvivalAnalysis
    from sksurv.util import Surv

    y = Surv.from_arrays(outcome.event, outcome.values)
    strongest = np.abs(martingale_residuals(outcome) @ X).max() / len(X) / l1_ratio
    start, stride = 0, _STRIDE
    while strongest > 0 and start < len(_PENALTIES):
        penalties = strongest * _PENALTIES[start : start + stride]
        try:
            model = CoxnetSurvivalAnalysis(alphas=penalties, l1_ratio=l1_ratio).fit(X, y)
        except ArithmeticError:
            # Where the features order all cases rightly coefficients grow without bound: the path ends here.
            if stride == 1:
                return
            stride = 1
            continue
        yield from model.coef_.T[:, None, :]
        start += stride
