"""Bad input: one line that names the file, and the other subjects done."""

import csv
import gzip
import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import Study


def replace_image(path: Path, change) -> None:
    image = nib.load(path)
    nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj, dtype=np.float32)), image.affine), path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


class Clinic:
    """A dataset of copies of one good subject, each then broken in one way."""

    def __init__(self, source: Study, folder: Path) -> None:
        self.source, self.study = source, Study(folder)
        self.study.bids.mkdir()
        for name in ("dataset_description.json", "README"):
            shutil.copy(source.bids / name, self.study.bids / name)
        masks = source.bids / "derivatives" / "masks"
        self.masks = self.study.bids / "derivatives" / "masks"
        self.masks.mkdir(parents=True)
        for path in masks.glob("*.*"):
            shutil.copy(path, self.masks / path.name)

    def add(self, label: str, *suffixes: str, mask: bool = False) -> Path:
        """Copy images of sub-01 under another name; return the folder."""
        folder = self.study.bids / f"sub-{label}" / "anat"
        folder.mkdir(parents=True)
        for path in (self.source.bids / "sub-01" / "anat").iterdir():
            if any(path.name.split(".")[0].endswith(suffix) for suffix in suffixes):
                shutil.copy(path, folder / path.name.replace("sub-01", f"sub-{label}"))
        if mask:
            name = "sub-{0}_desc-lesion_dseg.nii.gz"
            target = self.masks / f"sub-{label}" / "anat" / name.format(label)
            target.parent.mkdir(parents=True)
            shutil.copy(self.source.bids / "derivatives/masks/sub-01/anat" / name.format("01"), target)
        return folder

    def mask(self, label: str) -> Path:
        return self.masks / f"sub-{label}" / "anat" / f"sub-{label}_desc-lesion_dseg.nii.gz"


@pytest.fixture(scope="module")
def clinic(finished: Study, tmp_path_factory: pytest.TempPathFactory):
    """Run once over all that is broken; give the output, and the rows of failures.tsv by subject."""
    clinic = Clinic(finished, tmp_path_factory.mktemp("clinic"))
    clinic.add("good", "_T1w")
    truncate(clinic.add("truncated", "01_T1w") / "sub-truncated_T1w.nii.gz")
    replace_image(clinic.add("nan", "01_T1w") / "sub-nan_T1w.nii.gz", lambda data: data * np.nan)
    replace_image(
        clinic.add("fourD", "01_T1w") / "sub-fourD_T1w.nii.gz", lambda data: np.stack([data, data], axis=-1)
    )
    clinic.add("emptymask", "01_T1w", mask=True)
    replace_image(clinic.mask("emptymask"), lambda data: data * 0)
    clinic.add("othergrid", "01_T1w", mask=True)
    replace_image(clinic.mask("othergrid"), lambda data: data[1:])
    (clinic.add("json", "01_T1w") / "sub-json_T1w.json").write_text('{"EchoTime": 0.003,,}')
    phase = clinic.add("phase", "_MEGRE")
    for path in phase.glob("*phase*.json"):
        sidecar = json.loads(path.read_text())
        del sidecar["Units"]
        path.write_text(json.dumps(sidecar))
    for path in phase.glob("*phase*.nii.gz"):
        replace_image(path, lambda data: data * 777)
    for path in clinic.add("sametimes", "_MEGRE").glob("*echo-2*.json"):
        shutil.copy(str(path).replace("echo-2", "echo-1"), path)
    for path in clinic.add("nophase", "_MEGRE").glob("*part-phase*"):
        path.unlink()
    for path in clinic.add("nomagnitude", "_MEGRE").glob("*part-mag*"):
        path.unlink()
    turned = clinic.add("ge", "_MEGRE")
    for path in turned.glob("*phase*.json"):
        path.write_text(
            json.dumps(json.loads(path.read_text()) | {"Manufacturer": "GE Medical; touch there"})
        )
    (clinic.add("link", "01_T1w") / "sub-link_T2w.nii.gz").symlink_to("nowhere.nii.gz")
    notgzip = clinic.add("notgzip", "01_T1w") / "sub-notgzip_T1w.nii.gz"
    notgzip.write_bytes(gzip.compress(b"this is no image"))
    # What is bad stays so: trying it once more, as is done by default, would only take time here.
    done = clinic.study.call("participant", "--", "--retries", "0")
    logs = sorted((clinic.study.out / "logs").iterdir())
    rows = list(csv.DictReader((logs[-1] / "failures.tsv").read_text().splitlines(), delimiter="\t"))
    return done, clinic.study, {row["participant_id"].removeprefix("sub-"): row for row in rows}


