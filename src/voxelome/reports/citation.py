"""Methods and references of a run, as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from voxelome.reports.render import render_page


@dataclass(frozen=True)
class CitationPage:
    """What a paper takes over: paragraphs on methods, versions of programs, and what to cite."""

    dataset: str
    methods: Sequence[str]
    software: Mapping[str, str]
    citations: Sequence[str]
    command: str = ""
    created: str | None = None


def citation_markdown(page: CitationPage) -> str:
    """Page as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in page.software.items())
    paragraphs = ["# Methods and references", "## Methods", *page.methods, f"Software: {versions}."]
    references = "\n".join(f"- {citation}" for citation in page.citations)
    return "\n\n".join([*paragraphs, "## How to cite", references]) + "\n"


def citation_html(page: CitationPage) -> str:
    """Page as one HTML file that needs no other, in the colours of the reports."""
    return render_page("citation.html", report=page)
