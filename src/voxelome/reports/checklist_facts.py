"""What is known of an analysis, and the answers that checklists take from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

State = Literal["yes", "no", "author", "n/a"]


class Evidence(NamedTuple):
    """An answer, and one sentence that gives the reason."""

    state: State
    text: str = ""


@dataclass(frozen=True)
class Facts:
    """What is known of an analysis; what is not known stays empty.

    Attributes
    ----------
    settings : mapping
        Of the analysis, as :class:`voxelome.modelling.settings.AnalysisSettings`.
    metrics : mapping
        As metrics.json holds them.
    features : mapping
        How features were computed: the ``Settings`` of the data dictionary beside them, and ``software``, its
        ``Software``.
    processing : mapping
        Settings of the images' processing, by stage: ``preprocess`` and ``register`` of config.yaml.
    versions : mapping
        Version of each program.
    columns : sequence of str
        Names of the features offered, ``<image>__<roi>__<filter>__<class>__<feature>``.
    missing : float, optional
        Share of the values of the features that are missing.
    n_selected, n_univariate : int
        Rows of the tables of selected features and of single features; 0 where there is none.
    hold_out : mapping
        As hold_out.json holds it, where the hold-out was opened.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, Any] = field(default_factory=dict)
    processing: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    columns: Sequence[str] = ()
    missing: float | None = None
    n_selected: int = 0
    n_univariate: int = 0
    hold_out: Mapping[str, Any] = field(default_factory=dict)


Rule = Callable[[Facts], Evidence | None]
