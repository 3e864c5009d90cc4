"""A real Grid Engine of one node: a subject goes there as one job, and one that is killed is tried again."""

import csv
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import ROOT, SPACING, Study
from tests.containers import machine
from tests.containers.conftest import ONE_THREAD
from tests.containers.test_images import results
from voxelome.phantom.cohort import make_cohort

OPTIONS = ("--seconds-between-status-checks", "2", "--latency-wait", "5", "--retries", "1")
BROKEN = "sub-02"
ENVIRONMENT = {"SGE_ROOT": "/var/lib/gridengine", "SGE_CELL": "default"}


@pytest.fixture(scope="module")
def grid_engine() -> Iterator[Path]:
    """Python with the plugin, while Grid Engine runs."""
    if not os.environ.get("VOXELOME_TEST_GRID_ENGINE"):
        pytest.skip("starting Grid Engine changes the machine: make test-grid-engine")
    try:
        python = machine.python_with("grid-engine")
        pids = machine.start_grid_engine()
    except machine.CannotBuildError as reason:
        pytest.skip(str(reason))
    yield python
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two participants; a mask of the second lies on the grid of none of its images."""
    study = Study(tmp_path_factory.mktemp("cohort"))
    make_cohort(study.bids, participants=2, sites=1, spacing=SPACING)
    mask = next((study.bids / "derivatives" / "masks" / BROKEN).rglob("*_dseg.nii.gz"))
    nib.Nifti1Image(np.ones((7, 7, 7), np.uint8), np.diag([9.0, 9, 9, 1])).to_filename(mask)
    return study


def jobs() -> list[str]:
    """Numbers of the jobs that wait or run."""
    done = subprocess.run(
        ["qstat"], env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=True
    )
    return [line.split()[0] for line in done.stdout.splitlines()[2:]]


@pytest.fixture(scope="module")
def queued(cohort: Study, grid_engine: Path) -> tuple[Study, str]:
    """The cohort through Grid Engine, with what the run said; the first job that comes is killed."""
    command = [str(grid_engine), "-m", "voxelome.cli", str(cohort.bids), str(cohort.out), "participant"]
    command += ["--skip-bids-validation", "--derivatives", f"masks={cohort.bids / 'derivatives' / 'masks'}"]
    command += ["--profile", "sge", *ONE_THREAD, "--", *OPTIONS]
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        while not (there := jobs()) and run.poll() is None:
            time.sleep(0.2)
        subprocess.run(["qdel", *there[:1]], env=environment, check=True, capture_output=True)
        said, _ = run.communicate(timeout=900)
    assert run.returncode == 1, said
    return cohort, said


def test_a_participant_through_grid_engine_has_the_results_of_a_local_run(queued, cohort: Study):
    study, said = queued
    alone = Study(cohort.folder)
    alone.out = cohort.folder / "local"
    alone.work = alone.out / ".voxelome"
    alone.call("participant", *ONE_THREAD)

    def whole(found: dict[str, str]) -> dict[str, str]:
        return {name: digest for name, digest in found.items() if name.startswith("sub-01")}

    assert whole(results(alone))
    assert whole(results(study)) == whole(results(alone)), said


def test_a_job_that_was_killed_is_tried_again(queued):
    study, _ = queued
    log = next((study.out / "logs").glob("*/snakemake.log")).read_text()
    assert log.count("Submitted group job") >= 3
    assert (study.out / "sub-01.html").is_file()


def test_the_job_that_failed_is_named_alone(queued):
    study, _ = queued
    with next((study.out / "logs").glob("*/failures.tsv")).open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["participant_id"], row["step"]) for row in rows] == [(BROKEN, "segment")]
    assert "grid" in rows[0]["reason"]


def test_no_job_stays_in_the_queue(queued):
    assert jobs() == []
