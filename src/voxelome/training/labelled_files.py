"""Which files of a voxelome run make up the cases to train on, and who is left out of the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxelome.bids.names import contrast_label, space_label, split_label, unit_name
from voxelome.bids.reference import REFERENCE_ORDER
from voxelome.bids.scan import BidsFile, list_subject, open_dataset, scan_subject
from voxelome.errors import InputError, listed, suggest
from voxelome.interfaces.label_table import read_label_table
from voxelome.interfaces.network_inputs import choose
from voxelome.segmentation.spec import NetworkSpec

# Share of the participants that are left out of the training.
VALIDATION = 0.2


@dataclass(frozen=True)
class Visit:
    """What a run left of a visit on the grid of its reference.

    Attributes
    ----------
    participant, unit : str
    images : dict of path
        By contrast label.
    brain, labels : path
    table : path or None
        Names of the labels.
    digest : str
        Of the content of all files.
    """

    participant: str
    unit: str
    images: dict[str, Path]
    brain: Path
    labels: Path
    table: Path | None
    digest: str


@dataclass(frozen=True)
class CaseFiles:
    """Files of a visit for a network: an image, or None, for each of its inputs."""

    participant: str
    unit: str
    images: tuple[Path | None, ...]
    brain: Path
    labels: Path
    digest: str


def find_visits(out_dir: Path, name: str) -> list[Visit]:
    """Visits of a run's output that have labels of a name.

    Parameters
    ----------
    out_dir : path
        Output folder of ``voxelome``, stages preprocess, register and segment.
    name : str
        Of the masks that were given, of a network or of a fusion: the value of ``desc``.

    Raises
    ------
    InputError
        It is no such folder, or no visit has labels of this name.
    """
    if not (out_dir / "dataset_description.json").is_file():
        raise InputError(
            out_dir, "is no output of voxelome", "give the OUT_DIR of a run of the stage segment"
        )
    dataset, subjects = open_dataset("derivatives", out_dir)
    found: list[Visit] = []
    names: set[str] = set()
    for subject in subjects:
        files, _ = scan_subject(dataset, subject, list_subject(dataset, subject))
        sessions = sorted({file.entities.get("session", "") for file in files})
        for session in sessions:
            held = [file for file in files if file.entities.get("session", "") == session]
            drawn = [file for file in held if file.entities["suffix"] in ("dseg", "mask")]
            names |= {file.entities["desc"] for file in drawn if "desc" in file.entities}
            visit = _visit(subject, session or None, held, out_dir, name)
            found += [visit] if visit is not None else []
    if not found:
        known = sorted(names - {"brain", "excluded"})
        raise InputError(out_dir, f"no visit has labels named {name!r}", suggest(name, known))
    return found


def _visit(
    subject: str, session: str | None, files: Sequence[BidsFile], root: Path, name: str
) -> Visit | None:
    """What there is of a visit; None where it lacks labels, or the images that they belong to."""
    ready = [file for file in files if file.entities.get("desc") == "preproc"]
    own = [file for file in ready if "space" not in file.entities and "echo" not in file.entities]
    for reference in sorted(own, key=_rank):
        space = space_label(reference.entities["suffix"])
        images = {_label(reference): reference}
        images |= {_label(file): file for file in ready if file.entities.get("space") == space}
        labels = _one(files, name, ("dseg", "mask"), space)
        brain = _one(files, "brain", ("mask",), None)
        if labels is None or brain is None:
            continue
        used = [*images.values(), labels, brain]
        return Visit(
            subject,
            unit_name(subject, session),
            {label: root / file.path for label, file in images.items()},
            root / brain.path,
            root / labels.path,
            root / labels.label_table if labels.label_table else None,
            "-".join(file.digest for file in used),
        )
    return None


def _rank(file: BidsFile) -> tuple[int, int]:
    suffix = file.entities["suffix"]
    known = suffix in REFERENCE_ORDER
    return REFERENCE_ORDER.index(suffix) if known else len(REFERENCE_ORDER), len(file.path)


def _label(file: BidsFile) -> str:
    """Label of the image that a file was made from."""
    entities = {
        key: value
        for key, value in file.entities.items()
        if key not in ("suffix", "datatype", "extension", "space", "desc")
    }
    return contrast_label(entities, file.entities["suffix"])


def _one(files: Sequence[BidsFile], desc: str, suffixes: Sequence[str], space: str | None) -> BidsFile | None:
    """The file of labels of this name in a space."""
    return next(
        (
            file
            for file in files
            if file.entities["suffix"] in suffixes
            and file.entities.get("desc") == desc
            and file.entities.get("space") == space
        ),
        None,
    )


def contrasts_of(visits: Sequence[Visit]) -> list[tuple[str, bool, bool]]:
    """Contrasts that at least half of the visits have: suffix, whether with contrast agent, whether all have.

    Of several images of one contrast a visit gives the first, as it does to a network.
    """
    counts: dict[tuple[str, bool], int] = {}
    for visit in visits:
        kinds = {(suffix, "ceagent" in entities) for entities, suffix in map(split_label, visit.images)}
        for kind in kinds:
            counts[kind] = counts.get(kind, 0) + 1
    known = [kind for kind in counts if kind[0] in REFERENCE_ORDER and 2 * counts[kind] >= len(visits)]
    return [(suffix, enhanced, counts[suffix, enhanced] == len(visits)) for suffix, enhanced in sorted(known)]


def cases_for(visits: Sequence[Visit], spec: NetworkSpec) -> tuple[list[CaseFiles], list[str]]:
    """Files of every visit that has what a network needs, and what is said of the others."""
    cases, said = [], []
    for visit in visits:
        chosen = choose(spec, list(visit.images))
        if lacking := spec.lacking([label is not None for label in chosen]):
            said.append(f"{visit.unit} is left out: it has no {lacking}")
            continue
        images = tuple(None if label is None else visit.images[label] for label in chosen)
        cases.append(
            CaseFiles(visit.participant, visit.unit, images, visit.brain, visit.labels, visit.digest)
        )
    return cases, said


def split(cases: Sequence[CaseFiles], seed: int) -> tuple[list[CaseFiles], list[CaseFiles]]:
    """Cases to train on, and those of participants who are left out: all visits of one on the same side.

    Raises
    ------
    InputError
        There are fewer than two participants.
    """
    people = sorted({case.participant for case in cases})
    if len(people) < 2:
        problem = f"cases of {len(people)} participant(s): {listed(people)}; one must be left out to test on"
        raise InputError("--derivatives", problem, "give at least two participants with labels and images")
    count = max(1, round(VALIDATION * len(people)))
    chosen = set(np.random.default_rng(seed).permutation(people)[:count].tolist())
    inside = [case for case in cases if case.participant not in chosen]
    return inside, [case for case in cases if case.participant in chosen]


def names_of(visits: Sequence[Visit], name: str) -> dict[int, str]:
    """Name by label value, as the tables of the visits have them; without tables one label, of that name.

    Raises
    ------
    InputError
        A table cannot be read, or two of them name a label differently.
    """
    found: dict[int, str] = {}
    for visit in visits:
        if visit.table is None:
            continue
        for value, label in read_label_table(visit.table).items():
            if found.setdefault(value, label) != label:
                problem = f"names label {value} {label}, and others {found[value]}"
                raise InputError(visit.table, problem, "give every visit the same table")
    return found or {1: name}
