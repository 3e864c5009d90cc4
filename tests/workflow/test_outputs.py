"""The output by name and by other programs: nothing is missing, and nothing is new that nobody looked at."""

import os
import shutil
import subprocess
import sys

import pytest
from bids import BIDSLayout
from rocrate.rocrate import ROCrate

from tests.conftest import ROOT, coarse_template
from tests.golden_lists import golden, made_by
from tests.unit.test_documented_commands import COMMANDS
from voxelome.app.demo import STUDY


def test_a_run_leaves_the_files_of_the_golden_list(finished):
    made = [name for name in made_by(finished.out) if not name.startswith("sub-02")]
    assert made == golden("cohort", made)


def test_pybids_finds_maps_by_their_entities(finished):
    layout = BIDSLayout(finished.out, validate=False, is_derivative=True, database_path=None)
    assert layout.get_subjects() == ["01", "02"]
    (found,) = layout.get(subject="01", suffix="Chimap", extension=".nii.gz", desc=None)
    assert found.filename == "sub-01_Chimap.nii.gz"
    spaces = layout.get(subject="02", suffix="FLAIR", desc="preproc", extension=".nii.gz")
    assert {item.entities["space"] for item in spaces} == {"T1w", "MNI152NLin2009aSym"}
    assert found.get_metadata()["Units"] == "ppm"


def test_the_runs_are_recorded_as_a_crate(finished):
    crate = ROCrate(finished.out)
    runs = crate.root_dataset["mentions"]
    assert [run["name"] for run in runs][:2] == ["voxelome, participant level", "voxelome, group level"]
    assert runs[0]["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert "sub-02/" in {item.id for item in runs[0]["result"]}


def test_the_results_are_derivatives_for_another_run(study, tmp_path):
    """The lesion as the first run carried it to the gradient echo is measured there by the second."""
    out = tmp_path / "second"
    command = [
        sys.executable,
        "-m",
        "voxelome.cli",
        study.bids,
        out,
        "participant",
        "--participant-label",
        "01",
    ]
    command += ["--output-spaces", str(coarse_template())]
    command += ["--derivatives", f"first={study.out}", "--stages", "radiomics", "--skip-bids-validation"]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (table,) = out.rglob("*_desc-radiomics_features.tsv")
    assert any("lesion" in line for line in table.read_text().splitlines())


def test_snakemake_makes_its_own_report(finished, tmp_path):
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--configfile",
        finished.work / "config.yaml", "--directory", finished.work, "--report", tmp_path / "report.zip",
        "--nolock", "participant",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shutil.unpack_archive(tmp_path / "report.zip", tmp_path / "report")
    text = next((tmp_path / "report").rglob("report.html")).read_text()
    assert "preprocess" in text


def documented() -> list:
    """Calls of voxelome in the README and the docs that need neither images nor a cluster."""
    calls = {tuple(words) for _, words in COMMANDS if words[0] == "voxelome" and "--profile" not in words}
    return [pytest.param(words[1:], id=" ".join(words)) for words in sorted(calls)]


@pytest.mark.parametrize("words", documented())
def test_a_call_that_the_pages_show_runs_on_a_dataset(study, tmp_path, words):
    (tmp_path / "study.yaml").write_text(STUDY)
    places = {
        **dict.fromkeys(("BIDS_DIR", "demo/bids"), str(study.bids)),
        **dict.fromkeys(("OUT_DIR", "demo/out"), str(study.out)),
        **dict.fromkeys(("study.yaml", "demo/study.yaml"), str(tmp_path / "study.yaml")),
        **dict.fromkeys(
            ("masks=BIDS_DIR/derivatives/masks", "masks=demo/bids/derivatives/masks"),
            f"masks={study.bids}/derivatives/masks",
        ),
    }
    given = [places.get(word, word) for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "voxelome.cli", *given, "--dry-run"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
