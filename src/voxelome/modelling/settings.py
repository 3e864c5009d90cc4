"""One analysis as the user asks for it, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from voxelome.errors import DataError, suggest
from voxelome.modelling.families import ENSEMBLE, FAMILIES

KINDS = tuple(FAMILIES)
MODELS = (ENSEMBLE, *dict.fromkeys(name for known in FAMILIES.values() for name in known))
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
        Type of outcome: "binary" or "continuous".
    positive : str or None
        Class whose probability is predicted; None takes the last in order.
    model : str
        "ensemble", or one of the families of the kind.
    features, exclude : tuple of str
        Patterns (``*``, ``?``, ``[...]``) of the features to offer, and of those not to.
    covariates : tuple of str
        Columns of participants.tsv to offer as features too.
    outer_folds, repeats, inner_folds : int
        Folds of the validation, how often it is done with other folds, and folds that choose the penalty.
    selected_features : int
        Largest number of features in a model.
    validation : str
        "kfold", or "leave_one_group_out": each group of `groups` (a site, say) is held out once.
    groups : str
        Column of participants.tsv whose members are never split between training and test.
    permutations : int
        How often the whole pipeline is validated with the outcome dealt out at random.
    random_seed : int
        Seed of the folds and of the solver.
    """

    name: str
    outcome: str
    kind: str = "binary"
    positive: str | None = None
    model: str = ENSEMBLE
    features: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    outer_folds: int = 5
    repeats: int = 5
    inner_folds: int = 3
    selected_features: int = 10
    validation: str = "kfold"
    groups: str = "participant_id"
    permutations: int = 0
    random_seed: int = 0


_MINIMUM = {
    "outer_folds": 2,
    "repeats": 1,
    "inner_folds": 2,
    "selected_features": 1,
    "permutations": 0,
    "random_seed": 0,
}
_CHOICES = {"kind": KINDS, "model": MODELS, "validation": VALIDATIONS}
_LISTS = ("features", "exclude", "covariates")


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
    if settings.model not in (ENSEMBLE, *FAMILIES[settings.kind]):
        offered = ", ".join((ENSEMBLE, *FAMILIES[settings.kind]))
        raise DataError(
            f"{settings.model} is no model of a {settings.kind} outcome", f"choose among {offered}"
        )
    if settings.outcome in settings.covariates:
        raise DataError(f"{settings.outcome} is the outcome and a covariate", "take it out of the covariates")
    return settings


def label_of(value: object) -> str:
    """Return a class label as text, the same for 1, 1.0 and "1"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def _checked(key: str, value: Any) -> Any:
    """Return a setting in its final type, or raise a DataError."""
    if key in _MINIMUM:
        if isinstance(value, bool) or not isinstance(value, int) or value < _MINIMUM[key]:
            raise DataError(f"{key} is {value!r}", f"give an integer of at least {_MINIMUM[key]}")
        return value
    if key in _LISTS:
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
            raise DataError(f"{key} is {value!r}", "give a list of texts")
        return tuple(value)
    if key == "positive":
        if value is not None and not isinstance(value, str | int | float):
            raise DataError(f"positive is {value!r}", "give a value of the outcome")
        return None if value is None else label_of(value)
    if not isinstance(value, str) or not value:
        raise DataError(f"{key} is {value!r}", "give a text")
    if key in _CHOICES and value not in _CHOICES[key]:
        raise DataError(f"{key} is {value!r}", f"this version offers {', '.join(_CHOICES[key])}")
    return value
