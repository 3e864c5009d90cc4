"""Networks in a study: two visits, a fusion, a comparison; what they leave, and what runs again."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.conftest import Study
from tests.model_folders import above, edit_card, save_model
from voxelome.imageio import load_json, load_volume
from voxelome.phantom.cohort import make_cohort
from voxelome.step import StepRecord

VISITS = ("sub-01_ses-1", "sub-01_ses-2")
CT = [{"contrast": "ct", "rule": "window", "region": "image", "windows": [[40.0, 80.0]]}]
# In standard deviations above the mean of the brain.
INPUTS = [{"contrast": "FLAIR", "rule": "zscore", "region": "brain"}]
GRID = {"spacing": [4.0, 4.0, 4.0], "patch": [32, 32, 32], "overlap": 0.0}
SETTINGS = {
    "stages": ["preprocess", "register", "segment", "radiomics", "model", "report"],
    "preprocess": {"brain_extraction": "given"},
    "register": {"output_spaces": []},
    "radiomics": {"images": ["FLAIR"], "histogram": {"wanted": False}, "parameters": "features.yaml"},
    "segment": {
        "models": ["bright", "brighter", "absent", "bleed"],
        "fusions": [{"name": "fused", "of": ["bright", "brighter"]}],
        "compare": ["fused"],
    },
}


class NetworkStudy(Study):
    """A study with a models folder and settings of its own, of which one is that there is no template."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, coarse=False)
        self.models, self.settings = folder / "models", folder / "study.yaml"
        self.settings.write_text(yaml.safe_dump(SETTINGS))
        (folder / "features.yaml").write_text("featureClass: {firstorder: [Mean]}\n")

    def call(self, level, *more):
        own = ("--config-file", str(self.settings), "--models-dir", str(self.models))
        return super().call(level, *own, *more)

    def jobs(self, level: str, *more: str) -> set[str]:
        """Rule and wildcards of the jobs that a call would run."""
        planned = self.planned(level, *more)
        lines = (self.work / "dry-run.jsonl").read_text().splitlines() if planned else []
        events = [event for event in map(json.loads, lines) if event["event"] == "job_info"]
        jobs = {" ".join([item["rule"], *map(str, item["wildcards"].values())]) for item in events}
        return jobs - {"participant", "group", "cohort"}

    def add_model(self, name: str, level: float, **changes) -> None:
        weight, bias = above(level)
        labels = {"outputs": {"labels": {"1": "lesion"}}}
        save_model(self.models, name, weight, bias, **({"inputs": INPUTS, "grid": GRID} | labels | changes))

    def set(self, *, denoising: bool = False, **segment) -> None:
        """Change settings of segment, or one of preprocess."""
        preprocess = {**SETTINGS["preprocess"], "denoising": denoising}
        content = {**SETTINGS, "preprocess": preprocess, "segment": {**SETTINGS["segment"], **segment}}
        self.settings.write_text(yaml.safe_dump(content))

    def add_ct(self, session: str) -> None:
        """Add a CT to a visit, on which the network of CT finds something."""
        anat = self.bids / "sub-01" / f"ses-{session}" / "anat"
        (mri,) = anat.glob("*_FLAIR.nii.gz")
        shutil.copy(mri, anat / f"sub-01_ses-{session}_ct.nii.gz")

    def record(self, unit: str, name: str) -> StepRecord:
        return StepRecord.load(self.work / "steps" / unit / f"{name}.json")


