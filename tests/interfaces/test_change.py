"""Lesions of a subject's visits compared in their common space, and what is said where one lacks them."""

import csv
from pathlib import Path

import numpy as np
import pytest

from voxelome.imageio import load_json, load_volume, save_volume, sidecar_path
from voxelome.interfaces import CompareLesions, segmentation_pictures
from voxelome.step import StepRecord

SHAPE = (20, 20, 20)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def lesions(*corners, size=4):
    mask = np.zeros(SHAPE, dtype=np.uint8)
    for x, y, z in corners:
        mask[x : x + size, y : y + size, z : z + size] = 1
    return mask


def shift(x):
    matrix = np.eye(4)
    matrix[0, 3] = x
    return matrix


class Subject:
    """Visits of a subject, each with lesions on its reference, and records as earlier steps leave them."""

    def __init__(self, folder):
        self.folder, self.out = folder, folder / "out"
        self.midway = StepRecord("midway", "sub-01")
        self.records = []

    def folder_of(self, session):
        return self.out / "sub-01" / f"ses-{session}" / "anat"

    def add(
        self, session, mask=None, moved=0.0, space="T1w", names=None, flair=None, common=True, image="FLAIR"
    ):
        """Add a visit; `mask` lies on the grid of its reference, `flair` on the common one.

        A point of the common space lies `moved` mm further to the right in the reference.
        """
        unit, anat = f"sub-01_ses-{session}", self.folder_of(session)
        if common:
            where = {"space": "T1w", "matrix": shift(moved).tolist()}
            self.midway.add(anat / f"{unit}_xfm.mat", "matrix", visit=f"ses-{session}", **where)
            brain = save_volume(anat / f"{unit}_mask.nii.gz", np.ones(SHAPE, dtype=np.uint8), AFFINE)
            self.midway.add(brain, "midway-mask", visit=f"ses-{session}")
        if flair is not None:
            path = save_volume(anat / f"{unit}_{image}.nii.gz", flair, AFFINE)
            self.midway.add(path, "midway", image=image, visit=f"ses-{session}")
        record = StepRecord("segment", unit)
        if mask is not None:
            path = save_volume(anat / f"{unit}_space-{space}_desc-wmh_dseg.nii.gz", mask, AFFINE)
            record.add(path, "labels", name="wmh", space=space, names=names or {"1": "wmh"})
        self.records.append(str(record.save(self.folder / f"segment-{session}.json")))

    def compare(self, name="wmh"):
        CompareLesions(
            unit="sub-01",
            name=name,
            midway=str(self.midway.save(self.folder / "midway.json")),
            segmented=self.records,
            out_dir=str(self.out),
            record=str(self.folder / "change.json"),
        ).run()
        return StepRecord.load(self.folder / "change.json")


@pytest.fixture
def subject(tmp_path):
    return Subject(tmp_path)


def rows_of(item):
    return list(csv.DictReader(Path(item["path"]).read_text().splitlines(), delimiter="\t"))


STAYS, COMES, GOES = (2, 2, 2), (10, 10, 10), (2, 12, 12)


def test_lesions_that_came_went_and_stayed_are_told_apart_and_mapped(subject):
    subject.add("1", lesions(STAYS, GOES))
    subject.add("2", lesions(STAYS, COMES))
    record = subject.compare()
    (item,) = record.find("changes")
    assert item["pair"] == "ses-1 to ses-2"
    rows = {row["change"]: row for row in rows_of(item)}
    assert set(rows) == {"stable", "new", "vanished"}
    assert float(rows["new"]["second_ml"]) == pytest.approx(64 * 0.008)
    assert [float(rows["new"][axis]) for axis in ("x_mm", "y_mm", "z_mm")] == [23.0, 23.0, 23.0]
    (drawn,) = record.find("change")
    mapped = load_volume(drawn["path"], dtype=None).data
    values = {name: int(value) for value, name in drawn["names"].items()}
    assert np.array_equal(mapped == values["new"], lesions(COMES) > 0)
    assert np.array_equal(mapped == values["vanished"], lesions(GOES) > 0)
    assert record.quality["ses-1 to ses-2 ses-1 volume"] == pytest.approx(128 * 0.008)
    assert record.done[0] == "wmh, ses-1 to ses-2: 1 new, 1 vanished, 1 stable."


