"""What to take over into a paper from a run: its methods and what to cite."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import voxelome
from voxelome.imageio import save_text
from voxelome.references import bibtex, references_for


def write_citations(folder: Path, dataset: str, stages: Iterable[str]) -> None:
    """Write CITATION.md, CITATION.html and CITATION.bib.

    Parameters
    ----------
    folder : path
        Where to write them.
    dataset : str
        Name of the dataset.
    stages : iterable of str
        What the run rests on; the name of a network, say, follows its stage, as in ``network-synlesion``.
    """
    from voxelome.interfaces.summaries import methods_of
    from voxelome.reports.citation import CitationPage, citation_html, citation_markdown

    steps = [stage.partition("-")[0] for stage in stages]
    references = references_for(steps)
    software = {"voxelome": voxelome.__version__}
    page = CitationPage(dataset, methods_of(steps), software, [str(item) for item in references])
    save_text(folder / "CITATION.md", citation_markdown(page))
    save_text(folder / "CITATION.html", citation_html(page))
    save_text(folder / "CITATION.bib", bibtex(references))
