"""Cards of fetched networks: what a step needs to know of a model, and whether its files are whole."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voxelome.errors import InputError
from voxelome.imageio import load_json, load_yaml
from voxelome.provenance import user_folder, workflow_root

CARD = "card.json"
# Contrast of head CT.
CT = "ct"
# What decides the result; the rest of a card is for people.
DECISIVE = ("name", "task", "inputs", "grid", "outputs", "postprocess", "lesions", "members", "sha256")


def default_models_dir() -> Path:
    """Folder of fetched models: VOXELOME_MODELS_DIR, or one in the user's cache."""
    return user_folder("models")


def load_card(models_dir: Path, name: str) -> dict[str, Any]:
    """Card of a fetched model: its registry entry, the files of its members and their checksums.

    Parameters
    ----------
    models_dir : path
        Folder of fetched models.
    name : str
        Name in the registry.

    Raises
    ------
    InputError
        The model is not there; the remedy is the command that fetches it.
    """
    path = models_dir / name / CARD
    if not path.is_file():
        raise InputError(
            models_dir / name, "the model is not there", f"run: {fetch_command(models_dir, name)}"
        )
    return load_json(path)


def works_on_ct(card: Mapping[str, Any]) -> bool:
    """Whether a network takes CT alone, which no step prepares or registers, and no MRI."""
    return all(item["contrast"] == CT for item in card["inputs"])


def fetch_command(models_dir: Path, name: str, registry: Path | None = None) -> str:
    """Command line that fetches a model into a folder, from a registry of the user where one is given."""
    known = registry is None and name in load_yaml(workflow_root() / "config" / "models.yaml")
    own = [] if known else ["--registry", str(registry or "YOUR_REGISTRY.yaml")]
    return shlex.join(["voxelome-tools", "models", "fetch", name, "--models-dir", str(models_dir), *own])


def card_digest(models_dir: Path, name: str) -> str:
    """Digest of what decides a model's results: its files, its inputs and outputs, what is done with them.

    Raises
    ------
    InputError
        The model is not there.
    """
    card = load_card(models_dir, name)
    return network_digest({key: card[key] for key in DECISIVE if key in card})[:16]


def network_digest(fields: Mapping[str, Any]) -> str:
    """SHA-256 of fields of an entry or card.

    The order of the labels counts: it says which is painted over which.
    """
    outputs = fields.get("outputs", {})
    if "labels" in outputs:
        fields = {**fields, "outputs": {**outputs, "labels": list(outputs["labels"].items())}}
    return digest(fields)


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of a mapping of plain values, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged_files(models_dir: Path, name: str) -> list[str]:
    """Files of a fetched model that are missing or are not what its card says.

    Raises
    ------
    InputError
        The model is not there.
    """
    folder = models_dir / name
    card = load_card(models_dir, name)
    digests: dict[str, str] = card.get("sha256", {})
    unknown = [file for file in card.get("members", []) if file not in digests]
    return unknown + [
        file
        for file, expected in digests.items()
        if not (folder / file).is_file() or file_sha256(folder / file) != expected
    ]