def test_what_lies_in_the_folder_of_the_later_visit_names_both_segmentations(subject):
    subject.add("1", lesions(STAYS))
    subject.add("2", lesions(STAYS))
    (item,) = subject.compare().find("change")
    assert item["path"] == str(
        subject.folder_of("2") / "sub-01_ses-2_space-midway_desc-wmhChange_dseg.nii.gz"
    )
    assert load_json(sidecar_path(item["path"]))["Sources"] == [
        f"bids::sub-01/ses-{n}/anat/sub-01_ses-{n}_space-T1w_desc-wmh_dseg.nii.gz" for n in "12"
    ]


def test_each_visits_lesions_come_to_the_common_space_by_its_own_transform(subject):
    # The same lesion, once two voxels to the right of the common space, once two to the left.
    subject.add("1", lesions((10, 8, 8)), moved=4.0)
    subject.add("2", lesions((6, 8, 8)), moved=-4.0)
    record = subject.compare()
    (row,) = rows_of(record.find("changes")[0])
    assert row["change"] == "stable"
    mapped = load_volume(record.find("change")[0]["path"], dtype=None).data
    assert np.array_equal(mapped > 0, lesions((8, 8, 8)) > 0)


def bright(where, seed=0):
    """A noisy image in which these lesions are bright."""
    image = np.random.default_rng(seed).normal(100, 2, SHAPE).astype(np.float32)
    image[where > 0] = 180
    return image


def test_a_change_is_scored_in_the_images_where_both_visits_have_one_contrast(subject):
    before, after = bright(lesions(STAYS)), bright(lesions(STAYS, COMES), seed=1)
    subject.add("1", lesions(STAYS), flair=before)
    subject.add("2", lesions(STAYS, COMES), flair=after)
    record = subject.compare()
    rows = {row["change"]: row["intensity_score"] for row in rows_of(record.find("changes")[0])}
    assert float(rows["new"]) > 3
    assert rows["stable"] == "n/a"
    assert record.done[-1].startswith("Changes were checked in FLAIR")
    shown = [figure.title for figure in segmentation_pictures.change_figures(record, subject.midway)]
    assert shown == ["Change of FLAIR, ses-1 to ses-2", "Change of wmh, ses-1 to ses-2"]
    (image,) = record.find("image-change")
    brighter = load_volume(image["path"], dtype=None).data == 1
    new = (lesions(COMES) > 0) & (lesions(STAYS) == 0)
    assert 2 * (brighter & new).sum() / (brighter.sum() + new.sum()) > 0.7


def test_a_picture_is_of_what_changed_and_each_map_has_its_own_words(subject, monkeypatch):
    # What grows darker lies where nothing else changes.
    subject.add("1", lesions(STAYS), flair=bright(lesions(STAYS, GOES)))
    subject.add("2", lesions(STAYS, COMES), flair=bright(lesions(STAYS), seed=1))
    record = subject.compare()
    boxes = []

    def spy(*_, box, **more):
        boxes.append(box)
        return b"picture"

    monkeypatch.setattr(segmentation_pictures, "mosaic", spy)
    images, masks = segmentation_pictures.change_figures(record, subject.midway)
    assert "became brighter or darker" in images.caption
    assert "Stable lesions" in masks.caption
    darker, changed = boxes
    gone = lesions(GOES) > 0
    assert 2 * (darker & gone).sum() / (darker.sum() + gone.sum()) > 0.7
    assert np.array_equal(changed, (lesions(COMES) > 0))


@pytest.mark.parametrize("labels", [("FLAIR", "ce-gadolinium_FLAIR"), ("ce-gadolinium_FLAIR", "FLAIR")])
def test_an_image_after_contrast_agent_is_not_compared_with_one_without(subject, labels):
    for session, label in zip("12", labels, strict=True):
        subject.add(session, lesions(STAYS), flair=bright(lesions(STAYS)), image=label)
    record = subject.compare()
    assert record.skipped[0]["what"] == "check of ses-1 to ses-2 in the images"
    assert record.find("image-change") == []


def test_images_that_are_both_after_contrast_agent_are_compared(subject):
    for session in "12":
        image = bright(lesions(STAYS), seed=int(session))
        subject.add(session, lesions(STAYS), flair=image, image="ce-gadolinium_FLAIR")
    assert len(subject.compare().find("image-change")) == 1


