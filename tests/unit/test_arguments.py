"""The command line refuses what would hurt, in one line."""

from pathlib import Path

import pytest

from voxelome.app.arguments import check_folders, match_labels, parse, parse_derivatives
from voxelome.errors import InputError


def options(*arguments):
    return parse([str(argument) for argument in arguments])[0]


def test_an_output_inside_the_dataset_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="lies inside BIDS_DIR"):
        check_folders(options(tmp_path, tmp_path / "derivatives" / "out", "participant"))


def test_a_work_folder_inside_the_dataset_is_refused(tmp_path: Path):
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="work-dir"):
        check_folders(options(tmp_path / "in", tmp_path / "out", "group", "-w", tmp_path / "in" / "work"))


def test_an_output_that_reaches_the_dataset_through_a_link_is_refused(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(InputError, match="lies inside BIDS_DIR"):
        check_folders(options(tmp_path / "in", tmp_path / "link" / "out", "participant"))


def test_a_missing_dataset_is_an_input_error(tmp_path: Path):
    with pytest.raises(InputError, match="no such folder"):
        check_folders(options(tmp_path / "nowhere", tmp_path / "out", "participant"))


def test_what_follows_two_dashes_goes_to_snakemake():
    own, extra = parse(["in", "out", "group", "--nprocs", "2", "--", "--notemp"])
    assert (own.nprocs, extra) == (2, ["--notemp"])


def test_labels_are_taken_with_and_without_their_prefix():
    assert match_labels(["sub-01", "02", "01"], ["01", "02"], "sub-", Path("in")) == ["01", "02"]


def test_an_unknown_label_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean sub-chris"):
        match_labels(["cris"], ["chris", "ms01"], "sub-", Path("in"))


def test_derivatives_have_a_name_of_their_own(tmp_path: Path):
    (tmp_path / "masks").mkdir()
    assert list(parse_derivatives([f"lesions={tmp_path / 'masks'}", str(tmp_path / "masks")])) == [
        "lesions",
        "masks",
    ]
    with pytest.raises(InputError, match="given twice"):
        parse_derivatives([f"a={tmp_path}", f"a={tmp_path}"])


@pytest.mark.parametrize("wrong", [["--nprocs", "0"], ["--random-seed", "-1"], ["--stages", "magic"]])
def test_wrong_usage_ends_with_code_2(wrong, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["in", "out", "participant", *wrong])
    assert stop.value.code == 2
