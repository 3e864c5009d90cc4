"""ComBat against its reference implementations, planted site effects and what must not matter."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from voxelome.modelling.harmonise import ComBat

SITE, AGE, SEX = 0, 1, 2
TRAINING, HELD_OUT = slice(0, 18), slice(18, 22)
SHOWN = [0, 8, 17]

# Of `reference_table`, with neuroCombat 0.2.12 and neuroHarmonize 2.5.2: the rows SHOWN of training (which
# both give alike) and the rows held out (harmonizationApply). Their parametric iteration stops at changes of
# 1e-4; it was run on to 1e-14 (default of it_sol), AS_RELEASED is without that. neuroHarmonize has no
# non-parametric priors: neuroCombat's function was put in the place of the parametric one.
REFERENCE: dict[tuple[bool, bool], tuple[list[list[float]], list[list[float]]]] = {
    # (parametric, with age and sex)
    ("parametric", True): (
        [
            [2.636875152, 5.678783064, 8.720298006, 7.405808831],
            [5.801354234, 7.914436074, 10.484722608, 8.46180729],
            [5.657264656, 9.152204734, 10.652588047, 9.228562893],
        ],
        [
            [2.362539471, 5.727870385, 8.930381283, 7.778519184],
            [4.1438942, 7.009761796, 9.866338485, 8.267683504],
            [4.158112276, 7.051803794, 9.627255664, 7.26075823],
            [4.893210291, 7.437358813, 11.950434458, 12.741915175],
        ],
    ),
    ("parametric", False): (
        [
            [2.631579182, 5.546062615, 8.547365309, 7.768456635],
            [6.287496783, 8.893289902, 11.975598647, 9.758499462],
            [4.952359748, 8.916017012, 10.250451322, 8.683530379],
        ],
        [
            [2.328429851, 5.657040368, 8.892595645, 8.026199729],
            [4.544649042, 7.47819554, 11.088773004, 9.501012594],
            [3.623665198, 6.6617576, 9.451574146, 6.874566154],
            [4.46770961, 7.282068169, 11.20603788, 11.837983339],
        ],
    ),
    ("nonparametric", True): (
        [
            [2.625086296, 5.233943693, 7.226214781, 7.425980622],
            [6.86034085, 7.729463088, 10.720204075, 8.332409966],
            [5.022938197, 9.342760856, 11.590873604, 9.213864052],
        ],
        [
            [2.360556356, 5.387546046, 7.761916358, 7.91706664],
            [5.621618372, 6.475367995, 10.125007105, 8.133407988],
            [4.097508802, 6.806181031, 10.516465927, 7.381111387],
            [3.461843533, 7.440762628, 12.987534611, 12.6215661],
        ],
    ),
    ("nonparametric", False): (
        [
            [3.361412331, 5.99811121, 8.217092781, 9.200240314],
            [8.177459642, 8.031126461, 12.155457364, 9.711364513],
            [4.646939442, 8.671241743, 10.717751649, 9.024471547],
        ],
        [
            [3.125582723, 6.084975244, 8.629653663, 9.43966457],
            [6.014605084, 6.966917869, 11.300003774, 9.392667385],
            [3.058509979, 6.243846507, 10.027690765, 7.504421379],
            [4.067549275, 6.911799322, 11.543176289, 11.675119186],
        ],
    ),
}
AS_RELEASED = {
    True: [
        [2.362539491, 5.727870385, 8.93038142, 7.778519198],
        [4.14389422, 7.009761796, 9.866338485, 8.267683504],
        [4.158112312, 7.051803794, 9.627256129, 7.26075823],
        [4.893210333, 7.437358812, 11.950434977, 12.741915175],
    ],
    False: [
        [2.328429851, 5.657040383, 8.892595595, 8.026204231],
        [4.544652239, 7.47819554, 11.088773017, 9.501012598],
        [3.623665139, 6.6617576, 9.451574122, 6.874566154],
        [4.46770955, 7.282068169, 11.206037858, 11.837983339],
    ],
}


def reference_table(with_covariates: bool = True) -> np.ndarray:
    """Give site, age, sex (if wanted) and four features of 18 and 4 rows, without a random generator."""
    row, feature = np.arange(22), np.arange(4)
    site = np.array([1] * 6 + [2] * 5 + [3] * 7 + [1, 2, 3, 3])
    age, sex = 30 + (row * 37) % 41, (row * 5) % 3 % 2
    turns = 0.6180339887 * np.outer(row + 1, feature + 1) + 0.37 * 0.4142135 * np.outer(
        (row + 2) ** 2, feature + 1
    )
    values = (turns % 1) * (1 + 0.5 * np.subtract.outer(site, 0.7 * feature) ** 2)
    values += 0.8 * np.outer(site, 1 + feature % 3)
    values += 0.05 * np.outer(age, feature) + 0.6 * np.outer(sex, 3 - feature)
    return np.column_stack([site, *([age, sex] if with_covariates else []), values.round(3)])


def sites(rows: int, seed: int = 0, features: int = 20) -> np.ndarray:
    """Give site, age and features of three sites, each with its own shifts, spreads and ages.

    The features rise by 0.1 a year, and have a noise of 1 but for the sites' spreads of 0.5, 1 and 2.
    """
    rng = np.random.default_rng(seed)
    site = np.repeat([3, 10, 11], rows)
    age = rng.normal(np.repeat([40, 50, 65], rows), 8)
    shift = np.random.default_rng(1).normal([[-4], [1], [3]], 0.5, (3, features))
    noise = np.repeat([0.5, 1, 2], rows)[:, None] * rng.normal(size=(3 * rows, features))
    return np.column_stack([site, age, 0.1 * age[:, None] + np.repeat(shift, rows, axis=0) + noise])


def with_gaps(table: np.ndarray, columns: slice, share: float = 0.1) -> np.ndarray:
    gaps = np.random.default_rng(5).random(table[:, columns].shape) < share
    table = table.copy()
    table[:, columns][gaps] = np.nan
    return table


@parametrize_with_checks([ComBat()])
def test_the_estimator_keeps_the_contract_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize(("prior", "with_covariates"), REFERENCE)
def test_features_are_those_of_neurocombat_in_training_and_of_neuroharmonize_in_rows_held_out(
    prior: str, with_covariates: bool
) -> None:
    table = reference_table(with_covariates)
    covariates = [AGE, SEX] if with_covariates else []
    combat = ComBat(SITE, covariates, prior=prior).fit(table[TRAINING])
    training, held_out = (
        combat.transform(table[rows])[:, len(covariates) :] for rows in (TRAINING, HELD_OUT)
    )
    np.testing.assert_allclose(training[SHOWN], REFERENCE[prior, with_covariates][0], atol=2e-9, rtol=0)
    np.testing.assert_allclose(held_out, REFERENCE[prior, with_covariates][1], atol=2e-9, rtol=0)


@pytest.mark.parametrize("with_covariates", [True, False])
def test_the_released_neuroharmonize_differs_by_where_its_iteration_stops_alone(
    with_covariates: bool,
) -> None:
    table = reference_table(with_covariates)
    covariates = [AGE, SEX] if with_covariates else []
    found = ComBat(SITE, covariates).fit(table[TRAINING]).transform(table[HELD_OUT])[:, len(covariates) :]
    np.testing.assert_allclose(found, AS_RELEASED[with_covariates], atol=1e-5, rtol=0)


@pytest.mark.parametrize("prior", ["parametric", "nonparametric"])
@pytest.mark.parametrize("gaps", [0.0, 0.1])
def test_shifts_and_spreads_go_from_rows_never_seen_and_a_covariate_effect_stays(
    prior: str, gaps: float
) -> None:
    training, unseen = (with_gaps(sites(2000, seed, features=200), np.s_[2:], gaps) for seed in (0, 9))
    combat = ComBat(SITE, [AGE], prior=prior).fit(training)
    result = combat.transform(unseen)
    residual = result[:, 1:] - 0.1 * unseen[:, [AGE]]
    means, deviations = (moment(residual.reshape(3, 2000, -1), axis=1) for moment in (np.nanmean, np.nanstd))
    # Planted are shifts about 7 apart and spreads of 0.5, 1 and 2. Without a parametric prior the few
    # features with the most extreme shifts find none like theirs among the others, and keep a part.
    left = np.ptp(means, axis=0)
    assert np.quantile(left, 0.95) < 0.3
    assert left.max() < (0.3 if prior == "parametric" else 0.8)
    np.testing.assert_allclose(deviations / deviations.mean(axis=0), 1, atol=0.1)
    np.testing.assert_allclose(combat.slope_, 0.1, atol=0.01)
    np.testing.assert_array_equal(result[:, 0], unseen[:, AGE])


def test_what_a_covariate_that_is_not_given_differs_between_sites_goes_with_the_sites() -> None:
    table = sites(400)
    result = ComBat(SITE).fit_transform(table[:, [0, *range(2, 22)]])
    means = result.reshape(3, 400, -1).mean(axis=1)
    assert np.ptp(means, axis=0).max() < 0.1
    kept = ComBat(SITE, [AGE]).fit_transform(table)[:, 1:].reshape(3, 400, -1).mean(axis=1)
    years = np.ptp(table[:, AGE].reshape(3, 400).mean(axis=1))
    np.testing.assert_allclose(np.ptp(kept, axis=0), 0.1 * years, atol=0.4)


def test_a_feature_alone_has_exactly_the_same_mean_and_variance_at_all_sites() -> None:
    table = with_gaps(sites(15, features=1)[:, [0, 2]], np.s_[1:])
    parts = ComBat(SITE).fit_transform(table).reshape(3, 15)
    np.testing.assert_allclose(np.nanmean(parts, axis=1), np.nanmean(table[:, 1]), rtol=1e-12)
    deviations = [np.nanstd(part, ddof=1) for part in parts]
    np.testing.assert_allclose(deviations, deviations[0], rtol=1e-12)


def test_shifts_are_shrunk_to_those_of_the_other_features_and_less_where_rows_are_many() -> None:
    strayed = []
    for rows in (4, 400):
        table = sites(rows)[:, [0, *range(2, 22)]]
        combat = ComBat(SITE).fit(table)
        unshrunk = np.array([ComBat(SITE).fit(table[:, [0, i]]).shift_[:, 0] for i in range(1, 21)]).T
        centre = unshrunk.mean(axis=1, keepdims=True)
        assert np.all(np.abs(combat.shift_ - centre) <= np.abs(unshrunk - centre))
        strayed.append(np.abs(combat.shift_ - unshrunk).mean())
    assert strayed[0] > 10 * strayed[1]


@pytest.mark.parametrize("prior", ["parametric", "nonparametric"])
def test_a_gap_stays_a_gap_and_a_feature_with_gaps_is_learned_from_its_known_rows(prior: str) -> None:
    table = sites(12, features=1)
    gappy = table.copy()
    gappy[::5, 2] = np.nan
    known = ~np.isnan(gappy[:, 2])
    combat = ComBat(SITE, [AGE], prior=prior)
    result = combat.fit(gappy).transform(gappy)
    np.testing.assert_array_equal(np.isnan(result[:, 1]), ~known)
    np.testing.assert_allclose(result[known], combat.fit_transform(table[known]), rtol=1e-12)


def test_gaps_of_one_feature_do_not_take_rows_from_the_others() -> None:
    table = sites(12, features=3)
    whole = ComBat(SITE, [AGE]).fit(table)
    table[1:10, 2] = np.nan
    gappy = ComBat(SITE, [AGE]).fit(table)
    np.testing.assert_allclose(gappy.mean_[1:], whole.mean_[1:], rtol=1e-12)
    np.testing.assert_allclose(gappy.scale_[1:], whole.scale_[1:], rtol=1e-12)


@pytest.mark.parametrize("prior", ["parametric", "nonparametric"])
def test_a_row_alone_becomes_what_it_becomes_among_others(prior: str) -> None:
    training, unseen = sites(20), with_gaps(sites(5, seed=2), np.s_[2:])
    combat = ComBat(SITE, [AGE], prior=prior).fit(training)
    alone = np.vstack([combat.transform(row[None]) for row in unseen])
    np.testing.assert_allclose(alone, combat.transform(unseen), rtol=1e-12)


@pytest.mark.parametrize("prior", ["parametric", "nonparametric"])
def test_the_order_of_rows_and_of_columns_does_not_matter(prior: str) -> None:
    table = with_gaps(sites(10), np.s_[2:])
    rng = np.random.default_rng(3)
    rows, columns = rng.permutation(30), rng.permutation(22)
    expected = ComBat(SITE, [AGE], prior=prior).fit_transform(table)
    moved = ComBat(
        int(np.flatnonzero(columns == SITE)[0]),
        [int(np.flatnonzero(columns == AGE)[0])],
        prior=prior,
    ).fit_transform(table[np.ix_(rows, columns)])
    np.testing.assert_allclose(moved, expected[np.ix_(rows, columns[columns != SITE] - 1)], rtol=1e-9)


def test_names_units_and_numbers_of_sites_do_not_matter() -> None:
    table = sites(10)
    expected = ComBat(SITE, [AGE]).fit_transform(table)
    other = table * np.array([-7, 365.25e6, *([1000.0] * 20)]) + np.array([0, 0, *([5.0] * 20)])
    found = ComBat(SITE, [AGE]).fit_transform(other)
    np.testing.assert_allclose((found[:, 1:] - 5) / 1000, expected[:, 1:], rtol=1e-9)


def test_the_outcome_is_not_looked_at() -> None:
    table = sites(10)
    expected = ComBat(SITE).fit_transform(table)
    outcome = np.arange(30) % 2
    np.testing.assert_array_equal(ComBat(SITE).fit(table, outcome).transform(table), expected)


def test_it_is_learned_anew_in_each_fold_of_a_cross_validation() -> None:
    table = sites(30)
    outcome = table[:, AGE]
    pipeline = make_pipeline(ComBat(0), LinearRegression())
    features = table[:, [0, *range(2, 22)]]
    rows = np.random.default_rng(0).permutation(90)
    held_out, rest = rows[:45], rows[45:]
    predicted = cross_val_predict(pipeline, features, outcome, cv=[(rest, held_out), (held_out, rest)])
    by_hand = ComBat(0).fit(features[rest])
    model = LinearRegression().fit(by_hand.transform(features[rest]), outcome[rest])
    np.testing.assert_allclose(
        predicted[held_out], model.predict(by_hand.transform(features[held_out])), rtol=1e-9
    )


@pytest.mark.parametrize("prior", ["parametric", "nonparametric"])
@pytest.mark.parametrize(
    "what", ["everywhere", "at one site", "but for one value", "line", "empty", "empty at one site"]
)
def test_a_feature_without_noise_at_some_site_is_passed_through_and_changes_no_other(
    what: str, prior: str
) -> None:
    table = sites(10)
    odd = np.random.default_rng(0).normal(0.1, size=30)
    if what == "everywhere":
        odd[:] = 0.1
    elif what == "at one site":
        odd[10:20] = 0.1
    elif what == "but for one value":
        odd[10:20], odd[11:20] = 0.1, np.nan
    elif what == "line":
        odd = 0.3 * table[:, AGE] + 1e3 * table[:, SITE]
    else:
        odd[slice(10, 20) if what == "empty at one site" else slice(None)] = np.nan
    combat = ComBat(SITE, [AGE], prior=prior)
    expected = combat.fit_transform(table)
    result = combat.fit_transform(np.column_stack([table, odd]))
    assert list(combat.features_) == list(range(2, 22))
    np.testing.assert_array_equal(result[:, -1], odd)
    np.testing.assert_allclose(result[:, :-1], expected, rtol=1e-12)
    assert np.isfinite(result[:, :-1]).all()


@pytest.mark.parametrize("prior", ["parametric", "nonparametric"])
def test_features_that_are_all_alike_are_harmonised_as_one(prior: str) -> None:
    table = sites(10, features=1)
    expected = ComBat(SITE, [AGE], prior=prior).fit_transform(table)
    twice = ComBat(SITE, [AGE], prior=prior).fit_transform(table[:, [0, 1, 2, 2]])
    np.testing.assert_allclose(twice, expected[:, [0, 1, 1]], rtol=1e-9)


def test_hundreds_of_rows_do_not_make_likelihoods_vanish() -> None:
    table = sites(1000)
    result = ComBat(SITE, [AGE], prior="nonparametric").fit_transform(table)
    assert np.isfinite(result).all()


def test_the_rows_of_one_site_alone_are_passed_through() -> None:
    table = sites(10)[:10]
    np.testing.assert_array_equal(ComBat(SITE).fit_transform(table), table[:, 1:])


def test_a_site_that_was_not_in_training_is_refused_by_name_or_its_rows_are_kept() -> None:
    table = sites(10)
    strange = table[[0, 12, 25]]
    strange[1:, SITE] = 12, 7.5
    with pytest.raises(ValueError, match=r"not in training: site 7\.5, site 12$"):
        ComBat(SITE).fit(table).transform(strange)
    combat = ComBat(SITE, unseen="keep").fit(table)
    result = combat.transform(strange)
    np.testing.assert_array_equal(result[1:], strange[1:, 1:])
    np.testing.assert_allclose(result[0], combat.transform(table)[0], rtol=1e-12)


def test_a_site_with_too_few_rows_is_refused_by_name() -> None:
    table = sites(10)[:24]
    ComBat(SITE, minimum_site=4).fit(table)
    with pytest.raises(ValueError, match=r"fewer than 5 rows in training: site 11$"):
        ComBat(SITE, minimum_site=5).fit(table)
    with pytest.raises(ValueError, match=r"fewer than 2 rows in training: site 11$"):
        ComBat(SITE).fit(table[:21])


def test_covariates_that_cannot_be_told_from_the_site_are_refused_by_name() -> None:
    table = pd.DataFrame(sites(10, features=3), columns=["site", "age", "a", "b", "c"])
    table["scanner"] = table["site"].isin([10, 11]).astype(float)
    with pytest.raises(ValueError, match="confounded with the site: scanner is the same"):
        ComBat("site", ["age", "scanner"]).fit(table)
    table["birth"] = 2020.5 - table["age"] + table["scanner"]
    with pytest.raises(ValueError, match="effects of age, birth and of the site cannot be told apart"):
        ComBat("site", ["age", "birth"]).fit(table)
    with pytest.raises(ValueError, match="4 training rows cannot tell 4 effects"):
        ComBat("site", ["a", "b"]).fit(table.iloc[[0, 1, 10, 11]])


@pytest.mark.parametrize(("column", "named"), [("site", "site"), ("age", "age")])
def test_a_missing_site_or_covariate_is_refused_by_name_in_training_and_later(
    column: str, named: str
) -> None:
    whole = pd.DataFrame(sites(10, features=2), columns=["site", "age", "a", "b"])
    gappy = whole.copy()
    gappy.loc[3, column] = np.nan
    combat = ComBat("site", ["age"])
    with pytest.raises(ValueError, match=f"^{named} has missing values"):
        combat.fit(gappy)
    with pytest.raises(ValueError, match=f"^{named} has missing values"):
        combat.fit(whole).transform(gappy)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"site": 22}, "no column 22"),
        ({"site": -1}, "no column -1"),
        ({"site": "site"}, "no column 'site'"),
        ({"site": 0, "covariates": ["age"]}, "no column 'age'"),
        ({"site": 0, "unseen": "guess"}, "unseen is 'guess'"),
        ({"site": 0, "minimum_site": 1}, "minimum_site is 1"),
        ({"site": 0, "covariates": [0]}, "confounded with the site: column 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ComBat(**settings).fit(sites(10))


def test_columns_are_known_by_name_and_keep_their_order_and_names() -> None:
    table = pd.DataFrame(sites(10, features=3), columns=["site", "age", "a", "b", "c"])
    moved = table[["a", "site", "b", "age", "c"]]
    combat = ComBat("site", ["age"]).set_output(transform="pandas").fit(moved)
    result = combat.transform(moved)
    assert list(result.columns) == list(combat.get_feature_names_out()) == ["a", "b", "age", "c"]
    expected = ComBat(0, [1]).fit_transform(table.to_numpy())
    np.testing.assert_allclose(result[["age", "a", "b", "c"]].to_numpy(), expected, rtol=1e-9)
    assert list(ComBat(1).fit(moved.to_numpy()).get_feature_names_out()) == ["x0", "x2", "x3", "x4"]


def test_a_copy_through_pickle_and_a_clone_do_the_same() -> None:
    table = sites(10)
    combat = ComBat(SITE, [AGE], prior="nonparametric").fit(table)
    expected = combat.transform(table)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(combat)).transform(table), expected)
    np.testing.assert_array_equal(clone(combat).fit(table).transform(table), expected)


def test_the_table_given_is_left_as_it_is() -> None:
    table = sites(10)
    before = table.copy()
    ComBat(SITE, [AGE]).fit_transform(table)
    assert not np.shares_memory(ComBat().fit_transform(table), table)
    np.testing.assert_array_equal(table, before)


def test_without_a_prior_no_difference_between_the_means_of_sites_is_left_in_training() -> None:
    rng = np.random.default_rng(0)
    table = np.c_[np.arange(60) % 2, rng.normal(size=(60, 30)) + 2 * (np.arange(60) % 2)[:, None]]
    left = {}
    for prior in ("none", "parametric", "auto"):
        result = ComBat(SITE, prior=prior).fit_transform(table)
        left[prior] = np.abs(result[::2].mean(axis=0) - result[1::2].mean(axis=0)).max()
    assert left["none"] < 1e-12
    assert left["parametric"] > 0.1
    assert left["auto"] == left["none"]
    small = ComBat(SITE, prior="auto").fit(table[:40])
    np.testing.assert_array_equal(small.shift_, ComBat(SITE).fit(table[:40]).shift_)
