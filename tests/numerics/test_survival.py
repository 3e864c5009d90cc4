"""Models of survival against other implementations, planted truth and public data."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.datasets import load_breast_cancer
from sksurv.linear_model import CoxnetSurvivalAnalysis, CoxPHSurvivalAnalysis

from voxelome.errors import DataError
from voxelome.modelling.cox import breslow, fit_cox, partial_log_likelihood, survival_probability
from voxelome.modelling.survival import (
    CoxElasticNet,
    SupervisedPrincipalComponents,
    gradient_boosting,
    predicted_survival,
    random_survival_forest,
)
from voxelome.modelling.survival_metrics import cross_validated_concordance, harrell_concordance
from voxelome.modelling.survival_outcome import balanced_folds, read_survival, survival_outcome

MODELS = {
    "components": SupervisedPrincipalComponents(),
    "two components": SupervisedPrincipalComponents(n_components=2),
    "elastic net": CoxElasticNet(penalties=20),
    "elastic net by concordance": CoxElasticNet(penalties=20, criterion="concordance"),
    "forest": random_survival_forest(trees=30),
    "boosting": gradient_boosting(rounds=30),
}
every_model = pytest.mark.parametrize("name", MODELS)


def planted(
    rng: np.random.Generator, n: int, n_features: int = 300, informed: int = 30, effect: float = 1.2
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return noisy features, of which the first tell a latent factor, its survival, and the factor."""
    factor = rng.normal(size=n)
    X = rng.normal(size=(n, n_features))
    X[:, :informed] += 0.7 * factor[:, None]
    time, end = rng.exponential(size=n) * np.exp(-effect * factor), rng.exponential(2.0, size=n)
    return (
        X * np.geomspace(0.01, 100, n_features),
        survival_outcome(time <= end, np.minimum(time, end)),
        factor,
    )


@pytest.fixture(scope="module")
def cohort() -> tuple[np.ndarray, np.ndarray]:
    X, y, _ = planted(np.random.default_rng(4), 90, n_features=12, informed=4)
    y["time"] = np.round(y["time"], 1)  # with ties
    return X, y


def likelihood_by_loops(predictor: np.ndarray, y: np.ndarray) -> float:
    total = 0.0
    for i in range(len(y)):
        if y["event"][i]:
            at_risk = [np.exp(predictor[j]) for j in range(len(y)) if y["time"][j] >= y["time"][i]]
            total += predictor[i] - np.log(sum(at_risk))
    return total


def test_the_partial_likelihood_is_the_chance_of_each_event_among_those_at_risk(cohort: tuple) -> None:
    X, y = cohort
    predictors = (X / X.std(axis=0))[:, :3]
    found = partial_log_likelihood(predictors, read_survival(y))
    assert found == pytest.approx([likelihood_by_loops(each, y) for each in predictors.T], rel=1e-12)


@pytest.mark.parametrize("precision", [1.0, 1e-6])
def test_a_small_cox_model_is_that_of_another_library(cohort: tuple, precision: float) -> None:
    X, y = cohort
    scores, outcome = StandardScaler().fit_transform(X[:, :3]), read_survival(y)
    other = CoxPHSurvivalAnalysis(alpha=precision, ties="breslow", tol=1e-12).fit(scores, y)
    coef = fit_cox(scores, outcome, precision)
    assert coef == pytest.approx(other.coef_, abs=1e-6)
    times, hazard = breslow(scores @ coef, outcome)
    curves = other.predict_survival_function(scores, return_array=True)
    assert survival_probability(times, hazard, scores @ coef, other.unique_times_) == pytest.approx(
        curves, abs=1e-6
    )


def test_a_covariate_that_orders_all_events_has_a_finite_coefficient() -> None:
    x = np.linspace(-1.5, 1.5, 20)[:, None]
    coef = fit_cox(x, read_survival(survival_outcome(np.ones(20, dtype=bool), np.arange(20.0))))
    assert -10 < coef[0] < -1


def test_components_of_all_features_are_those_of_a_principal_component_analysis() -> None:
    rng = np.random.default_rng(1)
    for shape in ((60, 8), (20, 50)):
        X = rng.normal(size=shape) @ rng.normal(size=(shape[1], shape[1]))
        y = X[:, 0] + rng.normal(size=shape[0])
        other = make_pipeline(StandardScaler(), PCA(2), LinearRegression()).fit(X, y)
        mine = SupervisedPrincipalComponents("continuous", n_features=shape[1], n_components=2).fit(X, y)
        assert mine.predict(X) == pytest.approx(other.predict(X), abs=1e-9)
        scores = PCA(2, whiten=True).fit_transform(StandardScaler().fit_transform(X))
        scores *= np.sqrt(shape[0] / (shape[0] - 1))
        logistic = LogisticRegression(C=1.0).fit(scores, y > 0)
        binary = SupervisedPrincipalComponents("binary", n_features=shape[1], n_components=2).fit(X, y > 0)
        assert binary.predict_proba(X) == pytest.approx(logistic.predict_proba(scores), abs=1e-4)


