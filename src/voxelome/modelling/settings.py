"""One analysis as the user asks for it, checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np

from voxelome.errors import DataError, suggest
from voxelome.modelling.families import COMBINED, ENSEMBLE, FAMILIES, FILTERS, SELECTIONS

KINDS = tuple(FAMILIES)
BALANCES = ("none", "weights", "undersample", "oversample", "smote")
MODELS = (*COMBINED, *dict.fromkeys(name for known in FAMILIES.values() for name in known))
VALIDATIONS = ("kfold", "leave_one_group_out")
NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class AnalysisSettings:
    """What to predict from what, and how to validate it.

    Attributes
    ----------
    name : str
        Name of the analysis and of its folder.
    outcome : str
        Column of participants.tsv to predict.
    kind : str
        Type of outcome: "binary", "multiclass" (more than two classes), "ordinal" (these in an order),
        "continuous" or "survival" (`outcome` is then whether the event was seen).
    order : tuple of str
        For ordinal, the classes from low to high; empty takes the order of numbers and letters.
    time : str or None
        For survival, the column with the time to the event or to the end of the follow-up.
    positive : str or None
        Class whose probability is predicted; None takes the last in order.
    model : str
        "ensemble" (the average of several families), "stacked" (their weighted mean, weights learned on inner
        folds), or one of the families of the kind.
    features, exclude : tuple of str
        Patterns (``*``, ``?``, ``[...]``) of the features to offer, and of those not to.
    covariates : tuple of str
        Columns of participants.tsv to offer as features too.
    outer_folds, repeats, inner_folds : int
        Folds of the validation, how often it is done with other folds, and folds that choose the penalty.
    filters : tuple of str
        What leaves out features of all models first, without the outcome, in this order:
        "near_zero_variance", "correlation" (of features whose ranks correlate above 0.9 those that correlate
        least with all stay).
    selection : str
        How models that take few features choose them: "uncorrelated" (the best by a univariate test of which
        none repeats another), "fdr", "mrmr", "penalty" (LASSO), "stability" or "boruta".
    selected_features : int
        Largest number of features in a model.
    validation : str
        "kfold", or "leave_one_group_out": each group of `groups` (a site, say) is held out once.
    where : mapping
        Which participants, by column of participants.tsv: a value, several values, or {min: , max: }.
    hold_out : mapping
        Participants, as in `where`, who are locked away: nothing looks at them until
        `voxelome-tools hold-out` opens them, once.
    visits : str
        Rows of the table: "all" visits (a participant's prediction is the mean of its visits'), the "first",
        the "last", or the "mean" of the features of all.
    visit_time : str or None
        Column of sessions.tsv (or participants.tsv) with the time of a visit, a number or a date.
    harmonise : str or None
        Column of participants.tsv with the site, whose effects ComBat learns and removes inside the folds.
    harmonise_keep : tuple of str
        Covariates whose effects ComBat keeps.
    harmonise_prior : str
        How ComBat shrinks the effects of a site to those of other features: "parametric" or "nonparametric"
        empirical Bayes, "none", or "auto" (none where all sites have 25 participants in training).
    unseen_site : str
        "refuse", or "keep": participants of a site that was not in training are not harmonised.
    standard_scale : tuple of str
        Images, by name or pattern, whose percentiles of regions are brought to a standard scale (Nyul), which
        is learned inside the folds.
    minimum_reliability : float
        Features are offered whose ICC(1,1) over perturbations, in the training participants, is at least so
        high; 0 offers all.
    groups : str
        Column of participants.tsv whose members are never split between training and test.
    search : str
        How the settings of a model are chosen by the inner folds: "grid" (few, fixed), "random" (drawn), or
        "halving" (drawn, the worse of them given up early).
    trials : int
        Settings drawn for each family of models.
    search_seconds : float or None
        Time for the search of a family in a fold, beyond which it takes the best so far.
    balance : str
        How classes of unequal size are balanced in training: "none", "weights", "undersample", "oversample"
        or "smote"; probabilities are set back to the prevalence.
    learning_curve : tuple of float
        Shares of the training participants to validate with as well.
    bootstrap : int
        Draws of the .632+ estimate of the AUC; 0 for none.
    horizons : tuple of float
        For survival, times at which the AUC is told; empty takes the quartiles of the times of events.
    explain : bool
        Whether to tell what the model makes of clusters of features in participants it has not seen.
    permutations : int
        How often the whole pipeline is validated with the outcome dealt out at random.
    jobs : int
        Jobs among which the workflow deals out the folds.
    random_seed : int
        Seed of the folds and of the solver.
    """

    name: str
    outcome: str
    kind: str = "binary"
    order: tuple[str, ...] = ()
    time: str | None = None
    positive: str | None = None
    model: str = ENSEMBLE
    features: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    outer_folds: int = 5
    repeats: int = 5
    inner_folds: int = 3
    filters: tuple[str, ...] = ()
    selection: str = "uncorrelated"
    selected_features: int = 10
    where: Mapping[str, Any] = field(default_factory=dict)
    hold_out: Mapping[str, Any] = field(default_factory=dict)
    visits: Literal["all", "first", "last", "mean"] = "all"
    visit_time: str | None = None
    harmonise: str | None = None
    harmonise_keep: tuple[str, ...] = ()
    harmonise_prior: Literal["auto", "parametric", "nonparametric", "none"] = "auto"
    unseen_site: Literal["refuse", "keep"] = "refuse"
    standard_scale: tuple[str, ...] = ()
    minimum_reliability: float = 0.0
    validation: str = "kfold"
    groups: str = "participant_id"
    search: str = "grid"
    trials: int = 20
    search_seconds: float | None = None
    balance: str = "none"
    learning_curve: tuple[float, ...] = ()
    bootstrap: int = 0
    horizons: tuple[float, ...] = ()
    explain: bool = True
    permutations: int = 20
    jobs: int = 1
    random_seed: int = 0


_MINIMUM = {
    "outer_folds": 2,
    "repeats": 1,
    "inner_folds": 2,
    "selected_features": 1,
    "permutations": 0,
    "trials": 2,
    "bootstrap": 0,
    "jobs": 1,
    "random_seed": 0,
}
_CHOICES = {
    "kind": KINDS,
    "model": MODELS,
    "validation": VALIDATIONS,
    "unseen_site": ("refuse", "keep"),
    "harmonise_prior": ("auto", "parametric", "nonparametric", "none"),
    "selection": SELECTIONS,
    "visits": ("all", "first", "last", "mean"),
    "search": ("grid", "random", "halving"),
    "balance": BALANCES,
}
_LISTS = ("features", "exclude", "covariates", "harmonise_keep", "standard_scale")


def parse_analysis(content: Mapping[str, Any]) -> AnalysisSettings:
    """Return the settings of an analysis.

    Parameters
    ----------
    content : mapping
        As in config/schemas/analysis.yaml.

    Raises
    ------
    DataError
        A setting is unknown, absent, or of a wrong type or value; the error names it.
    """
    known = [field.name for field in fields(AnalysisSettings)]
    for key in content:
        if key not in known:
            raise DataError(f"an analysis has no setting {key}", suggest(str(key), known))
    if absent := [key for key in ("name", "outcome") if key not in content]:
        problem = f"the analysis has no {' and no '.join(absent)}"
        raise DataError(problem, "give a name and a column of participants.tsv")
    settings = AnalysisSettings(**{key: _checked(key, value) for key, value in content.items()})
    if not NAME.fullmatch(settings.name):
        raise DataError(f"the analysis is named {settings.name!r}", "use letters, digits, - and _")
    if settings.model not in (*COMBINED, *FAMILIES[settings.kind]):
        offered = ", ".join((*COMBINED, *FAMILIES[settings.kind]))
        raise DataError(
            f"{settings.model} is no model of a {settings.kind} outcome", f"choose among {offered}"
        )
    if (settings.kind == "survival") != (settings.time is not None):
        raise DataError(
            f"a {settings.kind} outcome has the time {settings.time}",
            "kind: survival takes a column as time, and no other kind does",
        )
    _check_together(settings)
    return settings


def _check_together(settings: AnalysisSettings) -> None:
    """Raise a DataError where two settings do not go together."""
    classes = ("binary", "multiclass", "ordinal")
    if settings.order and settings.kind != "ordinal":
        raise DataError(f"a {settings.kind} outcome has an order", "give kind: ordinal, or no order")
    if settings.balance != "none" and settings.kind not in classes:
        raise DataError(f"a {settings.kind} outcome has no classes to balance", "leave balance out")
    if settings.bootstrap and settings.kind != "binary":
        raise DataError("bootstrap is for binary outcomes", "leave it out")
    if settings.bootstrap and settings.groups != "participant_id":
        raise DataError("bootstrap draws participants, which groups must not be parted by", "leave it out")
    if settings.horizons and settings.kind != "survival":
        raise DataError("horizons are for kind: survival", "leave them out")
    if settings.minimum_reliability and settings.visits == "mean":
        problem = "minimum_reliability is that of single visits, and visits are averaged"
        raise DataError(problem, "take visits: all, first or last")
    if settings.standard_scale and settings.visits == "mean":
        problem = "standard_scale is for single images, and visits are averaged"
        raise DataError(problem, "take visits: all, first or last")
    if strangers := [name for name in settings.harmonise_keep if name not in settings.covariates]:
        raise DataError(f"harmonise_keep names {', '.join(strangers)}", "name them among the covariates too")
    if settings.outcome in settings.covariates:
        raise DataError(f"{settings.outcome} is the outcome and a covariate", "take it out of the covariates")


def label_of(value: object) -> str:
    """Return a class label as text, the same for 1, 1.0 and "1"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def _checked(key: str, value: Any) -> Any:
    """Return a setting in its final type, or raise a DataError."""
    check: Callable[[str, Any], Any] = _CHECKS.get(key, _text)
    return check(key, value)


