"""A real Slurm of one node: subjects go there, each step in its image; what fails costs nothing else."""

import csv
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import ROOT, SPACING, Study
from tests.containers import machine
from tests.containers.conftest import ONE_THREAD
from tests.containers.test_images import results
from voxelome.phantom.cohort import make_cohort

# Of a Slurm without accounting, asked often because nobody else does.
OPTIONS = (
    *(
        "--slurm-no-account",
        "--slurm-status-command",
        "squeue",
        "--slurm-init-seconds-before-status-checks",
        "2",
    ),
    *("--seconds-between-status-checks", "2", "--latency-wait", "5", "--retries", "0"),
)
BROKEN = "sub-02"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Python with the plugin of Slurm, while Slurm runs."""
    if not os.environ.get("VOXELOME_TEST_SLURM"):
        pytest.skip("starting Slurm changes the machine: make test-slurm")
    try:
        python = machine.python_with("slurm")
        pids = machine.start_slurm(tmp_path_factory.mktemp("slurm"))
    except machine.CannotBuildError as reason:
        pytest.skip(str(reason))
    yield python
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    # With it there and Slurm gone, every start of Snakemake would wait.
    Path("/etc/slurm/slurm.conf").unlink()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two participants; a mask of the second lies on the grid of none of its images."""
    study = Study(tmp_path_factory.mktemp("cohort"))
    make_cohort(study.bids, participants=2, sites=1, spacing=SPACING)
    mask = next((study.bids / "derivatives" / "masks" / BROKEN).rglob("*_dseg.nii.gz"))
    nib.Nifti1Image(np.ones((7, 7, 7), np.uint8), np.diag([9.0, 9, 9, 1])).to_filename(mask)
    return study


@pytest.fixture(scope="module")
def locally(cohort: Study) -> Study:
    study = Study(cohort.folder)
    study.out = cohort.folder / "local"
    study.work = study.out / ".voxelome"
    assert study.call("participant", *ONE_THREAD).returncode == 1
    return study


@pytest.fixture(scope="module")
def queued(cohort: Study, images: Path, slurm: Path) -> tuple[Study, subprocess.CompletedProcess[str]]:
    """The cohort through Slurm with images."""
    command = [str(slurm), "-m", "voxelome.cli", str(cohort.bids), str(cohort.out), "participant"]
    command += ["--skip-bids-validation", "--derivatives", f"masks={cohort.bids / 'derivatives' / 'masks'}"]
    command += [
        "--profile",
        "slurm-apptainer",
        "--partition",
        "main",
        "--images-dir",
        str(images),
        *ONE_THREAD,
    ]
    environment = {**machine.environment(), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [*command, "--", *OPTIONS], env=environment, capture_output=True, text=True, check=False
    )
    return cohort, done


def test_a_participant_through_slurm_and_images_has_the_results_of_a_local_run(queued, locally: Study):
    study, done = queued
    assert done.returncode == 1, done.stdout + done.stderr

    def whole(found: dict[str, str]) -> dict[str, str]:
        return {name: digest for name, digest in found.items() if name.startswith("sub-01")}

    assert whole(results(study)) == whole(results(locally))
    assert (study.out / "sub-01.html").is_file()


def test_the_job_that_failed_is_named_alone(queued):
    study, _ = queued
    with next((study.out / "logs").glob("*/failures.tsv")).open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["participant_id"], row["step"]) for row in rows] == [(BROKEN, "segment")]
    assert "grid" in rows[0]["reason"]


def test_what_the_other_steps_of_that_participant_have_made_is_kept(queued):
    study, _ = queued
    kept = {path.stem for path in (study.work / "steps" / BROKEN).glob("*.json")}
    assert {"preprocess", "register"} <= kept


def test_the_jobs_of_a_participant_went_to_the_queue_as_one(queued):
    study, _ = queued
    log = next((study.out / "logs").glob("*/snakemake.log")).read_text()
    submitted = [line for line in log.splitlines() if "has been submitted with SLURM jobid" in line]
    assert len(submitted) == 2


def test_every_step_ran_in_its_image(queued):
    study, _ = queued
    for path in (study.work / "logs").glob("sub-*/*.log"):
        # That of a step that waited for one that failed is empty.
        text = path.read_text()
        assert "/opt/voxelome/bin/python" in text or path.name == "report.log" or not text, path
