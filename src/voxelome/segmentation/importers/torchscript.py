"""TorchScript files: one member a file."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voxelome.claims import check_archive_claim
from voxelome.errors import InputError, blame
from voxelome.segmentation.importers.export import Form, write_member
from voxelome.segmentation.importers.member_files import member_files
from voxelome.segmentation.importers.onnx_graph import Layout
from voxelome.segmentation.importers.torch_files import FETCH_AGAIN
from voxelome.segmentation.spec import parse_spec

ENDINGS = (".pt", ".ts", ".pth", ".jit")
# Operators of TorchScript that read or write files, by any name for torch; and all operators beyond those
# of torch itself.
FORBIDDEN = re.compile(r"\.[\s\\]*(save|from_file|load_tensor)\b|(?<![\w.])(ops)\b(?!\.(?:prim|aten)\.)")


def convert(source: Path, entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Members of TorchScript files, which are written as ONNX into `folder`.

    Parameters
    ----------
    source : path
        File, or folder; :func:`.member_files.member_files` says which of its files are taken.
    entry : mapping
        Registry entry; it must say what the network takes and gives: ``inputs``, ``grid``, ``outputs``.
    folder : path

    Raises
    ------
    InputError
        The entry does not describe the network, a file is missing or damaged, or does not do what the entry
        says.
    """
    missing = [part for part in ("inputs", "outputs") if part not in entry]
    if "patch" not in entry.get("grid", {}):
        missing.append("grid: patch")
    if missing:
        problem = "TorchScript does not say what a network takes and gives"
        raise InputError(source, problem, f"give in its entry: {', '.join(missing)}")
    with blame(str(entry.get("name", source))):
        spec = parse_spec({"task": "segmentation", "name": source.stem, **entry})
    files = member_files(source, entry, ENDINGS)
    for member, path in files.items():
        write_script(path, folder / member, Form.of(spec))
    return {"members": list(files)}


def write_script(path: Path, target: Path, form: Form, layout: Layout | None = None) -> None:
    """Write the network of a TorchScript file as ONNX; see :func:`write_member`."""
    write_member(load_script(path), target, form, path, layout)


def load_script(path: Path) -> Any:
    """Network of a TorchScript file.

    The file holds a program in the language of TorchScript. torch reads its pickle with a reader of its own
    that makes tensors and classes of that program, and calls nothing of Python. But the language has
    operators that read and write files, and parts of the program run when it is loaded. So its source is
    searched for them first.

    Raises
    ------
    InputError
        There is no such file, it is damaged, or its program does what no network needs.
    """
    import torch

    if not path.is_file():
        raise InputError(path, "there is no such file", FETCH_AGAIN)
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive_claim(path, archive)
            names = archive.namelist()
            code = {name: archive.read(name).decode() for name in names if name.endswith(".py")}
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise InputError(path, f"is no whole TorchScript file ({error})", FETCH_AGAIN) from error
    if not code or len(set(names)) != len(names):
        problem = "holds weights without a program" if not code else "holds two parts of one name"
        raise InputError(path, problem, "save it with torch.jit.save")
    for text in code.values():
        found = FORBIDDEN.search(text)
        if found:
            problem = f"its program uses {found[1] or found[2]}, which no network needs"
            raise InputError(path, problem, "do not use this file unless you know where it is from")
    try:
        return torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(path, f"cannot be read as TorchScript ({reason})", FETCH_AGAIN) from error
