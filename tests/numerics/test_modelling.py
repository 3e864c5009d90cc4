"""Feature tables and models against planted effects, pure noise and bad tables."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from jsonschema import Draft202012Validator
from scipy.stats import norm
from sklearn.feature_selection import f_classif
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import QuantileTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from voxelome.errors import DataError
from voxelome.modelling.analysis import AnalysisResult, load_model, parse_analysis, run_analysis, save_model
from voxelome.modelling.artifact import TRUSTED_TYPES
from voxelome.modelling.estimators import KeepColumns, NormalScores, SelectUncorrelated
from voxelome.modelling.families import Choice, families
from voxelome.modelling.settings import AnalysisSettings
from voxelome.modelling.table import widen

pytestmark = pytest.mark.usefixtures("few_trees")

SCHEMA = Path(__file__).resolve().parents[2] / "config" / "schemas" / "analysis.yaml"


def cohort(
    n: int = 40, features: int = 50, seed: int = 0, effect: float = 0.0, visits: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give features, of which the first differs by `effect`, and participants."""
    rng = np.random.default_rng(seed)
    mutated = rng.permutation(np.arange(n) % 2 == 1)
    names = [f"sub-{number:03d}" for number in range(n)]
    values = np.repeat(rng.normal(size=(n, features)), visits, axis=0)
    values += 0.1 * rng.normal(size=values.shape)
    values[:, 0] += effect * np.repeat(mutated, visits)
    table = pd.DataFrame(values, columns=[f"T1w__brain__original__glcm__F{i:03d}" for i in range(features)])
    table.insert(0, "participant_id", np.repeat(names, visits))
    table.insert(
        1, "session_id", [f"ses-{i + 1}" if visits > 1 else None for _ in names for i in range(visits)]
    )
    people = pd.DataFrame(
        {
            "participant_id": names,
            "mutation": np.where(mutated, "mutated", "wildtype"),
            "idh": mutated.astype(float),
            "age": rng.normal(50, 10, n).round(),
            "sex": rng.choice(["F", "M"], n),
            "site": [f"site{i % 8}" for i in range(n)],
        }
    )
    return table, people


def analyse(table: pd.DataFrame, people: pd.DataFrame, **changes: Any) -> AnalysisResult:
    # The fastest model, where it does not matter which.
    fast = {"positive": "mutated", "model": "elasticnet_logistic", "repeats": 2}
    alone = {"permutations": 0, "explain": False}
    settings = {"name": "test", "outcome": "mutation", **fast, **alone, **changes}
    return run_analysis(table, people, parse_analysis(settings))


def long_table(sessions: tuple[str | None, ...]) -> pd.DataFrame:
    rows = [
        (name, session, image, "brain", "original", "firstorder", feature, number, "intensity", "")
        for name in ("sub-02", "sub-01")
        for session in sessions
        for number, (image, feature) in enumerate([("T2w", "Mean"), ("T1w", "Range"), ("T1w", "Mean")])
    ]
    columns = [
        "participant_id",
        "session_id",
        "image",
        "roi",
        "filter",
        "class",
        "feature",
        "value",
        "unit",
        "reason",
    ]
    return pd.DataFrame(rows, columns=columns)


# --- the feature table ------------------------------------------------------------------------------


@pytest.mark.parametrize("sessions", [(None,), ("ses-2", "ses-1"), ("ses-1", None)])
def test_the_wide_table_has_a_row_a_visit_and_sorted_features(sessions: tuple[str | None, ...]) -> None:
    wide = widen(long_table(sessions))
    assert list(wide.columns) == [
        "participant_id",
        "session_id",
        "T1w__brain__original__firstorder__Mean",
        "T1w__brain__original__firstorder__Range",
        "T2w__brain__original__firstorder__Mean",
    ]
    assert list(wide["participant_id"]) == sorted(["sub-01", "sub-02"] * len(sessions))
    found = [None if pd.isna(value) else value for value in wide["session_id"]]
    assert found == sorted(sessions, key=lambda value: value or "") * 2
    assert wide.iloc[:, 2:].to_numpy().tolist() == [[2, 1, 0]] * len(wide)


