"""The volumes of a subject's viewer, from the records of its steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from voxelome.bids.spaces import parse_space
from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, load_volume
from voxelome.interfaces.map_pictures import MAPS
from voxelome.interfaces.summaries import visit_name
from voxelome.orientation import to_canonical
from voxelome.reports.model import Layer, Scene
from voxelome.reports.volumes import (
    MOST_LABELS,
    CoarseGrid,
    coarse_grid,
    coarse_image,
    coarse_labels,
    numbered_anew,
    packed,
    to_bytes,
    window_of,
)
from voxelome.step import StepRecord

Kind = Literal["image", "map", "labels", "overlay"]
Chosen = tuple[Kind, str, str]
"""Kind, name and path of a volume to show."""


@dataclass(frozen=True)
class Source:
    """Outputs of one role that are shown: what they are, the key of their name, and words around it."""

    step: str
    role: str
    kind: Kind
    name: str
    words: str = "{}"


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
    Source("network", "entropy", "overlay", "name", "entropy of {}"),
)
# Of base64 in the page, so that all else of a report has room below 15 MB.
LARGEST = 9_000_000
_BASE64 = 4 / 3
# Of an entropy: all classes are alike at the upper end.
_ENTROPY = (0.0, 1.0)


def scenes_of(
    visits: Iterable[str], records: Sequence[StepRecord], spaces: Sequence[str] = (), largest: int = LARGEST
) -> list[Scene]:
    """Scenes of all visits, a scene a space, then that of all visits together.

    From the first volume on that would make it more than `largest` bytes in the page, volumes are left out;
    each scene names them. The scene of all visits may take half of that, and the others what it leaves.

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
    # It is shown last: built last too, what changed would be the first to find no room.
    shared = _Room(largest / 2)
    together = _together(records, shared)
    room = _Room(largest - shared.taken)
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
    note = _note([*room.missing, *shared.missing], [*room.crowded, *shared.crowded])
    return [
        replace(scene, note=note)
        for scene in [*scenes, together]
        if any(layer.kind in ("image", "map") for layer in scene.layers)
    ]


@dataclass
class _Room:
    """Bytes of the page that are left, what found no room, and what has too many labels to be shown."""

    size: float
    taken: float = 0.0
    missing: list[str] = field(default_factory=list)
    crowded: list[str] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return bool(self.missing)

    def take(self, layer: Layer, where: str) -> bool:
        size = len(layer.nifti) * _BASE64
        if self.taken + size > self.size:
            self.missing.append(where)
            return False
        self.taken += size
        return True


def _note(missing: Sequence[str], crowded: Sequence[str]) -> str:
    """Sentences on what is not shown."""
    sentences = []
    if missing:
        sentences.append(f"Not here, because the page would be too large: {', '.join(missing)}.")
    if crowded:
        sentences.append(f"Not here, because of more than {MOST_LABELS} labels: {', '.join(crowded)}.")
    return " ".join(sentences)


def _items(records: Sequence[StepRecord]) -> Iterator[tuple[Kind, str, dict[str, Any]]]:
    for source in SOURCES:
        for record in records:
            if record.step == source.step:
                for item in record.find(source.role):
                    name = str(item[source.name])
                    if source.step != "qsm" or source.kind != "map" or name in MAPS:
                        yield source.kind, source.words.format(name), item


def _names(items: Iterable[tuple[Kind, str, dict[str, Any]]], space: str) -> dict[str, Mapping[int, str]]:
    """Names of labels, by path."""
    return {
        item["path"]: {int(value): text for value, text in item["names"].items()}
        for _, _, item in items
        if item["space"] == space and "names" in item
    }


def _anatomy(records: Sequence[StepRecord], space: str, shown: Sequence[Chosen]) -> list[Chosen]:
    """First echo of a gradient echo, or the image of a visit that was not registered: maps lie above it."""
    if any(kind == "image" for kind, _, _ in shown):
        return []
    found = [item for record in records for item in record.find("prepared", image=space)]
    return [("image", space, item["path"]) for item in found[:1]]


def _together(records: Sequence[StepRecord], room: _Room) -> Scene:
    """Scene of all visits in their common space, with what changed."""
    images: list[Chosen] = []
    changes: list[Chosen] = []
    names: dict[str, Mapping[int, str]] = {}
    for record in records:
        if record.step == "midway":
            images += [
                ("image", f"{item['image']} of {item['visit']}", item["path"])
                for item in record.find("midway")
            ]
        elif record.step == "change":
            for item in [*record.find("image-change"), *record.find("change")]:
                changes.append(("labels", f"change of {item['name']}, {item['pair']}", item["path"]))
                names[item["path"]] = {int(value): text for value, text in item["names"].items()}
    # The changes are small and the reason to look here: they find room before the other images.
    chosen = [*images[:1], *changes, *images[1:]]
    return _scene("All visits \N{MIDDLE DOT} common space", chosen, names, room)


def _scene(
    title: str, chosen: Sequence[Chosen], names: Mapping[str, Mapping[int, str]], room: _Room
) -> Scene:
    grid: CoarseGrid | None = None
    layers: list[Layer] = []
    for kind, name, path in chosen:
        style = MAPS.get(name) if kind != "labels" else None
        where = f"{style.title if style else name} ({title})"
        if room.full:
            room.missing.append(where)
            continue
        volume = load_volume(path, dtype=None if kind == "labels" else np.float32)
        data, affine = to_canonical(volume.data, volume.affine)
        if grid is None:
            grid = coarse_grid(data, affine)
        if kind == "labels":
            layer = _label_layer(name, data, affine, grid, names.get(path, {}))
        else:
            layer = _value_layer(kind, name, coarse_image(data, affine, grid), grid)
        if layer is None:
            room.crowded.append(where)
        elif room.take(layer, where):
            layers.append(layer)
    return Scene(title, layers)


def _value_layer(kind: Kind, name: str, values: FloatArray, grid: CoarseGrid) -> Layer:
    style = MAPS.get(name)
    window = _ENTROPY if kind == "overlay" else style.window if style and style.window else window_of(values)
    levels = to_bytes(values, window, hide_zero=window[0] < 0)
    nifti = packed(levels, grid.affine, window)
    return Layer(style.title if style else name, kind, nifti, window, style.unit if style else "")


def _label_layer(
    name: str, data: Array, affine: Affine, grid: CoarseGrid, names: Mapping[int, str]
) -> Layer | None:
    """Layer of labels; None where there are more than can be told apart in a byte."""
    if data.size and not 0 <= data.min() <= data.max() <= MOST_LABELS:
        try:
            data, values = numbered_anew(data)
        except DataError:
            return None
        names = {number: names.get(value, f"{name} {value}") for number, value in enumerate(values, 1)}
    known = names or {int(value): name for value in np.unique(data[data > 0])}
    return Layer(name, "labels", packed(coarse_labels(data, affine, grid), grid.affine), names=known)
