"""Fit and validate one analysis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nipype.interfaces.base import Directory, File, SimpleInterface, isdefined, traits

from voxelome.bids.image_settings import settings_behind
from voxelome.errors import blame
from voxelome.imageio import replacing, save_json
from voxelome.interfaces.analysis_inputs import AnalysisInputs, Planned, plan_of
from voxelome.interfaces.base import StepOutputs
from voxelome.interfaces.fold import load_done
from voxelome.step import StepRecord, recording, use_threads


class FitInputs(AnalysisInputs):
    """Inputs of :class:`FitModel`."""

    folds = traits.List(File(), desc="records of jobs that have fitted some of the folds")
    out_dir = Directory(mandatory=True, desc="folder of this analysis in the output dataset")


class FitModel(SimpleInterface):
    """Fit and validate one analysis by nested cross-validation."""

    input_spec = FitInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        from voxelome.modelling.analysis import conclude
        from voxelome.modelling.tasks import tasks_of, work

        spec = self.inputs
        use_threads(spec.num_threads)
        with recording("model", spec.unit, spec.record) as record:
            wanted = json.loads(spec.analysis)
            with blame(f"analysis {wanted.get('name', '')}"):
                planned = plan_of(spec)
                plan, tables = planned.plan, planned.tables
                tasks = tasks_of(plan)
                records = spec.folds if isdefined(spec.folds) else []
                parts = [StepRecord.load(path).path("folds") for path in records]
                done = load_done([path for path in parts if path is not None], tasks)
                done |= work(plan, [task for task in tasks if task not in done], spec.num_threads)
                result = conclude(plan, tables, done)
            self._save(result, planned, record)
        self._results["record"] = spec.record
        return runtime

    def _save(self, result: Any, planned: Planned, record: StepRecord) -> None:
        from voxelome.modelling.analysis import save_model
        from voxelome.modelling.apply import describe_model

        out = Path(self.inputs.out_dir)
        tables = {
            "predictions": result.predictions,
            "selected": result.selected,
            "univariate": result.univariate,
            "mixed": result.mixed,
        }
        if result.explanation is not None:
            tables |= {
                "clusters": result.explanation.clusters,
                "contributions": result.explanation.contributions,
            }
        for name, table in tables.items():
            if table is not None:
                with replacing(out / f"{name}.tsv") as temporary:
                    table.to_csv(temporary, sep="\t", index=False, na_rep="n/a")
                record.add(out / f"{name}.tsv", name)
        content = dict(result.metrics)
        if result.roc is not None:
            fpr, tpr = ([float(value) for value in axis] for axis in result.roc)
            content["roc"] = {"fpr": fpr, "tpr": tpr}
        if result.explanation is not None:
            content["explanation"] = result.explanation.summary
        save_json(out / "metrics.json", content)
        save_model(out / "model.skops", result.model)
        settings = planned.plan.settings
        made_with = settings_behind(planned.made_with, planned.plan.data.features)
        about = describe_model(settings, result, made_with, planned.software)
        save_json(out / "model.json", about)
        for name in ("metrics.json", "model.json", "model.skops"):
            record.add(out / name, name.split(".")[0])
        record.quality = result.metrics
        record.parameters = {"name": settings.name, "outcome": settings.outcome}
        record.warnings += result.notes
