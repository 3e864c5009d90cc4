"""Sample sizes against the published examples and the numbers of pmsampsize."""

from __future__ import annotations

import numpy as np
import pytest

from voxelome.errors import DataError
from voxelome.modelling.cox_snell import cox_snell_of_auc, largest_cox_snell
from voxelome.modelling.sample_size import (
    SampleSize,
    events_per_variable,
    for_binary,
    for_continuous,
    for_survival,
)


def numbers(found: SampleSize) -> list[int]:
    return [criterion.n for criterion in found.criteria]


@pytest.mark.parametrize(
    ("parameters", "r2", "prevalence", "expected"),
    [
        (24, 0.288, 0.174, [623, 662, 221]),  # Riley et al. (2020), BMJ 368:m441
        (24, 0.55, 0.174, [255, 532, 221]),  # this and the following: tests of pmsampsize 1.1.3
        (36, 0.288, 0.174, [934, 992, 221]),
        (24, 0.288, 0.25, [623, 590, 289]),
    ],
)
def test_binary_outcomes_need_what_was_published(
    parameters: int, r2: float, prevalence: float, expected: list[int]
) -> None:
    found = for_binary(parameters, r2, prevalence)
    assert numbers(found) == expected
    assert found.minimum == max(expected)


@pytest.mark.parametrize(
    ("parameters", "r2", "rate", "horizon", "follow_up", "expected"),
    [
        (30, 0.051, 0.065, 2, 2.07, [5143, 1039]),  # Riley et al. (2020), BMJ 368:m441
        (25, 0.051, 0.065, 2, 2.07, [4286, 866]),  # this and the following: tests of pmsampsize 1.1.3
        (25, 0.065, 0.065, 2, 2.07, [3335, 859]),
        (50, 0.051, 0.065, 2, 2.07, [8572, 1731]),
        (25, 0.051, 0.1, 2, 2.07, [4286, 731]),
        (25, 0.051, 0.065, 2, 4, [4286, 679]),
        (40, 0.06, 0.08, 3, 5, [5798, 969]),
        (10, 0.03, 0.09, 3, 3, [2950, 272]),
        (80, 0.3, 0.03, 1, 5, [1974, 2272]),
    ],
)
def test_times_to_an_event_need_what_was_published(
    parameters: int, r2: float, rate: float, horizon: float, follow_up: float, expected: list[int]
) -> None:
    found = for_survival(parameters, r2, rate, horizon, follow_up)
    # pmsampsize rounds the events in 10000 participants up before it finds the largest R2: 1 of the second.
    assert numbers(found)[:2] == pytest.approx(expected, abs=1)
    assert numbers(found)[0] == expected[0]
    assert found.minimum == max(expected)


@pytest.mark.parametrize(
    ("parameters", "r2", "mean", "deviation", "expected"),
    [
        (25, 0.2, 1.9, 0.6, [918, 401, 259]),  # Riley et al. (2019), Statistics in Medicine 38:1262
        (25, 0.3, 1.9, 0.6, [574, 351, 259]),  # this and the following: tests of pmsampsize 1.1.3
        (50, 0.2, 1.9, 0.6, [1924, 801, 284]),
        (25, 0.2, 10, 0.6, [918, 401, 259]),
        (25, 0.2, 1.9, 2, [918, 401, 259]),
        (100, 0.5, 1.9, 2, [1264, 1001, 334]),
    ],
)
def test_numbers_need_what_was_published(
    parameters: int, r2: float, mean: float, deviation: float, expected: list[int]
) -> None:
    found = for_continuous(parameters, r2, mean, deviation)
    assert numbers(found)[:3] == expected
    assert found.minimum == max(expected)


def test_a_strong_model_of_a_number_needs_what_was_published() -> None:
    # pmsampsize takes the first n that meets the formula of shrinkage, 32, though larger ones do not.
    found = for_continuous(30, 0.89, 3.3, 1.1, shrinkage=0.84)
    assert numbers(found)[1:3] == [67, 264]
    assert found.minimum == 264


def test_shrinkage_is_enough_from_the_n_on_and_not_before() -> None:
    def shrinkage(n: int, p: int, r2: float) -> float:
        apparent = (r2 * (n - p - 1) + p) / (n - 1)
        return 1 + (p - 2) / (n * np.log(1 - apparent))

    for p, r2, target in ((30, 0.89, 0.84), (12, 0.1, 0.9), (1000, 0.2, 0.9), (7, 0.5, 0.95)):
        n = numbers(for_continuous(p, r2, shrinkage=target))[0]
        assert all(shrinkage(larger, p, r2) >= target for larger in range(n, 3 * n))
        assert shrinkage(n - 1, p, r2) < target
    assert [numbers(for_continuous(p, 0.2))[0] for p in (1, 2)] == [3, 4]


