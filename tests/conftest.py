"""A small cohort that the whole workflow has run on, once for all tests that need it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from atexit import register
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from voxelome.imageio import save_volume
from voxelome.phantom.cohort import make_cohort

ROOT = Path(__file__).resolve().parents[1]
SPACING = 4.0


@cache
def coarse_template() -> Path:
    """The template at the spacing of the cohort: at 2 mm, it takes half of the time of all steps together."""
    # Takes two seconds, and most tests have no need of it.
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    folder = Path(tempfile.mkdtemp(prefix="voxelome-template-"))
    register(shutil.rmtree, folder, ignore_errors=True)
    template, mask = (
        load(resolution=int(SPACING)) for load in (load_mni152_template, load_mni152_brain_mask)
    )
    inside = np.asarray(mask.dataobj) > 0
    brain = np.where(inside, np.asarray(template.dataobj, dtype=np.float32), 0)
    save_volume(folder / "tpl-MNI152NLin2009aSym_desc-brain_mask.nii.gz", inside, mask.affine)
    return save_volume(folder / "tpl-MNI152NLin2009aSym_T1w.nii.gz", brain, template.affine)


class Study:
    """A dataset, its output, and calls of voxelome on them.

    Heads are brought to a template of coarse voxels; with `coarse` false, to that which is the default.
    """

    def __init__(self, folder: Path, root: Path = ROOT, *, coarse: bool = True) -> None:
        self.folder, self.root, self.coarse = folder, root, coarse
        self.bids, self.out = folder / "bids", folder / "out"
        self.work = self.out / ".voxelome"

    @property
    def options(self) -> list[str]:
        """Options of every call."""
        masks = f"masks={self.bids / 'derivatives' / 'masks'}"
        spaces = ["--output-spaces", str(coarse_template())] if self.coarse else []
        return ["--derivatives", masks, "--skip-bids-validation", *spaces]

    def call(self, level: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Call the command line in a process of its own, with the code of `root`."""
        command = [
            sys.executable,
            "-m",
            "voxelome.cli",
            str(self.bids),
            str(self.out),
            level,
            "--nprocs",
            "2",
        ]
        environment = {**os.environ, "PYTHONPATH": str(self.root / "src")}
        return subprocess.run(
            [*command, *self.options, *more],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def planned(self, level: str, *more: str) -> set[str]:
        """Steps that a call would run."""
        done = self.call(level, "--dry-run", *more)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = done.stdout.splitlines()
        return {line.removeprefix("would run ") for line in lines if line.startswith("would run ")}


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two participants on whom both levels have run."""
    study = Study(tmp_path_factory.mktemp("finished"))
    make_cohort(study.bids, participants=2, sites=1, spacing=SPACING)
    for level in ("participant", "group"):
        done = study.call(level)
        assert done.returncode == 0, done.stdout + done.stderr
    return study


@pytest.fixture
def study(finished: Study, tmp_path: Path) -> Study:
    """A copy of the finished study that a test may change.

    Moved back to the very place of the original, because a dataset that moves is another dataset.
    """
    backup = tmp_path / "backup"
    shutil.copytree(finished.folder, backup, symlinks=True)
    yield finished
    shutil.rmtree(finished.folder)
    shutil.move(backup, finished.folder)


@pytest.fixture
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forests of a tenth of their trees: a planted effect is found by these, too, and noise by neither."""
    monkeypatch.setattr("voxelome.modelling.families.TREES", 30)


def copy_unless_gone(source: str, target: str) -> None:
    """Copy a file, which another test may compile at this moment: until then it has a name of its own."""
    with suppress(FileNotFoundError):
        shutil.copy2(source, target)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the code that a test may edit."""
    root = tmp_path / "checkout"
    # What Python and voxelome keep of each file goes along, and holds for those that are not edited.
    for name in ("src", "rules", "config", "envs", "scripts", "models"):
        shutil.copytree(ROOT / name, root / name, copy_function=copy_unless_gone)
    shutil.copy(ROOT / "Snakefile", root / "Snakefile")
    return root


@pytest.fixture(scope="session")
def validator_errors() -> Callable[[Path], list[str]]:
    """Errors that the official BIDS validator finds in a dataset."""

    def find(dataset: Path) -> list[str]:
        program = Path(sys.executable).parent / "bids-validator-deno"
        done = subprocess.run(
            [program, dataset, "--format", "json", "--ignoreWarnings"],
            capture_output=True,
            text=True,
            check=False,
        )
        issues = json.loads(done.stdout)["issues"]["issues"]
        return [f"{i['code']} {i['location']}" for i in issues if i["severity"] == "error"]

    return find