def test_a_planted_factor_among_noise_is_recovered_in_cases_not_seen() -> None:
    rng = np.random.default_rng(8)
    X, y, _ = planted(rng, 100)
    model = SupervisedPrincipalComponents().fit(X, y)
    unseen, outcome, factor = planted(rng, 300)
    found = harrell_concordance(outcome, model.predict(unseen))
    assert found.low > 0.65
    assert np.corrcoef(model.predict(unseen), factor)[0, 1] > 0.85
    assert np.mean(model.support_[:30]) > 0.5
    assert np.mean(model.support_[30:]) < 0.1


def test_where_nothing_is_planted_nothing_is_found() -> None:
    rng = np.random.default_rng(9)
    found = []
    for _ in range(10):
        X, y, _ = planted(rng, 60, n_features=100, informed=0)
        unseen, outcome, _ = planted(rng, 200, n_features=100, informed=0)
        risk = SupervisedPrincipalComponents().fit(X, y).predict(unseen)
        found.append(harrell_concordance(outcome, risk).value)
    assert np.mean(found) == pytest.approx(0.5, abs=0.03)


def test_a_planted_factor_is_recovered_for_classes_and_numbers_too() -> None:
    rng = np.random.default_rng(10)
    X, _, factor = planted(rng, 80)
    unseen, _, truth = planted(rng, 200)
    classes = np.where(factor + rng.normal(size=80) > 0, "yes", "no")
    binary = SupervisedPrincipalComponents("binary").fit(X, classes)
    assert binary.classes_.tolist() == ["no", "yes"]
    assert roc_auc_score(truth > 0, binary.predict_proba(unseen)[:, 1]) > 0.85
    assert set(binary.predict(unseen)) == {"no", "yes"}
    numbers = SupervisedPrincipalComponents("continuous").fit(X, 5 + factor + rng.normal(size=80))
    assert np.corrcoef(numbers.predict(unseen), truth)[0, 1] > 0.85
    assert numbers.predict(unseen).mean() == pytest.approx(5, abs=0.3)


def test_each_kind_has_the_methods_of_its_kind() -> None:
    survival, binary, continuous = map(SupervisedPrincipalComponents, ("survival", "binary", "continuous"))
    assert is_classifier(binary)
    assert is_regressor(continuous)
    assert not is_classifier(survival)
    assert [hasattr(each, "predict_proba") for each in (survival, binary, continuous)] == [False, True, False]
    assert [hasattr(each, "predict_survival") for each in (survival, binary)] == [True, False]


def test_the_number_of_features_is_that_of_the_least_loss_in_inner_folds(cohort: tuple) -> None:
    model = SupervisedPrincipalComponents().fit(*cohort)
    assert model.candidates_.tolist() == sorted(set(model.candidates_.tolist()))
    assert model.candidates_[[0, -1]].tolist() == [1, 12]
    assert model.support_.sum() == model.candidates_[model.losses_.argmin()]
    fixed = SupervisedPrincipalComponents(n_features=int(model.support_.sum())).fit(*cohort)
    assert fixed.predict(cohort[0]) == pytest.approx(model.predict(cohort[0]))


def test_the_elastic_net_is_that_of_another_library_under_the_penalty_chosen(cohort: tuple) -> None:
    X, y = cohort
    model = CoxElasticNet().fit(X, y)
    unit = StandardScaler().fit_transform(X)
    other = CoxnetSurvivalAnalysis(
        alphas=[model.penalty_], l1_ratio=model.l1_ratio_, tol=1e-10, fit_baseline_model=True
    ).fit(unit, y)
    assert model.predict(X) == pytest.approx(other.predict(unit), abs=1e-3)
    curves = other.predict_survival_function(unit, return_array=True)
    found = model.predict_survival(X, np.unique(y["time"]))
    assert found == pytest.approx(curves, abs=1e-3)
    assert model.scores_.max() == model.scores_[model.l1_ratios_ == model.l1_ratio_].max()


