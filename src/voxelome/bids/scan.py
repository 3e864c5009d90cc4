"""One subject of a dataset: its files as they lie there, and what is read out of them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from voxelome.bids.entities import DATATYPES, Sidecars, name_fault, parse_entities, suffix_of
from voxelome.bids.filters import Query, keeps
from voxelome.errors import InputError
from voxelome.imageio import load_json

IMAGES = (".nii", ".nii.gz")
_LISTED = (*IMAGES, ".json", "dseg.tsv", "mask.tsv")
LABELLED = ("dseg", "mask")

Problem = dict[str, str]


@dataclass(frozen=True)
class BidsFile:
    """An image.

    Attributes
    ----------
    path : str
        Relative to the root of its dataset, with ``/``.
    size : int
        Bytes.
    digest : str
        16 hexadecimal digits that change when the content does (see :func:`content_digest`).
    entities : dict
        By pybids' long names, with suffix, datatype and extension. Values are as they are written.
    metadata : dict
        Content of its JSON sidecars, the nearest before inherited ones.
    label_table : str
        Table of the labels of a segmentation, relative to the root; empty where there is none.
    """

    path: str
    size: int
    digest: str
    entities: dict[str, str]
    metadata: dict[str, Any]
    label_table: str = ""


class Listed(NamedTuple):
    """A file in a folder; ``fault`` says why it cannot be read."""

    path: str
    size: int
    modified: int
    changed: int
    fault: str = ""


@dataclass(frozen=True)
class Dataset:
    """A dataset.

    Attributes
    ----------
    name : str
        Empty for the raw dataset.
    root : path
        Its folder.
    inherited : dict
        Sidecars at the root by the label of the subject that they name, ``""`` where they name none.
    loaded : dict
        Content of those, read once.
    """

    name: str
    root: Path
    inherited: Mapping[str, Sequence[Listed]]
    loaded: dict[str, dict[str, Any] | InputError] = field(default_factory=dict, compare=False)

    def reference(self, path: str) -> str:
        """Name of a file in a message: its path, or for a derivative its BIDS URI."""
        return f"bids:{self.name}:{path}" if self.name else path


def open_dataset(name: str, root: Path) -> tuple[Dataset, list[str]]:
    """Dataset in a folder, and the labels of its subjects, sorted."""
    files, folders = list_folder(str(root), "")
    inherited: dict[str, list[Listed]] = {}
    for item in files:
        inherited.setdefault(parse_entities(item.path).get("subject", ""), []).append(item)
    labels = [folder.removeprefix("sub-") for folder in folders if folder.startswith("sub-")]
    return Dataset(name, root, inherited), labels


def list_folder(root: str, folder: str) -> tuple[list[Listed], list[str]]:
    """Files that matter to an inventory and names of sub-folders, both sorted; hidden ones left out."""
    files: list[Listed] = []
    folders: list[str] = []
    try:
        with os.scandir(f"{root}/{folder}" if folder else root) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.name.endswith(_LISTED):
                    files.append(_stat(entry, f"{folder}/{entry.name}" if folder else entry.name))
                elif entry.is_dir():
                    folders.append(entry.name)
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            files.append(Listed(folder, 0, 0, 0, f"cannot be read ({error.strerror})"))
    return sorted(files), sorted(folders)


def _stat(entry: os.DirEntry[str], path: str) -> Listed:
    try:
        status = entry.stat()
    except OSError as error:
        linked = entry.is_symlink() and isinstance(error, FileNotFoundError)
        fault = "is a link to a file that is not there" if linked else f"cannot be read ({error.strerror})"
        return Listed(path, 0, 0, 0, fault)
    fault = "" if stat.S_ISREG(status.st_mode) else "is not a file"
    return Listed(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, fault)


def list_subject(dataset: Dataset, subject: str) -> list[Listed]:
    """Images and sidecars of a subject: in its folder, its sessions', their datatypes', and below anat."""
    found: list[Listed] = []
    waiting = [f"sub-{subject}"]
    while waiting:
        folder = waiting.pop()
        files, inner = list_folder(str(dataset.root), folder)
        found += files
        waiting += [f"{folder}/{name}" for name in inner if _is_visited(folder, name)]
    return sorted(found)


def _is_visited(folder: str, name: str) -> bool:
    """Whether images (or images in the wrong place, below anat) are looked for in a sub-folder."""
    depth = folder.count("/")
    if "/anat" in folder:
        return depth < 8  # links can make a circle
    return (name in DATATYPES and depth <= 1) or (name.startswith("ses-") and depth == 0)


def relevant(dataset: Dataset, subject: str, listed: Sequence[Listed]) -> list[Listed]:
    """Sidecars at the root of the dataset that can apply to these files: those of the same suffix."""
    suffixes = {suffix_of(item.path) for item in listed if item.path.endswith(IMAGES)}
    if "mask" in suffixes:
        suffixes.add("dseg")
    at_root = [*dataset.inherited.get("", ()), *dataset.inherited.get(subject, ())]
    return [item for item in at_root if suffix_of(item.path) in suffixes]


def scan_subject(
    dataset: Dataset, subject: str, listed: Sequence[Listed], queries: Sequence[Query] = ()
) -> tuple[list[BidsFile], list[Problem]]:
    """Images of one subject that pass the filters, and what cannot be used.

    Parameters
    ----------
    dataset : Dataset
        Where they lie.
    subject : str
        Label.
    listed : sequence of Listed
        From :func:`list_subject`.
    queries : sequence of Query
        From :func:`voxelome.bids.filters.compile_filters`.
    """
    known = {item.path: item for item in [*relevant(dataset, subject, listed), *listed]}
    side = [path for path in known if path.endswith((".json", ".tsv"))]
    sidecars = Sidecars(side, _loader(dataset, known), derivative=bool(dataset.name))
    files: list[BidsFile] = []
    problems: list[Problem] = []
    for item in listed:
        if not item.path.endswith(IMAGES):
            if item.fault and item.path not in side:
                problems.append(_problem(dataset, item.path, item.fault, "check its permissions"))
            continue
        entities = parse_entities(item.path, derivative=bool(dataset.name))
        if not keeps(queries, entities):
            continue
        found, faults = _scan_image(dataset, item, entities, sidecars)
        problems += faults
        if found is not None:
            files.append(found)
    problems += _twins(dataset, files)
    if dataset.name:
        # The plan leaves out raw images that have a problem; those of derivatives it takes as they are.
        broken = {row["path"] for row in problems}
        files = [file for file in files if dataset.reference(file.path) not in broken]
    if not dataset.name and not any(item.path.endswith(IMAGES) for item in listed):
        remedy = "check that its images lie in a folder such as anat and end in .nii.gz"
        problems.append(_problem(dataset, f"sub-{subject}", "has no image", remedy))
    unique = {tuple(row.items()): row for row in problems}
    return files, list(unique.values())


def _loader(dataset: Dataset, known: Mapping[str, Listed]) -> Callable[[str], Mapping[str, Any]]:
    """Give a function that reads each sidecar once, those at the root once for all subjects."""
    own: dict[str, dict[str, Any] | InputError] = {}

    def load(path: str) -> Mapping[str, Any]:
        loaded = own if "/" in path else dataset.loaded
        if path not in loaded:
            loaded[path] = _load(dataset.root / path, known[path])
        content = loaded[path]
        if isinstance(content, InputError):
            raise content
        return content

    return load


def _load(path: Path, item: Listed) -> dict[str, Any] | InputError:
    if item.fault:
        return InputError(item.path, item.fault, "fetch the file again, or remove it")
    try:
        return load_json(path)
    except InputError as error:
        return InputError(item.path, error.problem, error.remedy)


def _scan_image(
    dataset: Dataset, item: Listed, entities: dict[str, str], sidecars: Sidecars
) -> tuple[BidsFile | None, list[Problem]]:
    """Read one image's sidecars and make its digest."""
    fault = name_fault(item.path, entities, derivative=bool(dataset.name))
    if fault:
        example = f"{item.path.split('/')[0]}/anat" if "does not lie" in fault else ""
        remedy = f"move it, for example to {example}" if example else "rename or remove it"
        return None, [_problem(dataset, item.path, fault, remedy)]
    if item.fault or not item.size:
        annexed = item.fault and ".git/annex/" in _link_target(dataset.root / item.path)
        remedy = f"run: datalad get {item.path}" if annexed else "fetch the file again, or remove it"
        return None, [_problem(dataset, item.path, item.fault or "is empty", remedy)]
    metadata, faults = sidecars.metadata(item.path, entities)
    problems = [row for error in faults for row in _sidecar_problems(dataset, item.path, error)]
    table = sidecars.label_table(item.path, entities) if entities["suffix"] in LABELLED else ""
    reading = item.path
    try:
        digest = content_digest(dataset.root / item.path, item.size)
        if table:
            reading = table
            both = digest.encode() + (dataset.root / table).read_bytes()
            digest = hashlib.blake2b(both, digest_size=8).hexdigest()
    except OSError as error:
        text = f"cannot be read ({error.strerror})"
        blame = InputError(reading, text, "check its permissions, or fetch it again")
        rows = _sidecar_problems(dataset, item.path, blame)
        return None, [*problems, *rows]
    return BidsFile(item.path, item.size, digest, entities, metadata, table), problems


