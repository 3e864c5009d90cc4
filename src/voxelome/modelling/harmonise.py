"""Harmonisation of sites that is learned from training rows and applied to rows never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from voxelome.imageio import Array, MaskArray

Column = int | str
Prior = Literal["auto", "parametric", "nonparametric", "none"]
# Sites with so many rows need no other features to tell their shift (Johnson et al. made ComBat for fewer).
_ENOUGH_ROWS = 25
Unseen = Literal["refuse", "keep"]

# A variance, let alone one of each site, needs two.
_FEWEST_ROWS = 2
# Residuals smaller than that share of the values are what rounding left of nothing.
_ROUNDING = 1e-12
# The posterior variance only rises or only falls to its limit, mostly in a few steps.
_TOLERANCE = 1e-12
_MOST_STEPS = 10_000
# Pairs of features that are in memory at a time.
_BLOCK = 2**21


class ComBat(TransformerMixin, BaseEstimator):
    """Bring features that were measured at several sites to common means and variances (ComBat).

    The model of a feature is mean + effects of covariates + shift of the site + spread of the site x noise.
    Shifts and spreads are shrunk by empirical Bayes to what the other features of the site have; they are
    removed, and the covariates' effects are kept. All is learned in `fit`, so that in a cross-validation it
    is learned from training rows alone, and each row is then transformed on its own.

    The outcome is never given to it: `y` is not looked at, and the outcome must not be a covariate. To keep
    an effect, its covariate must be known of the row that is harmonised, which the outcome of a new patient
    is not; and where sites differ in the outcome, keeping it writes the outcome of the row into its features,
    so that a model finds it there again (Nygaard, Rødland and Hovig 2016). So what is not kept goes: where
    the outcome differs between sites, that part of its effect is removed with the sites'.

    A feature is returned as it is where there is nothing to scale: it is the same in all rows of one site, or
    follows from sites and covariates exactly; or too few of its values are known to tell the effects apart.
    So is everything if there was one site in training. Missing values remain missing.

    Parameters
    ----------
    site : int or str, optional
        Index of the column of `X` with the numbers of the sites, or its name where `X` is a DataFrame. It is
        not part of what `transform` returns. Without it `X` is passed through.
    covariates : sequence of int or str
        Columns whose linear effects are kept: numbers, classes as 0 and 1. They are returned as they are.
    prior : {"parametric", "nonparametric", "none", "auto"}
        "parametric": the shifts have a normal and the variances an inverse gamma prior. "nonparametric": both
        have the distribution found over the other features; that is for many features: one that has a shift
        like no other is given that of the nearest, however many rows there are (of 20 simulated features one
        kept a difference between sites of a standard deviation of its noise). "none": nothing is shrunk, so
        that no trace of the sites is left in the means of training. "auto": none where all sites have 25
        rows, else parametric. What shrinking leaves of a site in training has the other sign in new rows:
        where sites differ in the outcome a model learns it, and finds less than chance in noise.
    unseen : {"refuse", "keep"}
        What becomes of rows of a site that was not in training: an error, or they are returned as they are.
    minimum_site : int
        Fewest rows a site must have in training; at least 2.

    Attributes
    ----------
    sites_ : ndarray, shape (n_sites,)
        Numbers of the sites of training, ascending.
    features_ : ndarray of int, shape (n_harmonised,)
        Indices of the columns of `X` that are harmonised; the attributes below are in this order.
    mean_, scale_ : ndarray, shape (n_harmonised,)
        Mean over sites where covariates are 0, and standard deviation within sites.
    slope_ : ndarray, shape (n_covariates, n_harmonised)
        Effects of the covariates.
    shift_, spread_ : ndarray, shape (n_sites, n_harmonised)
        What a site adds to, and what it multiplies with, in units of `scale_`.

    References
    ----------
    Johnson, Li and Rabinovic (2007), Biostatistics 8:118-127.
    Fortin et al. (2018), NeuroImage 167:104-120.
    Pomponio et al. (2020), NeuroImage 208:116450; its application to new rows.
    Nygaard, Rødland and Hovig (2016), Biostatistics 17:29-39.
    """

    def __init__(
        self,
        site: Column | None = None,
        covariates: Sequence[Column] = (),
        prior: Prior = "parametric",
        unseen: Unseen = "refuse",
        minimum_site: int = _FEWEST_ROWS,
    ) -> None:
        self.site = site
        self.covariates = covariates
        self.prior = prior
        self.unseen = unseen
        self.minimum_site = minimum_site

    def fit(self, X: Any, y: Any = None) -> ComBat:
        """Learn the sites' effects from `X` (n_samples, n_columns); `y` is not looked at.

        Raises
        ------
        ValueError
            A site has too few rows, the number of a site or a covariate is missing, or the effects of the
            covariates cannot be told from those of the sites.
        """
        if self.unseen not in get_args(Unseen):
            raise ValueError(f"unseen is {self.unseen!r}, but must be one of {', '.join(get_args(Unseen))}")
        if self.prior not in get_args(Prior):
            raise ValueError(f"prior is {self.prior!r}, but must be one of {', '.join(get_args(Prior))}")
        if self.minimum_site < _FEWEST_ROWS:
            raise ValueError(f"minimum_site is {self.minimum_site}, but must be at least {_FEWEST_ROWS}")
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan")
        if self.site is not None:
            self._learn(X)
        return self

    def transform(self, X: Any) -> Array:
        """Return the columns of `X` but that of the site, harmonised, shape (n_samples, n_columns - 1).

        Raises
        ------
        ValueError
            A site was not in training and `unseen` is "refuse", or the number of a site or a covariate is
            missing.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        harmonised: Array = X.copy()
        if self.site is None:
            return harmonised
        site, covariates = self._known(X)
        seen = np.isin(site, self.sites_)
        if self.unseen == "refuse" and not seen.all():
            raise ValueError(f"not in training: {_listed(np.unique(site[~seen]))}")
        place = np.searchsorted(self.sites_, site[seen])
        expected = self.mean_ + covariates[seen] @ self.slope_
        noise = (X[np.ix_(seen, self.features_)] - expected) / self.scale_
        noise = (noise - self.shift_[place]) / self.spread_[place]
        harmonised[np.ix_(seen, self.features_)] = expected + noise * self.scale_
        return np.delete(harmonised, self._index(self.site), axis=1)

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """Return the names of all columns but that of the site."""
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        return names if self.site is None else np.delete(names, self._index(self.site))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _learn(self, X: Array) -> None:
        site, covariates = self._known(X)
        self.sites_, place, rows = np.unique(site, return_inverse=True, return_counts=True)
        if (rows < self.minimum_site).any():
            few = _listed(self.sites_[rows < self.minimum_site])
            raise ValueError(f"fewer than {self.minimum_site} rows in training: {few}")
        member = np.eye(len(self.sites_))[place]
        _refuse_confounded(member, covariates, [self._name(column) for column in self.covariates])
        used = [self._index(column) for column in (self.site, *self.covariates)]
        features = np.setdiff1d(np.arange(X.shape[1]), used)
        effects = _standardise(X[:, features], member, covariates)
        # One site has none to be brought to.
        harmonised = effects.determined & (len(self.sites_) > 1)
        self.features_ = features[harmonised]
        self.mean_, self.scale_ = effects.mean[harmonised], effects.scale[harmonised]
        self.slope_ = effects.slope[:, harmonised]
        prior = self.prior
        if prior == "auto":
            prior = "none" if rows.min() >= _ENOUGH_ROWS else "parametric"
        shrink = {"parametric": _parametric, "nonparametric": _nonparametric, "none": _as_found}[prior]
        self.shift_, self.spread_ = np.empty((2, len(self.sites_), len(self.features_)))
        for index in range(len(self.sites_)):
            sample = effects.samples[index].take(harmonised)
            # One feature has no others to be shrunk to.
            shift, variance = shrink(sample) if len(self.features_) > 1 else (sample.mean, sample.variance)
            self.shift_[index], self.spread_[index] = shift, np.sqrt(variance)

    def _known(self, X: Array) -> tuple[Array, Array]:
        """Return the numbers of the sites, shape (n,), and the covariates, shape (n, n_covariates)."""
        for column in (self.site, *self.covariates):
            if np.isnan(X[:, self._index(column)]).any():
                raise ValueError(f"{self._name(column)} has missing values, with which nothing is harmonised")
        return X[:, self._index(self.site)], X[:, [self._index(column) for column in self.covariates]]

    def _index(self, column: Any) -> int:
        names = list(getattr(self, "feature_names_in_", []))
        if column in (names if isinstance(column, str) else range(self.n_features_in_)):
            return names.index(column) if isinstance(column, str) else int(column)
        raise ValueError(f"X has no column {column!r}")

    def _name(self, column: Column | None) -> str:
        return column if isinstance(column, str) else f"column {column}"


