"""Masks that the user gives: how they are read, and on which image of the visit they were drawn."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from voxelome.errors import InputError, blame
from voxelome.imageio import Affine, Array, Form, MaskArray, Volume, load_volume
from voxelome.orientation import to_canonical
from voxelome.step import StepRecord


def load_labels(path: Path | str, form: Form = "auto") -> tuple[Array, Affine]:
    """Label image in RAS+ voxel order, and its affine.

    Raises
    ------
    InputError
        It cannot be read, is empty, or holds values that are no labels.
    """
    from voxelome.segmentation.carry import check_labels

    volume = load_volume(path, dtype=None, form=form)
    with blame(path):
        labels = check_labels(volume.data)
    return to_canonical(labels, volume.affine)


def home_of(
    path: Path | str, labels: Array, affine: Affine, grids: dict[str, Volume], resample_to: str = ""
) -> str:
    """Label of the first image on whose grid a mask was drawn.

    Where there is none it is `resample_to`, if the user says that the mask lies where its header puts it in
    the world of that image.

    Raises
    ------
    InputError
        It is on the grid of none, and no image is named instead.
    """
    from voxelome.segmentation.carry import same_grid

    for label, grid in grids.items():
        if same_grid(labels.shape, affine, grid.data.shape, grid.affine):
            return label
    if resample_to:
        return resample_to
    raise InputError(
        path,
        f"its grid {labels.shape} is that of no image of this visit ({', '.join(grids)})",
        "resample it to the image that it was drawn on, or let other_grids: resample do so by its header",
    )


def matrix_between(registered: StepRecord, reference: str, target: str, home: str) -> Any:
    """4x4 matrix that takes a point of `target` to `home`, both in RAS mm."""

    def from_reference(label: str) -> Any:
        found = registered.find("matrix", image=label)
        return np.array(found[0]["matrix"]) if found else np.eye(4)

    # matrices in the record take a point of the reference to the image
    return from_reference(home) @ np.linalg.inv(from_reference(target))


def union(masks: Iterable[Array]) -> MaskArray:
    """Voxels that any of one or more masks on one grid marks."""
    found: MaskArray = np.any([mask > 0 for mask in masks], axis=0)
    return found
