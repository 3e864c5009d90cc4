"""Networks of other programs as ONNX, once, when they are fetched; what runs later is ONNX Runtime alone."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

# Framework: the module here that reads it, which has `convert(source, entry, folder)`.
MODULES = {
    "onnx": "onnx_file",
    "tfjs": "tfjs",
    "nnunet": "nnunet",
    "torchscript": "torchscript",
    "monai": "monai",
    "deepbet": "deepbet",
}


def convert(source: Path, entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a network's files tell of it, as additions to its card; writes its ONNX files into `folder`.

    Parameters
    ----------
    source : path
        The fetched file, or the folder of the fetched files.
    entry : mapping
        Registry entry, with ``name``.
    folder : path
        Gets the files that the additions name as ``members``.

    Raises
    ------
    InputError
        The files cannot be used.
    ModuleNotFoundError
        A package that reads them is not installed.
    """
    module = import_module(f"{__name__}.{MODULES[entry['framework']]}")
    found: dict[str, Any] = module.convert(source, entry, folder)
    return found
