"""A network on a visit: what it is given, what comes out, and what is said where it cannot work."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from tests.interfaces.network_visit import (
    AFFINE,
    FLAIR,
    LESION,
    LESIONS,
    SHAPE,
    T1W,
    Visit,
    labels_in,
    rows_of,
)
from tests.model_folders import above, edit_card, pointwise, save_model
from tests.numerics.small_networks import save_graph
from voxelome.errors import InputError
from voxelome.imageio import load_json, load_volume, save_volume
from voxelome.interfaces import ExtractRadiomics
from voxelome.registration.resample import save_itk_warp
from voxelome.segmentation import memory
from voxelome.step import StepRecord


@pytest.fixture
def visit(tmp_path):
    return Visit(tmp_path)


# --- labels


def test_labels_lie_where_the_network_sees_them_and_their_volume_is_told(visit):
    save_model(visit.models, "tiny", *above(50.0))
    record = visit.run("tiny")
    assert np.array_equal(labels_in(record) == 1, visit.t1w > 50)
    assert record.quality["tiny bright (ml)"] == pytest.approx(64 * 0.008)
    (item,) = record.find("labels")
    assert item["path"].endswith("sub-01_space-T1w_desc-tiny_dseg.nii.gz")
    assert item["names"] == {"1": "bright"}
    table = visit.anat / "sub-01_space-T1w_desc-tiny_dseg.tsv"
    assert table.read_text() == "index\tname\n1\tbright\n"


def test_the_sidecar_says_which_network_it_was_and_what_it_was_made_of(visit):
    card = save_model(visit.models, "tiny", *above(50.0))
    record = visit.run("tiny")
    sidecar = load_json(visit.anat / "sub-01_space-T1w_desc-tiny_dseg.json")
    assert sidecar["Model"]["Sha256"] == [card["sha256"]["model.onnx"]]
    assert sidecar["Sources"] == ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]
    assert record.parameters["Name"] == "tiny"
    assert record.parameters["device"] == "CPUExecutionProvider"


def test_labels_go_to_the_gradient_echo_and_to_the_template_with_the_visits_transforms(visit):
    visit.add("MEGRE", visit.t1w, moved=4.0)
    # A point of the template lies 2 mm further to the left in the reference.
    displacement = np.zeros((*SHAPE, 3), dtype=np.float32)
    displacement[..., 0] = -2.0
    warp = visit.folder / "warp.nii.gz"
    save_itk_warp(warp, displacement, AFFINE, np.eye(4))
    visit.registered.add(warp, "warp", space="MNI", matrix=np.eye(4).tolist())
    save_model(visit.models, "tiny", *above(50.0))
    record = visit.run("tiny", gradient_echoes=["MEGRE"])
    assert np.argwhere(labels_in(record, "MEGRE")).mean(axis=0) == pytest.approx([9.5, 7.5, 7.5])
    (item,) = record.find("template-labels", space="MNI")
    carried = load_volume(item["path"], dtype=None).data
    assert np.argwhere(carried).mean(axis=0) == pytest.approx([8.5, 7.5, 7.5])


def test_an_image_comes_to_the_reference_by_its_transform_before_the_network_sees_it(visit):
    visit.add("FLAIR", visit.t1w, moved=4.0)
    save_model(visit.models, "tiny", *above(50.0), inputs=[FLAIR])
    found = labels_in(visit.run("tiny"))
    # The cube of the FLAIR's own grid, two voxels further to the left in the reference.
    assert np.argwhere(found).mean(axis=0) == pytest.approx([5.5, 7.5, 7.5])
    assert found.sum() == 64


def test_maps_of_probability_and_doubt_are_saved_where_asked_for(visit):
    card = save_model(visit.models, "tiny", *above(50.0))
    edit_card(visit.models, "tiny", grid={**card["grid"], "mirror": [0]})
    record = visit.run("tiny", probabilities=True)
    probability = load_volume(record.path("probability")).data
    assert probability[LESION] == pytest.approx(1.0, abs=1e-4)
    assert record.path("probability").name == "sub-01_space-T1w_label-bright_desc-tiny_probseg.nii.gz"
    # A convolution of one voxel says the same of the mirrored image, and is sure of it.
    assert load_volume(record.path("disagreement")).data.max() == pytest.approx(0.0, abs=1e-4)
    assert load_volume(record.path("entropy")).data.max() == pytest.approx(0.0, abs=1e-4)
    assert visit.run("tiny").find("probability") == []
    assert not (visit.anat / record.path("probability").name).exists()


def test_doubt_lies_where_the_mirrored_passes_differ(visit):
    weight, bias = above(50.0)
    # Each voxel is judged by its neighbour to the right: in the mirrored image, by that to the left.
    aside = np.zeros((2, 1, 3, 1, 1), dtype=np.float32)
    aside[:, :, 2] = weight[:, :, 0]
    card = save_model(visit.models, "tiny", aside, bias)
    edit_card(visit.models, "tiny", grid={**card["grid"], "mirror": [0]})
    record = visit.run("tiny")
    differ = np.zeros(SHAPE, dtype=bool)
    differ[[5, 6, 9, 10], 6:10, 6:10] = True
    for role in ("disagreement", "entropy"):
        doubt = load_volume(record.path(role)).data
        assert doubt[differ] == pytest.approx(1.0, abs=1e-3)
        assert doubt[~differ] == pytest.approx(0.0, abs=1e-3)


def test_lesions_are_listed_with_their_volume_and_place(visit):
    visit.t1w[2:4, 2:4, 2:4] = 100
    save_volume(visit.folder / "T1w.nii.gz", visit.t1w, AFFINE)
    save_model(visit.models, "tiny", *above(50.0), **LESIONS)
    record = visit.run("tiny")
    large, small = rows_of(record.path("lesions"))
    assert (large["voxels"], small["voxels"]) == ("64", "8")
    assert [float(large[axis]) for axis in ("x_mm", "y_mm", "z_mm")] == pytest.approx([15, 15, 15])
    assert record.quality["tiny lesions"] == 2
    explained = load_json(record.path("lesions").with_suffix(".json"))
    assert list(large) == list(explained)


def test_lesions_of_several_labels_have_the_volume_of_each_which_is_explained_too(visit):
    visit.t1w[6:8, 6:10, 6:10] = 70
    save_volume(visit.folder / "T1w.nii.gz", visit.t1w, AFFINE)
    labels = {"outputs": {"labels": {"1": "oedema", "2": "core"}}, "lesions": True}
    save_model(visit.models, "tiny", *above(50.0, 80.0), **labels)
    record = visit.run("tiny")
    (row,) = rows_of(record.path("lesions"))
    assert (float(row["oedema_ml"]), float(row["core_ml"])) == pytest.approx((0.256, 0.256))
    explained = load_json(record.path("lesions").with_suffix(".json"))
    assert list(row) == list(explained)
    assert explained["core_ml"] == {"Description": "Volume of its part that is core", "Units": "ml"}


def test_probabilities_are_kept_only_for_what_reads_them(visit, monkeypatch):
    kept = []

    def spy(labels, spacing, steps, names, probabilities):
        kept.append(sorted(probabilities))
        return labels, []

    monkeypatch.setattr("voxelome.segmentation.postprocess.postprocess", spy)
    labels = {"outputs": {"labels": {"1": "whole", "2": "core"}}}
    nested = {"name": "hierarchy", "order": ["whole", "core"], "by": "probabilities"}
    save_model(visit.models, "tiny", *above(50.0, 80.0), postprocess=[{"name": "fill_holes"}], **labels)
    visit.run("tiny")
    edit_card(visit.models, "tiny", postprocess=[{"name": "fill_holes"}, nested])
    visit.run("tiny")
    edit_card(visit.models, "tiny", lesions=True)
    visit.run("tiny")
    assert kept == [[], [1], [1, 2]]


# --- what it is given


def test_a_visit_that_lacks_a_contrast_is_skipped_for_this_model_and_pays_nothing_for_it(visit):
    visit.add("T2w", visit.t1w)
    save_model(visit.models, "tiny", *above(50.0), inputs=[FLAIR, {**T1W, "enhanced": True}])
    # It is not even opened.
    (visit.models / "tiny" / "model.onnx").write_bytes(b"")
    record = visit.run("tiny")
    why = "it needs FLAIR, T1w with contrast agent, and there is T1w, T2w"
    assert record.skipped == [{"what": "tiny", "why": why}]
    assert record.outputs == []


def test_of_inputs_of_which_one_must_be_there_any_will_do_and_none_is_too_few(visit):
    inputs = [
        {**FLAIR, "need": "one"},
        {**T1W, "contrast": "T2w", "need": "one"},
        {**T1W, "need": "optional"},
    ]
    save_model(visit.models, "tiny", pointwise([0, 0, 0], [10, 10, 0]), [0.0, -500.0], inputs=inputs)
    record = visit.run("tiny")
    assert record.skipped == [{"what": "tiny", "why": "it needs FLAIR or T2w, and there is T1w"}]
    visit.add("T2w", visit.t1w)
    assert labels_in(visit.run("tiny")).sum() == 64


def test_an_optional_input_that_is_absent_is_zeros_and_that_is_said(visit):
    inputs = [T1W, {**FLAIR, "need": "optional"}]
    # Bright is where the T1w lies above 50 and the FLAIR is no brighter.
    save_model(visit.models, "tiny", pointwise([0, 0], [10, -10]), [0.0, -500.0], inputs=inputs)
    record = visit.run("tiny")
    assert labels_in(record).sum() == 64
    assert "There is no FLAIR; tiny sees zeros in its place." in record.done
    assert record.warnings == []
    visit.add("FLAIR", visit.t1w)
    assert not labels_in(visit.run("tiny")).any()


def test_of_several_images_of_one_contrast_the_first_is_taken_and_that_is_said(visit):
    visit.add("run-1_FLAIR", visit.t1w)
    visit.add("run-2_FLAIR", visit.t1w * 0)
    save_model(visit.models, "tiny", *above(50.0), inputs=[FLAIR])
    record = visit.run("tiny")
    assert labels_in(record).sum() == 64
    assert record.warnings == ["tiny: of run-1_FLAIR, run-2_FLAIR the first was taken."]


def test_an_image_with_contrast_agent_does_not_stand_for_one_without(visit):
    visit.add("ce-gadolinium_T1w", visit.t1w * 0 + np.arange(16, dtype=np.float32))
    save_model(visit.models, "tiny", *above(50.0))
    record = visit.run("tiny")
    assert labels_in(record).sum() == 64
    assert record.warnings == []


def test_a_visit_without_a_usable_reference_is_skipped(visit):
    visit.prepared.parameters["reference"] = ""
    save_model(visit.models, "tiny", *above(50.0))
    (said,) = visit.run("tiny").skipped
    assert said["why"] == "the visit has no usable reference image"


def test_intensities_that_no_tissue_has_are_a_warning_and_the_network_runs(visit):
    data = np.random.default_rng(0).uniform(15, 25, (32, 32, 32)).astype(np.float32)
    data[16, 16, 16] = 1e5
    visit.prepared.outputs, visit.registered.outputs = [], []
    visit.add("T1w", data)
    visit.prepared.add(save_volume(visit.folder / "b.nii.gz", data > 0, AFFINE), "brain")
    save_model(visit.models, "tiny", *above(50.0), inputs=[{"contrast": "T1w", "region": "image"}])
    record = visit.run("tiny")
    (said,) = record.warnings
    assert said.startswith("tiny: T1w: its brightest voxel is ")
    assert "standard deviations above the mean" in said
    assert record.find("labels")


# --- nothing found


def test_nothing_found_is_a_result_of_volume_0_without_lesions(visit):
    save_model(visit.models, "tiny", *above(1000.0), **LESIONS)
    record = visit.run("tiny", gradient_echoes=[], probabilities=True)
    assert not labels_in(record).any()
    assert record.quality["tiny lesion (ml)"] == 0
    assert record.quality["tiny lesions"] == 0
    assert rows_of(record.path("lesions")) == []
    assert record.path("lesions").read_text().startswith("lesion\t")
    assert record.warnings == []
    assert record.done[-1] == "tiny found nothing: an empty segmentation, which is a result."


def test_radiomics_says_that_a_region_in_which_nothing_was_found_has_no_voxel(visit):
    save_model(visit.models, "tiny", *above(1000.0), **LESIONS)
    visit.run("tiny")
    ExtractRadiomics(
        unit="sub-01",
        records=[str(visit.folder / name) for name in ("register.json", "network-tiny.json")],
        out_dir=str(visit.anat),
        record=str(visit.folder / "radiomics.json"),
    ).run()
    measured = StepRecord.load(visit.folder / "radiomics.json")
    said = {"what": "features of tiny-lesion in the space of T1w", "why": "the region has no voxel there"}
    assert said in measured.skipped
    table = visit.anat / "sub-01_desc-radiomics_features.tsv"
    assert {row["roi"] for row in rows_of(table)} == {"brain"}


# --- models that cannot be used


def test_a_model_that_was_not_fetched_is_answered_with_the_command_that_fetches_it(visit):
    with pytest.raises(
        InputError, match=r"the model is not there; run: voxelome-tools models fetch synlesion "
    ):
        visit.run("synlesion")


def truncated(path):
    path.write_bytes(path.read_bytes()[:-20])


def test_a_model_file_cut_short_is_refused_by_name(visit):
    save_model(visit.models, "tiny", *above(50.0))
    truncated(visit.models / "tiny" / "model.onnx")
    with pytest.raises(
        InputError, match=r"tiny/model.onnx: is damaged: its checksum is not the one in its card"
    ):
        visit.run("tiny")
    assert not (visit.folder / "network-tiny.json").exists()
    assert not visit.anat.exists()


def test_another_network_than_that_of_the_card_is_refused(visit):
    save_model(visit.models, "tiny", *above(50.0))
    save_model(visit.models, "other", *above(60.0))
    other = visit.models / "other" / "model.onnx"
    (visit.models / "tiny" / "model.onnx").write_bytes(other.read_bytes())
    with pytest.raises(InputError, match="its checksum is not the one in its card"):
        visit.run("tiny")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"outputs": {"labels": {"1": "a", "2": "b"}}}, "gives 2 channels, and its entry says 3"),
        ({"inputs": [T1W, {**FLAIR, "need": "optional"}]}, "takes 1 channels, and its entry says 2"),
        ({"outputs": {"labels": {"0": "a", "1": "b"}}}, "names the label 0"),
        ({"outputs": {}}, "the network tiny has no labels"),
        ({"postprocess": [{"name": "minimum_volume"}]}, "the step minimum_volume lacks ml"),
        ({"members": ["model.onnx", "absent.onnx"]}, "the card has no checksum of it"),
    ],
)
def test_a_network_that_does_not_match_its_card_is_refused_by_name(visit, changes, says):
    save_model(visit.models, "tiny", *above(50.0), **changes)
    with pytest.raises(InputError, match=f"models/tiny.*{says}"):
        visit.run("tiny")


@pytest.mark.parametrize("dull", ["T1w", "T2w"])
def test_an_image_without_contrast_is_refused_by_its_own_name(visit, dull):
    inputs = [{"contrast": name, "region": "image"} for name in ("FLAIR", "T1w", "T2w")]
    for name in ("FLAIR", "T1w", "T2w"):
        visit.add(name, visit.t1w if name != dull else np.full(SHAPE, 7, dtype=np.float32))
    save_model(visit.models, "tiny", pointwise([0, 0, 0], [1, 1, 1]), [0.0, 0.0], inputs=inputs)
    with pytest.raises(InputError, match=f"{dull} has no contrast") as refused:
        visit.run("tiny")
    assert refused.value.source.endswith(f"sub-01_{dull}.nii.gz")


def test_what_is_wrong_with_no_single_image_is_said_of_the_reference(visit):
    visit.add("FLAIR", visit.t1w)
    save_volume(visit.folder / "brain.nii.gz", np.zeros(SHAPE, dtype=bool), AFFINE)
    save_model(visit.models, "tiny", *above(50.0), inputs=[FLAIR], grid={"patch": [16, 16, 16]})
    with pytest.raises(InputError, match="the brain mask is empty") as refused:
        visit.run("tiny")
    assert refused.value.source.endswith("sub-01_T1w.nii.gz")


def test_a_network_whose_labels_have_another_size_than_its_image_is_refused(visit):
    weight, bias = above(50.0)
    half = helper.make_node("Conv", ["image", "w", "b"], ["y"], kernel_shape=[1, 1, 1], strides=[2, 2, 2])
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.float32(bias), "b")]
    path = visit.models / "tiny" / "model.onnx"
    save_model(visit.models, "tiny", weight, bias)
    checksum = save_graph(path, [half], constants, (1, 1, *"XYZ"), (1, 2, *"ABC"))
    edit_card(visit.models, "tiny", sha256={"model.onnx": checksum})
    with pytest.raises(InputError, match=r"gives an array of \(1, 2, 8, 8, 8\), not \(1, 2, 16, 16, 16\)"):
        visit.run("tiny")


def test_a_model_of_more_memory_than_there_is_is_refused_before_it_runs(visit, monkeypatch):
    monkeypatch.setattr(memory, "memory_free", lambda: 10**8)
    save_model(visit.models, "tiny", *above(50.0))
    with pytest.raises(InputError, match=r"needs about 0\.\d GB of memory, and 0\.1 GB are free"):
        visit.run("tiny")
