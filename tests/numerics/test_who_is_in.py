"""Who is in an analysis: sessions.tsv, which visits, the flow, and whom nothing may look at."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from tests.numerics.test_modelling import analyse, cohort
from voxelome.errors import DataError
from voxelome.modelling.analysis import AnalysisResult, run_analysis
from voxelome.modelling.apply import apply_model, describe_model
from voxelome.modelling.cohort import locked_away
from voxelome.modelling.hold_out import digest_of, open_hold_out
from voxelome.modelling.people import Tables
from voxelome.modelling.settings import parse_analysis

pytestmark = pytest.mark.usefixtures("few_trees")

FIRST = "T1w__brain__original__glcm__F000"


def followed(effect: float = 0.0) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Give three visits of 40 participants, the last on another scanner, in another order of dates."""
    table, people = cohort(n=40, features=10, effect=effect, visits=3)
    sessions = table[["participant_id", "session_id"]].copy()
    number = sessions.groupby("participant_id").cumcount()
    sessions["scanner"] = np.where(number == 2, "new", "old")
    sessions["acq_time"] = number.map({0: "2024-03-01T09:00:00", 1: "2024-01-01", 2: "2024-02-01T10:00:00"})
    sessions["weight"] = 60.0 + number
    return table, people, sessions


def of_sessions(
    table: pd.DataFrame, people: pd.DataFrame, sessions: pd.DataFrame, **changes: object
) -> AnalysisResult:
    asked = {"name": "a", "outcome": "mutation", "positive": "mutated", "model": "ridge_logistic"}
    settings = parse_analysis({**asked, "repeats": 1, "explain": False, "permutations": 0, **changes})
    return run_analysis(table, people, settings, sessions=sessions)


def test_where_chooses_visits_by_sessions_tsv() -> None:
    result = of_sessions(*followed(), where={"scanner": "old"})
    assert set(result.predictions["session_id"]) == {"ses-1", "ses-2"}
    assert result.metrics["n_visits"] == 80


def test_a_covariate_may_differ_between_visits() -> None:
    table, people, sessions = followed()
    sessions.loc[sessions["session_id"] == "ses-2", "weight"] = np.nan
    result = of_sessions(table, people.assign(weight=50.0), sessions, covariates=["weight"])
    assert "covariate__weight" in result.model.feature_names_in_
    # Where sessions.tsv says nothing, that of participants.tsv counts.
    imputer = result.model.named_steps["impute"]
    assert imputer.statistics_[list(result.model.feature_names_in_).index("covariate__weight")] == 60


@pytest.mark.parametrize(
    ("visits", "visit_time", "expected"),
    [
        ("first", None, 1),
        ("last", None, 3),
        ("first", "acq_time", 2),
        ("last", "acq_time", 1),
    ],
)
def test_the_first_or_last_visit_is_that_of_its_date(
    visits: str, visit_time: str | None, expected: int
) -> None:
    result = of_sessions(*followed(), visits=visits, visit_time=visit_time)
    assert set(result.predictions["session_id"]) == {f"ses-{expected}"}
    assert len(result.predictions) == 40


def test_the_mean_of_all_visits_is_taken_where_that_is_asked() -> None:
    table, people, sessions = followed(effect=3.0)
    result = of_sessions(table, people, sessions, visits="mean")
    assert result.predictions["session_id"].isna().all()
    mean = table.groupby("participant_id")[list(result.model.feature_names_in_)].mean()
    assert result.metrics["n_visits"] == 40
    known = result.model.predict_proba(mean)[:, 1]
    assert np.mean(known[people["mutation"] == "mutated"]) > np.mean(known[people["mutation"] != "mutated"])


def test_a_time_that_is_no_date_and_a_column_of_visits_as_outcome_are_refused() -> None:
    table, people, sessions = followed()
    sessions.loc[4, "acq_time"] = "yesterday"
    with pytest.raises(DataError, match="sub-001 ses-2 have no acq_time"):
        of_sessions(table, people, sessions, visits="last", visit_time="acq_time")
    with pytest.raises(DataError, match=r"no column scanner in participants.tsv.*it is in sessions.tsv"):
        of_sessions(table, people, sessions, outcome="scanner", positive=None)
    with pytest.raises(DataError, match="no visit is as where says"):
        of_sessions(table, people, sessions, where={"scanner": "none"})


