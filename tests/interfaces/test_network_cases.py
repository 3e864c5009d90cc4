"""Networks of head CT, and networks that give a value for the whole case."""

import nibabel as nib
import numpy as np
import pytest

from tests.interfaces.network_visit import (
    AFFINE,
    CT_WINDOW,
    FLAIR,
    LESION,
    SHAPE,
    T1W,
    Visit,
    labels_in,
    rows_of,
)
from tests.model_folders import above, pointwise, save_case_model, save_model
from voxelome.errors import InputError
from voxelome.imageio import load_json, load_volume, save_volume
from voxelome.interfaces import AssembleFeatures, segmentation_pictures
from voxelome.interfaces.pictures import figures_of
from voxelome.orientation import to_canonical


@pytest.fixture
def visit(tmp_path):
    return Visit(tmp_path)


# --- CT


@pytest.fixture
def ct(visit):
    """A head CT of which the first axis runs to the left: air, bone, brain, and a cube of blood."""
    data = np.full(SHAPE, -1000.0, dtype=np.float32)
    data[2:14, 2:14, 2:14] = 1000
    data[3:13, 3:13, 3:13] = 30
    data[4:6, 6:10, 6:10] = 70
    affine = np.diag([-2.0, 2.0, 2.0, 1.0])
    return save_volume(visit.folder / "raw" / "sub-01" / "anat" / "sub-01_ct.nii.gz", data, affine)


def test_a_network_of_ct_works_on_a_visit_that_has_nothing_else_on_the_grid_of_the_ct(visit, ct):
    # The window makes 0 to 80 units 0 to 1: brain has 0.375, blood 0.875 and bone 1.
    weight, bias = pointwise([0.0], [100.0], [400.0]), [0.0, -65.0, -350.0]
    labels = {"outputs": {"labels": {"1": "blood", "2": "bone"}}}
    save_model(visit.models, "bleed", weight, bias, inputs=[CT_WINDOW], **labels)
    record = visit.start("bleed", cts=[str(ct)])
    raw = load_volume(ct)
    data, affine = to_canonical(raw.data, raw.affine)
    assert np.array_equal(labels_in(record, "ct") == 1, data == 70)
    assert np.array_equal(labels_in(record, "ct") == 2, data == 1000)
    (item,) = record.find("labels")
    assert np.allclose(load_volume(item["path"]).affine, affine)
    assert record.quality["bleed blood (ml)"] == pytest.approx(32 * 0.008)
    assert record.warnings == []
    (picture,) = [figure for figure in figures_of({"network": [record]}) if "bleed" in figure.title]
    assert picture.title == "bleed on ct"


def test_of_several_ct_the_first_is_taken_and_that_is_said(visit, ct):
    save_model(visit.models, "bleed", *above(2.0), inputs=[CT_WINDOW])
    record = visit.start("bleed", cts=[str(ct), "sub-01_run-2_ct.nii.gz"])
    assert record.warnings == ["bleed: of 2 CTs the first was taken."]


def test_a_ct_that_is_not_in_hounsfield_units_is_a_warning(visit, ct):
    image = load_volume(ct)
    save_volume(ct, np.clip(image.data, 0, None), image.affine)
    save_model(visit.models, "bleed", *above(2.0), inputs=[CT_WINDOW])
    (said,) = visit.start("bleed", cts=[str(ct)]).warnings
    assert "no air or no bone; is it in Hounsfield units" in said


def test_a_ct_of_several_volumes_is_refused(visit, ct):
    image = load_volume(ct)
    save_volume(ct, np.stack([image.data, image.data], axis=-1), image.affine)
    save_model(visit.models, "bleed", *above(2.0), inputs=[CT_WINDOW])
    with pytest.raises(InputError, match=r"sub-01_ct.nii.gz: has 4 dimensions; give one volume a CT file"):
        visit.start("bleed", cts=[str(ct)])


def with_forms(path, qform, sform):
    """Give an image these affines; None is one that the header does not know."""
    image = nib.load(path)
    changed = nib.Nifti1Image(np.asarray(image.dataobj), None, image.header)
    changed.set_qform(qform, code=int(qform is not None))
    changed.set_sform(sform, code=int(sform is not None))
    changed.to_filename(path)


def test_a_ct_whose_header_does_not_say_how_the_head_lies_is_refused(visit, ct):
    save_model(visit.models, "bleed", *above(2.0), inputs=[CT_WINDOW])
    with_forms(ct, None, None)
    with pytest.raises(InputError, match=r"sub-01_ct.nii.gz: its header does not say how the head lies"):
        visit.start("bleed", cts=[str(ct)])


def test_of_two_affines_of_a_ct_the_user_says_which_counts_and_the_picture_follows(visit, ct, monkeypatch):
    save_model(visit.models, "bleed", pointwise([0.0], [100.0]), [0.0, -65.0], inputs=[CT_WINDOW])
    with_forms(ct, np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([-2.0, 2.0, 2.0, 1.0]))
    with pytest.raises(InputError, match="disagree on which side is left"):
        visit.start("bleed", cts=[str(ct)])
    drawn = []

    def spy(data, *_, overlay, **more):
        drawn.append((data, overlay))
        return b"picture"

    monkeypatch.setattr(segmentation_pictures, "mosaic", spy)
    for form, where in (("qform", slice(4, 6)), ("sform", slice(10, 12))):
        record = visit.start("bleed", cts=[str(ct)], affine=form)
        assert labels_in(record, "ct")[where, 6:10, 6:10].all()
        list(segmentation_pictures.network_figures({"network": [record]}))
        data, outlined = drawn.pop()
        # Blood and bone are outlined, and not the brain that lies there in the mirrored image.
        assert data[outlined > 0].min() == 70


