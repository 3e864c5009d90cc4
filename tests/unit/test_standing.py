"""Which subjects are known to be finished, and which new ones get the same steps."""

import gzip
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.model_folders import edit_card
from voxelome import cli
from voxelome.app.config import default_config, merge
from voxelome.app.events import Job, RunState
from voxelome.app.standing import (
    Standing,
    alike,
    completed,
    find_standing,
    mirrored,
    settings_digest,
    stamp_finished,
)
from voxelome.app.study import Study
from voxelome.bids import inventory
from voxelome.bids.inventory import SubjectInventory, load_inventory, update_inventory
from voxelome.bids.plan import load_plan, plan_subject
from voxelome.bids.targets import subject_records, wanted_stages
from voxelome.errors import InputError
from voxelome.imageio import load_json, save_json, save_text
from voxelome.step import StepRecord


def add_image(bids: Path, name: str) -> None:
    subject, session = name.split("_")[:2]
    path = bids / subject / session / "anat" / f"{name}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(name.encode()))


def open_again(bids: Path, **settings: object) -> Study:
    """Study of the dataset as it is now."""
    out = bids.parent / "out"
    work = out / ".voxelome"
    own = {"bids_dir": str(bids), "out_dir": str(out), "work_dir": str(work)}
    own["models_dir"] = str(bids.parent / "models")
    config = merge(default_config(), own, settings)
    update = update_inventory(bids, work / "inventory")
    inventories = load_inventory(work / "inventory")
    plan = load_plan(inventories, bids, {})
    return Study(bids, out, work, config, inventories, update, plan, work / "config.yaml")


def finish(study: Study, label: str) -> None:
    """Write results of a subject, as of long ago enough for a stamp."""
    for record in subject_records(study.visits(label), wanted_stages(study.config)):
        path = study.work_dir / record
        step = StepRecord(path.stem, path.parent.name)
        step.add(save_text(study.out_dir / f"sub-{label}" / "anat" / f"{path.stem}.txt", ""), "map")
        path.parent.mkdir(parents=True, exist_ok=True)
        step.save(path)
    save_text(study.out_dir / f"sub-{label}.html", "")
    time.sleep(0.05)


def standing(study: Study) -> Standing:
    return find_standing(study, settings_digest(study))


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    """Dataset of three subjects; 01 and 02 are finished, and 02 has a stamp."""
    root = tmp_path / "bids"
    save_json(tmp_path / "models" / "deepbet" / "card.json", {"name": "deepbet", "task": "brain extraction"})
    for name in ("sub-01_ses-1_T1w", "sub-02_ses-1_T1w", "sub-03_ses-a_T1w"):
        add_image(root, name)
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    study = open_again(root)
    finish(study, "01")
    finish(study, "02")
    stamp_finished(study, settings_digest(study), ["02"], [])
    return root


