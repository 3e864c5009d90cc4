"""Extract radiomic features of every region from every image of a visit."""

from __future__ import annotations

import csv
import io
import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import Directory, File, SimpleInterface, isdefined, traits

from voxelome.bids.names import bids_name, unit_entities
from voxelome.errors import InputError, blame
from voxelome.imageio import load_volume, load_yaml, save_json, save_text, sidecar_path
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.step import StepRecord, recording, use_threads

if TYPE_CHECKING:
    from voxelome.interfaces.roi import Region
    from voxelome.radiomics.extract import FeatureValue
    from voxelome.radiomics.settings import RadiomicsSettings

COLUMNS = (
    "participant_id",
    "session_id",
    "image",
    "roi",
    "filter",
    "class",
    "feature",
    "value",
    "unit",
    "reason",
)


class RadiomicsInputs(StepInputs):
    """Inputs of :class:`ExtractRadiomics`."""

    records = traits.List(File(), mandatory=True, desc="records of register, qsm and segment for this visit")
    bin_count = traits.Int(32, usedefault=True, desc="grey levels inside a region")
    bin_width = traits.Float(0.0, usedefault=True, desc="width of a grey level; 0 uses the bin count instead")
    minimum_voxels = traits.Int(10, usedefault=True, desc="a smaller region has no features")
    regions = traits.Str("[]", usedefault=True, desc="regions to make out of others, as JSON (docs/steps.md)")
    rois = traits.List(
        traits.Str(), value=["*"], usedefault=True, desc="names or patterns of the regions to measure"
    )
    images = traits.List(
        traits.Str(), value=["*"], usedefault=True, desc="names or patterns of the images to measure"
    )
    parameters = File(exists=True, desc="parameter file of PyRadiomics; replaces the three settings above")
    out_dir = Directory(mandatory=True, desc="anat folder of the visit in the output dataset")


class ExtractRadiomics(SimpleInterface):
    """Extract radiomic features of every region from every image of a visit."""

    input_spec = RadiomicsInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        from voxelome.interfaces.roi import regions_of
        from voxelome.radiomics.algebra import parse_recipes
        from voxelome.radiomics.selfcheck import check_engine
        from voxelome.radiomics.settings import unused_parameters

        spec = self.inputs
        use_threads(spec.num_threads)
        checked = check_engine()
        inputs = [StepRecord.load(path) for path in spec.records]
        with recording("radiomics", spec.unit, spec.record) as record:
            settings, given = self._settings()
            if unused := unused_parameters(given):
                record.warnings.append(f"{spec.parameters}: {', '.join(unused)} is decided by voxelome.")
            with blame("radiomics: regions"):
                recipes = parse_recipes(json.loads(spec.regions))
            regions = regions_of(inputs, recipes, spec.rois, record)
            rows = _features(_images(inputs, spec.images, record), regions, settings, record)
            entities = unit_entities(spec.unit)
            path = Path(spec.out_dir) / bids_name({**entities, "desc": "radiomics"}, "features", ".tsv")
            save_text(path, _table(entities, rows))
            save_json(sidecar_path(path), self._dictionary(settings, given))
            record.add(path, "features")
            record.parameters = {
                "bins": settings.bin_width or settings.bin_count,
                "filter": ", ".join(settings.image_types),
            }
            missing = sum(value.reason != "" for *_, value in rows)
            record.quality |= {
                "features": len(rows),
                "features not available": missing,
                "features of the self-check": checked,
            }
            if rows:
                record.done.append(f"{len(rows)} features of {len({roi for _, roi, _ in rows})} region(s).")
            else:
                record.skip("features", "there is no pair of an image and a region on one grid")
        self._results["record"] = spec.record
        return runtime

    def _settings(self) -> tuple[RadiomicsSettings, dict[str, Any]]:
        """How features are computed, and what the parameter file holds, where there is one."""
        from voxelome.radiomics.settings import RadiomicsSettings, from_parameters

        spec = self.inputs
        if isdefined(spec.parameters):
            with blame(spec.parameters):
                given = load_yaml(spec.parameters)
                return from_parameters(given), given
        settings = RadiomicsSettings(
            bin_width=spec.bin_width or None,
            bin_count=None if spec.bin_width else spec.bin_count,
            minimum_voxels=spec.minimum_voxels,
        )
        return settings, {}

    def _dictionary(self, settings: RadiomicsSettings, given: dict[str, Any]) -> dict[str, Any]:
        return {
            "Description": "Radiomic features, one value a row",
            "Software": "pyradiomics (pyradiomics-bhklab 3.1.4)",
            "BinWidth": settings.bin_width or "n/a",
            "BinCount": settings.bin_count or "n/a",
            "Parameters": given or "n/a",
            "image": {"Description": "Image; for the shape class the space in which the region was measured"},
            "roi": {"Description": "Region of interest"},
            "filter": {"Description": "Derived image, by the name that PyRadiomics gives it"},
            "value": {"Description": "Value of the feature; n/a where it cannot be computed"},
            "reason": {"Description": "Why a value is n/a"},
        }


