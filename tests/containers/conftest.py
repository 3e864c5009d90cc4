"""Images built from this code, and one participant on whom every stage has run in them and without them."""

import csv
import hashlib
import os
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import ROOT, SPACING, Study
from tests.containers import machine
from tests.containers.passed import record
from voxelome.app.crate import METADATA
from voxelome.images import APP, STEPS
from voxelome.phantom.cohort import make_cohort

# With more threads, ANTs adds up in another order each time.
ONE_THREAD = ("--omp-nthreads", "1")
# A participant whose mask lies on no grid.
BROKEN = "sub-02"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    """Keep what a whole module passed with, where none of its tests was left out."""
    name = os.environ.get("VOXELOME_RECORD_AS")
    left_out = sum(len(terminalreporter.stats.get(kind, [])) for kind in ("skipped", "deselected"))
    if name and exitstatus == 0 and not left_out:
        record(name)


@pytest.fixture(scope="session")
def images() -> Path:
    """Folder of image files of all stages; the images themselves are in podman's store."""
    if not os.environ.get("VOXELOME_TEST_CONTAINERS"):
        pytest.skip("building images takes long: make test-containers")
    try:
        machine.prepare()
    except machine.CannotBuildError as reason:
        pytest.skip(str(reason))
    command = ["make", "images", "sif", f"STAGES={' '.join([*STEPS, APP])}", f"IMAGES_DIR={machine.IMAGES}"]
    subprocess.run(command, cwd=ROOT, env=machine.environment(), check=True)
    return machine.IMAGES


@pytest.fixture(scope="session")
def local(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One participant on whom both levels have run without images."""
    study = Study(tmp_path_factory.mktemp("containers"), coarse=False)
    make_cohort(study.bids, participants=1, sites=1, spacing=SPACING)
    for level in ("participant", "group"):
        done = study.call(level, *ONE_THREAD)
        assert done.returncode == 0, done.stdout + done.stderr
    return study


@pytest.fixture(scope="session")
def contained(local: Study, images: Path) -> Study:
    """The same, each stage in its own image by Apptainer."""
    study = Study(local.folder, coarse=False)
    study.out = local.folder / "out-apptainer"
    study.work = study.out / ".voxelome"
    for level in ("participant", "group"):
        done = study.call(level, *ONE_THREAD, "--profile", "apptainer", "--images-dir", str(images))
        assert done.returncode == 0, done.stdout + done.stderr
    return study


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two participants; a mask of the second lies on the grid of none of its images."""
    study = Study(tmp_path_factory.mktemp("cohort"), coarse=False)
    make_cohort(study.bids, participants=2, sites=1, spacing=SPACING)
    mask = next((study.bids / "derivatives" / "masks" / BROKEN).rglob("*_dseg.nii.gz"))
    nib.Nifti1Image(np.ones((7, 7, 7), np.uint8), np.diag([9.0, 9, 9, 1])).to_filename(mask)
    return study


@pytest.fixture(scope="module")
def locally(cohort: Study) -> Study:
    """The same without a cluster."""
    study = Study(cohort.folder, coarse=False)
    study.out = cohort.folder / "local"
    study.work = study.out / ".voxelome"
    assert study.call("participant", *ONE_THREAD).returncode == 1
    return study


def results(study: Study) -> dict[str, str]:
    """Checksum of every image, table and model.

    Logs and the crate hold times, and pages name what is installed where each step ran: an image has less.
    """
    found = {}
    for path in sorted(study.out.rglob("*")):
        name = path.relative_to(study.out).as_posix()
        if path.is_file() and not name.startswith((".voxelome", "logs", METADATA)) and path.suffix != ".html":
            text = path.read_bytes().replace(str(study.out).encode(), b"OUT")
            found[name] = hashlib.sha256(text).hexdigest()
    return found


def results_of_the_other(study: Study) -> dict[str, str]:
    """Checksums of all of the participant whose mask is in order."""
    found = {name: digest for name, digest in results(study).items() if name.startswith("sub-01")}
    assert found
    return found


def check_that_the_failure_is_named_alone(study: Study) -> None:
    """Of all steps that of the mask on no grid has failed, and why is said."""
    with next((study.out / "logs").glob("*/failures.tsv")).open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["participant_id"], row["step"]) for row in rows] == [(BROKEN, "segment")]
    assert "grid" in rows[0]["reason"]
