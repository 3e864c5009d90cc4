"""Ratings of the group's report: what is rated exclude is left out, and a table with a mistake is refused."""

from __future__ import annotations

import pytest

from voxelome.app.exclusions import excluded_visits
from voxelome.errors import InputError

UNITS = ["sub-01_ses-1", "sub-01_ses-2", "sub-02", "sub-03"]


@pytest.fixture
def table(tmp_path):
    def write(text: str | bytes):
        path = tmp_path / "ratings.tsv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_what_is_rated_exclude_is_left_out_with_its_comment(table):
    path = table(
        "participant_id\trating\tcomment\n"
        "sub-01\texclude\tmoved a  lot\nsub-02\tkeep\tx\nsub-03\texclude\tn/a\n"
    )
    assert excluded_visits(path, UNITS) == {
        "sub-01_ses-1": "rated exclude: moved a lot",
        "sub-01_ses-2": "rated exclude: moved a lot",
        "sub-03": "rated exclude",
    }


def test_a_row_with_a_session_is_about_that_visit_alone(table):
    path = table("participant_id\tsession_id\trating\nsub-01\tses-2\texclude\nsub-02\tn/a\tdoubtful\n")
    assert excluded_visits(path, UNITS) == {"sub-01_ses-2": "rated exclude"}


def test_windows_line_ends_a_byte_order_mark_and_labels_without_prefix_are_read(table):
    path = table(b"\xef\xbb\xbfparticipant_id\tsession_id\trating\r\n01\t1\tExclude\r\n\r\n02\t\tn/a\r\n")
    assert excluded_visits(path, UNITS) == {"sub-01_ses-1": "rated exclude"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column 'participant_id'"),
        ("participant_id\tcomment\nsub-01\tx\n", "no column 'rating'"),
        ("participant_id,rating\nsub-01,exclude\n", "no column 'participant_id'"),
        ("participant_id\trating\nsub-09\texclude\n", "line 2: there is no sub-09.*sub-03"),
        ("participant_id\trating\nsub-02\texcluded\n", "line 2 has the rating 'excluded'.*exclude"),
        ("participant_id\trating\nsub-02\n", "line 2 has 1 cells, its header 2"),
        ("participant_id\trating\nsub-02\tkeep\nsub-02\texclude\n", "line 3 rates sub-02 exclude.*keep"),
        ("participant_id\tsession_id\trating\nsub-01\tses-9\texclude\n", "sub-01 has no ses-9"),
        ("participant_id\tsession_id\trating\nsub-02\tses-1\texclude\n", "sub-02 has no ses-1"),
        (b"participant_id\trating\nsub-02\t\xff\n", "not UTF-8"),
    ],
)
def test_a_table_with_a_mistake_is_refused_and_says_where(table, text, says):
    with pytest.raises(InputError, match=says):
        excluded_visits(table(text), UNITS)


def test_a_table_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        excluded_visits(tmp_path / "none.tsv", UNITS)
