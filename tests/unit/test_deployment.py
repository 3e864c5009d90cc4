"""Profiles, images and the folders that steps in images see."""

import getpass
import os
import pwd
import re
import shlex
from pathlib import Path

import pytest

import voxelome.interfaces
from tests.conftest import ROOT
from voxelome.app.deployment import cluster_resources, find_profile, uses_images
from voxelome.app.study import use_home
from voxelome.bids.mounts import Mount, apptainer_binds, mounts, tell_apptainer
from voxelome.bids.plan import Contrast, Unit
from voxelome.errors import InputError
from voxelome.imageio import load_yaml
from voxelome.images import (
    APP,
    CODE_VARIABLE,
    IMAGE_VARIABLE,
    STEPS,
    WORKFLOW_VARIABLE,
    check_images,
    check_own_image,
    image_names,
    needed_images,
    stage_digest,
    workflow_code,
)

PROFILES = ROOT / "config" / "profiles"


def test_a_profile_that_comes_with_voxelome_is_found_by_its_name():
    assert find_profile(Path("slurm")) == PROFILES / "slurm"
    assert find_profile(None) is None


def test_a_profile_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean apptainer"):
        find_profile(Path("aptainer"))


def test_a_folder_of_the_user_goes_before_a_profile_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "config.yaml").write_text("cores: 1\n")
    monkeypatch.chdir(tmp_path)
    assert find_profile(Path("slurm")) == tmp_path / "slurm"


@pytest.mark.parametrize(
    ("profile", "extra", "expected"),
    [
        ("local", "", False),
        ("apptainer", "", True),
        ("slurm", "", False),
        ("slurm-apptainer", "", True),
        ("local", "--sdm apptainer", True),
        ("local", "--software-deployment-method=apptainer", True),
        ("local", "--sdm conda apptainer --jobs 2", True),
        ("local", "--sdm conda --jobs apptainer", False),
        ("apptainer", "--sdm conda", False),
        (None, "--use-apptainer", True),
        (None, "--use-singularity", True),
        (None, "", False),
    ],
)
def test_whether_steps_run_in_images_is_read_from_the_profile_and_the_command_line(profile, extra, expected):
    assert uses_images(PROFILES / profile if profile else None, shlex.split(extra)) is expected


def test_account_and_partition_join_the_resources_of_the_profile(tmp_path: Path):
    (tmp_path / "config.yaml").write_text(
        "executor: slurm\ndefault-resources: {slurm_account: a, runtime: 5}\n"
    )
    found = cluster_resources("b", "long", tmp_path)
    assert found == ("--default-resources", "slurm_account=b", "runtime=5", "slurm_partition=long")
    assert cluster_resources(None, None, tmp_path) == ()


def test_a_partition_without_slurm_is_refused():
    with pytest.raises(InputError, match="--profile slurm"):
        cluster_resources(None, "long", PROFILES / "local")


def test_the_profiles_of_clusters_put_every_rule_of_a_subject_into_one_group():
    text = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    rules = {line.split()[1].rstrip(":") for line in text.splitlines() if line.startswith("rule ")}
    of_the_group = {"cohort", "features", "reliability", "fold", "model", "report_group"}
    for name in ("slurm", "slurm-apptainer", "sge"):
        profile = load_yaml(PROFILES / name / "config.yaml")
        assert set(profile["groups"]) == rules - of_the_group
        assert set(profile["groups"].values()) == {"subject"}
    # Its plugin cannot name the folder of a group of a visit with a long name (tests/containers/test_lsf.py).
    assert "groups" not in load_yaml(PROFILES / "lsf" / "config.yaml")
    for name in ("slurm", "slurm-apptainer", "sge", "lsf"):
        profile = load_yaml(PROFILES / name / "config.yaml")
        assert profile["retries"] >= 1
        assert profile["latency-wait"] >= 30


