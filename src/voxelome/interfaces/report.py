"""Write the report of a subject, and that of the group."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Directory,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from voxelome.bids.names import unit_entities
from voxelome.imageio import load_json, save_text
from voxelome.provenance import software_versions
from voxelome.references import references_for
from voxelome.reports.model import (
    AnalysisSummary,
    Failure,
    Figure,
    GroupReport,
    Problem,
    SessionSummary,
    Status,
    StepSummary,
    SubjectReport,
    SubjectRow,
)
from voxelome.step import StepRecord

SOFTWARE = (
    "antspyx",
    "deepbet",
    "nibabel",
    "nilearn",
    "nipype",
    "numpy",
    "onnxruntime",
    "pyradiomics-bhklab",
    "scikit-learn",
    "scipy",
    "snakemake",
)
BRAIN_VOLUME = "brain volume (ml)"


class ReportOutputs(TraitedSpec):
    """Outputs of the reports."""

    report = File(exists=True, desc="HTML page that needs no other file")


class SubjectReportInputs(BaseInterfaceInputSpec):
    """Inputs of :class:`ReportSubject`."""

    subject = traits.Str(mandatory=True, desc="label of the subject, without sub-")
    dataset = traits.Str(mandatory=True, desc="name of the dataset")
    visits = traits.Str(mandatory=True, desc="JSON: by visit, what is not possible and why, and broken files")
    records = traits.List(File(), desc="records of the steps of all visits")
    failures = traits.Str(
        "[]", usedefault=True, desc="JSON: steps that failed, with unit, step, reason and log"
    )
    report = File(mandatory=True, desc="HTML file to write")


class ReportSubject(SimpleInterface):
    """Write the report of one subject: figures, numbers, and what was not possible and why."""

    input_spec = SubjectReportInputs
    output_spec = ReportOutputs

    def _run_interface(self, runtime: Any) -> Any:
        from voxelome.reports.render import render_subject

        spec = self.inputs
        records = [StepRecord.load(path) for path in spec.records]
        failures = json.loads(spec.failures)
        sessions = [
            summarise_visit(unit, plan, [record for record in records if record.unit == unit], failures)
            for unit, plan in json.loads(spec.visits).items()
        ]
        errors = [
            Failure(
                f"sub-{spec.subject}",
                visit_name(row["unit"]),
                row["step"],
                row["reason"],
                row["log"],
            )
            for row in failures
        ]
        report = SubjectReport(
            subject=f"sub-{spec.subject}",
            dataset=spec.dataset,
            sessions=sessions,
            errors=errors,
            methods=methods(records),
            software=software_versions(*SOFTWARE),
            citations=[str(item) for item in references_for(record.step for record in records)],
        )
        save_text(spec.report, render_subject(report))
        self._results["report"] = spec.report
        return runtime


def visit_name(unit: str) -> str:
    """Name of a unit's visit, such as ``ses-1``; empty where the subject has no sessions."""
    session = unit_entities(unit).get("session")
    return f"ses-{session}" if session else ""


def summarise_visit(
    unit: str, plan: dict[str, Any], records: list[StepRecord], failures: Iterable[dict[str, str]]
) -> SessionSummary:
    """Summary of one visit for its subject's report."""
    from voxelome.interfaces.pictures import figures_of

    by_step: dict[str, list[StepRecord]] = {}
    for record in records:
        by_step.setdefault(record.step, []).append(record)
    steps = [summarise_step(record) for record in records]
    steps += [
        StepSummary(row["step"], unit, "failed", warnings=[row["reason"]])
        for row in failures
        if row["unit"] == unit
    ]
    skipped = [(item["what"], item["why"]) for item in plan["skipped"]]
    found = [
        f"Images: {', '.join(plan['images']) or 'none'}.",
        f"Masks: {', '.join(plan['masks']) or 'none'}.",
    ]
    steps.insert(0, StepSummary("dataset", unit, done=found, skipped=skipped))
    regions = [
        (name.removesuffix(" (ml)"), float(value))
        for record in by_step.get("segment", [])
        for name, value in record.quality.items()
        if name.endswith("(ml)")
    ]
    regions += [
        ("brain", float(r.quality[BRAIN_VOLUME]))
        for r in by_step.get("preprocess", [])
        if BRAIN_VOLUME in r.quality
    ]
    return SessionSummary(
        name=visit_name(unit),
        steps=steps,
        figures=figures_of(by_step),
        regions=regions,
        problems=[Problem(item["path"], item["problem"], item["remedy"]) for item in plan["problems"]],
    )


