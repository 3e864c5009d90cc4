"""Percentiles on a standard scale that each fold learns for itself: as if the images had been on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.numerics.test_modelling import analyse
from voxelome.anat.landmarks import apply_landmarks, landmarks_of, learn_scale
from voxelome.columns import percentile
from voxelome.errors import DataError
from voxelome.modelling.analysis import parse_analysis, run_analysis
from voxelome.modelling.apply import apply_model, describe_model
from voxelome.modelling.artifact import load_model, save_model
from voxelome.modelling.cohort import assemble
from voxelome.modelling.crossval import fit_model
from voxelome.modelling.explanation import parted
from voxelome.modelling.folds import outer_splits
from voxelome.modelling.hold_out import open_hold_out
from voxelome.modelling.nyul import NyulScale
from voxelome.modelling.people import Tables
from voxelome.radiomics.histogram import PERCENTILES as MEASURED
from voxelome.standard_scale import PERCENTILES

pytestmark = pytest.mark.usefixtures("few_trees")

ASKED = {"standard_scale": ["T1w"], "repeats": 1}
HEADS, VOXELS, TUMOR = 60, 4000, 300


def heads(effect: float = 0.0, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Brains whose scanners bend their intensities each in its own way; the tumor is the first voxels."""
    rng = np.random.default_rng(seed)
    mutated = rng.permutation(np.arange(HEADS) % 2 == 1)
    images = []
    for brighter in mutated:
        tissue = rng.beta(4, 3, VOXELS)
        tissue[:TUMOR] = rng.normal(0.7 + effect * brighter, 0.05, TUMOR)
        images.append(rng.uniform(-50, 50) + rng.uniform(50, 500) * np.abs(tissue) ** rng.uniform(0.5, 2))
    return images, mutated


def table_of(images: Sequence[np.ndarray]) -> pd.DataFrame:
    """What radiomics makes of images, one row an image: percentiles, and another feature."""
    rows = []
    for image in images:
        row = {}
        for region, inside in (("brain", image), ("tumor", image[:TUMOR])):
            found = dict(zip(map(percentile, MEASURED), np.percentile(inside, MEASURED), strict=True))
            for name, value in {"Mean": inside.mean(), **found}.items():
                row[f"T1w__{region}__original__histogram__{name}"] = value
        rows.append(row)
    table = pd.DataFrame(rows)
    table.insert(0, "participant_id", [f"sub-{number:03d}" for number in range(len(images))])
    table.insert(1, "session_id", None)
    return table


def people_of(mutated: np.ndarray) -> pd.DataFrame:
    names = [f"sub-{number:03d}" for number in range(len(mutated))]
    outcome = np.where(mutated, "mutated", "wildtype")
    site = [f"site{number % 4}" for number in range(len(names))]
    return pd.DataFrame({"participant_id": names, "mutation": outcome, "site": site})


@pytest.fixture(scope="module")
def bright() -> tuple[pd.DataFrame, pd.DataFrame]:
    images, mutated = heads(effect=0.08)
    return table_of(images), people_of(mutated)


@parametrize_with_checks([NyulScale()])
def test_the_scale_is_an_estimator_of_scikit_learn(
    estimator: NyulScale, check: Callable[[NyulScale], None]
) -> None:
    check(estimator)


def test_percentiles_come_to_lie_where_those_of_images_on_the_scale_do() -> None:
    images, _ = heads()
    training, unseen = images[:40], images[40:]
    table = table_of(images).iloc[:, 2:]
    columns = list(table.columns)
    landmarks = [columns.index(f"T1w__brain__original__histogram__Percentile{p:02d}") for p in PERCENTILES]
    moved = [place for place, name in enumerate(columns) if "__tumor__" in name and "__Percentile" in name]
    found = NyulScale([landmarks], [moved], ["T1w"]).fit(table[:40]).transform(table[40:])
    found = found[:, [np.sum(~np.isin(np.arange(place), landmarks)) for place in moved]]

    # The same on the images: a scale of those of training, and histograms of the others on it.
    everywhere = np.ones(VOXELS, dtype=bool)
    scale = learn_scale([(f"sub-{k}", "T1w", landmarks_of(image)) for k, image in enumerate(training)], "x")
    standard = scale.contrasts["T1w"]
    scaled = [apply_landmarks(image, everywhere, landmarks_of(image), standard) for image in unseen]
    expected = table_of(scaled)[[columns[place] for place in moved]].to_numpy()
    assert np.ptp(expected, axis=0).min() > 1
    assert found == pytest.approx(expected, abs=0.05)


