"""Restricted maximum likelihood of linear models with a random intercept, for many responses at once.

The model of participant i is y_i = X_i b + u_i + e_i, with the variance s_u of u and s of e. In units of s
the covariance of its n_i visits is H_i = I + r J, where r = s_u / s and J is of ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from voxelome.imageio import Array
from voxelome.modelling.visit_sums import Sums

# The ratio of variances is looked for at _SCALE * sinh(t): evenly near 0, by its logarithm beyond.
_SCALE = 1e-3
_LARGEST = 1e9
_GRID = 40
# Halvings of a step of the grid until only rounding is left.
_HALVINGS = 54


class Fit(NamedTuple):
    """The models of m responses.

    Attributes
    ----------
    coefficient, variance, freedom : ndarray, shape (m, c)
        Of c contrasts: estimates, their variances, and Satterthwaite's degrees of freedom.
    between, within : ndarray, shape (m,)
        Variance of the participants and of the residuals.
    """

    coefficient: Array
    variance: Array
    freedom: Array
    between: Array
    within: Array


class _At(NamedTuple):
    """The likelihood at a ratio of variances for each of m responses.

    Attributes
    ----------
    weight : ndarray, shape (m, v)
        n / (1 + n r) of participants with n visits.
    inverse, change : ndarray, shape (m, k, k)
        Inverse of X' H^-1 X, and how fast X' H^-1 X shrinks with the ratio.
    coefficient : ndarray, shape (m, k)
        By generalised least squares.
    residual : ndarray, shape (m,)
        r' H^-1 r of the residuals r.
    means : ndarray, shape (m, v)
        Sums of squares of the participants' mean residuals.
    slope : ndarray, shape (m,)
        Of the deviance by the ratio, where the variance of the residuals is the best for the ratio.
    deviance : ndarray, shape (m,)
        Twice the negative restricted log likelihood there, up to a constant.
    """

    weight: Array
    inverse: Array
    change: Array
    coefficient: Array
    residual: Array
    means: Array
    slope: Array
    deviance: Array


def fit(known: Sums, contrasts: Array) -> Fit:
    """Return the models by restricted maximum likelihood, with the ratio of variances at least 0.

    Parameters
    ----------
    known : Sums
        Of m responses for which :func:`voxelome.modelling.visit_sums.estimable` holds.
    contrasts : ndarray, shape (m, c, k)
        Combinations of coefficients that are wanted.

    References
    ----------
    Fai and Cornelius (1996), Journal of Statistical Computation and Simulation 54:363-378.
    Kuznetsova, Brockhoff and Christensen (2017), Journal of Statistical Software 82(13).
    """
    ratio = _best_ratio(known)
    at = _evaluate(known, ratio)
    within = at.residual / (known.visits - contrasts.shape[2])
    unscaled = np.einsum("mcj,mjk,mck->mc", contrasts, at.inverse, contrasts)
    shrunk = np.einsum("mcj,mjk->mck", contrasts, at.inverse)
    growth = np.einsum("mcj,mjk,mck->mc", shrunk, at.change, shrunk)
    return Fit(
        np.einsum("mcj,mj->mc", contrasts, at.coefficient),
        within[:, None] * unscaled,
        _satterthwaite(known, at, ratio, within, unscaled, growth),
        ratio * within,
        within,
    )


def _best_ratio(known: Sums) -> Array:
    """Return the ratio of variances of the least deviance, shape (m,): the best of a grid, then bisection."""
    grid = np.linspace(0, np.arcsinh(_LARGEST / _SCALE), _GRID)
    ones = np.ones(len(known.visits))
    deviance = np.stack([_evaluate(known, _SCALE * np.sinh(t) * ones).deviance for t in grid])
    best = deviance.argmin(axis=0)
    low, high = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, _GRID - 1)]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        falling = _evaluate(known, _SCALE * np.sinh(middle)).slope < 0
        low, high = np.where(falling, middle, low), np.where(falling, high, middle)
    at_zero = (best == 0) & (_evaluate(known, np.zeros_like(ones)).slope >= 0)
    ratio: Array = np.where(at_zero, 0, _SCALE * np.sinh((low + high) / 2))
    return ratio


def _evaluate(known: Sums, ratio: Array) -> _At:
    """Return the likelihood at a ratio of variances for each response, shape (m,)."""
    size = np.arange(1, known.of_size.shape[1] + 1)
    # The mean of n visits that correlate counts as so many that do not.
    weight = size / (1 + np.multiply.outer(ratio, size))
    inner = known.within_xx + np.einsum("ms,msjk->mjk", weight, known.between_xx)
    product = known.within_xy + np.einsum("ms,msj->mj", weight, known.between_xy)
    inverse = np.linalg.inv(inner)
    coefficient = np.einsum("mjk,mk->mj", inverse, product)
    square = known.within_yy + (weight * known.between_yy).sum(axis=1)
    residual = square - (product * coefficient).sum(axis=1)
    means = (
        known.between_yy
        - 2 * np.einsum("msj,mj->ms", known.between_xy, coefficient)
        + np.einsum("mj,msjk,mk->ms", coefficient, known.between_xx, coefficient)
    )
    change = np.einsum("ms,msjk->mjk", weight**2, known.between_xx)
    trace = (known.of_size * weight).sum(axis=1) - np.einsum("mjk,mkj->m", inverse, change)
    free = known.visits - inner.shape[1]
    slope = trace - free * (weight**2 * means).sum(axis=1) / residual
    # log |H| is the sum of log(1 + n r), which is log(n / weight).
    size_of_h = (known.of_size * np.log(size / weight)).sum(axis=1)
    deviance = free * np.log(residual) + size_of_h + np.linalg.slogdet(inner)[1]
    return _At(weight, inverse, change, coefficient, residual, means, slope, deviance)


def _satterthwaite(
    known: Sums, at: _At, ratio: Array, within: Array, unscaled: Array, growth: Array
) -> Array:
    """Return the degrees of freedom of contrasts, shape (m, c).

    Twice the squared variance of a contrast by the variance of that variance, from the observed information
    on the ratio r and s. At a ratio of 0 the model is ordinary least squares and the degrees are n - k, as
    they are in lmerTest, whose parameter, the root of r, does not change the variance there.

    Parameters
    ----------
    known, at, ratio, within
        The fit, shape (m, ...).
    unscaled, growth : ndarray, shape (m, c)
        Variance of the contrasts in units of s, and its derivative by r.
    """
    w, B = at.weight, known.between_xx
    free = (known.visits - B.shape[2]).astype(np.float64)
    # Participants' mean residuals times the means of the design, summed.
    mixed = known.between_xy - np.einsum("msjk,mk->msj", B, at.coefficient)
    side = np.einsum("ms,msj->mj", w**2, mixed)
    first = -(w**2 * at.means).sum(axis=1)
    second = 2 * (w**3 * at.means).sum(axis=1) - 2 * np.einsum("mj,mjk,mk->m", side, at.inverse, side)
    cubic = np.einsum("ms,msjk->mjk", w**3, B)
    spread = at.inverse @ at.change
    curvature = -(
        (known.of_size * w**2).sum(axis=1)
        - 2 * np.einsum("mjk,mkj->m", at.inverse, cubic)
        + np.einsum("mjk,mkj->m", spread, spread)
    )
    # Half the second derivatives of the deviance: the information.
    of_ratio, of_both = (second / within + curvature) / 2, -first / within**2 / 2
    of_within = free / within**2 / 2
    determinant = of_ratio * of_within - of_both**2
    by_ratio, by_within = within[:, None] * growth, unscaled
    spread_of_variance = (
        by_ratio**2 * of_within[:, None]
        - 2 * by_ratio * by_within * of_both[:, None]
        + by_within**2 * of_ratio[:, None]
    ) / determinant[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = 2 * (within[:, None] * unscaled) ** 2 / spread_of_variance
    result: Array = np.where(ratio[:, None] == 0, free[:, None], freedom)
    return result