def test_the_flow_counts_everybody_and_says_why_each_was_left_out() -> None:
    table, people = cohort(n=60, features=10)
    people.loc[:4, "mutation"] = None
    table = table[~table["participant_id"].isin(["sub-010", "sub-011", "sub-012"])]
    where, hold_out = {"age": {"min": 45}}, {"site": ["site1", "site2"]}
    result = analyse(table, people, where=where, hold_out=hold_out, repeats=1)
    flow = result.metrics["flow"]
    old = people["age"] >= 45
    known = old & people["mutation"].notna()
    measured = known & people["participant_id"].isin(table["participant_id"])
    kept = measured & ~people["site"].isin(["site1", "site2"])
    assert [step["n"] for step in flow] == [60, old.sum(), known.sum(), measured.sum(), kept.sum()]
    whys = [item["why"] for step in flow for item in step["left_out"]]
    assert whys == [
        "not as where says: age at least 45",
        "mutation is not known",
        "no features",
        "locked hold-out: site site1 or site2",
    ]
    for step, after in pairwise(flow):
        assert step["n"] - sum(item["n"] for item in step["left_out"]) == after["n"]
    assert result.metrics["n"] == flow[-1]["n"]


def locked(effect: float = 2.0, **changes: object) -> tuple[pd.DataFrame, pd.DataFrame, object]:
    table, people = cohort(n=80, features=20, effect=effect)
    people["size"] = np.arange(80) % 7
    settings = parse_analysis(
        {
            "name": "a",
            "outcome": "mutation",
            "positive": "mutated",
            "model": "ridge_logistic",
            "repeats": 1,
            "hold_out": {"site": ["site6", "site7"]},
            "explain": False,
            "permutations": 0,
            **changes,
        }
    )
    return table, people, settings


def test_nothing_that_is_fitted_depends_on_who_is_locked_away() -> None:
    table, people, settings = locked()
    first = run_analysis(table, people, settings)
    away = people.loc[people["site"].isin(["site6", "site7"]), "participant_id"]
    changed = table.copy()
    changed.loc[changed["participant_id"].isin(away), changed.columns[2:]] = 1e6
    other = people.copy()
    other.loc[other["participant_id"].isin(away), "mutation"] = "mutated"
    second = run_analysis(changed, other, settings)
    assert first.metrics == second.metrics
    pd.testing.assert_frame_equal(first.univariate, second.univariate)
    assert not set(first.predictions["participant_id"]) & set(away)


def test_opened_the_hold_out_is_judged_by_the_model_beside_the_simpler_ones() -> None:
    table, people, settings = locked(covariates=["age"])
    result = run_analysis(table, people, settings)
    about = describe_model(settings, result, {})
    predictions, metrics = open_hold_out(result.model, about, table, Tables(people), settings)
    away = people[people["site"].isin(["site6", "site7"])]
    assert sorted(predictions["participant_id"]) == sorted(away["participant_id"])
    inputs = table.merge(people[["participant_id", "age"]]).rename(columns={"age": "covariate__age"})
    inputs = inputs.set_index("participant_id").loc[predictions["participant_id"], about["Features"]]
    np.testing.assert_allclose(predictions["probability"], result.model.predict_proba(inputs)[:, 1])
    assert metrics["n"] == len(away)
    assert metrics["auc"] > 0.7
    clinical = metrics["alternatives"][0]
    assert clinical["name"] == "clinical covariates alone"
    assert clinical["test"] == "DeLong's test"
    assert clinical["difference"] == pytest.approx(metrics["auc"] - clinical["value"])


def test_the_same_participants_have_one_digest_whatever_was_measured() -> None:
    table, people, settings = locked()
    names = list(locked_away(table, Tables(people), settings)[0].index)
    known = digest_of(names)
    assert digest_of(reversed(names)) == known
    _, _, fewer = locked(hold_out={"site": "site7"})
    some = digest_of(locked_away(table, Tables(people), fewer)[0].index)
    assert set(some) < set(known)
    assert not any(name in " ".join(known) for name in names)


