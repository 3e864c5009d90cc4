"""What in a table of features looks like a mistake of whoever made it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import DataError, listed
from voxelome.modelling import problems
from voxelome.modelling.metrics import auc
from voxelome.modelling.visits import Cohort

# With fewer participants one of thousands of features may well part two classes by chance.
FEWEST_FOR_PERFECT = 20


def twins(cohort: Cohort, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of participants with the same features in all that both have: one under two names.

    Parameters
    ----------
    cohort : Cohort
        All visits.
    names : sequence of str
        Names of the participants.
    """
    seen: dict[bytes, int] = {}
    pairs = []
    for row, who in zip(cohort.values, cohort.participant, strict=True):
        # Adding 0 makes one zero of both.
        key = (row + 0.0).tobytes()
        first = seen.setdefault(key, int(who))
        if first != who and np.isfinite(row).any():
            pairs.append((names[first], names[who]))
    return list(dict.fromkeys(pairs))


def check_not_taught(participants: Sequence[str], teachers: Sequence[str]) -> None:
    """Refuse to test on whose images the features were normalised by.

    Parameters
    ----------
    participants : sequence of str
        Those of the analysis, also those who are locked away.
    teachers : sequence of str
        Whose images taught the standard scale of the intensities (Nyul 2000).

    Raises
    ------
    DataError
        Some are both: what was learned from them would be in the features of training and test alike.
    """
    teaching = set(teachers)
    if both := [name for name in participants if name in teaching]:
        raise DataError(
            f"the standard scale of the intensities was learned from {len(both)} of its participants "
            f"({listed(both)}), who would be tested with what they taught",
            "learn it from others (voxelome-tools landmarks --participants), or leave these out (where:)",
        )


def giveaways(cohort: Cohort, names: Sequence[str]) -> list[str]:
    """Return features that alone tell the outcome without an error: they may be the outcome itself.

    Parameters
    ----------
    cohort : Cohort
        All visits.
    names : sequence of str
        Names of the features.
    """
    rows = np.arange(len(cohort.values))
    target = cohort.of_visits(rows)
    if len(cohort.target) < FEWEST_FOR_PERFECT or cohort.kind == problems.SURVIVAL:
        return []
    found = []
    for name, column in zip(names[: cohort.features], cohort.values.T[: cohort.features], strict=True):
        known = np.isfinite(column)
        if known.mean() > 0.5 and _tells(cohort.kind, target[known], column[known]):
            found.append(name)
    return found


def _tells(kind: str, target: NDArray[np.float64], column: NDArray[np.float64]) -> bool:
    if np.ptp(column) == 0 or len(np.unique(target)) < 2:
        return False
    if kind == problems.BINARY:
        return auc(target.astype(bool), column) in (0.0, 1.0)
    if kind in problems.SEVERAL:
        # Sorted by the feature, the participants of each class follow one another.
        ordered = target[np.argsort(column, kind="stable")]
        changes = int(np.count_nonzero(np.diff(ordered)))
        return bool(changes == len(np.unique(target)) - 1 and not _shared(target, column))
    return bool(abs(np.corrcoef(target, column)[0, 1]) > 1 - 1e-9)


def _shared(target: NDArray[np.float64], column: NDArray[np.float64]) -> bool:
    """Return whether participants of different classes have the same value."""
    pairs = np.unique(np.stack([column, target]), axis=1)
    return bool(len(np.unique(pairs[0])) < pairs.shape[1])
