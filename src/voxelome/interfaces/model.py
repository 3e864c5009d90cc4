"""Fit and validate one analysis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nipype.interfaces.base import Directory, File, SimpleInterface, isdefined, traits

from voxelome.errors import InputError, blame
from voxelome.imageio import load_json, replacing, save_json
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.step import StepRecord, recording, use_threads


class FitInputs(StepInputs):
    """Inputs of :class:`FitModel`."""

    features = File(mandatory=True, desc="record of the feature table, one row a participant and visit")
    participants = File(mandatory=True, desc="participants.tsv of the dataset")
    analysis = traits.Str(mandatory=True, desc="the analysis, as JSON (see config/schemas/analysis.yaml)")
    cohort = File(exists=True, desc="text file with the visits of the group, for minimum_reliability")
    steps_dir = Directory(desc="folder with the records, <visit>/robustness.json, for minimum_reliability")
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
        assert table is not None  # the step before writes it or fails
        features = pd.read_csv(table, sep="\t", na_values="n/a", keep_default_na=False)
        participants = read_participants(Path(spec.participants))
        with recording("model", spec.unit, spec.record) as record:
            wanted = json.loads(spec.analysis)
            with blame(f"analysis {wanted.get('name', '')}"):
                settings = parse_analysis(wanted)
                repeated = self._repeated() if settings.minimum_reliability else None
                result = run_analysis(
                    features, participants, settings, repeated=repeated, threads=spec.num_threads
                )
            self._save(result, settings, record, load_json(table.with_suffix(".json")).get("Settings", {}))
        self._results["record"] = spec.record
        return runtime

    def _repeated(self) -> Any:
        """Return the features of the visits that were measured again; None where there are none."""
        from voxelome.interfaces.reliability import perturbed_of
        from voxelome.modelling.cohort import Repeated

        spec = self.inputs
        if not isdefined(spec.cohort) or not isdefined(spec.steps_dir):
            return None
        found = perturbed_of(Path(spec.cohort).read_text(encoding="utf-8").split(), Path(spec.steps_dir))
        if found is None:
            return None
        units, names, values = found
        # Participant and session, as the table of features names them.
        visits = [(unit.partition("_")[0], unit.partition("_")[2]) for unit in units]
        return Repeated(names, visits, values.astype("float32"))

    def _save(self, result: Any, settings: Any, record: StepRecord, made_with: dict[str, Any]) -> None:
        from voxelome.modelling.analysis import save_model
        from voxelome.modelling.apply import describe_model

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
        save_json(out / "model.json", describe_model(settings, result, made_with))
        for name in ("predictions.tsv", "selected.tsv", "metrics.json", "model.json", "model.skops"):
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
