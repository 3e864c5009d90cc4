"""Bootstrap .632 and .632+ against loops that follow the paper, and models with known performance."""

from __future__ import annotations

import numpy as np
import pytest

from voxelome.errors import DataError
from voxelome.modelling.metrics import auc
from voxelome.modelling.optimism import Bootstrap632, bootstrap_632, bootstrap_632_auc, zero_one


class Nearest:
    """Predicts the outcome of the nearest row that it was trained on: perfect on its own data."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.y = x, y
        self.trained: list[np.ndarray] = []

    def __call__(self, train: np.ndarray, rows: np.ndarray) -> np.ndarray:
        self.trained.append(train)
        distance = np.abs(self.x[rows][:, None] - self.x[train]).sum(axis=2)
        return self.y[train[distance.argmin(axis=1)]].astype(float)


class Centroids:
    """Scores by the direction between the means of the classes."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.y = x, y
        self.trained: list[np.ndarray] = []

    def __call__(self, train: np.ndarray, rows: np.ndarray) -> np.ndarray:
        self.trained.append(train)
        x, y = self.x[train], self.y[train]
        return self.x[rows] @ (x[y].mean(axis=0) - x[~y].mean(axis=0))


def plus(apparent: float, out: float, none: float) -> tuple[float, float]:
    """Efron and Tibshirani (1997): .632 (equation 24) and .632+ (equations 31 and 32)."""
    err632 = 0.368 * apparent + 0.632 * out
    primed = min(out, none)
    rate = (out - apparent) / (none - apparent) if out > apparent and none > apparent else 0.0
    rate = min(rate, 1.0)
    return err632, err632 + (primed - apparent) * 0.368 * 0.632 * rate / (1 - 0.368 * rate)


