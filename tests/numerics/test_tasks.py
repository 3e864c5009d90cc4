"""The fits of an analysis, dealt out among jobs, and participants left out one at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.numerics.test_modelling import analyse, cohort
from voxelome.errors import DataError
from voxelome.interfaces.fold import load_done, save_done
from voxelome.modelling.analysis import conclude, run_analysis
from voxelome.modelling.people import Tables
from voxelome.modelling.plan import plan_analysis, shuffled
from voxelome.modelling.settings import parse_analysis
from voxelome.modelling.tasks import tasks_of, work

pytestmark = pytest.mark.usefixtures("few_trees")


@pytest.mark.parametrize("kind", ["binary", "continuous", "survival", "multiclass"])
def test_fits_dealt_out_among_jobs_give_what_one_job_gives(kind: str, tmp_path: Path) -> None:
    table, people = cohort(n=48, features=8, effect=1.0)
    rng = np.random.default_rng(0)
    people["grade"], people["months"] = np.arange(48) % 3, rng.exponential(10, 48)
    outcome = {"binary": "mutation", "continuous": "age", "survival": "mutation", "multiclass": "grade"}[kind]
    model = {"continuous": "ridge", "survival": "cox_elasticnet"}.get(kind, "ridge_logistic")
    asked = {"name": "a", "outcome": outcome, "kind": kind, "model": model, "repeats": 2, "outer_folds": 3}
    asked |= {"permutations": 2, "learning_curve": [0.6], "covariates": ["sex"]}
    settings = parse_analysis(asked | ({"time": "months"} if kind == "survival" else {}))
    whole = run_analysis(table, people, settings)
    tables = Tables(people)
    files = []
    for part in range(3):
        plan = plan_analysis(table, tables, settings)
        files.append(tmp_path / f"{part}.npz")
        save_done(files[-1], work(plan, tasks_of(plan)[part::3]))
    plan = plan_analysis(table, tables, settings)
    shared = conclude(plan, tables, load_done(files, tasks_of(plan)))
    assert shared.metrics == whole.metrics
    pd.testing.assert_frame_equal(shared.predictions, whole.predictions)
    pd.testing.assert_frame_equal(shared.selected, whole.selected)


LEAVE_OUT = {"validation": "leave_one_group_out", "repeats": 1, "explain": False}


def test_where_one_participant_is_left_out_at_a_time_noise_is_found_to_be_noise() -> None:
    # Were each left out alone, and all predictions compared, this would be 0.3.
    found = [
        analyse(*cohort(n=20, features=10, seed=seed), model="ridge_logistic", **LEAVE_OUT).metrics["auc"]
        for seed in range(10)
    ]
    assert 0.42 < np.mean(found) < 0.58


def test_where_one_participant_is_left_out_at_a_time_one_of_each_class_goes_together() -> None:
    table, people = cohort(n=40, features=30, effect=3.0)
    result = analyse(table.iloc[:36], people, **LEAVE_OUT)
    assert result.metrics["auc"] > 0.85
    folds = result.predictions.groupby("fold")["outcome"]
    assert result.metrics["folds"] == people["mutation"].iloc[:36].value_counts().min()
    assert set(folds.nunique()) == {2}
    assert folds.size().max() <= 3
    assert any("one of each class is left out at a time" in note for note in result.notes)
    assert result.roc is None


def test_a_learning_curve_rises_to_the_value_of_the_model() -> None:
    metrics = analyse(*cohort(n=60, features=40, effect=2.0), learning_curve=[0.75, 0.25]).metrics
    curve = metrics["learning_curve"]
    assert [point["share"] for point in curve] == [0.25, 0.75, 1.0]
    assert [point["n"] for point in curve] == [12, 36, 48]
    assert curve[-1]["value"] == metrics["auc"]
    assert curve[0]["value"] < curve[-1]["value"]


def test_the_bootstrap_lies_between_what_appears_and_what_holds_out_of_bag() -> None:
    found = analyse(*cohort(n=40, features=40, effect=1.5), bootstrap=10).metrics["bootstrap_632"]
    assert found["out_of_bag"] < found["estimate_632_plus"] <= found["estimate_632"] < found["apparent"]
    assert found["draws"] == 10


@pytest.mark.parametrize("validation", ["kfold", "leave_one_group_out"])
@pytest.mark.parametrize("sites", [2, 3])
def test_few_sites_leave_few_inner_folds_or_none(sites: int, validation: str) -> None:
    table, people = cohort(n=48, features=6, effect=2.0)
    people["site"] = np.arange(48) // (48 // sites)
    metrics = analyse(table, people, groups="site", validation=validation, repeats=1).metrics
    assert metrics["folds"] == sites
    assert metrics["auc"] > 0.7


@pytest.mark.parametrize("n", [10, 12, 20])
def test_a_number_in_few_participants_has_as_many_folds_as_were_asked_for(n: int) -> None:
    table, people = cohort(n=n, features=4, effect=0.0)
    people["age"] = 50 + 8 * table.iloc[:, -1] + np.random.default_rng(n).normal(size=n)
    asked = {"outcome": "age", "kind": "continuous", "positive": None, "model": "elasticnet"}
    result = analyse(table, people, repeats=1, **asked)
    assert result.metrics["folds"] == 5
    assert not any("instead of" in note for note in result.notes)
    assert result.metrics["r2"] > 0.5


def test_a_number_that_differs_between_two_groups_alone_is_told_in_its_own_words() -> None:
    table, people = cohort(n=12, features=4)
    people["age"] = np.arange(12.0)
    people["site"] = ["A"] * 11 + ["B"]
    with pytest.raises(DataError, match="into folds that leave enough participants to learn from"):
        analyse(
            table,
            people,
            outcome="age",
            kind="continuous",
            positive=None,
            model="ridge",
            groups="site",
            repeats=1,
        )


def test_a_class_that_is_at_one_site_alone_cannot_be_left_out() -> None:
    table, people = cohort(n=40, features=6)
    people["site"] = np.where(people["mutation"] == "mutated", "A", people["site"])
    with pytest.raises(DataError, match="cannot be split into folds with both classes"):
        analyse(table, people, groups="site", validation="leave_one_group_out")


def test_a_permuted_outcome_is_validated_as_the_true_one() -> None:
    table, people = cohort(n=40, features=6)
    people["family"] = people.groupby("mutation").cumcount() // 4
    people["family"] = people["mutation"] + people["family"].astype(str)
    asked = {"name": "a", "outcome": "mutation", "groups": "family", "validation": "leave_one_group_out"}
    plan = plan_analysis(table, Tables(people), parse_analysis(asked))
    assert plan.folds == 5
    for number in range(4):
        assert {split.fold for split in shuffled(plan, number).splits} <= set(range(1, 6))


@pytest.mark.parametrize("model", ["svm", "superpc"])
@pytest.mark.parametrize("search", ["random", "halving"])
def test_a_search_works_for_models_with_folds_of_their_own(model: str, search: str) -> None:
    table, people = cohort(n=60, features=6, effect=2.0)
    metrics = analyse(table, people, model=model, search=search, trials=4, repeats=1, outer_folds=2).metrics
    assert metrics["auc"] > 0.6


def test_small_parts_of_the_training_keep_every_site() -> None:
    table, people = cohort(n=60, features=6, effect=2.0)
    people["scanner"] = np.arange(60) % 3
    asked = {"harmonise": "scanner", "learning_curve": [0.1], "search": "halving", "trials": 9, "repeats": 1}
    assert len(analyse(table, people, **asked).metrics["learning_curve"]) == 2


def test_a_fold_whose_only_event_is_the_last_time_tells_nothing_and_breaks_nothing() -> None:
    table, people = cohort(n=40, features=6)
    months = np.arange(40.0) + 1
    dead = np.isin(np.arange(40), [5, 12, 20, 27, 39, 38])
    people["months"], people["dead"] = months, dead.astype(int)
    asked = {"kind": "survival", "outcome": "dead", "time": "months", "positive": "1"}
    metrics = analyse(table, people, model="cox_elasticnet", explain=True, **asked).metrics
    assert 0 <= metrics["c_index"] <= 1


def test_a_group_without_which_a_class_is_missing_is_named() -> None:
    table, people = cohort(n=40)
    people["grade"], people["site"] = np.repeat([0, 1, 2], [10, 10, 20]), np.repeat([0, 1, 1], [10, 10, 20])
    grades = {"outcome": "grade", "kind": "multiclass", "positive": None, "groups": "site"}
    with pytest.raises(Exception, match="without the site left out in fold 1 a class has no participant"):
        analyse(table, people, validation="leave_one_group_out", **grades)
