"""dataset_description.json says what the derivatives were made by, and of what."""

import pytest

import voxelome
from voxelome.bids.description import write_description
from voxelome.imageio import load_json


@pytest.fixture
def written(tmp_path):
    bids, out = tmp_path / "bids", tmp_path / "out"
    bids.mkdir()
    out.mkdir()
    (bids / "dataset_description.json").write_text('{"Name": "Clinic", "License": "CC0"}')

    def write():
        write_description(out, bids, {"masks": tmp_path / "masks"})
        return load_json(out / "dataset_description.json")

    return write


def test_it_names_voxelome_its_source_and_the_datasets_that_its_uris_lead_to(written, tmp_path):
    about = written()
    assert about["GeneratedBy"] == [{"Name": "voxelome", "Version": voxelome.__version__}]
    assert about["DatasetLinks"] == {
        "raw": (tmp_path / "bids").as_uri(),
        "masks": (tmp_path / "masks").as_uri(),
    }
    assert (about["Name"], about["License"]) == ("voxelome derivatives of Clinic", "CC0")


def test_in_the_image_of_the_bids_app_it_names_the_image(written, monkeypatch):
    monkeypatch.setenv("VOXELOME_IMAGE", "voxelome:1.2.3")
    assert written()["GeneratedBy"][0]["Container"] == {"Type": "docker", "Tag": "voxelome:1.2.3"}
