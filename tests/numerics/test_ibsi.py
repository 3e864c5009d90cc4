"""Features and derived images against the reference values of IBSI, and the tables of docs/ibsi.md."""

from __future__ import annotations

import pytest

from tests.numerics.ibsi_table import (
    AGGREGATIONS,
    COMMAND,
    DOCUMENT,
    FILTERS,
    TAGS,
    Aggregation,
    aggregated_features,
    default_features,
    filter_difference,
    with_tables,
)
from tests.shared import needs_ibsi
from voxelome.radiomics.dictionary import defined_features, definition


@pytest.mark.parametrize("feature_class", TAGS)
def test_every_feature_with_a_code_of_ibsi_has_a_reference_value(feature_class: str) -> None:
    coded = {name for name in defined_features(feature_class) if definition(feature_class, name).ibsi}
    assert coded == TAGS[feature_class].keys()


@needs_ibsi
def test_features_of_the_digital_phantom_have_ibsi_consensus_values_or_differ_for_a_known_reason() -> None:
    rows = default_features()
    assert not [row for row in rows if not row.verdict]
    assert [row.feature for row in rows if row.verdict != "agrees"] == [
        "MinorAxisLength",
        "LeastAxisLength",
        "Kurtosis",
    ]
    assert all(
        definition(row.feature_class, row.feature).deviation for row in rows if row.as_ibsi is not None
    )


@needs_ibsi
@pytest.mark.parametrize("aggregation", AGGREGATIONS, ids=lambda item: item.name)
def test_texture_has_ibsi_consensus_values_for_every_aggregation(aggregation: Aggregation) -> None:
    assert not [row for row in aggregated_features(aggregation) if row.verdict != "agrees"]


@needs_ibsi
@pytest.mark.parametrize("test", FILTERS)
def test_derived_images_are_ibsi_response_maps_or_differ_for_a_known_reason(test: str) -> None:
    found = filter_difference(test)
    assert found.verdict
    assert found.verdict.startswith("differs") == bool(FILTERS[test].reason)
    if test == "2.A":
        assert found.beyond == 1


@needs_ibsi
def test_the_tables_of_the_documentation_are_those_computed_now() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_tables(text) == text, f"{DOCUMENT.name} is out of date; `{COMMAND}` rewrites its tables"
