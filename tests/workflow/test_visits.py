"""Two visits of one participant, the second added later, with one image that cannot be used."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.conftest import Study
from voxelome.phantom.cohort import make_cohort
from voxelome.step import StepRecord

STAGES = ("--stages", "preprocess", "register", "report")


def moved(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """The image as if the head had lain otherwise: its header turned and moved."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", [6, -4, 8], degrees=True).as_matrix()
    motion[:3, 3] = [5, -7, 4]
    return nib.Nifti1Image(np.asarray(image.dataobj), motion @ image.affine)


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, set[str], int]:
    """The study after both visits, what the second was planned to run, and the exit code of the last call."""
    study = Study(tmp_path_factory.mktemp("visits"))
    make_cohort(study.bids, participants=1, sites=1, spacing=4.0)
    source = study.bids / "sub-01" / "anat"
    shutil.move(source, study.folder / "anat")
    images = study.folder / "anat"

    def add(session: str, name: str) -> Path:
        path = study.bids / "sub-01" / f"ses-{session}" / "anat" / f"sub-01_ses-{session}_{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(images / f"sub-01_{name}.nii.gz", path)
        shutil.copy(images / f"sub-01_{name}.json", path.with_name(path.name.replace(".nii.gz", ".json")))
        return path

    shutil.rmtree(study.bids / "derivatives" / "masks" / "sub-01")
    for name in ("T1w", "FLAIR"):
        add("1", name)
    done = study.call("participant", *STAGES)
    assert done.returncode == 0, done.stdout + done.stderr
    nib.save(moved(nib.load(add("2", "T1w"))), study.bids / "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz")
    broken = add("2", "T2w")
    image = nib.load(broken)
    nib.save(nib.Nifti1Image(np.full(image.shape, np.nan, np.float32), image.affine), broken)
    planned = study.planned("participant", *STAGES)
    code = study.call("participant", *STAGES).returncode
    return study, planned, code


def test_a_visit_that_is_added_runs_its_own_steps_and_what_all_visits_share(visits):
    _, planned, _ = visits
    assert planned == {
        "sub-01_ses-2 preprocess",
        "sub-01_ses-2 register",
        "sub-01 midway",
        "sub-01 report",
    }


def test_an_image_that_cannot_be_used_is_in_the_table_and_its_visit_is_done(visits):
    study, _, code = visits
    assert code == 1
    table = sorted((study.out / "logs").glob("*/failures.tsv"))[-1]
    (row,) = csv.DictReader(table.read_text().splitlines(), delimiter="\t")
    assert (row["participant_id"], row["session_id"], row["step"]) == ("sub-01", "ses-2", "image check")
    assert "sub-01_ses-2_T2w.nii.gz: " in row["reason"]
    assert "NaN" in row["reason"]
    assert "sub-01_ses-2_T2w.nii.gz" in (study.out / "sub-01.html").read_text()


def test_every_image_of_every_visit_is_in_one_space(visits):
    study, _, _ = visits
    names = ["ses-1/anat/sub-01_ses-1_space-midway_desc-preproc_T1w.nii.gz"]
    names += ["ses-1/anat/sub-01_ses-1_space-midway_desc-preproc_FLAIR.nii.gz"]
    names += ["ses-2/anat/sub-01_ses-2_space-midway_desc-preproc_T1w.nii.gz"]
    images = [nib.load(study.out / "sub-01" / name) for name in names]
    assert len({image.shape for image in images}) == 1
    first, _, second = (image.get_fdata() for image in images)
    both = (first != 0) & (second != 0)
    # The same head, interpolated once each.
    assert np.corrcoef(first[both], second[both])[0, 1] > 0.95
    record = StepRecord.load(study.work / "steps" / "sub-01" / "midway.json")
    assert {row["light"] for row in record.checks} == {"green"}


def test_the_report_shows_the_visits_together(visits):
    study, _, _ = visits
    page = (study.out / "sub-01.html").read_text()
    assert "All visits" in page
    assert "in the space of all visits" in page


def test_the_official_validator_accepts_the_spaces(visits, validator_errors: Callable[[Path], list[str]]):
    study, _, _ = visits
    assert validator_errors(study.out) == []


def test_the_same_call_again_runs_nothing_and_names_the_image_again(visits):
    study, _, _ = visits
    assert study.planned("participant", *STAGES) == set()
