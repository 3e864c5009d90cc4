"""What ran: a digest of a step's own code, versions, BIDS URIs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

import voxelome
from voxelome.parsed import PACKAGE, Parsed, keep_parsed, module_file, parsed_file

# Programs that results rest on, and whose versions a paper names.
PROGRAMS = (
    "antspyx",
    "deepbet",
    "mirp",
    "nibabel",
    "nilearn",
    "nipype",
    "numpy",
    "onnxruntime",
    "pyradiomics-bhklab",
    "scikit-learn",
    "scikit-survival",
    "scipy",
    "snakemake",
)
# What Snakemake says to voxelome, and what travels beside the package, or inside of it once it is installed.
_PLUGIN = "snakemake_logger_plugin_voxelome"
_WORKFLOW = ("Snakefile", "rules", "config", "envs", "scripts")


def user_folder(name: str) -> Path:
    """Folder of what all runs share, such as models: VOXELOME_<NAME>_DIR, or one in the user's cache."""
    cache_dir = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(f"VOXELOME_{name.upper()}_DIR") or Path(cache_dir) / "voxelome" / name)


def workflow_root() -> Path:
    """Folder that holds the Snakefile: inside the installed package, or the checkout."""
    packaged = PACKAGE / "workflow"
    return packaged if packaged.is_dir() else PACKAGE.parents[1]


def code_digest(module: str, environment: str, root: Path | None = None) -> str:
    """Digest of the code that a step runs: its modules and its pinned environment.

    Covers the parsed source, without comments, docstrings and layout, of `module` and of every
    voxelome module that it imports (at any depth, also inside functions). So an edited comment
    changes nothing, and an edit of the QSM numerics changes the digest of QSM alone. Templates and other
    data in the modules' packages count byte by byte.

    Parameters
    ----------
    module : str
        Module of the step's interface, such as ``voxelome.interfaces.qsm``.
    environment : str
        Name of the stage's file in ``envs/``.
    root : path, optional
        Folder with ``envs/``; by default that of the workflow.
    """
    digest = hashlib.sha256()
    modules = _closure(module)
    for name in sorted(modules):
        digest.update(f"{name}={_parsed(name).digest}\n".encode())
    for path in _package_data(modules):
        digest.update(path.name.encode() + path.read_bytes())
    pins = ((root or workflow_root()) / "envs" / f"{environment}.txt").read_text(encoding="utf-8")
    lines = (line.split("#")[0].strip() for line in pins.splitlines())
    digest.update("\n".join(sorted(line for line in lines if line)).encode())
    keep_parsed()
    return digest.hexdigest()[:16]


@cache
def workflow_digest(*more: str) -> str:
    """Digest of every file of the package and of the workflow, byte by byte, here or once it is installed.

    Parameters
    ----------
    more : str
        Further folders of the workflow, such as ``models``.
    """
    digest, root = hashlib.sha256(), workflow_root()
    tops = [PACKAGE, PACKAGE.parent / _PLUGIN, *(root / name for name in (*_WORKFLOW, *more))]
    for top in tops:
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            again = top == PACKAGE and path.is_relative_to(PACKAGE / "workflow")
            # Python and numba keep what they compiled there, while steps run.
            made = "__pycache__" in path.parts
            if path.is_file() and not made and not again:
                digest.update(f"{path.relative_to(top.parent)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def scripts_digest() -> str:
    """Digest of the parsed source of all steps' scripts."""
    found = sorted((workflow_root() / "scripts").glob("*.py"))
    told = "".join(f"{path.name}={parsed_file(path).digest}\n" for path in found)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Digest of a small file's content; of an absent one, the empty string."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def model_digest(folder: Path) -> str:
    """Digest of a fitted analysis: of its held-out predictions, as model.skops is never the same twice."""
    return file_digest(folder / "predictions.tsv")


def sessions_digest(bids_dir: Path) -> str:
    """Digest of the content of all sessions.tsv of a dataset; where there are none, the empty string."""
    found = sorted(bids_dir.glob("sub-*/sub-*_sessions.tsv"))
    told = "".join(f"{path.name}:{file_digest(path)}\n" for path in found)
    return hashlib.sha256(told.encode()).hexdigest()[:16] if found else ""


def _closure(module: str) -> set[str]:
    """Give `module` and all voxelome modules that it imports, directly or through others."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(_imports(name))
    return seen


def _package_data(modules: set[str]) -> list[Path]:
    """Files other than code (templates, tables) that lie in the folders below these modules' packages."""
    folders = {path.parent for module in modules if (path := module_file(module)) is not None}
    found = (path for folder in folders if folder != PACKAGE for path in folder.glob("[!_]*/*"))
    return sorted(path for path in found if path.is_file() and path.suffix != ".py")


def _imports(module: str) -> list[str]:
    """Voxelome modules that one module imports; packages' own files carry no code of a step."""
    return [name for name in _parsed(module).imports if module_file(name) is not None]


def _parsed(module: str) -> Parsed:
    path = module_file(module)
    if path is None:
        raise ModuleNotFoundError(f"voxelome has no module {module}")
    return parsed_file(path)


def software_versions(programs: Iterable[str] = PROGRAMS) -> dict[str, str]:
    """Versions of voxelome and of those programs that are installed where this process runs."""
    versions = {"voxelome": voxelome.__version__}
    for program in programs:
        with suppress(metadata.PackageNotFoundError):
            versions[program] = metadata.version(program)
    return versions
