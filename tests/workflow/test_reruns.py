"""What runs again: the exact list of jobs, after each kind of change."""

import json
import os
import shutil
import time
from pathlib import Path

from tests.conftest import SPACING, Study
from voxelome.phantom.cohort import make_cohort

GROUP = {"group features", "group report"}


def steps_of(subject: str, *names: str) -> set[str]:
    chosen = names or ("preprocess", "register", "qsm (MEGRE)", "segment", "radiomics", "report")
    return {f"{subject} {name}" for name in chosen}


def both_levels(study: Study) -> set[str]:
    return study.planned("participant") | study.planned("group")


def test_nothing_runs_when_nothing_changed(study: Study):
    assert both_levels(study) == set()


def test_nothing_runs_when_only_comments_docstrings_and_layout_were_edited(study: Study, checkout: Path):
    for name in ("qsm/inversion.py", "anat/bias.py", "interfaces/register.py", "step.py"):
        path = checkout / "src" / "voxelome" / name
        text = path.read_text().replace('"""', '"""Edited. ', 1)
        path.write_text(text + "\n\n# an edited comment\n")
    assert both_levels(Study(study.folder, checkout)) == set()


def test_nothing_runs_when_raw_files_were_touched(study: Study):
    for path in study.bids.rglob("*"):
        os.utime(path)
    assert both_levels(study) == set()


def test_an_edit_of_the_qsm_numerics_runs_qsm_and_what_depends_on_it(study: Study, checkout: Path):
    path = checkout / "src" / "voxelome" / "qsm" / "inversion.py"
    path.write_text(path.read_text() + "\n\nEDITED = 1\n")
    later = {
        step
        for subject in ("sub-01", "sub-02")
        for step in steps_of(subject, "qsm (MEGRE)", "radiomics", "report")
    }
    edited = Study(study.folder, checkout)
    assert edited.planned("participant") == later
    assert edited.planned("group") == {step for step in later if not step.endswith("report")} | GROUP


def test_an_edit_of_the_report_runs_reports_alone(study: Study, checkout: Path):
    path = checkout / "src" / "voxelome" / "reports" / "templates" / "style.css"
    path.write_text(path.read_text() + "\np { margin: 0 }\n")
    edited = Study(study.folder, checkout)
    assert both_levels(edited) == {"sub-01 report", "sub-02 report", "group report"}


def test_a_changed_setting_runs_the_steps_that_read_it_and_what_depends_on_them(study: Study, tmp_path: Path):
    settings = tmp_path / "study.yaml"
    settings.write_text("radiomics: {bin_count: 16}\n")
    planned = study.planned("participant", "--config-file", str(settings))
    assert planned == {
        step for subject in ("sub-01", "sub-02") for step in steps_of(subject, "radiomics", "report")
    }


def test_an_edited_parameter_file_of_radiomics_runs_the_steps_that_read_it(study: Study, tmp_path: Path):
    (tmp_path / "features.yaml").write_text("featureClass: {firstorder: [Mean, Maximum]}\n")
    settings = tmp_path / "study.yaml"
    # A relative path is that of a file beside the study's own.
    settings.write_text("radiomics: {parameters: features.yaml}\n")
    own = ("--config-file", str(settings))
    later = {step for subject in ("sub-01", "sub-02") for step in steps_of(subject, "radiomics", "report")}
    assert study.planned("participant", *own) == later
    done = study.call("participant", *own)
    assert done.returncode == 0, done.stdout
    table = next(study.folder.rglob("sub-01*_desc-radiomics_features.tsv")).read_text()
    assert {line.split("\t")[6] for line in table.splitlines()[1:]} == {"Mean", "Maximum"}
    assert study.planned("participant", *own) == set()
    (tmp_path / "features.yaml").write_text("featureClass: {firstorder: [Mean]}\n")
    assert study.planned("participant", *own) == later


def test_perturbations_add_their_steps_and_leave_the_features_as_they_are(study: Study, tmp_path: Path):
    settings = tmp_path / "study.yaml"
    settings.write_text("radiomics: {perturbations: 2}\n")
    own = ("--config-file", str(settings))
    later = {step for subject in ("sub-01", "sub-02") for step in steps_of(subject, "robustness", "report")}
    assert study.planned("participant", *own) == later
    assert study.call("participant", *own).returncode == 0
    assert study.planned("group") == {"group reliability", "group report"}
    done = study.call("group")
    assert done.returncode == 0, done.stdout
    rows = (study.out / "group" / "reliability.tsv").read_text().splitlines()
    assert rows[0].startswith("source\timage\troi")
    assert "brain" in {line.split("\t")[2] for line in rows[1:]}
    assert study.planned("group") == set()


