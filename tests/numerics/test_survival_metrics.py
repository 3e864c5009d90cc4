"""Concordance, time-dependent AUC, Brier score and curves against definitions, libraries and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from sksurv.metrics import (
    brier_score as sksurv_brier_score,
)
from sksurv.metrics import (
    concordance_index_censored,
    concordance_index_ipcw,
    cumulative_dynamic_auc,
    integrated_brier_score,
)
from sksurv.nonparametric import kaplan_meier_estimator
from statsmodels.duration.survfunc import SurvfuncRight, survdiff

from voxelome.errors import DataError
from voxelome.modelling.metrics import auc
from voxelome.modelling.survival_brier import brier_score
from voxelome.modelling.survival_curves import kaplan_meier, log_rank, risk_groups, still_followed
from voxelome.modelling.survival_metrics import (
    cross_validated_concordance,
    harrell_concordance,
    time_dependent_auc,
    uno_concordance,
)
from voxelome.modelling.survival_outcome import survival_outcome


def simulated(
    rng: np.random.Generator, n: int, effect: float, censoring: float | None = 1.0, digits: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return outcomes with proportional hazards and the risks that are true of them."""
    risk = rng.normal(size=n)
    time = rng.exponential(size=n) * np.exp(-effect * risk)
    end = np.full(n, np.inf) if censoring is None else rng.exponential(censoring, size=n)
    observed = np.minimum(time, end)
    return survival_outcome(
        time <= end, observed if digits is None else np.round(observed, digits) + 0.1
    ), risk


def true_concordance(effect: float) -> float:
    """Return the probability that of two cases the one with the higher risk is the earlier."""
    right = quad(lambda d: 2 * norm.pdf(d, scale=np.sqrt(2)) / (1 + np.exp(-effect * d)), 0, 20)
    return float(right[0])


def followed_by_loops(training: np.ndarray, time: float) -> float:
    probability = 1.0
    for known in sorted(set(training["time"])):
        if known <= time:
            at_risk = sum(1 for e, t in training if t > known or (t == known and not e))
            lost = sum(1 for e, t in training if t == known and not e)
            probability *= 1 - lost / at_risk if at_risk else 1
    return probability


def concordance_by_loops(y: np.ndarray, risk: np.ndarray, weight: np.ndarray) -> float:
    right = total = 0.0
    for i in range(len(y)):
        for j in range(len(y)):
            first, second = y[i], y[j]
            tie = first["time"] == second["time"]
            if first["event"] and (first["time"] < second["time"] or (tie and not second["event"])):
                total += weight[i]
                right += weight[i] * (0.5 if risk[i] == risk[j] else float(risk[i] > risk[j]))
    return right / total