@dataclass(frozen=True)
class _Sample:
    """What the rows of one site have of each feature, in standard deviations; all of shape (features,)."""

    count: Array
    mean: Array
    squares: Array  # sum of the squared deviations from the mean

    @property
    def variance(self) -> Array:
        variance: Array = self.squares / (self.count - 1)
        return variance

    def take(self, features: MaskArray) -> _Sample:
        """Return what it has of some features."""
        return _Sample(self.count[features], self.mean[features], self.squares[features])


@dataclass(frozen=True)
class _Effects:
    """Value = mean + slope x covariates + scale x what the sites have, of each feature."""

    mean: Array  # (features,)
    slope: Array  # (covariates, features)
    scale: Array  # (features,)
    samples: list[_Sample]  # of each site
    determined: MaskArray  # (features,): all is defined, and noise is left in each site


def _listed(sites: Array) -> str:
    """Return the numbers of sites as a text; whole numbers without a fraction."""
    return ", ".join(f"site {int(site) if site.is_integer() else site}" for site in sites)


def _rank(design: Array) -> int:
    return int(np.linalg.matrix_rank(_unit(design)[0]))


def _unit(design: Array) -> tuple[Array, Array]:
    """Return columns of length 1, for ranks that do not depend on units, and their lengths."""
    length = np.linalg.norm(design, axis=0)
    length[length == 0] = 1
    return design / length, length


