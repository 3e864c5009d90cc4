"""Images built from this code, and one participant on whom every stage has run in them and without them."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, SPACING, Study
from tests.containers import machine
from voxelome.images import APP, STEPS
from voxelome.phantom.cohort import make_cohort

# With more threads, ANTs adds up in another order each time.
ONE_THREAD = ("--omp-nthreads", "1")


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
    study = Study(tmp_path_factory.mktemp("containers"))
    make_cohort(study.bids, participants=1, sites=1, spacing=SPACING)
    for level in ("participant", "group"):
        done = study.call(level, *ONE_THREAD)
        assert done.returncode == 0, done.stdout + done.stderr
    return study


@pytest.fixture(scope="session")
def contained(local: Study, images: Path) -> Study:
    """The same, each stage in its own image by Apptainer."""
    study = Study(local.folder)
    study.out = local.folder / "out-apptainer"
    study.work = study.out / ".voxelome"
    for level in ("participant", "group"):
        done = study.call(level, *ONE_THREAD, "--profile", "apptainer", "--images-dir", str(images))
        assert done.returncode == 0, done.stdout + done.stderr
    return study
