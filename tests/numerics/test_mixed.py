"""Mixed models against lmerTest, statsmodels, analyses of variance, t-tests and simulation."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, ttest_ind, ttest_rel
from statsmodels.regression.mixed_linear_model import MixedLM

from voxelome.errors import DataError
from voxelome.modelling.mixed import mixed_models, visit_design
from voxelome.modelling.survival_outcome import survival_outcome
from voxelome.modelling.univariate import q_values

# Reaction times in ms of 18 participants, a row each, on days 0 to 9 without sleep: Belenky et al. (2003),
# Journal of Sleep Research 12:1-12; sleepstudy of the R package lme4.
SLEEP = """
249.5600 258.7047 250.8006 321.4398 356.8519 414.6901 382.2038 290.1486 430.5853 466.3535
222.7339 205.2658 202.9778 204.7070 207.7161 215.9618 213.6303 217.7272 224.2957 237.3142
199.0539 194.3322 234.3200 232.8416 229.3074 220.4579 235.4208 255.7511 261.0125 247.5153
321.5426 300.4002 283.8565 285.1330 285.7973 297.5855 280.2396 318.2613 305.3495 354.0487
287.6079 285.0000 301.8206 320.1153 316.2773 293.3187 290.0750 334.8177 293.7469 371.5811
234.8606 242.8118 272.9613 309.7688 317.4629 309.9976 454.1619 346.8311 330.3003 253.8644
283.8424 289.5550 276.7693 299.8097 297.1710 338.1665 332.0265 348.8399 333.3600 362.0428
265.4731 276.2012 243.3647 254.6723 279.0244 284.1912 305.5248 331.5229 335.7469 377.2990
241.6083 273.9472 254.4907 270.8021 251.4519 254.6362 245.4523 235.3110 235.7541 237.2466
312.3666 313.8058 291.6112 346.1222 365.7324 391.8385 404.2601 416.6923 455.8643 458.9167
236.1032 230.3167 238.9256 254.9220 250.7103 269.7744 281.5648 308.1020 336.2806 351.6451
256.2968 243.4543 256.2046 255.5271 268.9165 329.7247 379.4445 362.9184 394.4872 389.0527
250.5265 300.0576 269.8939 280.5891 271.8274 304.6336 287.7466 266.5955 321.5418 347.5655
221.6771 298.1939 326.8785 346.8555 348.7402 352.8287 354.4266 360.4326 375.6406 388.5417
271.9235 268.4369 257.2424 277.6566 314.8222 317.2135 298.1353 348.1229 340.2800 366.5131
225.2640 234.5235 238.9008 240.4730 267.5373 344.1937 281.1481 347.5855 365.1630 372.2288
269.8804 272.4428 277.8989 281.7895 279.1705 284.5120 259.2658 304.6306 350.7807 369.4692
269.4117 273.4740 297.5968 310.6316 287.1726 329.6076 334.4818 343.2199 369.1417 364.1236
"""
REACTION = np.array(SLEEP.split(), dtype=float)
SUBJECT, DAY = np.divmod(np.arange(180), 10)
# Some visits of it, 2 to 4 a participant, of whom every third is called late.
SOME = ((np.arange(180) ** 2 + 3 * np.arange(180)) % 7 < 3) | (np.arange(180) % 31 == 0)
LATE = (SUBJECT + 1) % 3 == 0
UNBALANCED = np.stack([LATE, DAY, LATE * DAY], axis=1)[SOME].astype(float)
TERMS = ["late", "days", "late x days"]


def models(values: np.ndarray, who: np.ndarray, design: np.ndarray, terms: list[str]) -> pd.DataFrame:
    return mixed_models(values, [f"f{place}" for place in range(values.shape[1])], who, design, terms)


def of(table: pd.DataFrame, term: str) -> pd.DataFrame:
    return table[table["term"] == term].reset_index(drop=True)


def visits(rng: np.random.Generator, people: int, most: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Participants of visits, in no order, and times of the visits."""
    who = rng.permutation(np.repeat(np.arange(people), rng.integers(1, most + 1, size=people)))
    return who, rng.uniform(2018, 2022, size=len(who))


