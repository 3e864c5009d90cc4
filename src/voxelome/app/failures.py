"""What failed, where, why, and which results are void because of it."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from voxelome.app.events import Job
from voxelome.bids.names import unit_entities
from voxelome.bids.plan import LazyPlan, Unit
from voxelome.bids.targets import UNIT_STAGES
from voxelome.errors import InputError
from voxelome.imageio import save_text
from voxelome.step import StepRecord

# Steps of rows that are about a file: no step failed, and nothing that was made is void.
INVENTORY, REJECTED = "inventory", "image check"
# What rests on a step's results, in the visit itself and in what is done with all visits of its subject.
_MEASURED = ("radiomics", "robustness")
_LATER = {
    "preprocess": (*UNIT_STAGES[1:], "network", "fusion", "midway", "change"),
    "register": (*UNIT_STAGES[2:], "network", "fusion", "midway", "change"),
    "qsm": _MEASURED,
    "segment": ("fusion", *_MEASURED, "change"),
    "network": ("fusion", *_MEASURED, "change"),
    "fusion": (*_MEASURED, "change"),
    "midway": ("change",),
}
# Seconds by which the clocks of two machines may differ.
CLOCKS = 60
SILENT = "the step ended without a word (killed, or out of memory?)"
DEFECT = "voxelome: this is a defect of voxelome"
# With less free space nothing can be written that is worth it.
ROOM = 2**20


@dataclass(frozen=True)
class Failure:
    """One row of failures.tsv."""

    participant_id: str
    session_id: str
    step: str
    reason: str
    log: str

    @property
    def of_a_file(self) -> bool:
        """Whether a file cannot be used, and no step failed."""
        return self.step in (INVENTORY, REJECTED)

    @property
    def unit(self) -> str:
        """Visit that failed, or the group."""
        if self.participant_id == "n/a":
            return "group"
        return self.participant_id + (f"_{self.session_id}" if self.session_id != "n/a" else "")


def reason_in(log: Path) -> str:
    """Reason of a failure: the last line of the step's log, without the program's name."""
    if not log.is_file():
        return "the step left no log; see snakemake.log"
    return reason_of(log.read_text(encoding="utf-8", errors="replace"), log.parent)


def reason_of(text: str, folder: Path) -> str:
    """Reason of a failure from the text of the step's log, and the folder where that lies."""
    lines = [line.strip() for line in text.splitlines()]
    # The first line is the command; nothing after it means that the step was killed.
    said = [line for line in lines if line and not line.startswith("$ ")]
    if not said:
        return f"there is no space left on the device of {folder}" if _full(folder) else SILENT
    last = said[-2] if said[-1].startswith(DEFECT) and len(said) > 1 else said[-1]
    return last.removeprefix("voxelome: error: ")


def check_room(folder: Path) -> None:
    """Raise an InputError where the device of a folder is full."""
    if _full(folder):
        remedy = "make room, then give the same command again"
        raise InputError(folder, "there is no space left on its device", remedy)


def _full(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < ROOM


def settle(failed: Sequence[Job], work_dir: Path) -> None:
    """Correct the states of jobs that went to a cluster as one, of which one failed.

    Snakemake says of all that they failed. Those that have left their record since they began are done.
    Those that left no log, or one without its first line, had not begun, where another of their subject has
    failed with one.
    """
    begun: dict[str, list[Job]] = {}
    for job in failed:
        log = work_dir / job.log
        record = work_dir / "steps" / Path(job.log).relative_to("logs").with_suffix(".json")
        if _since(record, job.start):
            job.state = "done"
        elif _since(log, job.start) and log.stat().st_size:
            begun.setdefault(_who(job.unit)[0], []).append(job)
    for job in failed:
        others = begun.get(_who(job.unit)[0], [])
        if job.state == "failed" and others and job not in others:
            job.state = "waiting"


def _since(path: Path, moment: float) -> bool:
    # Clocks of nodes and the resolution of file systems differ a little.
    return path.is_file() and path.stat().st_mtime >= moment - CLOCKS


def job_failure(job: Job, work_dir: Path) -> Failure:
    """Row of a job that failed."""
    log = work_dir / job.log
    who, visit = _who(job.unit)
    names = (job.wildcards.get(key, "") for key in ("label", "analysis", "model", "fusion", "compared"))
    detail = next(filter(None, names), "")
    step = f"{job.rule} {detail}" if detail else job.rule
    return Failure(who, visit, step, reason_in(log), str(log))


def problem_failures(plan: LazyPlan, problems: Mapping[str, Sequence[Mapping[str, str]]]) -> list[Failure]:
    """Rows of files that the inventory found to be broken; those of subjects without any usable image too."""
    rows = []
    for subject, found in problems.items():
        sessions = {unit.session for unit in plan.visits(subject)} if found else set()
        for problem in found:
            visit = next(
                (f"ses-{s}" for s in sorted(filter(None, sessions)) if f"/ses-{s}/" in problem["path"]), "n/a"
            )
            rows.append(Failure(f"sub-{subject}", visit, INVENTORY, _reason(problem), "n/a"))
    return rows


def rejected_files(plan: Mapping[str, Unit], work_dir: Path) -> list[Failure]:
    """Rows of images that could not be used, in visits whose other images could."""
    rows = []
    for name in plan:
        for step in ("preprocess", "register"):
            path = work_dir / "steps" / name / f"{step}.json"
            log = str(work_dir / "logs" / name / f"{step}.log")
            for problem in StepRecord.load(path).problems if path.is_file() else ():
                rows.append(Failure(*_who(name), REJECTED, _reason(problem), log))
    return rows


def _reason(problem: Mapping[str, str]) -> str:
    return f"{problem['path']}: {problem['problem']}; {problem['remedy']}"


def _who(unit: str) -> tuple[str, str]:
    if not unit.startswith("sub-"):
        return "n/a", "n/a"
    entities = unit_entities(unit)
    return f"sub-{entities['subject']}", f"ses-{entities['session']}" if "session" in entities else "n/a"


def write_failures(path: Path, failures: Iterable[Failure]) -> None:
    """Write failures.tsv; one without rows says that nothing failed."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow([item.name for item in fields(Failure)])
    for failure in failures:
        writer.writerow([str(value).replace("\t", " ") for value in astuple(failure)])
    save_text(path, text.getvalue())


def void_results(failures: Iterable[Failure], work_dir: Path, kept: Collection[str] = ()) -> None:
    """Remove the records of steps that depend on a failed one: they tell of data that is no longer so.

    Those of these names are kept: they depend on no step.
    """
    for failure in failures:
        # Of a subject without sessions both folders are one.
        for unit in {failure.unit, failure.participant_id}:
            folder = work_dir / "steps" / unit
            for stage in _LATER.get(failure.step.split(" ")[0], ()):
                for record in [*folder.glob(f"{stage}.json"), *folder.glob(f"{stage}-*.json")]:
                    if record.stem not in kept:
                        record.unlink()


def drop_incomplete_records(work_dir: Path, finished: Collection[str] = ()) -> list[str]:
    """Remove records whose files have been deleted, so that their steps run again; return their names.

    Subjects that are known to be finished (by their labels) are not looked at.
    """
    dropped = []
    known = {f"sub-{label}" for label in finished}
    folders = [path for path in (work_dir / "steps").glob("*") if path.name.split("_")[0] not in known]
    for path in sorted(path for folder in folders for path in folder.glob("*.json")):
        if not all(Path(output["path"]).exists() for output in StepRecord.load(path).outputs):
            path.unlink()
            dropped.append(f"{path.parent.name} {path.stem}")
    return dropped
