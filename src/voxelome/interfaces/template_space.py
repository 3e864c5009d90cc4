"""Template spaces as registration needs them: the brain of the template, its affine and its mask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxelome.bids.spaces import Space
from voxelome.errors import InputError, blame
from voxelome.imageio import Affine, FloatArray, MaskArray, load_volume
from voxelome.interfaces.masks import load_labels
from voxelome.orientation import to_canonical


@dataclass(frozen=True)
class Template:
    """A template's brain: values (0 outside the brain), affine, brain mask."""

    name: str
    brain: FloatArray
    affine: Affine
    mask: MaskArray


def load_space(space: Space) -> Template:
    """Template of a space, in RAS+ voxel order.

    Raises
    ------
    InputError
        A template's file cannot be used: it has a skull and no brain mask beside it, or the mask is on
        another grid.
    """
    if not space.path:
        from voxelome.registration.template import load_template

        return Template(space.name, *load_template(space.resolution))
    from voxelome.anat.checks import check_volume

    path = Path(space.path)
    volume = load_volume(path)
    with blame(path):
        check_volume(volume.data, volume.affine)
    data, affine = to_canonical(volume.data, volume.affine)
    mask = _mask(space, data, affine)
    return Template(space.name, np.where(mask, data, 0).astype(np.float32), affine, mask)


def _mask(space: Space, data: FloatArray, affine: Affine) -> MaskArray:
    from voxelome.anat.stripped import stripped_mask
    from voxelome.segmentation.carry import same_grid

    if space.brain_mask.is_file():
        labels, mask_affine = load_labels(space.brain_mask)
        if not same_grid(labels.shape, mask_affine, data.shape, affine):
            raise InputError(space.brain_mask, "is not on the template's grid", "resample it")
        mask: MaskArray = labels > 0
        return mask
    stripped = stripped_mask(data, affine)
    if stripped is None:
        raise InputError(
            space.path,
            "is a template with a skull, and its brain mask is not there",
            f"put the mask beside it as {space.brain_mask.name}, or give a skull-stripped template",
        )
    return stripped
