"""What the group's report shows of all visits together: the spread of quality, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from voxelome.bids.names import unit_entities
from voxelome.interfaces.summaries import BRAIN_VOLUME
from voxelome.quality import MEASURES, interval
from voxelome.reports.model import Availability, Figure, Pattern
from voxelome.reports.plots import outliers, strip
from voxelome.step import StepRecord

Visits = Mapping[str, Sequence[StepRecord]]
Dots = list[tuple[str, float]]

# Numbers of records that have no light, and whose spread still shows who is unlike the others.
QUALITY = ((BRAIN_VOLUME, "Brain volume", "ml"),)
# Roles of outputs that are worth a column of the map, and the key of their name.
RESULTS = {"prepared": "image", "map": "suffix", "labels": "name", "features": "desc"}
MOST_LINKS = 30


def quality_figures(visits: Visits) -> list[Figure]:
    """Spread of each measure over the group, a row an image, with links to the reports of outliers."""
    figures = []
    for key, title, unit in QUALITY:
        dots = [
            (visit, float(record.quality[key]))
            for visit, records in visits.items()
            for record in records
            if key in record.quality
        ]
        figures += _figure(title, unit, "", {"all": dots})
    for name, measure in MEASURES.items():
        by_image: dict[str, Dots] = {}
        for visit, image, value in _measured(visits, name):
            by_image.setdefault(image, []).append((visit, value))
        # The spread of brain volumes is shown already, from all visits.
        if name != "brain volume":
            words = f"{measure.meaning} Good is {interval(measure.green)}. "
            unit = "" if measure.unit == "ratio" else measure.unit
            figures += _figure(name.capitalize(), unit, words, by_image)
    return figures


def _measured(visits: Visits, name: str) -> Iterator[tuple[str, str, float]]:
    for visit, records in visits.items():
        for record in records:
            for row in record.checks:
                if row["measure"] == name:
                    yield visit, row["image"], float(row["value"])


def _figure(title: str, unit: str, words: str, groups: Mapping[str, Dots]) -> list[Figure]:
    """One figure, or none where there are no two values to compare."""
    if max(map(len, groups.values()), default=0) < 2:
        return []
    far = [
        (f"{visit}{f' {image}' if len(groups) > 1 else ''} ({value:.4g})", report_of(visit))
        for image, dots in groups.items()
        for visit, value in outliers(dots)
    ]
    caption = f"{words}A dot a visit; those beyond 1.5 interquartile ranges from the quartiles are named."
    if len(far) > MOST_LINKS:
        caption += f" Of {len(far)} such values the first {MOST_LINKS} are linked."
    return [Figure(title, caption, svg=strip(groups, title, unit), links=far[:MOST_LINKS])]


def report_of(visit: str) -> str:
    """Relative address of the report of a visit's subject."""
    return f"sub-{unit_entities(visit)['subject']}.html"


def availability(visits: Visits) -> Availability:
    """Which results each visit has, by pattern."""
    has = {visit: list(_results(records)) for visit, records in visits.items()}
    columns = list(dict.fromkeys(name for names in has.values() for name in names))
    patterns: dict[tuple[bool, ...], list[tuple[str, str]]] = {}
    for visit, names in has.items():
        pattern = tuple(column in names for column in columns)
        patterns.setdefault(pattern, []).append((visit, report_of(visit)))
    ranked = sorted(patterns.items(), key=lambda item: -len(item[1]))
    return Availability(columns, [Pattern(pattern, found) for pattern, found in ranked])


def _results(records: Sequence[StepRecord]) -> Iterator[str]:
    """Names of what a visit has, in the order in which data flow."""
    for role, key in RESULTS.items():
        for record in records:
            for item in record.find(role):
                if key in item:
                    yield f"{item[key]} features" if role == "features" else str(item[key])
