"""What the official validator finds comes as a short table: file, rule, remedy."""

import json

import nibabel as nib
import numpy as np
import pytest

from voxelome.app.validate import validate


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "bids"
    for subject in ("01", "02"):
        anat = folder / f"sub-{subject}" / "anat"
        anat.mkdir(parents=True)
        image = nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4))
        image.header.set_xyzt_units("mm")
        nib.save(image, anat / f"sub-{subject}_T1w.nii.gz")
    (folder / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    (folder / "README").write_text("Made by a test. " * 20)
    return folder


def rows_of(folder):
    lines = (folder / "bids-validation.tsv").read_text().splitlines()
    return [tuple(line.split("\t")) for line in lines]


def test_a_dataset_without_errors_has_one_sentence_and_no_table(dataset, tmp_path):
    assert validate(dataset, tmp_path) == ["BIDS validation: no errors."]
    assert not (tmp_path / "bids-validation.tsv").exists()


def test_each_error_is_a_row_with_its_file_rule_and_remedy(dataset, tmp_path):
    anat = dataset / "sub-02" / "anat"
    (anat / "sub-02_T1w.nii.gz").rename(anat / "sub-02_acq_T1.nii.gz")
    (dataset / "sub-01" / "anat" / "sub-01_T1w.json").write_text(json.dumps({"EchoTime": "short"}))
    (dataset / "participants.tsv").write_text("participant_id\nsub-01\nsub-03\n")
    said = validate(dataset, tmp_path)
    head, *rows = rows_of(tmp_path)
    assert head == ("file", "rule", "remedy")
    assert sorted(rows) == [
        (
            "participants.tsv",
            "PARTICIPANT_ID_MISMATCH",
            "give participants.tsv a row for each sub- folder, and no other",
        ),
        (
            "sub-01/anat/sub-01_T1w.json",
            "JSON_SCHEMA_VALIDATION_ERROR EchoTime",
            "mend EchoTime: it must be number",
        ),
        (
            "sub-02/anat/sub-02_acq_T1.nii.gz",
            "NOT_INCLUDED",
            "rename it as BIDS names such files, or name it in .bidsignore",
        ),
    ]
    assert said[0].startswith("BIDS validation: 3 error(s); the run goes on.")
    assert len(said) == 4


def test_more_than_a_thousand_participants_are_no_error(dataset, tmp_path):
    names = [f"sub-{number:04d}" for number in range(1100)]
    first = dataset / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    for name in names:
        anat = dataset / name / "anat"
        anat.mkdir(parents=True)
        (anat / f"{name}_T1w.nii.gz").symlink_to(first)
    table = "participant_id\n" + "\n".join(["sub-01", "sub-02", *names]) + "\n"
    (dataset / "participants.tsv").write_text(table)
    assert validate(dataset, tmp_path) == ["BIDS validation: no errors."]
