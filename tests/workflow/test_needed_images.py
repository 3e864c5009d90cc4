"""Which images a run asks for, and what the process of a job reads; Apptainer here only notes its calls."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, SPACING, Study
from voxelome.images import CODE_LABEL, STEPS, needed_images, stage_digest
from voxelome.phantom.cohort import make_cohort

# An image is a file with its labels; a step in one leaves a note of the folders that it was given, and fails.
APPTAINER = """#!/bin/sh
case "$*" in
  --version) echo "apptainer version 1.3.6" ;;
  "inspect --json "*) cat "$3" ;;
  *) echo "$APPTAINER_BIND" > "$NOTE"; exit 1 ;;
esac
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = Study(tmp_path_factory.mktemp("images"))
    make_cohort(study.bids, participants=2, sites=1, spacing=SPACING)
    return study


@pytest.fixture(autouse=True)
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text(APPTAINER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NOTE", str(tmp_path / "note"))
    return tmp_path / "note"


def images(folder: Path, *stages: str) -> tuple[str, ...]:
    """Options of a run with images of these stages alone."""
    folder.mkdir()
    for stage in stages:
        labels = {CODE_LABEL: stage_digest(stage)}
        content = {"data": {"attributes": {"labels": labels}}}
        (folder / f"voxelome-{stage}.sif").write_text(json.dumps(content))
    return "--profile", "apptainer", "--images-dir", str(folder)


def snakemake(study: Study, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1"]
    command += ["--sdm", "apptainer", "--configfile", str(study.work / "dry-run.yaml"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=study.folder)


def test_the_participant_level_needs_no_image_of_the_models(study: Study, tmp_path: Path):
    options = images(tmp_path / "images", *({*STEPS} - {"model", "radiomics-ibsi"}))
    assert "sub-01 radiomics" in study.planned("participant", *options)
    done = snakemake(study, "--dry-run")
    assert done.returncode != 0
    assert "voxelome-model.sif: there is no such image" in done.stdout + done.stderr


@pytest.mark.parametrize("stage", ["qsm", "radiomics"])
def test_what_a_stage_rests_on_is_asked_for_before_anything_runs(study: Study, tmp_path: Path, stage: str):
    steps = study.planned("participant", "--stages", stage)
    used = {title.split()[1].split("-")[0] for title in steps}
    config = {"stages": [stage], "radiomics": {"engine": "pyradiomics"}}
    assert used == set(needed_images(config))
    options = images(tmp_path / "images", stage)
    done = study.call("participant", "--dry-run", "--stages", stage, *options)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "voxelome-preprocess.sif: there is no such image" in done.stderr


def test_a_job_of_a_cluster_reads_the_inventory_of_its_subject_and_has_the_folders_of_all(
    study: Study, tmp_path: Path, note: Path
):
    options = images(tmp_path / "images", *STEPS)
    assert study.call("participant", "--dry-run", *options).returncode == 0
    other = study.work / "inventory" / "sub-02.json"
    content = other.read_text()
    other.write_text("nobody reads this")
    try:
        record = "steps/sub-01/preprocess.json"
        job = ["--mode", "remote", "--target-jobs", "preprocess:unit=sub-01", "--allowed-rules", "preprocess"]
        done = snakemake(study, *job, "--force", "--nolock", "--ignore-incomplete", record)
    finally:
        other.write_text(content)
    assert note.exists(), done.stdout + done.stderr
    assert f"{study.bids}:{study.bids}:ro" in note.read_text().strip().split(",")
