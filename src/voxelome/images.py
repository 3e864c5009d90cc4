"""Container images of the stages: which one a step runs in, and whether it holds the workflow's code.

``python -m voxelome.images STAGE`` prints the digest of a stage's code.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from voxelome.errors import InputError
from voxelome.imageio import load_yaml
from voxelome.provenance import code_digest, scripts_digest, user_folder, workflow_digest, workflow_root

# Modules of voxelome.interfaces that run in the image of each stage.
STEPS = {
    "preprocess": ("preprocess",),
    "register": ("register", "midway"),
    "qsm": ("qsm",),
    "segment": ("segment", "network", "fuse", "change"),
    "radiomics": ("radiomics", "robustness"),
    "radiomics-ibsi": ("radiomics",),
    "model": ("features", "reliability", "fold", "model"),
    "report": ("report",),
}
# What the inputs of a stage's rules are made by; each stage stands after those that it rests on.
RESTS_ON = {
    "preprocess": (),
    "register": ("preprocess",),
    "qsm": ("register",),
    "segment": ("preprocess", "register"),
    "radiomics": ("register", "qsm", "segment"),
    "model": ("radiomics",),
    "report": (),
}
APP = "app"
CODE_LABEL = "org.voxelome.code"
# How a registry names an image.
DIGEST = "sha256:[0-9a-f]{64}"
# Set where voxelome has looked at the images before it starts Snakemake, and knows which it needs.
CHECKED_VARIABLE = "VOXELOME_IMAGES_CHECKED"
# An image says by the first two what it is; the workflow says by the third what it should be.
IMAGE_VARIABLE, CODE_VARIABLE, WORKFLOW_VARIABLE = "VOXELOME_IMAGE", "VOXELOME_CODE", "VOXELOME_WORKFLOW_CODE"


@cache
def stage_digest(stage: str) -> str:
    """Digest of all code that runs in the image of a stage, its scripts and its pinned environment.

    The app's image holds the whole workflow and models of its own: its digest covers every file of them.
    """
    if stage == APP:
        return workflow_digest("models")
    parts = [f"{step}={code_digest(f'voxelome.interfaces.{step}', stage)}" for step in STEPS[stage]]
    return hashlib.sha256("\n".join([*parts, scripts_digest()]).encode()).hexdigest()[:16]


def default_images_dir() -> Path:
    """Folder of image files: VOXELOME_IMAGES_DIR, or one in the user's cache."""
    return user_folder("images")


def image_names(images_dir: Path, containers: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Image of each stage, as Snakemake takes it: a registry's, by digest, or a file of the images folder.

    Parameters
    ----------
    images_dir : path
        Where ``make sif`` has put the files.
    containers : mapping, optional
        Content of ``config/containers.yaml``, which is read where it is not given.

    Raises
    ------
    InputError
        A registry is named, and no digest of an image: a tag may be another image tomorrow.
    """
    source = workflow_root() / "config" / "containers.yaml"
    given = load_yaml(source) if containers is None else containers
    registry, found = given.get("registry"), {}
    for stage in STEPS:
        entry = given["images"][stage]
        name = str(entry["tag"]).split(":", maxsplit=1)[0]
        if registry and not re.fullmatch(DIGEST, str(entry["digest"])):
            remedy = f"write the digest of {entry['tag']} there (make images PIN=1)"
            raise InputError(source, f"names a registry and no digest of {stage}", remedy)
        found[stage] = (
            f"docker://{registry}/{name}@{entry['digest']}" if registry else str(images_dir / f"{name}.sif")
        )
    return found


def needed_images(config: Mapping[str, Any], *, visits: bool = True, group: bool = True) -> list[str]:
    """Stages whose images a run needs: those asked for, and what they rest on.

    Parameters
    ----------
    config : mapping
        The settings.
    visits, group : bool
        Whether the run works on visits, and on the group.
    """
    wanted = {stage for stage in config["stages"] if group or stage != "model"}
    if visits:
        for stage in reversed(RESTS_ON):
            wanted |= set(RESTS_ON[stage]) if stage in wanted else set()
    else:
        wanted &= {"model", "report"}
    engine = "radiomics-ibsi" if config["radiomics"]["engine"] == "mirp" else "radiomics"
    return [engine if stage == "radiomics" else stage for stage in RESTS_ON if stage in wanted]


def check_images(images: Mapping[str, str], stages: Iterable[str]) -> None:
    """Raise an InputError for the first image file that is absent, or holds other code than the workflow.

    Images of a registry are not here yet: the step itself checks them (:func:`check_own_image`).
    """
    for stage in stages:
        path = Path(images[stage])
        if "://" in images[stage]:
            continue
        if not path.is_file():
            raise InputError(path, "there is no such image", f"run: {rebuild_command(stage, path.parent)}")
        _compare(path, stage, image_code(path), stage_digest(stage))


def image_code(path: Path) -> str:
    """Digest of the code in an image file, as its label has it; the empty string where it has none."""
    return image_labels(path).get(CODE_LABEL, "")


def image_labels(path: Path) -> dict[str, str]:
    """Labels of an image file of Apptainer.

    Raises
    ------
    InputError
        It cannot be read.
    """
    done = subprocess.run(
        ["apptainer", "inspect", "--json", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        problem = f"cannot be read as an image ({' '.join(done.stderr.split())[-200:]})"
        raise InputError(path, problem, "remove it and build it anew (make images sif)")
    labels: dict[str, str] = json.loads(done.stdout)["data"]["attributes"].get("labels") or {}
    return labels


def check_own_image(environment: Mapping[str, str]) -> None:
    """Raise an InputError where this process runs in an image with other code than the workflow's."""
    stage = environment.get(IMAGE_VARIABLE, "")
    wanted = dict(part.split("=", 1) for part in environment.get(WORKFLOW_VARIABLE, "").split())
    if stage in wanted:
        _compare(f"image of {stage}", stage, environment.get(CODE_VARIABLE, ""), wanted[stage])


def _compare(source: Path | str, stage: str, code: str, wanted: str) -> None:
    if code != wanted:
        problem = f"holds other code than the workflow ({code or 'none'}, not {wanted})"
        folder = source.parent if isinstance(source, Path) else None
        raise InputError(source, problem, f"rebuild it: {rebuild_command(stage, folder)}")


def rebuild_command(stage: str, folder: Path | None = None) -> str:
    """Command that builds the image of a stage and its file for Apptainer."""
    where = f" IMAGES_DIR={folder}" if folder else ""
    return f"make images sif STAGES={stage}{where}"


def workflow_code() -> str:
    """Digests of all stages, as the workflow hands them to its steps."""
    return " ".join(f"{stage}={stage_digest(stage)}" for stage in STEPS)


if __name__ == "__main__":
    sys.stdout.write(f"{stage_digest(sys.argv[1])}\n")
