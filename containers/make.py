"""Build the images, convert them for Apptainer, write their digests; `make images`, `make sif`."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import voxelome
from voxelome.errors import InputError, exit_code
from voxelome.imageio import load_yaml, replacing, save_text
from voxelome.images import APP, CODE_LABEL, DIGEST, STEPS, default_images_dir, image_labels, stage_digest
from voxelome.provenance import file_digest

# The recipe is no code: another one makes a new image, and an old one is not refused for it.
RECIPE_LABEL = "org.voxelome.recipe"
ROOT = Path(__file__).resolve().parents[1]
CONTAINERS = ROOT / "config" / "containers.yaml"


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["build", "sif", "pin"])
    parser.add_argument("stages", nargs="*", help="default: all")
    parser.add_argument("--images-dir", type=Path, default=default_images_dir(), help="default: %(default)s")
    parser.add_argument("--anew", action="store_true", help="use nothing that was made before")
    options = parser.parse_args()
    known = [*STEPS, APP]
    for stage in options.stages:
        if stage not in known:
            raise InputError("STAGES", f"there is no image {stage!r}", f"there are: {', '.join(known)}")
    for stage in options.stages or known:
        if options.what == "build":
            build(stage, anew=options.anew)
        elif options.what == "sif":
            convert(stage, options.images_dir, anew=options.anew)
        else:
            pin(stage)
    return 0


def engine() -> str:
    """Program that builds images: podman, else docker."""
    found = next((name for name in ("podman", "docker") if shutil.which(name)), "")
    if not found:
        raise InputError("PATH", "there is neither podman nor docker", "install one of them to build images")
    return found


def tag(stage: str) -> str:
    """Name and tag of a stage's image."""
    return str(load_yaml(CONTAINERS)["images"][stage]["tag"])


def build(stage: str, *, anew: bool = False) -> None:
    """Build a stage's image unless there is one of the same code and recipe; `anew`: always, from nothing."""
    recipe = ROOT / "containers" / stage / "Containerfile"
    wanted = {CODE_LABEL: stage_digest(stage), RECIPE_LABEL: file_digest(recipe)}
    if not anew and all(label(stage, name) == digest for name, digest in wanted.items()):
        say(f"{tag(stage)} is up to date")
        return
    replaced = inspect(stage, "{{.Id}}")
    begun = time.monotonic()
    arguments = {"CODE": wanted[CODE_LABEL], "VERSION": voxelome.__version__, "REVISION": revision()}
    command = [engine(), "build", "--file", str(recipe), "--tag", tag(stage)]
    command += ["--label", f"{RECIPE_LABEL}={wanted[RECIPE_LABEL]}"]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    command += [*(["--no-cache"] if anew else []), *shlex.split(os.environ.get("BUILD_OPTIONS", ""))]
    run([*command, str(ROOT)])
    say(f"{tag(stage)} built in {time.monotonic() - begun:.0f} s")
    if replaced:
        drop(replaced)


def drop(image: str) -> None:
    """Remove an image that has lost its name: each is up to 2 GB, and nobody would find it again."""
    command = [engine(), "image", "inspect", "--format", "{{.RepoTags}}", image]
    named = subprocess.run(command, capture_output=True, text=True, check=False)
    if named.stdout.strip() != "[]":
        return
    removed = subprocess.run([engine(), "image", "rm", image], capture_output=True, text=True, check=False)
    if removed.returncode:
        say(f"the image before, {image}, is kept: {removed.stderr.strip()}")


def convert(stage: str, folder: Path, *, anew: bool = False) -> None:
    """Write a stage's image as a file for Apptainer, unless there is one of the same code and recipe."""
    if not shutil.which("apptainer"):
        raise InputError("PATH", "there is no apptainer", "install it to convert images")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{tag(stage).split(':')[0]}.sif"
    if target.is_file() and not anew:
        held = image_labels(target)
        if all(held.get(name) and held[name] == label(stage, name) for name in (CODE_LABEL, RECIPE_LABEL)):
            say(f"{target} is up to date")
            return
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder) as scratch, replacing(target) as part:
        archive = Path(scratch) / "image.tar"
        save = ["--format", "docker-archive"] if engine() == "podman" else []
        run([engine(), "save", *save, "--output", str(archive), tag(stage)])
        environment = {**os.environ, "APPTAINER_TMPDIR": scratch, "APPTAINER_CACHEDIR": scratch}
        options = shlex.split(os.environ.get("SIF_OPTIONS", ""))
        command = ["apptainer", "--quiet", "build", "--force", *options]
        run([*command, str(part), f"docker-archive:{archive}"], environment)
    say(f"{target} written in {time.monotonic() - begun:.0f} s")


def run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a command whose own words the user sees; refuse to go on where it fails."""
    if subprocess.run(command, check=False, env=environment).returncode:
        raise InputError(command[0], f"{shlex.join(command[:3])} ... failed", "the lines above say why")


def pin(stage: str) -> None:
    """Write the digest that a stage's image has in the registry to which it was pushed."""
    digest = inspect(stage, "{{.Digest}}" if engine() == "podman" else "{{index .RepoDigests 0}}")
    digest = digest.rsplit("@", 1)[-1]
    if not re.fullmatch(DIGEST, digest):
        problem, remedy = (
            f"has no digest ({digest or 'none'})",
            f"build it (make images STAGES={stage}) and push it",
        )
        raise InputError(tag(stage), problem, remedy)
    pattern = rf"(?m)^(  {stage}: {{.*digest: )[^}}]*"
    save_text(CONTAINERS, re.sub(pattern, rf"\g<1>{digest}", CONTAINERS.read_text(encoding="utf-8")))


def label(stage: str, name: str) -> str:
    """Label of a stage's image; the empty string where there is no image."""
    return inspect(stage, f'{{{{index .Config.Labels "{name}"}}}}')


def inspect(stage: str, template: str) -> str:
    """What the engine says of a stage's image; the empty string where there is no image."""
    command = [engine(), "image", "inspect", "--format", template, tag(stage)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def revision() -> str:
    """Commit of the code, and whether it has changed since; the empty string outside of a repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def say(text: str) -> None:
    """Print one line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(exit_code("make", main))