def test_a_value_that_is_missing_stays_missing_and_its_column_stays() -> None:
    table = long_table((None,)).astype({"value": float})
    table.loc[table["feature"] == "Range", "value"] = np.nan
    table = table.drop(index=0)
    wide = widen(table)
    assert wide["T1w__brain__original__firstorder__Range"].isna().all()
    assert wide["T2w__brain__original__firstorder__Mean"].isna().tolist() == [False, True]


def test_the_wide_table_survives_tsv_and_parquet(tmp_path: Path) -> None:
    wide = widen(long_table((None,)))
    wide.to_parquet(tmp_path / "features.parquet", index=False)
    wide.to_csv(tmp_path / "features.tsv", sep="\t", index=False, na_rep="n/a")
    assert (tmp_path / "features.tsv").read_text().splitlines()[1].startswith("sub-01\tn/a\t")
    back = pd.read_csv(tmp_path / "features.tsv", sep="\t", na_values="n/a", keep_default_na=False)
    pd.testing.assert_frame_equal(back, wide.assign(session_id=np.nan), check_dtype=False)


def test_a_feature_given_twice_is_refused() -> None:
    table = long_table(("ses-1",))
    with pytest.raises(DataError, match=r"T2w__brain__original__firstorder__Mean of sub-02 ses-1"):
        widen(pd.concat([table, table.head(1)]))


# --- settings ---------------------------------------------------------------------------------------


