"""The choice of settings: what is tried, what it costs, when it stops, and how often it finds the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from voxelome.modelling.search import (
    ALL_TRIED,
    OUT_OF_TIME,
    OUT_OF_TRIALS,
    Budget,
    draw_settings,
    search,
)


class Told:
    """Losses that are known, with what was asked for."""

    def __init__(self, losses: Sequence[float], noise: float = 0.0, seed: int = 0) -> None:
        self.losses = np.asarray(losses, dtype=float)
        self.noise = noise
        self.rng = np.random.default_rng(seed)
        self.calls: list[tuple[list[int], float]] = []

    def __call__(self, numbers: list[int], share: float) -> np.ndarray:
        self.calls.append((list(numbers), share))
        # A smaller share makes all worse, and less sure.
        spread = self.noise * math.sqrt(1 / share - 1)
        return self.losses[numbers] + 0.5 * (1 / share - 1) + spread * self.rng.normal(size=len(numbers))


class Clock:
    """Time that passes with every setting tried."""

    def __init__(self, told: Told, each: float) -> None:
        self.told = told
        self.each = each

    def __call__(self) -> float:
        return self.each * sum(len(numbers) for numbers, _ in self.told.calls)


def candidates(count: int) -> list[dict[str, int]]:
    return [{"number": number} for number in range(count)]


one_loss = st.integers(0, 30).map(float) | st.sampled_from([math.nan, math.inf])
some_losses = st.lists(one_loss, min_size=1, max_size=60)


@settings(deadline=None, max_examples=100)
@given(some_losses, st.floats(0.5, 80), st.sampled_from(["random", "halving"]))
def test_the_default_is_tried_in_full_and_the_budget_is_kept(
    losses: list[float], trials: float, how: str
) -> None:
    told = Told(losses)
    found = search(candidates(len(losses)), told, Budget(trials=trials), how)
    assert told.calls[0] == ([0], 1.0)
    assert found.trials == pytest.approx(sum(len(numbers) * share for numbers, share in told.calls))
    assert found.trials <= max(trials, 1) + 1e-6
    assert found.shares[0] == 1
    full = np.flatnonzero(found.shares == 1)
    np.testing.assert_array_equal(found.losses[full], np.array(losses)[full])
    assert np.isnan(np.delete(found.losses, full)).all()
    finite = [number for number in full if np.isfinite(losses[number])]
    assert found.chosen == (min(finite, key=lambda number: (losses[number], number)) if finite else 0)
    assert (found.stopped == ALL_TRIED) == (found.shares > 0).all()
    assert found.stopped in (ALL_TRIED, OUT_OF_TRIALS)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 5).map(float), min_size=1, max_size=60))
def test_both_ways_find_the_best_where_shares_keep_the_order(losses: list[float]) -> None:
    for how in ("random", "halving"):
        found = search(candidates(len(losses)), Told(losses), how=how)
        assert found.chosen == int(np.argmin(losses))
        assert found.stopped == ALL_TRIED


def test_random_search_tries_every_setting_once_and_together() -> None:
    told = Told(np.arange(6)[::-1])
    found = search(candidates(6), told)
    assert told.calls == [([0], 1.0), ([1, 2, 3, 4, 5], 1.0)]
    assert found.chosen == 5
    assert found.trials == 6


def test_halving_tries_a_third_of_the_settings_on_three_times_the_participants() -> None:
    told = Told([50, *range(27)])
    found = search(candidates(28), told, how="halving")
    shares = [(len(numbers), share) for numbers, share in told.calls]
    assert shares == [(1, 1.0), (27, pytest.approx(1 / 9)), (9, pytest.approx(1 / 3)), (3, 1.0)]
    assert told.calls[2][0] == list(range(1, 10))
    assert told.calls[3][0] == [1, 2, 3]
    assert found.trials == pytest.approx(1 + 3 + 3 + 3)
    assert found.chosen == 1


def test_halving_does_not_start_below_the_least_share() -> None:
    told = Told(range(100))
    search(candidates(100), told, how="halving", least_share=1 / 3)
    assert min(share for _, share in told.calls) == pytest.approx(1 / 3)
    told = Told(range(4))
    search(candidates(4), told, how="halving")
    assert [len(numbers) for numbers, _ in told.calls] == [1, 3, 1]


def test_trials_limit_what_is_tried_in_the_order_of_the_settings() -> None:
    told = Told(range(20, 0, -1))
    found = search(candidates(20), told, Budget(trials=5))
    assert (found.shares > 0).tolist() == [True] * 5 + [False] * 15
    assert (found.chosen, found.trials, found.stopped) == (4, 5, OUT_OF_TRIALS)


@pytest.mark.parametrize("how", ["random", "halving"])
def test_time_limits_what_is_tried_and_leaves_the_best_so_far(how: str) -> None:
    told = Told(range(20, 0, -1))
    found = search(candidates(20), told, Budget(seconds=7.5, clock=Clock(told, 1.0)), how)
    assert found.stopped == OUT_OF_TIME
    assert sum(len(numbers) for numbers, _ in told.calls) == 8
    assert all(len(numbers) == 1 for numbers, _ in told.calls)
    assert found.chosen == (7 if how == "random" else 0)


def test_with_time_enough_the_result_is_that_without_a_limit() -> None:
    for how in ("random", "halving"):
        told = Told([5, *range(30, 0, -1)])
        limited = search(candidates(31), told, Budget(seconds=1e6, clock=Clock(told, 1.0)), how)
        free = search(candidates(31), Told([5, *range(30, 0, -1)]), how=how)
        assert (limited.chosen, limited.trials, limited.stopped) == (free.chosen, free.trials, ALL_TRIED)


def test_no_budget_is_too_small_for_the_default() -> None:
    for budget in (Budget(trials=0), Budget(seconds=0, clock=lambda: 0.0)):
        found = search(candidates(3), Told([2, 1, 0]), budget)
        assert (found.chosen, found.trials) == (0, 1)


def test_halving_finds_nearly_the_best_for_a_fraction_of_the_trials() -> None:
    regret = {"random": [], "halving": []}
    for seed in range(60):
        losses = np.random.default_rng(seed).normal(size=82)
        for how, found in regret.items():
            # The same budget of 28 settings in full: a third of them at random, all by halving.
            budget = Budget(trials=28.5)
            chosen = search(candidates(82), Told(losses, noise=0.3, seed=seed), budget, how).chosen
            found.append(losses[chosen] - losses.min())
    assert np.mean(regret["halving"]) < 0.5 * np.mean(regret["random"])


def test_the_penalty_of_a_ridge_is_found_by_either_way() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(180, 60))
    target = values @ (0.1 * rng.normal(size=60)) + rng.normal(size=180)
    drawn = [{"alpha": 1e-3}, *draw_settings({"alpha": {"low": 1e-3, "high": 1e5, "log": True}}, 30, 0)]

    def evaluate(numbers: list[int], share: float) -> list[float]:
        losses = np.zeros(len(numbers))
        for train, test in KFold(3, shuffle=True, random_state=0).split(values):
            known = train[: int(share * len(train))]
            for place, number in enumerate(numbers):
                model = Ridge(**drawn[number]).fit(values[known], target[known])
                losses[place] += np.sum((model.predict(values[test]) - target[test]) ** 2)
        return losses.tolist()

    full = evaluate(list(range(31)), 1.0)
    assert search(drawn, evaluate).chosen == int(np.argmin(full))
    halved = search(drawn, evaluate, how="halving")
    assert full[halved.chosen] < 1.05 * min(full)
    assert halved.trials < 12


def test_lists_that_hold_fewer_settings_than_asked_for_are_given_in_full() -> None:
    found = draw_settings({"depth": [1, 2], "leaf": ["a", "b", "c"]}, 10, 0)
    assert len(found) == 6
    assert found[0] == {"depth": 1, "leaf": "a"}
    assert draw_settings({}, 3, 0) == [{}]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.integers(1, 30))
def test_no_settings_are_drawn_twice_and_few_are_the_first_of_many(seed: int, trials: int) -> None:
    space = {"C": {"low": 1e-4, "high": 10.0, "log": True}, "depth": {"low": 1, "high": 3}, "how": ["x", "y"]}
    found = draw_settings(space, trials, seed)
    assert found == draw_settings(space, 30, seed)[:trials]
    assert len(found) == trials == len({tuple(each.values()) for each in found})
    for each in found:
        assert 1e-4 <= each["C"] <= 10
        assert isinstance(each["depth"], int)
        assert 1 <= each["depth"] <= 3
        assert each["how"] in ("x", "y")


def test_draws_have_the_distribution_that_was_asked_for() -> None:
    space = {
        "a": {"low": 0.0, "high": 2.0},
        "b": {"low": 1e-3, "high": 1e3, "log": True},
        "c": {"low": 1, "high": 4},
    }
    found = draw_settings(space, 600, 1)
    a, b, c = (np.array([each[name] for each in found]) for name in space)
    assert kstest(a / 2, "uniform").pvalue > 0.01
    assert kstest((np.log10(b) + 3) / 6, "uniform").pvalue > 0.01
    assert np.bincount(c)[1:] / 600 == pytest.approx(np.full(4, 0.25), abs=0.06)


def test_whole_numbers_alone_are_drawn_until_there_are_no_more() -> None:
    found = draw_settings({"n": {"low": 1, "high": 8}}, 50, 0)
    assert sorted(each["n"] for each in found) == list(range(1, 9))


@pytest.mark.parametrize(
    "values", [[], {"low": 2, "high": 1}, {"low": 0, "high": 1, "log": True}, {"low": 1}]
)
def test_what_is_no_space_is_refused(values: Any) -> None:
    with pytest.raises(ValueError, match=r"alpha (is|has)"):
        draw_settings({"alpha": values}, 3, 0)


def test_what_cannot_be_searched_is_refused() -> None:
    with pytest.raises(ValueError, match="no settings"):
        search([], Told([]))
    with pytest.raises(ValueError, match="how is 'grid'"):
        search(candidates(2), Told([1, 2]), how="grid")
    with pytest.raises(ValueError, match="losses of shape"):
        search(candidates(3), lambda numbers, share: [1.0])