def test_a_subject_with_a_stamp_is_finished_one_with_results_begun_any_other_new(bids: Path):
    assert standing(open_again(bids)) == Standing(["02"], ["01"], ["03"], visits=3)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Labels of the subjects whose inventories are read, as they are."""
    found: list[str] = []
    load_subject = inventory._load_subject

    def load(folder: Path, label: str, checked: str) -> SubjectInventory:
        found.append(label)
        return load_subject(folder, label, checked)

    monkeypatch.setattr(inventory, "_load_subject", load)
    return found


def test_a_finished_subject_is_neither_read_nor_planned(bids: Path, reads: list[str]):
    study = open_again(bids)
    assert find_standing(study, settings_digest(study)).visits == 3
    assert reads == ["01", "03"]


@pytest.mark.parametrize(
    "settings",
    [
        {"random_seed": 1},
        {"radiomics": {"bin_count": 16}},
        {"stages": ["preprocess", "register"]},
        {"qsm": {"inversion": "tkd"}},
        {"sessions": ["1"]},
    ],
)
def test_a_setting_that_concerns_a_subject_voids_all_stamps(bids: Path, settings: dict[str, object]):
    assert standing(open_again(bids, **settings)).finished == []


@pytest.mark.parametrize(
    "settings", [{"omp_nthreads": 8}, {"left_out": {"sub-01_ses-1": "no consent"}}, {"participants": ["02"]}]
)
def test_a_setting_that_concerns_no_subject_keeps_the_stamps(bids: Path, settings: dict[str, object]):
    assert standing(open_again(bids, **settings)).finished == ["02"]


def test_models_and_images_may_lie_elsewhere(bids: Path, tmp_path: Path):
    (tmp_path / "models").rename(tmp_path / "moved")
    study = open_again(bids, models_dir=str(tmp_path / "moved"), images_dir=str(tmp_path))
    assert standing(study).finished == ["02"]


def test_another_model_of_the_brain_voids_all_stamps_where_it_is_used(bids: Path):
    given = {"preprocess": {"brain_extraction": "given"}}
    before = [settings_digest(open_again(bids, **settings)) for settings in ({}, given)]
    edit_card(bids.parent / "models", "deepbet", sha256={"model.onnx": "another"})
    assert standing(open_again(bids)).finished == []
    after = [settings_digest(open_again(bids, **settings)) for settings in ({}, given)]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, True]


def delete_result(study: Study) -> None:
    (study.out_dir / "sub-02" / "anat" / "segment.txt").unlink()


def delete_record(study: Study) -> None:
    (study.work_dir / "steps" / "sub-02_ses-1" / "segment.json").unlink()


def delete_report(study: Study) -> None:
    (study.out_dir / "sub-02.html").unlink()


def touch_record(study: Study) -> None:
    os.utime(study.work_dir / "steps" / "sub-02_ses-1" / "segment.json")


def add_visit(study: Study) -> None:
    add_image(study.bids_dir, "sub-02_ses-2_T1w")


def rescan(study: Study) -> None:
    path = study.bids_dir / "sub-02" / "ses-1" / "anat" / "sub-02_ses-1_T1w.nii.gz"
    path.write_bytes(gzip.compress(b"another"))


@pytest.mark.parametrize(
    "change", [delete_result, delete_record, delete_report, touch_record, add_visit, rescan]
)
def test_a_subject_that_changed_is_planned_again(bids: Path, change):
    change(open_again(bids))
    study = open_again(bids)
    assert standing(study) == Standing([], ["01", "02"], ["03"], visits=len(study.plan))


def test_a_subject_whose_files_are_older_than_its_stamp_by_less_than_a_tick_gets_none(bids: Path):
    study = open_again(bids)
    (study.out_dir / "sub-01" / "anat" / "late.txt").touch()
    stamp_finished(study, settings_digest(study), ["01"], [])
    assert standing(study).finished == ["02"]


def test_a_stamp_goes_where_a_step_failed(bids: Path):
    study = open_again(bids)
    stamp_finished(study, settings_digest(study), ["01"], ["02"])
    assert standing(study).finished == ["01"]


def state_of(reports: int, *jobs: tuple[str, str, str]) -> RunState:
    """State of a run that was to make so many reports, after these jobs: rule, subject, state."""
    state = RunState()
    state.planned["report_subject"] = reports
    for number, (rule, label, how) in enumerate(jobs):
        wildcards = {"subject": label} if rule == "report_subject" else {"unit": f"sub-{label}_ses-1"}
        state.jobs[number] = Job(rule, wildcards, f"logs/{rule}.log", state=how)
    return state


def test_of_a_run_that_stopped_the_subjects_with_a_new_report_are_complete():
    jobs = [("report_subject", "01", "done"), ("preprocess", "02", "failed"), ("preprocess", "03", "done")]
    assert completed(state_of(4, *jobs), ["01", "02", "03", "04"]) == ["01"]


def test_of_a_run_that_began_every_subject_with_work_those_without_are_complete_too():
    jobs = [("report_subject", "01", "done"), ("preprocess", "02", "failed"), ("preprocess", "03", "done")]
    assert completed(state_of(3, *jobs), ["01", "02", "03", "04"]) == ["01", "04"]


def test_a_subject_that_a_run_did_not_come_to_is_planned_again(bids: Path, tmp_path: Path, monkeypatch):
    """Snakemake, of which only its end is made up, stops at the first failure of three subjects."""
    call = [str(bids), str(tmp_path / "out"), "participant", "--skip-bids-validation"]
    call += ["--models-dir", str(tmp_path / "models"), "--stages", "preprocess", "report"]
    stamps = tmp_path / "out" / ".voxelome" / "finished.json"

    def stop(settings, targets, state, changed, refresh):
        made_up = state_of(3, ("report_subject", "01", "done"), ("preprocess", "02", "failed"))
        state.planned, state.jobs = made_up.planned, made_up.jobs
        settings.log.touch()
        return 1

    monkeypatch.setattr(cli, "run", lambda *_: 0)
    finish(open_again(bids), "03")
    assert cli.main(call) == 0
    assert set(load_json(stamps)) == {"01", "02", "03"}
    before = load_json(stamps)["03"]
    monkeypatch.setattr(cli, "run", stop)
    assert cli.main([*call, "--random-seed", "1", "--stop-on-first-crash"]) == 1
    after = load_json(stamps)
    assert set(after) == {"01", "03"}
    assert after["01"]["made"] != before["made"] == after["03"]["made"]


def test_the_stamp_of_a_subject_tells_which_of_its_images_could_not_be_used(bids: Path):
    study = open_again(bids)
    path = study.work_dir / "steps" / "sub-01_ses-1" / "preprocess.json"
    record = StepRecord.load(path)
    record.reject(InputError("sub-01_ses-1_T2w.nii.gz", "is constant", "export it again"))
    record.save(path)
    time.sleep(0.05)
    stamp_finished(study, settings_digest(study), ["01"], [])
    found = standing(study)
    assert found.finished == ["01", "02"]
    assert [(row.unit, row.step) for row in found.rejected] == [("sub-01_ses-1", "image check")]
    assert found.rejected[0].reason == "sub-01_ses-1_T2w.nii.gz: is constant; export it again"


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_stamps_that_cannot_be_read_are_none(bids: Path, content: str):
    study = open_again(bids)
    (study.work_dir / "finished.json").write_text(content)
    assert standing(study).finished == []


def test_new_subjects_are_alike_where_their_visits_have_the_same_images(bids: Path):
    for name in ("sub-04_ses-b_T1w", "sub-05_ses-b_T1w", "sub-05_ses-b_FLAIR"):
        add_image(bids, name)
    study = open_again(bids)
    same = alike(study, Standing([], [], ["03", "04", "05"]))
    assert same == {"03": ["04"], "05": []}
    jobs = [
        Job("qsm", {"unit": "sub-03_ses-a", "label": "03"}, reason="Missing steps/sub-03_ses-a/qsm-03.json"),
        Job("report_subject", {"subject": "03"}),
    ]
    twins = list(mirrored(study, jobs, same))
    reason = "Missing steps/sub-04_ses-b/qsm-03.json"
    assert twins == [
        replace(jobs[0], wildcards={"unit": "sub-04_ses-b", "label": "03"}, reason=reason),
        replace(jobs[1], wildcards={"subject": "04"}),
    ]


def test_finished_subjects_are_alike_with_other_settings_where_those_before_were_the_same(bids: Path):
    for name in ("sub-04_ses-b_T1w", "sub-05_ses-1_T1w", "sub-05_ses-1_FLAIR", "sub-06_ses-1_T1w"):
        add_image(bids, name)
    study = open_again(bids)
    for label in ("04", "05", "06"):
        finish(study, label)
    stamp_finished(study, settings_digest(study), ["04", "05", "06"], [])
    older = open_again(bids, random_seed=7)
    stamp_finished(older, settings_digest(older), ["01"], [])
    # 03 was finished, and no run knows it; 06 is another than it was.
    finish(study, "03")
    os.utime(study.work_dir / "steps" / "sub-06_ses-1" / "segment.json")
    changed = open_again(bids, radiomics={"bin_count": 16})
    found = standing(changed)
    assert set(found.outdated) == {"01", "02", "04", "05"}
    assert alike(changed, found) == {"01": [], "02": ["04"], "03": [], "05": [], "06": []}


def test_finished_subjects_are_not_alike_where_steps_were_left_as_earlier_settings_made_them(bids: Path):
    add_image(bids, "sub-04_ses-1_T1w")
    study = open_again(bids)
    finish(study, "04")
    stamp_finished(study, settings_digest(study), ["01", "02", "04"], [])
    some = open_again(bids, stages=["preprocess", "report"])
    stamp_finished(some, settings_digest(some), ["02", "04"], [])
    assert standing(some).finished == ["02", "04"]
    changed = open_again(bids, radiomics={"bin_count": 16})
    assert alike(changed, standing(changed)) == {"01": [], "02": [], "04": [], "03": []}


def test_a_plan_made_when_asked_for_is_the_plan_and_reads_each_subject_once(bids: Path, reads: list[str]):
    add_image(bids, "sub-02_ses-2_bold")
    study = open_again(bids)
    (visit, empty) = plan_subject(study.inventories["02"], bids, {})
    assert empty.empty
    all_at_once = {
        unit.name: unit
        for label in ("01", "02", "03")
        for unit in plan_subject(study.inventories[label], bids, {})
        if not unit.empty
    }
    reads.clear()
    assert study.plan["sub-02_ses-1"] == visit
    assert study.plan.visits("02") == [visit]
    assert reads == ["02"]
    assert "sub-09_ses-1" not in study.plan
    assert reads == ["02"]
    assert list(study.plan.items()) == list(all_at_once.items())
    assert len(study.plan) == 3
    assert reads == ["02", "01", "03"]
