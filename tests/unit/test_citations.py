"""A run leaves its methods and references as text, as a page and for a program of references."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import voxelome
from tests.unit.html_page import Page
from voxelome.app.citations import write_citations
from voxelome.interfaces.summaries import METHODS
from voxelome.references import references_for

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def run(tmp_path) -> Path:
    write_citations(tmp_path, HOSTILE, ["preprocess", "network-synlesion", "fusion-both", "midway"])
    return tmp_path


def words(text: str) -> str:
    return " ".join(text.split())


def test_text_and_page_say_the_same_methods_and_references(run):
    text = (run / "CITATION.md").read_text(encoding="utf-8")
    page = words(Page((run / "CITATION.html").read_text(encoding="utf-8")).text)
    references = references_for(["preprocess", "network", "fusion", "midway"])
    for told in (*(METHODS[step] for step in ("preprocess", "midway", "network", "fusion")), *references):
        assert str(told) in text
        assert words(str(told)) in page
    assert METHODS["qsm"] not in text
    assert METHODS["qsm"] not in page
    assert f"voxelome {voxelome.__version__}" in text
    assert f"voxelome{voxelome.__version__}" in page


def test_networks_and_fusions_are_cited_although_their_names_follow_their_stage(run):
    keys = set(re.findall(r"@article{(.*),", (run / "CITATION.bib").read_text(encoding="utf-8")))
    assert {"isensee2021", "warfield2004", "reuter2012"} <= keys
    assert "qsm" not in keys


def test_the_page_needs_no_other_file_and_has_both_palettes(run):
    html = (run / "CITATION.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.mistakes == []
    assert not page.all("script")
    assert not page.all("img")
    assert all(link["href"].startswith(("#", "data:")) for tag in ("a", "link") for link in page.all(tag))
    assert "prefers-color-scheme: dark" in html
    assert "<script>alert" not in html
    targets = {attributes.get("id") for _, attributes in page.elements}
    assert {link["href"][1:] for link in page.all("a")} <= targets
