"""What in a table of features looks like a mistake of whoever made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import DataError, listed
from voxelome.modelling import problems
from voxelome.modelling.metrics import auc
from voxelome.modelling.settings import AnalysisSettings
from voxelome.modelling.visits import Cohort

PARTICIPANT = "participant_id"
# With fewer participants one of thousands of features may well part two classes by chance.
FEWEST_FOR_PERFECT = 20


def twins(values: NDArray[np.float64], participants: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of participants who have a visit with the same features: one person under two names.

    Rows of whole numbers are no evidence: all who have no lesion have the same volume of lesions, 0.

    Parameters
    ----------
    values : ndarray, shape (n_visits, n_features)
        Features of images; what is typed in, such as age, may differ between the two names.
    participants : sequence of str, length n_visits
        Whose visit it is.
    """
    seen: dict[bytes, str] = {}
    pairs = []
    for row, who in zip(values, participants, strict=True):
        known = row[np.isfinite(row)]
        if not np.any(known != np.round(known)):
            continue
        # Adding 0 makes one zero of both.
        first = seen.setdefault((row + 0.0).tobytes(), who)
        if first != who:
            pairs.append((first, who))
    return list(dict.fromkeys(pairs))


def check_not_parted(pairs: Sequence[tuple[str, str]], locked: Sequence[str]) -> None:
    """Refuse to lock away one of two names of a person whose other name is trained on.

    Raises
    ------
    DataError
        The names.
    """
    away = set(locked)
    if parted := [pair for pair in pairs if (pair[0] in away) != (pair[1] in away)]:
        raise DataError(
            f"the features of {_told(parted)} are identical, and one of them is locked away by hold_out "
            "while the other is trained on",
            "give one participant one name, or leave one of them out (where:)",
        )


def of_one_person(
    pairs: Sequence[tuple[str, str]], group: Mapping[str, str], settings: AnalysisSettings
) -> tuple[dict[str, str], list[str]]:
    """Return the groups with the names of one person in one, and sentences about it.

    Groups that the user names stay as they are: two of them would have to become one.

    Parameters
    ----------
    pairs : sequence of (str, str)
        As `twins` gives.
    group : mapping
        Group of each participant.
    settings : AnalysisSettings
        Whether each participant is a group.
    """
    here = [pair for pair in pairs if set(pair) <= set(group)]
    if not here:
        return dict(group), []
    found, kept = dict(group), f"Folds may part them: they part no {settings.groups}, and nothing else."
    if settings.groups == PARTICIPANT:
        kept = "No fold parts them."
        for first, other in here:
            one, same = found[other], found[first]
            found = {name: same if of == one else of for name, of in found.items()}
    return found, [
        f"The features of {_told(here)} are identical: is it one participant under two names? {kept}"
    ]


def _told(pairs: Sequence[tuple[str, str]]) -> str:
    return listed(f"{one} and {other}" for one, other in pairs)


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
