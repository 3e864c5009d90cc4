"""What to take over into a paper from a run: its methods and what to cite."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from voxelome.app.config import default_config
from voxelome.app.study import Study
from voxelome.bids.targets import model_records, subject_records, wanted_stages
from voxelome.imageio import save_text
from voxelome.references import bibtex
from voxelome.step import StepRecord

# Records of more subjects would take minutes to read, and say the same.
_MOST_SUBJECTS = 250
# Where things lie, whom a run is about, and how many threads it has, is no method.
_NO_METHOD = {
    *("bids_dir", "out_dir", "work_dir", "models_dir", "images_dir", "derivatives", "analyses"),
    *("participants", "sessions", "planned", "left_out", "omp_nthreads"),
}


def write_citations(
    folder: Path, dataset: str, records: Sequence[StepRecord], settings: Sequence[str] = (), left: int = 0
) -> None:
    """Write CITATION.md, CITATION.html and CITATION.bib.

    Parameters
    ----------
    folder : path
        Where to write them.
    dataset : str
        Name of the dataset.
    records : sequence of StepRecord
        What the steps say that they did.
    settings : sequence of str
        Settings that differ from the defaults; see :func:`changed_settings`.
    left : int
        Subjects whose records are not among these.
    """
    from voxelome.interfaces.methods import methods_of, references_of
    from voxelome.interfaces.summaries import software_of
    from voxelome.reports.citation import CitationPage, citation_html, citation_markdown

    methods = methods_of(records)
    if settings:
        methods.append(f"Settings that differ from the defaults: {'; '.join(settings)}.")
    if left:
        methods.append(f"The records of {left} more subjects were not read for this text.")
    references = references_of(records)
    page = CitationPage(dataset, methods, software_of(records), [str(item) for item in references])
    save_text(folder / "CITATION.md", citation_markdown(page))
    save_text(folder / "CITATION.html", citation_html(page))
    save_text(folder / "CITATION.bib", bibtex(references))


def records_of_run(study: Study, *, group: bool) -> tuple[list[StepRecord], int]:
    """Records of a run's subjects, evenly chosen where they are very many, and how many were passed over."""
    stages, subjects = wanted_stages(study.config), study.subjects
    chosen = subjects[:: -(-len(subjects) // _MOST_SUBJECTS) or 1]
    paths = [path for subject in chosen for path in subject_records(study.visits(subject), stages)]
    if group:
        paths += model_records([item["name"] for item in study.config["analyses"]], stages)
    there = [study.work_dir / path for path in paths if (study.work_dir / path).is_file()]
    return [StepRecord.load(path) for path in there], len(subjects) - len(chosen)


def changed_settings(config: Mapping[str, Any]) -> list[str]:
    """Settings of methods that differ from the defaults, each as ``name = value``."""
    default = dict(_leaves(default_config()))
    return [
        f"{name} = {json.dumps(value)}"
        for name, value in _leaves(config)
        if name.partition(".")[0] not in _NO_METHOD and default.get(name) != value
    ]


def _leaves(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
