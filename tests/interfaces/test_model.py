"""An analysis as a step, and its model applied to features that it has not seen."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import sklearn

from tests.numerics.test_modelling import cohort
from tests.numerics.test_nyul import heads, people_of, table_of
from voxelome import tools
from voxelome.bids.image_settings import settings_behind
from voxelome.columns import HISTOGRAMS
from voxelome.errors import DataError, InputError
from voxelome.imageio import save_json
from voxelome.interfaces import FitFolds, FitModel
from voxelome.interfaces.analysis_inputs import read_tables
from voxelome.interfaces.analysis_report import write_analysis_page
from voxelome.interfaces.analysis_summary import summarise_analysis
from voxelome.interfaces.hold_out import open_locked
from voxelome.modelling.apply import check_same_settings
from voxelome.outcomes import HEADLINES
from voxelome.step import StepRecord

SETTINGS = {"Radiomic features": {"bin_count": 32}}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    table, people = cohort(n=40, features=10, effect=3.0)
    save_features(folder, table, people, Settings=SETTINGS)
    fit(folder, {"name": "mutation"})
    return folder, table


def save_features(folder, table, people, **about):
    """Leave what the step features does."""
    table.to_csv(folder / "features.tsv", sep="\t", index=False, na_rep="n/a")
    save_json(folder / "features.json", about)
    people.to_csv(folder / "participants.tsv", sep="\t", index=False, na_rep="n/a")
    record = StepRecord("features", "group")
    record.add(folder / "features.tsv", "features")
    record.save(folder / "features-record.json")


def inputs(folder, analysis):
    asked = {"outcome": "mutation", "repeats": 1, "model": "ridge_logistic", "permutations": 0, **analysis}
    return {
        "unit": asked["name"],
        "features": str(folder / "features-record.json"),
        "participants": str(folder / "participants.tsv"),
        "analysis": json.dumps(asked),
    }


def fit(folder, analysis, **more):
    out = folder / analysis["name"]
    record = folder / f"model-{analysis['name']}.json"
    FitModel(**inputs(folder, analysis), out_dir=str(out), record=str(record), **more).run()
    return out


def test_an_analysis_leaves_its_predictions_its_numbers_and_its_model(fitted):
    folder, _ = fitted
    names = {path.name for path in (folder / "mutation").iterdir()}
    tables = {
        f"{name}.tsv" for name in ("predictions", "selected", "univariate", "clusters", "contributions")
    }
    assert names == tables | {"metrics.json", "model.json", "model.skops"}
    metrics = json.loads((folder / "mutation" / "metrics.json").read_text())
    assert metrics["auc"] > 0.8
    assert metrics["roc"]["fpr"][0] == 0
    assert metrics["alternatives"] == []


def test_the_model_predicts_features_made_elsewhere(fitted, tmp_path, capsys):
    folder, table = fitted
    table.iloc[:5].to_csv(tmp_path / "new.tsv", sep="\t", index=False, na_rep="n/a")
    save_json(tmp_path / "new.json", {"Settings": SETTINGS})
    model = str(folder / "mutation" / "model.skops")
    assert tools.main(["predict", model, str(tmp_path / "new.tsv")]) == 0
    found = pd.read_csv(tmp_path / "predictions.tsv", sep="\t")
    assert list(found["participant_id"]) == list(table["participant_id"][:5])
    assert found["probability"].between(0, 1).all()
    assert np.ptp(found["probability"]) > 0


def test_features_made_with_other_settings_are_refused(fitted, tmp_path, capsys):
    folder, table = fitted
    table.to_csv(tmp_path / "new.tsv", sep="\t", index=False, na_rep="n/a")
    save_json(tmp_path / "new.json", {"Settings": {"Radiomic features": {"bin_count": 64}}})
    assert tools.main(["predict", str(folder / "mutation" / "model.skops"), str(tmp_path / "new.tsv")]) == 3
    assert "new.tsv: the features were made with other settings" in capsys.readouterr().err
    assert not (tmp_path / "predictions.tsv").exists()


def test_features_of_images_on_another_scale_are_refused(tmp_path, capsys):
    table, people = cohort(n=40, features=10, effect=3.0)
    save_features(
        tmp_path, table, people, Settings=SETTINGS | {"Registered images": {"normalisation": "zscore"}}
    )
    fit(tmp_path, {"name": "mutation"})
    table.to_csv(tmp_path / "new.tsv", sep="\t", index=False, na_rep="n/a")
    call = ["predict", str(tmp_path / "mutation" / "model.skops"), str(tmp_path / "new.tsv")]
    for normalisation, code in (("zscore", 0), ("whitestripe", 3)):
        changed = SETTINGS | {"Registered images": {"normalisation": normalisation}}
        save_json(tmp_path / "new.json", {"Settings": changed})
        assert tools.main(call) == code
    assert "other settings than those of the model (normalisation)" in capsys.readouterr().err


def test_a_model_of_percentiles_on_a_scale_is_applied_and_told_of(tmp_path, capsys):
    images, mutated = heads(effect=0.08)
    made_with = {**SETTINGS, HISTOGRAMS: {"wanted": True}}
    save_features(tmp_path, table_of(images), people_of(mutated), Settings=made_with)
    out = fit(tmp_path, {"name": "mutation", "standard_scale": ["T1w"], "explain": False})
    (tmp_path / "new.tsv").write_text((tmp_path / "features.tsv").read_text())
    for settings, code in ((made_with, 0), ({**SETTINGS, HISTOGRAMS: {"wanted": True, "more": 1}}, 3)):
        save_json(tmp_path / "new.json", {"Settings": settings})
        assert tools.main(["predict", str(out / "model.skops"), str(tmp_path / "new.tsv")]) == code
    assert "other settings than those of the model (more)" in capsys.readouterr().err
    page = write_analysis_page(StepRecord.load(tmp_path / "model-mutation.json"), "Data", {}).read_text()
    assert "Percentiles of regions of T1w were brought to a standard scale of intensities (Nyul 2000)" in page
    assert "10.1109/42.836373" in page
    assert "19 percentiles of regions of T1w are brought to a standard scale" in page


def test_features_of_regions_that_another_network_drew_are_refused(tmp_path, capsys):
    table, people = cohort(n=40, features=10, effect=3.0)
    table.columns = [name.replace("__brain__", "__meshnet18-thalamus__") for name in table.columns]
    trained = SETTINGS | {"Networks": {"meshnet18": ["a1"], "synlesion": ["b2"]}}
    save_features(tmp_path, table, people, Settings=trained)
    fit(tmp_path, {"name": "mutation"})
    table.to_csv(tmp_path / "new.tsv", sep="\t", index=False, na_rep="n/a")
    call = ["predict", str(tmp_path / "mutation" / "model.skops"), str(tmp_path / "new.tsv")]
    # What drew other regions does not matter.
    for networks, code in (
        ({"meshnet18": ["a1"], "other": ["c3"]}, 0),
        ({"meshnet18": ["a2"]}, 3),
        ({}, 3),
    ):
        save_json(tmp_path / "new.json", {"Settings": SETTINGS | {"Networks": networks}})
        assert tools.main(call) == code
    assert "other settings than those of the model (meshnet18)" in capsys.readouterr().err


def test_a_setting_that_only_the_features_have_is_named_too():
    trained = {"Susceptibility and SWI": {"inversion": "tv"}}
    with pytest.raises(DataError, match=r"\(shading\)"):
        check_same_settings(trained, {"Susceptibility and SWI": {"inversion": "tv", "shading": "fluid"}})


def test_settings_of_susceptibility_bind_only_a_model_that_has_such_features():
    made_with = {"Radiomic features": {}, "Susceptibility and SWI": {"inversion": "tv"}}
    assert settings_behind(made_with, ["T1w__brain__shape__x"]) == {"Radiomic features": {}}
    assert settings_behind(made_with, ["acq-fast_Chimap__brain__firstorder__Mean"]) == made_with


def test_whose_images_taught_the_standard_scale_is_not_tested_with_it(tmp_path):
    table, people = cohort(n=40, features=10, effect=3.0)
    taught = [*people["participant_id"][3:5], "sub-other"]
    save_features(tmp_path, table, people, Settings=SETTINGS, ScaleTaughtBy=taught)
    with pytest.raises(InputError, match=r"learned from 2 of its participants .*learn it from others"):
        fit(tmp_path, {"name": "mutation"})
    rest = people.drop(index=[3, 4])
    rest.to_csv(tmp_path / "participants.tsv", sep="\t", index=False, na_rep="n/a")
    assert (fit(tmp_path, {"name": "mutation"}) / "model.skops").is_file()


def test_a_file_that_is_no_model_is_refused(fitted, tmp_path, capsys):
    folder, _ = fitted
    (tmp_path / "model.skops").write_bytes(b"not a model")
    (tmp_path / "model.json").write_bytes((folder / "mutation" / "model.json").read_bytes())
    assert tools.main(["predict", str(tmp_path / "model.skops"), str(folder / "features.tsv")]) == 3
    assert "is no model of voxelome" in capsys.readouterr().err


def test_the_report_shows_every_measure_of_an_analysis(fitted):
    folder, _ = fitted
    summary = summarise_analysis(StepRecord.load(folder / "model-mutation.json"))
    metrics = json.loads((folder / "mutation" / "metrics.json").read_text())
    shown = dict(summary.metrics)
    assert shown["sensitivity"].startswith(
        f"{metrics['sensitivity']:.2f} ({metrics['sensitivity_low']:.2f} to"
    )
    assert shown["calibration slope (1 is right)"].startswith(f"{metrics['calibration_slope']:.2f} (")
    assert shown["events per candidate feature"] == metrics["sample_size"]["events_per_variable"]
    assert [figure.title for figure in summary.figures] == [
        "ROC curve of mutation",
        "Calibration of mutation",
        "Net benefit of mutation",
    ]
    assert any("had they been chosen on all participants" in sentence for sentence in summary.sentences)


def test_folds_fitted_in_jobs_of_their_own_make_the_same_model(fitted):
    folder, _ = fitted
    shared = {"name": "shared", "permutations": 2}
    records = []
    for part in (1, 2, 3):
        records.append(str(folder / f"folds-shared-{part}.json"))
        FitFolds(**inputs(folder, shared), part=part, parts=3, record=records[-1]).run()
    out = fit(folder, shared, folds=records)
    alone = fit(folder, {"name": "alone", "permutations": 2})
    for name in ("predictions.tsv", "selected.tsv"):
        assert (out / name).read_text() == (alone / name).read_text()
    found, expected = (json.loads((path / "metrics.json").read_text()) for path in (out, alone))
    assert {**found, "name": ""} == {**expected, "name": ""}


@pytest.fixture(scope="module")
def locked(fitted):
    folder, _ = fitted
    return fit(folder, {"name": "locked", "hold_out": {"site": ["site0", "site1", "site2"]}})


def test_a_hold_out_is_opened_once_and_the_opening_is_logged(fitted, locked, capsys):
    folder, _ = fitted
    # The group's folder, in which the features lie.
    asked = ["hold-out", str(locked), "--participants", str(folder / "participants.tsv")]
    assert tools.main(asked) == 0
    assert "locked: auc" in capsys.readouterr().out
    found = json.loads((locked / "hold_out.json").read_text())
    log = pd.read_csv(folder / "hold-out-openings.tsv", sep="\t", dtype=str)
    assert log["participants"].tolist() == ["15"]
    assert float(log["value"][0]) == pytest.approx(found["auc"])
    assert log["time"][0] == found["Opening"]["time"]
    assert (log[["configuration", "model"]].map(len) == 16).all(axis=None)
    assert len(set(log["data"][0].split())) == 15
    assert len(pd.read_csv(locked / "hold_out_predictions.tsv", sep="\t")) == 15
    assert tools.main(asked) == 3
    assert "some of these participants were opened before, by locked on" in capsys.readouterr().err
    assert tools.main([*asked, "--again", "the scanner was named wrongly"]) == 0
    log = pd.read_csv(folder / "hold-out-openings.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert log["again"].tolist() == ["", "the scanner was named wrongly"]
    assert json.loads((locked / "hold_out.json").read_text())["OpenedBefore"] == 1


def test_another_analysis_does_not_make_the_same_participants_unseen(fitted, locked, capsys):
    folder, _ = fitted
    other = fit(folder, {"name": "other", "repeats": 2, "hold_out": {"site": ["site2", "site1", "site0"]}})
    tools.main(["hold-out", str(locked), "--participants", str(folder / "participants.tsv"), "--again", "x"])
    assert tools.main(["hold-out", str(other), "--participants", str(folder / "participants.tsv")]) == 3
    assert "opened before, by locked" in capsys.readouterr().err


def test_an_analysis_without_a_hold_out_has_none_to_open(fitted, capsys):
    folder, _ = fitted
    asked = ["hold-out", str(folder / "mutation"), "--participants", str(folder / "participants.tsv")]
    assert tools.main(asked) == 3
    assert "the analysis mutation has no hold_out" in capsys.readouterr().err


def test_sessions_of_all_participants_are_read_beside_participants_tsv(fitted):
    folder, _ = fitted
    for name, weight in (("sub-001", "60"), ("sub-002", "n/a")):
        (folder / name).mkdir()
        text = f"session_id\tweight\nses-1\t{weight}\n"
        (folder / name / f"{name}_sessions.tsv").write_text(text)
    tables = read_tables(folder / "participants.tsv")
    visits = pd.DataFrame({"participant_id": ["sub-001", "sub-002"], "session_id": "ses-1"})
    found = tables.of_visits(visits, "weight", "covariate")
    assert found.tolist()[0] == 60
    assert pd.isna(found.tolist()[1])


@pytest.mark.parametrize("kind", ["multiclass", "ordinal", "survival", "continuous"])
def test_every_kind_of_outcome_is_told_in_sentences_and_pictures(fitted, kind):
    folder, _ = fitted
    people = pd.read_csv(folder / "participants.tsv", sep="\t")
    people["months"], people["grade"] = people["age"].abs(), np.arange(40) % 3
    people.to_csv(folder / "participants.tsv", sep="\t", index=False)
    asked = {
        "multiclass": {"outcome": "grade"},
        "ordinal": {"outcome": "grade"},
        "survival": {"outcome": "mutation", "time": "months", "model": "cox_elasticnet"},
        "continuous": {"outcome": "age", "model": "ridge"},
    }[kind]
    out = fit(folder, {"name": kind, "kind": kind, "learning_curve": [0.5], "explain": False, **asked})
    metrics = json.loads((out / "metrics.json").read_text())
    summary = summarise_analysis(StepRecord.load(folder / f"model-{kind}.json"))
    value = metrics[HEADLINES[kind].key]
    assert f"{value:.2f} (95 % interval" in summary.sentences[0]
    titles = [figure.title for figure in summary.figures]
    assert titles[-1] == f"Learning curve of {kind}"
    if kind in ("multiclass", "ordinal"):
        assert titles[0] == f"What the classes of {kind} were taken for"
        share = metrics["confusion"][0][0]
        assert f"0 taken for 0: {share:.0%}" in summary.figures[0].svg
        assert sum("against the others" in sentence for sentence in summary.sentences) == 3
    if kind == "survival":
        assert sum("AUC at time" in sentence for sentence in summary.sentences) == 3


def test_the_report_says_that_a_hold_out_is_locked_and_then_what_it_said(fitted):
    folder, _ = fitted
    out = fit(folder, {"name": "closed", "hold_out": {"site": "site7"}})
    record = StepRecord.load(folder / "model-closed.json")
    assert "5 participants are locked away" in summarise_analysis(record).sentences[-1]
    found = open_locked(out, folder / "participants.tsv", None)
    told = summarise_analysis(record).sentences
    assert any(
        f"AUC {found['auc']:.2f}" in sentence and "5 participants who were" in sentence for sentence in told
    )
    found = open_locked(out, folder / "participants.tsv", "a sign was wrong")
    told = summarise_analysis(record).sentences
    assert any("opened 1 time(s) before (a sign was wrong)" in sentence for sentence in told)


def test_what_a_hold_out_said_of_an_earlier_model_is_not_told_of_a_new_one(fitted):
    folder, _ = fitted
    out = fit(folder, {"name": "again", "hold_out": {"site": "site5"}})
    found = open_locked(out, folder / "participants.tsv", "another test")
    fit(folder, {"name": "again", "hold_out": {"site": "site5"}})
    told = summarise_analysis(StepRecord.load(folder / "model-again.json")).sentences
    assert any("participants who were locked away" in sentence for sentence in told)
    fit(folder, {"name": "again", "hold_out": {"site": "site5"}, "random_seed": 5})
    told = summarise_analysis(StepRecord.load(folder / "model-again.json")).sentences
    assert f"opened for an earlier model, on {found['Opening']['time']}" in told[-1]
    assert not any("participants who were locked away" in sentence for sentence in told)


def test_the_page_of_an_analysis_holds_its_numbers_and_no_address(fitted):
    folder, _ = fitted
    fit(folder, {"name": "page", "covariates": ["age"], "learning_curve": [0.5], "permutations": 1})
    path = write_analysis_page(StepRecord.load(folder / "model-page.json"), "Data", {})
    page = path.read_text()
    metrics = json.loads((path.parent / "metrics.json").read_text())
    assert f"AUC {metrics['auc']:.2f}" in page
    assert 'href="../../group.html"' in page
    assert f"scikit-learn {sklearn.__version__}" in page
    for told in ("Flow of participants", "CLEAR", "METRICS", "Learning curve of page", "Shapley values"):
        assert told in page
    assert not re.search(r"(src|href)=\"(?!#|data:|\.\./|[A-Za-z0-9_.-]+[\"/])", page)
    assert "https://" not in re.sub(r"https://doi\.org\S*|http://www\.w3\.org\S*", "", page)
