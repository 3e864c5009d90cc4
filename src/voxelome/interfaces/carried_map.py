"""Bring a quantitative map that the user gives to the reference of its visit, its numbers as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from voxelome.bids.names import bids_name, space_label, split_label, unit_entities
from voxelome.imageio import Affine, Array, Volume, load_volume, save_volume
from voxelome.interfaces.masks import home_of, matrix_between
from voxelome.orientation import to_canonical
from voxelome.step import StepRecord


def carry_map(
    path: Path,
    label: str,
    spec: Any,
    grids: dict[str, Volume],
    reference: str,
    registered: StepRecord,
    record: StepRecord,
) -> None:
    """Write a map in the space of the reference, or as it is where the visit has none.

    Raises
    ------
    InputError
        It cannot be read, or lies on the grid of no image of the visit.
    """
    from voxelome.segmentation.carry import same_grid

    volume = load_volume(path, form=spec.affine)
    data, affine = to_canonical(volume.data, volume.affine)
    home = home_of(path, data, affine, grids, reference if spec.other_grids == "resample" else "")
    target = reference or home
    grid = grids[target]
    if target == home and same_grid(data.shape, affine, grid.data.shape, grid.affine):
        carried, method = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0), "copied"
    else:
        matrix = matrix_between(registered, reference, target, home)
        carried = _resampled(data, affine, grid, matrix)
        method = f"brought from {home} with the visit's transforms, linear, in one interpolation"
    space = space_label(split_label(target)[1] if target == reference else target)
    entities, suffix = split_label(label)
    name = bids_name({**unit_entities(spec.unit), **entities, "space": space}, suffix, ".nii.gz")
    sidecar = {
        "Sources": [f"bids:maps:{'/'.join(path.parts[-3:])}"],
        "Method": method,
        "SpatialReference": f"the visit's {target}",
        "Unknown": "0",
    }
    out = save_volume(Path(spec.out_dir) / name, carried, grid.affine, sidecar)
    record.add(out, "map", image=label, space=space, suffix=suffix)
    record.done.append(f"{label}: {method}.")


def _resampled(data: Array, affine: Affine, grid: Volume, matrix: Affine) -> Array:
    """Return a map on another grid; a voxel is known where most of it is, and unknown ones dim no other."""
    from voxelome.registration.resample import resample

    known = np.isfinite(data) & (data != 0)
    target = (grid.data.shape, grid.affine)
    share = resample(known.astype(np.float32), affine, *target, matrix=matrix)
    values = resample(np.where(known, data, 0).astype(np.float32), affine, *target, matrix=matrix)
    inside = share > 0.5
    carried: Array = np.where(inside, values / np.where(inside, share, 1), 0)
    return carried
