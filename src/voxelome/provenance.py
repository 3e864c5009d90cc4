"""What ran: a digest of a step's own code, versions, BIDS URIs."""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import voxelome

PACKAGE = Path(voxelome.__file__).parent
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
        digest.update(f"{name}={_module_digest(name)}\n".encode())
    for path in _package_data(modules):
        digest.update(path.name.encode() + path.read_bytes())
    pins = ((root or workflow_root()) / "envs" / f"{environment}.txt").read_text(encoding="utf-8")
    lines = (line.split("#")[0].strip() for line in pins.splitlines())
    digest.update("\n".join(sorted(line for line in lines if line)).encode())
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
    told = "".join(f"{path.name}={_text(_parse(path))}\n" for path in found)
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
    folders = {path.parent for module in modules if (path := _source(module)) is not None}
    found = (path for folder in folders if folder != PACKAGE for path in folder.glob("[!_]*/*"))
    return sorted(path for path in found if path.is_file() and path.suffix != ".py")


def _source(module: str) -> Path | None:
    """Find the file of a voxelome module without importing it."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _tree(module: str) -> ast.Module:
    path = _source(module)
    if path is None:
        raise ModuleNotFoundError(f"voxelome has no module {module}")
    return _parse(path)


def _parse(path: Path) -> ast.Module:
    """Parse a file, without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _drop_docstring(node)
    return tree


def _drop_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    first = node.body[0] if node.body else None
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        node.body = node.body[1:] or [ast.Pass()]


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Voxelome modules that one module imports; packages' own files carry no code of a step."""
    found: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    own = {name for name in found if name.startswith("voxelome.")}
    return tuple(sorted(name for name in own if _source(name) is not None))


@cache
def _module_digest(module: str) -> str:
    return hashlib.sha256(_text(_tree(module)).encode()).hexdigest()


def _text(node: Any) -> str:
    """Write a parsed source as text, without the empty fields: `ast.dump` differs between versions of Python.

    An image and the workflow that uses it may have different ones.
    """
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        kept = (f"{name}={_text(value)}" for name, value in fields if name != "kind")
        return f"{type(node).__name__}({','.join(kept)})"
    if isinstance(node, list):
        return f"[{','.join(_text(item) for item in node)}]"
    return repr(node)


def software_versions(programs: Iterable[str] = PROGRAMS) -> dict[str, str]:
    """Versions of voxelome and of those programs that are installed where this process runs."""
    versions = {"voxelome": voxelome.__version__}
    for program in programs:
        with suppress(metadata.PackageNotFoundError):
            versions[program] = metadata.version(program)
    return versions
