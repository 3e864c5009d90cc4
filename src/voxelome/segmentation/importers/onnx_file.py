"""ONNX files as they are: checked, and copied."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voxelome.errors import InputError
from voxelome.imageio import replacing
from voxelome.segmentation.importers.member_files import member_files

# Domains of operators that ONNX Runtime brings itself.
KNOWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}


def convert(source: Path, entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The members' names, as an addition to the card; see :func:`voxelome.segmentation.importers.convert`.

    `source` is an ONNX file, or a folder, of which :func:`.member_files.member_files` says what is taken.

    Raises
    ------
    InputError
        There is no file, one is damaged or needs another file, or has operators of its own.
    """
    files = member_files(source, entry, (".onnx",))
    for member, path in files.items():
        _check(path)
        with replacing(folder / member) as temporary:
            shutil.copyfile(path, temporary)
    return {"members": list(files)}


def _check(path: Path) -> None:
    """Refuse a file that is no whole ONNX network, or that needs more than itself."""
    import onnx

    if not path.is_file():
        raise InputError(path, "there is no such file", "check the name, or fetch it again")
    content = path.read_bytes()
    try:
        onnx.checker.check_model(content)
    except (ValueError, onnx.checker.ValidationError) as error:
        first = " ".join(str(error).split("\n")[0].split())
        raise InputError(path, f"cannot be read as ONNX ({first})", "fetch or export it again") from error
    model = onnx.load_from_string(content)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise InputError(path, "keeps its weights in another file", "save it as one file (below 2 GB)")
    foreign = sorted({item.domain for item in model.opset_import} - KNOWN_DOMAINS)
    if foreign:
        problem = f"needs operators of {', '.join(foreign)}, which ONNX Runtime does not bring"
        raise InputError(path, problem, "export it with standard operators")
