"""Head CT comes in from anat/ although BIDS has no name for it, and MRI goes on as if it were not there."""

import json

import numpy as np
import pytest

from voxelome.bids.inventory import load_inventory, update_inventory
from voxelome.bids.plan import load_plan
from voxelome.bids.targets import describe_visits, participant_targets, unit_records
from voxelome.imageio import save_volume

STAGES = ("preprocess", "register", "qsm", "segment", "radiomics", "report")
IGNORED = "sub-*/**/anat/*_ct.*\n"


class Clinic:
    """A dataset of empty images."""

    def __init__(self, folder):
        self.root, self.inventory = folder / "raw", folder / "inventory"
        self.root.mkdir()
        about = {"Name": "x", "BIDSVersion": "1.10.0", "License": "CC0", "Authors": ["A"]}
        (self.root / "dataset_description.json").write_text(json.dumps(about))
        (self.root / "README").write_text("Simulated. " * 20)

    def add(self, *names):
        for name in names:
            folder = "/".join(part for part in name.split("_") if part.startswith(("sub-", "ses-")))
            path = self.root / folder / "anat" / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_volume(path, np.ones((2, 2, 2), dtype=np.int16), np.eye(4))

    def plan(self, **options):
        update_inventory(self.root, self.inventory, **options)
        return load_plan(load_inventory(self.inventory), self.root, {})


@pytest.fixture
def clinic(tmp_path):
    return Clinic(tmp_path)


def test_every_ct_of_a_visit_is_in_its_plan_under_a_label_of_its_own(clinic):
    clinic.add("sub-01_ses-1_T1w", *(f"sub-01_ses-1_{name}ct" for name in ("acq-thin_", "run-1_", "run-2_")))
    (unit,) = clinic.plan().values()
    assert [item.label for item in unit.cts] == ["acq-thin_ct", "run-1_ct", "run-2_ct"]
    assert unit.cts[0].path == str(clinic.root / "sub-01/ses-1/anat/sub-01_ses-1_acq-thin_ct.nii.gz")
    assert not any("_ct" in item["what"] for item in unit.skipped)


def test_ct_is_neither_reference_nor_an_image_that_mri_stages_prepare(clinic):
    clinic.add("sub-01_FLAIR", "sub-01_ct")
    (with_ct,) = clinic.plan().values()
    clinic.add("sub-02_FLAIR")
    without = clinic.plan()["sub-02"]
    assert with_ct.references == with_ct.image_labels == ["FLAIR"]
    assert with_ct.image_digest == without.image_digest
    assert with_ct.skipped == without.skipped


def test_a_visit_with_only_ct_is_planned_and_says_that_there_is_no_mri(clinic):
    clinic.add("sub-01_ses-1_T1w", "sub-01_ses-2_ct")
    plan = clinic.plan()
    unit = plan["sub-01_ses-2"]
    assert (unit.mri, unit.empty, unit.reference) == (False, False, "")
    assert [(item["what"], item["why"]) for item in unit.skipped] == [
        ("all that is made from MRI", "there is no MRI, only ct")
    ]
    assert json.loads(describe_visits([unit]))["sub-01_ses-2"]["images"] == ["ct"]


def test_a_visit_with_only_ct_has_no_records_of_mri_stages_but_its_subject_has_a_report(clinic, tmp_path):
    clinic.add("sub-01_ct", "sub-02_T1w")
    plan = clinic.plan()
    assert unit_records(plan["sub-01"], STAGES) == []
    targets = participant_targets(plan, STAGES, tmp_path)
    assert [path for path in targets if "sub-01" in path] == [str(tmp_path / "sub-01.html")]
    assert "steps/sub-02/preprocess.json" in targets


def test_ct_has_a_query_of_its_own_in_a_filter_file(clinic):
    clinic.add("sub-01_acq-thin_ct", "sub-01_acq-thick_ct", "sub-01_T1w")
    (unit,) = clinic.plan(filters={"ct": {"acquisition": "thick"}}).values()
    assert [item.label for item in unit.cts] == ["acq-thick_ct"]
    assert unit.image_labels == ["T1w"]


def test_a_ct_that_is_empty_is_named_and_left_out(clinic):
    clinic.add("sub-01_T1w", "sub-01_ct")
    (clinic.root / "sub-01/anat/sub-01_ct.nii.gz").write_bytes(b"")
    (unit,) = clinic.plan().values()
    assert unit.cts == ()
    assert [problem["path"] for problem in unit.problems] == ["sub-01/anat/sub-01_ct.nii.gz"]


def test_a_changed_ct_changes_the_digest_of_its_content(clinic):
    clinic.add("sub-01_ct")
    before = clinic.plan()["sub-01"].cts[0].digest
    path = clinic.root / "sub-01/anat/sub-01_ct.nii.gz"
    save_volume(path, np.full((2, 2, 2), 40, dtype=np.int16), np.eye(4))
    assert clinic.plan()["sub-01"].cts[0].digest != before


def test_the_official_validator_wants_ct_in_bidsignore_and_is_content_then(clinic, validator_errors):
    clinic.add("sub-01_T1w", "sub-01_ct", "sub-02_ses-1_ct")
    complaints = validator_errors(clinic.root)
    assert {text.split()[1].rsplit("_", 1)[-1] for text in complaints} == {"ct.nii.gz"}
    (clinic.root / ".bidsignore").write_text(IGNORED)
    assert validator_errors(clinic.root) == []
