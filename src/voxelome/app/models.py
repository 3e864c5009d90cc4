"""The registry of networks: what there is, and how it comes into the models folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from voxelome.errors import InputError
from voxelome.imageio import load_json, load_yaml
from voxelome.provenance import workflow_root


def registry() -> dict[str, dict[str, Any]]:
    """Models by name, as config/models.yaml describes them."""
    return load_yaml(workflow_root() / "config" / "models.yaml")


def entry(name: str) -> dict[str, Any]:
    """Registry entry of one model."""
    models = registry()
    if name not in models:
        raise InputError(name, "there is no such model", f"there are: {', '.join(models)}")
    return models[name]


def state(name: str, folder: Path) -> str:
    """Whether a model is in the models folder and whole: ``ready``, ``absent`` or ``damaged``."""
    files = entry(name)["files"]
    card = folder / name / "card.json"
    if not card.is_file():
        return "absent"
    digests = load_json(card)["sha256"]
    for file in files:
        path = folder / name / file
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digests.get(file):
            return "damaged"
    return "ready"


def fetch(name: str, folder: Path) -> str:
    """Put a model into the models folder unless it is there; return what was done."""
    entry(name)
    if state(name, folder) == "ready":
        return f"{name} is there already: {folder / name}"
    if name == "deepbet":
        from voxelome.segmentation.deepbet import export_deepbet

        export_deepbet(folder / name)
    if state(name, folder) != "ready":
        raise InputError(
            folder / name, "the model did not arrive whole", "remove the folder and fetch it again"
        )
    return f"{name} fetched: {folder / name}"
