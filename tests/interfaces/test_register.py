"""What registration makes of a visit: truth is known, and what cannot be trusted is named and left out."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from voxelome.anat.landmarks import StandardScale, landmarks_of, save_scale
from voxelome.errors import InputError
from voxelome.imageio import load_json, load_volume, save_volume
from voxelome.interfaces import CarryMasks, PreprocessSession, RegisterSession
from voxelome.phantom.cohort import make_cohort
from voxelome.registration.template import load_template
from voxelome.step import StepRecord

LABELS = ["T1w", "T2w", "FLAIR"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    make_cohort(folder, participants=1, sites=1, spacing=3.0)
    return folder


class Visit:
    """The images of a simulated participant, which a test may spoil, and the steps on them."""

    def __init__(self, cohort: Path, folder: Path) -> None:
        self.folder, self.truth = folder, cohort / "derivatives" / "truth" / "sub-01" / "anat"
        shutil.copytree(cohort / "sub-01" / "anat", folder / "raw")
        self.lesion = cohort / "derivatives/masks/sub-01/anat/sub-01_desc-lesion_dseg.nii.gz"

    def raw(self, label: str) -> Path:
        return self.folder / "raw" / f"sub-01_{label}.nii.gz"

    def change(self, label: str, change: Callable[[Any, Any], tuple[Any, Any]]) -> None:
        image = load_volume(self.raw(label))
        save_volume(self.raw(label), *change(image.data, image.affine))

    def prepare(self) -> str:
        record = self.folder / "preprocess.json"
        PreprocessSession(
            unit="sub-01",
            record=str(record),
            images=[str(self.raw(label)) for label in LABELS],
            labels=LABELS,
            references=LABELS,
            brain_masks=[str(self.truth / "sub-01_desc-brain_mask.nii.gz")],
            bias_correction=False,
            models_dir=str(self.folder),
            out_dir=str(self.folder / "prepared"),
        ).run()
        return str(record)

    def register(self, **options: Any) -> StepRecord:
        record = self.folder / "register.json"
        RegisterSession(
            unit="sub-01",
            record=str(record),
            prepared=self.prepare(),
            out_dir=str(self.folder / "out"),
            **options,
        ).run()
        return StepRecord.load(record)

    def brain(self) -> Any:
        """Brain on the grid of the T1w."""
        return load_volume(self.folder / "out" / "sub-01_desc-brain_mask.nii.gz").data > 0

    def error(self, record: StepRecord, label: str) -> float:
        """Mean distance in mm in the brain between the true and the found alignment."""
        truth = load_json(self.truth / "sub-01_from-T1w_to-images_mode-image_xfm.json")["Transforms"][label]
        found = np.array(record.find("matrix", image=label)[0]["matrix"])
        brain = load_volume(self.truth / "sub-01_desc-brain_mask.nii.gz")
        points = brain.affine @ np.insert(np.argwhere(brain.data > 0)[::20].T, 3, 1, axis=0)
        return float(np.linalg.norm(((found - truth) @ points)[:3], axis=0).mean())


@pytest.fixture
def visit(cohort: Path, tmp_path: Path) -> Visit:
    return Visit(cohort, tmp_path)


def lights(record: StepRecord, measure: str) -> dict[str, str]:
    return {row["image"]: row["light"] for row in record.checks if row["measure"] == measure}


def test_contrasts_come_to_the_reference_and_every_light_is_green(visit):
    record = visit.register()
    # Voxels of 3 mm; FLAIR has slices of 6 mm.
    assert visit.error(record, "T2w") < 0.5
    assert visit.error(record, "FLAIR") < 1.0
    (path,) = (Path(item["path"]) for item in record.find("quality"))
    rows = list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))
    assert {row["light"] for row in rows} == {"green"}
    assert {"brain volume", "inverse consistency", "mirrored fit"} <= {row["measure"] for row in rows}
    assert record.problems == record.warnings == []


def test_an_image_whose_header_exchanges_left_and_right_is_named_and_left_out(visit):
    visit.change("T2w", lambda data, affine: (data[::-1], affine))
    record = visit.register()
    (problem,) = record.problems
    assert problem["path"] == str(visit.raw("T2w"))
    assert "left and right exchanged" in problem["problem"]
    assert [item["image"] for item in record.find("image")] == ["T1w", "FLAIR"]
    assert not list((visit.folder / "out").glob("*T2w.nii.gz"))


def test_a_slab_comes_to_the_reference_and_the_part_that_it_lacks_is_a_light(visit):
    def slab(data: Any, affine: Any) -> tuple[Any, Any]:
        first = data.shape[2] // 3
        shifted = affine.copy()
        shifted[:3, 3] += affine[:3, 2] * first
        return data[:, :, first : 2 * first], shifted

    visit.change("T2w", slab)
    record = visit.register()
    assert visit.error(record, "T2w") < 1.0
    assert lights(record, "brain covered") == {"T2w": "red", "FLAIR": "green"}
    assert any("brain covered is" in warning for warning in record.warnings)


def test_an_affine_transform_is_fitted_where_it_is_asked_for(visit):
    stretch = np.diag([1.06, 0.95, 1.0, 1.0])
    visit.change("T2w", lambda data, affine: (data, stretch @ affine))
    found = {
        name: np.array(visit.register(transform=name).find("matrix", image="T2w")[0]["matrix"])
        for name in ("rigid", "affine")
    }
    volume = {name: np.linalg.det(matrix[:3, :3]) for name, matrix in found.items()}
    assert volume["rigid"] == pytest.approx(1, abs=1e-5)
    assert volume["affine"] == pytest.approx(1.06 * 0.95, abs=0.01)


@pytest.mark.parametrize(
    ("method", "units"), [("whitestripe", "white"), ("percentile", "percentile"), ("none", "")]
)
def test_the_normalisation_is_the_one_that_was_named_and_its_scale_is_in_the_sidecar(visit, method, units):
    record = visit.register(normalisation=method)
    for label in ("T1w", "FLAIR"):
        path = record.path("image", image=label)
        sidecar = load_json(str(path).replace(".nii.gz", ".json"))
        assert sidecar["Normalisation"] == method
        assert units in sidecar["Units"].lower()
        if label == "T1w":  # the reference is not interpolated
            before, after = load_volume(visit.folder / "prepared" / "T1w.nii.gz").data, load_volume(path).data
            expected = (before - sidecar["NormalisationOffset"]) / sidecar["NormalisationScale"]
            np.testing.assert_allclose(after[after != 0], expected[after != 0], rtol=1e-4, atol=1e-4)


def test_on_a_standard_scale_an_image_and_its_copy_in_a_template_have_the_landmarks_of_other_people(visit):
    standard = (0.0, 5.0, 12.0, 20.0, 30.0, 42.0, 55.0, 63.0, 70.0, 80.0, 100.0)
    scale = StandardScale({"T1w": standard, "T2w": standard}, ("sub-a", "sub-b", "sub-c"), "others")
    path = save_scale(visit.folder / "scale.json", scale)
    template, affine, mask = load_template(2)
    save_volume(visit.folder / "tpl-own_T1w.nii.gz", template, affine)
    save_volume(visit.folder / "tpl-own_desc-brain_mask.nii.gz", mask, affine)
    spaces = [str(visit.folder / "tpl-own_T1w.nii.gz")]
    record = visit.register(normalisation="nyul", landmarks=str(path), output_spaces=spaces)
    assert record.parameters["standard scale"] == "learned from 3 participants of others"
    # The scale was not learned for FLAIR, which is left out by name.
    assert [problem["path"] for problem in record.problems] == [str(visit.raw("FLAIR"))]
    assert "knows T1w, T2w, and not FLAIR" in record.problems[0]["problem"]
    for label in ("T1w", "T2w"):
        there = record.path("image", image=label)
        sidecar = load_json(str(there).replace(".nii.gz", ".json"))
        assert sidecar["Normalisation"] == "nyul"
        assert sidecar["NormalisationStandard"] == list(standard)
        assert "standard scale" in sidecar["Units"]
        assert landmarks_of(load_volume(there).data[visit.brain()]) == pytest.approx(standard, abs=0.2)
        carried = load_volume(record.path("template", image=label)).data
        assert np.median(carried[carried != 0]) == pytest.approx(standard[5], abs=4)


def test_a_template_that_the_user_names_gets_all_contrasts_and_labels_in_one_interpolation(visit):
    brain, affine, mask = load_template(2)
    template = visit.folder / "tpl-own_T1w.nii.gz"
    # Stored from right to left, as many templates are.
    flipped = affine @ np.array([[-1, 0, 0, brain.shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    save_volume(template, brain[::-1], flipped)
    save_volume(visit.folder / "tpl-own_desc-brain_mask.nii.gz", mask[::-1], flipped)
    record = visit.register(output_spaces=[str(template)], lesions=[str(visit.lesion)])
    assert [item["image"] for item in record.find("template")] == LABELS
    assert lights(record, "template overlap") == {"T1w to own": "green"}
    assert any("of lesions were left out" in sentence for sentence in record.done)
    images = [nib.load(item["path"]) for item in record.find("template")]
    assert {image.shape for image in images} == {brain.shape}
    # One deformation for all: gray levels of two contrasts of one tissue go together as on the reference.
    t1w, t2w = (image.get_fdata() for image in images[:2])
    inside = (t1w != 0) & (t2w != 0)
    native = [load_volume(item["path"]).data for item in record.find("image")[:2]]
    brain_voxels = (native[0] != 0) & (native[1] != 0)
    expected = np.corrcoef(native[0][brain_voxels], native[1][brain_voxels])[0, 1]
    assert np.corrcoef(t1w[inside], t2w[inside])[0, 1] == pytest.approx(expected, abs=0.08)
    CarryMasks(
        unit="sub-01",
        record=str(visit.folder / "segment.json"),
        masks=[str(visit.lesion)],
        names=["lesion"],
        label_tables=["n/a"],
        prepared=str(visit.folder / "preprocess.json"),
        registered=str(visit.folder / "register.json"),
        out_dir=str(visit.folder / "out"),
    ).run()
    labels = StepRecord.load(visit.folder / "segment.json")
    carried = load_volume(labels.path("template-labels", space="own"), dtype=None).data
    drawn = load_volume(visit.lesion, dtype=None)
    assert set(np.unique(carried)) == set(np.unique(drawn.data))
    # What lies in the lesion there is what lies in it here.
    own = load_volume(labels.path("labels", space="T1w"), dtype=None).data
    flair_here = load_volume(record.path("image", image="FLAIR")).data[own == 2].mean()
    flair_there = load_volume(record.path("template", image="FLAIR")).data[carried == 2].mean()
    assert flair_there == pytest.approx(flair_here, abs=0.25)


def test_a_template_with_a_skull_and_no_mask_beside_it_is_refused(visit):
    template = visit.folder / "tpl-own_T1w.nii.gz"
    shutil.copy(visit.raw("T1w"), template)
    with pytest.raises(InputError, match="is a template with a skull") as refused:
        visit.register(output_spaces=[str(template)])
    assert "tpl-own_desc-brain_mask.nii.gz" in refused.value.remedy