def _link_target(path: Path) -> str:
    return str(path.readlink()) if path.is_symlink() else ""


def _problem(dataset: Dataset, path: str, problem: str, remedy: str) -> Problem:
    return {"path": dataset.reference(path), "problem": problem, "remedy": remedy}


def _sidecar_problems(dataset: Dataset, image: str, error: InputError) -> Iterator[Problem]:
    """Blame a file, and the image that cannot be used without it."""
    yield _problem(dataset, error.source, error.problem, error.remedy)
    if error.source != image:
        yield _problem(dataset, image, f"its sidecar {error.source} {error.problem}", error.remedy)


def _twins(dataset: Dataset, files: Iterable[BidsFile]) -> Iterator[Problem]:
    """Blame images that are there both compressed and not: nobody knows which one is meant."""
    paths = {file.path for file in files}
    for path in sorted(paths):
        twin = path.removesuffix(".gz") if path.endswith(".gz") else f"{path}.gz"
        if twin in paths:
            problem = f"is there a second time as {twin.rsplit('/', 1)[-1]}"
            yield _problem(dataset, path, problem, "remove one of them")


def content_digest(path: Path, size: int) -> str:
    """Digest of an image's content, 16 hexadecimal digits (BLAKE2b, 64 bits).

    A whole image is read only where it is not compressed. A gzip file ends with the CRC-32 and the
    length of what it holds (RFC 1952), so that its size, its first 4 kB (with the NIfTI header) and its
    last 8 bytes tell one content from another, for the cost of two small reads.

    Parameters
    ----------
    path : path
        The image.
    size : int
        Its size in bytes.
    """
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb", buffering=0) as stream:
        if path.suffix == ".gz":
            digest.update(f"{size}:".encode() + stream.read(4096))
            stream.seek(max(size - 8, 0))
            digest.update(stream.read(8))
        else:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def signature(subject: str, parts: Iterable[tuple[Dataset, Sequence[Listed]]]) -> str:
    """Digest of what the file system says about a subject's files and the sidecars that they inherit."""
    digest = hashlib.blake2b(digest_size=16)
    for dataset, listed in parts:
        rows = [tuple(item) for item in [*relevant(dataset, subject, listed), *listed]]
        digest.update(repr((dataset.name, rows)).encode())
    return digest.hexdigest()
