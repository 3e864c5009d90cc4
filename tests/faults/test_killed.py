"""A run that is killed at any moment is gone on with by the same command, and ends with the same results."""

import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Study
from tests.faults.runs import (
    beside,
    contents,
    half_files,
    kill_all,
    kill_group,
    only_whole,
    start,
    wait_for,
)
from voxelome.app.lock import leftovers

# More threads than in the undisturbed run would sum in another order.
ONE = ("--participant-label", "01", "--omp-nthreads", "1")


@pytest.fixture(scope="module")
def undisturbed(finished: Study) -> dict[str, str]:
    found = contents(finished, "01")
    assert len(found) > 40
    return found


@pytest.mark.parametrize(("kill", "step"), [(kill_group, "register"), (kill_all, "preprocess")])
def test_a_killed_run_leaves_no_process_and_the_same_command_completes_it(
    finished: Study, undisturbed: dict[str, str], tmp_path: Path, kill, step: str
):
    study = beside(finished, tmp_path / "out")
    process = start(study, *ONE, "--stages", "preprocess", "register")
    wait_for((study.work / "logs" / "sub-01" / f"{step}.log").is_file)
    time.sleep(1)
    kill(process)
    wait_for(lambda: not leftovers(study.work), 20)
    (study.out / ".tmp-1-sub-01_T2w.nii.gz").write_bytes(b"half")
    done = study.call("participant", *ONE, "--stages", "preprocess", "register")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "was killed: going on from what it had done" in done.stdout
    assert half_files(study) == []
    found = contents(study, "01")
    images = {name for name in found if name.endswith(".nii.gz")}
    assert len(images) > 10
    assert {name: found[name] for name in images} == {name: undisturbed[name] for name in images}


@only_whole
def test_after_twenty_kills_at_random_moments_every_result_is_that_of_an_undisturbed_run(
    finished: Study, undisturbed: dict[str, str], tmp_path: Path
):
    moments = random.Random(8)
    study = beside(finished, tmp_path / "out")
    kills = 0
    while kills < 20:
        process = start(study, *ONE)
        try:
            process.communicate(timeout=moments.uniform(1, 45))
        except subprocess.TimeoutExpired:
            moments.choice([kill_group, kill_all])(process)
            wait_for(lambda: not leftovers(study.work), 20)
            kills += 1
        else:
            compare(study, undisturbed)
            shutil.rmtree(study.out)
    last = start(study, *ONE)
    said, _ = last.communicate()
    assert last.returncode == 0, said
    compare(study, undisturbed)


def compare(study: Study, undisturbed: dict[str, str]) -> None:
    assert half_files(study) == []
    found = contents(study, "01")
    assert {name for name in undisturbed if found.get(name) != undisturbed[name]} == set()
    assert set(found) == set(undisturbed)