def _features(
    images: list[dict[str, Any]], regions: list[Region], settings: RadiomicsSettings, record: StepRecord
) -> list[tuple[str, str, FeatureValue]]:
    """Return image, region and feature: the shape of each region, then every image with all regions on it."""
    from voxelome.radiomics.extract import extract_regions, shape_features
    from voxelome.segmentation.carry import same_grid

    rows: list[tuple[str, str, FeatureValue]] = []
    for region in regions:
        if region.shape:
            with blame(region.path):
                values = shape_features(region.mask, region.affine, settings)
            rows += [(region.space, region.name, value) for value in values]
    for image in images:
        here = [region for region in regions if region.space == image["space"]]
        if not here:
            continue
        volume = load_volume(image["path"])
        for region in here:
            if not same_grid(volume.data.shape, volume.affine, region.mask.shape, region.affine):
                problem = f"lies on another grid than the region {region.name} ({region.path})"
                raise InputError(image["path"], problem, "resample one to the grid of the other")
        # Images and maps are exactly 0 where they are not known: outside of what the field of
        # view, the background removal or the mask of the maps leave.
        known = volume.data != 0
        with blame(image["path"]):
            found = extract_regions(
                volume.data, {region.name: region.mask & known for region in here}, volume.affine, settings
            )
        for name, features in found.items():
            rows += [(image["image"], name, value) for value in features.values]
            if doubtful := features.doubtful_levels():
                record.warnings.append(_levels(image["image"], name, doubtful))
    return rows


def _levels(image: str, roi: str, doubtful: dict[str, int]) -> str:
    """Sentence on numbers of gray levels that say little about texture."""
    counts = ", ".join(f"{name} {count}" for name, count in doubtful.items())
    return f"{image}, {roi}: few or very many gray levels ({counts}); another bin width or a bin count suits."


def _images(records: list[StepRecord], wanted: list[str], record: StepRecord) -> list[dict[str, Any]]:
    """Images and maps of a visit in the spaces that it was measured in, projections left out."""
    found = [item for one in records for role in ("image", "map") for item in one.find(role)]
    found = [item for item in found if item.get("suffix") not in ("minIP", "S0map", "T2starmap")]
    chosen = [item for item in found if any(fnmatchcase(item["image"], pattern) for pattern in wanted)]
    if found and not chosen:
        names = ", ".join(item["image"] for item in found)
        record.skip("features", f"no image is named {' or '.join(wanted)}; there are: {names}")
    return chosen


def _table(entities: dict[str, str], rows: list[tuple[str, str, FeatureValue]]) -> str:
    """Long table as TSV; a value that could not be computed is n/a."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    who = (f"sub-{entities['subject']}", f"ses-{entities['session']}" if "session" in entities else "n/a")
    for image, roi, v in rows:
        value = "n/a" if v.value is None else repr(v.value)
        row = [*who, image, roi, v.filter, v.feature_class, v.feature, value, v.unit, v.reason]
        writer.writerow(row)
    return text.getvalue()
