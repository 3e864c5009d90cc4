"""Disks that are full, and folders and datasets that cannot be written: said in a line, and gone on from."""

import errno
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Study
from tests.faults.runs import disk, failures, half_files, little, mount, only_whole
from voxelome.errors import ExitCode, InputError, exit_code, storage_error
from voxelome.imageio import save_json, save_volume

ONLY = ("--stages", "preprocess")


def test_an_image_that_does_not_fit_on_the_disk_is_an_input_error_and_leaves_no_half_file(tmp_path: Path):
    with disk(tmp_path / "disk", "1m"):
        path = tmp_path / "disk" / "a.nii.gz"
        noise = np.random.default_rng(0).normal(size=(100, 100, 100)).astype(np.float32)
        with pytest.raises(InputError, match=r"a\.nii\.gz: there is no space left on its device; make room"):
            save_volume(path, noise, np.eye(4))
        assert list(path.parent.iterdir()) == []


def test_a_folder_that_became_read_only_is_an_input_error(tmp_path: Path):
    with disk(tmp_path / "disk", "1m") as again:
        again("ro")
        with pytest.raises(InputError, match=r"file system is read-only"):
            save_json(tmp_path / "disk" / "a.json", {})


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "denied"),
    ],
)
def test_what_storage_refuses_is_one_line_and_no_defect(capsys, number: int, says: str):
    def action() -> int:
        raise OSError(number, os.strerror(number), "/data/out/a.nii.gz")

    assert exit_code("voxelome", action) == ExitCode.INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("voxelome: error: /data/out/a.nii.gz: ")
    assert says in line


def test_any_other_error_of_the_system_is_a_defect(capsys):
    assert storage_error(OSError(errno.EBADF, "x")) is None

    def action() -> int:
        raise OSError(errno.EBADF, "x")

    assert exit_code("voxelome", action) == ExitCode.DEFECT
    assert "Traceback" in capsys.readouterr().err


def test_too_little_memory_is_one_line_and_no_defect(capsys):
    def action() -> int:
        np.empty(2**60, np.float32)
        return 0

    assert exit_code("voxelome", action) == ExitCode.INPUT
    assert "there is not enough memory (Unable to allocate" in capsys.readouterr().err


def test_memory_that_a_library_in_c_did_not_get_is_no_defect_either(capsys):
    def action() -> int:
        raise RuntimeError("[ONNXRuntimeError] : Status Message: std::bad_alloc")

    assert exit_code("voxelome", action) == ExitCode.INPUT
    assert "there is not enough memory ([ONNXRuntimeError]" in capsys.readouterr().err


@only_whole
def test_a_run_on_a_full_disk_says_so_and_goes_on_when_there_is_room(finished: Study, tmp_path: Path):
    study = little(finished, tmp_path / "study", "a", "b")
    with disk(study.out, "900k") as again:
        done = study.call("participant", *ONLY)
        assert done.returncode in (ExitCode.SOME_FAILED, ExitCode.INPUT), done.stdout + done.stderr
        assert "there is no space left on" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert half_files(study) == []
        again("size=50m")
        done = study.call("participant", *ONLY)
        assert done.returncode == 0, done.stdout + done.stderr
        assert failures(study) == []
        assert len(list((study.work / "steps").glob("sub-*/preprocess.json"))) == 2


def test_a_run_into_a_folder_that_became_read_only_is_refused_in_one_line(finished: Study, tmp_path: Path):
    study = little(finished, tmp_path / "study", "a")
    with disk(study.out, "50m") as again:
        assert study.call("participant", "--dry-run").returncode == 0
        again("ro")
        done = study.call("participant", *ONLY)
        assert done.returncode == ExitCode.INPUT
        (line,) = done.stderr.splitlines()
        assert "its file system is read-only" in line


@only_whole
def test_a_read_only_dataset_of_links_is_worked_on_and_the_one_that_was_not_fetched_is_named(
    finished: Study, tmp_path: Path
):
    study = little(finished, tmp_path / "study", "here", "absent")
    for label in ("here", "absent"):
        image = study.bids / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz"
        key = study.bids / ".git" / "annex" / "objects" / label
        key.mkdir(parents=True)
        image.rename(key / "image.nii.gz")
        image.symlink_to(Path("../../.git/annex/objects") / label / "image.nii.gz")
    (study.bids / ".git/annex/objects/absent/image.nii.gz").unlink()
    mount("--bind", study.bids, study.bids)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", study.bids], check=True)
        with pytest.raises(OSError, match="Read-only"):
            (study.bids / "x").touch()
        done = study.call("participant", *ONLY)
    finally:
        subprocess.run(["umount", "-l", study.bids], check=True)
    assert done.returncode == ExitCode.SOME_FAILED, done.stdout + done.stderr
    (row,) = failures(study)
    assert (row["participant_id"], row["step"]) == ("sub-absent", "inventory")
    assert "is a link to a file that is not there; run: datalad get" in row["reason"]
    assert (study.work / "steps" / "sub-here" / "preprocess.json").is_file()
