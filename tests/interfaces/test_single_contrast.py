"""A visit with a single contrast works, whichever it is: its brain is found in that image."""

from pathlib import Path

import numpy as np
import pytest

from voxelome.imageio import load_json, load_volume
from voxelome.interfaces import PreprocessSession, RegisterSession
from voxelome.orientation import to_canonical
from voxelome.phantom.cohort import make_cohort
from voxelome.registration.resample import resample
from voxelome.segmentation.cards import default_models_dir
from voxelome.step import StepRecord


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    make_cohort(folder, participants=1, sites=1, spacing=2.0)
    return folder


# On T2w deepbet's mask takes in fluid around the brain, which the ensemble sees; FLAIR has slices of 4 mm.
@pytest.mark.parametrize(
    ("label", "method", "overlap", "light"),
    [
        ("ce-gadolinium_T1w", "deepbet", 0.95, ""),
        ("T2w", "deepbet", 0.90, ""),
        ("T2w", "ensemble", 0.935, "amber"),
        ("FLAIR", "ensemble", 0.96, "green"),
    ],
)
def test_the_brain_of_a_visit_with_one_contrast_is_found_in_it(
    cohort, tmp_path, label, method, overlap, light
):
    raw = cohort / "sub-01" / "anat" / f"sub-01_{label}.nii.gz"
    PreprocessSession(
        unit="sub-01",
        record=str(tmp_path / "preprocess.json"),
        images=[str(raw)],
        labels=[label],
        references=[label],
        brain_extraction=method,
        models_dir=str(default_models_dir()),
        out_dir=str(tmp_path / "prepared"),
    ).run()
    prepared = StepRecord.load(tmp_path / "preprocess.json")
    found = load_volume(prepared.path("brain"), dtype=None)
    truth = cohort / "derivatives" / "truth" / "sub-01" / "anat"
    motion = load_json(truth / "sub-01_from-T1w_to-images_mode-image_xfm.json")["Transforms"][label]
    drawn = load_volume(truth / "sub-01_desc-brain_mask.nii.gz", dtype=None)
    mask, affine = to_canonical(drawn.data, drawn.affine)
    back = np.linalg.inv(np.array(motion))
    brain = resample(mask, affine, found.data.shape, found.affine, matrix=back, order="nearest") > 0
    inside = found.data > 0
    assert 2 * (brain & inside).sum() / (brain.sum() + inside.sum()) > overlap
    lights = {row["measure"]: row["light"] for row in prepared.checks}
    assert lights["brain volume"] == "green"
    assert lights.get("brain mask agreement", "") == light
    RegisterSession(
        unit="sub-01",
        record=str(tmp_path / "register.json"),
        prepared=str(tmp_path / "preprocess.json"),
        out_dir=str(tmp_path / "out"),
    ).run()
    registered = StepRecord.load(tmp_path / "register.json")
    assert [item["image"] for item in registered.find("image")] == [label]
