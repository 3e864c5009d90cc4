"""Figures of what networks and fusions found, and of what changed between visits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from voxelome.bids.names import split_label
from voxelome.imageio import Volume, load_volume
from voxelome.orientation import to_canonical
from voxelome.reports.figures import mosaic
from voxelome.reports.model import Figure
from voxelome.step import StepRecord

# A picture of lesions shows them on the contrast that shows them best.
_SHOWN_ON = ("FLAIR", "T2w", "T1w")
_MOST_LABELS = 12
# Share of the largest change of a verdict from which a place is outlined.
_STRONG = 0.5
# Hounsfield units.
_BRAIN_WINDOW = (0.0, 80.0)


def network_figures(records: Mapping[str, list[StepRecord]]) -> Iterator[Figure]:
    """Outlines of each network's and fusion's labels, and maps of what a verdict on the case rests on."""
    images = [item for record in records.get("register", []) for item in record.find("image")]
    for record in [*records.get("network", []), *records.get("fusion", [])]:
        title = record.parameters.get("title", f"Fused from {', '.join(record.parameters.get('of', []))}")
        for item in record.find("labels"):
            shown = [image for image in images if image["space"] == item["space"]]
            if shown:
                best = _best(shown, len(item["names"]))
                yield _outlines(item, best["image"], load_volume(best["path"]), title, record)
            elif "source" in item:
                yield _outlines(item, item["image"], _ct(item), title, record)
        for item in record.find("saliency"):
            shown = [image for image in images if image["space"] == item["space"]]
            yield _saliency(item, load_volume(_best(shown, 1)["path"]) if shown else _ct(item))


def _saliency(item: dict[str, Any], image: Volume) -> Figure:
    """Places that a verdict rests on, outlined on the image."""
    change = load_volume(item["path"]).data
    top = float(np.abs(change).max())
    places = np.zeros(change.shape, dtype=np.int16)
    if top > 0:
        places[change >= _STRONG * top] = 1
        places[change <= -_STRONG * top] = 2
    picture = mosaic(
        image.data,
        image.affine,
        overlay=places,
        names={1: "speaks for it", 2: "speaks against it"},
        box=places > 0 if places.any() else image.data != 0,
        crop=image.data != 0,
    )
    caption = (
        f"Covering a place inside the outlines changes the result by half of the largest change ({top:.2g}) "
        "and more. A result that rests on places outside of the finding is not to be trusted."
    )
    return Figure(f"{item['name']}: what it rests on", caption, png=picture)


def _best(images: list[dict[str, Any]], labels: int) -> dict[str, Any]:
    """Image to draw on: of few labels, which are lesions mostly, one in which lesions are bright."""
    order = _SHOWN_ON if labels <= 4 else _SHOWN_ON[::-1]
    ranked = sorted(
        images, key=lambda item: next((i for i, s in enumerate(order) if item["image"].endswith(s)), 9)
    )
    return ranked[0]


def _ct(item: Mapping[str, Any]) -> Volume:
    """CT as a network saw it, by the same of its affines: in RAS+ order, cut to what shows the brain."""
    volume = load_volume(item["source"], form=item["form"])
    data, affine = to_canonical(volume.data, volume.affine)
    return replace(volume, data=np.clip(data, *_BRAIN_WINDOW), affine=affine)


def _outlines(item: dict[str, Any], image: str, volume: Volume, title: str, record: StepRecord) -> Figure:
    labels = load_volume(item["path"], dtype=None).data
    names = {int(value): name for value, name in item["names"].items()}
    found = bool((labels > 0).any())
    picture = mosaic(
        volume.data,
        volume.affine,
        overlay=labels,
        names=names if len(names) <= _MOST_LABELS else None,
        box=labels > 0 if found else volume.data != 0,
        crop=volume.data != 0,
    )
    made = (
        f" Network of checksum {record.parameters['Sha256'][0][:12]}."
        if "Sha256" in record.parameters
        else ""
    )
    caption = (
        f"{title}.{made} Outlines should follow what they name; a person has to look."
        if found
        else (f"{title}. Nothing was found.{made}")
    )
    return Figure(f"{item['name']} on {image}", caption, png=picture)


def change_figures(record: StepRecord, midway: StepRecord) -> Iterator[Figure]:
    """Maps of what changed between two visits, in the lesions and in the images, over the later one."""
    from voxelome.segmentation.change import STABLE

    for item in record.outputs:
        images = midway.find("midway", visit=item.get("visit"))
        if not images or item["role"] not in ("change", "image-change"):
            continue
        labels = load_volume(item["path"], dtype=None).data
        if item["role"] == "change":
            shown, changed = images, (labels > 0) & (labels != STABLE)
            what = "Stable lesions are outlined too; a shell of one voxel is no change."
        else:
            shown, changed = _of_contrast(images, item["name"]), labels > 0
            what = (
                f"Where {item['name']} became brighter or darker than noise explains, whatever the masks say."
            )
        volume: Volume = load_volume(_best(shown, 1)["path"])
        box = changed if changed.any() else labels > 0
        picture = mosaic(
            volume.data,
            volume.affine,
            overlay=labels,
            names={int(value): name for value, name in item["names"].items()},
            box=box if box.any() else volume.data != 0,
            crop=volume.data != 0,
        )
        title = f"Change of {item['name']}, {item['pair']}"
        yield Figure(title, f"Over {item['visit']}. {what}", png=picture)


def _of_contrast(images: list[dict[str, Any]], suffix: str) -> list[dict[str, Any]]:
    return [image for image in images if split_label(image["image"])[1] == suffix]