def features(rng: np.random.Generator, who: np.ndarray, count: int, between: Any = 1.0) -> np.ndarray:
    return rng.normal(size=(len(who), count)) + between * rng.normal(size=(who.max() + 1, count))[who]


def test_the_balanced_example_of_lmer_test_is_reproduced() -> None:
    found = models(REACTION[:, None], SUBJECT, DAY[:, None].astype(float), ["days"])
    # R 4.2.2, lme4 1.1-31, lmerTest 3.1-3: summary(lmer(Reaction ~ Days + (1 | Subject), sleepstudy)).
    assert found["estimate"].tolist() == pytest.approx([251.4051048485, 10.4672859596], rel=1e-10)
    assert found["standard_error"].tolist() == pytest.approx([9.746716339, 0.804221428], rel=1e-7)
    assert found["df"].tolist() == pytest.approx([22.81019831, 161], rel=1e-7)
    assert found["p"].tolist() == pytest.approx([2.24135e-18, 6.41260e-27], rel=1e-5)
    assert found["variance_participants"].tolist() == pytest.approx([1378.1785] * 2, rel=1e-6)
    assert found["variance_residual"].tolist() == pytest.approx([960.45658] * 2, rel=1e-6)
    assert found["icc"].tolist() == pytest.approx([1378.1785 / (1378.1785 + 960.45658)] * 2, rel=1e-6)


def test_an_unbalanced_example_of_lmer_test_is_reproduced() -> None:
    found = models(REACTION[SOME, None], SUBJECT[SOME], UNBALANCED, TERMS)
    # lmer(Reaction ~ late * Days + (1 | Subject)), bobyqa with rhoend = 1e-12.
    expected = [250.688601225, 7.393825897, 11.592189042, -1.309938599]
    assert found["estimate"].tolist() == pytest.approx(expected, rel=1e-7)
    expected = [15.0120468879, 27.1783979659, 1.89546004141, 3.44400480215]
    assert found["standard_error"].tolist() == pytest.approx(expected, rel=1e-7)
    assert found["df"].tolist() == pytest.approx([28.3331893, 32.3830804, 37.6205844, 37.5485140], rel=1e-7)
    expected = [3.368367e-16, 0.7873122549, 4.104867e-07, 0.7058264039]
    assert found["p"].tolist() == pytest.approx(expected, rel=1e-6)
    assert found.loc[0, "variance_participants"] == pytest.approx(1601.449135, rel=1e-7)
    assert found.loc[0, "variance_residual"] == pytest.approx(1068.601422, rel=1e-7)


def test_participants_who_do_not_differ_leave_ordinary_least_squares_as_in_lmer_test() -> None:
    digits = np.round(REACTION * 10000)[SOME, None] % 997
    found = models(digits, SUBJECT[SOME], UNBALANCED, TERMS)
    # lmer of the same, "boundary (singular) fit".
    expected = [458.150091277, 53.148519834, -3.556234622, 5.417779761]
    assert found["estimate"].tolist() == pytest.approx(expected, rel=1e-8)
    expected = [88.4662067061, 170.6474483374, 17.4421378324, 31.8003911252]
    assert found["standard_error"].tolist() == pytest.approx(expected, rel=1e-10)
    assert found["df"].tolist() == [53] * 4
    assert found["variance_participants"].tolist() == found["icc"].tolist() == [0] * 4
    assert found.loc[0, "variance_residual"] == pytest.approx(95824.268528, rel=1e-10)