def test_the_schema_and_the_settings_agree() -> None:
    schema = yaml.safe_load(SCHEMA.read_text())
    assert set(schema["properties"]) == {field.name for field in dataclasses.fields(AnalysisSettings)}
    settings = parse_analysis({"name": "a", "outcome": "b"})
    for name, content in schema["properties"].items():
        if "default" in content:
            value = getattr(settings, name)
            assert (list(value) if isinstance(value, tuple) else value) == content["default"], name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "rank"}, "this version offers binary"),
        ({"outer_fold": 3}, "did you mean outer_folds"),
        ({"name": "a b"}, "letters, digits"),
        ({"name": None}, "give a text"),
        ({"outer_folds": 1}, "at least 2"),
        ({"repeats": True}, "integer"),
        ({"random_seed": -1}, "at least 0"),
        ({"features": "T1w*"}, "list of texts"),
        ({"covariates": [3]}, "list of texts"),
        ({"covariates": ["age", "age"]}, "name each once"),
        ({"model": "forest"}, "elasticnet_logistic"),
        ({"positive": ["x"]}, "value of the outcome"),
        ({"visits": "second"}, "all, first, last, mean"),
        ({"search": "bayes"}, "grid, random, halving"),
        ({"search_seconds": 0}, "above 0"),
        ({"balance": "more"}, "undersample"),
        ({"learning_curve": [1.5]}, "between 0 and 1"),
        ({"horizons": "12"}, "list of numbers"),
        ({"explain": "yes"}, "true or false"),
        ({"jobs": 0}, "at least 1"),
        ({"filters": ["correlations"]}, "did you mean correlation"),
        ({"hold_out": ["A"]}, "columns of participants.tsv"),
    ],
)
def test_a_wrong_setting_is_named_and_the_schema_refuses_it_too(change: dict[str, Any], message: str) -> None:
    content = {"name": "idh", "outcome": "mutation", **change}
    with pytest.raises(DataError, match=message):
        parse_analysis(content)
    assert not Draft202012Validator(yaml.safe_load(SCHEMA.read_text())).is_valid(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": ["a", "b", "c"]}, "has an order"),
        ({"kind": "continuous", "balance": "smote"}, "no classes to balance"),
        ({"kind": "continuous", "bootstrap": 100}, "bootstrap is for binary"),
        ({"horizons": [12]}, "horizons are for kind: survival"),
        ({"bootstrap": 100, "groups": "site"}, "groups must not be parted"),
        ({"where": {"age": {"min": float("-inf")}}}, "finite numbers"),
        ({"hold_out": {"age": {"min": "old"}}}, "finite numbers"),
        ({"visits": "mean", "minimum_reliability": 0.75}, "visits are averaged"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_analysis({"name": "idh", "outcome": "mutation", **change})


def test_an_analysis_needs_a_name_and_an_outcome() -> None:
    with pytest.raises(DataError, match="no name and no outcome"):
        parse_analysis({})
    with pytest.raises(DataError, match="outcome and a covariate"):
        parse_analysis({"name": "a", "outcome": "age", "covariates": ["age"]})


# --- the selection of features ----------------------------------------------------------------------


@parametrize_with_checks([NormalScores(), SelectUncorrelated(), KeepColumns()])
def test_the_selection_behaves_as_scikit_learn_asks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_of_correlated_features_the_best_alone_is_kept() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    good, other = rng.normal(size=60) + 2 * y, rng.normal(size=60) + y
    frame = pd.DataFrame(
        {
            "copy": good + 0.3 * rng.normal(size=60),
            "other": other,
            "good": good,
            "flat": 1.0,
            "noise": rng.normal(size=60),
        }
    )
    selection = SelectUncorrelated(2).fit(frame, y)
    assert list(selection.get_feature_names_out()) == ["other", "good"]
    assert frame.columns[selection.ranking_[0]] == "good"
    np.testing.assert_allclose(selection.scores_[:3], f_classif(frame.iloc[:, :3], y)[0])


# --- what the validation finds ----------------------------------------------------------------------


def test_nothing_is_found_in_noise() -> None:
    # 500 features of 40 participants: a selection outside the folds would find an AUC above 0.9 here.
    found = [analyse(*cohort(features=500, seed=seed)).metrics["auc"] for seed in range(6)]
    assert 0.35 < np.mean(found) < 0.65
    assert max(found) < 0.85


def test_a_planted_effect_is_found_and_named() -> None:
    result = analyse(*cohort(features=500, effect=3.0, seed=1))
    assert result.metrics["auc"] > 0.9
    assert result.metrics["auc_low"] > 0.5
    assert result.metrics["balanced_accuracy"] > 0.8
    assert result.metrics["brier"] < result.metrics["brier_of_prevalence"]
    first = result.selected.iloc[0]
    assert first["feature"] == "T1w__brain__original__glcm__F000"
    assert first["frequency"] == 1.0
    assert first["coefficient"] > 0
    assert first["model_coefficient"] > 0


def test_the_order_of_rows_and_columns_and_the_number_of_threads_change_nothing() -> None:
    table, people = cohort(effect=1.0, visits=2)
    first = analyse(table, people, covariates=["age", "sex"])
    settings = parse_analysis(
        {
            "name": "test",
            "outcome": "mutation",
            "positive": "mutated",
            "model": "elasticnet_logistic",
            "repeats": 2,
            "covariates": ["age", "sex"],
            "permutations": 0,
            "explain": False,
        }
    )
    mixed = table.sample(frac=1, random_state=3)[[*table.columns[:2], *table.columns[:1:-1]]]
    again = run_analysis(mixed, people.sample(frac=1, random_state=4), settings, threads=2)
    assert first.metrics == again.metrics
    pd.testing.assert_frame_equal(first.predictions, again.predictions)
    pd.testing.assert_frame_equal(first.selected, again.selected)


def test_another_seed_makes_other_folds() -> None:
    table, people = cohort(effect=1.0)
    first, other = (analyse(table, people, random_seed=seed).predictions for seed in (0, 1))
    assert list(first["fold"]) != list(other["fold"])


def test_every_visit_is_predicted_once_a_repeat_and_a_participant_lies_in_one_fold() -> None:
    table, people = cohort(effect=1.0, visits=3)
    result = analyse(table, people)
    predictions = result.predictions
    assert list(predictions.columns) == [
        "participant_id",
        "session_id",
        "repeat",
        "fold",
        "probability",
        "outcome",
    ]
    assert not predictions.duplicated(["participant_id", "session_id", "repeat"]).any()
    assert len(predictions) == 2 * len(table)
    assert (predictions.groupby(["participant_id", "repeat"])["fold"].nunique() == 1).all()
    assert predictions["probability"].between(0, 1).all()
    truth = people.set_index("participant_id")["mutation"]
    assert (predictions["outcome"] == predictions["participant_id"].map(truth)).all()
    assert result.metrics["n"] == 40
    assert result.metrics["n_visits"] == 120
    assert any("several visits" in note for note in result.notes)


def test_visits_of_one_participant_do_not_leak_who_it_is() -> None:
    # Visits are near copies: were they split between training and test, noise would predict.
    found = [analyse(*cohort(n=24, features=100, visits=3, seed=seed)).metrics["auc"] for seed in range(4)]
    assert 0.3 < np.mean(found) < 0.7


def test_groups_are_never_split() -> None:
    table, people = cohort()
    predictions = analyse(table, people, groups="site", outer_folds=4).predictions
    site = predictions["participant_id"].map(people.set_index("participant_id")["site"])
    assert (predictions.groupby([site, "repeat"])["fold"].nunique() == 1).all()


@pytest.mark.parametrize("texts", [["abc"] * 40, ["3,5"] * 40, [1.5] * 39 + ["n.d."]])
def test_a_feature_of_text_is_named(texts: list[object]) -> None:
    table, people = cohort()
    table["T1w__brain__original__glcm__Typed"] = pd.Series(texts, dtype=object)
    with pytest.raises(DataError, match="glcm__Typed hold text, not numbers; exclude them from the analysis"):
        analyse(table, people)


def test_missing_and_infinite_values_are_borne() -> None:
    table, people = cohort(effect=3.0)
    rng = np.random.default_rng(0)
    values = table.iloc[:, 2:].mask(rng.random((len(table), table.shape[1] - 2)) < 0.1)
    values.iloc[3, 1] = np.inf
    values["all__missing"] = np.nan
    values["con__stant"] = 3.0
    result = analyse(pd.concat([table.iloc[:, :2], values], axis=1), people)
    assert result.metrics["auc"] > 0.8
    assert result.metrics["n_features"] == 50
    assert any("1 infinite" in note for note in result.notes)
    assert any("2 feature(s) that are missing or constant" in note for note in result.notes)


def test_covariates_and_patterns_choose_what_is_offered() -> None:
    table, people = cohort()
    people["age"] = np.where(people["mutation"] == "mutated", 60.0, 40.0) + people["age"] / 10
    result = analyse(table, people, features=["*F00?"], exclude=["*F003"], covariates=["age", "sex"])
    assert result.metrics["n_features"] == 9 + 2
    assert result.selected.iloc[0]["feature"] == "covariate__age"
    assert "covariate__sex=M" in result.model.feature_names_in_


def test_an_empty_cell_of_a_covariate_is_a_missing_number() -> None:
    table, people = cohort()
    people["age"] = ["" if number == 3 else str(age) for number, age in enumerate(people["age"])]
    result = analyse(table, people, features=["*F001"], covariates=["age"])
    assert sorted(result.model.feature_names_in_) == ["T1w__brain__original__glcm__F001", "covariate__age"]


def test_the_area_under_the_curve_given_is_the_auc_given() -> None:
    result = analyse(*cohort(effect=1.0))
    fpr, tpr = result.roc
    assert np.trapezoid(tpr, fpr) == pytest.approx(result.metrics["auc"])
    assert json.loads(json.dumps(result.metrics, allow_nan=False)) == result.metrics


def test_the_model_file_predicts_as_the_model_and_holds_no_foreign_type(tmp_path: Path) -> None:
    table, people = cohort(effect=2.0)
    result = analyse(table, people)
    save_model(tmp_path / "model.skops", result.model)
    assert [path.name for path in tmp_path.iterdir()] == ["model.skops"]
    assert set(skops.io.get_untrusted_types(file=tmp_path / "model.skops")) <= set(TRUSTED_TYPES)
    model = load_model(tmp_path / "model.skops")
    inputs = table[list(model.feature_names_in_)]
    np.testing.assert_array_equal(model.predict_proba(inputs), result.model.predict_proba(inputs))
    assert len(model[:-1].get_feature_names_out()) <= 10


@pytest.mark.parametrize("model", ["ensemble", "stacked", "ridge_logistic", "extra_trees", "svm", "superpc"])
def test_every_model_finds_a_planted_effect_and_its_file_predicts_as_it_does(model, tmp_path: Path) -> None:
    table, people = cohort(features=10, effect=4.0)
    result = analyse(table, people, model=model, repeats=1, outer_folds=3)
    assert result.metrics["auc"] > 0.85
    if model not in ("svm", "superpc"):
        assert result.selected.iloc[0]["feature"] == "T1w__brain__original__glcm__F000"
    save_model(tmp_path / "model.skops", result.model)
    inputs = table[list(result.model.feature_names_in_)]
    again = load_model(tmp_path / "model.skops").predict_proba(inputs)
    np.testing.assert_array_equal(again, result.model.predict_proba(inputs))


@pytest.mark.parametrize(
    "model", ["ensemble", "stacked", "random_forest", "gradient_boosting", "svm", "superpc"]
)
def test_a_number_is_predicted_with_its_error(model) -> None:
    table, people = cohort(n=60, features=20)
    noise = np.random.default_rng(5).normal(0, 0.3, len(people))
    people["age"] = 50 + 10 * (table["T1w__brain__original__glcm__F003"].to_numpy() + noise)
    result = analyse(table, people, outcome="age", kind="continuous", positive=None, model=model, repeats=1)
    metrics = result.metrics
    assert 0.3 < metrics["r2"] < 1
    assert metrics["r2_low"] < metrics["r2"] < metrics["r2_high"]
    assert metrics["rmse"] < metrics["rmse_of_mean"]
    assert metrics["rmse_low"] < metrics["rmse"] < metrics["rmse_high"]
    assert list(result.predictions.columns[-2:]) == ["prediction", "outcome"]
    assert result.roc is None


@pytest.mark.parametrize("selection", ["fdr", "mrmr", "penalty"])
def test_every_selection_keeps_a_planted_feature(selection) -> None:
    table, people = cohort(features=8, effect=4.0)
    few = {"selected_features": 5, "repeats": 1, "outer_folds": 2}
    result = analyse(table, people, selection=selection, **few)
    assert result.metrics["auc"] > 0.85
    assert result.selected.iloc[0]["feature"] == "T1w__brain__original__glcm__F000"
    assert result.model[:-1].get_feature_names_out().size < 8


@pytest.mark.parametrize("model", ["elasticnet_logistic", "ridge_logistic", "extra_trees"])
def test_filters_leave_out_what_repeats_or_hardly_varies_in_every_model(model, tmp_path: Path) -> None:
    table, people = cohort(features=12, effect=4.0)
    first = table["T1w__brain__original__glcm__F000"]
    table["T1w__brain__original__glcm__twin"] = 2 * first + 1e-3 * np.arange(len(table))
    table["T1w__brain__original__glcm__rare"] = np.r_[1.0, np.zeros(len(table) - 1)]
    result = analyse(table, people, model=model, repeats=1, filters=["near_zero_variance", "correlation"])
    assert result.metrics["auc"] > 0.85
    steps = result.model.named_steps
    left = result.model[: list(steps).index("correlation") + 1].get_feature_names_out()
    assert len(left) == 12
    assert "T1w__brain__original__glcm__rare" not in left
    assert sum(name.endswith(("F000", "twin")) for name in left) == 1
    assert result.selected.iloc[0]["feature"] in left
    save_model(tmp_path / "model.skops", result.model)
    inputs = table[list(result.model.feature_names_in_)]
    again = load_model(tmp_path / "model.skops").predict_proba(inputs)
    np.testing.assert_array_equal(again, result.model.predict_proba(inputs))


@pytest.mark.parametrize("selection", ["fdr", "mrmr", "penalty", "stability", "boruta"])
def test_the_file_of_a_model_with_any_selection_predicts_as_the_model(selection, tmp_path: Path) -> None:
    table, people = cohort(features=8, effect=4.0)
    family = families("binary", "elasticnet_logistic")["elasticnet_logistic"]
    steps = family.prepare(Choice(selection, 5, 0))
    inputs = table.iloc[:, 2:]
    model = Pipeline([*steps, ("model", family.model({"C": 1.0}, 0))]).fit(
        inputs, people["mutation"] == "mutated"
    )
    assert "T1w__brain__original__glcm__F000" in model[:-1].get_feature_names_out()
    save_model(tmp_path / "model.skops", model)
    again = load_model(tmp_path / "model.skops").predict_proba(inputs)
    np.testing.assert_array_equal(again, model.predict_proba(inputs))


@pytest.mark.parametrize("search", ["random", "halving"])
def test_a_search_finds_a_setting_that_does_as_well_as_the_grid(search) -> None:
    table, people = cohort(n=60, features=40, effect=2.0)
    asked = {"model": "elasticnet_logistic", "repeats": 1, "search": search, "trials": 9}
    result = analyse(table, people, **asked)
    assert result.metrics["auc"] > analyse(table, people, repeats=1).metrics["auc"] - 0.1
    again = analyse(table, people, **asked)
    assert again.metrics == result.metrics
    # What was drawn lies between the steps of the grid.
    assert result.model[-1].C not in (0.01, 0.1, 10.0)


def test_a_search_by_time_takes_the_default_where_there_is_no_time() -> None:
    table, people = cohort(n=40, features=10, effect=2.0)
    result = analyse(table, people, repeats=1, search="random", search_seconds=1e-9)
    assert result.model[-1].C == 1.0


@pytest.mark.parametrize("balance", ["weights", "undersample", "oversample", "smote"])
def test_balanced_classes_leave_probabilities_at_the_prevalence(balance, tmp_path: Path) -> None:
    table, people = cohort(n=120, features=5, effect=2.0)
    rare = people["mutation"] == "mutated"
    people.loc[people.index[rare][:40], "mutation"] = "wildtype"
    result = analyse(table, people, model="ridge_logistic", repeats=1, balance=balance)
    assert result.metrics["n_positive"] == 20
    assert result.predictions["probability"].mean() == pytest.approx(1 / 6, abs=0.05)
    save_model(tmp_path / "model.skops", result.model)
    inputs = table[list(result.model.feature_names_in_)]
    again = load_model(tmp_path / "model.skops").predict_proba(inputs)
    np.testing.assert_array_equal(again, result.model.predict_proba(inputs))


def test_a_model_that_takes_no_weights_is_named() -> None:
    with pytest.raises(DataError, match="takes no weights of cases"):
        analyse(*cohort(features=8), model="superpc", balance="weights")


def test_noise_does_not_predict_a_number() -> None:
    found = []
    for seed in range(4):
        table, people = cohort(n=40, features=200, seed=seed)
        result = analyse(table, people, outcome="age", kind="continuous", positive=None, model="ridge")
        found.append(result.metrics["r2"])
    assert max(found) < 0.2


def test_a_site_is_left_out_at_a_time() -> None:
    table, people = cohort(effect=3.0)
    result = analyse(table, people, groups="site", validation="leave_one_group_out")
    site = result.predictions["participant_id"].map(people.set_index("participant_id")["site"])
    folds = result.predictions.groupby("fold")
    assert (site.groupby(result.predictions["fold"]).nunique() == 1).all()
    assert len(folds) == people["site"].nunique() == result.metrics["folds"]
    assert result.metrics["repeats"] == 1


def test_normal_scores_are_those_of_scikit_learn_but_for_the_extremes() -> None:
    rng = np.random.default_rng(0)
    values = np.c_[rng.normal(size=(80, 10)), rng.lognormal(size=(80, 5)), rng.integers(0, 4, (80, 3))]
    unseen = np.r_[values, values * 1.5]
    peer = QuantileTransformer(n_quantiles=50, output_distribution="normal").fit(values).transform(unseen)
    scores = NormalScores().fit(values).transform(unseen)
    inside = (unseen > values.min(axis=0)) & (unseen < values.max(axis=0))
    end = norm.ppf(0.5 / 80)
    np.testing.assert_allclose(scores[inside], peer[inside].clip(end, -end), atol=1e-6)
    assert scores[:, :15].min() == end
    # A quarter of the values is the largest whole number: it has the middle of their ranks.
    assert scores[:80, 15:].max() < 1.6


# --- outcomes ---------------------------------------------------------------------------------------


def test_an_outcome_that_does_not_exist_is_answered_with_what_there_is() -> None:
    with pytest.raises(DataError, match=r"no column Mutaton.*did you mean mutation\?"):
        analyse(*cohort(), outcome="Mutaton")


def test_a_numeric_outcome_has_its_larger_value_as_the_positive_class() -> None:
    table, people = cohort(effect=3.0)
    people.loc[0, "idh"] = np.nan
    result = analyse(table, people, outcome="idh", positive=None)
    assert (result.metrics["positive"], result.metrics["negative"]) == ("1", "0")
    assert result.metrics["n"] == 39
    assert any("sub-000" in note and "no idh" in note for note in result.notes)
    assert analyse(table, people, outcome="idh", positive=1.0).metrics["auc"] == result.metrics["auc"]


def test_the_other_positive_class_gives_the_same_auc() -> None:
    table, people = cohort(effect=1.0)
    first, other = (analyse(table, people, positive=label) for label in ("mutated", "wildtype"))
    assert other.metrics["auc"] == pytest.approx(first.metrics["auc"], abs=0.03)
    assert other.metrics["n_positive"] == first.metrics["n_negative"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["a"] * 40, r"1 different value\(s\).*a \(40\)"),
        (list("abcd") * 10, r"4 different value\(s\)"),
        ([None] * 40, "no participant has features and the outcome"),
        (["a"] * 37 + ["b"] * 3, r"b \(3\).*at least 4"),
    ],
)
def test_an_outcome_that_allows_no_analysis_is_refused(column: list[Any], message: str) -> None:
    table, people = cohort()
    people["mutation"] = column
    with pytest.raises(DataError, match=message):
        analyse(table, people, positive=None)


