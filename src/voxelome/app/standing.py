"""Which subjects a run has to plan.

Snakemake takes milliseconds a job to find that nothing is to be done. A subject that was found complete
leaves a stamp in the work folder: what it was made with, the times of its folders and records, and what they
say for the table of failures. As long as those hold, the subject need not enter the graph. Everything in a
stamp errs on the side of planning again: Snakemake then decides, as it does without stamps.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from voxelome.app.events import Job, RunState
from voxelome.app.failures import Failure, rejected_files
from voxelome.app.study import Study
from voxelome.bids.description import dataset_name
from voxelome.bids.mounts import named_files
from voxelome.bids.names import unit_entities
from voxelome.bids.plan import Unit
from voxelome.bids.targets import models_needed, participant_targets, subject_records, wanted_stages
from voxelome.errors import InputError
from voxelome.imageio import load_json, save_text
from voxelome.provenance import file_digest, workflow_digest
from voxelome.segmentation.cards import card_digest
from voxelome.step import StepRecord

STAMPS = "finished.json"
# What tells which subjects are worked on, or how fast, or where models lie, and not what any of them gets.
_NOT_OF_A_SUBJECT = (
    *("participants", "left_out", "analyses", "omp_nthreads", "planned"),
    *("models_dir", "images_dir"),
)
# What changes again within the file system's clock tick keeps its time: a path this young gets no stamp.
_TICK_NS = 20_000_000


@dataclass(frozen=True)
class Standing:
    """Subjects that are to be worked on, by what is known of them.

    Attributes
    ----------
    finished : list of str
        Complete when they were last planned, and nothing has changed.
    begun : list of str
        Whatever else has results.
    new : list of str
        Without any result.
    visits : int
        Visits of all of them.
    rejected : list of Failure
        Images of the finished ones that could not be used, as their stamps have them.
    outdated : dict
        Of the begun those that were complete with other settings or code, and have not changed since: the
        digest of what they were made with. Those are not among them that have records of steps which those
        settings did not ask for: by what they were made is not known.
    """

    finished: list[str]
    begun: list[str]
    new: list[str]
    visits: int = 0
    rejected: list[Failure] = field(default_factory=list)
    outdated: dict[str, str] = field(default_factory=dict)

    @property
    def planned(self) -> list[str]:
        """Subjects that Snakemake has to look at."""
        return [*self.begun, *self.new]


def find_standing(study: Study, settings: str) -> Standing:
    """Sort the subjects that have something to work on by whether they have to be planned.

    Those that are finished are neither read nor planned: their stamps tell which visits they have.
    """
    stamps = _load_stamps(study.work_dir)
    steps = _names(study.work_dir / "steps")
    results = _names(study.out_dir)
    standing, visits = Standing([], [], []), 0
    with _opened(study.work_dir) as folder:
        for label in study.subjects:
            stamp = stamps.get(label, {})
            if stamp and stamp["state"] != _state(folder, label, stamp["paths"]):
                stamp = {}
            if stamp and stamp["made"] == settings:
                standing.finished.append(label)
                standing.rejected.extend(Failure(*row) for row in stamp["rejected"])
                visits += stamp["visits"]
            elif units := study.visits(label):
                traces = [f"sub-{label}", *(unit.name for unit in units)]
                untouched = steps.isdisjoint(traces) and f"sub-{label}.html" not in results
                (standing.new if untouched else standing.begun).append(label)
                visits += len(units)
                if stamp.get("whole"):
                    standing.outdated[label] = stamp["made"]
    return replace(standing, visits=visits)


def stamp_finished(study: Study, settings: str, labels: Iterable[str], others: Iterable[str]) -> None:
    """Note that subjects are complete, and of `others` that it is not known.

    Parameters
    ----------
    study : Study
        As it was planned.
    settings : str
        :func:`settings_digest` of before the steps ran.
    labels : iterable of str
        Subjects of which every step that was planned has succeeded.
    others : iterable of str
        Subjects whose stamps go.
    """
    before = _load_stamps(study.work_dir)
    stamps = {label: stamp for label, stamp in before.items() if label in study.inventories}
    for label in others:
        stamps.pop(label, None)
    stages = wanted_stages(study.config)
    for label in labels:
        units = {unit.name: unit for unit in study.visits(label)}
        targets = participant_targets(units, stages, study.out_dir)
        paths = sorted(_paths(study.work_dir, [f"sub-{label}", *units], targets))
        young = time.time_ns() - _TICK_NS
        with _opened(study.work_dir) as folder:
            state = _state(folder, label, paths)
        if state and all(_changed(study.work_dir / path) < young for path in paths):
            rejected = [astuple(row) for row in rejected_files(units, study.work_dir)]
            asked = {*subject_records(units.values(), stages)}
            whole = all(path in asked for path in paths if path.startswith("steps/") and Path(path).suffix)
            found = {"state": state, "paths": paths, "visits": len(units), "rejected": rejected}
            stamps[label] = {"made": settings, "whole": whole, **found}
    if stamps != before:
        lines = ",\n".join(f"{json.dumps(label)}: {json.dumps(stamps[label])}" for label in sorted(stamps))
        save_text(study.work_dir / STAMPS, f"{{{lines}}}\n")


def completed(state: RunState, planned: Iterable[str]) -> list[str]:
    """Of the subjects that were given to Snakemake those that are complete, although it did not end well.

    A report is made last, and by every subject that has anything to do. Where none of the reports to come is
    that of a subject that was never begun, all others were up to date.
    """
    begun = {subject_of(job) for job in state.jobs.values()}
    done = {subject_of(job) for job in state.of("done") if job.rule == "report_subject"}
    all_begun = len(begun) == state.planned["report_subject"]
    return [label for label in planned if label in done or (all_begun and label not in begun)]


def settings_digest(study: Study) -> str:
    """Digest of all that every subject's results depend on: settings, code, environments, templates, models.

    Of the code it takes every byte, where a step's own digest leaves out comments: it has to be quick, and
    at worst Snakemake looks at everybody once more.
    """
    config = {key: value for key, value in study.config.items() if key not in _NOT_OF_A_SUBJECT}
    models = Path(study.config["models_dir"])
    parts = [
        json.dumps(config, sort_keys=True, default=str),
        dataset_name(study.bids_dir),
        workflow_digest(),
        *(f"{path}={file_digest(path)}" for path in named_files(config)),
        *(f"{name}={card_digest(models, name)}" for name in models_needed(config, study.plan.values())),
    ]
    return _digest("\n".join(parts))


def alike(study: Study, standing: Standing) -> dict[str, list[str]]:
    """Subjects to plan by one that gets the same steps: the first of those whose visits have the same images.

    Of those with results only where all were complete with the same settings and code, and have not changed
    since: what Snakemake noted of them then is the same. Any other stands for itself.
    """
    made = dict.fromkeys(standing.new, "") | standing.outdated
    found: dict[tuple[object, ...], list[str]] = {}
    for label in standing.planned:
        behind = made.get(label, f"sub-{label}")
        found.setdefault((behind, *(_shape(unit) for unit in study.visits(label))), []).append(label)
    return {same[0]: same[1:] for same in found.values()}


def mirrored(study: Study, jobs: Sequence[Job], groups: Mapping[str, Sequence[str]]) -> Iterator[Job]:
    """Jobs of subjects that get the same steps as one whose jobs are known: `groups` of :func:`alike`."""
    own: dict[str, list[Job]] = {}
    for job in jobs:
        own.setdefault(subject_of(job), []).append(job)
    for label, others in groups.items():
        for other in others:
            names = {f"sub-{label}": f"sub-{other}"}
            both = zip(study.visits(label), study.visits(other), strict=True)
            names |= {mine.name: theirs.name for mine, theirs in both}
            for job in own.get(label, ()):
                twin = names[job.unit]
                who = {"subject": other} if "subject" in job.wildcards else {"unit": twin}
                reason = job.reason.replace(job.unit, twin)
                yield replace(job, wildcards={**job.wildcards, **who}, reason=reason)


def subject_of(job: Job) -> str:
    """Label of the subject that a job works on; empty for the group's."""
    return str(unit_entities(job.unit)["subject"]) if job.unit.startswith("sub-") else ""


