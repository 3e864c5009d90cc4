"""Report pages: complete, self-contained, safe against hostile names, and honest in their words."""

from __future__ import annotations

import base64
import hashlib
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.unit.html_page import Page
from voxelome.reports.figures import mosaic
from voxelome.reports.model import (
    AnalysisSummary,
    Check,
    Failure,
    Figure,
    GroupReport,
    SessionSummary,
    StepSummary,
    SubjectReport,
    SubjectRow,
)
from voxelome.reports.plots import bars, densities, roc_curve, strip
from voxelome.reports.render import natural, render_group, render_subject
from voxelome.reports.wording import analysis_caution, analysis_verdict, show_seconds, show_value

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
PNG = mosaic(np.arange(1000.0).reshape(10, 10, 10), np.eye(4), width=120, slices=2)
OTHER = mosaic(np.arange(1000.0)[::-1].reshape(10, 10, 10), np.eye(4), width=120, slices=2)


def subject_report() -> SubjectReport:
    steps = (
        StepSummary(
            "preprocess",
            "sub-01_ses-1",
            "done",
            ["T1w: bias field corrected (N4)."],
            [],
            [],
            [("brain volume (ml)", 1312.4), ("echoes", 3, "images")],
            {"bias correction": "N4"},
            92.1,
        ),
        StepSummary(
            "qsm",
            "sub-01_ses-1_MEGRE",
            "warning",
            [],
            ["The mask holds all tissue."],
            [("SWI and susceptibility", "there is no phase image")],
            [("residual", float("nan"))],
        ),
        StepSummary("segment", "sub-01_ses-1", "failed"),
    )
    figures = (
        Figure("Brain mask", "It follows the edge.", png=PNG),
        Figure("Registration", "Edges meet.", png=PNG, alternate=OTHER, alternate_label="the T1w"),
        Figure("Volumes", "Across regions.", svg=bars({"brain": 2.0}, "Volume", "ml")),
    )
    session = SessionSummary(
        "ses-1",
        steps,
        figures,
        [("tumor-edema", 22.87)],
        [("sub-01_T2w.nii.gz", "is truncated", "copy it again")],
        [Check("FLAIR", "brain covered", 71.2, "%", "red", "98 to 100", "Share in the field of view.")],
    )
    return SubjectReport(
        "sub-01",
        "A study",
        [session, SessionSummary("ses-2", steps[:1])],
        [Failure("sub-01", "ses-1", "segment", "its grid fits no image", "logs/segment.log")],
        ["Bias fields were corrected with N4."],
        {"voxelome": "0.1.0", "numpy": "2.3.5"},
        ["Tustison 2010. https://doi.org/10.1109/TMI.2010.2046908"],
        "voxelome /data /out participant",
        group_href="group.html",
    )


def analysis(**changes: object) -> AnalysisSummary:
    plot = roc_curve([0, 0, 1], [0, 0.9, 1], 0.95, 0.72, 0.99)
    base = AnalysisSummary(
        "IDH",
        "mutation",
        16,
        8,
        "mutation",
        0.95,
        0.72,
        0.99,
        "nested cross-validation",
        ["One sentence."],
        ["One note."],
        [Figure("ROC", "Pooled.", svg=plot)],
        selected=[("T1w__edema__Mean", 92.0)],
        metrics=[("Brier score", 0.1123)],
    )
    return replace(base, **changes)


def group_report() -> GroupReport:
    rows = [
        SubjectRow("sub-10", "done", 1, "sub-10.html", brain_volume=1300.0),
        SubjectRow("sub-2", "done", 2, "sub-2.html"),
        SubjectRow("sub-3", "warning", 1, "sub-3.html", warnings=2),
        SubjectRow("sub-4", "failed", 1, "javascript:alert(1)", failed=1),
    ]
    return GroupReport(
        "A study",
        4,
        rows,
        [Failure("sub-4", "ses-1", "register", "no overlap", "logs/register.log")],
        [Figure("Brain volume", "A dot a visit.", svg=strip({"T1w": [("sub-2", 1300.0)]}, "Volume", "ml"))],
        [analysis(), analysis(name="Sex", outcome="sex", auc=0.58, low=0.31, high=0.82)],
        [("rows", 4)],
        software={"voxelome": "0.1.0"},
    )


PAGES = {"subject": render_subject(subject_report()), "group": render_group(group_report())}


