"""The figures of a visit, from the records of its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from voxelome.imageio import MaskArray, Volume, load_json, load_volume, sidecar_path
from voxelome.interfaces.map_pictures import map_figures
from voxelome.interfaces.segmentation_pictures import network_figures
from voxelome.orientation import reorder_like, to_canonical
from voxelome.registration.resample import resample
from voxelome.reports.figures import mosaic
from voxelome.reports.model import Figure
from voxelome.reports.plots import densities
from voxelome.step import StepRecord

Records = Mapping[str, list[StepRecord]]


_AIR = 0.1  # of the brightest that is shown: darker is no tissue
# A report stays a page.
MOST_MAPS = 12


def figures_of(records: Records) -> list[Figure]:
    """Figures of one visit, in the order in which data flow."""
    makers: tuple[Callable[[Records], Iterator[Figure]], ...] = (
        _brain,
        _bias,
        _contrasts,
        _template,
        _gradient_echo_masks,
        map_figures,
        _labels,
        network_figures,
        _given_maps,
        _made_regions,
        _histograms,
        _feature_maps,
    )
    return [figure for make in makers for figure in make(records)]


def _found(records: Records, step: str, role: str) -> Iterator[dict[str, Any]]:
    for record in records.get(step, []):
        yield from record.find(role)


def _prepared(records: Records, label: str) -> Volume | None:
    for item in _found(records, "preprocess", "prepared"):
        if item["image"] == label:
            return load_volume(item["path"])
    return None


def _brain_mask(records: Records) -> MaskArray | None:
    for item in _found(records, "preprocess", "brain"):
        mask: MaskArray = load_volume(item["path"], dtype=None).data > 0
        return mask
    return None


def _brain(records: Records) -> Iterator[Figure]:
    for item in _found(records, "preprocess", "brain"):
        volume, mask = _prepared(records, item["image"]), _brain_mask(records)
        if volume is not None and mask is not None:
            # Fat of the scalp is brighter than any brain: the brain sets the window.
            top = 1.2 * float(np.percentile(volume.data[mask], 99))
            window = (float(np.percentile(volume.data, 1)), top)
            picture = mosaic(volume.data, volume.affine, window=window, overlay=mask, box=mask)
            caption = "The outline should follow the surface of the brain: no scalp, skull or eye inside."
            yield Figure(f"Brain mask on {item['image']}", caption, png=picture)


def _bias(records: Records) -> Iterator[Figure]:
    """Each image before and after its bias field was taken out, which a click or the pointer exchanges."""
    for item in _found(records, "preprocess", "bias"):
        volume = _prepared(records, item["image"])
        if volume is None:
            continue
        coarse = load_volume(item["path"])
        field = resample(coarse.data, coarse.affine, volume.data.shape, volume.affine)
        # Fat of the scalp would set the window, and outer slices show little: the middle is brain.
        middle = np.zeros(volume.data.shape, dtype=bool)
        middle[_middle(middle.shape, 4)] = True
        window = (0.0, 1.2 * float(np.percentile(volume.data[_middle(middle.shape, 3)], 99)))
        after, before = (
            mosaic(data, volume.affine, window=window, planes=("axial", "coronal"), box=middle)
            for data in (volume.data, volume.data * field)
        )
        low, high = np.percentile(field[volume.data > _AIR * window[1]], (1, 99))
        caption = (
            "White matter should be as bright on the left as on the right, and below as above. The field "
            f"that was taken out runs from {low:.2f} to {high:.2f} in the head."
        )
        yield Figure(
            f"Bias field of {item['image']}",
            caption,
            png=after,
            alternate=before,
            alternate_label="before N4",
        )


def _middle(shape: tuple[int, ...], part: int) -> tuple[slice, ...]:
    """Box without that part of the image on each side."""
    return tuple(slice(count // part, count - count // part) for count in shape)


def _contrasts(records: Records) -> Iterator[Figure]:
    mask = _brain_mask(records)
    reference = next(_found(records, "preprocess", "brain"), None)
    images = list(_found(records, "register", "image"))
    if mask is None or reference is None or len(images) < 2:
        return
    pictures = {}
    for item in images:
        volume = load_volume(item["path"])
        pictures[item["image"]] = mosaic(volume.data, volume.affine, overlay=mask, box=mask, crop=mask)
    first = reference["image"]
    for label, picture in pictures.items():
        if label != first:
            caption = (
                f"{label} in the space of {first}, with the brain outline of {first}. Ventricles and sulci "
                "should stay where they are when the picture changes."
            )
            yield Figure(
                f"{label} registered to {first}",
                caption,
                png=picture,
                alternate=pictures.get(first),
                alternate_label=first,
            )


def _template(records: Records) -> Iterator[Figure]:
    shown: set[str] = set()
    for item in _found(records, "register", "template"):
        if item["space"] in shown:
            continue
        # The reference comes first: it is what was registered.
        shown.add(item["space"])
        volume = load_volume(item["path"])
        outlines = (i for i in _found(records, "register", "template-mask") if i["space"] == item["space"])
        outline = next(outlines, None)
        overlay = load_volume(outline["path"], dtype=None).data > 0 if outline else None
        picture = mosaic(volume.data, volume.affine, overlay=overlay, box=volume.data != 0)
        caption = f"{item['image']} in the space of {item['space']}, with the outline of the subject's brain."
        yield Figure(f"Template space {item['space']}", caption, png=picture)


def midway_figures(record: StepRecord) -> list[Figure]:
    """Figures of the visits in their common space: each changes to the first when it is pointed at."""
    masks = record.find("midway-mask")
    pictures = {}
    for item in record.find("midway"):
        if item["reference"]:
            volume, mask = load_volume(item["path"]), load_volume(masks[0]["path"], dtype=None).data > 0
            pictures[item["visit"]] = mosaic(volume.data, volume.affine, overlay=mask, box=mask, crop=mask)
    first = next(iter(pictures), "")
    caption = (
        f"With the outline of {first}'s brain. What is the same in both visits should stay where it is when "
        "the picture changes."
    )
    return [
        Figure(
            f"{visit} in the space of all visits",
            caption,
            png=picture,
            alternate=pictures[first],
            alternate_label=first,
        )
        for visit, picture in pictures.items()
        if visit != first
    ]


def _gradient_echo_masks(records: Records) -> Iterator[Figure]:
    reference = next(_found(records, "preprocess", "brain"), None)
    masks = [*_found(records, "register", "mask"), *_found(records, "qsm", "mask")]
    for item in masks:
        volume = _prepared(records, item["space"])
        if volume is None or item["name"] == "qsm" or (reference and item["space"] == reference["space"]):
            continue
        mask = load_volume(item["path"])
        inside: MaskArray = reorder_like(mask.data, mask.affine, volume.affine) > 0
        picture = mosaic(volume.data, volume.affine, overlay=inside, box=inside)
        caption = "Outline on the magnitude of the first echo: where the maps are computed."
        yield Figure(f"{item['name'].capitalize()} mask on {item['space']}", caption, png=picture)


def _labels(records: Records) -> Iterator[Figure]:
    for item in _found(records, "segment", "labels"):
        volume = _anatomy(records, item["space"])
        if volume is None:
            continue
        labels = load_volume(item["path"], dtype=None).data
        names = {int(value): name for value, name in item["names"].items()}
        picture = mosaic(
            volume.data, volume.affine, overlay=labels, names=names, box=labels > 0, crop=volume.data != 0
        )
        yield Figure(
            f"{item['name']} in {item['space']}", "Masks that were given with the data.", png=picture
        )


def _anatomy(records: Records, space: str) -> Volume | None:
    """Return the image that shows the anatomy of a space: the reference, or the first echo."""
    reference = next(_found(records, "preprocess", "brain"), None)
    for item in _found(records, "register", "image"):
        if reference is not None and item["space"] == space and item["image"] == reference["image"]:
            return load_volume(item["path"])
    return _prepared(records, space)


def _given_maps(records: Records) -> Iterator[Figure]:
    brain = _brain_mask(records)
    for item in _found(records, "segment", "map"):
        volume = load_volume(item["path"])
        shown = brain if brain is not None and brain.shape == volume.data.shape else None
        picture = mosaic(volume.data, volume.affine, overlay=shown, box=shown, crop=shown, unit="")
        caption = "A map that was given with the data; the outline of the brain should follow it."
        yield Figure(f"{item['image']} in {item['space']}", caption, png=picture)


def _made_regions(records: Records) -> Iterator[Figure]:
    found = list(_found(records, "radiomics", "made"))
    for item in found[:MOST_MAPS]:
        if (volume := _anatomy(records, item["space"])) is not None:
            mask = load_volume(item["path"], dtype=None).data > 0
            picture = mosaic(volume.data, volume.affine, overlay=mask, box=mask, crop=volume.data != 0)
            left = f" The first {MOST_MAPS} of {len(found)} are shown." if len(found) > MOST_MAPS else ""
            how = load_json(sidecar_path(item["path"]))["Method"]
            yield Figure(
                f"Region {item['name']} in {item['space']}", f"Made for this study: {how}.{left}", png=picture
            )


def _histograms(records: Records) -> Iterator[Figure]:
    for item in _found(records, "radiomics", "features"):
        if item.get("desc") == "histogram":
            for image, regions in load_json(sidecar_path(item["path"]))["Densities"].items():
                curves = {name: (*curve["values"], curve["density"]) for name, curve in regions.items()}
                if curves:
                    caption = (
                        "Each region's curve is as high as its row, whatever its size. Two peaks may be two "
                        "tissues; values far out may be vessels, or a mask that reaches over an edge."
                    )
                    yield Figure(f"Histograms of {image}", caption, svg=densities(curves, image))


def _feature_maps(records: Records) -> Iterator[Figure]:
    found = list(_found(records, "radiomics", "feature-map"))
    for item in found[:MOST_MAPS]:
        volume = load_volume(item["path"])
        data, affine = to_canonical(volume.data, volume.affine)
        region = np.isfinite(data)
        shown = np.where(region, data, 0)
        window = (float(np.percentile(data[region], 1)), float(np.percentile(data[region], 99)))
        picture = mosaic(shown, affine, window=window, box=region, crop=region, unit="")
        left = f" The first {MOST_MAPS} of {len(found)} maps are shown." if len(found) > MOST_MAPS else ""
        caption = f"{item['feature']} in the neighborhood of each voxel of {item['roi']}.{left}"
        yield Figure(f"{item['feature']} of {item['roi']} on {item['image']}", caption, png=picture)
