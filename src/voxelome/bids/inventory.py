"""The inventory: a JSON file a subject, brought up to date only where files changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema
import yaml

from voxelome.bids.filters import Filters, check_filters, passes
from voxelome.bids.scan import BidsFile, Dataset, Listed
from voxelome.errors import InputError
from voxelome.imageio import load_json, save_json, save_text
from voxelome.provenance import workflow_root

__all__ = ["BidsFile", "InventoryUpdate", "SubjectInventory", "load_inventory", "update_inventory"]

FORMAT = 1
INDEX = "index.json"


@dataclass
class SubjectInventory:
    """What the dataset holds of one subject.

    Attributes
    ----------
    subject : str
        Label, without sub-.
    files : list of BidsFile
        Images of the raw dataset.
    derivatives : dict
        Images by the name of the derivative dataset.
    problems : list of dict
        ``path``, ``problem`` and ``remedy`` of what cannot be used.
    """

    subject: str
    files: list[BidsFile] = field(default_factory=list)
    derivatives: dict[str, list[BidsFile]] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class InventoryUpdate:
    """Labels of all subjects, and of those that were added, changed, removed, or are as before."""

    subjects: list[str]
    added: list[str]
    changed: list[str]
    removed: list[str]
    unchanged: list[str]


def update_inventory(
    bids_dir: Path, folder: Path, *, derivatives: Mapping[str, Path] | None = None, filters: Filters | None = None
) -> InventoryUpdate:
    """Bring the inventory in `folder` up to date and say what changed.

    A subject is read again when the list of its files, their sizes or times, or the sidecars in the
    root changed; its JSON is written again only when what it says changed.

    Parameters
    ----------
    bids_dir : Path
        Root of the raw dataset.
    folder : Path
        Where the inventory lies.
    derivatives : mapping of str to Path
        Derivative datasets by name.
    filters : mapping
        Content of a ``--bids-filter-file``.

    Raises
    ------
    InputError
        There is no such dataset, it is no BIDS dataset, or it has no subject.
    """
    bids_dir, derivatives, filters = Path(bids_dir), derivatives or {}, filters or {}
    check_filters(filters)
    subjects = _subjects(bids_dir)
    datasets = {"": Dataset(bids_dir, derivative=False)}
    for name, root in derivatives.items():
        if not Path(root).is_dir():
            raise InputError(root, "there is no such folder of derivatives", "check --derivatives NAME=DIR")
        datasets[name] = Dataset(Path(root), derivative=True)
    before = _signatures(folder)
    common = _signature([[FORMAT, sorted(datasets), filters, {n: _plain(d.shared) for n, d in datasets.items()}]])
    after: dict[str, str] = {}
    update = InventoryUpdate(subjects, [], [], sorted(set(before) - set(subjects)), [])
    folder.mkdir(parents=True, exist_ok=True)
    for subject in subjects:
        listed = {name: dataset.list_subject(subject) for name, dataset in datasets.items()}
        after[subject] = _signature([common, {name: _plain(files) for name, files in listed.items()}])
        path = folder / f"sub-{subject}.json"
        if before.get(subject) == after[subject] and path.is_file():
            update.unchanged.append(subject)
            continue
        old = path.read_bytes() if path.is_file() else None
        new = _text(_read(subject, datasets, listed, filters))
        if old == new.encode():
            update.unchanged.append(subject)
        else:
            save_text(path, new)
            (update.added if old is None else update.changed).append(subject)
    for path in folder.glob("sub-*.json"):
        if path.stem.removeprefix("sub-") not in after:
            path.unlink()
    save_json(folder / INDEX, {"format": FORMAT, "signatures": after})
    return update


def load_inventory(folder: Path) -> dict[str, SubjectInventory]:
    """Read the inventory: subjects by label, in the order of their labels.

    Raises
    ------
    InputError
        There is none, or one of its files does not fit the schema.
    """
    if not (folder / INDEX).is_file():
        raise InputError(folder, "there is no inventory", "run: voxelome-tools inventory BIDS_DIR WORK_DIR")
    found = {}
    check = _validator()
    for name in sorted(os.listdir(folder)):
        if name.startswith("sub-") and name.endswith(".json"):
            content = load_json(folder / name)
            try:
                check(content)
            except fastjsonschema.JsonSchemaException as error:
                raise InputError(folder / name, error.message, "remove the file: it is made anew") from error
            inventory = SubjectInventory(
                content["subject"],
                [BidsFile(**item) for item in content["files"]],
                {key: [BidsFile(**item) for item in items] for key, items in content["derivatives"].items()},
                content["problems"],
            )
            found[inventory.subject] = inventory
    return found


def _subjects(bids_dir: Path) -> list[str]:
    """Labels of the subjects of a dataset, which must be one."""
    if not bids_dir.is_dir():
        raise InputError(bids_dir, "there is no such folder", "give the root of the BIDS dataset")
    description = bids_dir / "dataset_description.json"
    if not description.is_file():
        raise InputError(
            bids_dir, "has no dataset_description.json, so it is no BIDS dataset", "give the dataset's root, or add the file"
        )
    load_json(description)
    with os.scandir(bids_dir) as entries:
        names = sorted(entry.name for entry in entries if entry.name.startswith("sub-") and entry.is_dir())
    if not names:
        raise InputError(bids_dir, "has no folder sub-*", "give the root of a raw BIDS dataset")
    odd = [name for name in names if not name.removeprefix("sub-").isalnum()]
    if odd:
        raise InputError(bids_dir / odd[0], "is no BIDS label", "use only letters and digits after sub-")
    return [name.removeprefix("sub-") for name in names]


def _read(
    subject: str, datasets: Mapping[str, Dataset], listed: Mapping[str, list[Listed]], filters: Filters
) -> SubjectInventory:
    inventory = SubjectInventory(subject)
    for name, dataset in datasets.items():
        def keep(entities: dict[str, str], raw: bool = not name) -> bool:
            return not raw or passes(entities, filters)

        files, problems = dataset.read_subject(subject, listed[name], keep)
        inventory.problems += problems
        if name:
            inventory.derivatives[name] = files
        else:
            inventory.files = files
    return inventory


def _text(inventory: SubjectInventory) -> str:
    """Check an inventory against the schema and write it as JSON."""
    content = asdict(inventory)
    _validator()(content)
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


@cache
def _validator() -> Any:
    """Compile the schema: checking with it takes microseconds, not milliseconds, a subject."""
    schema = workflow_root() / "config" / "schemas" / "inventory.yaml"
    return fastjsonschema.compile(yaml.safe_load(schema.read_text(encoding="utf-8")))


def _signatures(folder: Path) -> dict[str, str]:
    """Signatures of the last update; none where there is no inventory or it is of another format."""
    path = folder / INDEX
    if not path.is_file():
        return {}
    index = load_json(path)
    return dict(index["signatures"]) if index.get("format") == FORMAT else {}


def _plain(files: list[Listed]) -> list[tuple[str, int, int]]:
    return [(item.path, item.size, item.modified) for item in files]


def _signature(content: list[Any]) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=12).hexdigest()