def summarise_step(record: StepRecord) -> StepSummary:
    """Readable part of a step's record."""
    status: Status = "warning" if record.warnings else "done"
    return StepSummary(
        record.step,
        record.unit,
        status,
        done=record.done,
        warnings=record.warnings,
        skipped=[(item["what"], item["why"]) for item in record.skipped],
        quality=list(record.quality.items()),
        parameters=record.parameters,
        seconds=record.seconds,
    )


METHODS = {
    "preprocess": "Images were brought to RAS+ voxel order and corrected for the bias field with N4 "
    "(Tustison 2010). The brain was found in the reference image with deepbet (Fisch 2024) unless the image "
    "came already stripped.",
    "register": "The other images were registered rigidly to the reference (ANTs, Mattes mutual information) "
    "and interpolated once; intensities are z-scores in the brain mask. The reference was registered to "
    "MNI152NLin2009aSym with an affine and a SyN transform.",
    "qsm": "Phase was unwrapped over space and echoes, the field fitted over the echo times, the background "
    "removed with V-SHARP (Li 2014), and the dipole inverted with the method that the table names. R2* was "
    "fitted to the magnitudes.",
    "segment": "Masks that came with the data were carried to the grids of the images with the rigid "
    "transforms.",
    "radiomics": "All original features of pyradiomics (van Griethuysen 2017) were computed for every region "
    "on every image.",
}


def methods(records: Iterable[StepRecord]) -> list[str]:
    """Paragraphs on the methods of the steps that ran."""
    ran = {record.step for record in records}
    return [text for step, text in METHODS.items() if step in ran]


class GroupReportInputs(BaseInterfaceInputSpec):
    """Inputs of :class:`ReportGroup`."""

    dataset = traits.Str(mandatory=True, desc="name of the dataset")
    cohort = File(mandatory=True, desc="text file with the visits of the group, one a line")
    steps_dir = Directory(mandatory=True, desc="folder with the records of all visits")
    models = traits.List(File(), desc="records of the feature table and of the analyses")
    left_out = traits.Str("{}", usedefault=True, desc="JSON: visits that are left out, and why")
    failures = traits.Str(
        "[]", usedefault=True, desc="JSON: steps that failed, with unit, step, reason and log"
    )
    report = File(mandatory=True, desc="HTML file to write")


class ReportGroup(SimpleInterface):
    """Write the report of the group: who is in it, quality, the analyses."""

    input_spec = GroupReportInputs
    output_spec = ReportOutputs

    def _run_interface(self, runtime: Any) -> Any:
        from voxelome.reports.render import render_group

        spec = self.inputs
        steps = Path(spec.steps_dir)
        units = Path(spec.cohort).read_text(encoding="utf-8").split()
        visits = {
            unit: [StepRecord.load(path) for path in sorted((steps / unit).glob("*.json"))] for unit in units
        }
        left_out = json.loads(spec.left_out)
        rows = subject_rows(visits, left_out)
        models = [StepRecord.load(path) for path in spec.models]
        steps_run = {record.step for records in [*visits.values(), models] for record in records}
        report = GroupReport(
            dataset=spec.dataset,
            participants=len(rows),
            rows=rows,
            failures=[
                *(_left_out(unit, reason) for unit, reason in left_out.items()),
                *(
                    Failure("group", "", row["step"], row["reason"], row["log"])
                    for row in json.loads(spec.failures)
                ),
            ],
            figures=_quality_figures(visits),
            analyses=[summarise_analysis(record) for record in models if record.step == "model"],
            features=[
                item for record in models if record.step == "features" for item in record.quality.items()
            ],
            methods=methods(record for records in visits.values() for record in records),
            software=software_versions(*SOFTWARE),
            citations=[str(item) for item in references_for(steps_run)],
        )
        save_text(spec.report, render_group(report))
        self._results["report"] = spec.report
        return runtime


