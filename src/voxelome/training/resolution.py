"""Synthetic images of 1 mm on the larger voxels of a network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from voxelome.segmentation.interpolate import ALIASES
from voxelome.training.fields import blur

if TYPE_CHECKING:
    import torch


def coarser(image: torch.Tensor, regions: torch.Tensor, spacing: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Image and regions of 1 mm on voxels of `spacing` mm, as inference resamples its images.

    Parameters
    ----------
    image : tensor, shape (C, X, Y, Z)
    regions : tensor of bool, shape (R, X, Y, Z)
    spacing : float
        1 or more.
    """
    from torch.nn.functional import interpolate

    if spacing == 1:
        return image, regions
    shape = [max(1, round(size / spacing)) for size in image.shape[1:]]
    sigma = math.sqrt((spacing**2 - 1) / (8 * math.log(2))) if spacing > ALIASES else 0.0
    brain = (image != 0).any(dim=0, keepdim=True)
    parts = [blur(part.float(), (sigma, sigma, sigma)) for part in (image, regions, brain)]
    image, share, inside = (
        interpolate(part[None], size=shape, mode="trilinear", align_corners=False)[0] for part in parts
    )
    return image * (inside > 0.5), (share >= 0.5) & (inside > 0.5)