def test_a_misspelt_parameter_file_of_radiomics_stops_the_run_at_its_start(study: Study, tmp_path: Path):
    (tmp_path / "features.yaml").write_text("setting: {binWidht: 5}\n")
    (tmp_path / "study.yaml").write_text("radiomics: {parameters: features.yaml}\n")
    done = study.call("participant", "--config-file", str(tmp_path / "study.yaml"))
    assert done.returncode == 3
    assert "features.yaml: there is no setting 'binWidht'; did you mean binWidth?" in done.stderr


def test_a_subject_added_runs_its_steps_and_the_groups(study: Study):
    make_cohort(study.bids, participants=3, sites=1, spacing=SPACING)
    assert study.planned("participant") == steps_of("sub-03")
    done = study.call("participant")
    assert done.returncode == 0, done.stdout
    assert "6 of 6 step(s) done" in done.stdout
    assert study.planned("group") == GROUP


def test_a_subject_removed_runs_the_groups_steps_and_its_results_are_named(study: Study):
    shutil.rmtree(study.bids / "sub-02")
    assert study.planned("participant") == set()
    assert study.planned("group") == GROUP
    assert "sub-02 is no longer in the dataset" in study.call("group", "--dry-run").stdout


def test_an_image_whose_content_changed_runs_what_reads_it(study: Study):
    anat = study.bids / "sub-01" / "anat"
    shutil.copy(anat / "sub-01_T2w.nii.gz", anat / "sub-01_FLAIR.nii.gz")
    # QSM takes the mask that registration carries, so it depends on all that registration reads.
    assert study.planned("participant") == steps_of("sub-01")


def test_a_changed_mask_of_a_lesion_runs_registration_which_leaves_it_out_and_what_depends_on_it(
    study: Study,
):
    masks = study.bids / "derivatives" / "masks"
    path = "anat/sub-{0}_desc-lesion_dseg.nii.gz"
    shutil.copy(masks / "sub-02" / path.format("02"), masks / "sub-01" / path.format("01"))
    later = ("register", "qsm (MEGRE)", "segment", "radiomics", "report")
    assert study.planned("participant") == steps_of("sub-01", *later)


def test_a_changed_mask_of_anything_else_runs_segmentation_and_what_depends_on_it(
    study: Study, tmp_path: Path
):
    (tmp_path / "study.yaml").write_text("register: {lesion_masks: []}\n")
    settings = ("--config-file", str(tmp_path / "study.yaml"))
    assert study.call("participant", *settings).returncode == 0
    masks = study.bids / "derivatives" / "masks"
    path = "anat/sub-{0}_desc-lesion_dseg.nii.gz"
    shutil.copy(masks / "sub-02" / path.format("02"), masks / "sub-01" / path.format("01"))
    assert study.planned("participant", *settings) == steps_of("sub-01", "segment", "radiomics", "report")


def test_a_deleted_result_is_made_again(study: Study):
    (study.out / "sub-01" / "anat" / "sub-01_Chimap.nii.gz").unlink()
    assert study.planned("participant") == steps_of("sub-01", "qsm (MEGRE)", "radiomics", "report")


def test_the_group_keeps_the_settings_of_the_participant_level(study: Study, tmp_path: Path):
    settings = tmp_path / "study.yaml"
    settings.write_text("radiomics: {minimum_voxels: 20}\n")
    assert study.call("participant", "--config-file", str(settings)).returncode == 0
    assert study.planned("group") == GROUP


def test_folds_of_an_analysis_are_dealt_out_among_as_many_jobs_as_asked_for(study: Study, tmp_path: Path):
    settings = tmp_path / "study.yaml"
    settings.write_text("analyses: [{name: alone, outcome: sex}, {name: shared, outcome: sex, jobs: 3}]\n")
    folds = {f"shared fold ({part})" for part in (1, 2, 3)}
    planned = study.planned("group", "--config-file", str(settings))
    assert planned == {"alone model", "shared model", "group report", *folds}


def stamps(study: Study) -> dict[str, dict[str, object]]:
    return json.loads((study.work / "finished.json").read_text())


def test_finished_subjects_do_not_enter_the_graph(study: Study):
    assert study.planned("participant") == set()
    assert set(stamps(study)) == {"01", "02"}
    log = study.work / "dry-run.log"
    log.unlink(missing_ok=True)
    assert study.planned("participant") == set()
    assert not log.exists(), "Snakemake was called"
    make_cohort(study.bids, participants=3, sites=1, spacing=SPACING)
    assert study.planned("participant") == steps_of("sub-03")
    assert json.loads((study.work / "dry-run.json").read_text()) == {"planned": ["03"]}


