"""Write the report of a subject, and that of the group."""

from __future__ import annotations

import json
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

from voxelome.imageio import save_text
from voxelome.interfaces.analysis_report import write_analysis_page
from voxelome.interfaces.analysis_summary import summarise_analysis
from voxelome.interfaces.cohort_summary import availability, quality_figures
from voxelome.interfaces.methods import methods_of, references_of
from voxelome.interfaces.summaries import (
    TOGETHER,
    left_out_row,
    software_of,
    subject_rows,
    summarise_together,
    summarise_visit,
    visit_name,
)
from voxelome.reports.model import Failure, GroupReport, SubjectReport
from voxelome.step import StepRecord


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
    spaces = traits.List(
        traits.Str(), [], usedefault=True, desc="output spaces; the image of a template's file is shown"
    )
    report = File(mandatory=True, desc="HTML file to write")


class ReportSubject(SimpleInterface):
    """Write the report of one subject: figures, numbers, and what was not possible and why."""

    input_spec = SubjectReportInputs
    output_spec = ReportOutputs

    def _run_interface(self, runtime: Any) -> Any:
        from voxelome.interfaces.viewer_scenes import scenes_of
        from voxelome.reports.render import render_subject

        spec = self.inputs
        records = [StepRecord.load(path) for path in spec.records]
        visits, failures = json.loads(spec.visits), json.loads(spec.failures)
        sessions = [
            summarise_visit(unit, plan, [record for record in records if record.unit == unit], failures)
            for unit, plan in visits.items()
        ]
        together = [record for record in records if record.step in ("midway", "change")]
        sessions += summarise_together(together, [row for row in failures if row["unit"] not in visits])
        errors = [
            Failure(
                f"sub-{spec.subject}",
                visit_name(row["unit"]) if row["unit"] in visits else TOGETHER,
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
            methods=methods_of(records),
            software=software_of(records),
            citations=[str(item) for item in references_of(records)],
            scenes=scenes_of(visits, records, spec.spaces),
        )
        save_text(spec.report, render_subject(report))
        self._results["report"] = spec.report
        return runtime


class GroupReportInputs(BaseInterfaceInputSpec):
    """Inputs of :class:`ReportGroup`."""

    dataset = traits.Str(mandatory=True, desc="name of the dataset")
    cohort = File(mandatory=True, desc="text file with the visits of the group, one a line")
    steps_dir = Directory(mandatory=True, desc="folder with the records of all visits")
    models = traits.List(File(), desc="records of the feature table and of the analyses")
    left_out = traits.Str(
        "{}", usedefault=True, desc="JSON: visits that are left out: words, or step and reason"
    )
    failures = traits.Str(
        "[]", usedefault=True, desc="JSON: steps that failed, with unit, step, reason and log"
    )
    processing = traits.Str(
        "{}", usedefault=True, desc="JSON: settings of the images' processing, by stage, for the checklists"
    )
    report = File(mandatory=True, desc="HTML file to write; each analysis gets a page in its own folder")


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
        gone = [left_out_row(unit, why) for unit, why in left_out.items()]
        models = [StepRecord.load(path) for path in spec.models]
        all_records = [record for records in [*visits.values(), models] for record in records]
        report = GroupReport(
            dataset=spec.dataset,
            participants=len(rows),
            rows=rows,
            failures=[
                *(row for row in gone if row.step),
                *(
                    Failure("group", "", row["step"], row["reason"], row["log"])
                    for row in json.loads(spec.failures)
                ),
            ],
            left_out=[row for row in gone if not row.step],
            figures=quality_figures(visits),
            availability=availability(visits),
            analyses=[summarise_analysis(record) for record in models if record.step == "model"],
            features=[
                item
                for record in models
                if record.step in ("features", "reliability")
                for item in record.quality.items()
            ],
            methods=methods_of(all_records),
            software=software_of(all_records),
            citations=[str(item) for item in references_of(all_records)],
        )
        for record in models:
            if record.step == "model":
                write_analysis_page(record, spec.dataset, json.loads(spec.processing))
        save_text(spec.report, render_group(report))
        self._results["report"] = spec.report
        return runtime
