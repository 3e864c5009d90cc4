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
    assert f"{third}\tkeep\tn/a" in saved.read_text().splitlines()


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
