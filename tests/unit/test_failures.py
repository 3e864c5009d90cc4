"""What failed is said with its reason, and results that rest on it are void."""

import time

import pytest

from voxelome.app.events import Job
from voxelome.app.failures import (
    SILENT,
    Failure,
    drop_incomplete_records,
    job_failure,
    reason_in,
    rejected_files,
    settle,
    void_results,
)
from voxelome.bids.plan import Unit
from voxelome.errors import InputError
from voxelome.step import StepRecord


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("$ cd x && y\nvoxelome: error: a.nii.gz: is empty; copy it\n\n", "a.nii.gz: is empty; copy it"),
        ("$ cd x && y\nTraceback (most recent call last):\n  ...\nKeyError: 'a'\n", "KeyError: 'a'"),
        ("$ cd x && y\n", SILENT),
        ("", SILENT),
    ],
)
def test_the_reason_is_the_last_word_of_the_step(tmp_path, log, reason):
    (tmp_path / "a.log").write_text(log)
    assert reason_in(tmp_path / "a.log") == reason


def test_a_job_is_named_by_its_visit_and_its_acquisition(tmp_path):
    job = Job("qsm", {"unit": "sub-01_ses-2", "label": "acq-a_MEGRE"}, "logs/x.log")
    failure = job_failure(job, tmp_path)
    assert (failure.participant_id, failure.session_id, failure.step) == (
        "sub-01",
        "ses-2",
        "qsm acq-a_MEGRE",
    )
    assert failure.unit == "sub-01_ses-2"


@pytest.mark.parametrize(
    ("step", "left"),
    [
        ("preprocess", {"sub-02"}),
        ("register", {"preprocess", "sub-02"}),
        ("qsm MEGRE", {"preprocess", "register", "segment", "sub-02"}),
        ("segment", {"preprocess", "register", "qsm-MEGRE", "sub-02"}),
        ("model a", {"preprocess", "register", "segment", "qsm-MEGRE", "radiomics", "sub-02"}),
    ],
)
def test_what_depends_on_a_failed_step_is_void_and_nothing_else(tmp_path, step, left):
    for name in ("preprocess", "register", "segment", "qsm-MEGRE", "radiomics"):
        StepRecord(name.split("-")[0], "sub-01").save(tmp_path / "steps" / "sub-01" / f"{name}.json")
    StepRecord("radiomics", "sub-02").save(tmp_path / "steps" / "sub-02" / "radiomics.json")
    # Snakemake has removed the record of the step itself before it ran.
    (tmp_path / "steps" / "sub-01" / f"{step.replace(' ', '-')}.json").unlink(missing_ok=True)
    void_results([Failure("sub-01", "n/a", step, "", "")], tmp_path)
    found = {path.stem for path in (tmp_path / "steps" / "sub-01").glob("*.json")}
    assert found | {path.parent.name for path in tmp_path.glob("steps/sub-02/*.json")} == left


def test_a_network_that_works_on_ct_depends_on_no_step_and_keeps_its_record(tmp_path):
    folder = tmp_path / "steps" / "sub-01"
    for name in ("network-lesion", "network-bleed", "radiomics"):
        StepRecord(name.split("-")[0], "sub-01").save(folder / f"{name}.json")
    void_results([Failure("sub-01", "n/a", "register", "", "")], tmp_path, ["network-bleed"])
    assert [path.stem for path in folder.glob("*.json")] == ["network-bleed"]


def test_a_record_whose_files_are_gone_is_dropped_and_named(tmp_path):
    kept, gone = tmp_path / "kept.nii.gz", tmp_path / "gone.nii.gz"
    for name, path in (("register", kept), ("qsm", gone)):
        path.touch()
        record = StepRecord(name, "sub-01")
        record.add(path, "map")
        record.save(tmp_path / "steps" / "sub-01" / f"{name}.json")
    gone.unlink()
    assert drop_incomplete_records(tmp_path) == ["sub-01 qsm"]
    assert [path.stem for path in tmp_path.glob("steps/*/*.json")] == ["register"]


def test_a_visit_that_fails_makes_the_space_of_all_visits_void(tmp_path):
    for step, left in (("radiomics", True), ("register", False)):
        together = StepRecord("midway", "sub-01").save(tmp_path / "steps" / "sub-01" / "midway.json")
        void_results([Failure("sub-01", "ses-2", step, "", "")], tmp_path)
        assert together.exists() == left


def test_an_image_that_was_left_out_is_a_row_and_makes_nothing_void(tmp_path):
    record = StepRecord("preprocess", "sub-01_ses-2")
    record.reject(InputError("sub-01_ses-2_T2w.nii.gz", "is constant", "export it again"))
    record.save(tmp_path / "steps" / "sub-01_ses-2" / "preprocess.json")
    later = StepRecord("register", "sub-01_ses-2").save(tmp_path / "steps/sub-01_ses-2/register.json")
    (row,) = rejected_files({"sub-01_ses-2": Unit("01", "2"), "sub-02": Unit("02", None)}, tmp_path)
    assert (row.unit, row.step) == ("sub-01_ses-2", "image check")
    assert row.reason == "sub-01_ses-2_T2w.nii.gz: is constant; export it again"
    assert row.of_a_file
    void_results([row], tmp_path)
    assert later.exists()


def _grouped(tmp_path, unit, step, log, record):
    """Job of a group, one of which has failed; its log and its record where they are to be there."""
    job = Job(step, {"unit": unit}, f"logs/{unit}/{step}.log", state="failed", start=time.time())
    if log:
        (tmp_path / job.log).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / job.log).write_text("$ x\n")
    if record:
        StepRecord(step, unit).save(tmp_path / "steps" / unit / f"{step}.json")
    return job


def test_of_jobs_that_failed_as_one_only_those_without_a_record_and_with_a_log_have_failed(tmp_path):
    jobs = [
        _grouped(tmp_path, "sub-01", "preprocess", log=True, record=True),
        _grouped(tmp_path, "sub-01", "register", log=True, record=False),
        _grouped(tmp_path, "sub-01", "radiomics", log=False, record=False),
        _grouped(tmp_path, "sub-01", "report_subject", log=True, record=False),
    ]
    (tmp_path / jobs[-1].log).write_text("")
    settle(jobs, tmp_path)
    assert [job.state for job in jobs] == ["done", "failed", "waiting", "waiting"]


def test_jobs_that_a_cluster_never_started_have_failed(tmp_path):
    jobs = [
        _grouped(tmp_path, "sub-01", step, log=False, record=False) for step in ("preprocess", "register")
    ]
    jobs.append(_grouped(tmp_path, "sub-02", "register", log=True, record=False))
    settle(jobs, tmp_path)
    assert {job.state for job in jobs} == {"failed"}
