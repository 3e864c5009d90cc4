"""A run leaves its methods and references as text, as a page and for a program of references."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import voxelome
from tests.unit.html_page import Page
from voxelome.app.citations import changed_settings, write_citations
from voxelome.app.config import default_config, merge
from voxelome.interfaces.methods import METHODS, methods_of, references_of
from voxelome.qsm.fieldmap import ECHO_FIT, UNWRAPPING
from voxelome.qsm.methods import INVERSION
from voxelome.qsm.relaxometry import RELAXOMETRY
from voxelome.qsm.susceptibility import BACKGROUND
from voxelome.qsm.swi import WEIGHTING
from voxelome.references import REFERENCES
from voxelome.step import StepRecord

HOSTILE = "<script>alert(1)</script>"


QSM = {"background removal": "V-SHARP", "phase unwrapping": "region growing (as ROMEO)"}
RECORDS = [
    StepRecord("preprocess", "sub-1", parameters={"bias correction": "N4", "brain mask": "deepbet 1.0.2"}),
    StepRecord(
        "preprocess", "sub-2", parameters={"bias correction": "N4", "brain mask": "given by the user"}
    ),
    StepRecord(
        "network", "sub-1", parameters={"model": "synlesion", "Sha256": ["ab12"], "task": "segmentation"}
    ),
    StepRecord("network", "sub-1", parameters={"model": "meshnet18", "Sha256": ["cd34"]}),
    StepRecord(
        "fusion", "sub-1", parameters={"name": "both", "of": ["synlesion", "rater"], "method": "staple"}
    ),
    StepRecord("midway", "sub-1", parameters={"transform": "rigid"}, software={"antspyx": "0.6.3"}),
]


@pytest.fixture
def run(tmp_path) -> Path:
    write_citations(tmp_path, HOSTILE, RECORDS, ["radiomics.bin_count = 16"], 7)
    return tmp_path


def words(text: str) -> str:
    return " ".join(text.split())


def test_text_and_page_say_the_same_methods_and_references(run):
    text = (run / "CITATION.md").read_text(encoding="utf-8")
    page = words(Page((run / "CITATION.html").read_text(encoding="utf-8")).text)
    for told in (
        *methods_of(RECORDS),
        *references_of(RECORDS),
        "radiomics.bin_count = 16",
        "7 more subjects",
    ):
        assert str(told) in text
        assert words(str(told)) in page
    assert METHODS["qsm"] not in text
    assert METHODS["qsm"] not in page
    assert f"voxelome {voxelome.__version__}, antspyx 0.6.3" in text
    assert f"voxelome{voxelome.__version__}" in page


def test_the_settings_are_those_that_the_steps_had(run):
    text = (run / "CITATION.md").read_text(encoding="utf-8")
    assert "bias correction: N4; brain mask: deepbet 1.0.2 (1), given by the user (1)." in text
    assert "Settings of synlesion: model: synlesion; Sha256: ab12; task: segmentation." in text
    assert "Settings of both: name: both; of: synlesion, rater; method: staple." in text


def test_networks_and_fusions_are_cited_and_methods_that_did_not_run_are_not(run):
    keys = set(re.findall(r"@article{(.*),", (run / "CITATION.bib").read_text(encoding="utf-8")))
    assert {"isensee2021", "warfield2004", "reuter2012", "n4", "deepbet"} <= keys
    assert not keys & {"romeo", "pdf", "langerak2010"}


def test_a_background_removal_that_did_not_run_is_not_cited():
    keys = {item.key for item in references_of([StepRecord("qsm", "sub-1", parameters=dict(QSM))])}
    assert "romeo" in keys
    assert not keys & {"pdf", "tv"}


@pytest.mark.parametrize("names", [BACKGROUND, INVERSION, UNWRAPPING, ECHO_FIT, RELAXOMETRY, WEIGHTING])
def test_every_way_of_susceptibility_mapping_has_a_reference_of_its_own(names):
    def cited(words):
        record = StepRecord("qsm", "sub-1", parameters={"method": words})
        return {item.key for item in references_of([record])}

    always = cited("")
    # The straight lines are nobody's.
    ways = {way: cited(words) - always for way, words in names.items() if way != "linear"}
    assert all(ways.values())
    assert len({frozenset(keys) for keys in ways.values()}) == len(ways)


def test_what_the_methods_cite_is_among_the_references():
    cited = {match for text in METHODS.values() for match in re.findall(r"\((\w+) (\d{4})\)", text)}
    known = {(item.authors.split(",")[0].split()[-1], str(item.year)) for item in REFERENCES}
    assert cited
    assert cited <= known


def test_many_values_of_a_setting_are_said_to_differ():
    records = [StepRecord("qsm", f"sub-{n}", parameters={"regularisation": f"{n}"}) for n in range(5)]
    assert "regularisation: differs from image to image" in methods_of(records)[0]


def test_only_what_the_user_chose_otherwise_is_named():
    config = merge(default_config(), {"radiomics": {"bin_count": 16}, "omp_nthreads": 4, "bids_dir": "/x"})
    assert changed_settings(config) == ["radiomics.bin_count = 16"]


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
