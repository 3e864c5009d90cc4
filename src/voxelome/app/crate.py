"""An RO-Crate of the output: which runs of what, with which settings, made which files.

Follows the profile Process Run Crate 0.5 (Leo et al., PLoS ONE 19:e0309210, 2024): each run is an action,
with voxelome as its instrument, the dataset and the settings as its objects, and what it made as its results.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import voxelome
from voxelome.bids.description import dataset_name
from voxelome.imageio import load_json, save_json

METADATA = "ro-crate-metadata.json"
_CRATE = "https://w3id.org/ro/crate/1.1"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_SOFTWARE = "#voxelome"
Entity = dict[str, Any]


def write_crate(out_dir: Path, bids_dir: Path) -> None:
    """Write ``ro-crate-metadata.json`` of an output folder, from its files and the logs of its runs."""
    runs = [path for path in sorted((out_dir / "logs").glob("*")) if (path / "failures.tsv").is_file()]
    if not runs:
        return
    dataset: Entity = {
        "@id": bids_dir.resolve().as_uri() + "/",
        "@type": "Dataset",
        "name": dataset_name(bids_dir),
    }
    parts = list(_parts(out_dir))
    actions = [_action(run, out_dir, dataset, parts) for run in runs]
    inputs = [_file(f"{run.relative_to(out_dir)}/config.yaml", "settings of the run") for run in runs]
    root: Entity = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"voxelome derivatives of {dataset['name']}",
        "description": "Maps, segmentations, features and models of brain MRI",
        "datePublished": actions[-1]["endTime"],
        "license": str(load_json(bids_dir / "dataset_description.json").get("License") or "not given"),
        "conformsTo": {"@id": _PROFILE},
        "hasPart": _ids([dataset, *parts, *inputs]),
        "mentions": _ids(actions),
    }
    about: Entity = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": _CRATE},
    }
    profile: Entity = {
        "@id": _PROFILE,
        "@type": "CreativeWork",
        "name": "Process Run Crate",
        "version": "0.5",
    }
    software: Entity = {
        "@id": _SOFTWARE,
        "@type": "SoftwareApplication",
        "name": "voxelome",
        "softwareVersion": voxelome.__version__,
    }
    graph = [about, root, profile, software, dataset, *actions, *parts, *inputs]
    save_json(out_dir / METADATA, {"@context": f"{_CRATE}/context", "@graph": graph})


def _parts(out_dir: Path) -> Iterator[Entity]:
    """What lies in the output: folders, reports, and what describes them."""
    for path in sorted(out_dir.iterdir()):
        if path.is_dir() and (path.name.startswith("sub-") or path.name == "group"):
            yield {"@id": f"{path.name}/", "@type": "Dataset", "name": f"derivatives of {path.name}"}
        elif path.suffix == ".html":
            yield _file(path.name, f"report of {path.stem}") | {"encodingFormat": "text/html"}
        elif path.name == "dataset_description.json":
            yield _file(path.name, "BIDS description") | {"encodingFormat": "application/json"}


def _action(run: Path, out_dir: Path, dataset: Entity, parts: list[Entity]) -> Entity:
    """A run, from its logs."""
    command = (run / "command.txt").read_text(encoding="utf-8").strip()
    failed = len((run / "failures.tsv").read_text(encoding="utf-8").splitlines()) > 1
    words = shlex.split(command)
    group = "group" in words and "participant" not in words
    made = [part for part in parts if part["@id"].startswith("group") == group]
    return {
        "@id": f"#{run.name}",
        "@type": "CreateAction",
        "name": f"voxelome, {'group' if group else 'participant'} level",
        "description": command,
        "startTime": _time(run / "command.txt"),
        "endTime": _time(run / "failures.tsv"),
        "actionStatus": f"http://schema.org/{'Failed' if failed else 'Completed'}ActionStatus",
        "instrument": {"@id": _SOFTWARE},
        "object": [{"@id": dataset["@id"]}, {"@id": f"{run.relative_to(out_dir)}/config.yaml"}],
        "result": _ids(made),
    }


def _file(name: str, what: str) -> Entity:
    return {"@id": name, "@type": "File", "name": what}


def _ids(entities: list[Entity]) -> list[Entity]:
    """References to entities."""
    return [{"@id": entity["@id"]} for entity in entities]


def _time(path: Path) -> str:
    """When a file was written last, in ISO 8601."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
