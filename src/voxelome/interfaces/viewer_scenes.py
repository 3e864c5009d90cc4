"""The volumes of a subject's viewer, from the records of its steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from voxelome.bids.spaces import parse_space
from voxelome.imageio import load_volume
from voxelome.interfaces.pictures import MAPS
from voxelome.interfaces.summaries import visit_name
from voxelome.orientation import to_canonical
from voxelome.reports.model import Layer, Scene
from voxelome.reports.volumes import (
    CoarseGrid,
    coarse_grid,
    coarse_image,
    coarse_labels,
    packed,
    to_bytes,
    window_of,
)
from voxelome.step import StepRecord

Kind = Literal["image", "map", "labels"]


@dataclass(frozen=True)
class Source:
    """Outputs of one role that are shown: what they are, and the key of their name."""

    step: str
    role: str
    kind: Kind
    name: str


# The order is that of the lists in the viewer; a scene's grid is that of its first layer.
SOURCES = (
    Source("register", "image", "image", "image"),
    Source("register", "template", "image", "image"),
    Source("qsm", "map", "map", "suffix"),
    Source("segment", "map", "map", "image"),
    Source("register", "mask", "labels", "name"),
    Source("register", "template-mask", "labels", "name"),
    Source("qsm", "mask", "labels", "name"),
    Source("segment", "labels", "labels", "name"),
    Source("segment", "template-labels", "labels", "name"),
    Source("network", "labels", "labels", "name"),
    Source("network", "template-labels", "labels", "name"),
    Source("fusion", "labels", "labels", "name"),
    Source("fusion", "template-labels", "labels", "name"),
    Source("radiomics", "made", "labels", "name"),
)
# Of base64 in the page, so that all else of a report has room below 15 MB.
LARGEST = 9_000_000
_BASE64 = 4 / 3


def scenes_of(
    visits: Iterable[str], records: Sequence[StepRecord], spaces: Sequence[str] = (), largest: int = LARGEST
) -> list[Scene]:
    """Scenes of all visits, a scene a space, then that of all visits together.

    From the first volume on that would make it more than `largest` bytes in the page, volumes are left out;
    each scene names them.

    Parameters
    ----------
    visits : iterable of str
        Units, such as ``sub-01_ses-1``.
    records : sequence of StepRecord
        Of all steps of the subject.
    spaces : sequence of str
        The output spaces; the image of a template that the user named is shown below the subject's.
    """
    templates = {space.name: space.path for space in map(parse_space, spaces) if space.path}
    room = _Room(largest)
    scenes = []
    for unit in visits:
        own = [record for record in records if record.unit == unit]
        items = list(_items(own))
        for space in dict.fromkeys(item["space"] for _, _, item in items):
            title = " \N{MIDDLE DOT} ".join(filter(None, [visit_name(unit), f"space of {space}"]))
            chosen = [(kind, name, item["path"]) for kind, name, item in items if item["space"] == space]
            chosen = [*_anatomy(own, space, chosen), *chosen]
            if space in templates:
                chosen.insert(1, ("image", f"template {space}", templates[space]))
            scenes.append(_scene(title, chosen, _names(items, space), room))
    scenes.append(_together(records, room))
    note = (
        f"Not here, because the page would be too large: {', '.join(room.missing)}." if room.missing else ""
    )
    return [
        replace(scene, note=note) for scene in scenes if any(layer.kind != "labels" for layer in scene.layers)
    ]


@dataclass
class _Room:
    """Bytes of the page that are left, and what found no room."""

    left: float
    missing: list[str] = field(default_factory=list)

    def take(self, layer: Layer, scene: str) -> bool:
        size = len(layer.nifti) * _BASE64
        if self.missing or size > self.left:
            self.missing.append(f"{layer.name} ({scene})")
            return False
        self.left -= size
        return True


def _items(records: Sequence[StepRecord]) -> Iterator[tuple[Kind, str, dict[str, Any]]]:
    for source in SOURCES:
        for record in records:
            if record.step == source.step:
                for item in record.find(source.role):
                    name = str(item[source.name])
                    if source.step != "qsm" or source.kind != "map" or name in MAPS:
                        yield source.kind, name, item


def _names(items: Iterable[tuple[Kind, str, dict[str, Any]]], space: str) -> dict[str, Mapping[int, str]]:
    """Names of labels, by path."""
    return {
        item["path"]: {int(value): text for value, text in item["names"].items()}
        for _, _, item in items
        if item["space"] == space and "names" in item
    }


def _anatomy(
    records: Sequence[StepRecord], space: str, shown: Sequence[tuple[Kind, str, str]]
) -> list[tuple[Kind, str, str]]:
    """First echo of a gradient echo, or the image of a visit that was not registered: maps lie above it."""
    if any(kind == "image" for kind, _, _ in shown):
        return []
    found = [item for record in records for item in record.find("prepared", image=space)]
    return [("image", space, item["path"]) for item in found[:1]]


def _together(records: Sequence[StepRecord], room: _Room) -> Scene:
    """Scene of all visits in their common space, with what changed."""
    chosen: list[tuple[Kind, str, str]] = []
    names: dict[str, Mapping[int, str]] = {}
    for record in records:
        if record.step == "midway":
            chosen += [
                ("image", f"{item['image']} of {item['visit']}", item["path"])
                for item in record.find("midway")
            ]
    for record in records:
        if record.step == "change":
            for item in [*record.find("image-change"), *record.find("change")]:
                chosen.append(("labels", f"change of {item['name']}, {item['pair']}", item["path"]))
                names[item["path"]] = {int(value): text for value, text in item["names"].items()}
    return _scene("All visits \N{MIDDLE DOT} common space", chosen, names, room)


def _scene(
    title: str,
    chosen: Sequence[tuple[Kind, str, str]],
    names: Mapping[str, Mapping[int, str]],
    room: _Room,
) -> Scene:
    grid: CoarseGrid | None = None
    layers: list[Layer] = []
    for kind, name, path in chosen:
        volume = load_volume(path, dtype=None if kind == "labels" else np.float32)
        data, affine = to_canonical(volume.data, volume.affine)
        if grid is None:
            grid = coarse_grid(data, affine)
        if kind == "labels":
            levels = coarse_labels(data, affine, grid)
            known = names.get(path) or {int(value): name for value in np.unique(data[data > 0])}
            layer = Layer(name, kind, packed(levels, grid.affine), names=known)
        else:
            values = coarse_image(data, affine, grid)
            style = MAPS.get(name)
            window = style.window if style and style.window else window_of(values)
            levels = to_bytes(values, window, hide_zero=window[0] < 0)
            nifti = packed(levels, grid.affine, window)
            layer = Layer(style.title if style else name, kind, nifti, window, style.unit if style else "")
        if room.take(layer, title):
            layers.append(layer)
    return Scene(title, layers)
