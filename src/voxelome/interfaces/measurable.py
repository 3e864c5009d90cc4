"""What can be measured in a visit: its images, its regions, and how; shared by radiomics and robustness."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from nipype.interfaces.base import Directory, File, isdefined, traits

from voxelome.errors import blame
from voxelome.imageio import load_yaml
from voxelome.interfaces.base import StepInputs
from voxelome.interfaces.roi import MADE, Region, midplane_of, regions_of
from voxelome.radiomics.algebra import Recipe, parse_recipes
from voxelome.radiomics.settings import RadiomicsSettings, chosen_settings, unused_parameters
from voxelome.step import StepRecord

# Projections, and maps that are a function of another one.
NOT_MEASURED = ("minIP", "S0map", "T2starmap")


class MeasureInputs(StepInputs):
    """Inputs of a step that measures regions on images."""

    records = traits.List(File(), mandatory=True, desc="records of register, qsm and segment for this visit")
    engine = traits.Enum("pyradiomics", "mirp", usedefault=True, desc="what computes the features")
    bin_count = traits.Int(32, usedefault=True, desc="grey levels inside a region")
    bin_width = traits.Float(0.0, usedefault=True, desc="width of a grey level; 0 uses the bin count instead")
    minimum_voxels = traits.Int(10, usedefault=True, desc="a smaller region has no features")
    parameters = File(exists=True, desc="parameter file of PyRadiomics; replaces the three settings above")
    regions = traits.Str("[]", usedefault=True, desc="regions to make out of others, as JSON (docs/steps.md)")
    rois = traits.List(
        traits.Str(), value=["*"], usedefault=True, desc="names or patterns of the regions to measure"
    )
    images = traits.List(
        traits.Str(), value=["*"], usedefault=True, desc="names or patterns of the images to measure"
    )
    out_dir = Directory(mandatory=True, desc="anat folder of the visit in the output dataset")


@dataclass(frozen=True)
class Measurable:
    """What can be measured in a visit.

    Attributes
    ----------
    images : list of dict
        Outputs of earlier steps, with `image`, `space` and `path`.
    regions : list of Region
        Also those that only serve as references.
    midplanes : dict
        By space: what takes a point to the template, or None.
    engine : str
        ``pyradiomics`` or ``mirp``.
    settings : RadiomicsSettings
        How features are computed.
    parameters : dict
        What the parameter file holds; empty where there is none.
    recipes : list of Recipe
        How regions were made out of others.
    """

    images: list[dict[str, Any]]
    regions: list[Region]
    midplanes: dict[str, Any]
    engine: str
    settings: RadiomicsSettings
    parameters: dict[str, Any]
    recipes: list[Recipe]


def open_visit(spec: Any, record: StepRecord) -> Measurable:
    """Return what the inputs of a step name; what is not there is noted in the record.

    Raises
    ------
    InputError
        The parameter file or the regions cannot be used.
    """
    path = spec.parameters if isdefined(spec.parameters) else ""
    given = load_yaml(path) if path else None
    with blame(path or "radiomics"):
        settings = chosen_settings(given, spec.bin_width, spec.bin_count, spec.minimum_voxels)
    if unused := unused_parameters(given or {}):
        record.warnings.append(f"{path}: {', '.join(unused)} is decided by voxelome.")
    with blame(MADE):
        recipes = parse_recipes(json.loads(spec.regions))
    records = [StepRecord.load(path) for path in spec.records]
    regions = regions_of(records, recipes, spec.rois, record)
    planes = {space: midplane_of(records, space) for space in {region.space for region in regions}}
    images = _images(records, spec.images, record)
    return Measurable(images, regions, planes, spec.engine, settings, given or {}, recipes)


def _images(records: list[StepRecord], wanted: list[str], record: StepRecord) -> list[dict[str, Any]]:
    """Images and maps of a visit in the spaces that it was measured in."""
    found = [item for one in records for role in ("image", "map") for item in one.find(role)]
    found = [item for item in found if item.get("suffix") not in NOT_MEASURED]
    chosen = [item for item in found if any(fnmatchcase(item["image"], pattern) for pattern in wanted)]
    if found and not chosen:
        names = ", ".join(item["image"] for item in found)
        record.skip("features", f"no image is named {' or '.join(wanted)}; there are: {names}")
    return chosen