def data(n: int, features: int, effect: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2 == 0
    return rng.normal(size=(n, features)) + effect * y[:, None], y


@pytest.mark.parametrize("effect", [0.0, 0.5, 2.0])
def test_the_loss_is_that_of_a_loop_over_participants_and_draws(effect: float) -> None:
    x, y = data(16, 2, effect, 1)
    model = Nearest(x, y)
    found = bootstrap_632(model, np.arange(16), y, zero_one, resamples=30, seed=3)
    everybody, *draws = model.trained
    assert everybody.tolist() == list(range(16))
    losses: list[list[float]] = [[] for _ in range(16)]
    for train in draws:
        for i in set(range(16)) - set(train.tolist()):
            losses[i].append(float(Nearest(x, y)(train, np.array([i]))[0] != y[i]))
    out = np.mean([np.mean(of_one) for of_one in losses if of_one])
    # Predictions are right on the training data, so that both classes are predicted half of the time.
    assert (found.apparent, found.no_information) == (0, 0.5)
    assert found.out_of_bag == pytest.approx(out, abs=1e-12)
    assert (found.estimate_632, found.estimate_632_plus) == pytest.approx(plus(0, out, 0.5), abs=1e-12)


@pytest.mark.parametrize("effect", [-0.1, 0.4, 1.0])
def test_the_auc_is_that_of_a_loop_over_draws(effect: float) -> None:
    x, y = data(30, 6, effect, 2)
    model = Centroids(x, y)
    found = bootstrap_632_auc(model, np.arange(30), y, resamples=40, seed=1)
    everybody, *draws = model.trained
    assert len(draws) == 40
    apparent = auc(y, Centroids(x, y)(everybody, np.arange(30)))
    held_out = []
    for train in draws:
        out = np.array(sorted(set(range(30)) - set(train.tolist())))
        held_out.append(auc(y[out], Centroids(x, y)(train, out)))
    value = np.mean(held_out)
    assert (found.apparent, found.out_of_bag) == pytest.approx((apparent, value), abs=1e-12)
    expected = [1 - error for error in plus(1 - apparent, 1 - value, 0.5)]
    assert (found.estimate_632, found.estimate_632_plus) == pytest.approx(expected, abs=1e-12)
    assert found.overfitting == pytest.approx(np.clip((apparent - value) / (apparent - 0.5), 0, 1))


def test_the_no_information_rate_is_the_mean_over_all_pairs() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=25), rng.normal(size=25)

    def line(train: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.polyval(np.polyfit(x[train], y[train], 1), x[rows])

    def squares(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        return (truth - prediction) ** 2

    found = bootstrap_632(line, np.arange(25), y, squares, resamples=20)
    own = line(np.arange(25), np.arange(25))
    assert found.no_information == pytest.approx(np.mean([[(a - b) ** 2 for a in y] for b in own]))
    assert found.apparent == pytest.approx(np.mean((y - own) ** 2))
    assert found.apparent < found.estimate_632 < found.out_of_bag


def test_a_participant_is_drawn_and_left_out_with_all_rows() -> None:
    x, y = data(12, 1, 1.0, 5)
    who = np.repeat([f"sub-{i:02d}" for i in range(12)], 3)
    order = np.random.default_rng(0).permutation(36)
    who, rows_y = who[order], np.repeat(y, 3)[order]
    predicted: list[tuple[set[str], set[str]]] = []
    model = Centroids(np.repeat(x, 3, axis=0)[order], rows_y)

    def watched(train: np.ndarray, rows: np.ndarray) -> np.ndarray:
        times = np.bincount(train, minlength=36)
        assert all(len(set(times[who == one])) == 1 for one in set(who))
        assert len(train) == 36
        predicted.append((set(who[train]), set(who[rows])))
        return model(train, rows)

    found = bootstrap_632_auc(watched, who, rows_y, resamples=25)
    assert all(not trained & held_out for trained, held_out in predicted[1:])
    single = bootstrap_632_auc(Centroids(x, y), np.arange(12), y, resamples=25)
    assert found.estimate_632_plus == pytest.approx(single.estimate_632_plus)


def test_only_632_plus_sees_that_a_perfect_fit_to_noise_knows_nothing() -> None:
    # The example of the paper's section 4: the nearest neighbour of a coin.
    found = []
    for seed in range(12):
        x, y = data(40, 3, 0.0, seed)
        found.append(bootstrap_632(Nearest(x, y), np.arange(40), y, zero_one, resamples=25))

    def mean(name: str) -> float:
        return float(np.mean([getattr(one, name) for one in found]))

    assert mean("apparent") == 0
    assert mean("out_of_bag") == pytest.approx(0.5, abs=0.06)
    assert mean("estimate_632") == pytest.approx(0.316, abs=0.04)
    assert mean("estimate_632_plus") == pytest.approx(0.48, abs=0.05)


def test_the_estimate_is_near_the_auc_in_new_participants() -> None:
    apparent, plus_, new = [], [], []
    for seed in range(15):
        x, y = data(60, 10, 0.25, 100 + seed)
        found: Bootstrap632 = bootstrap_632_auc(Centroids(x, y), np.arange(60), y, resamples=25)
        many, classes = data(2000, 10, 0.25, 200 + seed)
        direction = x[y].mean(axis=0) - x[~y].mean(axis=0)
        apparent.append(found.apparent)
        plus_.append(found.estimate_632_plus)
        new.append(auc(classes, many @ direction))
    assert np.mean(apparent) - np.mean(new) > 0.06
    assert np.mean(plus_) == pytest.approx(np.mean(new), abs=0.035)


def test_a_constant_prediction_has_an_auc_of_chance_and_does_not_overfit() -> None:
    found = bootstrap_632_auc(lambda _, rows: np.zeros(len(rows)), np.arange(10), np.arange(10) < 4)
    assert (found.apparent, found.out_of_bag, found.overfitting) == (0.5, 0.5, 0)
    assert found.estimate_632_plus == pytest.approx(0.5)


def test_too_few_participants_or_missing_predictions_are_refused() -> None:
    def nothing(_: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.full(len(rows), np.nan)

    with pytest.raises(DataError, match="1 positive and 9 negative"):
        bootstrap_632_auc(nothing, np.arange(10), np.arange(10) == 0)
    with pytest.raises(DataError, match="some predictions are not finite"):
        bootstrap_632_auc(nothing, np.arange(10), np.arange(10) < 5)
    with pytest.raises(DataError, match="1 participants are too few"):
        bootstrap_632(lambda _, rows: rows * 1.0, np.zeros(4), np.zeros(4), lambda y, p: y - p)
