"""The models that an analysis may choose among, each with what it does to the features first.

No setting here was chosen on a table that a benchmark reports. Radiomic features are many, skewed and
correlated: the ridge penalty uses all of them after a normalising transform, the elastic net few, and trees
neither scale nor transform.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from voxelome.modelling.association import Kind
from voxelome.modelling.estimators import L1_RATIO, NormalScores, SelectUncorrelated, make_classifier
from voxelome.modelling.ordinal import OrdinalClassifier
from voxelome.modelling.selection import MRMR, CorrelationFilter, NearZeroVariance, UnivariateFDR
from voxelome.modelling.survival import (
    CoxElasticNet,
    SupervisedPrincipalComponents,
    gradient_boosting,
    random_survival_forest,
)
from voxelome.modelling.wrappers import Boruta, SelectByPenalty, StabilitySelection

TREES = 300
Parameters = Mapping[str, Any]
NOTHING: Parameters = {}
FILTERS: Mapping[str, Callable[[], Any]] = {
    "near_zero_variance": NearZeroVariance,
    "correlation": CorrelationFilter,
}


class Choice(NamedTuple):
    """How models that take few features choose them: by what, how many at most, and a seed.

    `filters` name what leaves out features of all models before, without the outcome.
    """

    selection: str
    features: int
    seed: int
    filters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """One kind of model.

    Attributes
    ----------
    grid : tuple of mapping
        Settings of the model to choose among by inner folds, the simplest first.
    space : mapping
        What settings a search draws from (:func:`voxelome.modelling.search.draw_settings`); empty where the
        model has none to choose.
    prepare : callable
        Makes the steps before the model from how features are chosen; they depend on no setting of the grid.
    model : callable
        Makes an unfitted model from the settings and a seed.
    """

    grid: tuple[Parameters, ...]
    prepare: Callable[[Choice], list[tuple[str, Any]]]
    model: Callable[[Parameters, int], Any]
    space: Mapping[str, Any] = field(default_factory=dict)


def _imputed(choice: Choice) -> list[tuple[str, Any]]:
    steps: list[tuple[str, Any]] = [("impute", SimpleImputer(strategy="median", keep_empty_features=True))]
    return [*steps, *((name, FILTERS[name]()) for name in choice.filters)]


def _normalised(choice: Choice) -> list[tuple[str, Any]]:
    # Scaled once more: a feature that is constant in training has the score of an extreme, which becomes 0.
    return [*_imputed(choice), ("normalise", NormalScores()), ("scale", StandardScaler())]


def _few(kind: Kind) -> Callable[[Choice], list[tuple[str, Any]]]:
    def prepare(choice: Choice) -> list[tuple[str, Any]]:
        return [*_scaled(choice), ("select", _selector(kind, choice))]

    return prepare


def _selector(kind: Kind, choice: Choice) -> Any:
    """Return what keeps few features, unfitted."""
    name, features, seed, _ = choice
    makers: dict[str, Callable[[], Any]] = {
        "uncorrelated": lambda: SelectUncorrelated(features, regression=kind == "continuous"),
        "fdr": lambda: UnivariateFDR(kind, minimum=1, maximum=features),
        "mrmr": lambda: MRMR(features, kind),
        "penalty": lambda: SelectByPenalty(kind, max_features=features),
        "stability": lambda: StabilitySelection(kind, max_features=features, random_state=seed),
        "boruta": lambda: Boruta(kind, random_state=seed),
    }
    return makers[name]()


def _of_scaled(model: Any) -> Any:
    """Return a model of the outcome in standard deviations, so that its penalty has no unit."""
    return TransformedTargetRegressor(model, transformer=StandardScaler())


def _elasticnet_logistic(given: Parameters, seed: int) -> Any:
    return make_classifier(given["C"], seed, given.get("l1_ratio", L1_RATIO))


def _ridge_logistic(given: Parameters, seed: int) -> Any:
    return LogisticRegression(C=given["C"], max_iter=5000, random_state=seed)


def _svm(given: Parameters, seed: int) -> Any:
    return CalibratedClassifierCV(
        SVC(C=given["C"], random_state=seed), method="sigmoid", cv=3, ensemble=False
    )


def _ridge(given: Parameters, seed: int) -> Any:
    return _of_scaled(Ridge(alpha=given["alpha"], random_state=seed))


def _elasticnet(given: Parameters, seed: int) -> Any:
    return _of_scaled(ElasticNet(max_iter=20000, random_state=seed, **{"l1_ratio": L1_RATIO, **given}))


def _svr(given: Parameters, _: int) -> Any:
    return _of_scaled(SVR(C=given["C"]))


def _trees(model: Any) -> Callable[[Parameters, int], Any]:
    def make(given: Parameters, seed: int) -> Any:
        return model(n_estimators=TREES, random_state=seed, **{"max_features": "sqrt", **given})

    return make


def _boosting(model: Any) -> Callable[[Parameters, int], Any]:
    def make(given: Parameters, seed: int) -> Any:
        shape = {"max_depth": 2, "subsample": 0.7, "max_features": "sqrt", "learning_rate": 0.05}
        return model(random_state=seed, **{**shape, **given})

    return make


def _scaled(choice: Choice) -> list[tuple[str, Any]]:
    return [*_imputed(choice), ("scale", StandardScaler())]


def _cox(_: Parameters, seed: int) -> Any:
    return CoxElasticNet(seed=seed)


def _superpc(kind: Literal["survival", "binary", "continuous"]) -> Callable[[Parameters, int], Any]:
    def make(given: Parameters, seed: int) -> Any:
        return SupervisedPrincipalComponents(kind, n_components=given["n_components"], seed=seed)

    return make


def _forest(given: Parameters, seed: int) -> Any:
    return random_survival_forest(seed, TREES, **given)


def _survival_boosting(given: Parameters, seed: int) -> Any:
    return gradient_boosting(seed, given["n_estimators"], given.get("learning_rate", 0.05))


def _ordered(family: Family) -> Family:
    """Return the family for ordered classes."""
    return replace(family, model=lambda given, seed: OrdinalClassifier(family.model(given, seed)))


def _range(low: float, high: float) -> Mapping[str, Any]:
    """Return a range to draw from, uniform in the logarithm."""
    return {"low": low, "high": high, "log": True}


_LEAVES: tuple[Parameters, ...] = ({"min_samples_leaf": 2},)
_COMPONENTS: tuple[Parameters, ...] = ({"n_components": 1}, {"n_components": 2})
_ROUNDS: tuple[Parameters, ...] = ({"n_estimators": 50}, {"n_estimators": 150})
# What a search draws from.
_MIXED: dict[str, Any] = {"l1_ratio": {"low": 0.05, "high": 1.0}}
_MARGIN: Mapping[str, Any] = {"C": _range(0.03, 30.0)}
_SUPERVISED: Mapping[str, Any] = {"n_components": [1, 2, 3]}
_GROWN: Mapping[str, Any] = {"min_samples_leaf": _range(1, 10), "max_features": ["sqrt", 0.1, 0.3]}
_BOOSTED: Mapping[str, Any] = {
    "n_estimators": _range(30, 300),
    "learning_rate": _range(0.01, 0.2),
    "max_depth": [1, 2, 3],
    "subsample": [0.5, 0.7, 0.9],
}
FAMILIES: dict[str, dict[str, Family]] = {
    "binary": {
        "elasticnet_logistic": Family(
            tuple({"C": strength} for strength in (0.01, 0.1, 1.0, 10.0)),
            _few("binary"),
            _elasticnet_logistic,
            {"C": _range(1e-3, 30.0)} | _MIXED,
        ),
        "ridge_logistic": Family(
            tuple({"C": strength} for strength in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)),
            _normalised,
            _ridge_logistic,
            {"C": _range(1e-6, 1.0)},
        ),
        "extra_trees": Family(_LEAVES, _imputed, _trees(ExtraTreesClassifier), _GROWN),
        "random_forest": Family(_LEAVES, _imputed, _trees(RandomForestClassifier), _GROWN),
        "gradient_boosting": Family(_ROUNDS, _imputed, _boosting(GradientBoostingClassifier), _BOOSTED),
        "svm": Family(({"C": 0.3}, {"C": 3.0}), _normalised, _svm, _MARGIN),
        "superpc": Family(_COMPONENTS, _scaled, _superpc("binary"), _SUPERVISED),
    },
    "continuous": {
        "elasticnet": Family(
            tuple({"alpha": alpha} for alpha in (1.0, 0.3, 0.1, 0.03)),
            _few("continuous"),
            _elasticnet,
            {"alpha": _range(0.01, 1.0)} | _MIXED,
        ),
        "ridge": Family(
            tuple({"alpha": alpha} for alpha in (1e5, 1e4, 1e3, 1e2, 1e1)),
            _normalised,
            _ridge,
            {"alpha": _range(1.0, 1e6)},
        ),
        "extra_trees": Family(_LEAVES, _imputed, _trees(ExtraTreesRegressor), _GROWN),
        "random_forest": Family(_LEAVES, _imputed, _trees(RandomForestRegressor), _GROWN),
        "gradient_boosting": Family(_ROUNDS, _imputed, _boosting(GradientBoostingRegressor), _BOOSTED),
        "svm": Family(({"C": 0.3}, {"C": 3.0}), _normalised, _svr, _MARGIN),
        "superpc": Family(_COMPONENTS, _scaled, _superpc("continuous"), _SUPERVISED),
    },
}
# Multinomial where the model has such a form; the sigmoids of support vectors are one against the rest.
FAMILIES["multiclass"] = {k: family for k, family in FAMILIES["binary"].items() if k != "superpc"} | {
    "elasticnet_logistic": replace(FAMILIES["binary"]["elasticnet_logistic"], prepare=_few("multiclass"))
}
# Ordered classes: a model of "above class k" for each k; features are chosen by the rank of the class.
FAMILIES["ordinal"] = {name: _ordered(family) for name, family in FAMILIES["binary"].items()} | {
    "elasticnet_logistic": _ordered(
        replace(FAMILIES["binary"]["elasticnet_logistic"], prepare=_few("continuous"))
    )
}
# Its own inner folds choose what the elastic net and the principal components need.
FAMILIES["survival"] = {
    "cox_elasticnet": Family((NOTHING,), _scaled, _cox),
    "superpc": Family(_COMPONENTS, _scaled, _superpc("survival"), _SUPERVISED),
    "survival_forest": Family((NOTHING,), _imputed, _forest, {"least_leaf": _range(3, 20)}),
    "survival_boosting": Family(
        _ROUNDS,
        _imputed,
        _survival_boosting,
        {key: _BOOSTED[key] for key in ("n_estimators", "learning_rate")},
    ),
}
# What an ensemble averages.
_OF_CLASSES = ("elasticnet_logistic", "ridge_logistic", "extra_trees")
MEMBERS = {
    "binary": _OF_CLASSES,
    "multiclass": _OF_CLASSES,
    "ordinal": _OF_CLASSES,
    "continuous": ("elasticnet", "ridge", "extra_trees"),
    "survival": ("cox_elasticnet", "survival_forest", "survival_boosting"),
}
ENSEMBLE, STACKED = "ensemble", "stacked"
COMBINED = (ENSEMBLE, STACKED)
SELECTIONS = ("uncorrelated", "fdr", "mrmr", "penalty", "stability", "boruta")
# What a few columns are given, beside the model.
SIMPLE = dict.fromkeys(("binary", "multiclass", "ordinal"), "ridge_logistic") | {
    "continuous": "ridge",
    "survival": "cox_elasticnet",
}


def families(kind: str, model: str) -> dict[str, Family]:
    """Return the families of a model by name: one, or the members of an average or stack."""
    known = FAMILIES[kind]
    return {name: known[name] for name in (MEMBERS[kind] if model in COMBINED else (model,))}
