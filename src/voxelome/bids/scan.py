"""Read one dataset's part of a subject: its images, their inherited metadata, and what is broken."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voxelome.bids.entities import parse_entities

IMAGES = (".nii", ".nii.gz")
HEAD, TRAILER = 4096, 8
_KEEP_TO_FILE = ("suffix", "extension")


@dataclass
class BidsFile:
    """An image of the dataset.

    Attributes
    ----------
    path : str
        Below the dataset's root, with ``/``.
    size : int
        Bytes.
    digest : str
        Of the content, and of that of its label table.
    entities : dict
        pybids' long names, with suffix, datatype and extension.
    metadata : dict
        Sidecars merged by the inheritance principle.
    label_table : str
        Table of label names that applies to a mask or segmentation; empty if none.
    """

    path: str
    size: int
    digest: str
    entities: dict[str, str]
    metadata: dict[str, Any] = field(default_factory=dict)
    label_table: str = ""


@dataclass(frozen=True)
class Listed:
    """A file as the file system lists it; `size` is -1 where it cannot be reached."""

    path: str
    size: int
    modified: int


@dataclass(frozen=True)
class Sidecar:
    """A JSON file or label table: what it applies to."""

    path: str
    depth: int
    suffix: str
    entities: dict[str, str]


def list_files(root: str, folder: str) -> Iterator[Listed]:
    """Images, JSON files and tables below `folder`, in the order of their names; hidden ones left out."""
    with os.scandir(f"{root}/{folder}" if folder else root) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name.startswith("."):
            continue
        path = f"{folder}/{entry.name}" if folder else entry.name
        if folder and entry.is_dir():
            yield from list_files(root, path)
        elif entry.name.endswith((*IMAGES, ".json", ".tsv")):
            try:
                status = entry.stat()
                yield Listed(path, status.st_size, status.st_mtime_ns)
            except OSError:
                yield Listed(path, -1, 0)


def content_digest(path: str, size: int) -> str:
    """Digest of an image's content.

    A gzip file ends with the checksum and the length of what was compressed, so its first 4 kB, its
    trailer and its size tell whether it changed; an uncompressed image is read whole.
    """
    digest = hashlib.blake2b(str(size).encode(), digest_size=8)
    with open(path, "rb") as file:  # noqa: PTH123  (opened a hundred thousand times)
        if path.endswith(".gz"):
            digest.update(file.read(HEAD))
            file.seek(max(size - TRAILER, 0))
            digest.update(file.read(TRAILER))
        else:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


class Dataset:
    """One dataset while a run of the inventory lasts: its root's sidecars are read once."""

    def __init__(self, root: Path, derivative: bool) -> None:
        self.root, self.derivative = str(root), derivative
        self.shared = [item for item in list_files(self.root, "") if item.path.endswith((".json", ".tsv"))]
        self._shared_sidecars = [self._sidecar(item.path) for item in self.shared]
        self._shared_content: dict[str, dict[str, Any] | str] = {}

    def list_subject(self, subject: str) -> list[Listed]:
        """Files of a subject; none if the dataset does not have it."""
        folder = f"sub-{subject}"
        return list(list_files(self.root, folder)) if os.path.isdir(f"{self.root}/{folder}") else []

    def read_subject(
        self, subject: str, files: list[Listed], keep: Callable[[dict[str, str]], bool]
    ) -> tuple[list[BidsFile], list[dict[str, str]]]:
        """Images that `keep` wants, in the order of their paths, and the problems found."""
        sidecars = self._shared_sidecars + [
            self._sidecar(item.path) for item in files if item.path.endswith((".json", ".tsv"))
        ]
        by_suffix: dict[tuple[str, str], list[Sidecar]] = {}
        for sidecar in sidecars:
            by_suffix.setdefault((sidecar.suffix, sidecar.path[-4:]), []).append(sidecar)
        content: dict[str, dict[str, Any] | str] = {}
        images: list[BidsFile] = []
        problems: list[dict[str, str]] = []
        for item in files:
            if not item.path.endswith(IMAGES):
                continue
            entities = parse_entities(item.path, derivative=self.derivative)
            if not keep(entities):
                continue
            trouble = self._trouble(item, subject, entities)
            if trouble is None:
                image = self._image(item, entities, by_suffix, content, problems)
                images += [image] if image is not None else []
            else:
                problems.append({"path": item.path, "problem": trouble[0], "remedy": trouble[1]})
        return images, problems

    def _trouble(self, item: Listed, subject: str, entities: dict[str, str]) -> tuple[str, str] | None:
        """Say why a listed image cannot be used, and what to do."""
        if item.size < 0:
            return "cannot be reached (a link to nothing?)", "fetch the file, or remove the link"
        if item.size == 0:
            return "is empty", "copy the file again"
        name = item.path.rsplit("/", 1)[-1]
        folder = item.path[: -len(name)]
        if not (name == f"sub-{subject}" or name.startswith(f"sub-{subject}_")):
            return f"is in the folder of sub-{subject}, and its name says otherwise", "move or rename the file"
        session = entities.get("session")
        if f"_ses-{session}_" in name or session is None:
            in_folder = session is None or f"/ses-{session}/" in folder or self.derivative
            return None if in_folder else (f"is not in a folder ses-{session}", "move or rename the file")
        return f"is in the folder of ses-{session}, and its name does not say so", "move or rename the file"

    def _image(
        self, item: Listed, entities: dict[str, str], by_suffix: dict[tuple[str, str], list[Sidecar]],
        content: dict[str, dict[str, Any] | str], problems: list[dict[str, str]],
    ) -> BidsFile | None:  # fmt: skip
        try:
            digest = content_digest(f"{self.root}/{item.path}", item.size)
        except OSError as error:
            text = f"cannot be read ({error.strerror})"
            problems.append({"path": item.path, "problem": text, "remedy": "check its permissions"})
            return None
        image = BidsFile(item.path, item.size, digest, entities)
        suffix = entities.get("suffix", "")
        for sidecar in _applying(by_suffix.get((suffix, "json"), []), item.path, entities):
            found = self._load(sidecar.path, content)
            if isinstance(found, str):
                text = f"its sidecar {sidecar.path} {found}"
                problems.append({"path": item.path, "problem": text, "remedy": "mend or remove that file"})
            else:
                image.metadata.update(found)
        image.metadata = {key: value for key, value in image.metadata.items() if value is not None and key not in entities}
        tables = [*_applying(by_suffix.get((suffix, ".tsv"), []), item.path, entities)] if suffix in ("dseg", "mask") else []
        if tables:
            image.label_table = tables[-1].path
            with open(f"{self.root}/{image.label_table}", "rb") as file:  # noqa: PTH123
                image.digest = hashlib.blake2b(digest.encode() + file.read(), digest_size=8).hexdigest()
        return image

    def _sidecar(self, path: str) -> Sidecar:
        entities = parse_entities(path, derivative=self.derivative)
        suffix = entities.get("suffix", "")
        own = {key: value for key, value in entities.items() if key not in _KEEP_TO_FILE}
        return Sidecar(path, path.count("/"), suffix, own)

    def _load(self, path: str, content: dict[str, dict[str, Any] | str]) -> dict[str, Any] | str:
        """Read a sidecar once; a string says what is wrong with it."""
        cache = content if "/" in path else self._shared_content
        if path not in cache:
            cache[path] = _read_sidecar(f"{self.root}/{path}")
        return cache[path]


def _read_sidecar(path: str) -> dict[str, Any] | str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            found = json.loads(file.read().decode("utf-8"))
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except ValueError as error:
        return f"is not JSON ({error})"
    return found if isinstance(found, dict) else "holds no JSON object"


def _applying(sidecars: list[Sidecar], path: str, entities: dict[str, str]) -> list[Sidecar]:
    """Sidecars that apply to a file by the inheritance principle, the nearest last."""
    folder = path.rsplit("/", 1)[0] + "/"
    fitting = [
        sidecar
        for sidecar in sidecars
        if (sidecar.depth == 0 or folder.startswith(sidecar.path.rsplit("/", 1)[0] + "/"))
        and all(entities.get(name) == value for name, value in sidecar.entities.items())
    ]
    return sorted(fitting, key=lambda sidecar: (sidecar.depth, len(sidecar.entities), sidecar.path))