def test_estimates_errors_and_variances_are_those_of_statsmodels_missing_values_and_all() -> None:
    rng = np.random.default_rng(1)
    who, time = visits(rng, 60)
    design, terms = visit_design(rng.random(60) < 0.4, "binary", who, time)
    values = features(rng, who, 8, np.linspace(0.7, 3, 8))
    values[rng.random(values.shape) < 0.1] = np.nan
    values[:, 1] = np.where(np.isnan(values[:, 0]), np.nan, features(rng, who, 1)[:, 0])
    found = models(values, who, design, terms)
    for place, column in enumerate(values.T):
        known = ~np.isnan(column)
        ours = found[found["feature"] == f"f{place}"]
        X = np.column_stack([np.ones(known.sum()), design[known]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer = MixedLM(column[known], X, groups=who[known]).fit(
                reml=True, method=["powell", "bfgs"], xtol=1e-14, ftol=1e-14, gtol=1e-10
            )
        assert ours["estimate"].tolist() == pytest.approx(list(peer.fe_params), rel=1e-6, abs=1e-6)
        # Its own errors come of the information on coefficients and variances together.
        same = np.equal.outer(who[known], who[known])
        V = peer.scale * np.eye(len(X)) + float(peer.cov_re[0, 0]) * same
        errors = np.sqrt(np.diag(np.linalg.inv(X.T @ np.linalg.solve(V, X))))
        assert ours["standard_error"].tolist() == pytest.approx(list(errors), rel=1e-6)
        assert ours["variance_participants"].iloc[0] == pytest.approx(float(peer.cov_re[0, 0]), rel=1e-5)
        assert ours["variance_residual"].iloc[0] == pytest.approx(peer.scale, rel=1e-6)
        assert (ours["visits"] == known.sum()).all()
        assert (ours["participants"] == len(np.unique(who[known]))).all()


def test_balanced_visits_have_the_variances_of_the_analysis_of_variance() -> None:
    rng = np.random.default_rng(2)
    people, each = 15, 4
    who = np.tile(np.arange(people), each)
    values = features(rng, who, 5, 1.5)
    found = models(values, who, np.empty((len(who), 0)), [])
    table = values.reshape(each, people, 5)
    means = table.mean(axis=0)
    between = each * means.var(axis=0, ddof=1)
    within = ((table - means) ** 2).sum(axis=(0, 1)) / (people * (each - 1))
    assert found["variance_residual"].to_numpy() == pytest.approx(within)
    assert found["variance_participants"].to_numpy() == pytest.approx((between - within) / each)
    assert found["estimate"].to_numpy() == pytest.approx(values.mean(axis=0))
    assert found["standard_error"].to_numpy() == pytest.approx(np.sqrt(between / (people * each)))
    assert found["df"].to_numpy() == pytest.approx([people - 1] * 5)


def test_two_visits_of_all_make_a_paired_t_test() -> None:
    rng = np.random.default_rng(3)
    who, second = np.tile(np.arange(20), 2), np.repeat([0.0, 1.0], 20)
    values = features(rng, who, 6)
    found = of(models(values, who, second[:, None], ["second"]), "second")
    expected = ttest_rel(values[20:], values[:20])
    assert found["t"].to_numpy() == pytest.approx(expected.statistic)
    assert found["p"].to_numpy() == pytest.approx(expected.pvalue)
    assert found["df"].to_numpy() == pytest.approx([19] * 6)
    interval = expected.confidence_interval(0.95)
    assert found["low"].to_numpy() == pytest.approx(interval.low)
    assert found["high"].to_numpy() == pytest.approx(interval.high)


def test_groups_of_participants_with_as_many_visits_are_compared_by_their_means() -> None:
    rng = np.random.default_rng(4)
    who = np.repeat(np.arange(22), 3)
    group = np.arange(22) < 9
    values = features(rng, who, 6)
    found = of(models(values, who, group[who, None].astype(float), ["group"]), "group")
    means = values.reshape(22, 3, 6).mean(axis=1)
    expected = ttest_ind(means[group], means[~group])
    assert found["t"].to_numpy() == pytest.approx(expected.statistic)
    assert found["df"].to_numpy() == pytest.approx([20] * 6)


def test_a_missing_value_is_a_visit_less_for_its_feature_alone() -> None:
    rng = np.random.default_rng(5)
    who, time = visits(rng, 30)
    design, terms = visit_design(rng.normal(size=30), "continuous", who, time)
    values = features(rng, who, 3)
    gaps = values.copy()
    left = rng.random(len(who)) < 0.7
    gaps[~left, 1] = np.nan
    found, whole = models(gaps, who, design, terms), models(values, who, design, terms)
    pd.testing.assert_frame_equal(
        found[found["feature"] != "f1"].drop(columns="q"), whole[whole["feature"] != "f1"].drop(columns="q")
    )
    alone = models(values[left, 1:2], who[left], design[left], terms).drop(columns=["feature", "q"])
    ours = found[found["feature"] == "f1"].drop(columns=["feature", "q"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(ours, alone, rtol=1e-9)


def test_units_and_the_order_of_visits_do_not_matter() -> None:
    rng = np.random.default_rng(6)
    who, time = visits(rng, 30)
    design, terms = visit_design(rng.random(30) < 0.5, "binary", who, time)
    values = features(rng, who, 4)
    order = rng.permutation(len(who))
    plain = models(values, who, design, terms)
    other = models(1e6 + values[order] / 1000, who[order] * 7, design[order], terms)
    for name in ("df", "icc"):
        assert other[name].to_numpy() == pytest.approx(plain[name].to_numpy(), rel=1e-4)
    assert of(other, "time")["t"].to_numpy() == pytest.approx(of(plain, "time")["t"].to_numpy(), rel=1e-5)
    assert other["standard_error"].to_numpy() * 1000 == pytest.approx(plain["standard_error"], rel=1e-5)


@pytest.mark.parametrize(("people", "between"), [(30, 1.0), (40, 2.0)])
def test_the_p_values_of_nothing_are_uniform(people: int, between: float) -> None:
    rng = np.random.default_rng(7)
    who, time = visits(rng, people, most=5)
    design, terms = visit_design(np.arange(people) % 3 == 0, "binary", who, time)
    found = models(features(rng, who, 2000, between), who, design, terms)
    for term in terms:
        assert kstest(of(found, term)["p"], "uniform").pvalue > 0.01


@pytest.mark.parametrize("between", [0.0, 0.4, 1.0])
def test_the_level_is_kept_in_few_participants_whose_variance_is_often_estimated_as_none(
    between: float,
) -> None:
    rng = np.random.default_rng(12)
    who, time = visits(rng, 20, most=5)
    design, terms = visit_design(np.arange(20) % 3 == 0, "binary", who, time)
    found = models(features(rng, who, 2000, between), who, design, terms)
    for term in terms:
        # Three standard errors of the simulation are 0.015.
        assert (of(found, term)["p"] < 0.05).mean() == pytest.approx(0.05, abs=0.015)


def test_intervals_hold_the_change_that_was_put_in() -> None:
    rng = np.random.default_rng(8)
    who, time = visits(rng, 40)
    outcome = np.arange(40) % 2 == 0
    design, terms = visit_design(outcome, "binary", who, time)
    values = features(rng, who, 4000) + (design @ [0.5, -0.2, 0.3])[:, None]
    found = models(values, who, design, terms)
    for term, truth in zip(terms, [0.5, -0.2, 0.3], strict=True):
        rows = of(found, term)
        assert ((rows["low"] < truth) & (truth < rows["high"])).mean() == pytest.approx(0.95, abs=0.012)
        assert rows["estimate"].mean() == pytest.approx(truth, abs=0.03)


def test_q_values_are_those_of_each_term_over_the_features() -> None:
    rng = np.random.default_rng(9)
    who, time = visits(rng, 30)
    design, terms = visit_design(rng.random(30) < 0.5, "binary", who, time)
    values = np.column_stack([features(rng, who, 6), np.ones(len(who))])
    found = models(values, who, design, terms)
    assert found["term"].tolist()[:4] == ["intercept", "outcome", "time", "outcome x time"]
    for term in terms:
        rows = of(found, term)
        assert rows["q"].to_numpy() == pytest.approx(q_values(rows["p"].to_numpy()), nan_ok=True)
        assert rows["q"].isna().tolist() == [False] * 6 + [True]


def test_features_that_tell_no_variance_have_no_model_and_do_not_disturb_the_others() -> None:
    rng = np.random.default_rng(10)
    who, time = visits(rng, 30)
    design, terms = visit_design(rng.random(30) < 0.5, "binary", who, time)
    good = features(rng, who, 2)
    _, first = np.unique(who, return_index=True)
    once = np.where(np.isin(np.arange(len(who)), first), good[:, 0], np.nan)
    one_class = np.where(design[:, 0] > 0, good[:, 0], np.nan)
    poor = [
        np.full(len(who), 0.1),
        rng.normal(size=30)[who],  # the same in all visits of a participant
        3 + 2 * design[:, 1],  # told by the time
        np.full(len(who), np.nan),
        once,
        one_class,
        np.where(np.arange(len(who)) < 5, good[:, 0], np.nan),
    ]
    found = models(np.column_stack([good[:, 0], *poor, good[:, 1]]), who, design, terms)
    numbers = found.columns[4:]
    middle = found["feature"].isin([f"f{place}" for place in range(1, 8)])
    assert found.loc[middle, numbers].isna().all(axis=None)
    expected = models(good, who, design, terms)
    pd.testing.assert_frame_equal(
        found.loc[~middle, numbers].reset_index(drop=True), expected[numbers], rtol=1e-9
    )


def test_terms_that_say_the_same_and_visits_that_do_not_repeat_are_refused() -> None:
    rng = np.random.default_rng(11)
    who, time = visits(rng, 20)
    values, x = features(rng, who, 1), rng.normal(size=len(who))
    with pytest.raises(DataError, match="the term twice says nothing"):
        models(values, who, np.stack([x, time, 3 * x + 1], axis=1), ["once", "time", "twice"])
    with pytest.raises(DataError, match="the term same says nothing"):
        models(values, who, np.stack([np.full(len(who), 2.0), x], axis=1), ["same", "x"])
    with pytest.raises(DataError, match="the term x is not known for all visits"):
        models(values, who, np.where(x < 0, np.nan, x)[:, None], ["x"])
    with pytest.raises(DataError, match="no participant has two visits"):
        models(values, np.arange(len(who)), x[:, None], ["x"])
    with pytest.raises(DataError, match="f0 is infinite"):
        models(np.where(values > 0, np.inf, values), who, x[:, None], ["x"])


def test_the_design_of_visits_counts_time_from_the_first_visit_of_each() -> None:
    who, time = np.array([0, 0, 2, 2, 2]), np.array([12.0, 18.0, 9.0, 3.0, 4.0])
    design, terms = visit_design(np.array([True, True, False]), "binary", who, time)
    assert terms == ["outcome", "time", "outcome x time"]
    expected = [[1, 0, 0], [1, 6, 6], [0, 6, 0], [0, 0, 0], [0, 1, 0]]
    np.testing.assert_array_equal(design, expected)


def test_the_design_holds_standard_deviations_steps_or_indicators_of_the_outcome() -> None:
    who, time = np.array([0, 0, 1, 2, 3]), np.array([0.0, 2.0, 1.0, 1.0, 1.0])
    number = np.array([2.0, 4.0, 4.0, 6.0])
    design, _ = visit_design(number, "continuous", who, time)
    assert design[1:, 0] == pytest.approx((number - 4) / np.std(number, ddof=1))
    ranks = np.array([1, 0, 2, 1])
    design, terms = visit_design(ranks, "ordinal", who, time)
    assert terms == ["outcome", "time", "outcome x time"]
    assert design[:, 0].tolist() == [1, 1, 0, 2, 1]
    design, terms = visit_design(ranks, "multiclass", who, time, ["low", "mid", "high"])
    assert terms == ["outcome mid", "outcome high", "time", "outcome mid x time", "outcome high x time"]
    np.testing.assert_array_equal(design[1], [1, 0, 2, 2, 0])
    assert visit_design(ranks, "multiclass", who, time)[1][:2] == ["outcome 1", "outcome 2"]


def test_there_is_no_design_without_repeated_times_or_an_outcome_that_varies() -> None:
    who, time = np.array([0, 0, 1, 2]), np.array([0.0, 2.0, 0.0, 0.0])
    target = np.array([True, False, False])
    with pytest.raises(DataError, match="time to an event"):
        visit_design(survival_outcome(target, [1, 2, 3]), "survival", who, time)
    with pytest.raises(DataError, match="seen at two times"):
        visit_design(target, "binary", who, np.ones(4))
    with pytest.raises(DataError, match="no time"):
        visit_design(target, "binary", who, np.array([0, np.nan, 1, 1]))
    with pytest.raises(DataError, match="the same in all participants"):
        visit_design(np.array([True, True, True]), "binary", who, time)
