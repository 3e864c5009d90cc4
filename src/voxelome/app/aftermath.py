"""What a run leaves whether or not it succeeded: reports, failures, description, citations."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from voxelome.app.failures import Failure
from voxelome.app.study import Study
from voxelome.bids.description import dataset_name
from voxelome.bids.targets import describe_visits, model_records, subject_records, wanted_stages
from voxelome.provenance import workflow_root


def write_reports(study: Study, subjects: Sequence[str], failures: Sequence[Failure]) -> list[str]:
    """Write the reports of these subjects; return a line for each that could not be written."""
    broken = []
    for subject in subjects:
        visits = study.visits(subject)
        paths = [study.work_dir / record for record in subject_records(visits, wanted_stages(study.config))]
        own = [failure for failure in failures if failure.participant_id == f"sub-{subject}"]
        broken += _write(
            "report_subject.py",
            study.work_dir / "logs" / f"sub-{subject}" / "report.log",
            {
                "subject": [subject],
                "dataset": [dataset_name(study.bids_dir)],
                "visits": [describe_visits(visits)],
                "records": [str(path) for path in paths if path.is_file()],
                "failures": [_rows(own)],
                "spaces": study.config["register"]["output_spaces"],
                "report": [str(study.out_dir / f"sub-{subject}.html")],
            },
        )
    return broken


def write_group_report(study: Study, failures: Sequence[Failure]) -> list[str]:
    """Write the group's report from what there is; return a line if it could not be written."""
    cohort = study.work_dir / "steps" / "group" / "cohort.txt"
    if not cohort.is_file():
        return ["the group's report could not be written: there is no list of visits"]
    names = [analysis["name"] for analysis in study.config["analyses"]]
    paths = [study.work_dir / record for record in model_records(names, wanted_stages(study.config))]
    return _write(
        "report_group.py",
        study.work_dir / "logs" / "group" / "report.log",
        {
            "dataset": [dataset_name(study.bids_dir)],
            "cohort": [str(cohort)],
            "steps-dir": [str(study.work_dir / "steps")],
            "models": [str(path) for path in paths if path.is_file()],
            "left-out": [json.dumps(study.config["left_out"])],
            "failures": [_rows(failures)],
            "processing": [json.dumps({stage: study.config[stage] for stage in ("preprocess", "register")})],
            "report": [str(study.out_dir / "group.html")],
        },
    )


def _rows(failures: Iterable[Failure]) -> str:
    """Failures as the report steps take them."""
    return json.dumps([{"unit": f.unit, "step": f.step, "reason": f.reason, "log": f.log} for f in failures])


def _write(script: str, log: Path, options: Mapping[str, list[str]]) -> list[str]:
    """Run a report step by itself; return a line if it failed."""
    command = [sys.executable, str(workflow_root() / "scripts" / script)]
    for name, values in options.items():
        command += [f"--{name}", *values]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    return [f"a report could not be written; see {log}"] if code else []
