"""The group's report names who is unlike the others, who lacks what, and who was left out and why."""

from __future__ import annotations

import time

from tests.unit.html_page import Page
from voxelome.interfaces.cohort_summary import availability, quality_figures
from voxelome.interfaces.summaries import left_out_row, subject_rows
from voxelome.reports.model import Failure, GroupReport
from voxelome.reports.plots import outliers
from voxelome.reports.render import render_group
from voxelome.step import StepRecord

CONTRASTS = ("T1w", "FLAIR", "T2w", "ce-gadolinium_T1w")


def cohort(count: int) -> dict[str, list[StepRecord]]:
    """Made-up records: every fifth lacks T2w; the last moved much, and its brain is small."""
    visits = {}
    for number in range(1, count + 1):
        unit = f"sub-{number:04d}"
        last = number == count
        preprocess, register = StepRecord("preprocess", unit), StepRecord("register", unit)
        preprocess.quality["brain volume (ml)"] = 700.0 if last else 1300.0 + number % 97
        for contrast in CONTRASTS:
            if contrast == "T2w" and number % 5 == 0:
                continue
            preprocess.outputs.append({"path": "x", "role": "prepared", "image": contrast})
            for measure, value in (("movement", 3), ("inverse consistency", 0.2), ("mirrored fit", 0.5)):
                far = last and measure == "movement" and contrast == "FLAIR"
                register.checks.append(
                    {
                        "image": contrast,
                        "measure": measure,
                        "value": 80.0 if far else value * (1 + (number * 7919 % 1000) / 4000),
                        "light": "red" if far else "green",
                    }
                )
        visits[unit] = [preprocess, register]
    return visits


def page_of(visits, left_out=None) -> str:
    left_out = left_out or {}
    rows = subject_rows(visits, left_out)
    return render_group(
        GroupReport(
            "A study",
            len(rows),
            rows,
            figures=quality_figures(visits),
            availability=availability(visits),
            left_out=[Failure(unit, "", "", why) for unit, why in left_out.items()],
        )
    )


def test_outliers_are_those_beyond_tukeys_fences_the_farthest_first():
    dots = [(f"v{i}", float(i)) for i in range(10)] + [
        ("far", 40.0),
        ("farther", -90.0),
        ("none", float("nan")),
    ]
    assert outliers(dots) == [("farther", -90.0), ("far", 40.0)]


def test_an_outlier_leads_to_the_report_of_its_participant():
    figures = {figure.title: figure for figure in quality_figures(cohort(20))}
    assert ("sub-0020 (700)", "sub-0020.html") in figures["Brain volume"].links
    assert ("sub-0020 FLAIR (80)", "sub-0020.html") in figures["Movement"].links
    assert figures["Mirrored fit"].links == []


def test_visits_are_grouped_by_what_they_have_the_commonest_first():
    found = availability(cohort(20))
    assert list(found.columns) == list(CONTRASTS)
    assert [len(pattern.visits) for pattern in found.patterns] == [16, 4]
    assert found.patterns[1].has == (True, True, False, True)
    assert found.patterns[1].visits[0] == ("sub-0005", "sub-0005.html")


def test_a_participant_whom_somebody_left_out_has_not_failed():
    failed = {"step": "register", "reason": "no overlap"}
    rows = subject_rows({"sub-01": []}, {"sub-02": "rated exclude: moved", "sub-03": failed})
    assert [(row.status, row.failed, row.left_out) for row in rows] == [
        ("done", 0, ""),
        ("not run", 0, "rated exclude: moved"),
        ("failed", 1, ""),
    ]


def test_words_of_a_rater_are_no_failed_step_whatever_they_say():
    comment = "rated exclude: segmentation failed: lesion missed"
    assert left_out_row("sub-02_ses-1", comment) == Failure("sub-02", "ses-1", "", comment)
    assert left_out_row("sub-02_ses-1", {"step": "qsm", "reason": "no phase"}).step == "qsm"
    row = subject_rows({}, {"sub-02_ses-1": comment})[0]
    assert (row.status, row.failed, row.left_out) == ("not run", 0, comment)


def test_a_participant_of_whom_one_visit_was_left_out_is_still_in():
    warned = StepRecord("register", "sub-02_ses-1", warnings=["Thick slices."])
    rows = subject_rows(
        {"sub-01_ses-1": [], "sub-02_ses-1": [warned]},
        {"sub-01_ses-2": "rated exclude: moved", "sub-02_ses-2": "moved", "sub-03_ses-1": "no consent"},
    )
    assert [(row.status, row.sessions, row.left_out) for row in rows] == [
        ("done", 2, ""),
        ("warning", 2, ""),
        ("not run", 1, "no consent"),
    ]


def test_the_page_says_who_was_left_out_and_why():
    text = " ".join(Page(page_of(cohort(3), {"sub-09": "rated exclude: moved"})).text.split())
    assert "1 visit left out" in text
    assert "rated exclude: moved" in text


def test_the_page_of_a_thousand_participants_is_small_and_soon_there():
    visits = cohort(1000)
    begun = time.perf_counter()
    page = page_of(visits)
    assert len(page.encode()) < 10e6
    assert time.perf_counter() - begun < 30
    assert page.count("data-participant=") == 1000
