"""What preprocess makes of the files of a clinic: the wrong ones are named, the right ones are used."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from voxelome.errors import DataError, InputError
from voxelome.interfaces import PreprocessSession, pictures
from voxelome.registration.template import load_template
from voxelome.step import StepRecord

# A skull-stripped head needs no network to be found.
BRAIN, AFFINE, MASK = load_template(2)
BRAIN, MASK = (BRAIN[::2, ::2, ::2] * 1000).astype(np.float32), MASK[::2, ::2, ::2]
AFFINE = AFFINE @ np.diag([2, 2, 2, 1])


def write(
    path: Path, data: Any = BRAIN, affine: Any = AFFINE, *, qform: Any = None, codes: Any = (1, 1)
) -> Path:
    """Write an image whose qform may differ from its sform."""
    image = nib.Nifti1Image(np.asarray(data, dtype=np.float32), np.eye(4))
    image.set_qform(affine if qform is None else qform, code=codes[0])
    image.set_sform(affine, code=codes[1])
    nib.save(image, path)
    return path


@pytest.fixture
def preprocess(tmp_path: Path) -> Callable[..., StepRecord]:
    """Run the step on images given by label; without bias correction, to be fast."""

    def run(images: dict[str, Path], **more: Any) -> StepRecord:
        order = {"T1w": 0, "T2w": 1, "FLAIR": 2}
        if "references" not in more:
            more["references"] = sorted(images, key=lambda label: (order[label.split("_")[-1]], label))
        PreprocessSession(
            images=[str(path) for path in images.values()],
            labels=list(images),
            models_dir=str(tmp_path),
            out_dir=str(tmp_path / "prepared"),
            unit="sub-01",
            record=str(tmp_path / "record.json"),
            **{"bias_correction": False, **more},
        ).run()
        return StepRecord.load(tmp_path / "record.json")

    return run


def sheared() -> Any:
    affine = AFFINE.copy()
    affine[0, 1] = 1.0
    return affine


def moved() -> Any:
    affine = AFFINE.copy()
    affine[0, 3] += 9
    return affine


MIRROR = np.diag([-1.0, 1, 1, 1])
WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("NaN", {"data": np.where(MASK, np.nan, BRAIN)}, "voxels are NaN or infinite", "export"),
    ("constant", {"data": np.full_like(BRAIN, 7)}, "every voxel is 7", "export"),
    ("four-dimensional", {"data": np.stack([BRAIN] * 2, -1)}, r"is 4D .*\(2 volumes\)", "one 3D volume"),
    ("two-dimensional", {"data": BRAIN[:, :, 20]}, "is 2D", "one 3D volume"),
    ("tiny", {"data": BRAIN[:, :, 20:25]}, "has shape", "at least 8 voxels"),
    (
        "huge voxels",
        {"affine": AFFINE @ np.diag([10, 10, 10, 1])},
        "its voxels are 40 x 40 x 40 mm",
        "header",
    ),
    (
        "no voxel size",
        {"affine": np.diag([0.0, 4, 4, 1]), "qform": AFFINE, "codes": (0, 1)},
        "its voxels are 0 x 4 x 4 mm",
        "header",
    ),
    ("sheared", {"affine": sheared(), "codes": (0, 1)}, "not at right angles", "header"),
    ("orientation unknown", {"codes": (0, 0)}, "left and right are not known", "DICOM"),
    ("moved qform", {"qform": moved()}, "mm apart", "sform"),
    ("mirrored qform", {"qform": MIRROR @ AFFINE}, "disagree on which side is left", "qform"),
]


@pytest.mark.parametrize(("options", "problem", "remedy"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_a_file_that_is_wrong_in_one_way_is_refused_by_name_with_a_remedy(
    preprocess, tmp_path, options, problem, remedy
):
    path = write(tmp_path / "sub-01_T1w.nii.gz", **options)
    with pytest.raises(InputError, match=problem) as refused:
        preprocess({"T1w": path})
    assert refused.value.source == str(path)
    assert remedy in refused.value.remedy


def test_colours_and_complex_numbers_are_refused(preprocess, tmp_path):
    colours = np.zeros(BRAIN.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    for name, data, says in (
        ("colours", colours, "holds values of type"),
        ("complex", BRAIN.astype(np.complex64), "holds complex numbers"),
    ):
        path = tmp_path / f"{name}_T1w.nii.gz"
        nib.save(nib.Nifti1Image(data, AFFINE), path)
        with pytest.raises(InputError, match=says):
            preprocess({"T1w": path})


def test_a_single_volume_with_four_dimensions_is_used(preprocess, tmp_path):
    record = preprocess({"T1w": write(tmp_path / "T1w.nii.gz", BRAIN[..., np.newaxis])})
    assert record.parameters["reference"] == "T1w"


def test_the_bias_field_is_shown_by_the_image_before_it_and_after(preprocess, tmp_path, monkeypatch):
    ramp = np.exp(np.linspace(-0.3, 0.3, BRAIN.shape[0], dtype=np.float32))[:, None, None]
    uneven = BRAIN * ramp
    record = preprocess({"T1w": write(tmp_path / "T1w.nii.gz", uneven)}, bias_correction=True)
    drawn = []

    def spy(data: Any, *_: Any, **more: Any) -> bytes:
        drawn.append((data, more.get("window")))
        return str(len(drawn) - 1).encode()

    monkeypatch.setattr(pictures, "mosaic", spy)
    figures = {figure.title: figure for figure in pictures.figures_of({"preprocess": [record]})}
    shown = figures["Bias field of T1w"]
    assert shown.png
    assert shown.alternate
    (after, window), (before, same) = drawn[int(shown.png)], drawn[int(shown.alternate)]
    assert window == same
    np.testing.assert_allclose(before[MASK], uneven[MASK], rtol=0.02)
    taken = np.log(before[MASK] / after[MASK])
    assert np.corrcoef(taken, np.log(np.broadcast_to(ramp, MASK.shape)[MASK]))[0, 1] > 0.9


@pytest.mark.parametrize("form", ["sform", "qform"])
def test_the_setting_settles_a_disagreement_of_the_headers_affines(preprocess, tmp_path, form):
    qform = moved()
    record = preprocess({"T1w": write(tmp_path / "T1w.nii.gz", qform=qform)}, affine=form)
    used = nib.load(record.path("prepared", image="T1w")).affine
    np.testing.assert_allclose(used, qform if form == "qform" else AFFINE, atol=1e-4)
    assert record.parameters["affine of T1w"] == form


def test_the_other_images_of_a_visit_are_done_and_the_broken_one_is_noted(preprocess, tmp_path):
    broken = write(tmp_path / "T2w.nii.gz", BRAIN * np.nan)
    record = preprocess({"T1w": write(tmp_path / "T1w.nii.gz"), "T2w": broken})
    assert [item["image"] for item in record.find("prepared")] == ["T1w"]
    assert [item["path"] for item in record.problems] == [str(broken)]


def test_where_the_t1w_is_broken_the_flair_is_the_reference_and_it_is_said(preprocess, tmp_path):
    images = {
        "T1w": write(tmp_path / "T1w.nii.gz", BRAIN * np.nan),
        "FLAIR": write(tmp_path / "FLAIR.nii.gz"),
    }
    record = preprocess(images)
    assert record.parameters["reference"] == "FLAIR"
    assert "FLAIR is the reference, because T1w cannot be used." in record.warnings


def test_of_a_reference_that_fails_half_way_nothing_is_kept(preprocess, tmp_path, monkeypatch):
    def fail_on_first(data: Any, affine: Any, mask: Any) -> Any:
        monkeypatch.setattr("voxelome.anat.bias.correct_bias", lambda data, *_: (data, np.exp(data * 0)))
        raise DataError("has no signal in the mask", "check it")

    monkeypatch.setattr("voxelome.anat.bias.correct_bias", fail_on_first)
    eroded = np.where(ndimage.binary_erosion(MASK, iterations=3), BRAIN, 0)
    images = {"T1w": write(tmp_path / "T1w.nii.gz", eroded), "FLAIR": write(tmp_path / "FLAIR.nii.gz")}
    record = preprocess(images, bias_correction=True)
    assert record.parameters["reference"] == "FLAIR"
    (brain,) = record.find("brain")
    assert brain["image"] == "FLAIR"
    assert [check["image"] for check in record.checks] == ["FLAIR"]
    (problem,) = record.problems
    assert problem["path"] == str(images["T1w"])


def test_a_visit_without_any_usable_image_is_refused_and_all_files_are_named(preprocess, tmp_path):
    images = {
        "T1w": write(tmp_path / "T1w.nii.gz", BRAIN * np.nan),
        "FLAIR": write(tmp_path / "FLAIR.nii.gz", BRAIN * 0),
    }
    with pytest.raises(InputError, match=r"T1w.nii.gz: .*NaN.*FLAIR.nii.gz"):
        preprocess(images)


def test_a_visit_of_phase_alone_is_refused(preprocess):
    with pytest.raises(InputError, match=r"sub-01: has gradient-echo phase and no magnitude.*add part-mag"):
        preprocess({})


def test_a_slab_is_not_the_reference_where_another_image_holds_the_whole_head(preprocess, tmp_path):
    slab = AFFINE.copy()
    slab[:3, 3] += 4 * 15 * np.array([0, 0, 1])
    images = {
        "T1w": write(tmp_path / "T1w.nii.gz", BRAIN[:, :, 15:30], slab),
        "FLAIR": write(tmp_path / "FLAIR.nii.gz"),
    }
    record = preprocess(images)
    assert record.parameters["reference"] == "FLAIR"
    assert any("T1w does not hold a whole head" in warning for warning in record.warnings)
    assert len(record.find("prepared")) == 2


def ghosted(data: Any) -> Any:
    """Image in whose acquisition the head moved: a third of the lines come from a shifted head."""
    lines, moved = (np.fft.fft(item, axis=1) for item in (data, ndimage.shift(data, (0, 3, 1))))
    lines[:, ::3] = moved[:, ::3]
    return np.abs(np.fft.ifft(lines, axis=1)).astype(np.float32) * MASK


@pytest.mark.parametrize("better", ["run-1_T1w", "run-2_T1w"])
def test_of_two_runs_the_one_without_motion_is_the_reference_and_both_are_kept(preprocess, tmp_path, better):
    images = {
        label: write(tmp_path / f"{label}.nii.gz", BRAIN if label == better else ghosted(BRAIN))
        for label in ("run-1_T1w", "run-2_T1w")
    }
    record = preprocess(images)
    assert record.parameters["reference"] == better
    assert {item["image"] for item in record.find("prepared")} == set(images)
    assert any(better in sentence and "comes before" in sentence for sentence in record.done)


def test_of_two_runs_the_one_with_clearly_longer_voxels_is_not_the_reference(preprocess, tmp_path):
    coarse = BRAIN[:, :, : BRAIN.shape[2] // 2 * 2].reshape(*BRAIN.shape[:2], -1, 2).mean(axis=-1)
    images = {
        "run-1_T1w": write(tmp_path / "1.nii.gz", coarse, AFFINE @ np.diag([1, 1, 2, 1])),
        "run-2_T1w": write(tmp_path / "2.nii.gz", ghosted(BRAIN)),
    }
    assert preprocess(images).parameters["reference"] == "run-2_T1w"


def test_a_brain_mask_that_the_user_gives_is_used_as_it_is(preprocess, tmp_path):
    mask = ndimage.binary_erosion(MASK, iterations=2)
    given = write(tmp_path / "desc-brain_mask.nii.gz", mask)
    record = preprocess({"T1w": write(tmp_path / "T1w.nii.gz")}, brain_masks=[str(given)])
    np.testing.assert_array_equal(nib.load(record.path("brain")).get_fdata() > 0, mask)
    assert record.parameters["brain mask"] == "given by the user"


def test_a_brain_mask_on_another_grid_is_refused(preprocess, tmp_path):
    given = write(tmp_path / "desc-brain_mask.nii.gz", MASK[1:])
    with pytest.raises(InputError, match="not on the grid"):
        preprocess({"T1w": write(tmp_path / "T1w.nii.gz")}, brain_masks=[str(given)])


def test_where_only_given_masks_are_allowed_a_visit_without_one_is_refused(preprocess, tmp_path):
    with pytest.raises(InputError, match="the visit has no brain mask"):
        preprocess({"T1w": write(tmp_path / "T1w.nii.gz")}, brain_extraction="given")


def test_the_volume_of_the_brain_has_a_light(preprocess, tmp_path):
    record = preprocess({"T1w": write(tmp_path / "T1w.nii.gz")})
    (check,) = record.checks
    assert (check["measure"], check["light"]) == ("brain volume", "green")
    small = write(tmp_path / "small.nii.gz", affine=AFFINE @ np.diag([0.7, 0.7, 0.7, 1]))
    record = preprocess({"T1w": small})
    assert record.checks[0]["light"] == "red"
    assert "look at its outline" in record.warnings[-1]


def test_the_magnitude_of_real_and_imaginary_images_is_prepared(preprocess, tmp_path):
    angle = np.random.default_rng(0).uniform(-np.pi, np.pi, BRAIN.shape)
    real = write(tmp_path / "real.nii.gz", BRAIN * np.cos(angle))
    imaginary = write(tmp_path / "imag.nii.gz", BRAIN * np.sin(angle))
    record = preprocess(
        {"T1w": write(tmp_path / "T1w.nii.gz"), "MEGRE": real},
        references=["T1w"],
        complex_labels=["MEGRE"],
        imaginary=[str(imaginary)],
    )
    made = nib.load(record.path("prepared", image="MEGRE")).get_fdata()
    np.testing.assert_allclose(made, BRAIN, atol=0.01 * BRAIN.max())