def _refuse_confounded(member: Array, covariates: Array, names: list[str]) -> None:
    rows, sites = member.shape
    effects = sites + len(names)
    if rows <= effects:
        raise ValueError(
            f"{rows} training rows cannot tell {effects} effects of sites and covariates from noise"
        )
    if _rank(np.hstack([member, covariates])) == effects:
        return
    alone = [
        name
        for name, values in zip(names, covariates.T, strict=True)
        if _rank(np.column_stack([member, values])) == sites
    ]
    if alone:
        raise ValueError(
            f"confounded with the site: {', '.join(alone)} is the same in all training rows of each site, so"
            " that its effect cannot be told from the site's"
        )
    raise ValueError(
        f"confounded: the effects of {', '.join(names)} and of the site cannot be told apart in the training"
        " rows, as one covariate follows from the others and the site"
    )


def _standardise(values: Array, member: Array, covariates: Array) -> _Effects:
    """Return the effects on `values` (n, features) at the sites `member` (n, sites; 1 or 0)."""
    design = np.hstack([member, covariates])
    coefficients = _regress(values, design)
    sites = member.shape[1]
    known = ~np.isnan(values)
    count = member.T @ known
    # What is not defined divides 0 by 0 or is NaN already, and is not among what is determined.
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.sum(count * coefficients[:sites], axis=0) / count.sum(axis=0)
        residual = np.where(known, values - design @ coefficients, 0.0)
        scale = np.sqrt(np.sum(residual**2, axis=0) / count.sum(axis=0))
        shift = (coefficients[:sites] - mean) / scale
        squares = member.T @ residual**2 / scale**2
    noise = np.sqrt(member.T @ residual**2) > _ROUNDING * np.abs(np.where(known, values, 0.0)).max(axis=0)
    determined = (noise & _vary(values, member)).all(axis=0) & np.isfinite(coefficients).all(axis=0)
    samples = [_Sample(*parts) for parts in zip(count, shift, squares, strict=True)]
    return _Effects(mean, coefficients[sites:], scale, samples, determined)