def test_a_hold_out_of_others_than_those_left_out_of_training_is_not_opened() -> None:
    table, people, settings = locked()
    result = run_analysis(table, people, settings)
    about = describe_model(settings, result, {})
    moved = people.assign(site=np.roll(people["site"], 1))
    with pytest.raises(DataError, match="whom the model may have been trained on"):
        open_hold_out(result.model, about, table, Tables(moved), settings)
    away = people.index[people["site"] == "site6"]
    fewer = people.drop(index=away[:2])
    with pytest.raises(DataError, match="were locked away and are not there"):
        open_hold_out(result.model, about, table, Tables(fewer), settings)


def test_where_visits_are_averaged_a_hold_out_is_of_participants() -> None:
    table, people, sessions = followed(effect=3.0)
    asked = {"visits": "mean", "hold_out": {"site": ["site6", "site7"]}}
    result = of_sessions(table, people, sessions, **asked)
    settings = parse_analysis({"name": "a", "outcome": "mutation", "positive": "mutated", **asked})
    about = describe_model(settings, result, {})
    predictions, metrics = open_hold_out(result.model, about, table, Tables(people, sessions), settings)
    assert len(predictions) == metrics["n"] == len(result.held_out) == 10
    elsewhere = apply_model(result.model, about, table, None)
    assert len(elsewhere) == 40
    both = elsewhere.set_index("participant_id").loc[predictions["participant_id"], "probability"]
    np.testing.assert_allclose(both, predictions["probability"])


def test_one_site_may_be_the_hold_out_where_sites_are_groups() -> None:
    table, people, settings = locked(groups="site", hold_out={"site": "site7"})
    result = run_analysis(table, people, settings)
    about = describe_model(settings, result, {})
    _, metrics = open_hold_out(result.model, about, table, Tables(people), settings)
    assert metrics["n"] == 10
    assert metrics["sensitivity_low"] < metrics["sensitivity"]


@pytest.mark.parametrize("kind", ["binary", "multiclass", "ordinal"])
def test_a_hold_out_without_one_of_the_classes_cannot_be_judged(kind: str) -> None:
    table, people = cohort(n=60, features=6)
    grade = np.arange(60) % 3
    people["outcome"], people["away"] = np.where(kind == "binary", grade > 0, grade), 0
    people.loc[people.index[grade > 0][:8], "away"] = 1
    asked = {"name": "a", "outcome": "outcome", "kind": kind, "model": "ridge_logistic", "repeats": 1}
    settings = parse_analysis({**asked, "hold_out": {"away": 1}, "permutations": 0, "explain": False})
    result = run_analysis(table, people, settings)
    with pytest.raises(DataError, match="not every class"):
        open_hold_out(result.model, describe_model(settings, result, {}), table, Tables(people), settings)


def test_sites_of_the_hold_out_that_harmonisation_would_refuse_are_named_before_training() -> None:
    table, people, settings = locked(harmonise="site")
    with pytest.raises(DataError, match="hold_out has the site site6, site7, and nobody else has"):
        run_analysis(table, people, settings)


def test_visits_that_tell_no_change_leave_the_analysis_as_it_is() -> None:
    table, people, sessions = followed()
    sessions["acq_time"] = "2024-01-01"
    result = of_sessions(table, people, sessions, visit_time="acq_time")
    assert result.mixed is None
    assert any("No mixed models of repeated visits" in note for note in result.notes)
    told = of_sessions(*followed()).mixed
    assert set(told["term"]) >= {"outcome", "time", "outcome x time"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hold_out": {"site": "nowhere"}}, "no participant is as hold_out says"),
        ({"hold_out": {"site": [f"site{i}" for i in range(8)]}}, "hold_out takes 80 of 80"),
        ({"hold_out": {"size": 3}, "groups": "site"}, "has participants in hold_out and others"),
    ],
)
def test_a_hold_out_that_makes_no_sense_is_refused(change: dict, words: str) -> None:
    table, people, settings = locked(**change)
    with pytest.raises(DataError, match=words):
        run_analysis(table, people, settings)
