"""Extract radiomic features and histograms of every region from every image of a visit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import SimpleInterface, traits

from voxelome.bids.names import bids_name, unit_entities
from voxelome.imageio import save_json, save_text, save_volume, sidecar_path
from voxelome.interfaces.base import StepOutputs
from voxelome.interfaces.feature_tables import about_features, about_histograms, feature_table
from voxelome.interfaces.measurable import Measurable, MeasureInputs, open_visit
from voxelome.interfaces.roi import MADE
from voxelome.step import StepRecord, recording, use_threads

if TYPE_CHECKING:
    from voxelome.interfaces.measure import Row


class RadiomicsInputs(MeasureInputs):
    """Inputs of :class:`ExtractRadiomics`."""

    feature_maps = traits.List(
        traits.Str(),
        value=[],
        usedefault=True,
        desc="features to map around each voxel, such as glcm_JointEntropy or wavelet-LLH_firstorder_Mean",
    )
    histogram = traits.Str("{}", usedefault=True, desc="settings of the histograms, as JSON (docs/steps.md)")


class ExtractRadiomics(SimpleInterface):
    """Extract radiomic features and histograms of every region from every image of a visit."""

    input_spec = RadiomicsInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        from voxelome.interfaces.measure import HistogramSettings, measure_images, measure_shapes
        from voxelome.radiomics.selfcheck import check_engine

        spec = self.inputs
        use_threads(spec.num_threads)
        checked = check_engine(spec.engine)
        with recording("radiomics", spec.unit, spec.record) as record:
            visit = open_visit(spec, record)
            self._save_regions(visit, record)
            histogram = HistogramSettings(**json.loads(spec.histogram))
            rows, histograms, densities = measure_shapes(visit), [], {}
            for name, found in measure_images(visit, histogram, spec.num_threads):
                rows += found.features
                histograms += found.histograms
                densities[name] = found.densities
                record.warnings += found.warnings
            self._save("radiomics", rows, about_features(rows, visit), record)
            if histogram.wanted:
                self._save("histogram", histograms, about_histograms(histogram, densities), record)
            if spec.feature_maps:
                from voxelome.interfaces.feature_maps import save_maps

                save_maps(visit, spec.feature_maps, Path(spec.out_dir), record)
            record.parameters = {
                "engine": visit.engine,
                "bins": visit.settings.bin_width or visit.settings.bin_count,
                "filter": ", ".join(visit.settings.image_types),
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

    def _save_regions(self, visit: Measurable, record: StepRecord) -> None:
        """Write the regions that were made out of others, so that they can be looked at."""
        for region in visit.regions:
            if region.path == MADE:
                entities = {**unit_entities(self.inputs.unit), "space": region.space}
                entities["label"] = "".join(letter for letter in region.name if letter.isalnum())
                path = Path(self.inputs.out_dir) / bids_name(entities, "mask", ".nii.gz")
                names = (region.name, region.name.rpartition("-")[0])
                (recipe,) = (item for item in visit.recipes if item.name in names)
                about = {"Type": "ROI", "Method": f"{recipe.operation} of {', '.join(recipe.sources)}"}
                save_volume(path, region.mask, region.affine, about)
                record.add(path, "made", name=region.name, space=region.space)

    def _save(self, desc: str, rows: list[Row], about: dict[str, Any], record: StepRecord) -> None:
        """Write a long table and its dictionary."""
        entities = unit_entities(self.inputs.unit)
        path = Path(self.inputs.out_dir) / bids_name({**entities, "desc": desc}, "features", ".tsv")
        save_text(path, feature_table(entities, rows))
        save_json(sidecar_path(path), about)
        record.add(path, "features", desc=desc)
