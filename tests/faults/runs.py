"""Runs that are started, killed and compared."""

import csv
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT, Study

WHOLE = bool(os.environ.get("VOXELOME_TEST_FAULTS"))
only_whole = pytest.mark.skipif(not WHOLE, reason="takes long: make test-faults")


def beside(finished: Study, out: Path, root: Path = ROOT) -> Study:
    """A study of the same dataset with an output of its own."""
    study = Study(finished.folder, root)
    study.out, study.work = out, out / ".voxelome"
    return study


def start(study: Study, *more: str) -> subprocess.Popen[str]:
    """Start the participant level in a group of processes of its own."""
    command = [sys.executable, "-m", "voxelome.cli", str(study.bids), str(study.out), "participant"]
    command += ["--nprocs", "2", *study.options, *more]
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(study.root / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(happened: Callable[[], object], seconds: float = 120) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def kill_group(process: subprocess.Popen[str]) -> None:
    """Kill what a shell's `kill -9 -GROUP` does: voxelome; its guard ends the rest."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def kill_all(process: subprocess.Popen[str]) -> None:
    """Kill every process of a run at once, as the end of a container or of the machine does."""
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in tree:
        member.suspend()
    for member in tree:
        member.kill()
    process.communicate()
    psutil.wait_procs(tree[1:], timeout=10)


def half_files(study: Study) -> list[Path]:
    """Files that were being written."""
    return sorted(study.out.rglob(".tmp-*"))


def contents(study: Study, subject: str = "*") -> dict[str, str]:
    """Digests of the results by their names; reports show the time that steps took and are left out."""
    return {
        str(path.relative_to(study.out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(study.out.glob(f"sub-{subject}/**/*"))
        if path.is_file()
    }


def little(finished: Study, folder: Path, *labels: str, root: Path = ROOT) -> Study:
    """A dataset of subjects that each have one T1w image and nothing else."""
    study = Study(folder, root)
    for label in labels:
        anat = study.bids / f"sub-{label}" / "anat"
        anat.mkdir(parents=True)
        for extension in ("nii.gz", "json"):
            source = finished.bids / "sub-01" / "anat" / f"sub-01_T1w.{extension}"
            shutil.copy(source, anat / f"sub-{label}_T1w.{extension}")
    shutil.copy(finished.bids / "dataset_description.json", study.bids / "dataset_description.json")
    (study.bids / "derivatives" / "masks").mkdir(parents=True)
    return study


def failures(study: Study) -> list[dict[str, str]]:
    """Rows of the table of failures of the last run."""
    table = sorted((study.out / "logs").glob("*/failures.tsv"))[-1]
    return list(csv.DictReader(table.read_text().splitlines(), delimiter="\t"))


def mount(*options: str | Path) -> None:
    """Mount a file system; where that is not allowed, skip the test."""
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of this size at a folder; gives a function that mounts it again with other options."""
    folder.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield lambda options: mount("-o", f"remount,{options}", folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
