"""The regions of a visit: the brain, the labels of every segmentation, and what a study makes out of them."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np

from voxelome.errors import InputError
from voxelome.imageio import Affine, MaskArray, Volume, load_volume
from voxelome.radiomics.algebra import Recipe, make_regions
from voxelome.segmentation.carry import same_grid
from voxelome.step import StepRecord

# Where errors about a region that a study makes come from.
MADE = "radiomics: regions"


class Region(NamedTuple):
    """A region on the grid of its space.

    `shape` says whether its shape is measured there, `measured` whether its intensities are; the others
    serve as references.
    """

    path: str
    name: str
    space: str
    shape: bool
    measured: bool
    mask: MaskArray
    affine: Affine


def regions_of(
    records: list[StepRecord], recipes: Sequence[Recipe], wanted: Sequence[str], record: StepRecord
) -> list[Region]:
    """Return the regions of a visit; those whose names match one of the patterns wanted are measured.

    The shape of a region is measured once, on the grid of the reference; where the visit has no reference,
    on the grid that there is. What could not be made is noted in the record.
    """
    regions = _given(records, record)
    if recipes:
        spaces = dict.fromkeys(region.space for region in regions)
        regions += [new for space in spaces for new in _made(space, regions, records, recipes, record)]
    seen: dict[str, None] = {}
    marked = []
    for region in regions:
        measured = any(fnmatchcase(region.name, pattern) for pattern in wanted)
        marked.append(region._replace(measured=measured, shape=measured and region.name not in seen))
        seen[region.name] = None
    if marked and not any(region.measured for region in marked):
        record.skip("features", f"no region is named {' or '.join(wanted)}; there are: {', '.join(seen)}")
    return marked


def midplane_of(records: list[StepRecord], space: str) -> Affine | None:
    """Return what takes a point of a space to the template, whose first coordinate is 0 between hemispheres.

    The affine part of the registration to the template tells; None where there is none.
    """
    for registered in records:
        for warp in registered.find("warp"):
            to_template = np.linalg.inv(np.array(warp["matrix"]))
            if space in {item["space"] for item in registered.find("image")}:
                return to_template
            # A matrix takes a point of the reference to the image.
            for found in registered.find("matrix", image=space):
                between: Affine = to_template @ np.linalg.inv(np.array(found["matrix"]))
                return between
    return None


def check_grids(path: str, volume: Volume, regions: Sequence[Region]) -> None:
    """Raise an InputError where an image lies on another grid than a region."""
    for region in regions:
        if not same_grid(volume.data.shape, volume.affine, region.mask.shape, region.affine):
            problem = f"lies on another grid than the region {region.name} ({region.path})"
            raise InputError(path, problem, "resample one to the grid of the other")


def _given(records: list[StepRecord], record: StepRecord) -> list[Region]:
    """Read the regions that there are, each file once; those without a voxel are noted and left out."""
    regions: list[Region] = []
    volumes: dict[str, Any] = {}
    for path, name, space, value in _labels(records):
        if path not in volumes:
            volumes[path] = load_volume(path, dtype=None)
        volume = volumes[path]
        mask = volume.data == value
        if mask.any():
            regions.append(Region(path, name, space, True, True, mask, volume.affine))
        else:
            record.skip(f"features of {name} in the space of {space}", "the region has no voxel there")
    return regions


def _labels(records: list[StepRecord]) -> list[tuple[str, str, str, int]]:
    """Path, name, space and value of the brain's masks and of every label of every segmentation."""
    found = [
        (item["path"], item["name"], item["space"], 1)
        for record in records
        for item in record.find("mask")
        if item["name"] != "qsm"
    ]
    for record in records:
        for item in record.find("labels"):
            for value, name in item["names"].items():
                label = name if len(item["names"]) == 1 and name == item["name"] else f"{item['name']}-{name}"
                found.append((item["path"], label, item["space"], int(value)))
    return found


def _made(
    space: str,
    regions: list[Region],
    records: list[StepRecord],
    recipes: Sequence[Recipe],
    record: StepRecord,
) -> list[Region]:
    """Return the regions that a study makes in one space."""
    here = [region for region in regions if region.space == space]
    first = here[0]
    alike = [
        region
        for region in here
        if same_grid(region.mask.shape, region.affine, first.mask.shape, first.affine)
    ]
    masks = {region.name: region.mask for region in alike}
    made = make_regions(recipes, masks, first.affine, midplane_of(records, space))
    for what, why in made.skipped:
        record.skip(f"region {what} in the space of {space}", why)
    return [Region(MADE, name, space, True, True, mask, first.affine) for name, mask in made.masks.items()]
