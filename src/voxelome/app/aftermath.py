"""What a run leaves whether or not it succeeded: reports, failures, description, citations."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from voxelome.app.failures import Failure
from voxelome.app.study import Study
from voxelome.bids.description import dataset_name
from voxelome.bids.targets import describe_visits, records_of
from voxelome.provenance import workflow_root


def report_command(study: Study, subject: str, failures: Iterable[Failure]) -> list[str]:
    """Command that writes a subject's report from the records that there are."""
    visits = study.visits(subject)
    paths = [study.work_dir / record for record in records_of(visits, study.config["stages"])]
    rows = [
        {"unit": failure.unit, "step": failure.step, "reason": failure.reason, "log": failure.log}
        for failure in failures
        if failure.participant_id == f"sub-{subject}" and failure.step != "inventory"
    ]
    return [
        sys.executable,
        str(workflow_root() / "scripts" / "report_subject.py"),
        "--subject",
        subject,
        "--dataset",
        dataset_name(study.bids_dir),
        "--visits",
        describe_visits(visits),
        "--records",
        *(str(path) for path in paths if path.is_file()),
        "--failures",
        json.dumps(rows),
        "--report",
        str(study.out_dir / f"sub-{subject}.html"),
    ]


def write_reports(study: Study, subjects: Sequence[str], failures: Sequence[Failure]) -> list[str]:
    """Write the reports of these subjects; return the lines that tell of those that could not be written."""
    broken = []
    for subject in subjects:
        log = study.work_dir / "logs" / f"sub-{subject}" / "report.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as file:
            code = subprocess.run(
                report_command(study, subject, failures), stdout=file, stderr=subprocess.STDOUT, check=False
            ).returncode
        if code:
            broken.append(f"sub-{subject}: the report could not be written; see {log}")
    return broken


def orphans(study: Study) -> list[Path]:
    """Results of subjects that the dataset no longer has."""
    known = {f"sub-{subject}" for subject in study.inventories}
    folders: list[Path] = [path for path in sorted(study.out_dir.glob("sub-*")) if path.is_dir()]
    return [path for path in folders if path.name not in known]
