"""Images hold what their stage needs, give the results of a local run, and are refused when outdated."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import voxelome
from tests.conftest import ROOT, Study
from tests.containers import machine
from tests.containers.conftest import ONE_THREAD, results
from voxelome.errors import InputError
from voxelome.imageio import load_yaml
from voxelome.images import APP, CODE_LABEL, STEPS, check_images, image_code, image_names, stage_digest


def podman(*arguments: str) -> str:
    done = subprocess.run(
        ["podman", *arguments], env=machine.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def tag(stage: str) -> str:
    return str(load_yaml(ROOT / "config" / "containers.yaml")["images"][stage]["tag"])


@pytest.mark.parametrize("stage", [*STEPS, APP])
def test_an_image_says_what_it_is(images: Path, stage: str):
    told = json.loads(podman("image", "inspect", tag(stage)))[0]["Config"]
    labels = told["Labels"]
    assert labels[CODE_LABEL] == stage_digest(stage)
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.version"] == voxelome.__version__
    assert labels["org.opencontainers.image.revision"]
    assert told["User"] == "1000:1000"


# Run in an image, by its own Python: what is installed there, and which pins are for that machine.
INSTALLED = """
import json
from importlib.metadata import distributions
from packaging.utils import canonicalize_name
from voxelome.app.sbom import read_pins
from voxelome.provenance import workflow_root
pins = read_pins(workflow_root() / "envs" / "{stage}.txt")
print(json.dumps({{
    "pinned": {{pin.name: pin.version for pin in pins if pin.wanted}},
    "installed": {{canonicalize_name(item.name): item.version for item in distributions()}},
}}))
"""


def run_in(stage: str, *command: str) -> str:
    """Run a program in a stage's image, and return what it prints."""
    return podman("run", "--rm", "--network", "none", "--entrypoint", command[0], tag(stage), *command[1:])


@pytest.mark.parametrize("stage", [*STEPS, APP])
def test_an_image_holds_its_pins_and_voxelome_and_no_other_package(images: Path, stage: str):
    found = json.loads(run_in(stage, "python", "-c", INSTALLED.format(stage=stage)))
    assert found["installed"].pop("voxelome") == voxelome.__version__
    assert found["installed"] == found["pinned"]
    assert len(found["pinned"]) > 20


@pytest.mark.parametrize("stage", [*STEPS, APP])
def test_the_bill_of_materials_of_an_image_is_that_of_its_pins(images: Path, stage: str):
    found = json.loads(run_in(stage, "python", "-c", INSTALLED.format(stage=stage)))
    bill = json.loads(run_in(stage, "cat", "/opt/voxelome/sbom.json"))
    assert {item["name"]: item["version"] for item in bill["components"]} == found["pinned"]


@pytest.mark.parametrize("stage", [*STEPS, APP])
def test_an_image_has_no_compiler(images: Path, stage: str):
    look = "command -v gcc cc g++ clang make || echo none"
    assert run_in(stage, "sh", "-c", look).strip() == "none"


def test_no_private_setting_of_pip_stays_in_an_image(images: Path):
    look = "cat /etc/pip.conf 2>/dev/null; pip config list"
    for stage in (*STEPS, APP):
        said = run_in(stage, "sh", "-c", look)
        assert "index" not in said
        assert "find-links" not in said


def test_every_stage_in_its_own_image_gives_the_results_of_a_local_run(local: Study, contained: Study):
    assert results(contained) == results(local)
    used = {path.parent.name for path in (contained.work / "steps").glob("*/*.json")}
    assert used == {"sub-01", "group"}


def test_each_stage_ran_in_its_own_image(contained: Study):
    for path in (contained.work / "logs").glob("*/*.log"):
        if path.name != "cohort.log":
            assert "/opt/voxelome/bin/python" in path.read_text().splitlines()[0], path


def test_what_is_bound_is_said(contained: Study, images: Path):
    done = contained.call("participant", *ONE_THREAD, "--profile", "apptainer", "--images-dir", str(images))
    assert f"{contained.bids} (read-only)" in done.stdout
    assert str(contained.out) in done.stdout
    assert "Nothing to do" in done.stdout


