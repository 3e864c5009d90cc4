"""The models that an analysis may choose among, each with what it does to the features first.

No setting here was chosen on a table that a benchmark reports. Radiomic features are many, skewed and
correlated: the ridge penalty uses all of them after a normalising transform, the elastic net few, and trees
neither scale nor transform.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

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
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from voxelome.modelling.association import Kind
from voxelome.modelling.estimators import NormalScores, SelectUncorrelated, make_classifier
from voxelome.modelling.selection import MRMR, UnivariateFDR
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


class Choice(NamedTuple):
    """How a model that takes few features chooses them: by what, how many at most, and a seed."""

    selection: str
    features: int
    seed: int


@dataclass(frozen=True)
class Family:
    """One kind of model.

    Attributes
    ----------
    grid : tuple of mapping
        Settings of the model to choose among by inner folds, the simplest first.
    prepare : callable
        Makes the steps before the model from how features are chosen; they depend on no setting of the grid.
    model : callable
        Makes an unfitted model from the settings and a seed.
    """

    grid: tuple[Parameters, ...]
    prepare: Callable[[Choice], list[tuple[str, Any]]]
    model: Callable[[Parameters, int], Any]

    def build(self, parameters: Parameters, choice: Choice) -> Pipeline:
        """Return the whole pipeline, unfitted."""
        return Pipeline([*self.prepare(choice), ("model", self.model(parameters, choice.seed))])


def _imputed(_: Choice) -> list[tuple[str, Any]]:
    return [("impute", SimpleImputer(strategy="median", keep_empty_features=True))]


def _normalised(_: Choice) -> list[tuple[str, Any]]:
    # Scaled once more: a feature that is constant in training has the score of an extreme, which becomes 0.
    return [*_imputed(_), ("normalise", NormalScores()), ("scale", StandardScaler())]


def _few(choice: Choice) -> list[tuple[str, Any]]:
    return [*_scaled(choice), ("select", _selector("binary", choice))]


def _few_of_number(choice: Choice) -> list[tuple[str, Any]]:
    return [*_scaled(choice), ("select", _selector("continuous", choice))]


def _selector(kind: Kind, choice: Choice) -> Any:
    """Return what keeps few features, unfitted."""
    name, features, seed = choice
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
    return make_classifier(given["C"], seed)


def _ridge_logistic(given: Parameters, seed: int) -> Any:
    return LogisticRegression(C=given["C"], max_iter=5000, random_state=seed)


def _svm(given: Parameters, seed: int) -> Any:
    return CalibratedClassifierCV(
        SVC(C=given["C"], random_state=seed), method="sigmoid", cv=3, ensemble=False
    )


def _ridge(given: Parameters, seed: int) -> Any:
    return _of_scaled(Ridge(alpha=given["alpha"], random_state=seed))


def _elasticnet(given: Parameters, seed: int) -> Any:
    return _of_scaled(ElasticNet(alpha=given["alpha"], l1_ratio=0.5, max_iter=20000, random_state=seed))


def _svr(given: Parameters, _: int) -> Any:
    return _of_scaled(SVR(C=given["C"]))


def _trees(model: Any) -> Callable[[Parameters, int], Any]:
    def make(given: Parameters, seed: int) -> Any:
        return model(n_estimators=TREES, max_features="sqrt", random_state=seed, **given)

    return make


def _boosting(model: Any) -> Callable[[Parameters, int], Any]:
    def make(given: Parameters, seed: int) -> Any:
        shape = {"max_depth": 2, "subsample": 0.7, "max_features": "sqrt", "learning_rate": 0.05}
        return model(random_state=seed, **shape, **given)

    return make


def _scaled(_: Choice) -> list[tuple[str, Any]]:
    return [*_imputed(_), ("scale", StandardScaler())]


def _cox(_: Parameters, seed: int) -> Any:
    return CoxElasticNet(seed=seed)


def _superpc(given: Parameters, seed: int) -> Any:
    return SupervisedPrincipalComponents("survival", n_components=given["n_components"], seed=seed)


def _forest(_: Parameters, seed: int) -> Any:
    return random_survival_forest(seed, TREES)


def _survival_boosting(given: Parameters, seed: int) -> Any:
    return gradient_boosting(seed, given["n_estimators"])


_LEAVES: tuple[Parameters, ...] = ({"min_samples_leaf": 2},)
_ROUNDS: tuple[Parameters, ...] = ({"n_estimators": 50}, {"n_estimators": 150})
FAMILIES: dict[str, dict[str, Family]] = {
    "binary": {
        "elasticnet_logistic": Family(
            tuple({"C": strength} for strength in (0.01, 0.1, 1.0, 10.0)), _few, _elasticnet_logistic
        ),
        "ridge_logistic": Family(
            tuple({"C": strength} for strength in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)),
            _normalised,
            _ridge_logistic,
        ),
        "extra_trees": Family(_LEAVES, _imputed, _trees(ExtraTreesClassifier)),
        "random_forest": Family(_LEAVES, _imputed, _trees(RandomForestClassifier)),
        "gradient_boosting": Family(_ROUNDS, _imputed, _boosting(GradientBoostingClassifier)),
        "svm": Family(({"C": 0.3}, {"C": 3.0}), _normalised, _svm),
    },
    "continuous": {
        "elasticnet": Family(
            tuple({"alpha": alpha} for alpha in (1.0, 0.3, 0.1, 0.03)), _few_of_number, _elasticnet
        ),
        "ridge": Family(tuple({"alpha": alpha} for alpha in (1e5, 1e4, 1e3, 1e2, 1e1)), _normalised, _ridge),
        "extra_trees": Family(_LEAVES, _imputed, _trees(ExtraTreesRegressor)),
        "random_forest": Family(_LEAVES, _imputed, _trees(RandomForestRegressor)),
        "gradient_boosting": Family(_ROUNDS, _imputed, _boosting(GradientBoostingRegressor)),
        "svm": Family(({"C": 0.3}, {"C": 3.0}), _normalised, _svr),
    },
}
# Its own inner folds choose what the elastic net and the principal components need.
FAMILIES["survival"] = {
    "cox_elasticnet": Family((NOTHING,), _scaled, _cox),
    "superpc": Family(({"n_components": 1}, {"n_components": 2}), _scaled, _superpc),
    "survival_forest": Family((NOTHING,), _imputed, _forest),
    "survival_boosting": Family(_ROUNDS, _imputed, _survival_boosting),
}
# What an ensemble averages.
MEMBERS = {
    "binary": ("elasticnet_logistic", "ridge_logistic", "extra_trees"),
    "continuous": ("elasticnet", "ridge", "extra_trees"),
    "survival": ("cox_elasticnet", "survival_forest", "survival_boosting"),
}
ENSEMBLE = "ensemble"
SELECTIONS = ("uncorrelated", "fdr", "mrmr", "penalty", "stability", "boruta")
# What a few columns are given, beside the model.
SIMPLE = {"binary": "ridge_logistic", "continuous": "ridge", "survival": "cox_elasticnet"}


def families(kind: str, model: str) -> dict[str, Family]:
    """Return the families of a model by name: one, or the members of the ensemble."""
    known = FAMILIES[kind]
    return {name: known[name] for name in (MEMBERS[kind] if model == ENSEMBLE else (model,))}
