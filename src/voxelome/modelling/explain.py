"""What a fitted model makes of clusters of features, asked by changing what it is given.

Only its predictions are used, so that all models can be asked. Permuting one of many features that say the
same shows nothing, as the model has the others: clusters are changed as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Gets values, shape (n, n_features), and returns a prediction of each, shape (n,) or (n, n_classes).
Predict = Callable[[Array], Array]
# Numbers in one call of `predict` at a time: 64 MB.
_AT_A_TIME = 2**23


def stacked_predictions(predict: Predict, copies: Iterator[Array], rows: int, columns: int) -> Array:
    """Return the predictions of changed copies of a table, shape (n_copies, rows, ...), many in one call.

    A forest takes nearly as long for ten cases as for a thousand.

    Parameters
    ----------
    predict : callable
        See `Predict`.
    copies : iterator of ndarray, shape (rows, columns)
        The copies.
    rows, columns : int
        Their shape.
    """
    together = max(1, _AT_A_TIME // max(1, rows * columns))
    found: list[Array] = []
    waiting: list[Array] = []

    def flush() -> None:
        if waiting:
            predicted = np.asarray(predict(np.concatenate(waiting)), dtype=np.float64)
            found.append(predicted.reshape(len(waiting), rows, *predicted.shape[1:]))
            waiting.clear()

    for copy in copies:
        waiting.append(copy)
        if len(waiting) == together:
            flush()
    flush()
    return np.concatenate(found)


def permuted_predictions(
    predict: Predict, values: Array, labels: NDArray[np.intp], repeats: int, seed: int
) -> Array:
    """Return predictions where the features of a cluster are dealt out anew among the cases, together.

    Parameters
    ----------
    predict : callable
        See `Predict`.
    values : ndarray, shape (n, n_features)
        Cases that the model has not seen.
    labels : ndarray of int, shape (n_features,)
        Cluster of each feature, from 0.
    repeats : int
        How often each cluster is permuted.
    seed : int
        Of the permutations, which are the same for all clusters.

    Returns
    -------
    ndarray, shape (n_clusters, repeats, n) or (n_clusters, repeats, n, n_classes)

    References
    ----------
    Breiman (2001), Machine Learning 45:5-32. Fisher, Rudin and Dominici (2019), Journal of Machine Learning
    Research 20(177):1-81.
    """
    clusters = int(labels.max()) + 1
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(values)) for _ in range(repeats)]

    def copies() -> Iterator[Array]:
        for cluster in range(clusters):
            columns = np.flatnonzero(labels == cluster)
            for order in orders:
                copy = values.copy()
                copy[:, columns] = values[np.ix_(order, columns)]
                yield copy

    found = stacked_predictions(predict, copies(), *values.shape)
    return np.asarray(found.reshape(clusters, repeats, *found.shape[1:]), dtype=np.float64)


class Contributions(NamedTuple):
    """What each cluster adds to the prediction of each case.

    Attributes
    ----------
    values : ndarray, shape (n, n_players)
        They and the expected prediction sum to the prediction.
    error : ndarray, shape (n, n_players)
        Standard error of the sampling.
    expected : ndarray, shape (n,)
        Mean prediction of the background, with what the case has in columns of no player.
    """

    values: Array
    error: Array
    expected: Array


def shapley_values(
    predict: Predict,
    values: Array,
    background: Array,
    players: Sequence[NDArray[np.intp]],
    permutations: int = 24,
    seed: int = 0,
) -> Contributions:
    """Return Shapley values of groups of features, sampled.

    The worth of a set of players is the mean prediction of cases whose features of that set are the case's
    own and the others those of cases of the background (the interventional expectation of Lundberg and Lee
    2017, NeurIPS 30). Players come in by an order drawn by lot and then in its reverse, which halves the
    variance. Each order takes another case of the background. What the contributions of a case sum to is off
    by what the cases of the background taken differ from all; it is dealt out by the variance of the
    sampling, so that the sum is exact and a player that the model does not use adds nothing.

    Parameters
    ----------
    predict : callable
        See `Predict`.
    values : ndarray, shape (n, n_features)
        Cases to explain, that the model has not seen.
    background : ndarray, shape (m, n_features)
        Cases of training.
    players : sequence of ndarray of int
        Features of each player, none twice. Columns of no player keep what the case has.
    permutations : int
        Orders drawn; each is used both ways. With as many as cases of the background, all of these are used.
    seed : int
        Of the orders and of the cases of the background.

    References
    ----------
    Strumbelj and Kononenko (2014), Knowledge and Information Systems 41:647-665. Mitchell, Cooper, Frank and
    Holmes (2022), Journal of Machine Learning Research 23(43):1-46; antithetic sampling.
    """
    rng = np.random.default_rng(seed)
    n, count, played = len(values), len(players), np.concatenate(list(players))
    orders = [rng.permutation(count) for _ in range(permutations)]
    orders = [order for drawn in orders for order in (drawn, drawn[::-1])]
    # Each order and its reverse share a case, without replacement as long as there are enough.
    cycles = [rng.permutation(len(background)) for _ in range(-(-permutations // len(background)))]
    taken = np.repeat(np.concatenate(cycles)[:permutations], 2)

    def copies() -> Iterator[Array]:
        for order, case in zip(orders, taken, strict=True):
            mixed = values.copy()
            mixed[:, played] = background[case, played]
            yield mixed.copy()
            for player in order:
                mixed[:, players[player]] = values[:, players[player]]
                yield mixed.copy()

    found = stacked_predictions(predict, copies(), *values.shape).reshape(len(orders), count + 1, n)
    steps = np.diff(found, axis=1)
    added = np.empty((len(orders), n, count))
    for place, order in enumerate(orders):
        added[place][:, order] = steps[place].T
    # An order and its reverse are one draw.
    pairs = added.reshape(permutations, 2, n, count).mean(axis=1)
    mean = pairs.mean(axis=0)
    error = (
        pairs.std(axis=0, ddof=1) / np.sqrt(permutations) if permutations > 1 else np.full_like(mean, np.nan)
    )
    expected = _expected(predict, values, background, played)
    missing = found[0, -1] - expected - mean.sum(axis=1)
    total = np.sum(error**2, axis=1, keepdims=True)
    share = np.divide(error**2, total, out=np.full_like(mean, 1 / count), where=total > 0)
    return Contributions(mean + missing[:, None] * share, error, expected)


def _expected(predict: Predict, values: Array, background: Array, played: NDArray[np.intp]) -> Array:
    """Return the mean prediction of the background with each case's columns of no player, shape (n,)."""
    kept = np.setdiff1d(np.arange(values.shape[1]), played)
    if len(kept) == 0:
        return np.full(len(values), np.mean(predict(background)))
    # Such as sites, which are few.
    kinds, of_case = np.unique(values[:, kept], axis=0, return_inverse=True)
    means = []
    for kind in kinds:
        given = background.copy()
        given[:, kept] = kind
        means.append(float(np.mean(predict(given))))
    return np.array(means)[of_case]