def test_an_image_of_other_code_is_refused_with_the_command_that_rebuilds_it(images: Path, checkout: Path):
    assert image_code(images / "voxelome-qsm.sif") == stage_digest("qsm")
    path = checkout / "src" / "voxelome" / "qsm" / "dipole.py"
    path.write_text(path.read_text() + "\n\nEDITED = 1\n")
    command = (
        "from pathlib import Path; from voxelome.images import *;"
        f"check_images(image_names(Path({str(images)!r})), ['register', 'qsm'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", command],
        env={**machine.environment(), "PYTHONPATH": str(checkout / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "voxelome-qsm.sif: holds other code than the workflow" in done.stderr
    assert f"make images sif STAGES=qsm IMAGES_DIR={images}" in done.stderr


def test_a_step_in_an_image_of_other_code_refuses_to_run(images: Path):
    image = images / "voxelome-report.sif"
    step = "report_subject.py --subject 01 --dataset x --visits [] --report /tmp/x.html"
    command = f"export VOXELOME_WORKFLOW_CODE=report=0000; {step}"
    done = subprocess.run(
        ["apptainer", "exec", "--cleanenv", str(image), "sh", "-c", command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "make images sif STAGES=report" in done.stderr


def test_a_missing_image_is_refused_with_the_command_that_builds_it(tmp_path: Path):
    with pytest.raises(InputError, match="make images sif STAGES=register"):
        check_images(image_names(tmp_path), ["register"])


def run_app(local: Study, name: str, *engine: str) -> Study:
    """Run the app's image on the dataset, as a BIDS App: any user, read-only root, no network."""
    study = Study(local.folder, coarse=False)
    study.out = local.folder / name
    study.work = study.out / ".voxelome"
    study.out.mkdir(mode=0o777)
    study.out.chmod(0o777)
    for level in ("participant", "group"):
        command = [*engine, "run", "--rm", "--read-only", "--network", "none", "--user", "4242:4242"]
        command += ["-v", f"{study.bids}:{study.bids}:ro", "-v", f"{study.out}:{study.out}"]
        command += [tag(APP), str(study.bids), str(study.out), level, "--nprocs", "2", *ONE_THREAD]
        command += ["--derivatives", f"masks={study.bids}/derivatives/masks", "--skip-bids-validation"]
        done = subprocess.run(command, env=machine.environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return study


@pytest.fixture(scope="session")
def app(local: Study, images: Path) -> Study:
    return run_app(local, "out-app", "podman")


@pytest.fixture
def docker(images: Path, tmp_path: Path) -> Iterator[list[str]]:
    """Docker with the app's image."""
    try:
        with machine.docker(tmp_path) as command:
            saved = tmp_path / "app.tar"
            podman("save", "--output", str(saved), tag(APP))
            load = [*command, "load", "--quiet", "--input", str(saved)]
            loaded = subprocess.run(load, check=True, capture_output=True, text=True).stdout
            saved.unlink()
            # Podman says localhost/ before a name that has no registry.
            subprocess.run([*command, "tag", loaded.strip().rpartition(": ")[2], tag(APP)], check=True)
            yield command
    except machine.CannotBuildError as reason:
        pytest.skip(str(reason))


def test_the_app_gives_the_same_under_docker(app: Study, local: Study, docker: list[str]):
    assert results(run_app(local, "out-docker", *docker)) == results(app)


def test_the_app_runs_as_any_user_with_a_read_only_root_and_no_network(app: Study, local: Study):
    name = "dataset_description.json"
    found, expected = results(app), results(local)
    assert found.pop(name) != expected.pop(name)
    assert found == expected
    # It names the image, and differs in nothing else.
    here, there = (json.loads((study.out / name).read_text()) for study in (app, local))
    image = here["GeneratedBy"][0].pop("Container")
    assert image["Tag"].startswith("voxelome:")
    assert here == there
    assert {path.stat().st_uid for path in app.out.rglob("*")} == {4242}
