"""What it takes to build and run images on a machine where nothing was installed, or the reason why not."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT

BASE = "docker.io/library/python:3.11-slim-bookworm"
PLUGINS = {
    "slurm": ("snakemake-executor-plugin-slurm==2.8.0", "snakemake-executor-plugin-slurm-jobstep==0.6.1"),
    "lsf": ("snakemake-executor-plugin-lsf==0.3.3",),
    "grid-engine": ("snakemake-executor-plugin-cluster-generic==1.0.9",),
}
TOOLS = ROOT.parent / "shared" / "tools"
CACHE = ROOT / ".containers"
IMAGES = CACHE / "images"


class CannotBuildError(Exception):
    """Says why images cannot be built or run here."""


def environment() -> dict[str, str]:
    """Environment of the commands that build and run images."""
    found = {**os.environ, "VOXELOME_IMAGES_DIR": str(IMAGES)}
    found["SIF_OPTIONS"] = "--mksquashfs-args='-noI -noD -noF -noX'"
    configuration = CACHE / "base" / "containers.conf"
    if configuration.is_file():
        # Made with the stand-in for the base image: the network of the host is the only one that it has.
        found["CONTAINERS_CONF"] = str(configuration)
        found["BUILD_OPTIONS"] = " ".join(
            ["--network", "host", *pip_options(), os.environ.get("BUILD_OPTIONS", "")]
        )
    return found


def pip_options() -> list[str]:
    """Options of podman that let pip in a build reach what this machine's own pip reaches.

    The configuration is a secret of the build, the files that it names are mounted: nothing of them stays.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    named = {Path(text) for text in re.findall(r"(?:^|[\s'])(?:file://)?(/[^\s']+)", listed)}
    options = [f"--volume={path}:{path}:ro" for path in sorted(_outermost(named)) if path.exists()]
    for path in (Path("/etc/pip.conf"), Path.home() / ".config" / "pip" / "pip.conf"):
        if path.is_file():
            return [*options, "--secret", f"id=pip.conf,src={path}"]
    return options


def _outermost(paths: set[Path]) -> set[Path]:
    """Give paths that lie in none of the others."""
    return {path for path in paths if not any(other in path.parents for other in paths)}


def prepare() -> None:
    """Install podman, Apptainer and a base image where they are missing.

    Raises
    ------
    CannotBuildError
        They are missing and cannot be installed.
    """
    _prepare_apptainer()
    if _base_image_is_here():
        return
    if shutil.which("podman") and _works(["podman", "pull", "--quiet", BASE]):
        return
    _run_tool("make-base-image.sh", BASE, str(CACHE / "base"))


def python_with(plugin: str) -> Path:
    """Python that has what this one has and Snakemake's plugin for a cluster, one of :data:`PLUGINS`.

    Where Slurm is configured and does not run, its plugin makes every start of Snakemake wait: so each is in
    an environment of its own.
    """
    folder = CACHE / f"venv-{plugin}"
    python = folder / "bin" / "python"
    if not (folder / ".ready").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
        packages = next((folder / "lib").glob("python*/site-packages"))
        (packages / "voxelome.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
        done = subprocess.run([*pip, *PLUGINS[plugin]], capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip()[-300:]
            raise CannotBuildError(f"the plugin for {plugin} cannot be installed: {said}")
        (folder / ".ready").touch()
    return python


def start_slurm(folder: Path) -> list[int]:
    """Start Slurm; return the processes to end."""
    if Path("/etc/slurm/slurm.conf").is_file():
        raise CannotBuildError("this machine has a Slurm of its own, which is left alone")
    return [int(line) for line in _run_tool("start-slurm.sh", str(folder)).split() if line.isdigit()]


def start_grid_engine() -> list[int]:
    """Start Grid Engine; return the processes to end."""
    if os.environ.get("SGE_ROOT") or _works(["pgrep", "-x", "sge_qmaster"]):
        raise CannotBuildError("this machine has a Grid Engine of its own, which is left alone")
    return [int(line) for line in _run_script(Path(__file__).with_name("start-grid-engine.sh")).split()]


@contextmanager
def docker(folder: Path) -> Iterator[list[str]]:
    """Command of Docker, whose daemon is its own and lives as long as this; it has no network."""
    pid = int(_run_script(Path(__file__).with_name("start-docker.sh"), str(folder)))
    try:
        yield ["docker", "-H", f"unix://{folder}/docker.sock"]
    finally:
        os.kill(pid, signal.SIGTERM)


def _prepare_apptainer() -> None:
    if not shutil.which("apptainer"):
        _run_tool("install-apptainer.sh")


def _base_image_is_here() -> bool:
    """Whether podman has the base image, and can run it as this checkout is set up."""
    return bool(shutil.which("podman")) and all(
        _works(["podman", *words, BASE, *more])
        for words, more in ((["image", "exists"], []), (["run", "--rm"], ["true"]))
    )


def _works(command: list[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=120, env=environment(), check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _run_tool(name: str, *arguments: str) -> str:
    """Run one of the scripts that install what a bare Debian machine lacks; return what it printed."""
    script = TOOLS / name
    if not script.is_file():
        raise CannotBuildError(f"what {name} installs is missing here, and there is no {script}")
    return _run_script(script, *arguments)


def _run_script(script: Path, *arguments: str) -> str:
    """Run a script that installs packages; return what it printed."""
    if os.geteuid() != 0:
        raise CannotBuildError(f"{script.name} installs packages, which takes root")
    CACHE.mkdir(exist_ok=True)
    subprocess.run(["apt-get", "-qq", "update"], capture_output=True, check=False)
    # What it starts in the background keeps a pipe open for good.
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(["bash", str(script), *arguments], stdout=said, stderr=errors, check=False)
        said.seek(0)
        errors.seek(0)
        if done.returncode != 0:
            raise CannotBuildError(f"{script.name} failed: {errors.read().strip()[-300:]}")
        return said.read()
