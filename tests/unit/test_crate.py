"""The record of runs is an RO-Crate that its own library reads."""

import json
from datetime import datetime

import pytest
from rocrate.rocrate import ROCrate

from voxelome.app.crate import write_crate


@pytest.fixture
def study(tmp_path):
    bids, out = tmp_path / "bids", tmp_path / "out"
    bids.mkdir()
    (bids / "dataset_description.json").write_text(
        '{"Name": "Clinic", "BIDSVersion": "1.9.0", "License": "CC0"}'
    )
    for folder in ("sub-01", "group", "logs"):
        (out / folder).mkdir(parents=True)
    for page in ("sub-01.html", "group.html"):
        (out / page).write_text("<html>")
    return bids, out


def add_run(out, name, command, failures=""):
    run = out / "logs" / name
    run.mkdir()
    (run / "command.txt").write_text(f"voxelome {command}\n")
    (run / "config.yaml").write_text("stages: []\n")
    (run / "failures.tsv").write_text(f"participant_id\tstep\n{failures}")


def test_each_run_is_an_action_with_what_it_took_and_what_it_made(study):
    bids, out = study
    add_run(out, "20260101-100000", "'a group of BIDS' OUT participant --nprocs 2", "sub-02\tqsm\n")
    add_run(out, "20260102-100000", "'a group of BIDS' OUT group")
    write_crate(out, bids)
    crate = ROCrate(out)
    assert crate.root_dataset["license"] == "CC0"
    first, second = crate.root_dataset["mentions"]
    assert (first["description"], first["actionStatus"]) == (
        "voxelome 'a group of BIDS' OUT participant --nprocs 2",
        "http://schema.org/FailedActionStatus",
    )
    assert second["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert {item.id for item in first["result"]} == {"sub-01/", "sub-01.html"}
    assert {item.id for item in second["result"]} == {"group/", "group.html"}
    assert [item.id for item in second["object"]] == [
        f"{bids.as_uri()}/",
        "logs/20260102-100000/config.yaml",
    ]
    assert second["instrument"]["name"] == "voxelome"
    assert datetime.fromisoformat(first["startTime"]) <= datetime.fromisoformat(first["endTime"])


def test_every_reference_leads_to_an_entity_and_every_file_is_there(study):
    bids, out = study
    add_run(out, "20260101-100000", "BIDS OUT participant")
    write_crate(out, bids)
    graph = json.loads((out / "ro-crate-metadata.json").read_text())["@graph"]
    known = {entity["@id"] for entity in graph}
    values = [value for entity in graph for value in entity.values()]
    named = [item for value in values for item in (value if isinstance(value, list) else [value])]
    assert {item["@id"] for item in named if isinstance(item, dict)} - known == {
        "https://w3id.org/ro/crate/1.1"
    }
    for entity in graph:
        if entity["@type"] in ("File", "Dataset") and "://" not in entity["@id"]:
            assert (out / entity["@id"]).exists()


def test_a_run_that_has_not_ended_is_no_action(study):
    bids, out = study
    (out / "logs" / "20260101-100000").mkdir()
    write_crate(out, bids)
    assert not (out / "ro-crate-metadata.json").exists()
