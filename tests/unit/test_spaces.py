"""Template spaces as users write them."""

from pathlib import Path

import pytest

from voxelome.bids.spaces import MNI, absolute_space, parse_space, parse_spaces
from voxelome.errors import InputError


@pytest.mark.parametrize(("text", "resolution"), [(MNI, 2), (f"{MNI}:res-1", 1), (f"{MNI}:res-2", 2)])
def test_the_template_that_comes_along_has_two_resolutions(text, resolution):
    space = parse_space(text)
    assert (space.name, space.resolution, space.path) == (MNI, resolution, "")


@pytest.mark.parametrize(
    ("name", "label", "mask"),
    [
        ("tpl-OASIS30_res-01_T1w.nii.gz", "OASIS30", "tpl-OASIS30_res-01_desc-brain_mask.nii.gz"),
        ("my_brain.nii.gz", "mybrain", "my_brain_desc-brain_mask.nii.gz"),
    ],
)
def test_a_templates_file_gives_the_space_its_name(tmp_path, name, label, mask):
    (tmp_path / name).touch()
    space = parse_space(str(tmp_path / name))
    assert (space.name, space.path) == (label, str(tmp_path / name))
    assert space.brain_mask == tmp_path / mask


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("MNI152NLin2009aSim", f"did you mean {MNI}"),
        (f"{MNI}:res-3", "no such resolution"),
        ("missing.nii.gz", "there is no such template"),
    ],
)
def test_a_space_that_does_not_exist_is_refused_with_what_there_is(text, says):
    with pytest.raises(InputError, match=says):
        parse_space(text)


def test_two_spaces_of_one_name_are_refused():
    with pytest.raises(InputError, match=f"two output spaces are called {MNI}"):
        parse_spaces([f"{MNI}:res-1", f"{MNI}:res-2"])


def test_a_relative_template_is_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "tpl-own_T1w.nii.gz").touch()
    monkeypatch.chdir(tmp_path)
    assert Path(parse_space("tpl-own_T1w.nii.gz").path).is_absolute()


def test_the_contrast_of_a_template_is_the_suffix_of_its_file(tmp_path):
    (tmp_path / "tpl-own_T2w.nii.gz").touch()
    assert parse_space(str(tmp_path / "tpl-own_T2w.nii.gz")).contrast == "T2w"
    assert parse_space(MNI).contrast == "T1w"


def test_a_template_in_a_studys_file_is_looked_for_beside_that_file(tmp_path):
    (tmp_path / "tpl-own_T1w.nii.gz").touch()
    assert absolute_space("tpl-own_T1w.nii.gz", tmp_path) == str(tmp_path / "tpl-own_T1w.nii.gz")
    assert absolute_space(f"{MNI}:res-1", tmp_path) == f"{MNI}:res-1"


def test_the_files_of_a_space_are_the_template_and_its_mask(tmp_path):
    template, mask = tmp_path / "tpl-own_T1w.nii.gz", tmp_path / "tpl-own_desc-brain_mask.nii.gz"
    template.touch()
    assert parse_space(str(template)).files == [template]
    mask.touch()
    assert parse_space(str(template)).files == [template, mask]
    assert parse_space(MNI).files == []