def test_each_fold_learns_its_scale_from_its_training_participants_alone(bright) -> None:
    table, people = bright
    settings = parse_analysis({"name": "a", "outcome": "mutation", "model": "ridge_logistic", **ASKED})
    data = assemble(table, Tables(people), settings)
    names = [f"T1w__brain__original__histogram__Percentile{percent:02d}" for percent in PERCENTILES]
    splits = outer_splits(data.cohort, settings, 5)
    scales = []
    for split in splits:
        first, _ = parted(fit_model(data.cohort, settings, split.train))
        values = table[names].to_numpy(dtype=float)[split.train]
        low, high = values[:, :1], values[:, -1:]
        expected = np.mean(100 * (values - low) / (high - low), axis=0)
        assert first[0].standard_[0] == pytest.approx(expected)
        scales.append(first[0].standard_[0])
    assert np.ptp(scales, axis=0)[1:-1].min() > 1e-3


def test_a_difference_that_scanners_hide_is_found_on_the_scale(bright) -> None:
    table, people = bright
    percentiles = {"features": ["*__tumor__*__Percentile*"], "model": "ridge_logistic", "repeats": 2}
    plain = analyse(table, people, **percentiles)
    scaled = analyse(table, people, **{**ASKED, **percentiles})
    assert plain.metrics["auc"] < 0.75 < 0.9 < scaled.metrics["auc"]
    # What brings others to the scale is no feature.
    assert plain.metrics["n_features"] == scaled.metrics["n_features"] == 15
    assert not scaled.selected["feature"].str.startswith("landmark").any()
    foremost = scaled.univariate.sort_values("p")["feature"].iloc[0]
    assert foremost.startswith("T1w__tumor__original__histogram__Percentile")
    assert scaled.univariate["p"].min() < 1e-6 < plain.univariate["p"].min()
    assert any("15 percentiles of regions of T1w are brought" in note for note in scaled.notes)


def test_noise_is_not_predicted_from_percentiles_on_the_scale() -> None:
    found = []
    for seed in range(4):
        images, mutated = heads(seed=seed)
        found.append(analyse(table_of(images), people_of(mutated), **ASKED).metrics["auc"])
    assert 0.35 < np.mean(found) < 0.65


@pytest.mark.parametrize("model", ["ensemble", "stacked"])
def test_scaled_and_harmonised_features_are_explained_together(bright, model: str) -> None:
    table, people = bright
    asked = {**ASKED, "model": model, "explain": True, "harmonise": "site", "outer_folds": 3}
    result = analyse(table, people, features=["*__tumor__*"], **asked)
    foremost = result.explanation.summary["foremost"][0]
    assert "__tumor__" in foremost["representative"]
    assert result.metrics["sites"]["features"] == result.metrics["n_features"]
    curves = result.explanation.summary["dependence"]
    grid = next(each["grid"] for each in curves if "__Percentile" in each["feature"])
    assert -20 < min(grid) < max(grid) < 150