def _left_out(unit: str, reason: str) -> Failure:
    entities = unit_entities(unit)
    step, _, why = reason.partition(" failed: ")
    return Failure(f"sub-{entities['subject']}", visit_name(unit), step if why else "", why or reason)


def subject_rows(visits: dict[str, list[StepRecord]], left_out: dict[str, str]) -> list[SubjectRow]:
    """One row a subject for the overview."""
    subjects: dict[str, list[str]] = {}
    for unit in [*visits, *left_out]:
        subjects.setdefault(unit_entities(unit)["subject"], []).append(unit)
    rows = []
    for subject, units in sorted(subjects.items()):
        records = [record for unit in units for record in visits.get(unit, [])]
        warnings = sum(len(record.warnings) for record in records)
        failed = sum(unit in left_out for unit in units)
        volumes = [record.quality[BRAIN_VOLUME] for record in records if BRAIN_VOLUME in record.quality]
        status: Status = "failed" if failed else "warning" if warnings else "done"
        rows.append(
            SubjectRow(
                f"sub-{subject}",
                status,
                len(units),
                f"sub-{subject}.html",
                warnings,
                failed,
                sum(volumes) / len(volumes) if volumes else None,
            )
        )
    return rows


# Quality numbers whose spread over the group shows who is unlike the others.
QUALITY = (
    (BRAIN_VOLUME, "Brain volume", "ml"),
    ("template brain overlap (Dice)", "Overlap with the template's brain", "Dice"),
)


def _quality_figures(visits: dict[str, list[StepRecord]]) -> list[Figure]:
    from voxelome.reports.plots import strip

    figures = []
    for key, title, unit in QUALITY:
        values = [
            (visit, float(record.quality[key]))
            for visit, records in visits.items()
            for record in records
            if key in record.quality
        ]
        if len(values) > 1:
            plot = strip({"all": values}, title, unit)
            figures.append(
                Figure(title, "A dot a visit; those far from the others are named: look at them.", svg=plot)
            )
    return figures


def summarise_analysis(record: StepRecord) -> AnalysisSummary:
    """Result of one analysis for the group's report."""
    from voxelome.reports.plots import roc_curve

    metrics_path = record.path("metrics")
    assert metrics_path is not None  # every analysis writes its metrics
    metrics = load_json(metrics_path)
    auc, low, high = (float(metrics[key]) for key in ("auc", "auc_low", "auc_high"))
    roc = metrics["roc"]
    plot = roc_curve(roc["fpr"], roc["tpr"], auc, low, high)
    caption = "Each participant is predicted by models that have not seen it."
    outcome = str(metrics["outcome"])
    return AnalysisSummary(
        name=metrics["name"],
        outcome=outcome,
        n=metrics["n"],
        n_positive=metrics["n_positive"],
        positive=f"{outcome} {metrics['positive']}",
        auc=auc,
        low=low,
        high=high,
        validation=f"nested cross-validation, {metrics['folds']} folds, {metrics['repeats']} times",
        sentences=[metrics["auc_method"]],
        notes=record.warnings,
        figures=[Figure(f"ROC curve of {metrics['name']}", caption, svg=plot)],
        selected_columns=("feature", "chosen in folds (%)"),
        selected=_selected(record),
        metrics=[(name, metrics[key]) for key, name in SHOWN_METRICS.items()],
    )


SHOWN_METRICS = {
    "n_features": "features offered",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score",
    "brier_of_prevalence": "Brier score of always saying the prevalence",
}


def _selected(record: StepRecord, most: int = 15) -> list[tuple[Any, ...]]:
    import pandas as pd

    path = record.path("selected")
    if path is None:
        return []
    table = pd.read_csv(path, sep="\t").head(most)
    return [(row["feature"], round(100 * float(row["frequency"]))) for _, row in table.iterrows()]
