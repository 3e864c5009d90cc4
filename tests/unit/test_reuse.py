"""Results of another output folder are taken over as if this run had made them, and no others."""

import base64
import gzip
from pathlib import Path

import pytest

from voxelome.app.config import default_config, merge, save_config
from voxelome.app.reuse import METADATA, take_over
from voxelome.app.study import Study
from voxelome.bids.inventory import load_inventory, update_inventory
from voxelome.bids.plan import load_plan
from voxelome.imageio import save_json, save_text
from voxelome.step import files_made, recording

UNIT = "sub-01"


def open_in(bids: Path, out: Path, **settings: object) -> Study:
    """Study of a dataset with this output folder."""
    work = out / ".voxelome"
    own = {"bids_dir": str(bids), "out_dir": str(out), "work_dir": str(work)}
    config = merge(default_config(), own, settings)
    update = update_inventory(bids, work / "inventory")
    inventories = load_inventory(work / "inventory")
    save_config(work / "config.yaml", config)
    plan = load_plan(inventories, bids, {})
    return Study(bids, out, work, config, inventories, update, plan, work / "config.yaml")


def record_of(study: Study, step: str) -> Path:
    return study.work_dir / "steps" / UNIT / f"{step}.json"


def make(study: Study, step: str, *files: str) -> None:
    """Leave what a step leaves, and what Snakemake notes of it; each file holds the folder's name."""
    path = record_of(study, step)
    with recording(step, UNIT, path) as record:
        for name in files:
            image = save_text(study.out_dir / UNIT / "anat" / f"{name}.nii.gz", study.out_dir.name)
            save_text(image.with_name(f"{name}.json"), study.out_dir.name)
            record.add(image, "image")
    note = base64.urlsafe_b64encode(str(path.relative_to(study.work_dir)).encode()).decode()
    save_json(study.work_dir / METADATA / note, {"params": [], "incomplete": False})


def content(study: Study, name: str) -> str:
    return (study.out_dir / UNIT / "anat" / name).read_text()


@pytest.fixture
def first(tmp_path: Path) -> Study:
    """A run of which the results are there."""
    anat = tmp_path / "bids" / UNIT / "anat"
    anat.mkdir(parents=True)
    (anat / f"{UNIT}_T1w.nii.gz").write_bytes(gzip.compress(b"image"))
    save_json(tmp_path / "bids" / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.10.0"})
    study = open_in(tmp_path / "bids", tmp_path / "first")
    make(study, "preprocess", "brain")
    make(study, "register", "mni", "t2w")
    return study


def second_of(first: Study, **settings: object) -> Study:
    return open_in(first.bids_dir, first.out_dir.with_name("second"), **settings)


def test_files_whose_record_is_gone_make_way_for_those_that_the_taken_record_tells_of(first: Study):
    second = second_of(first)
    make(second, "preprocess", "brain")
    make(second, "register", "mni")
    # As when a step before it has failed.
    record_of(second, "register").unlink()
    assert take_over(second, first.out_dir) == 1
    assert content(second, "mni.nii.gz") == content(second, "mni.json") == "first"
    assert content(second, "brain.nii.gz") == "second"
    assert not list(second.out_dir.rglob(".tmp-*"))


def test_a_file_that_a_record_of_this_run_tells_of_stays(first: Study):
    second = second_of(first)
    make(second, "segment", "mni")
    assert take_over(second, first.out_dir) == 2
    assert content(second, "mni.nii.gz") == content(second, "mni.json") == "second"


def test_what_was_taken_over_can_be_taken_over_again(first: Study):
    second = second_of(first)
    take_over(second, first.out_dir)
    record_of(second, "register").unlink()
    assert take_over(second, first.out_dir) == 1
    assert not list(second.out_dir.rglob(".tmp-*"))


def test_a_step_that_runs_again_removes_the_taken_files_that_it_no_longer_makes(first: Study):
    second = second_of(first)
    take_over(second, first.out_dir)
    record = record_of(second, "register")
    record.unlink()
    anat = second.out_dir / UNIT / "anat"
    assert files_made(record) == {anat / "mni.nii.gz", anat / "t2w.nii.gz"}
    make(second, "register", "t2w")
    assert sorted(path.name for path in anat.glob("*.nii.gz")) == ["brain.nii.gz", "t2w.nii.gz"]
    assert content(first, "mni.nii.gz") == "first"


def test_a_network_that_this_study_does_not_name_is_not_taken(first: Study):
    make(first, "network-lesion", "lesion")
    make(first, "network-stroke", "stroke")
    second = second_of(first, segment={"models": ["lesion"]})
    assert take_over(second, first.out_dir) == 3
    assert not record_of(second, "network-stroke").exists()
    assert not (second.out_dir / UNIT / "anat" / "stroke.nii.gz").exists()