def _shape(unit: Unit) -> tuple[object, ...]:
    """What decides which steps a visit gets, whatever the rules make of it."""
    return (
        tuple(item.label for item in unit.contrasts),
        tuple((item.label, bool(item.first), bool(item.phase)) for item in unit.gradient_echoes),
        tuple(item.name for item in unit.masks),
        tuple(item.name for item in unit.brain_masks),
        tuple(item.name for item in unit.maps),
        tuple(item.label for item in unit.cts),
    )


def _paths(work_dir: Path, names: Iterable[str], targets: Iterable[str]) -> set[str]:
    """Records and report of a subject and the folders of all that it was given, relative to the work folder.

    A file that is deleted or added changes the time of its folder.
    """
    paths = {os.path.relpath(work_dir / target, work_dir) for target in targets}
    for name in names:
        for record in (work_dir / "steps" / name).glob("*.json"):
            paths |= {f"steps/{name}", f"steps/{name}/{record.name}"}
            outputs = StepRecord.load(record).outputs
            paths |= {os.path.relpath(Path(item["path"]).parent, work_dir) for item in outputs}
    return paths


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Descriptor of a folder, below which paths are found without walking down to it each time."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _state(folder: int, label: str, paths: Iterable[str]) -> str:
    """Digest of the times of these paths and of the subject's inventory; empty where one is not there."""
    found = []
    try:
        for path in (f"inventory/sub-{label}.json", *paths):
            status = os.stat(path, dir_fd=folder)
            found.append((path, status.st_mtime_ns, status.st_ino))
    except OSError:
        return ""
    return _digest(repr(found))


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _load_stamps(work_dir: Path) -> dict[str, Any]:
    """Stamps by subject; a file that cannot be read holds none."""
    try:
        return load_json(work_dir / STAMPS)
    except InputError:
        return {}


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
