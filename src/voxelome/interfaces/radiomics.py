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
from voxelome.errors import blame
from voxelome.imageio import load_yaml, save_json, save_text, sidecar_path
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.step import StepRecord, recording, use_threads

if TYPE_CHECKING:
    from voxelome.interfaces.measure import HistogramSettings, Row
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
    histogram = traits.Str("{}", usedefault=True, desc="settings of the histograms, as JSON (docs/steps.md)")
    parameters = File(exists=True, desc="parameter file of PyRadiomics; replaces the three settings above")
    out_dir = Directory(mandatory=True, desc="anat folder of the visit in the output dataset")


class ExtractRadiomics(SimpleInterface):
    """Extract radiomic features of every region from every image of a visit."""

    input_spec = RadiomicsInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        from voxelome.interfaces.measure import HistogramSettings, measure_images, measure_shapes
        from voxelome.interfaces.roi import midplane_of, regions_of
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
            histogram = HistogramSettings(**json.loads(spec.histogram))
            rows, histograms, densities = measure_shapes(regions, settings), [], {}
            planes = {space: midplane_of(inputs, space) for space in {region.space for region in regions}}
            images = _images(inputs, spec.images, record)
            for name, found in measure_images(images, regions, planes, settings, histogram, spec.num_threads):
                rows += found.features
                histograms += found.histograms
                densities[name] = found.densities
                record.warnings += found.warnings
            self._save("radiomics", rows, self._dictionary(settings, given), record)
            if histogram.wanted:
                self._save("histogram", histograms, _about_histograms(histogram, densities), record)
            record.parameters = {
                "bins": settings.bin_width or settings.bin_count,
                "filter": ", ".join(settings.image_types),
            }
            missing = sum(row.value.reason != "" for row in rows)
            record.quality |= {
                "features": len(rows),
                "features not available": missing,
                "features of the self-check": checked,
            }
            if rows:
                record.done.append(f"{len(rows)} features of {len({row.roi for row in rows})} region(s).")
            else:
                record.skip("features", "there is no pair of an image and a region on one grid")
        self._results["record"] = spec.record
        return runtime

    def _save(self, desc: str, rows: list[Row], about: dict[str, Any], record: StepRecord) -> None:
        """Write a long table and its dictionary."""
        entities = unit_entities(self.inputs.unit)
        path = Path(self.inputs.out_dir) / bids_name({**entities, "desc": desc}, "features", ".tsv")
        save_text(path, _table(entities, rows))
        save_json(sidecar_path(path), about)
        record.add(path, "features", desc=desc)

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


def _about_histograms(histogram: HistogramSettings, densities: dict[str, Any]) -> dict[str, Any]:
    """Dictionary of the table of histograms, with the curves for plots."""
    return {
        "Description": "Histograms of regions, one value a row",
        "Reference": histogram.reference or "n/a",
        "Thresholds": histogram.thresholds,
        "Densities": densities,
    }


def _images(records: list[StepRecord], wanted: list[str], record: StepRecord) -> list[dict[str, Any]]:
    """Images and maps of a visit in the spaces that it was measured in, projections left out."""
    found = [item for one in records for role in ("image", "map") for item in one.find(role)]
    found = [item for item in found if item.get("suffix") not in ("minIP", "S0map", "T2starmap")]
    chosen = [item for item in found if any(fnmatchcase(item["image"], pattern) for pattern in wanted)]
    if found and not chosen:
        names = ", ".join(item["image"] for item in found)
        record.skip("features", f"no image is named {' or '.join(wanted)}; there are: {names}")
    return chosen


def _table(entities: dict[str, str], rows: list[Row]) -> str:
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