def test_the_largest_penalty_is_the_one_that_another_library_starts_from() -> None:
    X, y, _ = planted(np.random.default_rng(3), 50, n_features=8)
    other = CoxnetSurvivalAnalysis(n_alphas=5, l1_ratio=0.5).fit(StandardScaler().fit_transform(X), y)
    model = CoxElasticNet(l1_ratio=0.5).fit(X, y)
    assert model.penalties_[0, 0] == pytest.approx(other.alphas_[0])
    assert model.penalties_[0, -1] == pytest.approx(0.05 * other.alphas_[0])


def test_a_fit_that_breaks_down_is_told_and_the_path_ends_before_it(
    cohort: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = CoxnetSurvivalAnalysis.fit

    def breaking(self: CoxnetSurvivalAnalysis, X: np.ndarray, y: np.ndarray) -> CoxnetSurvivalAnalysis:
        if len(self.alphas) > 10:
            raise ArithmeticError("Numerical error, because weights are too large.")
        return fit(self, X, y)

    monkeypatch.setattr(CoxnetSurvivalAnalysis, "fit", breaking)
    with pytest.warns(ConvergenceWarning, match="the fit breaks down below a penalty of"):
        model = CoxElasticNet(penalties=20).fit(*cohort)
    # Of 20 penalties 15 are tried, then 11, then 8.
    assert np.all(model.scores_[:, 8:] == model.scores_[:, 7:8])
    assert np.all(model.scores_[:, 6] != model.scores_[:, 7])
    assert np.isfinite(model.coef_).all()


def test_the_path_of_penalties_is_walked_to_its_end_where_times_are_tied(cohort: tuple) -> None:
    X, y = cohort
    assert len(np.unique(y["time"])) < len(y)
    tried = CoxElasticNet(l1_ratio=0.02, penalties=50)
    outcome = read_survival(y)
    penalties = tried._penalties(X, outcome, 0.02)
    path = tried._path(X, outcome, 0.02, penalties)
    sizes = np.linalg.norm(path, axis=0)
    assert np.all(np.diff(sizes) > 0)
    # Each is the fit under that penalty alone.
    alone = tried._path(X, outcome, 0.02, penalties[-1:])
    np.testing.assert_allclose(path[:, -1], alone[:, 0], rtol=1e-3, atol=1e-6)


def test_too_few_iterations_are_told(cohort: tuple) -> None:
    with pytest.warns(ConvergenceWarning, match="terminated early"):
        CoxElasticNet(max_iter=2).fit(*cohort)


@every_model
def test_a_model_orders_cases_that_it_has_not_seen(name: str) -> None:
    rng = np.random.default_rng(20)
    X, y, _ = planted(rng, 90, n_features=40, informed=15)
    unseen, outcome, _ = planted(rng, 200, n_features=40, informed=15)
    found = harrell_concordance(outcome, clone(MODELS[name]).fit(X, y).predict(unseen))
    assert found.low > 0.58


@every_model
def test_the_same_seed_gives_the_same_model(name: str, cohort: tuple) -> None:
    X, y = cohort
    model = MODELS[name]
    one, other = (clone(model).fit(X, y).predict(X) for _ in range(2))
    assert np.array_equal(one, other)
    assert clone(model).get_params() == model.get_params()


@pytest.mark.parametrize("name", ["components", "two components", "elastic net"])
def test_the_order_of_the_cases_changes_nothing(name: str) -> None:
    X, y, _ = planted(np.random.default_rng(21), 60, n_features=30)
    order = np.random.default_rng(0).permutation(60)
    straight, shuffled = clone(MODELS[name]).fit(X, y), clone(MODELS[name]).fit(X[order], y[order])
    assert straight.predict(X) == pytest.approx(shuffled.predict(X), abs=1e-4)


@every_model
def test_survival_starts_at_one_and_falls_for_the_higher_risk_faster(name: str, cohort: tuple) -> None:
    X, y = cohort
    model = make_pipeline(StandardScaler(), clone(MODELS[name])).fit(X, y)
    times = np.array([-1.0, 0.0, 0.2, 1.0, 1e9])
    survival = predicted_survival(model, X, times)
    assert survival.shape == (90, 5)
    assert np.all(survival[:, 0] == 1)
    assert np.all(np.diff(survival, axis=1) <= 0)
    assert survival.min() >= 0
    assert np.all(survival[:, 4] == predicted_survival(model, X, y["time"].max())[:, 0])
    assert np.corrcoef(model.predict(X), survival[:, 3])[0, 1] < -0.7
    with pytest.raises(ValueError, match="must be a row of finite numbers"):
        predicted_survival(model, X, [np.nan])


@every_model
def test_constant_features_change_nothing_but_are_not_enough(name: str, cohort: tuple) -> None:
    X, y = cohort
    constant = np.full((90, 2), 0.1)
    if name not in ("forest", "boosting"):
        padded = np.hstack([constant, X])
        found = clone(MODELS[name]).fit(padded, y).predict(padded)
        assert found == pytest.approx(clone(MODELS[name]).fit(X, y).predict(X), abs=1e-9)
        with pytest.raises(ValueError, match="no feature varies"):
            clone(MODELS[name]).fit(constant, y)


def test_a_feature_that_varies_in_one_case_alone_breaks_nothing() -> None:
    X, y = np.zeros((20, 1)), survival_outcome(np.ones(20, dtype=bool), np.arange(20.0))
    X[3] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("components", "elastic net"):
            assert np.isfinite(clone(MODELS[name]).fit(X, y).predict(X)).all()


def without(y: np.ndarray, keep: int) -> np.ndarray:
    changed = y.copy()
    changed["event"] = np.arange(len(y)) < keep
    return changed


@every_model
def test_outcomes_that_no_model_can_be_made_of_are_refused_in_a_sentence(name: str, cohort: tuple) -> None:
    X, y = cohort
    model, early = clone(MODELS[name]), y.copy()
    early["time"][4] = -1
    for changed, sentence in (
        (without(y, 0), "y holds 0 events in 90 cases; give cases with at least"),
        (early, "times that are negative or not finite"),
        (y["time"], "y does not hold events and times"),
    ):
        with pytest.raises(DataError, match=sentence):
            model.fit(X, changed)
    with pytest.raises((ValueError, DataError), match=r"1 case|minimum of 3"):
        model.fit(X[:1], y[:1])


def test_one_event_is_not_enough_to_choose_by_inner_folds(cohort: tuple) -> None:
    for model in (SupervisedPrincipalComponents(), CoxElasticNet()):
        with pytest.raises(DataError, match="y holds 1 events in 90 cases; give cases with at least 2"):
            model.fit(cohort[0], without(cohort[1], 1))
        model.fit(cohort[0], without(cohort[1], 2))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (SupervisedPrincipalComponents(kind="ordinal"), "kind is 'ordinal'"),
        (SupervisedPrincipalComponents(n_components=4), "n_components is 4"),
        (SupervisedPrincipalComponents(n_features=1, n_components=2), "1 features have no 2 components"),
        (SupervisedPrincipalComponents(folds=1), "folds is 1"),
        (CoxElasticNet(l1_ratio=0), "l1_ratio is 0"),
        (CoxElasticNet(l1_ratio=(0.5, 1.5)), "l1_ratio is"),
        (CoxElasticNet(criterion="aic"), "criterion is 'aic'"),
        (CoxElasticNet(penalties=1), "at least 2 penalties and folds"),
    ],
)
def test_settings_that_cannot_be_are_refused(model: object, sentence: str, cohort: tuple) -> None:
    with pytest.raises(ValueError, match=sentence):
        model.fit(*cohort)


