"""Results whose subject or visit the dataset no longer has: listed, and removed where that is asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from voxelome.bids.entities import is_label
from voxelome.bids.inventory import Inventory
from voxelome.bids.names import unit_entities, unit_folder
from voxelome.bids.scan import IMAGES
from voxelome.errors import InputError
from voxelome.imageio import load_json, sidecar_path
from voxelome.step import files_made, list_of_made, records_made

# Records of a subject, and not of a visit, by how their names begin.
_TOGETHER = ("midway", "change-")
_WORK_FOLDERS = ("steps", "prepared", "logs", "benchmarks")


@dataclass(frozen=True)
class Orphan:
    """A subject, a visit, or what the visits of a subject share, without images in the dataset.

    Attributes
    ----------
    name : str
        Such as ``sub-01_ses-1``.
    kind : {'subject', 'visit', 'shared'}
        What is gone.
    records : tuple of path
        What says which files were made of it.
    folder : path
        Where its results lie.
    """

    name: str
    kind: Literal["subject", "visit", "shared"]
    records: tuple[Path, ...]
    folder: Path

    @property
    def alone(self) -> bool:
        """Whether its folders hold nothing of what is still there."""
        return self.kind == "subject" or (self.kind == "visit" and "_" in self.name)

    def __str__(self) -> str:
        gone = {"shared": "has no two visits any more"}.get(self.kind, "is no longer in the dataset")
        return f"{self.name} {gone}"


def find_orphans(bids_dir: Path, out_dir: Path, work_dir: Path, inventories: Inventory) -> list[Orphan]:
    """Results without a source, sorted by name.

    Filters and chosen labels make no orphans: what counts is whether the dataset has images.

    Parameters
    ----------
    bids_dir, out_dir, work_dir : path
    inventories : Inventory
        Of the dataset.
    """
    visits = {label: inventories.sessions(label) for label in inventories}
    found = []
    for name in sorted(_names(out_dir, work_dir)):
        entities = unit_entities(name)
        subject, session = entities["subject"], entities.get("session")
        own = visits.get(subject, set())
        single = not session and len(own) < 2
        # Thousands of visits have to be passed by quickly.
        if session in own and not (single and (work_dir / "steps" / name / "midway.json").exists()):
            continue
        folder = unit_folder(subject, session)
        records = records_made(work_dir / "steps" / name)
        shared = tuple(path for path in records if path.stem.startswith(_TOGETHER))
        of_visit = tuple(path for path in records if path not in shared)
        if not own and not _has_images(bids_dir / f"sub-{subject}", "*/*", "ses-*/*/*"):
            found.append(Orphan(name, "subject", tuple(records), out_dir / folder))
        elif session not in own and (session or of_visit) and not _has_images(bids_dir / folder, "*/*"):
            found.append(Orphan(name, "visit", of_visit, out_dir / folder))
        elif shared and single and len(list((bids_dir / name).glob("ses-*"))) < 2:
            found.append(Orphan(name, "shared", shared, out_dir / folder))
    return found


def _names(out_dir: Path, work_dir: Path) -> set[str]:
    """Names of the visits, and of the subjects, that have results."""
    folders = [folder for folder in (work_dir / "steps", out_dir) if folder.is_dir()]
    found = {entry.name for folder in folders for entry in os.scandir(folder) if entry.is_dir()}
    parts = ((name, name[4:].split("_ses-")) for name in found if name.startswith("sub-"))
    return {name for name, labels in parts if len(labels) <= 2 and all(map(is_label, labels))}


def _has_images(folder: Path, *patterns: str) -> bool:
    """Whether a subject's or a visit's folder holds images, or links to images."""
    return any(path.name.endswith(IMAGES) for pattern in patterns for path in folder.glob(pattern))


def remove_orphans(orphans: Sequence[Orphan], bids_dir: Path, out_dir: Path, work_dir: Path) -> list[str]:
    """Remove results without a source; return a line for each, with what was left.

    Only what a record names is removed: whatever else lies in the folder is not ours.

    Raises
    ------
    InputError
        The results are those of another dataset, so that nothing of theirs could be found in this one.
    """
    _refuse_another_dataset(orphans, bids_dir, out_dir, work_dir)
    removed = [_remove_files(orphan, out_dir, work_dir) for orphan in orphans]
    # Folders last, and visits before their subject: only then are they empty.
    left = [_drop_empty(orphan.folder, out_dir) for orphan in reversed(orphans)][::-1]
    return [
        f"{orphan}: {count} result(s) removed"
        + (f"; {rest} other file(s) are left in {orphan.folder}" if rest and orphan.alone else "")
        for orphan, count, rest in zip(orphans, removed, left, strict=True)
    ]


def _refuse_another_dataset(orphans: Sequence[Orphan], bids_dir: Path, out_dir: Path, work_dir: Path) -> None:
    description = out_dir / "dataset_description.json"
    made_of = load_json(description).get("DatasetLinks", {}).get("raw") if description.is_file() else None
    if made_of not in (None, bids_dir.resolve().as_uri()):
        remedy = "give that BIDS_DIR, or leave out --remove-orphans"
        raise InputError(out_dir, f"holds results of another dataset, {made_of}", remedy)
    # In a container every dataset may be at the same place.
    gone = {orphan.name for orphan in orphans if orphan.kind == "subject"}
    if gone and gone == _names(out_dir, work_dir):
        problem = f"holds results of {len(gone)} subject(s) and visit(s), of whom {bids_dir} has none"
        raise InputError(
            out_dir, problem, "give the dataset that they are of; to begin anew, empty the folder"
        )


def _remove_files(orphan: Orphan, out_dir: Path, work_dir: Path) -> int:
    """Remove what the records of an orphan name, and its part of the work folder; return how many results."""
    files = {path for record in orphan.records for path in files_made(record)}
    files |= {sidecar_path(path) for path in files}
    if orphan.kind == "subject" and "_" not in orphan.name:
        files.add(out_dir / f"{orphan.name}.html")
    # A record that was tampered with must not remove what lies elsewhere.
    own = [path for path in files if path.is_file() and out_dir in path.resolve().parents]
    for path in [*own, *orphan.records, *map(list_of_made, orphan.records)]:
        path.unlink(missing_ok=True)
    for name in _WORK_FOLDERS if orphan.alone else ():
        shutil.rmtree(work_dir / name / orphan.name, ignore_errors=True)
    return len(own)


def _drop_empty(folder: Path, root: Path) -> int:
    """Remove empty folders from the innermost outwards, up to `root`; return the number of files left."""
    left = 0
    for parent, _, files in os.walk(folder, topdown=False):
        left += len(files)
        if not any(Path(parent).iterdir()):
            Path(parent).rmdir()
    while folder.parent != root and not left and folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder = folder.parent
        folder.rmdir()
    return left
