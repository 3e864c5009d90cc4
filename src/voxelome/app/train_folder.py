"""The folder that a training writes to: whose it is, and what belongs to a trained network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from voxelome.app.models import registry
from voxelome.app.train_entry import MODEL
from voxelome.errors import InputError
from voxelome.imageio import load_json, save_json, save_text

_REQUEST = "request.json"
_WRITTEN = (MODEL, "entry.yaml", "README.md")


def claim(out: Path, request: Mapping[str, Any]) -> Path:
    """Folder of what a training keeps, after a check that `out` holds no other one.

    Raises
    ------
    InputError
        It holds a training of another request, or files that are not of one.
    """
    path = out / "training" / _REQUEST
    remedy = "take another folder, or remove it"
    if path.is_file():
        held = load_json(path)
        other = sorted(key for key in held.keys() | request.keys() if held.get(key) != request.get(key))
        if other:
            problem = f"holds a training with another {', '.join(other)}"
            raise InputError(out, problem, f"{remedy} to begin anew; the same command goes on")
        return path.parent
    there = [name for name in _WRITTEN if (out / name).exists()]
    if there:
        raise InputError(out, f"holds a {there[0]} that is not of this training", remedy)
    save_json(path, request)
    return path.parent


def write(out: Path, name: str, entry: Mapping[str, Any], card: str) -> None:
    """Write the entry, checked as a registry is, and the model card."""
    save_text(out / "README.md", card)
    path = save_text(out / "entry.yaml", yaml.safe_dump({name: dict(entry)}, sort_keys=False, width=100))
    registry(path)
