"""Traffic lights follow the one table of thresholds."""

import csv
import math
from pathlib import Path

import pytest

from voxelome.quality import MEASURES, alarms, check, interval, table


@pytest.mark.parametrize(
    ("measure", "value", "light"),
    [
        ("brain volume", 1400, "green"),
        ("brain volume", 950, "amber"),
        ("brain volume", 400, "red"),
        ("template overlap", 0.95, "green"),
        ("template overlap", 0.89, "red"),
        ("template Jacobian minimum", -0.1, "red"),
        ("inverse consistency", 0.1, "green"),
        ("inverse consistency", math.nan, "red"),
    ],
)
def test_a_value_has_the_light_of_the_range_that_it_lies_in(measure, value, light):
    assert check("T1w", measure, value)["light"] == light


def test_every_green_range_lies_inside_the_amber_one():
    for name, measure in MEASURES.items():
        assert measure.amber[0] <= measure.green[0] < measure.green[1] <= measure.amber[1], name


def test_the_table_says_where_green_ends_and_what_the_measure_means():
    rows = list(csv.DictReader(table([check("FLAIR", "brain covered", 70)]).splitlines(), delimiter="\t"))
    assert rows[0]["image"] == "FLAIR"
    assert (rows[0]["value"], rows[0]["unit"], rows[0]["light"]) == ("70.0", "%", "red")
    assert rows[0]["green"] == "98 to 100"
    assert "field of view" in rows[0]["meaning"]


def test_only_red_lights_are_alarms():
    checks = [check("T2w", "brain covered", value) for value in (100, 90, 40)]
    assert alarms(checks) == ["T2w: brain covered is 40 %, outside of 80 to 100."]


def test_the_table_in_the_documentation_is_that_of_the_program():
    text = (Path(__file__).parents[2] / "docs" / "steps.md").read_text()
    for name, measure in MEASURES.items():
        unit = "" if measure.unit == "ratio" else f" {measure.unit}"
        ranges = f"{interval(measure.green)}{unit} | {interval(measure.amber)}{unit}"
        assert f"| {name} | {ranges} | {measure.meaning} |" in text
