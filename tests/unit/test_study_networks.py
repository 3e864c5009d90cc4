"""A study with networks is checked before anything runs: its models are there, its names mean something."""

import shlex
import shutil

import numpy as np
import pytest
import yaml

from tests.model_folders import above, save_case_model, save_model
from voxelome.app.arguments import check_folders, parse
from voxelome.app.standing import settings_digest
from voxelome.app.study import open_study
from voxelome.errors import InputError
from voxelome.imageio import save_json, save_volume
from voxelome.images import default_images_dir
from voxelome.step import StepRecord

CT = [{"contrast": "ct", "rule": "window", "region": "image", "windows": [[40.0, 80.0]]}]


class Clinic:
    """A dataset of small images, masks by raters, and a models folder."""

    def __init__(self, folder):
        self.folder, self.raw, self.masks = folder, folder / "raw", folder / "masks"
        self.models = folder / "models"
        for root in (self.raw, self.masks):
            save_json(root / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.10.0"})
        save_json(self.models / "deepbet" / "card.json", {"name": "deepbet", "task": "brain extraction"})

    def add(self, subject, *raters, suffix="T1w"):
        data = np.ones((2, 2, 2), dtype=np.uint8)
        save_volume(self.raw / f"sub-{subject}/anat/sub-{subject}_{suffix}.nii.gz", data, np.eye(4))
        for rater in raters:
            name = f"sub-{subject}/anat/sub-{subject}_desc-{rater}_dseg.nii.gz"
            save_volume(self.masks / name, data, np.eye(4))

    def open(self, *more, stages=("preprocess", "segment"), brain_extraction="deepbet", **segment):
        """Open a study with these settings of segment."""
        path = self.folder / "study.yaml"
        preprocess = {"brain_extraction": brain_extraction}
        content = {"stages": list(stages), "preprocess": preprocess, "segment": segment}
        path.write_text(yaml.safe_dump(content))
        more = [
            "--models-dir",
            self.models,
            "--config-file",
            path,
            "--derivatives",
            f"masks={self.masks}",
            *more,
        ]
        return self.call("participant", *more)

    def call(self, level, *more):
        """Open a study with the command line's own settings."""
        options, _ = parse([str(item) for item in (self.raw, self.folder / "out", level, *more)])
        check_folders(options)
        return open_study(options)


@pytest.fixture
def clinic(tmp_path):
    clinic = Clinic(tmp_path)
    clinic.add("01", "one", "two")
    return clinic


def test_models_that_are_there_are_accepted(clinic):
    save_model(clinic.models, "tiny", *above(1.0))
    assert clinic.open(models=["tiny"]).config["segment"]["models"] == ["tiny"]


def test_a_model_that_was_not_fetched_is_refused_with_the_command_that_fetches_it(clinic):
    with pytest.raises(InputError) as refused:
        clinic.open(models=["meshnet18"])
    command = ["voxelome-tools", "models", "fetch", "meshnet18", "--models-dir", str(clinic.models)]
    assert refused.value.remedy == f"run: {shlex.join(command)}"
    with pytest.raises(InputError, match=r"models fetch mine .*--registry YOUR_REGISTRY\.yaml"):
        clinic.open(models=["mine"])


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
    ],
)
def test_a_model_that_is_damaged_is_refused_with_the_command_that_fetches_it_again(clinic, damage):
    save_model(clinic.models, "tiny", *above(1.0))
    damage(clinic.models / "tiny" / "model.onnx")
    with pytest.raises(InputError, match=r"model.onnx is missing or is not what card.json says") as refused:
        clinic.open(models=["tiny"])
    assert "remove the folder, then run: voxelome-tools models fetch tiny" in refused.value.remedy


def test_models_are_not_asked_for_where_nothing_is_segmented_or_measured(clinic):
    study = clinic.open(models=["mine"], fusions=[{"name": "x", "of": ["a", "b"]}], stages=["preprocess"])
    assert settings_digest(study)


def test_what_radiomics_measures_is_checked_where_segment_is_not_asked_for(clinic):
    with pytest.raises(InputError, match="mine: the model is not there"):
        clinic.open(models=["mine"], stages=["radiomics"])
    with pytest.raises(InputError, match="there is no mask or network 'tow'"):
        clinic.open(stages=["radiomics"], **fusion("one", "tow"))