@pytest.mark.parametrize("html", PAGES.values(), ids=PAGES)
def test_every_element_of_a_page_is_closed_in_its_place(html):
    page = Page(html)
    assert page.mistakes == []
    assert page.open == []


@pytest.mark.parametrize("html", PAGES.values(), ids=PAGES)
def test_a_page_loads_nothing_and_runs_only_what_its_policy_names(html):
    page = Page(html)
    for tag, attributes in page.elements:
        assert tag not in {"iframe", "object", "embed"}
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "data", "srcset", "action"):
            address = attributes.get(name) or ""
            assert (
                address.startswith(("data:", "#")) or re.fullmatch(r"[\w.-]+\.html", address) or not address
            )
    style = re.search(r"<style>(.*?)</style>", html, re.S)[1]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    assert "default-src 'none'" in policy
    running = re.findall(r"<script>(.*?)</script>", html, re.S)
    digests = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in running}
    assert digests == set(re.findall(r"'sha256-([^']+)'", policy))
    assert len(running) == len(page.all("script"))


@pytest.mark.parametrize("html", PAGES.values(), ids=PAGES)
def test_ids_are_unique_and_every_anchor_leads_somewhere(html):
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = [a["href"][1:] for a in page.all("a") if a["href"].startswith("#")]
    assert anchors
    assert set(anchors) <= set(ids)


@pytest.mark.parametrize("html", PAGES.values(), ids=PAGES)
def test_every_picture_says_what_it_shows(html):
    page = Page(html)
    assert all(image["alt"] and image["width"] and image["height"] for image in page.all("img"))
    assert all(plot["aria-label"] and plot["role"] == "img" for plot in page.all("svg"))


