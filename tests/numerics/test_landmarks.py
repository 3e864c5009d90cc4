"""A standard scale (Nyul): equal to another program's, and one that people who taught it are on."""

import json

import numpy as np
import pytest

from tests.shared import REAL, needs_real_data
from voxelome import tools
from voxelome.anat.landmarks import (
    PERCENTILES,
    StandardScale,
    apply_landmarks,
    landmarks_for,
    landmarks_of,
    learn_scale,
    load_scale,
    save_scale,
)
from voxelome.errors import DataError, InputError
from voxelome.imageio import load_volume, save_json, save_volume

# T1w of four visits, all that is above 0, by intensity-normalization 3.0.1, whose scale begins at 1: the
# scale, and mean and standard deviation of each image on it.
T1W = [
    ("sub-chris/anat/sub-chris_T1w", 40.08042461, 22.16216943),
    ("sub-ms01/ses-01/anat/sub-ms01_ses-01_T1w", 39.84298235, 23.07634666),
    ("sub-ms01/ses-02/anat/sub-ms01_ses-02_T1w", 39.82217653, 22.96819471),
    ("sub-du7294/anat/sub-du7294_T1w", 40.15197729, 22.5458455),
]
THEIRS = [1, 8.00785581, 18.06453007, 27.39732485, 36.17373314, 41.69292613, 45.83735175, 50.37834121]
THEIRS += [56.07989019, 66.91820945, 100]


def skewed(seed, power=1.0, size=4000):
    return 100 * np.random.default_rng(seed).gamma(3.0, size=size) ** power


def taught(*images, contrast="T1w"):
    return learn_scale(
        [(f"sub-{number}", contrast, landmarks_of(image)) for number, image in enumerate(images)], "study"
    )


@needs_real_data
def test_real_images_come_to_the_scale_of_another_program():
    images = [load_volume(REAL / f"{name}.nii.gz").data.astype(float) for name, _, _ in T1W]
    scale = np.array(taught(*(image[image > 0] for image in images)).contrasts["T1w"])
    assert 1 + 0.99 * scale == pytest.approx(THEIRS, rel=1e-8)
    for image, (_, mean, deviation) in zip(images, T1W, strict=True):
        brain = image > 0
        moved = 1 + 0.99 * apply_landmarks(image, brain, landmarks_of(image[brain]), scale)[brain]
        assert moved.mean(dtype=float) == pytest.approx(mean, rel=1e-6)
        assert moved.std(dtype=float) == pytest.approx(deviation, rel=1e-6)


def test_on_the_scale_an_image_has_the_landmarks_of_the_scale_whatever_its_own_were():
    standard = taught(*(skewed(seed) for seed in range(5))).contrasts["T1w"]
    assert standard[0] == 0
    assert standard[-1] == 100
    for power in (0.5, 1.0, 2.0):
        image = skewed(9, power).reshape(10, 20, 20)
        everywhere = np.ones(image.shape, dtype=bool)
        moved = apply_landmarks(image, everywhere, landmarks_of(image), standard)
        assert landmarks_of(moved) == pytest.approx(standard, rel=1e-3, abs=1e-3)
        assert np.corrcoef(np.argsort(image.ravel()), np.argsort(moved.ravel()))[0, 1] > 0.999
        # Nothing is clipped at the ends.
        assert moved.min() < 0
        assert moved.max() > 100


def test_the_scale_and_what_is_on_it_do_not_depend_on_gain_and_offset():
    images = [skewed(seed) for seed in range(4)]
    changed = [3.7 * image - 40 for image in images]
    standard, other = taught(*images).contrasts["T1w"], taught(*changed).contrasts["T1w"]
    assert standard == pytest.approx(other, rel=1e-9, abs=1e-9)
    everywhere = np.ones((10, 20, 20), dtype=bool)
    first, second = (
        apply_landmarks(image.reshape(everywhere.shape), everywhere, landmarks_of(image), standard)
        for image in (images[0], changed[0])
    )
    assert first == pytest.approx(second, rel=1e-4, abs=1e-4)


def test_images_of_one_participant_count_as_one():
    once = [(f"sub-{seed}", "T1w", landmarks_of(skewed(seed))) for seed in range(3)]
    assert learn_scale([*once, once[0], once[0]], "x").contrasts["T1w"] == pytest.approx(
        learn_scale(once, "x").contrasts["T1w"]
    )


def test_a_contrast_of_too_few_people_is_no_standard():
    found = [(f"sub-{seed}", "T1w", landmarks_of(skewed(seed))) for seed in range(3)]
    few = [("sub-9", "FLAIR", landmarks_of(skewed(9)))]
    scale = learn_scale([*found, *few], "x")
    assert list(scale.contrasts) == ["T1w"]
    assert "sub-9" not in scale.participants
    with pytest.raises(DataError, match="knows T1w, and not FLAIR"):
        landmarks_for(scale, "FLAIR")
    with pytest.raises(DataError, match="2 participants have images of one contrast; take 3 or more"):
        learn_scale(found[:2], "x")