def test_a_positive_class_that_nobody_has_is_refused() -> None:
    with pytest.raises(DataError, match=r"positive class yes.*mutated \(20\), wildtype \(20\)"):
        analyse(*cohort(), positive="yes")


def test_few_participants_have_fewer_folds_and_a_wide_interval() -> None:
    result = analyse(*cohort(n=8, features=2, effect=20.0))
    assert result.metrics["folds"] == 2
    assert result.metrics["auc"] == 1.0
    assert result.metrics["auc_low"] < 0.7
    assert any("2 instead of 5 folds" in note for note in result.notes)


def test_participants_without_a_row_or_without_features_are_told() -> None:
    table, people = cohort()
    notes = " ".join(analyse(table.drop(index=1), people.drop(index=[0])).notes)
    assert "no row in participants.tsv: sub-000" in notes
    assert "an outcome and no features: sub-001" in notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": ["FLAIR*"]}, "no feature matches FLAIR"),
        ({"exclude": ["*"]}, "every feature is excluded"),
        ({"covariates": ["agee"]}, r"no column agee, the covariate; did you mean age\?"),
        ({"groups": "family"}, "no column family, the group"),
    ],
)
def test_names_that_do_not_exist_are_told(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        analyse(*cohort(), **change)


def test_a_participant_given_twice_is_refused() -> None:
    table, people = cohort()
    with pytest.raises(DataError, match="several rows of sub-000"):
        analyse(table, pd.concat([people, people.head(1)]))
    with pytest.raises(DataError, match="a visit has several rows"):
        analyse(pd.concat([table, table.head(1)]), people)