@pytest.fixture
def settings(tmp_path: Path) -> dict:
    for name in ("bids", "masks", "models", "elsewhere"):
        (tmp_path / name).mkdir()
    return {
        "bids_dir": str(tmp_path / "bids"),
        "out_dir": str(tmp_path / "out"),
        "work_dir": str(tmp_path / "out" / ".voxelome"),
        "models_dir": str(tmp_path / "models"),
        "derivatives": {"masks": str(tmp_path / "masks")},
        "register": {"output_spaces": ["MNI152NLin2009aSym:res-2"], "landmarks": ""},
        "radiomics": {"parameters": "", "engine": "pyradiomics"},
        "stages": ["preprocess", "register", "radiomics", "model", "report"],
    }


def visit(path: Path) -> dict[str, Unit]:
    image = Contrast(label="T1w", path=str(path), digest="x")
    return {"sub-01": Unit("01", None, contrasts=(image,))}


def test_linear_algebra_in_an_image_has_one_thread_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch):
    """Snakemake's own limits do not reach it; without one it would take all cores."""
    for name in ("APPTAINER_BIND", "APPTAINER_CLEANENV", "APPTAINERENV_OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    tell_apptainer("/a:/a:ro")
    assert os.environ["APPTAINERENV_OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("APPTAINERENV_OMP_NUM_THREADS", "4")
    tell_apptainer("/a:/a:ro")
    assert os.environ["APPTAINERENV_OMP_NUM_THREADS"] == "4"


def test_the_dataset_is_bound_read_only_and_the_output_is_written_to(settings: dict, tmp_path: Path):
    found = mounts(settings, {})
    writable = {mount.path: mount.writable for mount in found}
    assert writable == {
        tmp_path / "bids": False,
        tmp_path / "masks": False,
        tmp_path / "models": False,
        tmp_path / "out": True,
    }
    assert f"{tmp_path}/bids:{tmp_path}/bids:ro" in apptainer_binds(found)
    assert str(Mount(tmp_path / "bids")) == f"{tmp_path}/bids (read-only)"


def test_a_folder_inside_another_is_bound_once_unless_it_alone_is_written_to(settings: dict, tmp_path: Path):
    settings["derivatives"] = {"masks": str(tmp_path / "bids" / "derivatives")}
    (tmp_path / "bids" / "derivatives").mkdir()
    settings["models_dir"] = str(tmp_path)
    assert mounts(settings, {}) == [Mount(tmp_path), Mount(tmp_path / "out", writable=True)]


def test_what_links_in_the_dataset_lead_to_is_bound(settings: dict, tmp_path: Path):
    target = tmp_path / "elsewhere" / "T1w.nii.gz"
    target.write_bytes(b"")
    link = tmp_path / "bids" / "T1w.nii.gz"
    link.symlink_to(target)
    assert Mount(tmp_path / "elsewhere") in mounts(settings, visit(link))
    link.unlink()
    link.write_bytes(b"")
    assert Mount(tmp_path / "elsewhere") not in mounts(settings, visit(link))


def test_many_folders_that_links_lead_to_are_bound_as_the_one_that_holds_them(settings: dict, tmp_path: Path):
    plan = {}
    for number in range(25):
        target = tmp_path / "elsewhere" / str(number) / "T1w.nii.gz"
        target.parent.mkdir()
        target.write_bytes(b"")
        link = tmp_path / "bids" / f"{number}.nii.gz"
        link.symlink_to(target)
        plan |= {f"sub-{number}": unit for unit in visit(link).values()}
    assert Mount(tmp_path / "elsewhere") in mounts(settings, plan)


def test_a_folder_that_apptainer_cannot_bind_is_refused(settings: dict, tmp_path: Path):
    settings["out_dir"] = str(tmp_path / "a:b")
    with pytest.raises(InputError, match="rename the folder"):
        mounts(settings, {})


def test_a_run_needs_the_images_of_its_stages_and_of_what_they_rest_on(settings: dict):
    visits = ["preprocess", "register", "qsm", "segment", "radiomics"]
    assert needed_images(settings) == [*visits, "model", "report"]
    assert needed_images(settings, group=False) == [*visits, "report"]
    assert needed_images(settings, visits=False) == ["model", "report"]
    settings["stages"] = ["qsm", "report"]
    assert needed_images(settings) == ["preprocess", "register", "qsm", "report"]
    assert needed_images(settings, visits=False) == ["report"]
    settings["radiomics"]["engine"] = "mirp"
    settings["stages"] = ["model"]
    assert needed_images(settings) == [*visits[:4], "radiomics-ibsi", "model"]
    assert needed_images(settings, group=False) == []


def test_without_a_registry_images_are_files_and_with_one_they_are_taken_by_digest(tmp_path: Path):
    given = load_yaml(ROOT / "config" / "containers.yaml")
    assert image_names(tmp_path, given)["qsm"] == str(tmp_path / "voxelome-qsm.sif")
    given["registry"] = "example.org/us"
    with pytest.raises(InputError, match="no digest of preprocess"):
        image_names(tmp_path, given)
    for entry in given["images"].values():
        entry["digest"] = f"sha256:{'0' * 64}"
    assert image_names(tmp_path, given)["qsm"] == f"docker://example.org/us/voxelome-qsm@sha256:{'0' * 64}"


def test_a_missing_image_is_refused_with_the_command_that_builds_it(tmp_path: Path):
    with pytest.raises(InputError, match=f"make images sif STAGES=register IMAGES_DIR={tmp_path}"):
        check_images(image_names(tmp_path), ["register"])


def test_a_step_in_an_image_of_other_code_is_refused():
    image = {IMAGE_VARIABLE: "qsm", CODE_VARIABLE: stage_digest("qsm"), WORKFLOW_VARIABLE: workflow_code()}
    check_own_image(image)
    check_own_image({})
    check_own_image({**image, WORKFLOW_VARIABLE: ""})
    with pytest.raises(InputError, match="make images sif STAGES=qsm"):
        check_own_image({**image, CODE_VARIABLE: "0000"})


def test_there_is_a_recipe_and_a_name_of_every_image():
    assert {path.parent.name for path in (ROOT / "containers").glob("*/Containerfile")} == {*STEPS, APP}
    assert set(load_yaml(ROOT / "config" / "containers.yaml")["images"]) == {*STEPS, APP}


def modules_of_scripts() -> dict[str, str]:
    """Module of voxelome.interfaces that each script runs."""
    found = {}
    for path in (ROOT / "scripts").glob("*.py"):
        (name,) = re.findall(r"^from voxelome.interfaces import (\w+)$", path.read_text(), re.MULTILINE)
        found[path.name] = getattr(voxelome.interfaces, name).__module__.rsplit(".", 1)[1]
    return found


def test_the_interface_of_every_script_is_in_an_image_and_no_other():
    assert set(modules_of_scripts().values()) == {step for steps in STEPS.values() for step in steps}


def test_every_script_is_called_by_a_rule_with_the_digest_of_its_code_and_in_an_image_that_holds_it():
    modules, called = modules_of_scripts(), set()
    rules = [rule for path in (ROOT / "rules").glob("*.smk") for rule in path.read_text().split("\nrule ")]
    for rule in rules:
        for script in re.findall(r"\b(\w+\.py) --", rule):
            called.add(script)
            (image,) = re.findall(r'CONTAINERS\["?(\w+)"?\]', rule)
            assert f'code=CODE["{modules[script]}"]' in rule
            assert modules[script] in STEPS["radiomics" if image == "RADIOMICS" else image]
    assert called == set(modules)


def test_a_user_whom_the_machine_has_no_name_for_gets_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unknown(number: int):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    # Put back afterwards, whatever is set in between.
    monkeypatch.setenv("USER", "")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    use_home(tmp_path)
    assert getpass.getuser() == str(os.getuid())