def copy(path: Path, folder: Path, session: str) -> None:
    """Copy a file of a subject without sessions into a session."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, folder / path.name.replace("sub-01", f"sub-01_ses-{session}"))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> NetworkStudy:
    """Two visits of one head, on which both levels have run."""
    folder = tmp_path_factory.mktemp("networks")
    study = NetworkStudy(folder)
    make_cohort(study.bids, participants=1, sites=1, spacing=4.0)
    masks = study.bids / "derivatives" / "masks" / "sub-01"
    shutil.rmtree(masks)
    brain = study.bids / "derivatives" / "truth" / "sub-01" / "anat" / "sub-01_desc-brain_mask.nii.gz"
    for session in ("1", "2"):
        raw = study.bids / "sub-01" / f"ses-{session}" / "anat"
        for contrast in ("T1w", "FLAIR"):
            for path in (study.bids / "sub-01" / "anat").glob(f"sub-01_{contrast}.*"):
                copy(path, raw, session)
        copy(brain, masks / f"ses-{session}" / "anat", session)
    study.add_ct("1")
    shutil.rmtree(study.bids / "sub-01" / "anat")
    study.add_model("bright", 2.5, lesions=True)
    study.add_model("brighter", 3.0)
    study.add_model("absent", 1.0, inputs=[{"contrast": "PDw"}])
    study.add_model("bleed", 0.5, inputs=CT, grid={**GRID, "brain_only": False})
    for level in ("participant", "group"):
        done = study.call(level)
        assert done.returncode == 0, done.stdout + done.stderr
    return study


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))


def test_every_visit_has_the_labels_of_every_network_and_of_the_fusion(ran):
    for unit in VISITS:
        anat = ran.out / unit.replace("_", "/") / "anat"
        found = {
            name: load_volume(anat / f"{unit}_space-T1w_desc-{name}_dseg.nii.gz", dtype=None).data > 0
            for name in ("bright", "brighter", "fused")
        }
        assert found["brighter"].any()
        assert not (found["brighter"] & ~found["bright"]).any()
        # Of two, one vote is half of them.
        assert np.array_equal(found["fused"], found["bright"])
        assert len(rows_of(anat / f"{unit}_space-T1w_desc-bright_lesions.tsv")) > 0


def test_a_contrast_that_no_visit_has_skips_its_network_and_the_others_go_on(ran):
    for unit in VISITS:
        (said,) = ran.record(unit, "network-absent").skipped
        assert said == {"what": "absent", "why": "it needs PDw, and there is T1w, FLAIR"}
    assert "it needs PDw, and there is T1w, FLAIR" in (ran.out / "sub-01.html").read_text()


def test_the_visits_are_compared_and_one_head_has_changed_in_nothing(ran):
    record = ran.record("sub-01", "change-fused")
    (item,) = record.find("changes")
    assert item["pair"] == "ses-1 to ses-2"
    assert {row["change"] for row in rows_of(Path(item["path"]))} == {"stable"}


def test_labels_are_regions_of_the_groups_table(ran):
    (first, second) = rows_of(ran.out / "group" / "features.tsv")
    assert (first["session_id"], second["session_id"]) == ("ses-1", "ses-2")
    name = "FLAIR__{}__original__firstorder__Mean"
    regions = ("bright-lesion", "brighter-lesion", "fused-lesion", "brain")
    bright, brighter, fused, brain = (float(first[name.format(region)]) for region in regions)
    assert brain < bright == fused < brighter


def test_the_report_shows_the_labels_the_change_and_which_network_it_was(ran):
    page = (ran.out / "sub-01.html").read_text()
    checksum = load_json(ran.models / "bright" / "card.json")["sha256"]["model.onnx"]
    for text in ("bright on FLAIR", "fused on FLAIR", "Change of fused, ses-1 to ses-2", checksum[:12]):
        assert text in page


def test_the_official_validator_accepts_what_networks_leave(ran, validator_errors: Callable):
    assert validator_errors(ran.out) == []


def test_the_same_call_again_runs_nothing_whatever_cards_say_to_people(ran):
    edit_card(ran.models, "brighter", title="Another", licence="BSD", not_for="anything")
    assert ran.jobs("participant") == ran.jobs("group") == set()


def each(*names: str) -> set[str]:
    """Jobs of both visits."""
    return {" ".join([names[0], unit, *names[1:]]) for unit in VISITS}


def test_another_network_under_a_name_runs_it_again_and_what_rests_on_it(ran, tmp_path):
    backup = shutil.copytree(ran.models / "brighter", tmp_path / "brighter")
    ran.add_model("brighter", 2.75)
    later = {*each("network", "brighter"), *each("fusion", "fused"), *each("radiomics")}
    jobs = ran.jobs("participant")
    shutil.copytree(backup, ran.models / "brighter", dirs_exist_ok=True)
    assert jobs == later | {"change 01 fused", "report_subject 01"}


def test_a_model_added_runs_itself_and_what_measures_its_labels(ran):
    ran.add_model("another", 2.0)
    ran.set(models=[*SETTINGS["segment"]["models"], "another"])
    jobs = ran.jobs("participant")
    ran.set()
    assert jobs == {*each("network", "another"), *each("radiomics"), "report_subject 01"}


def test_models_that_moved_run_nothing_and_the_group_finds_them(ran):
    ran.models = ran.models.rename(ran.folder / "moved")
    # With an option for Snakemake everybody is planned, whatever stamps say.
    jobs = ran.jobs("participant", "--", "--nocolor"), ran.jobs("group", "--", "--nocolor")
    # A dry run is not what the group goes by.
    participant = ran.call("participant")
    group = Study.call(ran, "group", "--dry-run", "--config-file", str(ran.settings))
    ran.models = ran.models.rename(ran.folder / "models")
    assert jobs == (set(), set())
    assert participant.returncode == 0, participant.stdout
    assert "Nothing to do" in participant.stdout
    assert group.returncode == 0, group.stderr
    assert "Nothing to do" in group.stdout


def test_measuring_alone_takes_the_labels_that_are_there(ran):
    assert ran.jobs("participant", "--stages", "radiomics") == set()


def test_a_ct_that_is_added_runs_the_network_of_ct_and_a_setting_of_preprocess_all_others(ran):
    ran.add_ct("2")
    assert {job for job in ran.jobs("participant") if job.startswith("network")} == {
        f"network {VISITS[1]} bleed"
    }
    (ran.bids / "sub-01" / "ses-2" / "anat" / "sub-01_ses-2_ct.nii.gz").unlink()
    ran.set(denoising=True)
    jobs = {job for job in ran.jobs("participant") if job.startswith("network")}
    ran.set()
    assert jobs == {*each("network", "bright"), *each("network", "brighter"), *each("network", "absent")}


def test_a_network_that_fails_is_named_and_makes_the_results_of_others_no_worse(ran):
    """The last test: it leaves the study changed."""
    weight, bias = above(2.0, 3.0)
    save_model(ran.models, "brighter", weight, bias, inputs=INPUTS, grid=GRID)
    done = ran.call("participant")
    assert done.returncode == 1
    table = sorted((ran.out / "logs").glob("*/failures.tsv"))[-1]
    rows = rows_of(table)
    assert {(row["session_id"], row["step"]) for row in rows} == {
        ("ses-1", "network brighter"),
        ("ses-2", "network brighter"),
    }
    assert all("gives 3 channels, and its entry says 2" in row["reason"] for row in rows)
    left = {path.stem for path in (ran.work / "steps" / VISITS[0]).glob("*.json")}
    assert left == {
        *("preprocess", "register", "segment"),
        *(f"network-{name}" for name in ("bright", "absent", "bleed")),
    }
    together = {path.stem for path in (ran.work / "steps" / "sub-01").glob("*.json")}
    assert together == {"midway"}
    assert "network brighter" in (ran.out / "sub-01.html").read_text()
