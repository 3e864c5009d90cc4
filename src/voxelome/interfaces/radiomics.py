"""Extract radiomic features of every region from every image of a visit."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome.bids.names import bids_name, unit_entities
from voxelome.errors import blame
from voxelome.imageio import load_volume, save_json, save_text, sidecar_path
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.step import StepRecord, recording, use_threads

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
    out_dir = Directory(mandatory=True, desc="anat folder of the visit in the output dataset")


class ExtractRadiomics(SimpleInterface):
    """Extract radiomic features of every region from every image of a visit."""

    input_spec = RadiomicsInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        spec = self.inputs
        use_threads(spec.num_threads)
        inputs = [StepRecord.load(path) for path in spec.records]
        with recording("radiomics", spec.unit, spec.record) as record:
            images, rois = _images(inputs), _rois(inputs)
            rows = [row for roi in rois for row in self._region(roi, images, record)]
            entities = unit_entities(spec.unit)
            path = Path(spec.out_dir) / bids_name({**entities, "desc": "radiomics"}, "features", ".tsv")
            save_text(path, _table(entities, rows))
            save_json(sidecar_path(path), self._dictionary())
            record.add(path, "features")
            record.parameters = {"bins": spec.bin_width or spec.bin_count, "filter": "original"}
            missing = sum(row[-1] != "" for row in rows)
            record.quality |= {"features": len(rows), "features not available": missing}
            if rows:
                record.done.append(f"{len(rows)} features of {len(rois)} region(s).")
            else:
                record.skip("features", "there is no pair of an image and a region on one grid")
        self._results["record"] = spec.record
        return runtime

    def _region(
        self, roi: dict[str, Any], images: list[dict[str, Any]], record: StepRecord
    ) -> list[tuple[Any, ...]]:
        """Rows of one region: its shape once, then every image on its grid."""
        from voxelome.radiomics.extract import extract_features, shape_features
        from voxelome.radiomics.settings import RadiomicsSettings

        spec = self.inputs
        settings = RadiomicsSettings(
            bin_width=spec.bin_width or None,
            bin_count=None if spec.bin_width else spec.bin_count,
            minimum_voxels=spec.minimum_voxels,
            classes=("firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm"),
        )
        volume = load_volume(roi["path"], dtype=None)
        mask = volume.data == roi["value"]
        if not mask.any():
            record.skip(
                f"features of {roi['name']} in the space of {roi['space']}", "the region has no voxel there"
            )
            return []
        rows: list[tuple[Any, ...]] = []
        with blame(roi["path"]):
            if roi["shape"]:
                rows += [
                    (roi["space"], roi["name"], value)
                    for value in shape_features(mask, volume.affine, minimum_voxels=spec.minimum_voxels)
                ]
            for image in images:
                if image["space"] == roi["space"]:
                    data = load_volume(image["path"]).data
                    # Images and maps are exactly 0 where they are not known: outside of what the field of
                    # view, the background removal or the mask of the maps leave.
                    known = mask & (data != 0)
                    rows += [
                        (image["image"], roi["name"], value)
                        for value in extract_features(data, known, volume.affine, settings)
                    ]
        return [
            (image, name, v.filter, v.feature_class, v.feature, v.value, v.unit, v.reason)
            for image, name, v in rows
        ]

    def _dictionary(self) -> dict[str, Any]:
        return {
            "Description": "Radiomic features, one value a row",
            "Software": "pyradiomics (pyradiomics-bhklab 3.1.4)",
            "BinWidth": self.inputs.bin_width or "n/a",
            "BinCount": self.inputs.bin_count if not self.inputs.bin_width else "n/a",
            "image": {"Description": "Image; for the shape class the space in which the region was measured"},
            "roi": {"Description": "Region of interest"},
            "value": {"Description": "Value of the feature; n/a where it cannot be computed"},
            "reason": {"Description": "Why a value is n/a"},
        }


def _images(records: list[StepRecord]) -> list[dict[str, Any]]:
    """Images and maps of a visit in the spaces that it was measured in, projections left out."""
    found = [item for record in records for role in ("image", "map") for item in record.find(role)]
    return [item for item in found if item.get("suffix") not in ("minIP", "S0map", "T2starmap")]


def _rois(records: list[StepRecord]) -> list[dict[str, Any]]:
    """Regions of a visit: the brain, and every label of every segmentation.

    The shape of a region is measured once, on the grid of the reference; where the visit has no
    reference, on the grid that there is.
    """
    rois = [
        {"path": item["path"], "name": item["name"], "space": item["space"], "value": 1}
        for record in records
        for item in record.find("mask")
        if item["name"] != "qsm"
    ]
    for record in records:
        for item in record.find("labels"):
            for value, name in item["names"].items():
                label = name if len(item["names"]) == 1 and name == item["name"] else f"{item['name']}-{name}"
                rois.append(
                    {"path": item["path"], "name": label, "space": item["space"], "value": int(value)}
                )
    seen: set[str] = set()
    for roi in rois:
        roi["shape"] = roi["name"] not in seen
        seen.add(roi["name"])
    return rois


def _table(entities: dict[str, str], rows: list[tuple[Any, ...]]) -> str:
    """Long table as TSV; a value that could not be computed is n/a."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    who = (f"sub-{entities['subject']}", f"ses-{entities['session']}" if "session" in entities else "n/a")
    for *head, value, unit, reason in rows:
        known = value is not None and np.isfinite(value)
        writer.writerow([*who, *head, repr(float(value)) if known else "n/a", unit, reason])
    return text.getvalue()