def _whole(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < _MINIMUM[key]:
        raise DataError(f"{key} is {value!r}", f"give an integer of at least {_MINIMUM[key]}")
    return value


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
        raise DataError(f"{key} is {value!r}", "give a list of texts")
    if len(set(value)) < len(value):
        raise DataError(f"{key} is {value!r}", "name each once")
    return tuple(value)


def _filters(key: str, value: Any) -> tuple[str, ...]:
    found = _texts(key, value)
    if unknown := [name for name in found if name not in FILTERS]:
        raise DataError(f"{key} has {unknown[0]}", suggest(unknown[0], list(FILTERS)))
    return found


def _class(key: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str | int | float):
        raise DataError(f"{key} is {value!r}", "give a value of the outcome")
    return None if value is None else label_of(value)


def _rules(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise DataError(f"{key} is {value!r}", "give columns of participants.tsv and what they must hold")
    for name, rule in value.items():
        bounds = list(rule.values()) if isinstance(rule, Mapping) else []
        if not all(isinstance(end, int | float) and np.isfinite(end) for end in bounds):
            raise DataError(f"{key} has {name}: {dict(rule)}", "give finite numbers as min and max")
    return dict(value)


def _share(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise DataError(f"{key} is {value!r}", "give a number from 0, and below 1")
    return float(value)


def _shares(key: str, value: Any) -> tuple[float, ...]:
    found = _numbers(key, value)
    if any(number >= 1 for number in found):
        raise DataError(f"{key} is {value!r}", "give shares between 0 and 1")
    return found


def _numbers(key: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list | tuple):
        raise DataError(f"{key} is {value!r}", "give a list of numbers above 0")
    return tuple(_positive(key, number) for number in value)


def _positive(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise DataError(f"{key} is {value!r}", "give a number above 0")
    return float(value)


def _truth(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise DataError(f"{key} is {value!r}", "give true or false")
    return value


def _classes(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str | int | float) for item in value):
        raise DataError(f"{key} is {value!r}", "give a list of the classes")
    return tuple(label_of(item) for item in value)


def _text_or_none(key: str, value: Any) -> str | None:
    return None if value is None else _text(key, value)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise DataError(f"{key} is {value!r}", "give a text")
    if key in _CHOICES and value not in _CHOICES[key]:
        raise DataError(f"{key} is {value!r}", f"this version offers {', '.join(_CHOICES[key])}")
    return value


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(_MINIMUM, _whole),
    **dict.fromkeys(_LISTS, _texts),
    "positive": _class,
    "filters": _filters,
    "where": _rules,
    "hold_out": _rules,
    "order": _classes,
    "horizons": _numbers,
    "learning_curve": _shares,
    "explain": _truth,
    "search_seconds": lambda key, value: None if value is None else _positive(key, value),
    "visit_time": _text_or_none,
    "minimum_reliability": _share,
    "harmonise": _text_or_none,
    "time": _text_or_none,
}
