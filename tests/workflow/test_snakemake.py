"""The workflow by itself, as it is used on a cluster, and what it leaves."""

import json
import re
import subprocess
import sys

from tests.conftest import ROOT, SPACING, Study
from voxelome import tools
from voxelome.app.events import RunState, follow
from voxelome.phantom.cohort import make_cohort


def snakemake(study: Study, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--configfile", str(study.work / "config.yaml"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=study.folder)


def test_the_linter_has_nothing_to_say(finished):
    done = snakemake(finished, "--lint")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "your workflow is in a good condition" in done.stdout + done.stderr


def test_snakemake_itself_finds_everything_up_to_date_that_voxelome_made(finished):
    profile = ROOT / "config" / "profiles" / "local"
    done = snakemake(finished, "--profile", str(profile), "--dry-run", "all")
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in done.stdout + done.stderr


def test_the_workflow_runs_with_nothing_but_an_inventory_and_three_folders(finished, tmp_path):
    """As the README says."""
    work = tmp_path / "work"
    assert tools.main(["inventory", str(finished.bids), str(work)]) == 0
    folders = {"bids_dir": finished.bids, "out_dir": tmp_path / "out", "work_dir": work}
    (tmp_path / "study.yaml").write_text("".join(f"{name}: {path}\n" for name, path in folders.items()))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--profile", str(ROOT / "config" / "profiles" / "local"), "--dry-run"]
    command += ["--configfile", str(tmp_path / "study.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"preprocess", "qsm", "report_subject"} <= set(
        re.findall(r"^rule (\w+):", done.stdout, re.MULTILINE)
    )


def test_every_step_ran_once_and_none_failed(finished):
    jobs = []
    for path in sorted((finished.out / "logs").glob("*/snakemake.jsonl")):
        state = RunState()
        for event in follow(path, 0)[0]:
            state.apply(event)
        jobs += state.jobs.values()
    assert {job.state for job in jobs} == {"done"}
    titles = [job.title for job in jobs]
    assert len(titles) == len(set(titles)) == 14


def test_every_image_has_a_sidecar_with_its_sources(finished):
    for path in finished.out.glob("sub-*/anat/*.nii.gz"):
        sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        if "_xfm" not in path.name:
            assert all(source.startswith("bids:") for source in sidecar["Sources"]), path


def test_the_official_validator_accepts_the_derivatives(finished, validator_errors):
    assert validator_errors(finished.out) == []


def test_nothing_was_written_into_the_dataset(finished, tmp_path):
    make_cohort(tmp_path, participants=2, sites=1, spacing=SPACING)

    def files(root):
        return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    assert files(finished.bids) == files(tmp_path)


def test_the_reports_need_no_other_file(finished):
    for page in finished.out.glob("*.html"):
        text = page.read_text()
        assert not re.search(r'<(?:script|img|link)[^>]* (?:src|href)="(?!data:)', text)
        assert 'src="http' not in text
        assert '<link rel="stylesheet"' not in text


def test_the_first_line_of_a_log_can_be_run_again(finished):
    record = finished.work / "steps" / "sub-01" / "segment.json"
    before = json.loads(record.read_text())
    line = (finished.work / "logs" / "sub-01" / "segment.log").read_text().splitlines()[0]
    assert line.startswith("$ cd ")
    subprocess.run(["bash", "-c", line.removeprefix("$ ")], check=True)
    after = json.loads(record.read_text())
    spent = {"seconds": 0, "peak_memory_mb": 0}
    assert {**before, **spent} == {**after, **spent}
