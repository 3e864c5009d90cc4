"""The inventory: a JSON file a subject, brought up to date only where files changed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import fastjsonschema

from voxelome.bids.entities import is_label
from voxelome.bids.filters import Query, compile_filters
from voxelome.bids.scan import BidsFile, Dataset, Listed, list_subject, open_dataset, scan_subject, signature
from voxelome.bids.spread import spread
from voxelome.errors import InputError
from voxelome.imageio import load_json, load_yaml, save_text
from voxelome.provenance import workflow_root

__all__ = [
    "BidsFile",
    "Inventory",
    "InventoryUpdate",
    "SubjectInventory",
    "load_inventory",
    "update_inventory",
]

FORMAT = 4
INDEX = "index.json"
# A file that changes again within the file system's clock tick has the same times as before: what is
# this young is read again at the next update.
_TICK_NS = 20_000_000


@dataclass
class SubjectInventory:
    """What the dataset holds of one subject.

    Attributes
    ----------
    subject : str
        Label, without ``sub-``.
    files : list of BidsFile
        Images of the raw dataset, sorted by path.
    derivatives : dict
        Images by the name of the derivative dataset.
    problems : list of dict
        ``path``, ``problem`` and ``remedy`` of what cannot be used; the path of a file of a derivative
        is its BIDS URI.
    """

    subject: str
    files: list[BidsFile] = field(default_factory=list)
    derivatives: dict[str, list[BidsFile]] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)


class _Entry(TypedDict):
    """What the index says of a subject, so that its file need not be read.

    The signature is empty where the subject has to be read again; ``checked`` is the state of its file when
    that was checked and written; ``sessions`` are those of its raw images, None for images outside of any;
    ``problems`` is how many it has.
    """

    signature: str
    checked: str
    sessions: list[str | None]
    problems: int


@dataclass(frozen=True)
class InventoryUpdate:
    """Labels of all subjects, and of those whose inventory changed, came, went, or is as before."""

    subjects: list[str]
    changed: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)


def update_inventory(
    bids_dir: Path,
    folder: Path,
    *,
    derivatives: Mapping[str, Path] = {},
    filters: Mapping[str, Mapping[str, object]] | None = None,
) -> InventoryUpdate:
    """Bring the inventory in `folder` up to date and say what changed.

    A subject is read again where names, sizes or times of its files, or of the sidecars that it
    inherits, are not what they were; its JSON is written again only where its content changes.

    Parameters
    ----------
    bids_dir : path
        Root of the raw dataset.
    folder : path
        Where the inventory lies.
    derivatives : mapping
        Roots of derivative datasets by name.
    filters : mapping, optional
        Content of a ``--bids-filter-file``.

    Raises
    ------
    InputError
        There is no such folder, it is no BIDS dataset, or a filter is wrong.
    """
    queries = compile_filters(filters)
    raw, labels = _open_raw(bids_dir)
    datasets = [raw, *(_open_derivative(name, root) for name, root in derivatives.items())]
    roots = {item.name: str(item.root.resolve()) for item in datasets}
    settings = _text({"roots": roots, "filters": filters or {}})
    before = _last_update(folder, settings)
    written = {path.stem.removeprefix("sub-") for path in folder.glob("sub-*.json")}
    update = InventoryUpdate(labels)
    entries: dict[str, _Entry] = {}
    work = _Work(folder, datasets, queries, before, written)
    for label, found in zip(labels, spread(work.update, labels), strict=True):
        getattr(update, found.outcome).append(label)
        entries[label] = found.entry
    for label in sorted(written.difference(labels)):
        (folder / f"sub-{label}.json").unlink()
        update.removed.append(label)
    rows = ",\n".join(f"{_text(label)}: {_text(entry)}" for label, entry in entries.items())
    head = f'{{"format": {FORMAT},\n"settings": {_text(settings)},\n"subjects": {{\n'
    _write_text(folder / INDEX, f"{head}{rows}}}}}\n")
    return update


class _Found(NamedTuple):
    """What became of a subject (a list of `InventoryUpdate`), and what the index says of it."""

    outcome: str
    entry: _Entry


@dataclass(frozen=True)
class _Work:
    """What it takes to bring the file of any subject up to date."""

    folder: Path
    datasets: Sequence[Dataset]
    queries: Sequence[Query]
    before: Mapping[str, _Entry]
    written: Set[str]

    def update(self, label: str) -> _Found:
        young = time.time_ns() - _TICK_NS
        parts = [(dataset, list_subject(dataset, label)) for dataset in self.datasets]
        now = signature(label, parts)
        kept = "" if _newest(parts) >= young else now
        before = self.before.get(label)
        if label in self.written and before and before["signature"] == now:
            return _Found("unchanged", {**before, "signature": kept})
        path = self.folder / f"sub-{label}.json"
        changed = "changed" if label in self.written else "added"
        inventory = _scan(label, parts, self.queries)
        outcome = changed if _write(path, inventory) else "unchanged"
        sessions = {file.entities.get("session") for file in inventory.files}
        return _Found(
            outcome,
            {
                "signature": kept,
                "checked": _state(path),
                "sessions": sorted(sessions, key=lambda session: session or ""),
                "problems": len(inventory.problems),
            },
        )


def _scan(
    label: str, parts: Iterable[tuple[Dataset, Sequence[Listed]]], queries: Sequence[Query]
) -> SubjectInventory:
    """Read one subject in all datasets."""
    inventory = SubjectInventory(label)
    for dataset, listed in parts:
        files, problems = scan_subject(dataset, label, listed, queries)
        inventory.problems += problems
        if dataset.name:
            inventory.derivatives[dataset.name] = files
        else:
            inventory.files = files
    return inventory


class Inventory(Mapping[str, SubjectInventory]):
    """Inventories by the label of the subject, sorted; each is read when it is asked for.

    Each is then checked against the schema, but for those that nobody has touched since they were checked
    and written; one that does not fit is an InputError.
    """

    def __init__(self, folder: Path, entries: Mapping[str, _Entry]) -> None:
        self._folder, self._entries = folder, entries

    def sessions(self, label: str) -> set[str | None]:
        """Sessions of the raw images of a subject, None for images outside of any; nothing is read."""
        return set(self._entries[label]["sessions"])

    def problems(self, label: str) -> list[dict[str, str]]:
        """Problems of a subject; it is read only where there are any."""
        return self[label].problems if self._entries[label]["problems"] else []

    def __getitem__(self, label: str) -> SubjectInventory:
        """Read a subject."""
        return _load_subject(self._folder, label, self._entries[label]["checked"])

    def __iter__(self) -> Iterator[str]:
        """Go through the labels; nothing is read."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Count the subjects."""
        return len(self._entries)

    def __contains__(self, label: object) -> bool:
        """Whether there is such a subject; nothing is read."""
        return label in self._entries