def test_the_run_ends_with_1_and_without_a_traceback(clinic):
    done, _, _ = clinic
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("subject", "step", "says"),
    [
        ("truncated", "preprocess", "sub-truncated_T1w.nii.gz: cannot be read as an image"),
        ("nan", "preprocess", "sub-nan_T1w.nii.gz: .* voxels are NaN"),
        ("fourD", "preprocess", r"sub-fourD_T1w.nii.gz: is 4D .*\(2 volumes\)"),
        ("emptymask", "segment", "sub-emptymask_desc-lesion_dseg.nii.gz: is empty"),
        ("othergrid", "segment", "sub-othergrid_desc-lesion_dseg.nii.gz: its grid .* is that of no image"),
        ("json", "inventory", "sub-json_T1w.json.* is not JSON"),
        ("phase", "qsm MEGRE", "phase_MEGRE.nii.gz: .*(unit|Units)"),
        ("sametimes", "qsm MEGRE", "echo-2_part-mag_MEGRE.nii.gz: has the same EchoTime"),
        ("nomagnitude", "preprocess", "sub-nomagnitude: .*phase and no magnitude.*add part-mag images"),
        ("link", "inventory", "sub-link_T2w.nii.gz: "),
        ("notgzip", "preprocess", "sub-notgzip_T1w.nii.gz: cannot be read as an image"),
    ],
)
def test_each_has_a_row_that_names_the_file_and_what_is_wrong(clinic, subject, step, says):
    _, _, rows = clinic
    assert rows[subject]["step"] == step
    assert re.search(says, rows[subject]["reason"]), rows[subject]["reason"]


def test_the_good_subject_is_done_and_not_in_the_table(clinic):
    _, study, rows = clinic
    assert "good" not in rows
    assert (study.out / "sub-good" / "anat" / "sub-good_desc-radiomics_features.tsv").is_file()


def test_without_phase_r2star_is_done_and_the_report_says_that_the_rest_is_not(clinic):
    _, study, rows = clinic
    assert "nophase" not in rows
    made = {path.name for path in (study.out / "sub-nophase" / "anat").glob("*map.nii.gz")}
    assert made == {f"sub-nophase_{name}map.nii.gz" for name in ("R2star", "T2star", "S0")}
    assert "there is no phase image" in (study.out / "sub-nophase.html").read_text()


def test_the_manufacturer_that_a_sidecar_names_reaches_the_step_as_it_is(clinic):
    _, study, rows = clinic
    assert "ge" not in rows
    about = json.loads((study.out / "sub-ge" / "anat" / "sub-ge_Chimap.json").read_text())
    assert "Its sign was turned, as scanners of GE Medical; touch there store it." in about["phase"]


def test_the_good_images_of_a_subject_with_a_broken_one_are_worked_on(clinic):
    _, study, _ = clinic
    assert (study.out / "sub-link" / "anat" / "sub-link_desc-preproc_T1w.nii.gz").is_file()


@pytest.mark.parametrize("subject", ["truncated", "othergrid", "phase"])
def test_the_report_of_a_subject_that_failed_says_so(clinic, subject):
    _, study, rows = clinic
    page = (study.out / f"sub-{subject}.html").read_text()
    assert rows[subject]["step"].split()[0] in page
    assert rows[subject]["reason"].split(";")[-1].strip()[:30] in page


def test_the_output_is_described_although_subjects_failed(clinic):
    _, study, _ = clinic
    assert json.loads((study.out / "dataset_description.json").read_text())["DatasetType"] == "derivative"


def test_the_group_names_those_that_are_left_out(clinic):
    _, study, _ = clinic
    done = study.call("group")
    assert done.returncode == 0, done.stdout
    assert "left out: sub-nan, preprocess failed" in done.stdout
    assert "sub-nan" in (study.out / "group.html").read_text()


def refused(study: Study, *arguments: str) -> str:
    """Line that a refused call prints; its exit code must be 3."""
    done = study.call(*arguments)
    assert done.returncode == 3, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    return done.stderr


def test_a_missing_dataset_is_refused(tmp_path):
    assert "no such folder" in refused(Study(tmp_path), "participant")


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    (tmp_path / "bids" / "derivatives" / "masks").mkdir(parents=True)
    assert "no dataset_description.json" in refused(Study(tmp_path), "participant")


