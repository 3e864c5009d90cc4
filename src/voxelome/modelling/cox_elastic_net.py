"""Cox's proportional hazards with an elastic net, for many features and few cases."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
from sksurv.linear_model import CoxnetSurvivalAnalysis

from voxelome.imageio import Array, MaskArray
from voxelome.modelling.association import Outcome, martingale_residuals, unit_columns
from voxelome.modelling.cox import breslow, partial_log_likelihood, survival_probability
from voxelome.modelling.survival_outcome import balanced_folds, read_survival, survival_outcome
from voxelome.modelling.survival_pairs import harrell_pairs

Criterion = Literal["deviance", "concordance"]
# With the default of scikit-survival, risks depend on the path by a thousandth of their spread.
_TOLERANCE = 1e-8


class CoxElasticNet(BaseEstimator):
    """Cox's proportional hazards with an elastic net, whose mixture and strength inner folds choose.

    Features are standardised; those that are constant where a model is fitted have no coefficient in it.
    Where the penalty is so small that the fit breaks down, the path of penalties ends before it, and a
    ConvergenceWarning says so.

    Parameters
    ----------
    l1_ratio : float or sequence of float
        Share of the lasso in the penalty, above 0, at most 1; of several the inner folds choose one. The
        least by default is all but a ridge: correlated features that all tell a little share the weight.
    folds : int
        Number of inner folds, at most.
    criterion : {"deviance", "concordance"}
        What is best in inner folds: the partial likelihood of all cases less that of the cases that were
        not held out, or Harrell's C of pairs of cases that were held out together. Of penalties that do
        equally well the largest is taken.
    penalties : int
        Number of penalties, from the one under which no feature is left.
    least_ratio : float
        The least of the penalties by the largest.
    max_iter : int
        Iterations of a path.
    seed : int
        Of the inner folds.

    Attributes
    ----------
    l1_ratios_ : ndarray, shape (ratios,)
        Shares of the lasso tried.
    penalties_, scores_ : ndarray, shape (ratios, penalties)
        Penalties, descending, and the criterion of each, of which more is better.
    l1_ratio_, penalty_ : float
        Those chosen.
    coef_, centre_ : ndarray, shape (n_features_in_,)
        The log hazard ratio of `X` is ``(X - centre_) @ coef_``. All are 0 where no feature helps.
    event_times_, baseline_hazard_ : ndarray
        When the cumulative hazard of a case with the log hazard ratio 0 steps up, and to what.

    References
    ----------
    Simon, Friedman, Hastie and Tibshirani (2011), Journal of Statistical Software 39(5):1-13.
    Verweij and van Houwelingen (1993), Statistics in Medicine 12:2305-2314; cross-validated likelihood.
    """

    def __init__(
        self,
        l1_ratio: float | Sequence[float] = (0.02, 0.1, 0.5, 0.9),
        folds: int = 5,
        criterion: Criterion = "deviance",
        penalties: int = 50,
        least_ratio: float = 0.05,
        max_iter: int = 100000,
        seed: int = 0,
    ) -> None:
        self.l1_ratio = l1_ratio
        self.folds = folds
        self.criterion = criterion
        self.penalties = penalties
        self.least_ratio = least_ratio
        self.max_iter = max_iter
        self.seed = seed

    def fit(self, X: Any, y: Any) -> CoxElasticNet:
        """Learn from `X` (n_samples, n_features) and the survival `y` (n_samples,).

        Raises
        ------
        ValueError
            A setting is not possible, or no feature varies.
        DataError
            There are fewer than two events, or times that cannot be.
        """
        self._check_settings()
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=3)
        check_consistent_length(X, y)
        outcome = read_survival(y, least_events=2)
        if not np.any(X.max(axis=0) > X.min(axis=0)):
            raise ValueError("no feature varies")
        self.l1_ratios_ = np.atleast_1d(np.asarray(self.l1_ratio, dtype=np.float64))
        self.penalties_ = np.stack([self._penalties(X, outcome, ratio) for ratio in self.l1_ratios_])
        fold = balanced_folds(outcome, min(self.folds, len(X)), self.seed)
        tried = zip(self.l1_ratios_, self.penalties_, strict=True)
        self.scores_ = np.stack([self._held_out(X, outcome, fold, *each) for each in tried])
        mixture, strength = np.unravel_index(np.argmax(self.scores_), self.scores_.shape)
        self.l1_ratio_ = float(self.l1_ratios_[mixture])
        self.penalty_ = float(self.penalties_[mixture, strength])
        path = self._path(X, outcome, self.l1_ratio_, self.penalties_[mixture])
        self.coef_, self.centre_ = path[:, strength], X.mean(axis=0)
        self.event_times_, self.baseline_hazard_ = breslow((X - self.centre_) @ self.coef_, outcome)
        return self

    def predict(self, X: Any) -> Any:
        """Return the log hazard ratio of each case, shape (n,); higher is earlier."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return (X - self.centre_) @ self.coef_

    def predict_survival(self, X: Any, times: Any) -> Any:
        """Return the probability of no event until each time, shape (n, len(times))."""
        predictor = self.predict(X)
        return survival_probability(self.event_times_, self.baseline_hazard_, predictor, times)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def _check_settings(self) -> None:
        if self.criterion not in get_args(Criterion):
            raise ValueError(f"criterion is {self.criterion!r}, but must be one of {get_args(Criterion)}")
        ratios = np.atleast_1d(self.l1_ratio)
        if not (len(ratios) and np.all(ratios > 0) and np.all(ratios <= 1)):
            raise ValueError(f"l1_ratio is {self.l1_ratio}, but must be above 0 and at most 1")
        if not 0 < self.least_ratio < 1 or self.penalties < 2 or self.folds < 2:
            raise ValueError(f"{self} needs least_ratio in (0, 1), and at least 2 penalties and folds")

    def _held_out(self, X: Array, outcome: Outcome, fold: Array, ratio: float, penalties: Array) -> Array:
        """Return the criterion of each penalty over the folds, shape (penalties,)."""
        gained, possible = np.zeros(len(penalties)), 0
        judged = _likelihood if self.criterion == "deviance" else _ordered
        for held in (fold == number for number in np.unique(fold)):
            path = self._path(X[~held], outcome.take(~held), ratio, penalties)
            more, of = judged(X @ path, outcome, held)
            gained, possible = gained + more, possible + of
        return gained / max(possible, 1)

    def _penalties(self, X: Array, outcome: Outcome, ratio: float) -> Array:
        """Return penalties from the one under which no feature is left: from the slope of the likelihood."""
        slope = np.sqrt(len(X)) * np.abs(martingale_residuals(outcome) @ unit_columns(X)).max() / len(X)
        largest = slope / ratio or 1.0
        return np.geomspace(largest, self.least_ratio * largest, self.penalties)

    def _path(self, X: Array, outcome: Outcome, ratio: float, penalties: Array) -> Array:
        """Return coefficients, shape (n_features, penalties), of features that vary; 0 of the others."""
        coef, varying = np.zeros((X.shape[1], len(penalties))), X.max(axis=0) > X.min(axis=0)
        if varying.any():
            unit = unit_columns(X[:, varying]) * np.sqrt(len(X))
            found = self._walk(unit, survival_outcome(outcome.event, outcome.values), ratio, penalties)
            coef[varying] = found / X[:, varying].std(axis=0)[:, None]
        return coef

    def _walk(self, unit: Array, y: NDArray[Any], ratio: float, penalties: Array) -> Array:
        """Return coefficients under each penalty; where the fit breaks down, the last ones are repeated.

        scikit-survival ends a path where the likelihood hardly grows, and takes that to be so wherever the
        deviance explained is negative, as with tied times it is at first: what it left is asked again.
        """
        parts: list[Array] = []
        done, end = 0, len(penalties)
        while done < end:
            model = CoxnetSurvivalAnalysis(
                alphas=penalties[done:end], l1_ratio=ratio, max_iter=self.max_iter, tol=_TOLERANCE
            )
            try:
                with warnings.catch_warnings():
                    # Where no feature helps, that is the answer.
                    warnings.filterwarnings("ignore", message="all coefficients are zero")
                    parts.append(model.fit(unit, y).coef_)
            except ArithmeticError:
                if end == 1:
                    raise
                end = done + (end - done) * 3 // 4
            else:
                done += parts[-1].shape[1]
        found = np.concatenate(parts, axis=1)
        if end < len(penalties):
            warnings.warn(
                f"the fit breaks down below a penalty of {penalties[end - 1]:.3g}, where the path now ends",
                ConvergenceWarning,
                stacklevel=2,
            )
        coef: Array = np.pad(found, ((0, 0), (0, len(penalties) - found.shape[1])), mode="edge")
        return coef


def _likelihood(predictor: Array, outcome: Outcome, held: MaskArray) -> tuple[Array, int]:
    """Return the log partial likelihood of all less that of the rest, shape (penalties,), and the events."""
    others = partial_log_likelihood(predictor[~held], outcome.take(~held))
    return partial_log_likelihood(predictor, outcome) - others, int(outcome.event[held].sum())


def _ordered(predictor: Array, outcome: Outcome, held: MaskArray) -> tuple[Array, int]:
    """Return the pairs of cases held out that are in the right order, shape (penalties,), and all of them."""
    rest = outcome.take(held)
    pairs = [harrell_pairs(rest, risk) for risk in predictor[held].T]
    return np.array([each.right.sum() for each in pairs]), int(pairs[0].compared.sum())
