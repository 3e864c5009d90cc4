"""The group's page in a browser: ratings are kept, saved and read again, and a thousand rows stay usable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.browser.conftest import open_page
from tests.unit.test_cohort_summary import cohort, page_of
from voxelome.app.exclusions import excluded_visits

READY = ["wait", "#rating-table[data-ready]"]
SHOTS = Path(os.environ.get("SCREENSHOTS", "/nonexistent"))


def rating(number: int) -> str:
    return f"#rating-table tbody tr:nth-child({number}) select"


def comment(number: int) -> str:
    return f"#rating-table tbody tr:nth-child({number}) input"


@pytest.fixture(scope="module")
def group(tmp_path_factory) -> Path:
    page = tmp_path_factory.mktemp("group") / "group.html"
    page.write_text(page_of(cohort(12), {"sub-0099": "no consent"}), encoding="utf-8")
    return page


def clean(visit) -> bool:
    assert visit.console == []
    assert visit.requests == []
    return True


def test_ratings_are_saved_as_a_table_that_the_next_run_takes(group, tmp_path):
    saved = tmp_path / "saved.tsv"
    visit = open_page(
        group,
        READY,
        ["text", "#rating-table tbody tr:nth-child(1) th"],
        ["text", "#rating-table tbody tr:nth-child(3) th"],
        ["select", rating(1), "exclude"],
        ["fill", comment(1), "moved\ta lot"],
        ["press", comment(1), "Tab"],
        ["select", rating(3), "keep"],
        ["text", "#rating-told"],
        ["download", "#rating-save", str(saved)],
    )
    assert clean(visit)
    first, third = (visit.results[i].strip() for i in (1, 2))
    assert visit.results[-2].startswith("1 keep, 0 doubtful, 1 exclude")
    assert visit.results[-1] == "ratings.tsv"
    assert excluded_visits(saved, cohort(12) | {"sub-0099": []}) == {first: "rated exclude: moved a lot"}
    assert f"{third}\tn/a\tkeep\tn/a" in saved.read_text().splitlines()


def test_ratings_are_there_again_after_the_page_is_loaded_again(group):
    visit = open_page(
        group,
        READY,
        ["select", rating(2), "doubtful"],
        ["fill", comment(2), "dim"],
        ["press", comment(2), "Tab"],
        ["reload"],
        READY,
        ["value", rating(2)],
        ["value", comment(2)],
    )
    assert clean(visit)
    assert visit.results[-2:] == ["doubtful", "dim"]


def test_a_saved_table_is_read_again_and_strange_rows_are_counted(group, tmp_path):
    table = tmp_path / "other.tsv"
    table.write_text(
        "participant_id\trating\tcomment\nsub-0003\texclude\tghosts\nsub-7777\tkeep\tn/a\nsub-0001\tbad\tn/a\n"
    )
    row = "#rating-table tr[data-participant='sub-0003']"
    visit = open_page(
        group,
        READY,
        ["upload", "#rating-load", str(table)],
        ["pause", 300],
        ["value", f"{row} select"],
        ["value", f"{row} input"],
        ["text", "#rating-told"],
    )
    assert clean(visit)
    assert visit.results[3:5] == ["exclude", "ghosts"]
    assert "2 rows of other.tsv" in visit.results[5]


def test_rows_about_one_visit_are_counted_and_saved_as_they_were(group, tmp_path):
    first, second, saved = (tmp_path / f"{name}.tsv" for name in ("first", "second", "saved"))
    first.write_text("participant_id\tsession_id\trating\nsub-0002\tses-9\texclude\n")
    second.write_text(
        "comment\tparticipant_id\tsession_id \trating\n"
        "moved\t0001\tses-2\tExclude\n"
        "n/a\tsub-0003\tn/a\tKEEP\n"
        "n/a\tsub-0004\tn/a\tn/a\n"
    )
    visit = open_page(
        group,
        READY,
        ["upload", "#rating-load", str(first)],
        ["pause", 300],
        ["upload", "#rating-load", str(second)],
        ["pause", 300],
        ["value", "#rating-table tr[data-participant='sub-0001'] select"],
        ["text", "#rating-told"],
        ["reload"],
        READY,
        ["download", "#rating-save", str(saved)],
    )
    assert clean(visit)
    assert visit.results[5] == ""
    assert visit.results[6].startswith("1 keep, 0 doubtful, 0 exclude, 13 participants. Not shown")
    assert "1 row about one visit" in visit.results[6]
    lines = saved.read_text().splitlines()
    assert lines == [
        "participant_id\tsession_id\trating\tcomment",
        "sub-0003\tn/a\tkeep\tn/a",
        "sub-0001\tses-2\texclude\tmoved",
    ]
    assert excluded_visits(saved, ["sub-0001_ses-2", "sub-0001_ses-1", "sub-0003_ses-1"]) == {
        "sub-0001_ses-2": "rated exclude: moved"
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault_of_accessibility_is_found(group, scheme):
    visit = open_page(group, ["media", scheme], READY, ["axe"])
    assert visit.results[-1] == []


def test_a_thousand_participants_can_be_searched(tmp_path):
    page = tmp_path / "group.html"
    page.write_text(page_of(cohort(1000)), encoding="utf-8")
    visit = open_page(
        page,
        ["paint"],
        READY,
        ["fill", "#rating-search", "0777"],
        ["number", "#rating-table tbody tr:not([hidden])"],
        ["fill", "#rating-search", ""],
        ["select", "#rating-filter", "state"],
        ["number", "#rating-table tbody tr:not([hidden])"],
        *([["screen", str(SHOTS / "group-1000.png")]] if SHOTS.is_dir() else []),
    )
    assert clean(visit)
    assert visit.results[0] < 2
    assert visit.results[3] == 1
    assert visit.results[6] == 1
