"""A step leaves one record, and its command line comes from its specification."""

import re
from pathlib import Path

import numpy as np
import pytest

import voxelome
from voxelome.errors import InputError
from voxelome.interfaces import ReconstructQSM
from voxelome.interfaces import __all__ as names
from voxelome.step import StepRecord, build_parser, files_made, recording, run_step


def test_a_record_survives_moving_its_folder(tmp_path: Path):
    first = tmp_path / "first"
    (first / "images").mkdir(parents=True)
    (first / "images" / "a.nii.gz").touch()
    record = StepRecord("qsm", "sub-01")
    record.add(first / "images" / "a.nii.gz", "map", image="Chimap")
    record.save(first / "steps" / "qsm.json")
    first.rename(tmp_path / "second")
    moved = StepRecord.load(tmp_path / "second" / "steps" / "qsm.json")
    assert moved.path("map", image="Chimap") == tmp_path / "second" / "images" / "a.nii.gz"


def test_a_step_that_fails_leaves_no_record(tmp_path: Path):
    with pytest.raises(InputError), recording("qsm", "sub-01", tmp_path / "qsm.json"):
        raise InputError("a", "is wrong", "mend it")
    assert not (tmp_path / "qsm.json").exists()


def test_a_record_names_the_programs_that_were_there_and_no_other(tmp_path: Path):
    with recording("qsm", "sub-01", tmp_path / "qsm.json"):
        pass
    software = StepRecord.load(tmp_path / "qsm.json").software
    assert software["numpy"] == np.__version__
    assert software["voxelome"] == voxelome.__version__
    assert all(re.match(r"\d", version) for version in software.values())


@pytest.mark.parametrize("removed", [False, True])
def test_files_that_a_step_no_longer_makes_are_removed_with_their_sidecars(tmp_path: Path, removed: bool):
    for name in ("old.nii.gz", "old.json", "kept.nii.gz"):
        (tmp_path / name).touch()
    with recording("qsm", "sub-01", tmp_path / "qsm.json") as record:
        record.add(tmp_path / "old.nii.gz", "map")
        record.add(tmp_path / "kept.nii.gz", "map")
    if removed:
        # As Snakemake does before it runs a step again.
        (tmp_path / "qsm.json").unlink()
    assert files_made(tmp_path / "qsm.json") == {tmp_path / "old.nii.gz", tmp_path / "kept.nii.gz"}
    with recording("qsm", "sub-01", tmp_path / "qsm.json") as record:
        record.add(tmp_path / "kept.nii.gz", "map")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".qsm.made", "kept.nii.gz", "qsm.json"]


def test_the_command_line_shows_every_input_with_its_description():
    text = "".join(build_parser(ReconstructQSM).format_help().split())
    for name, trait in ReconstructQSM.input_spec().traits(transient=None).items():
        assert f"--{name.replace('_', '-')}" in text
        assert "".join(str(trait.desc).split()) in text


@pytest.mark.parametrize("name", names)
def test_every_step_has_a_command_line_and_every_input_a_description(name: str):
    import voxelome.interfaces

    interface = getattr(voxelome.interfaces, name)
    assert build_parser(interface).format_help()
    assert all(trait.desc for trait in interface.input_spec().traits(transient=None).values())


def test_bad_input_of_a_step_is_one_line_and_code_3(tmp_path: Path, capsys):
    registered = StepRecord("register", "sub-01").save(tmp_path / "register.json")
    (tmp_path / "mag.nii.gz").write_bytes(b"no image")
    line = (
        f"--unit sub-01 --label MEGRE --magnitude {tmp_path}/mag.nii.gz --phase --echo-times 0.01 "
        f"--registered {registered} --out-dir {tmp_path} --record {tmp_path}/qsm.json"
    )
    code = run_step(ReconstructQSM, line.split())
    printed = capsys.readouterr().err.strip().splitlines()
    assert code == 3
    assert len(printed) == 1
    assert "mag.nii.gz" in printed[0]
