"""The fitted model as a file, without pickle: reading it runs no code of the file's author."""

from __future__ import annotations

from pathlib import Path

import skops.io
from sklearn.pipeline import Pipeline

from voxelome.imageio import replacing

# What a model file of voxelome holds beyond what skops trusts by itself: the selection of features, and
# the number type that scikit-learn's imputer keeps, which is plain data.
TRUSTED_TYPES = ("numpy.dtype", "voxelome.modelling.estimators.SelectUncorrelated")


def save_model(path: Path | str, model: Pipeline) -> None:
    """Write a fitted model in the format of skops, whole or not at all."""
    with replacing(path) as temporary:
        skops.io.dump(model, temporary)


def load_model(path: Path | str) -> Pipeline:
    """Return the model in a file of :func:`save_model`.

    Raises
    ------
    skops.io.exceptions.UntrustedTypesFoundException
        The file holds types that no model of voxelome has.
    """
    return skops.io.load(path, trusted=list(TRUSTED_TYPES))