def load_inventory(folder: Path) -> Inventory:
    """Inventory that :func:`update_inventory` has left in a folder.

    Raises
    ------
    InputError
        There is none, or it is that of another version.
    """
    path = folder / INDEX
    index = load_json(path) if path.is_file() else {}
    if index.get("format") != FORMAT:
        problem = "is not that of this version" if index else "there is no inventory"
        remedy = "run: voxelome-tools inventory BIDS_DIR WORK_DIR"
        raise InputError(path if index else folder, problem, remedy)
    return Inventory(folder, index["subjects"])


def _load_subject(folder: Path, label: str, checked: str) -> SubjectInventory:
    """Inventory of one subject; it is checked against the schema unless its state is `checked`."""
    path = folder / f"sub-{label}.json"
    content = load_json(path)
    if checked != _state(path):
        try:
            _schema()(content)
        except fastjsonschema.JsonSchemaValueException as error:
            raise InputError(path, str(error.message), "remove the file: it is made anew") from error
    return SubjectInventory(
        content["subject"],
        [BidsFile(**item) for item in content["files"]],
        {name: [BidsFile(**item) for item in items] for name, items in content["derivatives"].items()},
        content["problems"],
    )


def _open_raw(bids_dir: Path) -> tuple[Dataset, list[str]]:
    """Open the raw dataset, which must be one."""
    if not bids_dir.is_dir():
        raise InputError(bids_dir, "there is no such folder", "give the root of the BIDS dataset")
    description = bids_dir / "dataset_description.json"
    if not description.is_file():
        raise InputError(bids_dir, "has no dataset_description.json", "give the dataset's root, or add it")
    load_json(description)
    dataset, labels = open_dataset("", bids_dir)
    if not labels:
        raise InputError(bids_dir, "has no folder sub-*", "give the root of a raw BIDS dataset")
    odd = [label for label in labels if not is_label(label)]
    if odd:
        remedy = "use only letters, digits and + in it"
        raise InputError(bids_dir / f"sub-{odd[0]}", "is no BIDS label", remedy)
    return dataset, labels


def _open_derivative(name: str, root: Path) -> Dataset:
    if not root.is_dir():
        raise InputError(root, f"there is no such folder (derivatives {name!r})", "check --derivatives")
    return open_dataset(name, root)[0]


def _newest(parts: Iterable[tuple[Dataset, Sequence[Listed]]]) -> int:
    """Time of the latest change, in ns; sidecars at the root count whether they apply or not."""
    at_root = (rows for dataset, _ in parts for rows in dataset.inherited.values())
    lists = (*(listed for _, listed in parts), *at_root)
    return max((max(item.modified, item.changed) for listed in lists for item in listed), default=0)


def _write(path: Path, inventory: SubjectInventory) -> bool:
    """Check an inventory against the schema and write it, one image a line; return whether it changed."""
    images = {name: [vars(item) for item in items] for name, items in inventory.derivatives.items()}
    _schema()({**vars(inventory), "files": [vars(item) for item in inventory.files], "derivatives": images})
    derivatives = ",\n".join(
        f"{_text(name)}: {_lines(items)}" for name, items in inventory.derivatives.items()
    )
    return _write_text(
        path,
        f'{{"subject": {_text(inventory.subject)},\n"files": {_lines(inventory.files)},\n'
        f'"derivatives": {{{derivatives}}},\n"problems": {_text(inventory.problems)}}}\n',
    )


def _lines(files: Sequence[BidsFile]) -> str:
    return "[" + ",".join(f"\n  {_text(vars(item))}" for item in files) + "]"


def _text(value: object) -> str:
    """JSON of a value; what JSON has no number for (a sidecar may say NaN) is null."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_text(path: Path, text: str) -> bool:
    """Write a file unless it holds this already; return whether it was written."""
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    save_text(path, text)
    return True


def _last_update(folder: Path, settings: str) -> dict[str, _Entry]:
    """What the index says since the last update; nothing where that was with other settings or is damaged."""
    try:
        index = load_json(folder / INDEX)
    except InputError:
        return {}
    same = index.get("format") == FORMAT and index.get("settings") == settings
    return dict(index["subjects"]) if same else {}


def _state(path: Path) -> str:
    """Tell a file that was written since from one that was not."""
    status = path.stat()
    return f"{status.st_mtime_ns} {status.st_size}"


@cache
def _schema() -> Any:
    schema = workflow_root() / "config" / "schemas" / "inventory.yaml"
    return fastjsonschema.compile(load_yaml(schema))
