"""Predictions as columns of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelome.modelling import problems
from voxelome.modelling.cohort import Assembled


def columns_of(kind: str, prediction: NDArray[np.float64], classes: tuple[str, ...]) -> dict[str, Any]:
    """Return predictions by column: ``probability``, ``prediction`` or ``risk``.

    Of several classes, ``probability_<class>`` of each and ``prediction``, the one with the largest.

    Parameters
    ----------
    kind : str
        Of the outcome.
    prediction : ndarray, shape (n,) or (n, n_classes)
        As :func:`voxelome.modelling.problems.predicted` gives.
    classes : tuple of str
        Names of the classes.
    """
    if kind in problems.SEVERAL:
        each = {f"probability_{name}": column for name, column in zip(classes, prediction.T, strict=True)}
        return {**each, "prediction": np.asarray(classes, dtype=object)[prediction.argmax(axis=1)]}
    name = {problems.BINARY: "probability", problems.SURVIVAL: "risk"}.get(kind, "prediction")
    return {name: prediction}


def named_outcome(data: Assembled) -> NDArray[Any]:
    """Return the outcome of each participant as the table names it, shape (n_participants,)."""
    target = data.cohort.target
    if data.cohort.kind == problems.CONTINUOUS:
        return np.asarray(target)
    codes = target["event"] if data.cohort.kind == problems.SURVIVAL else target
    return np.asarray(data.classes, dtype=object)[np.asarray(codes, dtype=np.intp)]