def test_networks_of_mri_and_of_ct_skip_visits_that_have_only_the_other(visit, ct):
    save_model(visit.models, "tiny", *above(50.0))
    save_model(visit.models, "bleed", *above(2.0), inputs=[CT_WINDOW])
    only_ct = visit.start("tiny", cts=[str(ct)])
    assert only_ct.skipped == [{"what": "tiny", "why": "there is no MRI of this visit"}]
    only_mri = visit.run("bleed")
    assert only_mri.skipped == [{"what": "bleed", "why": "there is no CT of this visit"}]
    assert only_ct.outputs == only_mri.outputs == []


# --- values of the case


def case_model(visit, name, **changes):
    save_case_model(visit.models, name, [16, 16, 16], **changes)


def test_a_regression_gives_the_value_of_its_network_as_a_feature_and_a_map_of_what_it_rests_on(visit):
    # Nothing at the edges, which the passes over varied images move out.
    t1w = np.zeros(SHAPE, dtype=np.float32)
    t1w[4:12, 4:12, 4:12] = visit.t1w[4:12, 4:12, 4:12]
    save_volume(visit.folder / "T1w.nii.gz", t1w, AFFINE)
    case_model(visit, "age", task="regression", outputs={"outcome": "brain_age", "unit": "a"})
    record = visit.run("age")
    rows = {row["feature"]: row for row in rows_of(record.path("features"))}
    value = rows["age_brain_age"]
    assert float(value["value"]) == pytest.approx(t1w.mean(), rel=0.05)
    assert float(rows["age_brain_age_sd"]["value"]) > 0
    assert (value["image"], value["roi"], value["class"], value["unit"]) == ("T1w", "image", "network", "a")
    about = load_json(record.path("features").with_suffix(".json"))
    assert about["NotFor"] == "diagnosis"
    assert set(about["Features"]["network"]) == set(rows)
    # The cube is brighter than what is around it: covering it lowers the mean.
    assert load_volume(record.path("saliency", space="T1w")).data[LESION].mean() > 0


def test_a_classification_gives_a_probability_a_class_that_add_up_to_one(visit):
    case_model(visit, "bleed", task="classification", outputs={"labels": {"0": "none", "1": "blood"}})
    rows = {row["feature"]: float(row["value"]) for row in rows_of(visit.run("bleed").path("features"))}
    assert set(rows) == {"bleed_none", "bleed_none_sd", "bleed_blood", "bleed_blood_sd"}
    assert rows["bleed_none"] == pytest.approx(1.0)
    assert rows["bleed_none"] + rows["bleed_blood"] == pytest.approx(1.0)


def test_an_absent_optional_input_is_said_of_a_case_as_of_labels(visit):
    inputs = [T1W, {**FLAIR, "need": "optional"}]
    outputs = {"outcome": "age", "unit": "a"}
    case_model(visit, "age", channels=2, task="regression", outputs=outputs, inputs=inputs)
    said = "There is no FLAIR; age sees zeros in its place."
    assert said in visit.run("age").done
    visit.add("FLAIR", visit.t1w)
    assert said not in visit.run("age").done


def test_a_case_whose_only_input_is_optional_and_absent_is_skipped(visit):
    inputs = [{**FLAIR, "need": "optional"}]
    case_model(visit, "age", task="regression", outputs={"outcome": "age", "unit": "a"}, inputs=inputs)
    record = visit.run("age")
    assert record.skipped == [{"what": "age", "why": "it needs FLAIR, and there is T1w"}]


def test_values_of_two_networks_of_one_name_do_not_share_a_table(tmp_path):
    steps = tmp_path / "steps"
    for name, mirror in (("sub-01", []), ("sub-02", [0])):
        visit = Visit(tmp_path / name, name)
        grid = {"kind": "cube", "patch": [16, 16, 16], "brain_only": False, "mirror": mirror}
        case_model(visit, "age", task="regression", outputs={"outcome": "age", "unit": "a"}, grid=grid)
        visit.run("age").save(steps / name / "network-age.json")
    with pytest.raises(InputError, match="was made with other settings than"):
        assemble(tmp_path, ["sub-01", "sub-02"])


def assemble(folder, units):
    """Gather the values of the network `age` in a table of the group."""
    (folder / "cohort.txt").write_text("\n".join(units) + "\n")
    AssembleFeatures(
        unit="group",
        cohort=str(folder / "cohort.txt"),
        steps_dir=str(folder / "steps"),
        networks=["age"],
        out_dir=str(folder / "group"),
        record=str(folder / "features.json"),
    ).run()


def test_values_of_a_case_are_columns_of_the_groups_table_also_of_visits_without_radiomics(tmp_path):
    steps = tmp_path / "steps"
    for name in ("sub-01", "sub-02"):
        visit = Visit(tmp_path / name, name)
        case_model(visit, "age", task="regression", outputs={"outcome": "age", "unit": "a"})
        visit.run("age").save(steps / name / "network-age.json")
    assemble(tmp_path, ["sub-01", "sub-02"])
    rows = rows_of(tmp_path / "group" / "features.tsv")
    assert [row["participant_id"] for row in rows] == ["sub-01", "sub-02"]
    assert float(rows[0]["T1w__image__original__network__age_age"]) > 0
    about = load_json(tmp_path / "group" / "features.json")
    assert "age_age" in about["Features"]["network"]
