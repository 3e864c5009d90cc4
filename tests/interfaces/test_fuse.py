"""Segmentations of several raters and networks as one: which, under which names, and where they go."""

import numpy as np
import pytest

from voxelome.errors import InputError
from voxelome.imageio import load_json, load_volume, save_volume
from voxelome.interfaces import FuseLabels
from voxelome.step import StepRecord

SHAPE = (16, 16, 16)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def cube(start, stop, label=1):
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[start:stop, 4:8, 4:8] = label
    return labels


def shift(x):
    matrix = np.eye(4)
    matrix[0, 3] = x
    return matrix


class Visit:
    """A visit of a T1w and a gradient echo that was moved by 4 mm, with segmentations by hand."""

    def __init__(self, folder):
        self.folder, self.anat = folder, folder / "out" / "sub-01" / "anat"
        prepared, registered = StepRecord("preprocess", "sub-01"), StepRecord("register", "sub-01")
        prepared.parameters["reference"] = "ce-gadolinium_T1w"
        for label in ("ce-gadolinium_T1w", "MEGRE"):
            path = save_volume(folder / f"{label}.nii.gz", np.ones(SHAPE, dtype=np.float32), AFFINE)
            prepared.add(path, "prepared", image=label, source=f"sub-01_{label}.nii.gz")
        registered.add(folder / "x.mat", "matrix", image="MEGRE", matrix=shift(4).tolist())
        prepared.save(folder / "preprocess.json")
        registered.save(folder / "register.json")
        self.records = []

    def add(self, name, labels, names=None, space="T1w"):
        """Leave a segmentation as segment or a network would."""
        record = StepRecord("segment", "sub-01")
        path = self.anat / f"sub-01_space-{space}_desc-{name}_dseg.nii.gz"
        record.add(
            save_volume(path, labels, AFFINE), "labels", name=name, space=space, names=names or {"1": name}
        )
        self.records.append(str(record.save(self.folder / f"{name}-{space}.json")))

    def fuse(self, *of, **more):
        FuseLabels(
            unit="sub-01",
            name="fused",
            of=list(of),
            records=self.records,
            prepared=str(self.folder / "preprocess.json"),
            registered=str(self.folder / "register.json"),
            out_dir=str(self.anat),
            record=str(self.folder / "fusion-fused.json"),
            **more,
        ).run()
        return StepRecord.load(self.folder / "fusion-fused.json")


@pytest.fixture
def visit(tmp_path):
    return Visit(tmp_path)


def labels_in(record, space="T1w"):
    (item,) = record.find("labels", space=space)
    return load_volume(item["path"], dtype=None).data


def test_what_most_raters_give_is_kept_and_their_agreement_with_it_is_told(visit):
    visit.add("a", cube(2, 6))
    visit.add("b", cube(4, 8))
    visit.add("c", cube(4, 6))
    record = visit.fuse("a", "b", "c")
    assert np.array_equal(labels_in(record), cube(4, 6))
    # Dice of 4 slices and 2 of them: 2 * 2 / (4 + 2).
    assert record.quality["Dice of a with fused"] == pytest.approx(2 / 3, abs=1e-4)
    assert record.quality["Dice of c with fused"] == 1.0
    assert record.quality["fused label (ml)"] == pytest.approx(32 * 0.008)
    assert record.skipped == []


@pytest.mark.parametrize("method", ["staple", "simple"])
def test_other_methods_agree_on_what_all_raters_agree_on(visit, method):
    for name in "abc":
        visit.add(name, cube(4, 8))
    record = visit.fuse("a", "b", "c", method=method)
    assert np.array_equal(labels_in(record), cube(4, 8))
    assert record.parameters["method"] == method


def test_weights_of_simple_say_which_rater_was_not_believed(visit):
    for name in "abc":
        visit.add(name, cube(4, 8))
    visit.add("d", cube(12, 14))
    weights = visit.fuse("a", "b", "c", "d", method="simple").parameters["weights"]["1"]
    assert weights["d"] < 0.1 < weights["a"]


