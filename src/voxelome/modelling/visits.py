"""The numbers of an analysis: visits with their features, and their participants with the outcome."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Scaled(NamedTuple):
    """An image whose percentiles are brought to a standard scale, that is what it needs and what is moved.

    Attributes
    ----------
    image : str
        Its name.
    landmarks, moved : tuple of int
        Columns with the percentiles of the brain, and those that are brought to the scale.
    """

    image: str
    landmarks: tuple[int, ...]
    moved: tuple[int, ...]


@dataclass(frozen=True)
class Cohort:
    """Visits with their features and their participants.

    Attributes
    ----------
    kind : str
        ``binary``, ``multiclass``, ``ordinal``, ``continuous`` or ``survival``.
    values : ndarray, shape (n_visits, n_columns)
        Features, NaN where missing; after them what preparing them needs: landmarks, and the site.
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
    repeated : ndarray, shape (n_columns, n_visits, n_measurements), optional
        The features measured again; NaN in those that were not.
    classes : int
        Number of classes of the outcome, 0 where it has none.
    scaled : tuple of Scaled
        Images whose percentiles are brought to a standard scale; their landmarks come after the features.
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
    scaled: tuple[Scaled, ...] = ()

    @property
    def features(self) -> int:
        """Number of features, without the columns that only prepare them."""
        others = sum(len(each.landmarks) for each in self.scaled) + (self.site is not None)
        return int(self.values.shape[1]) - others

    def visits(self, participants: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the indices of the visits of some participants."""
        return np.flatnonzero(np.isin(self.participant, participants))

    def of_visits(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Return the outcome of the participants of some visits."""
        outcome: NDArray[Any] = self.target[self.participant[rows]]
        return outcome

    def with_columns(
        self, columns: NDArray[np.intp], *, harmonised: bool = True
    ) -> tuple[Cohort, NDArray[np.intp]]:
        """Return the cohort with some of its features, and the places of its columns in this one.

        The features are on the standard scale where all are, and harmonised as all are or not at all.
        """
        place = {int(column): number for number, column in enumerate(columns)}
        taken = list(place)
        scaled = []
        for each in self.scaled:
            if moved := tuple(place[column] for column in each.moved if column in place):
                own = tuple(range(len(taken), len(taken) + len(each.landmarks)))
                scaled.append(Scaled(each.image, own, moved))
                taken += each.landmarks
        site: int | None = None
        keep: tuple[int, ...] = ()
        if harmonised and self.site is not None:
            site, keep = len(taken), tuple(place[column] for column in self.keep if column in place)
            taken.append(self.site)
        repeated = None if self.repeated is None else self.repeated[taken]
        part = replace(
            self, values=self.values[:, taken], site=site, keep=keep, repeated=repeated, scaled=tuple(scaled)
        )
        return part, np.array(taken, dtype=np.intp)

    def with_target(self, target: NDArray[Any]) -> Cohort:
        """Return the cohort with another outcome."""
        return replace(self, target=target)

    def of_rows(self, rows: NDArray[np.intp]) -> Cohort:
        """Return the cohort with some of its visits, some of them perhaps several times."""
        repeated = None if self.repeated is None else self.repeated[:, rows]
        return replace(self, values=self.values[rows], participant=self.participant[rows], repeated=repeated)
