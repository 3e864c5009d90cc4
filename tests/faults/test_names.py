"""Whatever a dataset or a folder is called, no shell takes it for a command."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, Study
from tests.faults.runs import only_whole
from tests.model_folders import above, save_model
from voxelome.app.arguments import check_name
from voxelome.bids.entities import name_fault, parse_entities
from voxelome.bids.inventory import update_inventory
from voxelome.errors import InputError
from voxelome.segmentation.cards import default_models_dir

EVIL = "a b;touch pwned1 $(touch pwned2) `touch pwned3` 'q\" & | > pwned4 é"


@pytest.mark.parametrize(
    "label", ["a;touch x", "a b", "$(touch x)", "..", "ä", "a'b", "01_old", "a\nb", "{a}"]
)
def test_a_subject_with_a_name_that_bids_does_not_have_is_refused(tmp_path: Path, label: str):
    (tmp_path / "raw" / f"sub-{label}" / "anat").mkdir(parents=True)
    (tmp_path / "raw" / "dataset_description.json").write_text("{}")
    with pytest.raises(InputError, match="is no BIDS label"):
        update_inventory(tmp_path / "raw", tmp_path / "inventory")


@pytest.mark.parametrize("derivative", [False, True])
@pytest.mark.parametrize(
    "path",
    [
        "sub-01/ses-a;touch x/anat/sub-01_ses-a;touch x_T1w.nii.gz",
        "sub-01/anat/sub-01_acq-$(touch x)_T1w.nii.gz",
        "sub-01/anat/sub-01_acq-{a}_T1w.nii.gz",
        "sub-01/anat/sub-01_acq-.._T1w.nii.gz",
        "sub-01/anat/sub-01_acq-ä_T1w.nii.gz",
        "sub-01/anat/sub-01_T1w;touch x.nii.gz",
        "sub-01/anat/sub-01_a b-1_T1w.nii.gz",
        "sub-01/anat/sub-01_{a}-1_T1w.nii.gz",
    ],
)
def test_an_image_with_a_name_that_bids_does_not_have_is_a_problem(path: str, derivative: bool):
    assert name_fault(path, parse_entities(path, derivative=derivative), derivative=derivative)


@pytest.mark.parametrize("name", ["sub-01_{a}_dseg.nii.gz", "sub-01_desc-a;touch x_dseg.nii.gz"])
def test_a_mask_beside_perfusion_with_such_a_name_is_a_problem(name: str):
    path = f"sub-01/perf/{name}"
    assert "no name of BIDS has" in name_fault(path, parse_entities(path, derivative=True), derivative=True)


@pytest.mark.parametrize("name", ["out {a}", "out\nx", "out\x1b[31m"])
def test_a_folder_that_rules_cannot_name_is_refused(name: str):
    with pytest.raises(InputError, match="brace, or a character that cannot be printed") as caught:
        check_name(Path("/data") / name)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.fixture(scope="module")
def evil(finished: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A dataset whose folder, name, visit and metadata all look like commands, run as far as preprocess."""
    study = Study(tmp_path_factory.mktemp("evil") / EVIL)
    source, folder = finished.bids / "sub-01" / "anat", study.bids / "sub-1+1" / "ses-2+3" / "anat"
    folder.mkdir(parents=True)
    for path in source.iterdir():
        shutil.copy(path, folder / path.name.replace("sub-01", "sub-1+1_ses-2+3"))
    for sidecar in folder.glob("*phase*.json"):
        content = json.loads(sidecar.read_text())
        sidecar.write_text(json.dumps({**content, "Units": EVIL, "MagneticFieldStrength": EVIL}))
    name = "sub-1+1/ses-2+3/anat/sub-1+1_ses-2+3_desc-a+b_dseg.nii.gz"
    mask = study.bids / "derivatives" / "masks" / name
    mask.parent.mkdir(parents=True)
    shutil.copy(finished.bids / "derivatives/masks/sub-01/anat/sub-01_desc-lesion_dseg.nii.gz", mask)
    description = {"Name": f"{EVIL}<script>", "BIDSVersion": "1.10.0"}
    (study.bids / "dataset_description.json").write_text(json.dumps(description))
    done = study.call("participant", "--stages", "preprocess", "report")
    assert done.returncode == 0, done.stdout + done.stderr
    return study


@only_whole
def test_steps_run_on_it_and_nothing_in_its_names_is_done(evil: Study):
    assert (evil.work / "prepared" / "sub-1+1_ses-2+3" / "brain_mask.nii.gz").is_file()
    assert not [path for path in evil.folder.rglob("pwned*") if path.name != EVIL]
    assert not [path for root in (ROOT, Path.cwd()) for path in root.glob("pwned*")]
    assert "<script" not in (evil.out / "sub-1+1.html").read_text()


# What takes every step there is.
SETTINGS = {
    "radiomics": {"perturbations": 2},
    "segment": {
        "models": ["one", "two"],
        "fusions": [{"name": "both", "of": ["one", "two"]}],
        "compare": ["both"],
    },
    "analyses": [{"name": "a", "outcome": "sex", "jobs": 2}],
}


def second_visit(study: Study) -> None:
    first = study.bids / "sub-1+1" / "ses-2+3"
    for path in list(first.rglob("*.*")):
        copy = first.with_name("ses-4") / path.parent.name / path.name.replace("ses-2+3", "ses-4")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)


@only_whole
def test_no_command_of_any_step_has_a_name_outside_of_quotes(evil: Study):
    settings, models = evil.folder / "study.yaml", evil.folder / "models"
    settings.write_text(yaml.safe_dump(SETTINGS))
    for name in ("one", "two"):
        save_model(models, name, *above(1.0), outputs={"labels": {"1": "lesion"}})
    (models / "deepbet").symlink_to(default_models_dir() / "deepbet")
    (evil.bids / "participants.tsv").write_text("participant_id\tsex\nsub-1+1\tF\n")
    second_visit(evil)
    evil.planned("participant", "--config-file", str(settings), "--models-dir", str(models))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1"]
    command += ["--configfile", str(evil.work / "dry-run.yaml")]
    command += ["--dry-run", "--printshellcmds", "--forceall"]
    done = subprocess.run([*command, "all"], capture_output=True, text=True, check=False, cwd=evil.folder)
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"\w+\.py --unit.*|report_\w+\.py --.*", done.stdout + done.stderr)
    assert {line.split()[0] for line in lines} == {path.name for path in (ROOT / "scripts").glob("*.py")}
    for line in lines:
        # What a shell would act on, once all that is quoted is taken away.
        bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", line).removesuffix(" 2>&1")
        assert not set(bare) & set("`$;|&<{}*?~#"), line
        assert bare.count(">") == 1, line
        words = shlex.split(line)
        assert not [word for word in words if "pwned" in word and EVIL not in word], line
