"""The numbers of an analysis: visits with their features, and their participants with the outcome."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Cohort:
    """Visits with their features and their participants.

    Attributes
    ----------
    kind : str
        ``binary``, ``multiclass``, ``ordinal``, ``continuous`` or ``survival``.
    values : ndarray, shape (n_visits, n_features)
        Features, NaN where missing.
    participant : ndarray of int, shape (n_visits,)
        Index of each visit's participant.
    target : ndarray, shape (n_participants,)
        Outcome: bool, number of the class, float, or events and times.
    group : ndarray of int, shape (n_participants,)
        Participants with one number are never split between training and test.
    site : int, optional
        Column with the number of the site, the last; without it nothing is harmonised.
    keep : tuple of int
        Columns whose effects harmonisation keeps.
    repeated : ndarray, shape (n_features, n_visits, n_measurements), optional
        The features measured again; NaN in those that were not.
    classes : int
        Number of classes of the outcome, 0 where it has none.
    """

    kind: str
    values: NDArray[np.float64]
    participant: NDArray[np.intp]
    target: NDArray[Any]
    group: NDArray[np.intp]
    site: int | None = None
    keep: tuple[int, ...] = ()
    repeated: NDArray[np.float32] | None = None
    classes: int = 0

    @property
    def features(self) -> int:
        """Number of features, without the column of the site."""
        return int(self.values.shape[1]) - (self.site is not None)

    def visits(self, participants: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the indices of the visits of some participants."""
        return np.flatnonzero(np.isin(self.participant, participants))

    def of_visits(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Return the outcome of the participants of some visits."""
        outcome: NDArray[Any] = self.target[self.participant[rows]]
        return outcome

    def with_columns(self, columns: NDArray[np.intp], *, harmonised: bool = True) -> Cohort:
        """Return the cohort with some of its features, harmonised as all are or not at all."""
        site: int | None = None
        keep: tuple[int, ...] = ()
        taken = columns
        if harmonised and self.site is not None:
            site, taken = len(columns), np.append(columns, self.site)
            keep = tuple(place for place, column in enumerate(columns) if column in self.keep)
        repeated = None if self.repeated is None else self.repeated[taken]
        return replace(self, values=self.values[:, taken], site=site, keep=keep, repeated=repeated)

    def with_target(self, target: NDArray[Any]) -> Cohort:
        """Return the cohort with another outcome."""
        return replace(self, target=target)

    def of_rows(self, rows: NDArray[np.intp]) -> Cohort:
        """Return the cohort with some of its visits, some of them perhaps several times."""
        repeated = None if self.repeated is None else self.repeated[:, rows]
        return replace(self, values=self.values[rows], participant=self.participant[rows], repeated=repeated)
