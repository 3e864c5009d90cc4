"""What a source file computes and imports, told from its parsed text.

To parse all of voxelome takes seconds, and each start of Snakemake asks for it. What was found is kept beside
what Python compiles, by the digest of the file's bytes: as long as those are the same, so is what they say.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import voxelome
from voxelome.errors import InputError
from voxelome.imageio import load_json, save_text

PACKAGE = Path(voxelome.__file__).parent
KEPT = PACKAGE / "__pycache__" / "parsed.json"


class Parsed(NamedTuple):
    """Digest of a file without comments, docstrings and layout; names in voxelome that it imports."""

    digest: str
    imports: list[str]


@cache
def module_file(module: str) -> Path | None:
    """Find the file of a voxelome module without importing it."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def parsed_file(path: Path) -> Parsed:
    """Digest and imports of a source file."""
    content = path.read_bytes()
    key = hashlib.sha256(content).hexdigest()
    store = _store()
    if key not in store.files:
        store.files[key] = _parse(content)
        store.changed = True
    return store.files[key]


def keep_parsed() -> None:
    """Keep what was parsed for the next process, where Python may keep there what it compiles.

    In an installation that cannot be written to, such as an image, it was kept when that was made, or is
    found anew each time.
    """
    store = _store()
    if store.changed and not sys.dont_write_bytecode and not sys.pycache_prefix:
        with suppress(InputError, OSError):
            save_text(KEPT, json.dumps({"by": _own_digest(), "files": store.files}))
        store.changed = False


@dataclass
class _Store:
    """What is known of files, by the digest of their bytes, and whether any of it is new."""

    files: dict[str, Parsed]
    changed: bool = False


@cache
def _store() -> _Store:
    """What this very code has kept; of what cannot be read, nothing."""
    try:
        content = load_json(KEPT)
    except InputError:
        return _Store({})
    same = content.get("by") == _own_digest()
    return _Store({key: Parsed(*row) for key, row in content["files"].items()} if same else {})


def _own_digest() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _parse(content: bytes) -> Parsed:
    tree = ast.parse(content)
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _drop_docstring(node)
        names.update(_imported(node))
    digest = hashlib.sha256(_text(tree).encode()).hexdigest()
    return Parsed(digest, sorted(name for name in names if name.startswith("voxelome.")))


def _drop_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    first = node.body[0] if node.body else None
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        node.body = node.body[1:] or [ast.Pass()]


def _imported(node: ast.AST) -> Iterator[str]:
    """Names that a statement imports: what they stand for may be a module or something in one."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


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