def test_where_brain_masks_are_given_no_model_of_brain_extraction_is_needed(clinic):
    (clinic.models / "deepbet" / "card.json").unlink()
    with pytest.raises(InputError, match="deepbet: the model is not there"):
        clinic.open()
    assert settings_digest(clinic.open(brain_extraction="given"))


def test_the_group_finds_models_and_images_where_the_participant_level_had_them(clinic):
    images = clinic.folder / "images"
    images.mkdir()
    clinic.open("--images-dir", images)
    StepRecord("segment", "sub-01").save(clinic.folder / "out/.voxelome/steps/sub-01/segment.json")
    StepRecord("preprocess", "sub-01").save(clinic.folder / "out/.voxelome/steps/sub-01/preprocess.json")
    stages = ("--stages", "preprocess", "segment")
    config = clinic.call("group", *stages).config
    assert (config["models_dir"], config["images_dir"]) == (str(clinic.models), str(images))
    shutil.move(images, clinic.folder / "moved")
    assert clinic.call("group", *stages).config["images_dir"] == str(default_images_dir())


def test_a_network_that_finds_brains_is_not_one_that_segment_runs(clinic):
    with pytest.raises(InputError, match="deepbet: finds brains, which preprocess does"):
        clinic.open(models=["deepbet"])


def fusion(*of, name="fused"):
    return {"fusions": [{"name": name, "of": list(of)}]}


def test_masks_networks_and_fusions_have_names_that_fusions_and_comparisons_may_use(clinic):
    save_model(clinic.models, "tiny", *above(1.0), lesions=True)
    clinic.open(models=["tiny"], **fusion("one", "two", "tiny"), compare=["fused", "tiny", "one"])


def test_a_network_of_structures_may_be_fused_and_is_not_compared(clinic):
    save_model(clinic.models, "tiny", *above(1.0))
    clinic.open(models=["tiny"], **fusion("one", "tiny"))
    with pytest.raises(
        InputError, match=r"segment: compare: the network tiny finds no lesions.*; take it out"
    ):
        clinic.open(models=["tiny"], compare=["tiny"])


@pytest.mark.parametrize(
    ("segment", "says"),
    [
        (fusion("one", "tow"), "segment: fusions: there is no mask or network 'tow'; did you mean two?"),
        (
            {"compare": ["lesion"]},
            "segment: compare: there is no mask or network 'lesion'; there are: one, two",
        ),
        (fusion("one", "two", name="one"), "segment: fusions: one is a name already"),
        ({"fusions": fusion("one", "two")["fusions"] * 2}, "segment: fusions: fused is a name already"),
    ],
)
def test_names_that_mean_nothing_or_two_things_are_refused(clinic, segment, says):
    with pytest.raises(InputError, match=says):
        clinic.open(**segment)


def test_a_network_of_the_name_of_masks_would_overwrite_them_and_is_refused(clinic):
    save_model(clinic.models, "one", *above(1.0))
    with pytest.raises(InputError, match="segment: models: one is the name of masks that are given, too"):
        clinic.open(models=["one"])


def test_a_mask_that_only_another_subject_has_is_known_in_a_run_over_one_subject(clinic):
    clinic.add("02", "three")
    clinic.open("--participant-label", "01", **fusion("one", "three"), compare=["three"])


def test_what_gives_no_labels_of_a_reference_is_neither_fused_nor_compared(clinic):
    save_model(clinic.models, "bleed", *above(1.0), inputs=CT)
    save_case_model(clinic.models, "age", [8, 8, 8], task="regression", outputs={"outcome": "age"})
    with pytest.raises(InputError, match="segment: compare: the network age gives no labels"):
        clinic.open(models=["age"], compare=["age"])
    with pytest.raises(InputError, match="segment: fusions: the network bleed works on CT"):
        clinic.open(models=["bleed"], **fusion("one", "bleed"))


def test_a_dataset_of_ct_alone_needs_no_model_of_brain_extraction(tmp_path):
    clinic = Clinic(tmp_path)
    (clinic.models / "deepbet" / "card.json").unlink()
    clinic.add("01", suffix="ct")
    save_model(clinic.models, "bleed", *above(1.0), inputs=CT)
    (unit,) = clinic.open(models=["bleed"]).plan.values()
    assert not unit.mri
