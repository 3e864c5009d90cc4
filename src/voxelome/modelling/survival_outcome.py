"""Times to an event, some of them known only to be longer than the follow-up."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.imageio import Array
from voxelome.modelling.association import Outcome


def survival_outcome(event: Any, time: Any) -> NDArray[Any]:
    """Return events and times as the structured array that scikit-survival and this package take.

    Parameters
    ----------
    event : array_like of bool, shape (n,)
        Whether the event was seen; otherwise the case was followed for `time` without it.
    time : array_like of float, shape (n,)
        Time of the event, or of the end of the follow-up.
    """
    y = np.empty(len(event), dtype=[("event", np.bool_), ("time", np.float64)])
    y["event"], y["time"] = event, time
    return y


def read_survival(y: Any, least_events: int = 1, name: str = "y") -> Outcome:
    """Return what `y` holds, once it is sure that it can be worked with.

    Parameters
    ----------
    y : structured ndarray, shape (n,)
        Fields event (bool) and time (number), in this order.
    least_events : int
        Events that are needed.
    name : str
        What an error calls `y`.

    Raises
    ------
    DataError
        There are not two such fields, fewer than two cases or too few events, or times are negative or
        not finite.
    """
    fields = getattr(getattr(y, "dtype", None), "names", None)
    if (
        fields is None
        or len(fields) != 2
        or y[fields[0]].dtype != np.bool_
        or y[fields[1]].dtype.kind not in "fiu"
    ):
        raise DataError(
            f"{name} does not hold events and times", "give a structured array of a bool and a number"
        )
    event, time = y[fields[0]], y[fields[1]].astype(np.float64)
    if len(y) < 2:
        raise DataError(f"{name} holds {len(y)} case", "give at least two")
    if not np.all(np.isfinite(time)) or time.min() < 0:
        raise DataError(
            f"{name} holds times that are negative or not finite",
            "give times from the start of the follow-up",
        )
    if event.sum() < least_events:
        raise DataError(
            f"{name} holds {event.sum()} events in {len(y)} cases", f"give cases with at least {least_events}"
        )
    return Outcome("survival", time, event)


def balanced_folds(outcome: Outcome, folds: int, seed: int) -> Array:
    """Return the fold of each case, from 0; shape (n,). Each fold has its share of events, early and late.

    Cases are ordered by whether the event was seen and by value; of each `folds` neighbours every fold gets
    one, by lot. But for cases with the same outcome nothing depends on the order of the rows.

    Parameters
    ----------
    outcome : Outcome
        Of n cases.
    folds : int
        From 2 to n.
    seed : int
        Of the lots.
    """
    n = len(outcome.values)
    if not 2 <= folds <= n:
        raise ValueError(f"{n} cases cannot be put into {folds} folds")
    rng = np.random.default_rng(seed)
    lots = np.concatenate([rng.permutation(folds) for _ in range(0, n, folds)])[:n]
    fold = np.empty(n, dtype=np.intp)
    fold[np.lexsort((outcome.values, ~outcome.event))] = lots
    return fold


def grid_of_times(y: NDArray[Any], count: int = 40) -> NDArray[np.float64]:
    """Return ascending times at which survival is told: from the first tenth of the events to the last fifth.

    Later ones are followed by few, earlier ones tell little.

    Parameters
    ----------
    y : structured ndarray, shape (n,)
        Events and times.
    count : int
        Number of times, where so many differ.
    """
    seen = y["time"][y["event"]]
    low, high = np.quantile(seen, [0.1, 0.8])
    return np.unique(np.linspace(low, high, count))