def test_labels_go_to_the_gradient_echo_too_and_say_what_they_are_made_of(visit):
    visit.add("a", cube(4, 8))
    visit.add("b", cube(4, 8))
    record = visit.fuse("a", "b", gradient_echoes=["MEGRE"])
    assert np.argwhere(labels_in(record, "MEGRE")).mean(axis=0) == pytest.approx([7.5, 5.5, 5.5])
    sidecar = load_json(visit.anat / "sub-01_space-T1w_desc-fused_dseg.json")
    assert sidecar["Fusion"] == "majority"
    assert sidecar["Sources"] == [
        f"bids::sub-01/anat/sub-01_space-T1w_desc-{name}_dseg.nii.gz" for name in "ab"
    ]


def test_a_rater_that_a_visit_lacks_is_said_and_the_others_are_fused(visit):
    visit.add("a", cube(2, 6))
    visit.add("b", cube(2, 6))
    record = visit.fuse("a", "c", "b")
    assert np.array_equal(labels_in(record), cube(2, 6))
    assert record.skipped == [{"what": "fused with c", "why": "this visit has no such segmentation"}]


def test_one_rater_alone_is_no_fusion(visit):
    visit.add("a", cube(2, 6))
    record = visit.fuse("a", "b", "c")
    assert record.outputs == []
    why = "fewer than two of its segmentations are there"
    assert {"what": "fused", "why": why} in record.skipped


def test_labels_of_another_image_than_the_reference_are_not_fused(visit):
    visit.add("a", cube(2, 6))
    visit.add("b", cube(2, 6))
    visit.add("bleed", cube(10, 12), space="ct")
    record = visit.fuse("a", "b", "bleed")
    assert record.skipped == [{"what": "fused with bleed", "why": "this visit has no such segmentation"}]


def test_nothing_found_by_all_is_an_empty_fusion(visit):
    for name in "abc":
        visit.add(name, np.zeros(SHAPE, dtype=np.uint8), {"1": "lesion"})
    for method in ("majority", "staple", "simple"):
        record = visit.fuse("a", "b", "c", method=method)
        assert not labels_in(record).any()
        assert record.quality["fused lesion (ml)"] == 0
        assert record.quality["Dice of a with fused"] == 1.0


# --- names


def test_raters_of_different_labels_are_refused_and_named(visit):
    visit.add("a", cube(2, 6), {"1": "edema"})
    visit.add("b", cube(2, 6), {"1": "necrosis"})
    says = (
        "segment: fusions: label 1 is edema in a and necrosis in b; fuse segmentations with the same labels"
    )
    with pytest.raises(InputError, match=says):
        visit.fuse("a", "b")


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_mask_without_names_takes_those_of_the_network_that_it_is_fused_with(visit, order):
    visit.add("a", cube(2, 6))
    visit.add("b", cube(2, 6), {"1": "lesion"})
    (item,) = visit.fuse(*order).find("labels")
    assert item["names"] == {"1": "lesion"}


def test_raters_of_several_labels_without_names_are_fused_label_by_label(visit):
    for name in "ab":
        visit.add(name, cube(2, 6) + cube(8, 10, label=4), {"1": f"{name}1", "4": f"{name}4"})
    record = visit.fuse("a", "b")
    (item,) = record.find("labels")
    assert item["names"] == {"1": "label1", "4": "label4"}
    assert np.array_equal(labels_in(record), cube(2, 6) + cube(8, 10, label=4))


def test_a_label_that_only_some_know_keeps_its_name(visit):
    visit.add("a", cube(2, 6), {"1": "core", "2": "edema"})
    visit.add("b", cube(2, 6), {"1": "core"})
    (item,) = visit.fuse("a", "b").find("labels")
    assert item["names"] == {"1": "core", "2": "edema"}