@pytest.mark.parametrize("html", PAGES.values(), ids=PAGES)
def test_headings_do_not_skip_a_level(html):
    levels = [int(tag[1]) for tag, _ in Page(html).elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_a_subject_page_shows_everything_that_it_was_given():
    page = Page(PAGES["subject"])
    assert len(page.all("figure")) == 3
    assert len(page.all("img")) == 3  # one figure has a second picture, one is a plot
    for words in (
        "SWI and susceptibility",
        "there is no phase image",
        "The mask holds all tissue.",
        "its grid fits no image",
        "logs/segment.log",
        "is truncated",
        "copy it again",
        "T1w: bias field corrected (N4).",
        "1,312",
        "3 images",
        "tumor-edema",
        "22.87",
        "1 min 32 s",
        "ses-2",
        "numpy",
        "2.3.5",
        "Tustison 2010",
        "voxelome /data /out participant",
        "Edges meet.",
        "Show the T1w",
    ):
        assert words in page.text, words


def test_a_group_page_shows_everything_that_it_was_given():
    page = Page(PAGES["group"])
    for words in (
        "no overlap",
        "logs/register.log",
        "One sentence.",
        "One note.",
        "Brier score",
        "0.1123",
        "T1w__edema__Mean",
        "A dot a visit.",
        "nested cross-validation",
    ):
        assert words in page.text, words
    assert len(page.all("figure")) == 3


def test_hostile_names_are_text_and_never_markup():
    step = StepSummary(
        HOSTILE,
        HOSTILE,
        "warning",
        [HOSTILE],
        [HOSTILE],
        [(HOSTILE, HOSTILE)],
        [(HOSTILE, HOSTILE, HOSTILE)],
        {HOSTILE: HOSTILE},
    )
    plots = (strip({HOSTILE: [(HOSTILE, 1.0)]}, HOSTILE, HOSTILE), bars({HOSTILE: 1.0}, HOSTILE, HOSTILE))
    figures = [Figure(HOSTILE, HOSTILE, png=PNG, alternate=OTHER, alternate_label=HOSTILE)]
    figures += [Figure(HOSTILE, HOSTILE, svg=plot) for plot in plots]
    session = SessionSummary(HOSTILE, [step], figures, [(HOSTILE, 1.0)], [(HOSTILE, HOSTILE, HOSTILE)])
    failure = Failure(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    common = {
        "methods": [HOSTILE],
        "software": {HOSTILE: HOSTILE},
        "citations": [HOSTILE],
        "command": HOSTILE,
    }
    subject = SubjectReport(
        HOSTILE, HOSTILE, [session], [failure], created=HOSTILE, group_href=HOSTILE, **common
    )
    fitted = analysis(
        name=HOSTILE,
        outcome=HOSTILE,
        positive=HOSTILE,
        validation=HOSTILE,
        sentences=[HOSTILE],
        notes=[HOSTILE],
        selected_columns=[HOSTILE, HOSTILE],
        selected=[(HOSTILE, HOSTILE)],
        metrics=[(HOSTILE, HOSTILE)],
    )
    group = GroupReport(
        HOSTILE,
        1,
        [SubjectRow(HOSTILE, "done", 1, HOSTILE)],
        [failure],
        figures,
        [fitted],
        [(HOSTILE, HOSTILE)],
        created=HOSTILE,
        **common,
    )
    for html in (render_subject(subject), render_group(group)):
        page = Page(html)
        assert page.mistakes == []
        assert [attributes for attributes in page.all("script") if attributes] == []
        assert "<script>alert" not in html
        assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
        assert "alert(1)" in page.text


def test_a_row_links_to_a_file_beside_the_page_and_to_nothing_else():
    links = [link["href"] for link in Page(PAGES["group"]).all("a")]
    assert "sub-10.html" in links
    assert not [link for link in links if "javascript" in link]


def test_participants_with_failures_come_first_and_numbers_sort_as_numbers():
    names = re.findall(r"sub-\d+", PAGES["group"].split('id="participants"')[1])
    assert list(dict.fromkeys(names)) == ["sub-4", "sub-3", "sub-2", "sub-10"]
    assert sorted(["sub-10", "sub-2", "sub-a", "2", "b"], key=natural) == [
        "2",
        "b",
        "sub-2",
        "sub-10",
        "sub-a",
    ]


@pytest.mark.parametrize(
    ("warnings", "errors", "sentence"),
    [
        ([], [], "Everything that the data allow was done; nothing calls for attention."),
        (["a"], [], "Everything that the data allow was done; 1 thing to look at."),
        (["a", "b"], [], "Everything that the data allow was done; 2 things to look at."),
        ([], [Failure("sub-1", "", "qsm", "why")], "1 step failed; all else that the data allow was done."),
    ],
)
def test_the_first_sentence_says_how_it_went(warnings, errors, sentence):
    session = SessionSummary("", [StepSummary("preprocess", "sub-1", warnings=warnings)])
    assert sentence in Page(render_subject(SubjectReport("sub-1", "A study", [session], errors))).text


def test_a_failed_step_is_listed_once_whether_or_not_it_has_an_error():
    step = StepSummary("qsm", "sub-1", "failed")
    for errors in ([], [Failure("sub-1", "", "qsm", "why")]):
        text = Page(
            render_subject(SubjectReport("sub-1", "A study", [SessionSummary("", [step])], errors))
        ).text
        assert "1 step failed" in text


def test_two_acquisitions_of_one_step_are_told_apart():
    steps = [
        StepSummary("qsm", f"sub-1_acq-{name}_MEGRE", "failed", warnings=[f"about {name}"])
        for name in ("a", "b")
    ]
    session = SessionSummary("", steps)
    text = Page(
        render_subject(SubjectReport("sub-1", "S", [session], [Failure("sub-1", "", "qsm", "why")]))
    ).text
    assert "2 steps failed" in text
    assert text.count("qsm (sub-1_acq-a_MEGRE)") == 1
    assert text.count("qsm (sub-1_acq-b_MEGRE)") == 2


def test_a_participant_for_whom_nothing_ran_is_said_to_be_so():
    assert "Nothing was run" in Page(render_subject(SubjectReport("sub-1", "A study"))).text


def test_the_analysis_is_told_in_one_sentence():
    text = " ".join(Page(PAGES["group"]).text.split())
    assert (
        "mutation: AUC 0.95 (95 % interval 0.72 to 0.99), 16 participants, 8 with mutation; "
        "validated by nested cross-validation."
    ) in text


@pytest.mark.parametrize(
    ("low", "high", "status", "words"),
    [
        (0.72, 0.99, "done", "Better than chance"),
        (0.31, 0.82, "warning", "Not distinguishable from chance"),
        (0.5, 0.9, "warning", "Not distinguishable from chance"),
        (0.1, 0.4, "warning", "Worse than chance"),
        (None, None, "warning", "no interval"),
        (float("nan"), 0.9, "warning", "no interval"),
    ],
)
def test_the_verdict_follows_the_interval_and_not_the_auc(low, high, status, words):
    verdict = analysis_verdict(analysis(auc=0.8, low=low, high=high))
    assert verdict[0] == status
    assert words in verdict[1]


def test_a_small_sample_is_cautioned_and_a_large_one_is_not():
    assert "16 participants, 8 of them in the smaller group" in analysis_caution(analysis())
    assert analysis_caution(analysis(n=100, n_positive=50)) == ""


def test_the_same_report_gives_the_same_page_and_no_time_is_in_it_unless_given():
    assert render_subject(subject_report()) == PAGES["subject"]
    assert render_group(group_report()) == PAGES["group"]
    assert "Made 2020-01-01" in render_subject(replace(subject_report(), created="2020-01-01"))


@pytest.mark.parametrize(
    "svg",
    [
        roc_curve([0, 0.5, 1], [0, 0.9, 1], 0.7, 0.5, 0.9),
        strip({"a": [(f"s{i}", float(i % 7)) for i in range(300)], "b": [], "c": [("x", 1.0)]}, "T", "ml"),
        bars({"a": -2.0, "b": 3.0, "c": float("nan")}, "T"),
        bars({}, "nothing"),
        densities({HOSTILE: (0.0, 2.0, [0.0, 1.0, 0.5, 0.0]), "flat": (1.0, 3.0, [0.0, 0.0])}, "T", "ppm"),
        strip({}, "nothing"),
    ],
)
def test_plots_are_well_formed_and_take_their_ink_from_the_page(svg):
    root = ET.fromstring(svg)
    assert root.attrib["fill"] == "currentColor"
    assert root.find("title") is not None
    assert "nan" not in svg
    assert not re.search(r"(?:fill|stroke)=\"#", svg)


def test_the_roc_curve_is_drawn_to_scale():
    root = ET.fromstring(roc_curve([0, 0.25, 1], [0, 0.75, 1], 0.75, 0.6, 0.9))
    frame = {key: float(root.find("rect").attrib[key]) for key in ("x", "y", "width", "height")}
    curve = root.findall("polyline")[-1].attrib["points"].split()
    points = [tuple(float(value) for value in point.split(",")) for point in curve]
    for (x, y), (fpr, tpr) in zip(points, [(0, 0), (0.25, 0.75), (1, 1)], strict=True):
        assert x == pytest.approx(frame["x"] + fpr * frame["width"], abs=0.06)
        assert y == pytest.approx(frame["y"] + (1 - tpr) * frame["height"], abs=0.06)


def test_a_strip_names_outliers_counts_what_is_missing_and_keeps_distances():
    dots = [(f"sub-{i}", 100.0 + i) for i in range(9)] + [("sub-far", 300.0), ("sub-none", float("nan"))]
    root = ET.fromstring(strip({"T1w": dots}, "Volume", "ml"))
    texts = [element.text for element in root.iter("text")]
    assert "sub-far" in texts
    assert "sub-3" not in texts
    assert "Volume (ml), 1 not available" in texts
    places = [float(circle.attrib["cx"]) for circle in root.iter("circle")]
    assert len(places) == 10
    assert (places[9] - places[0]) / (places[8] - places[0]) == pytest.approx(200 / 8, rel=0.02)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"),
        (float("nan"), "n/a"),
        (True, "yes"),
        (1302, "1,302"),
        (0.123456, "0.1235"),
        (1312.4, "1,312"),
        (12.0, "12"),
        ([1, 2], "1, 2"),
        ("N4", "N4"),
        (np.float32(0.5), "0.5"),
    ],
)
def test_values_are_shown_with_four_digits(value, text):
    assert show_value(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (4.21, "4.2 s"), (59.97, "1 min 00 s"), (185, "3 min 05 s"), (7260, "2 h 01 min")],
)
def test_times_are_shown_in_the_unit_that_suits_them(seconds, text):
    assert show_seconds(seconds) == text


def test_a_figure_without_a_picture_or_with_two_is_refused():
    with pytest.raises(ValueError, match="PNG or an SVG"):
        Figure("a", "b")
    with pytest.raises(ValueError, match="PNG or an SVG"):
        Figure("a", "b", png=PNG, svg="<svg/>")


def test_a_measure_is_shown_with_its_light_in_words_and_the_range_that_is_green():
    text = " ".join(Page(PAGES["subject"]).text.split())
    assert "71.2 %" in text
    for word in ("brain covered", "red", "98 to 100", "Share in the field of view."):
        assert word in text