def test_integers_of_few_levels_stay_in_order_and_a_constant_image_is_refused():
    standard = taught(*(skewed(seed) for seed in range(3))).contrasts["T1w"]
    coarse = np.repeat([0, 0, 0, 0, 1, 2, 3, 9], 125).reshape(10, 10, 10)
    everywhere = np.ones(coarse.shape, dtype=bool)
    moved = apply_landmarks(coarse, everywhere, landmarks_of(coarse), standard)
    levels = [moved[coarse == level].mean() for level in (0, 1, 2, 3, 9)]
    assert np.isfinite(levels).all()
    assert (np.diff(levels) > 0).all()
    with pytest.raises(DataError, match="nearly all voxels in the brain are 5"):
        landmarks_of(np.full(100, 5))
    with pytest.raises(DataError, match="no voxel"):
        landmarks_of(np.zeros(0))


def test_a_scale_is_read_as_it_was_written(tmp_path):
    scale = taught(*(skewed(seed) for seed in range(3)), contrast="ce-gadolinium_T1w")
    assert load_scale(save_scale(tmp_path / "scale.json", scale)) == scale


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"Contrasts": None}, "is no standard scale"),
        ({"Percentiles": [0, 100]}, "other percentiles"),
        ({"Percentiles": 3}, "other percentiles"),
        ({"Contrasts": [1, 2]}, "have no names"),
        ({"Participants": "sub-1"}, "have no names"),
        ({"Contrasts": {"T1w": [1, 2, 3]}}, "landmarks of T1w are not 11 numbers that rise"),
        ({"Contrasts": {"T1w": [0] * 11}}, "not 11 numbers that rise"),
        ({"Contrasts": {"T1w": "high"}}, "not 11 numbers that rise"),
    ],
)
def test_a_file_that_is_no_scale_is_refused_by_its_name(change, says, tmp_path):
    scale = StandardScale({"T1w": tuple(range(11))}, ("sub-1",), "x")
    path = save_scale(tmp_path / "scale.json", scale)
    content = json.loads(path.read_text()) | change
    save_json(path, {key: value for key, value in content.items() if value is not None})
    with pytest.raises(InputError, match=says) as found:
        load_scale(path)
    assert found.value.source == str(path)


@pytest.fixture
def finished(tmp_path):
    """Results of four participants, one of whom has two visits, with an image in a template's space."""
    out = tmp_path / "out"
    save_json(out / "dataset_description.json", {"Name": "voxelome derivatives of healthy"})
    for number, visits in enumerate([[""], [""], [""], ["ses-1", "ses-2"]]):
        for visit in visits:
            folder = out / f"sub-{number}" / visit / "anat"
            start = f"sub-{number}_{visit}_" if visit else f"sub-{number}_"
            image = skewed(number, size=1000).reshape(10, 10, 10)
            save_volume(folder / f"{start}desc-preproc_T1w.nii.gz", image, np.eye(4), {})
            about = {"SpatialReference": "the visit's T1w"}
            name = f"{start}ce-gadolinium_space-T1w_desc-preproc_T1w.nii.gz"
            save_volume(folder / name, image**2, np.eye(4), about)
            about = {"SpatialReference": "MNI"}
            name = f"{start}space-MNI_desc-preproc_T1w.nii.gz"
            save_volume(folder / name, np.sqrt(image), np.eye(4), about)
    return out


def test_the_command_learns_each_contrast_in_native_space_from_those_who_are_named(
    finished, tmp_path, capsys
):
    path = tmp_path / "scale.json"
    assert tools.main(["landmarks", str(finished), str(path), "--participants", "sub-0", "1", "3"]) == 0
    assert "learned from 3 participant(s) of healthy" in capsys.readouterr().out
    scale = load_scale(path)
    assert scale.participants == ("sub-0", "sub-1", "sub-3")
    assert scale.dataset == "healthy"
    expected = taught(*(skewed(number, size=1000) for number in (0, 1, 3)))
    assert scale.contrasts["T1w"] == pytest.approx(expected.contrasts["T1w"], rel=1e-5, abs=1e-5)
    assert list(scale.contrasts) == ["T1w", "ce-gadolinium_T1w"]
    assert len(scale.contrasts["T1w"]) == len(PERCENTILES)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{out}", "{scale}", "--participants", "0", "1"], "2 participants have images of one contrast"),
        (["{out}", "{scale}", "--participants", "nobody"], "has no sub-nobody"),
        (["{out}/none", "{scale}"], "there is no such folder"),
        (["{out}/sub-0", "{scale}"], "dataset_description.json"),
    ],
)
def test_the_command_refuses_what_is_no_standard(arguments, says, finished, tmp_path, capsys):
    words = [word.format(out=finished, scale=tmp_path / "scale.json") for word in arguments]
    assert tools.main(["landmarks", *words]) == 3
    assert says in capsys.readouterr().err
    assert not (tmp_path / "scale.json").exists()