@pytest.fixture(params=[None, 1], ids=["distinct times", "tied times"])
def cohort(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return outcomes in training, and outcomes and risks of others."""
    rng = np.random.default_rng(5)
    training, _ = simulated(rng, 80, 1.0, digits=request.param)
    y, risk = simulated(rng, 60, 1.0, digits=request.param)
    y["time"] = np.minimum(y["time"], 0.9 * training["time"].max())
    return training, y, np.round(risk, 1)


def test_harrells_c_is_the_share_of_comparable_pairs_in_the_right_order(cohort: tuple) -> None:
    _, y, risk = cohort
    found = harrell_concordance(y, risk).value
    assert found == pytest.approx(concordance_by_loops(y, risk, np.ones(len(y))), abs=1e-12)
    assert found == pytest.approx(concordance_index_censored(y["event"], y["time"], risk)[0], abs=1e-12)


@pytest.mark.parametrize("tau", [None, 0.8])
def test_unos_c_weighs_pairs_by_the_censoring_in_training(cohort: tuple, tau: float | None) -> None:
    training, y, risk = cohort
    found = uno_concordance(training, y, risk, tau).value
    leads = y["time"] < (np.inf if tau is None else tau)
    weight = np.array(
        [b and followed_by_loops(training, t) ** -2 for b, t in zip(leads, y["time"], strict=True)]
    )
    assert found == pytest.approx(concordance_by_loops(y, risk, weight), abs=1e-12)
    assert found == pytest.approx(concordance_index_ipcw(training, y, risk, tau)[0], abs=1e-6)
    assert found != pytest.approx(harrell_concordance(y, risk).value, abs=1e-6)


def test_the_auc_at_a_time_compares_those_with_an_event_to_those_still_without(cohort: tuple) -> None:
    training, y, risk = cohort
    times = np.array([0.2, 0.5, 1.0])
    found = time_dependent_auc(training, y, risk, times)
    values = [estimate.value for estimate in found.estimates]
    expected, mean = cumulative_dynamic_auc(training, y, risk, times)
    assert values == pytest.approx(expected, abs=1e-6)
    assert found.mean == pytest.approx(mean, abs=1e-6)
    right = total = 0.0
    for i in range(len(y)):
        for j in range(len(y)):
            if y["event"][i] and y["time"][i] <= 0.5 < y["time"][j]:
                weight = 1 / followed_by_loops(training, y["time"][i])
                total += weight
                right += weight * (0.5 if risk[i] == risk[j] else float(risk[i] > risk[j]))
    assert values[1] == pytest.approx(right / total, abs=1e-12)


def test_the_auc_without_censoring_is_the_auc_of_two_classes() -> None:
    y, risk = simulated(np.random.default_rng(2), 50, 1.0, censoring=None)
    found = time_dependent_auc(y, y, risk, 0.7)
    assert found.estimates[0].value == pytest.approx(auc(y["time"] <= 0.7, risk), abs=1e-12)
    assert found.estimates[0].low < found.estimates[0].value < found.estimates[0].high


def test_a_risk_of_its_own_at_each_time_is_taken_at_that_time(cohort: tuple) -> None:
    training, y, risk = cohort
    risks = np.stack([risk, -risk], axis=1)
    found = time_dependent_auc(training, y, risks, [0.5, 1.0])
    expected, _ = cumulative_dynamic_auc(training, y, risks, [0.5, 1.0])
    assert [estimate.value for estimate in found.estimates] == pytest.approx(expected, abs=1e-6)


def test_the_brier_score_makes_up_for_the_cases_that_are_censored(cohort: tuple) -> None:
    training, y, risk = cohort
    times = np.array([0.2, 0.5, 1.0])
    survival = np.exp(-times * np.exp(risk[:, None]))
    found = brier_score(training, y, survival, times)
    assert found.scores == pytest.approx(sksurv_brier_score(training, y, survival, times)[1], abs=1e-6)
    assert found.integrated == pytest.approx(integrated_brier_score(training, y, survival, times), abs=1e-6)
    loop = 0.0
    for (event, time), predicted in zip(y, survival[:, 1], strict=True):
        if time > 0.5:
            loop += (1 - predicted) ** 2 / followed_by_loops(training, 0.5)
        elif event:
            loop += predicted**2 / followed_by_loops(training, time)
    assert found.scores[1] == pytest.approx(loop / len(y), abs=1e-12)


def test_the_baseline_of_the_brier_score_is_what_training_survived(cohort: tuple) -> None:
    training, y, risk = cohort
    times = np.array([0.2, 0.5, 1.0])
    everyone = np.tile(kaplan_meier(training).at(times), (len(y), 1))
    found = brier_score(training, y, everyone, times)
    assert found.scores == pytest.approx(found.baseline, abs=1e-15)
    assert found.explained == pytest.approx(0.0, abs=1e-12)
    better = brier_score(training, y, np.exp(-times * np.exp(risk[:, None])), times)
    assert better.baseline == pytest.approx(found.baseline)
    assert 0 < better.explained < 1


def test_the_curve_of_kaplan_and_meier_and_its_interval_are_those_of_other_libraries(cohort: tuple) -> None:
    y, _, _ = cohort
    found = kaplan_meier(y, level=0.9)
    times, survival, bounds = kaplan_meier_estimator(
        y["event"], y["time"], conf_level=0.9, conf_type="log-log"
    )
    assert found.times == pytest.approx(times)
    for mine, theirs in zip((found.survival, found.low, found.high), (survival, *bounds), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-12)
    other = SurvfuncRight(y["time"], y["event"].astype(int))
    at = found.events > 0
    assert found.survival[at] == pytest.approx(other.surv_prob, abs=1e-6)
    assert found.at_risk[at] == pytest.approx(other.n_risk)
    inside = (other.surv_prob > 0) & (other.surv_prob < 1)
    s, error = other.surv_prob[inside], other.surv_prob_se[inside]
    power = np.exp(norm.ppf(0.95) * error / (s * np.log(s)))
    assert found.low[at][inside] == pytest.approx(s ** (1 / power), abs=1e-6)
    assert found.high[at][inside] == pytest.approx(s**power, abs=1e-6)


def test_a_curve_stays_until_it_steps_and_is_not_known_after_the_follow_up() -> None:
    curve = kaplan_meier(survival_outcome([True, False, True, False], [1.0, 2.0, 3.0, 4.0]))
    assert curve.at([0.0, 0.99, 1.0, 2.5, 3.0, 4.0]) == pytest.approx([1, 1, 0.75, 0.75, 0.375, 0.375])
    with pytest.raises(DataError, match="a time of 5 is after the follow-up in training, which ends at 4"):
        curve.at([1.0, 5.0])


def test_nobody_is_lost_where_all_have_an_event_and_a_time_at_the_end_of_the_follow_up_is_refused() -> None:
    all_seen = survival_outcome([True, True, True], [1.0, 2.0, 3.0])
    assert still_followed(all_seen, [0.5, 3.0]) == pytest.approx([1, 1])
    with pytest.raises(DataError, match="no case in training was followed beyond 3"):
        still_followed(survival_outcome([True, True, False], [1.0, 2.0, 3.0]), [3.0])


@pytest.mark.parametrize("groups", [2, 3])
def test_the_log_rank_test_is_that_of_another_library(cohort: tuple, groups: int) -> None:
    _, y, risk = cohort
    group = risk_groups(risk, risk, np.arange(1, groups) / groups)
    found = log_rank(y, np.array(["low", "middle", "top"])[group])
    statistic, p = survdiff(y["time"], y["event"].astype(int), group)
    assert found.statistic == pytest.approx(statistic, abs=1e-6)
    assert found.p == pytest.approx(p, abs=1e-6)
    assert found.degrees == groups - 1


def test_groups_are_cut_where_the_risks_in_training_say() -> None:
    assert risk_groups([1.0, 2.0, 3.0], [0.0, 2.0, 2.1, 9.0]).tolist() == [0, 0, 1, 1]
    assert risk_groups(np.arange(101.0), [10.0, 50.0, 90.0], (1 / 3, 2 / 3)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("effect", [0.0, 0.7, 2.0])
def test_the_interval_of_harrells_c_holds_the_truth_nineteen_times_in_twenty(effect: float) -> None:
    rng, truth, held = np.random.default_rng(11), true_concordance(effect), 0
    for _ in range(400):
        y, risk = simulated(rng, 100, effect, censoring=None)
        found = harrell_concordance(y, risk)
        held += found.low <= truth <= found.high
    assert 0.92 < held / 400 < 0.98


def test_the_interval_of_harrells_c_holds_the_truth_with_ten_events_in_forty_cases() -> None:
    many = simulated(np.random.default_rng(0), 4000, 1.5, censoring=0.2)
    rng, truth, held = np.random.default_rng(12), harrell_concordance(*many).value, 0
    for _ in range(400):
        found = harrell_concordance(*simulated(rng, 40, 1.5, censoring=0.2))
        held += found.low <= truth <= found.high
    assert 0.92 < held / 400 < 0.99


def test_unos_c_and_its_interval_hold_what_harrells_would_be_with_longer_follow_up() -> None:
    many = simulated(np.random.default_rng(0), 4000, 1.0, censoring=None)
    rng, truth = np.random.default_rng(13), uno_concordance(many[0], *many, tau=1.0).value
    found = []
    for _ in range(200):
        training, _ = simulated(rng, 200, 1.0, censoring=1.5)
        found.append(uno_concordance(training, *simulated(rng, 100, 1.0, censoring=1.5), tau=1.0))
    assert np.mean([each.value for each in found]) == pytest.approx(truth, abs=0.01)
    assert np.mean([each.low <= truth <= each.high for each in found]) > 0.9


def test_the_interval_of_a_perfect_order_of_few_events_is_not_a_point() -> None:
    y = survival_outcome(np.ones(8, dtype=bool), np.arange(8.0))
    found = harrell_concordance(y, -y["time"])
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.5 < found.low < 0.75
    mirrored = harrell_concordance(y, y["time"])
    assert (mirrored.low, mirrored.high) == pytest.approx((0.0, 1 - found.low))


def test_one_event_says_nothing_of_how_sure_the_concordance_is() -> None:
    found = harrell_concordance(survival_outcome([True, False, False], [1.0, 2.0, 3.0]), [2.0, 1.0, 0.0])
    assert found.value == 1.0
    assert np.isnan([found.low, found.high]).all()


def test_risks_by_different_models_are_not_compared() -> None:
    y = survival_outcome([True, True], [1.0, 2.0])
    folds = [(np.array(["a", "b"]), y, np.array([2.0, 1.0])), (np.array(["c", "d"]), y, np.array([9.0, 8.0]))]
    assert cross_validated_concordance(folds).value == 1.0
    pooled = harrell_concordance(np.concatenate([y, y]), np.concatenate([risk for _, _, risk in folds]))
    assert pooled.value < 1.0


def test_one_fold_is_harrells_c_and_its_repeat_makes_nothing_surer() -> None:
    y, risk = simulated(np.random.default_rng(3), 60, 1.0)
    fold = (np.arange(60), y, risk)
    once, plain = cross_validated_concordance([fold]), harrell_concordance(y, risk)
    assert once == plain
    again = cross_validated_concordance([fold, fold, fold])
    assert (again.low, again.high) == pytest.approx((plain.low, plain.high), abs=1e-12)


def test_the_interval_over_folds_holds_the_truth_nineteen_times_in_twenty() -> None:
    rng, truth, held = np.random.default_rng(17), true_concordance(1.0), 0
    for _ in range(300):
        y, risk = simulated(rng, 100, 1.0, censoring=None)
        folds = []
        for _ in range(2):  # of each repeat other pairs are held out together
            parts = np.array_split(rng.permutation(100), 5)
            folds += [(part, y[part], risk[part]) for part in parts]
        found = cross_validated_concordance(folds)
        held += found.low <= truth <= found.high
    assert 0.92 < held / 300 < 0.985


def test_folds_without_a_pair_have_no_weight() -> None:
    y = survival_outcome([True, True, False], [1.0, 2.0, 3.0])
    fold = (np.arange(3), y, np.array([3.0, 2.0, 1.0]))
    censored = survival_outcome([False, False], [1.0, 2.0])
    more = [(np.array([7, 8]), censored, np.zeros(2)), (np.array([9]), y[:1], np.zeros(1))]
    assert cross_validated_concordance([fold, *more]).value == cross_validated_concordance([fold]).value


GOOD = survival_outcome([True, False, True, True, False], [1.0, 2.0, 3.0, 4.0, 5.0])
RISK = np.arange(5.0)
TIMES = [1.5, 3.5]


def with_time(value: float) -> np.ndarray:
    y = GOOD.copy()
    y["time"][0] = value
    return y


ALL_CENSORED = survival_outcome(np.zeros(5, dtype=bool), GOOD["time"])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: harrell_concordance(ALL_CENSORED, RISK), "y holds 0 events in 5 cases"),
        (lambda: harrell_concordance(with_time(-1), RISK), "times that are negative or not finite"),
        (lambda: harrell_concordance(with_time(np.nan), RISK), "times that are negative or not finite"),
        (lambda: harrell_concordance(GOOD[:1], RISK[:1]), "y holds 1 case"),
        (lambda: harrell_concordance(GOOD["time"], RISK), "y does not hold events and times"),
        (lambda: harrell_concordance(GOOD, RISK[:3]), r"there are risks of shape \(3,\) for 5 cases"),
        (lambda: harrell_concordance(GOOD, RISK[:, None]), r"risks of shape \(5, 1\) for 5 cases"),
        (lambda: time_dependent_auc(GOOD, GOOD, np.ones((5, 3)), TIMES), r"risks of shape \(5, 3\)"),
        (lambda: harrell_concordance(GOOD, RISK * np.nan), "some risks are not finite"),
        (lambda: harrell_concordance(GOOD[[1, 3]], RISK[:2]), "of no two cases is it known"),
        (lambda: uno_concordance(ALL_CENSORED, GOOD, RISK), "the training outcome holds 0 events"),
        (lambda: uno_concordance(GOOD[:3], GOOD, RISK, tau=9.0), "a time of 4 is after the follow-up"),
        (lambda: time_dependent_auc(GOOD, GOOD, RISK, [0.5]), "0 cases with an event until 0.5"),
        (lambda: time_dependent_auc(GOOD, GOOD, RISK, [3.0, 2.0]), "times do not ascend"),
        (lambda: brier_score(GOOD, GOOD, np.full((5, 2), 0.5), [1.5, 9.0]), "a time of 9 is after"),
        (
            lambda: brier_score(GOOD, GOOD, np.full((5, 1), 0.5), TIMES),
            r"survival of shape \(5, 1\) at 2 times",
        ),
        (lambda: brier_score(GOOD, GOOD, np.full((5, 2), 1.5), TIMES), "not within 0 and 1"),
        (
            lambda: brier_score(ALL_CENSORED, GOOD, np.full((5, 2), 0.5), TIMES),
            "training outcome holds 0 events",
        ),
        (lambda: log_rank(GOOD, np.zeros(5)), "1 groups of 5 cases"),
        (lambda: log_rank(ALL_CENSORED, RISK > 2), "y holds 0 events"),
        (lambda: log_rank(GOOD[[1, 3]], [0, 1]), "no event happened while a case of each group was followed"),
        (lambda: risk_groups([], RISK), "0 risks and shares"),
        (lambda: cross_validated_concordance([]), "no two cases were held out together"),
        (
            lambda: cross_validated_concordance([(np.zeros(5), GOOD, RISK)]),
            "a fold holds 1 participants in 5 rows",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused_in_a_sentence(call: object, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        call()
