"""Fit and validate one analysis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome.errors import InputError, blame
from voxelome.imageio import replacing, save_json
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.step import StepRecord, recording, use_threads


class FitInputs(StepInputs):
    """Inputs of :class:`FitModel`."""

    features = File(mandatory=True, desc="record of the feature table, one row a participant and visit")
    participants = File(mandatory=True, desc="participants.tsv of the dataset")
    analysis = traits.Str(mandatory=True, desc="the analysis, as JSON (see config/schemas/analysis.yaml)")
    out_dir = Directory(mandatory=True, desc="folder of this analysis in the output dataset")


class FitModel(SimpleInterface):
    """Fit and validate one analysis by nested cross-validation."""

    input_spec = FitInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        import pandas as pd

        from voxelome.modelling.analysis import parse_analysis, run_analysis

        spec = self.inputs
        use_threads(spec.num_threads)
        table = StepRecord.load(spec.features).path("features")
        features = pd.read_csv(table, sep="\t", na_values="n/a", keep_default_na=False)
        participants = read_participants(Path(spec.participants))
        with recording("model", spec.unit, spec.record) as record:
            wanted = json.loads(spec.analysis)
            with blame(f"analysis {wanted.get('name', '')}"):
                settings = parse_analysis(wanted)
                result = run_analysis(features, participants, settings, threads=spec.num_threads)
            self._save(result, settings, record)
        self._results["record"] = spec.record
        return runtime

    def _save(self, result: Any, settings: Any, record: StepRecord) -> None:
        from voxelome.modelling.analysis import save_model

        out = Path(self.inputs.out_dir)
        with replacing(out / "predictions.tsv") as temporary:
            result.predictions.to_csv(temporary, sep="\t", index=False, na_rep="n/a")
        with replacing(out / "selected.tsv") as temporary:
            result.selected.to_csv(temporary, sep="\t", index=False, na_rep="n/a")
        curve = {}
        if result.roc is not None:
            fpr, tpr = ([float(value) for value in axis] for axis in result.roc)
            curve = {"roc": {"fpr": fpr, "tpr": tpr}}
        save_json(out / "metrics.json", {**result.metrics, **curve})
        save_model(out / "model.skops", result.model)
        for name in ("predictions.tsv", "selected.tsv", "metrics.json", "model.skops"):
            record.add(out / name, name.split(".")[0])
        record.quality = result.metrics
        record.parameters = {"name": settings.name, "outcome": settings.outcome}
        record.warnings += result.notes


def read_participants(path: Path) -> Any:
    """participants.tsv as a table of strings and numbers."""
    import pandas as pd

    if not path.is_file():
        raise InputError(path, "there is no such file", "an analysis takes its outcome from it")
    table = pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False)
    if "participant_id" not in table:
        raise InputError(path, "has no column participant_id", "BIDS asks for it as the first column")
    return table
