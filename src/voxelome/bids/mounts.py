"""Folders that a step in a container must see: the dataset, what links in it lead to, models, results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxelome.bids.plan import Unit
from voxelome.bids.spaces import parse_spaces
from voxelome.errors import InputError

# More folders that links lead to than this are bound as the one that holds them.
MOST_LINKED = 20


@dataclass(frozen=True, order=True)
class Mount:
    """A folder at its own place in the container."""

    path: Path
    writable: bool = False

    def __str__(self) -> str:
        return f"{self.path}{'' if self.writable else ' (read-only)'}"


def named_files(config: Mapping[str, Any]) -> list[Path]:
    """Files that settings name: templates, the standard scale of intensities, parameters of radiomics.

    Parameters
    ----------
    config : mapping
        The settings, with absolute paths.
    """
    templates = [path for space in parse_spaces(config["register"]["output_spaces"]) for path in space.files]
    others = (config["register"]["landmarks"], config["radiomics"]["parameters"])
    return [*templates, *(Path(path) for path in others if path)]


def mounts(config: Mapping[str, Any], plan: Mapping[str, Unit]) -> list[Mount]:
    """Folders that the steps of a run read and write; one inside another is left out where it adds nothing.

    Parameters
    ----------
    config : mapping
        The settings, with absolute paths.
    plan : mapping
        The visits, whose files may be links to other places (DataLad).

    Raises
    ------
    InputError
        A folder has a name that Apptainer cannot bind.
    """
    read = [Path(config["bids_dir"]), *map(Path, config["derivatives"].values())]
    if config["models_dir"]:
        read.append(Path(config["models_dir"]))
    read += [path.parent for path in named_files(config)]
    wanted = {Mount(path, writable=True) for path in (Path(config["out_dir"]), Path(config["work_dir"]))}
    wanted |= {Mount(path) for path in read if path.is_dir()}
    kept = _kept(wanted)
    linked = _linked_folders(plan, [mount.path for mount in kept])
    return _checked(_kept({*kept, *map(Mount, linked)}))


def _kept(wanted: Iterable[Mount]) -> list[Mount]:
    """Leave out what lies in another folder that is bound, unless it alone is to be written to."""
    kept: list[Mount] = []
    for mount in sorted(wanted, key=lambda item: (item.path, not item.writable)):
        above = [other for other in kept if mount.path.is_relative_to(other.path)]
        if not above or (mount.writable and not above[-1].writable):
            kept.append(mount)
    return kept


def _linked_folders(plan: Mapping[str, Unit], bound: Iterable[Path]) -> list[Path]:
    """Folders outside of those bound to which the files of the visits are links."""
    prefixes = tuple(f"{path}{os.sep}" for path in bound)
    found = set()
    for unit in plan.values():
        for path in _files(unit):
            target = os.path.realpath(path)
            if not target.startswith(prefixes):
                found.add(Path(target).parent)
    if len(found) <= MOST_LINKED:
        return sorted(found)
    tops: dict[str, list[Path]] = {}
    for folder in found:
        tops.setdefault(folder.parts[1], []).append(folder)
    return sorted(Path(os.path.commonpath(paths)) for paths in tops.values())


def _files(unit: Unit) -> list[str]:
    """Files of a visit that steps read."""
    found = [item.path for item in (*unit.contrasts, *unit.cts)]
    found += [item.path for item in (*unit.masks, *unit.brain_masks, *unit.maps)]
    for item in unit.gradient_echoes:
        found += [*item.magnitude, *item.phase, *item.real, *item.imaginary]
    return found


def _checked(found: list[Mount]) -> list[Mount]:
    for mount in found:
        if set(":,\n") & set(str(mount.path)):
            raise InputError(
                mount.path,
                "has a colon or comma in its name, which Apptainer cannot bind",
                "rename the folder",
            )
    return found


def apptainer_binds(found: Iterable[Mount]) -> str:
    """Folders in the form of Apptainer's variable APPTAINER_BIND."""
    return ",".join(f"{item.path}:{item.path}:{'rw' if item.writable else 'ro'}" for item in found)


def tell_apptainer(binds: str) -> None:
    """Let every container that this process starts have these folders, and nothing of its environment.

    Parameters
    ----------
    binds : str
        What :func:`apptainer_binds` gives.
    """
    os.environ["APPTAINER_BIND"] = binds
    # A PYTHONPATH of the user must not reach what is inside of the image.
    os.environ.setdefault("APPTAINER_CLEANENV", "1")
    # Nor do the limits that Snakemake sets for each job, and a step sets its own when numpy has loaded its
    # BLAS: that would take all cores of the machine, and add up in another order than without images.
    os.environ.setdefault("APPTAINERENV_OMP_NUM_THREADS", "1")