def test_a_pair_whose_images_cannot_be_scored_keeps_its_masks_and_does_not_stop_the_others(subject):
    for session, image in (("1", np.full(SHAPE, 5.0)), ("2", bright(lesions(STAYS))), ("3", None)):
        given = bright(lesions(STAYS), seed=3) if image is None else image.astype(np.float32)
        subject.add(session, lesions(STAYS), flair=given)
    record = subject.compare()
    assert [item["pair"] for item in record.find("changes")] == ["ses-1 to ses-2", "ses-2 to ses-3"]
    why = "in FLAIR, the first image is constant in most of the brain"
    assert record.skipped == [{"what": "check of ses-1 to ses-2 in the images", "why": why}]
    assert [item["pair"] for item in record.find("image-change")] == ["ses-2 to ses-3"]


def test_visits_without_a_common_contrast_have_no_scores_and_that_is_said(subject):
    subject.add("1", lesions(STAYS), flair=np.ones(SHAPE, dtype=np.float32))
    subject.add("2", lesions(STAYS, COMES))
    record = subject.compare()
    assert {row["intensity_score"] for row in rows_of(record.find("changes")[0])} == {"n/a"}
    assert record.skipped[0]["what"] == "check of ses-1 to ses-2 in the images"


def test_a_visit_that_lacks_the_segmentation_is_said_and_its_neighbours_are_compared(subject):
    subject.add("1", lesions(STAYS))
    subject.add("2")
    subject.add("3", lesions(STAYS, COMES))
    record = subject.compare()
    assert {"what": "wmh of sub-01_ses-2", "why": "it has no such segmentation in the common space"} in (
        record.skipped
    )
    assert [item["pair"] for item in record.find("changes")] == ["ses-1 to ses-3"]


def test_three_visits_are_compared_each_with_the_next(subject):
    for session, mask in (("1", lesions(GOES)), ("2", lesions(STAYS)), ("3", lesions(STAYS))):
        subject.add(session, mask)
    record = subject.compare()
    assert [item["pair"] for item in record.find("changes")] == ["ses-1 to ses-2", "ses-2 to ses-3"]
    assert [len(rows_of(item)) for item in record.find("changes")] == [2, 1]
    assert len({item["path"] for item in record.outputs}) == 4


def test_one_visit_with_the_segmentation_is_nothing_to_compare(subject):
    subject.add("1", lesions(STAYS))
    subject.add("2")
    record = subject.compare()
    assert record.outputs == []
    assert {"what": "change of wmh", "why": "fewer than two visits have it"} in record.skipped


def test_a_visit_that_is_not_in_the_common_space_is_left_out(subject):
    subject.add("1", lesions(STAYS))
    subject.add("2", lesions(STAYS), common=False)
    assert {item["what"] for item in subject.compare().skipped} == {"wmh of sub-01_ses-2", "change of wmh"}


def test_labels_on_another_image_than_the_reference_are_not_taken_for_those_on_it(subject):
    subject.add("1", lesions(STAYS))
    subject.add("2", lesions(STAYS), space="MEGRE")
    assert {item["what"] for item in subject.compare().skipped} == {"wmh of sub-01_ses-2", "change of wmh"}


def test_nothing_found_at_one_visit_makes_all_of_the_other_new(subject):
    subject.add("1", lesions())
    subject.add("2", lesions(STAYS, COMES))
    record = subject.compare()
    assert {row["change"] for row in rows_of(record.find("changes")[0])} == {"new"}
    assert record.quality["ses-1 to ses-2 ses-1 volume"] == 0


def test_nothing_found_at_both_visits_is_a_table_without_rows(subject):
    subject.add("1", lesions())
    subject.add("2", lesions())
    record = subject.compare()
    assert rows_of(record.find("changes")[0]) == []
    assert not load_volume(record.find("change")[0]["path"], dtype=None).data.any()
    assert record.done[0] == "wmh, ses-1 to ses-2: no lesions at either visit."


def test_all_labels_of_a_segmentation_are_lesions(subject):
    both = lesions(STAYS) + 2 * lesions(COMES)
    subject.add("1", both, names={"1": "lesion", "2": "enhancing"})
    subject.add("2", both, names={"1": "lesion", "2": "enhancing"})
    assert [row["change"] for row in rows_of(subject.compare().find("changes")[0])] == ["stable", "stable"]
