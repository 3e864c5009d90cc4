"""An analysis as a step, and its model applied to features that it has not seen."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.numerics.test_modelling import cohort
from voxelome import tools
from voxelome.imageio import save_json
from voxelome.interfaces import FitModel
from voxelome.interfaces.analysis_summary import summarise_analysis
from voxelome.step import StepRecord

SETTINGS = {"Radiomic features": {"bin_count": 32}}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    table, people = cohort(n=40, features=10, effect=3.0)
    table.to_csv(folder / "features.tsv", sep="\t", index=False, na_rep="n/a")
    save_json(folder / "features.json", {"Settings": SETTINGS})
    people.to_csv(folder / "participants.tsv", sep="\t", index=False, na_rep="n/a")
    record = StepRecord("features", "group")
    record.add(folder / "features.tsv", "features")
    analysis = {"name": "mutation", "outcome": "mutation", "repeats": 1, "model": "ridge_logistic"}
    FitModel(
        unit="mutation",
        features=str(record.save(folder / "features-record.json")),
        participants=str(folder / "participants.tsv"),
        analysis=json.dumps(analysis),
        out_dir=str(folder / "mutation"),
        record=str(folder / "model-mutation.json"),
    ).run()
    return folder, table


def test_an_analysis_leaves_its_predictions_its_numbers_and_its_model(fitted):
    folder, _ = fitted
    names = {path.name for path in (folder / "mutation").iterdir()}
    assert names == {"predictions.tsv", "selected.tsv", "metrics.json", "model.json", "model.skops"}
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
    assert shown["sensitivity"] == metrics["sensitivity"]
    assert shown["calibration slope (1 is right)"] == metrics["calibration_slope"]
    assert shown["events per candidate feature"] == metrics["sample_size"]["events_per_variable"]
    assert [figure.title for figure in summary.figures] == [
        "ROC curve of mutation",
        "Calibration of mutation",
        "Net benefit of mutation",
    ]
    assert any("had they been chosen on all participants" in sentence for sentence in summary.sentences)
