"""Phrases on the models of analyses, and on what is done to features before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from voxelome.reports.analysis_words import Content, joined

_OF_CLASSES = ("elasticnet_logistic", "ridge_logistic", "extra_trees")
MEMBERS: Mapping[str, Sequence[str]] = {
    "binary": _OF_CLASSES,
    "multiclass": _OF_CLASSES,
    "ordinal": _OF_CLASSES,
    "continuous": ("elasticnet", "ridge", "extra_trees"),
    "survival": ("cox_elasticnet", "survival_forest", "survival_boosting"),
}
"""Families that an average or a stack is made of, by the kind of outcome."""
FAMILIES = {
    "elasticnet_logistic": "a logistic regression with an elastic net penalty (Zou 2005)",
    "elasticnet": "a linear regression with an elastic net penalty (Zou 2005)",
    "ridge_logistic": "a logistic regression with a ridge penalty",
    "ridge": "a linear regression with a ridge penalty",
    "extra_trees": "extremely randomised trees (Geurts 2006; 300 trees)",
    "random_forest": "a random forest (Breiman 2001; 300 trees)",
    "gradient_boosting": "gradient-boosted trees (Friedman 2001)",
    "svm": "a support vector machine with a radial kernel",
    "superpc": "supervised principal components (Bair 2004)",
    "cox_elasticnet": "a Cox regression with an elastic net penalty",
    "survival_forest": "a random survival forest (Ishwaran 2008; 300 trees)",
    "survival_boosting": "gradient-boosted trees with Cox's partial likelihood (Friedman 2001)",
}
CHOOSING = ("elasticnet_logistic", "elasticnet")
"""Families that choose few features before the model."""
REDUCING = ("cox_elasticnet", "superpc")
"""Families in which a penalty or components reduce the features."""
_STANDARDISED = (*CHOOSING, "cox_elasticnet", "superpc")
_NORMAL = ("ridge_logistic", "ridge", "svm")
AS_THEY_ARE = tuple(name for name in FAMILIES if name not in (*_STANDARDISED, *_NORMAL))
"""Families of trees, which features are not scaled for."""
FIXED = ("extra_trees", "random_forest", "survival_forest")
"""Families with one setting in the grid: only a search tunes them."""
OF_ITSELF = "cox_elasticnet"
"""The family that chooses its penalty by folds of its own."""
SELECTIONS = {
    "uncorrelated": (
        "by the F of a univariate test, without those that correlated above 0.9 with one already taken"
    ),
    "fdr": "those with a false discovery rate of at most 5 %, but at least one (Benjamini 1995)",
    "mrmr": "by maximum relevance and minimum redundancy (Peng 2005)",
    "penalty": "by the path of a LASSO (Tibshirani 1996)",
    "stability": "by stability selection (Meinshausen 2010)",
    "boruta": "by Boruta (Kursa 2010)",
}
BALANCES = {
    "none": "Classes were not balanced in training.",
    "weights": "Classes were weighted in training, and probabilities set back to the prevalence.",
    "undersample": (
        "The larger class was undersampled in training, and probabilities set back to the prevalence."
    ),
    "oversample": (
        "The smaller class was oversampled in training, and probabilities set back to the prevalence."
    ),
    "smote": "SMOTE (Chawla 2002) was used in training alone, and probabilities set back to the prevalence.",
}
_LOSSES = {"continuous": "squared error", "survival": "concordance"}


def members(settings: Content) -> Sequence[str]:
    """Return the families that a model is made of; none where it is not known."""
    model, kind = settings.get("model"), settings.get("kind", "binary")
    if model is None:
        return ()
    return MEMBERS[kind] if model in ("ensemble", "stacked") else (model,)


def model(settings: Content) -> str:
    """Return what the model is."""
    names = [FAMILIES[name] for name in members(settings)]
    if settings.get("kind") == "ordinal" and names:
        names[-1] += ", of each threshold of the order"
    if settings.get("model") == "ensemble":
        return (
            f"the average of {joined(names)}, without those that did no better in the inner folds "
            "than no model"
        )
    if settings.get("model") == "stacked":
        return f"a stack (Wolpert 1992) of {joined(names)}, with weights learned on inner folds"
    return joined(names)


def scaling(settings: Content) -> str:
    """Return how features are scaled, without a full stop."""
    parts = []
    for how, families in (
        ("standardised to mean 0 and standard deviation 1", _STANDARDISED),
        ("transformed to normal scores by rank and standardised", _NORMAL),
        ("left as they are for trees", AS_THEY_ARE),
    ):
        given = [name for name in members(settings) if name in families]
        if given:
            own = (
                f" ({joined([name.replace('_', ' ') for name in given])})"
                if len(members(settings)) > 1
                else ""
            )
            parts.append(how + own)
    if not parts:
        return ""
    site = settings.get("harmonise")
    before = f"harmonised by ComBat (Johnson 2007; Fortin 2018) over {site}, and " if site else ""
    return f"Features were {before}{', '.join(parts)}"


def selection(settings: Content) -> str:
    """Return a sentence on how features are chosen; empty where the model is not known."""
    names = members(settings)
    if not names:
        return ""
    chosen = [name for name in names if name in CHOOSING]
    others = [name.replace("_", " ") for name in names if name not in CHOOSING]
    told = ""
    if chosen:
        most, how = settings["selected_features"], SELECTIONS[settings["selection"]]
        told = f"In each fold the elastic net was given at most {most} features, {how}."
    if others:
        inside = (
            " Penalties chose among them."
            if any("elasticnet" in n for n in names if n not in CHOOSING)
            else ""
        )
        told = f"{told} All features were given to {joined(others)}.{inside}".strip()
    return told


def tuning(settings: Content) -> str:
    """Return a sentence on how the settings of a model are chosen."""
    names = members(settings)
    if "search" not in settings or not names:
        return ""
    if names == (OF_ITSELF,):
        return "The strength of the penalty was chosen by a cross-validation inside the training part."
    searched = settings["search"] != "grid"
    if not searched and all(name in FIXED for name in names):
        return "Hyperparameters were fixed beforehand; nothing was tuned."
    drawn = f"{settings.get('trials')} settings drawn at random"
    asked = {
        "grid": "a small fixed grid",
        "random": drawn,
        "halving": f"{drawn}, the worse given up early (successive halving)",
    }[settings["search"]]
    limit = settings.get("search_seconds")
    more = f", for at most {limit:g} s a family and fold" if limit and searched else ""
    folds = f"{settings['inner_folds']} inner folds of the training part"
    return f"Hyperparameters were chosen by {folds} among {asked}{more}."


def choice(settings: Content) -> str:
    """Return a sentence on what the choice of the model goes by."""
    names = members(settings)
    if "inner_folds" not in settings or not names:
        return ""
    if len(names) == 1 and settings.get("search") == "grid" and names[0] in FIXED:
        return "One model with settings fixed beforehand: there was nothing to choose among."
    if names == (OF_ITSELF,):
        return "By a cross-validation inside the training part; test folds took no part."
    loss = _LOSSES.get(settings.get("kind", "binary"), "log loss")
    folds = f"{settings['inner_folds']} inner folds of the training part"
    return f"By the {loss} in {folds}; test folds took no part."