def test_a_model_kept_in_a_file_brings_new_participants_to_its_scale(bright, tmp_path) -> None:
    table, people = bright
    asked = {"name": "a", "outcome": "mutation", "positive": "mutated", "model": "ridge_logistic", **ASKED}
    settings = parse_analysis({**asked, "permutations": 0, "explain": False})
    result = run_analysis(table[:40], people[:40], settings)
    save_model(tmp_path / "model.skops", result.model)
    about = describe_model(settings, result, {})
    found = apply_model(load_model(tmp_path / "model.skops"), about, table[40:], None)
    percentiles = [name for name in table if "__Percentile" in name]
    bent = table.assign(**{name: 7 * table[name] - 3 for name in percentiles})
    again = apply_model(load_model(tmp_path / "model.skops"), about, bent[40:], None)
    # In units of another scanner a percentile on the scale is what it was.
    assert again["probability"].to_numpy() == pytest.approx(found["probability"].to_numpy())
    truth = (people["mutation"][40:] == "mutated").to_numpy()
    assert found["probability"][truth].mean() > found["probability"][~truth].mean() + 0.3
    brains = [name for name in table if "__brain__" in name]
    with pytest.raises(
        DataError, match="features of the model are not there: T1w__brain__original__histogram"
    ):
        apply_model(result.model, about, table.drop(columns=brains), None)


def test_a_locked_hold_out_is_scaled_as_the_training_was(bright) -> None:
    table, people = bright
    asked = {"name": "a", "outcome": "mutation", "positive": "mutated", "model": "ridge_logistic", **ASKED}
    people = people.assign(age=np.arange(len(people)) % 9)
    table = table.assign(T1w__tumor__original__shape__MeshVolume=np.arange(len(table)) % 7 + 1.0)
    more = {"hold_out": {"site": "site3"}, "covariates": ["age"], "permutations": 0, "explain": False}
    settings = parse_analysis({**asked, **more})
    result = run_analysis(table, people, settings)
    about = describe_model(settings, result, {})
    _, metrics = open_hold_out(result.model, about, table, Tables(people), settings)
    assert metrics["n"] == 15
    assert metrics["auc"] > 0.8
    beside = {each["name"]: each["value"] for each in metrics["alternatives"]}
    assert set(beside) == {"clinical covariates alone", "size alone", "features without covariates"}
    assert beside["features without covariates"] > 0.8


def test_visits_whose_brain_was_not_measured_lose_what_would_be_scaled(bright) -> None:
    table, people = bright
    table = table.copy()
    brains = [name for name in table if "__brain__" in name]
    table.loc[3, brains], table.loc[7, brains] = np.nan, np.inf
    result = analyse(table, people, **ASKED)
    assert any("2 visit(s) have no percentiles of T1w in the brain" in note for note in result.notes)
    settings = parse_analysis({"name": "a", "outcome": "mutation", **ASKED})
    cohort = assemble(table, Tables(people), settings).cohort
    scaled = NyulScale(*zip(*[(each.landmarks, each.moved) for each in cohort.scaled], strict=True), ["T1w"])
    found = scaled.fit_transform(cohort.values)
    moved = list(cohort.scaled[0].moved)
    assert np.isnan(found[3, moved]).all()
    assert np.isfinite(found[4, moved]).all()


def test_a_fold_without_brains_says_so(bright) -> None:
    table, people = bright
    table = table.copy()
    table.loc[4:, [name for name in table if "__brain__" in name]] = np.nan
    with pytest.raises(DataError, match="visits in training have percentiles of T1w in the brain"):
        analyse(table, people, **ASKED)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"standard_scale": ["FLAIR"]},
            "standard_scale names FLAIR: no percentile of a region in such an image is offered",
        ),
        ({"features": ["*__Mean"]}, "standard_scale names T1w: no percentile"),
        ({"features": ["*__brain__*"]}, "standard_scale names T1w: no percentile"),
        ({"visits": "mean"}, "standard_scale is for single images, and visits are averaged"),
        ({"standard_scale": "T1w"}, "give a list of texts"),
    ],
)
def test_a_scale_of_nothing_is_refused(bright, change: dict, words: str) -> None:
    with pytest.raises(DataError, match=words):
        analyse(*bright, **{**ASKED, **change})


def test_a_scale_without_brains_is_refused(bright) -> None:
    table, people = bright
    tumors = table.drop(columns=[name for name in table if "__brain__" in name])
    with pytest.raises(DataError, match="percentiles of T1w in the brain: there are none"):
        analyse(tumors, people, **ASKED)