def _regress(values: Array, design: Array) -> Array:
    """Return least-squares coefficients over the known values, shape (columns of design, features).

    They are NaN where the known values are too few to determine them.
    """
    coefficients = np.full((design.shape[1], values.shape[1]), np.nan)
    patterns, which = np.unique(~np.isnan(values), axis=1, return_inverse=True)
    for index, rows in enumerate(patterns.T):
        unit, length = _unit(design[rows])
        features = which == index
        if len(unit) > design.shape[1] == _rank(unit):
            solution = np.linalg.lstsq(unit, values[np.ix_(rows, features)])[0]
            coefficients[:, features] = solution / length[:, None]
    return coefficients


def _vary(values: Array, member: Array) -> MaskArray:
    """Return whether the known values of a feature differ within each site, shape (sites, features)."""
    # Where none is known, the largest is not larger than the smallest either.
    least, most = (np.where(np.isnan(values), extreme, values) for extreme in (np.inf, -np.inf))
    within = [rows > 0 for rows in member.T]
    return np.array([most[rows].max(axis=0) > least[rows].min(axis=0) for rows in within])


def _as_found(sample: _Sample) -> tuple[Array, Array]:
    """Return the shift and variance of each feature as they are in the sample."""
    return sample.mean, sample.variance


def _parametric(sample: _Sample) -> tuple[Array, Array]:
    """Return the posterior shift and variance of each feature, with priors fitted by their moments.

    The variance fulfils an equation with itself, as its shift depends on it. It is solved to the end: the
    implementations of ComBat stop at changes of 1e-4, over all features at once.
    """
    centre, width = sample.mean.mean(), sample.mean.var(ddof=1)
    prior, spread = sample.variance.mean(), sample.variance.var(ddof=1)
    variance = sample.variance
    for _ in range(_MOST_STEPS):
        before = variance
        # How far the shift leans from the mean of the sample to that of the prior.
        lean = variance / (width * sample.count + variance)
        squares = sample.squares + sample.count * (lean * (sample.mean - centre)) ** 2
        # The posterior of Johnson et al., above and below multiplied by `spread`, which may be 0.
        above = spread * (squares / 2 + prior) + prior**3
        variance = above / (spread * (sample.count / 2 + 1) + prior**2)
        if np.all(np.abs(variance - before) <= _TOLERANCE * before):
            break
    lean = variance / (width * sample.count + variance)
    return sample.mean + lean * (centre - sample.mean), variance


def _nonparametric(sample: _Sample) -> tuple[Array, Array]:
    """Return the posterior shift and variance, where the other features' pairs of both are the prior."""
    features = len(sample.mean)
    posterior = np.empty((2, features))
    step = max(1, _BLOCK // features)
    for start in range(0, features, step):
        block = np.arange(start, min(start + step, features))
        count, squares = sample.count[block, None], sample.squares[block, None]
        squares = squares + count * np.subtract.outer(sample.mean[block], sample.mean) ** 2
        # In logarithms: the likelihood of a hundred rows is too small for a number.
        likelihood = -(count * np.log(sample.variance) + squares / sample.variance) / 2
        likelihood[np.arange(len(block)), block] = -np.inf
        posterior[:, block] = (softmax(likelihood, axis=1) @ np.array([sample.mean, sample.variance]).T).T
    return posterior[0], posterior[1]