class Dependence(NamedTuple):
    """Prediction against one feature, the others as they are.

    Attributes
    ----------
    grid : ndarray, shape (n_points,)
        Values of the feature.
    mean, low, high : ndarray, shape (n_points,)
        Mean prediction over cases, and quartiles of those of single cases about their own mean.
    """

    grid: Array
    mean: Array
    low: Array
    high: Array


def partial_dependence(predict: Predict, values: Array, column: int, points: int = 20) -> Dependence:
    """Return the partial dependence on a feature between its 5th and 95th percentile (Friedman 2001).

    Parameters
    ----------
    predict : callable
        See `Predict`.
    values : ndarray, shape (n, n_features)
        Cases.
    column : int
        The feature; missing values of it are set as well.
    points : int
        Points of the grid, at most: as many as quantiles differ.

    References
    ----------
    Friedman (2001), Annals of Statistics 29:1189-1232. Goldstein et al. (2015), Journal of Computational and
    Graphical Statistics 24:44-65; single cases, centred.
    """
    # Values that occur: between those of a class a model tells nothing.
    quantiles = np.linspace(0.05, 0.95, points)
    grid = np.unique(np.nanquantile(values[:, column], quantiles, method="inverted_cdf"))

    def copies() -> Iterator[Array]:
        for value in grid:
            copy = values.copy()
            copy[:, column] = value
            yield copy

    each = stacked_predictions(predict, copies(), *values.shape)
    mean = each.mean(axis=1)
    spread = np.quantile(each - each.mean(axis=0), [0.25, 0.75], axis=1) + mean.mean()
    return Dependence(grid, mean, spread[0], spread[1])
