"""Tables of features, one value a row, and the data dictionaries beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from voxelome.columns import COLUMNS, HISTOGRAM, HISTOGRAMS, RADIOMICS

if TYPE_CHECKING:
    from voxelome.interfaces.measurable import Measurable
    from voxelome.interfaces.measure import HistogramSettings, Row

PACKAGES = {"pyradiomics": "pyradiomics-bhklab", "mirp": "mirp"}


def feature_table(entities: dict[str, str], rows: Iterable[Row]) -> str:
    """Return a table of features as TSV; a value that could not be computed is n/a."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    who = (f"sub-{entities['subject']}", f"ses-{entities['session']}" if "session" in entities else "n/a")
    for image, roi, v in rows:
        value = "n/a" if v.value is None else repr(v.value)
        writer.writerow([*who, image, roi, v.filter, v.feature_class, v.feature, value, v.unit, v.reason])
    return text.getvalue()


def about_features(rows: Sequence[Row], visit: Measurable) -> dict[str, Any]:
    """Return the data dictionary of the radiomic features: columns, settings, every feature and filter."""
    from voxelome.radiomics.dictionary import dictionary, filter_description

    features = dict.fromkeys((row.value.feature_class, row.value.feature) for row in rows)
    filters = dict.fromkeys(row.value.filter for row in rows)
    package = PACKAGES[visit.engine]
    if visit.engine == "mirp":
        definitions = _by_mirp(features)
        derived = {
            name: {"Description": "As IBSI defines it, on the original or derived image."} for name in filters
        }
    else:
        definitions = dictionary(features)
        derived = {name: _texts(asdict(filter_description(name))) for name in filters}
    return {
        "Description": RADIOMICS,
        "Software": f"{package} {version(package)}",
        "Settings": {
            "engine": visit.engine,
            **asdict(visit.settings),
            "parameters": visit.parameters or "n/a",
            "regions": [asdict(recipe) for recipe in visit.recipes],
        },
        **_columns(),
        "Filters": derived,
        "Features": definitions,
    }


def _by_mirp(features: Iterable[tuple[str, str]]) -> dict[str, dict[str, dict[str, str]]]:
    """Explain mirp's features, whose names are the tags of IBSI's reference values."""
    table: dict[str, dict[str, dict[str, str]]] = {}
    for feature_class, feature in features:
        text = f"As IBSI defines it; its tag among the reference values is {feature}."
        table.setdefault(feature_class, {})[feature] = {"Description": text}
    return table


def about_histograms(histogram: HistogramSettings, densities: dict[str, Any]) -> dict[str, Any]:
    """Return the data dictionary of the histograms, with the curves for plots."""
    from voxelome.radiomics.histogram import RELATIVE, descriptions

    thresholds = sorted({value for values in histogram.thresholds.values() for value in values})
    classes = (HISTOGRAM, RELATIVE) if histogram.reference else (HISTOGRAM,)
    return {
        "Description": HISTOGRAMS,
        "Settings": {"reference": histogram.reference or "n/a", "thresholds": histogram.thresholds},
        **_columns(),
        "Features": {
            name: {key: {"Description": text} for key, text in descriptions(thresholds).items()}
            for name in classes
        },
        "Densities": densities,
    }


def _columns() -> dict[str, Any]:
    return {name: {"Description": text} for name, text in COLUMNS.items()}


def _texts(definition: dict[str, str]) -> dict[str, str]:
    names = {"description": "Description", "ibsi": "IBSI", "deviation": "Deviation"}
    return {names[key]: text for key, text in definition.items()}
