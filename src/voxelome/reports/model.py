"""What a report holds, as plain data: the caller fills it, :mod:`voxelome.reports.render` shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Status = Literal["done", "warning", "failed", "not run"]


class Measure(NamedTuple):
    """A number that says whether to trust a result."""

    name: str
    value: Any
    unit: str = ""


class Check(NamedTuple):
    """A measure with its traffic light, the range in which that is green, what it says, and its step."""

    image: str
    measure: str
    value: float
    unit: str
    light: Literal["green", "amber", "red"]
    green: str
    meaning: str
    step: str = ""


class Failure(NamedTuple):
    """A step that failed: where, why, and the log to read."""

    participant: str
    session: str
    step: str
    reason: str
    log: str = ""


class Problem(NamedTuple):
    """A file that could not be used: what is wrong with it and what to do."""

    path: str
    problem: str
    remedy: str


@dataclass(frozen=True)
class Figure:
    """A picture and what it shows.

    Attributes
    ----------
    title, caption : str
        What is seen, and what to look for.
    png : bytes, optional
        Picture from :func:`voxelome.reports.figures.mosaic`.
    svg : str, optional
        Plot from :mod:`voxelome.reports.plots`; it goes into the page as it is. Give `png` or `svg`.
    alternate : bytes, optional
        A second PNG of the same size, shown while the pointer is over the figure or its box is ticked.
    alternate_label : str
        What the second picture is.
    links : sequence of (str, str)
        Words and relative addresses of what the reader should look at, such as outliers' reports.
    """

    title: str
    caption: str
    png: bytes | None = None
    svg: str | None = None
    alternate: bytes | None = None
    alternate_label: str = "the other image"
    links: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        """Refuse a figure without a picture, or with two."""
        if (self.png is None) == (self.svg is None):
            raise ValueError(f"figure {self.title!r} needs a PNG or an SVG, and not both")
        if self.alternate is not None and self.png is None:
            raise ValueError(f"figure {self.title!r} has a second picture and no PNG as the first")


@dataclass(frozen=True)
class Layer:
    """A volume of the viewer.

    Attributes
    ----------
    name : str
        What is seen, such as ``FLAIR`` or ``lesion``.
    kind : {'image', 'map', 'labels', 'overlay'}
        Images and maps can lie below; labels, and values in colour, lie above.
    nifti : bytes
        From :func:`voxelome.reports.volumes.packed`.
    window : (float, float), optional
        Values shown darkest and brightest; none for labels.
    unit : str
        Of the values.
    names : mapping of int to str
        Name of each label.
    """

    name: str
    kind: Literal["image", "map", "labels", "overlay"]
    nifti: bytes
    window: tuple[float, float] | None = None
    unit: str = ""
    names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scene:
    """Volumes of one space, which all have one grid: `name` says visit and space, `note` what is missing."""

    name: str
    layers: Sequence[Layer]
    note: str = ""


@dataclass(frozen=True)
class StepSummary:
    """What one step did: the readable part of its record.

    `skipped` holds pairs of what was not done and why; `quality` holds (name, value) or
    (name, value, unit), such as :class:`Measure`.
    """

    step: str
    unit: str
    status: Status = "done"
    done: Sequence[str] = ()
    warnings: Sequence[str] = ()
    skipped: Sequence[tuple[str, str]] = ()
    quality: Sequence[tuple[str, Any] | tuple[str, Any, str]] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None


@dataclass(frozen=True)
class SessionSummary:
    """One visit: its steps, figures, checks, regions (name, volume in ml) and unusable files.

    `name` is empty where the dataset has no sessions.
    """

    name: str
    steps: Sequence[StepSummary] = ()
    figures: Sequence[Figure] = ()
    regions: Sequence[tuple[str, float]] = ()
    problems: Sequence[tuple[str, str, str]] = ()
    checks: Sequence[Check] = ()


@dataclass(frozen=True)
class SubjectReport:
    """Everything that the page of one participant shows.

    `errors` are :class:`Failure`; `methods` are paragraphs; `created` is shown only where given, so
    that the same results give the same page; `group_href` is the relative address of the group page;
    `scenes` are what the viewer shows.
    """

    subject: str
    dataset: str
    sessions: Sequence[SessionSummary] = ()
    errors: Sequence[Failure] = ()
    methods: Sequence[str] = ()
    software: Mapping[str, str] = field(default_factory=dict)
    citations: Sequence[str] = ()
    command: str = ""
    created: str | None = None
    group_href: str = ""
    scenes: Sequence[Scene] = ()


@dataclass(frozen=True)
class SubjectRow:
    """One participant in the overview.

    `brain_volume` is in ml; `failed` counts steps, `red` and `amber` measures; `left_out` says why a
    participant of whom nothing failed is not in the group's tables.
    """

    subject: str
    status: Status
    sessions: int
    href: str = ""
    warnings: int = 0
    failed: int = 0
    brain_volume: float | None = None
    red: int = 0
    amber: int = 0
    left_out: str = ""


class Pattern(NamedTuple):
    """Which results some visits have, and which visits (words and relative address) these are."""

    has: Sequence[bool]
    visits: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Availability:
    """Map of missing data: results, and the patterns in which visits have them, the commonest first."""

    columns: Sequence[str]
    patterns: Sequence[Pattern]


@dataclass(frozen=True)
class AnalysisSummary:
    """One fitted and validated analysis.

    Attributes
    ----------
    name, outcome : str
        Of the analysis, and the column of participants.tsv that it predicts.
    n, n_positive : int
        Participants, and those with the outcome (None where the outcome has no two classes).
    positive : str
        What the latter have, such as ``mutation`` or ``sex F``.
    auc, low, high : float, optional
        Area under the ROC curve and the ends of its 95 % interval.
    validation : str
        How it was validated, such as ``nested cross-validation, 5 x 10 folds``.
    sentences, notes : sequence of str
        Further results in plain words; what the reader must know before trusting them.
    figures : sequence of Figure
        Such as :func:`voxelome.reports.plots.roc_curve`.
    selected_columns, selected : sequence
        Header and rows of the table of selected features.
    metrics : sequence
        Further (name, value) or (name, value, unit).
    href : str
        Relative address of the page of the analysis.
    """

    name: str
    outcome: str
    n: int
    n_positive: int | None = None
    positive: str = ""
    auc: float | None = None
    low: float | None = None
    high: float | None = None
    validation: str = ""
    sentences: Sequence[str] = ()
    notes: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    selected_columns: Sequence[str] = ("Feature", "Chosen in folds (%)")
    selected: Sequence[Sequence[Any]] = ()
    metrics: Sequence[tuple[str, Any] | tuple[str, Any, str]] = ()
    href: str = ""


@dataclass(frozen=True)
class GroupReport:
    """Everything that the page of the group shows.

    `features` summarises the feature table; `left_out` are visits that did not fail and are not in it.
    """

    dataset: str
    participants: int
    rows: Sequence[SubjectRow] = ()
    failures: Sequence[Failure] = ()
    figures: Sequence[Figure] = ()
    analyses: Sequence[AnalysisSummary] = ()
    features: Sequence[tuple[str, Any] | tuple[str, Any, str]] = ()
    methods: Sequence[str] = ()
    software: Mapping[str, str] = field(default_factory=dict)
    citations: Sequence[str] = ()
    command: str = ""
    created: str | None = None
    left_out: Sequence[Failure] = ()
    availability: Availability | None = None