def test_options_for_snakemake_plan_everybody(study: Study):
    assert study.planned("participant") == set()
    forced = study.planned("participant", "--", "--forcerun", "segment")
    later = ("segment", "radiomics", "report")
    assert forced == steps_of("sub-01", *later) | steps_of("sub-02", *later)


def test_a_stamp_holds_while_folders_and_records_keep_their_times(study: Study):
    assert study.planned("participant") == set()
    record = study.work / "steps" / "sub-01" / "register.json"
    time.sleep(0.1)
    os.utime(record)
    # Its subject is looked at again, and as the record says what it said, there is nothing to do.
    assert study.planned("participant") == set()
    assert json.loads((study.work / "dry-run.json").read_text())["planned"] == ["01"]


def test_new_subjects_with_the_same_images_are_planned_as_snakemake_plans_them(study: Study, tmp_path: Path):
    make_cohort(study.bids, participants=5, sites=1, spacing=SPACING)
    ours = study.planned("participant", "--stages", "radiomics", "report")
    planned = json.loads((study.work / "dry-run.json").read_text())["planned"]
    assert "03" in planned
    assert "05" not in planned
    # An option for Snakemake that changes nothing: everybody is planned.
    assert ours == study.planned("participant", "--stages", "radiomics", "report", "--", "--nocolor")


def test_finished_subjects_with_the_same_images_are_planned_with_other_settings_as_snakemake_plans_them(
    study: Study,
):
    assert study.planned("participant") == set()
    settings = ("--random-seed", "7")
    ours = study.planned("participant", *settings)
    assert json.loads((study.work / "dry-run.json").read_text()) == {"planned": ["01"]}
    # Its own options have Snakemake plan everybody.
    assert study.planned("participant", *settings, "--", "--nocolor") == ours
    assert {line.split()[0] for line in ours} == {"sub-01", "sub-02"}


def test_a_dry_run_with_other_settings_is_not_what_the_group_goes_by(study: Study, tmp_path: Path):
    (tmp_path / "study.yaml").write_text("radiomics: {bin_count: 16}\n")
    assert "sub-01 radiomics" in study.planned("participant", "--config-file", str(tmp_path / "study.yaml"))
    assert study.planned("group") == set()


class Second(Study):
    """Another output folder over the dataset of a study."""

    def __init__(self, study: Study, out: Path) -> None:
        super().__init__(study.folder, study.root)
        self.out, self.work = out, out / ".voxelome"


def test_another_output_folder_reuses_what_would_be_the_same(study: Study, tmp_path: Path):
    second = Second(study, tmp_path / "second")
    reports = {"sub-01 report", "sub-02 report"}
    assert second.planned("participant", "--reuse", str(study.out)) == reports
    first = study.out / "sub-01" / "anat" / "sub-01_Chimap.nii.gz"
    linked = second.out / "sub-01" / "anat" / "sub-01_Chimap.nii.gz"
    assert linked.read_bytes() == first.read_bytes()
    assert linked.with_name("sub-01_Chimap.json").is_file()
    before = first.read_bytes(), first.stat().st_mtime_ns
    # With another setting the steps that read it run, and the first folder keeps its own results.
    (tmp_path / "study.yaml").write_text("qsm: {inversion: tkd}\n")
    own = ("--config-file", str(tmp_path / "study.yaml"))
    later = ("qsm (MEGRE)", "radiomics", "report")
    assert second.planned("participant", *own) == steps_of("sub-01", *later) | steps_of("sub-02", *later)
    done = second.call("participant", *own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (first.read_bytes(), first.stat().st_mtime_ns) == before
    assert linked.read_bytes() != first.read_bytes()
    assert second.planned("participant", *own) == set()
    assert study.planned("participant") == set()


def test_an_image_that_changed_since_is_not_reused(study: Study, tmp_path: Path):
    anat = study.bids / "sub-01" / "anat"
    shutil.copy(anat / "sub-01_T2w.nii.gz", anat / "sub-01_FLAIR.nii.gz")
    second = Second(study, tmp_path / "second")
    planned = second.planned("participant", "--reuse", str(study.out))
    assert planned == steps_of("sub-01") | {"sub-02 report"}


def test_a_folder_without_results_cannot_be_reused(study: Study, tmp_path: Path):
    done = Second(study, tmp_path / "second").call("participant", "--reuse", str(tmp_path))
    assert done.returncode == 3
    assert "holds no results of voxelome" in done.stderr
