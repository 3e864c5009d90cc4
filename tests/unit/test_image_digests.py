"""What makes an image another one, so that it is built anew."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT
from voxelome.errors import InputError
from voxelome.images import APP, CODE_LABEL, stage_digest

STAGES = ["preprocess", "report", APP]


def digests(root: Path) -> dict[str, str]:
    """Digests of images of the code of a folder, in a process of its own."""
    code = (
        f"import json; from voxelome.images import stage_digest as d; print(json.dumps([*map(d, {STAGES})]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True
    ).stdout
    return dict(zip(STAGES, json.loads(said), strict=True))


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_the_digest_of_an_image_covers_all_that_is_copied_into_it_and_runs(checkout: Path):
    before = digests(checkout)
    assert before == {stage: stage_digest(stage) for stage in STAGES}
    for name in ("Snakefile", "rules/qsm.smk", "config/config.yaml", "models/t1age/README.md"):
        append(checkout / name, "\n# edited\n")
        after = digests(checkout)
        assert {stage for stage in STAGES if after[stage] != before[stage]} == {APP}, name
        before = after
    compiled = checkout / "src" / "voxelome" / "qsm" / "__pycache__" / "unwrap._grow-91.py311.1.nbc"
    compiled.parent.mkdir(exist_ok=True)
    compiled.write_bytes(b"what numba compiled")
    assert digests(checkout) == before
    append(checkout / "scripts" / "report_subject.py", "\n# a comment\n")
    assert digests(checkout)["report"] == before["report"]
    append(checkout / "scripts" / "report_subject.py", "\nEDITED = 1\n")
    assert not set(digests(checkout).items()) & set(before.items())


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program that builds images, on a copy of what it reads and writes."""
    spec = importlib.util.spec_from_file_location("make_images", ROOT / "containers" / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for folder in ("containers", "config"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "CONTAINERS", tmp_path / "config" / "containers.yaml")
    monkeypatch.setattr(module, "engine", lambda: "podman")
    return module


def test_an_image_is_built_anew_where_its_code_or_its_recipe_is_another(
    make: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    labels: dict[str, str] = {}
    built = []

    def build(command: list[str]) -> None:
        labels.update(word.split("=", 1) for word in command if word.startswith("org.voxelome"))
        labels[CODE_LABEL] = next(word for word in command if word.startswith("CODE=")).removeprefix("CODE=")
        built.append(command)

    monkeypatch.setattr(make, "label", lambda _, name: labels.get(name, ""))
    monkeypatch.setattr(make, "run", build)
    for _ in range(2):
        make.build("report")
    assert len(built) == 1
    append(tmp_path / "containers" / "report" / "Containerfile", "ENV A=b\n")
    make.build("report")
    assert len(built) == 2
    labels[CODE_LABEL] = "0000"
    make.build("report")
    assert len(built) == 3
    assert not any("--no-cache" in command for command in built)
    make.build("report", anew=True)
    assert "--no-cache" in built[3]


@pytest.mark.parametrize("told", ["", "<no value>", "voxelome-qsm@sha256:12"])
def test_an_image_without_a_digest_does_not_erase_the_one_that_is_written(
    make: ModuleType, monkeypatch: pytest.MonkeyPatch, told: str
):
    digest = f"sha256:{'a' * 64}"
    monkeypatch.setattr(make, "inspect", lambda *_: f"example.org/us/voxelome-qsm@{digest}")
    make.pin("qsm")
    before = make.CONTAINERS.read_text()
    assert re.search(rf"qsm: {{.*digest: {digest}}}", before)
    monkeypatch.setattr(make, "inspect", lambda *_: told)
    with pytest.raises(InputError, match="has no digest"):
        make.pin("qsm")
    assert make.CONTAINERS.read_text() == before


@pytest.mark.parametrize(
    ("held", "anew", "written"), [("same", False, False), ("other", False, True), ("same", True, True)]
)
def test_an_image_file_is_written_anew_only_where_the_image_is_another_or_it_is_asked_for(
    make: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str, anew: bool, written: bool
):
    commands = []

    def run(command: list[str], *_: object) -> None:
        commands.append(command[0])
        if command[0] == "apptainer":
            Path(command[-2]).write_bytes(b"new")

    target = tmp_path / "voxelome-qsm.sif"
    target.write_bytes(b"old")
    monkeypatch.setattr(make, "run", run)
    monkeypatch.setattr(make.shutil, "which", lambda _: "apptainer")
    monkeypatch.setattr(make, "label", lambda *_: "same")
    labels = {make.CODE_LABEL: held, make.RECIPE_LABEL: "same"}
    monkeypatch.setattr(make, "image_labels", lambda _: labels)
    make.convert("qsm", tmp_path, anew=anew)
    assert bool(commands) == written
    assert target.read_bytes() == (b"new" if written else b"old")


@pytest.mark.parametrize(("tags", "removed"), [("[]", True), ("[localhost/kept:1]", False)])
def test_an_image_that_was_replaced_is_removed_unless_it_has_another_name(
    make: ModuleType, monkeypatch: pytest.MonkeyPatch, tags: str, removed: bool
):
    commands = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command[2])
        return subprocess.CompletedProcess(command, 0, f"{tags}\n", "")

    monkeypatch.setattr(make, "engine", lambda: "podman")
    monkeypatch.setattr(make.subprocess, "run", run)
    make.drop("abc")
    assert commands == ["inspect", *(["rm"] if removed else [])]
