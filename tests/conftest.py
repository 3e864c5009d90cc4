"""A small cohort that the whole workflow has run on, once for all tests that need it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from voxelome.phantom.cohort import make_cohort

ROOT = Path(__file__).resolve().parents[1]
SPACING = 4.0


class Study:
    """A dataset, its output, and calls of voxelome on them."""

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        self.folder, self.root = folder, root
        self.bids, self.out = folder / "bids", folder / "out"
        self.work = self.out / ".voxelome"

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
        masks = f"masks={self.bids / 'derivatives' / 'masks'}"
        environment = {**os.environ, "PYTHONPATH": str(self.root / "src")}
        return subprocess.run(
            [*command, "--derivatives", masks, "--skip-bids-validation", *more],
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
def checkout(tmp_path: Path) -> Path:
    """A copy of the code that a test may edit."""
    root = tmp_path / "checkout"
    for name in ("src", "rules", "config", "envs", "scripts", "models"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
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