def test_an_output_inside_the_dataset_is_refused(finished):
    inside = Study(finished.folder)
    inside.out = finished.bids / "out"
    assert "lies inside BIDS_DIR" in refused(inside, "participant")
    assert not inside.out.exists()


def test_a_participant_that_does_not_exist_is_refused_with_the_nearest(finished):
    assert "did you mean sub-01" in refused(finished, "participant", "--participant-label", "001")


def test_a_misspelt_setting_is_refused_with_the_nearest(finished, tmp_path):
    (tmp_path / "study.yaml").write_text("radiomics: {bin_cuont: 16}\n")
    line = refused(finished, "participant", "--config-file", str(tmp_path / "study.yaml"))
    assert "study.yaml: there is no setting 'radiomics.bin_cuont'; did you mean bin_count" in line


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            "{regions: [{name: ring, shel: tumor}]}",
            "region ring has an unknown setting 'shel'; did you mean",
        ),
        ("{regions: [{name: ring, shell: tumor}]}", "region ring has no positive distance"),
        ("{engine: pyradiomic}", "radiomics.engine"),
        ("{engine: mirp, bin_width: 5}", "resegmentRange"),
        ("{engine: mirp, perturbations: 5}", "mirp does not perturb"),
        ("{perturbations: -1}", "radiomics.perturbations"),
        ("{histogram: {threshold: {ADC: [1]}}}", "did you mean thresholds"),
    ],
)
def test_radiomics_that_no_visit_could_measure_are_refused_at_the_start(finished, tmp_path, settings, says):
    (tmp_path / "study.yaml").write_text(f"radiomics: {settings}\n")
    assert says in refused(finished, "participant", "--config-file", str(tmp_path / "study.yaml"))


def test_an_outcome_that_does_not_exist_is_refused_with_the_nearest(finished, tmp_path):
    (tmp_path / "study.yaml").write_text("analyses: [{name: a, outcome: mutaton}]\n")
    line = refused(finished, "group", "--config-file", str(tmp_path / "study.yaml"))
    assert "participants.tsv: has no column 'mutaton'" in line
    assert "did you mean mutation" in line


def test_the_group_before_any_participant_is_refused(finished, tmp_path):
    fresh = Study(finished.folder)
    fresh.out = tmp_path / "out"
    assert "run the participant level first" in refused(fresh, "group")


def test_networks_that_were_not_fetched_are_asked_for(finished, tmp_path):
    fresh = Study(finished.folder)
    fresh.out = tmp_path / "out"
    assert "models fetch deepbet" in refused(fresh, "participant", "--models-dir", str(tmp_path))


def test_an_analysis_that_is_not_possible_is_named_and_the_groups_report_is_written(study, tmp_path):
    (tmp_path / "study.yaml").write_text("analyses: [{name: few, outcome: mutation}]\n")
    (study.out / "group.html").unlink()
    done = study.call("group", "--config-file", str(tmp_path / "study.yaml"))
    assert done.returncode == 1, done.stdout
    page = (study.out / "group.html").read_text()
    assert "model few" in page
    rows = sorted((study.out / "logs").glob("*/failures.tsv"))[-1].read_text().splitlines()
    assert rows[1].startswith("n/a\tn/a\tmodel few\tanalysis few: ")


def test_the_groups_report_alone_can_be_written_again(study):
    page = (study.out / "group.html").read_text()
    (study.out / "group.html").unlink()
    assert study.call("group", "--reports-only").returncode == 0
    assert (study.out / "group.html").read_text() == page


def test_what_a_person_rated_exclude_is_left_out_of_the_group(finished, tmp_path):
    table = tmp_path / "ratings.tsv"
    table.write_text("participant_id\trating\tcomment\nsub-02\texclude\tmoved\n")
    done = finished.call("group", "--dry-run", "--exclusions", str(table))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out: sub-02, rated exclude: moved" in done.stdout


def test_ratings_that_leave_nobody_or_name_nobody_are_refused(finished, tmp_path):
    table = tmp_path / "ratings.tsv"
    table.write_text("participant_id\trating\nsub-01\texclude\nsub-02\texclude\n")
    assert "excludes every visit" in refused(finished, "group", "--exclusions", str(table))
    assert "for the group level" in refused(finished, "participant", "--exclusions", str(table))
    table.write_text("participant_id\trating\nsub-77\texclude\n")
    assert "there is no sub-77" in refused(finished, "group", "--exclusions", str(table))