def test_the_overall_risk_and_the_mean_are_known_as_precisely_as_is_asked() -> None:
    n = numbers(for_survival(3, 0.3, rate=0.1, horizon=4, follow_up=2))[2]
    for participants, enough in ((n, True), (n - 1, False)):
        reach = 1.959963984540054 * np.sqrt(0.1 / (2 * participants))
        risk, low, high = (1 - np.exp(-4 * rate) for rate in (0.1, 0.1 - reach, 0.1 + reach))
        assert bool(max(risk - low, high - risk) <= 0.05) is enough
    # 13 participants: Student's 0.975 quantile at 10 degrees is 2.228139.
    deviation = 0.1 * np.sqrt(13) / 2.228138852 / np.sqrt(1 - 0.5)
    assert numbers(for_continuous(2, 0.5, 1.0, deviation * (1 - 1e-6)))[3] == 13
    assert numbers(for_continuous(2, 0.5, -1.0, deviation * (1 + 1e-6)))[3] == 14


def test_the_sentence_names_what_decides() -> None:
    found = for_binary(24, 0.288, 0.174)
    assert found.sentence == (
        "A model needs at least 662 participants (Nagelkerke's R2 within 0.05 of the adjusted one);"
        " candidate parameters: 24, prevalence: 0.174, Cox-Snell R2: 0.288."
    )
    assert "258" not in for_continuous(1, 0.5).sentence
    assert len(for_continuous(1, 0.5, 0.0, 1.0).criteria) == 3


def test_an_auc_goes_with_the_r2_that_simulation_finds() -> None:
    rng = np.random.default_rng(0)
    n, prevalence, apart = 400_000, 0.2, np.sqrt(2) * 0.7721932141886848
    positive = np.arange(n) < prevalence * n
    odds = np.log(0.25) + apart * (rng.normal(size=n) + apart * positive) - apart**2 / 2
    gain = np.mean(np.where(positive, -np.logaddexp(0, -odds), -np.logaddexp(0, odds)))
    null = prevalence * np.log(prevalence) + (1 - prevalence) * np.log(1 - prevalence)
    assert cox_snell_of_auc(0.78, 0.2) == pytest.approx(1 - np.exp(2 * (null - gain)), abs=0.002)
    assert cox_snell_of_auc(0.5, 0.3) == pytest.approx(0, abs=1e-12)
    assert cox_snell_of_auc(0.8, 0.3) == pytest.approx(cox_snell_of_auc(0.8, 0.7), abs=1e-12)
    assert cox_snell_of_auc(1 - 1e-12, 0.3) == pytest.approx(largest_cox_snell(0.3), abs=1e-4)


def test_the_largest_r2_is_that_of_the_paper() -> None:
    # Riley et al. (2020), BMJ 368:m441: for outcomes in 5, 10, 20 and 50 %.
    assert [round(largest_cox_snell(p), 2) for p in (0.05, 0.1, 0.2, 0.5)] == [0.33, 0.48, 0.63, 0.75]


def test_events_are_counted_in_the_rarer_class() -> None:
    assert events_per_variable(30, 70, 6) == 5
    assert events_per_variable(70, 30, 6) == 5


@pytest.mark.parametrize(
    "impossible",
    [
        lambda: for_binary(0, 0.1, 0.5),
        lambda: for_binary(10, 0.8, 0.5),
        lambda: for_binary(10, 0.1, 0.0),
        lambda: for_binary(10, 0.1, 0.5, shrinkage=1.0),
        lambda: for_binary(10, float("nan"), 0.5),
        lambda: for_survival(10, 0.1, rate=0.6, horizon=1, follow_up=2),
        lambda: for_continuous(10, 1.0),
        lambda: for_continuous(10, 0.3, 1.0, -2.0),
        lambda: events_per_variable(3, 3, 0),
        lambda: cox_snell_of_auc(1.0, 0.5),
        lambda: cox_snell_of_auc(0.7, 1.0),
    ],
)
def test_numbers_that_no_study_can_have_are_refused(impossible) -> None:
    with pytest.raises(DataError):
        impossible()