def test_each_fold_has_its_share_of_early_and_late_events() -> None:
    rng = np.random.default_rng(0)
    y = survival_outcome(rng.random(50) < 0.3, rng.exponential(size=50))
    fold = balanced_folds(read_survival(y), 5, seed=1)
    assert np.bincount(fold).tolist() == [10] * 5
    events = np.bincount(fold[y["event"]], minlength=5)
    assert events.max() - events.min() <= 1
    earliest = fold[np.argsort(np.where(y["event"], y["time"], np.inf))[:5]]
    assert sorted(earliest) == [0, 1, 2, 3, 4]
    order = rng.permutation(50)
    assert np.array_equal(balanced_folds(read_survival(y[order]), 5, seed=1), fold[order])
    assert not np.array_equal(balanced_folds(read_survival(y), 5, seed=2), fold)


@pytest.mark.parametrize("name", ["two components", "elastic net", "forest", "boosting"])
def test_metastases_of_breast_cancer_are_told_from_gene_expression_and_signs(name: str) -> None:
    table, outcome = load_breast_cancer()
    X = table.drop(columns=["er", "grade"]).assign(er=table["er"] == "positive").to_numpy(dtype=float)
    y, folds = survival_outcome(outcome["e.tdm"], outcome["t.tdm"]), []
    fold = balanced_folds(read_survival(y), 5, seed=0)
    for held in (fold == number for number in range(5)):
        risk = clone(MODELS[name]).fit(X[~held], y[~held]).predict(X[held])
        folds.append((np.flatnonzero(held), y[held], risk))
    found = cross_validated_concordance(folds)
    assert found.value > 0.6
    assert found.low > 0.5
