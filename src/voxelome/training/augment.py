"""Random changes of a box of a real case, so that a few cases stand for many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from voxelome.imageio import Array, MaskArray
from voxelome.segmentation.spec import NetworkSpec
from voxelome.training.acquisition import acquire
from voxelome.training.fields import Dice

if TYPE_CHECKING:
    import torch

# How often a box stays as it is, and how often an input that need not be there is taken away.
_UNCHANGED, _ABSENT = 0.2, 0.25


def some_absent(image: Array, spec: NetworkSpec, dice: Dice) -> Array:
    """Channels (C, X, Y, Z) without some of the inputs that the network can do without: those are 0.

    Of the inputs of which one is needed, one stays.
    """
    image = image.copy()
    first, either = 0, []
    for item in spec.inputs:
        channels = image[first : first + item.channels]
        first += item.channels
        if item.need == "optional" and dice.chance(_ABSENT):
            channels[:] = 0
        elif item.need == "one" and channels.any():
            either.append(channels)
    kept = int(dice.plain.integers(len(either))) if either else 0
    for index, channels in enumerate(either):
        if dice.chance(_ABSENT) and index != kept:
            channels[:] = 0
    return image


def augmented(image: Array, inside: MaskArray, dice: Dice) -> Array:
    """Channels (C, X, Y, Z) as another scan might have given them: resolution, bias, noise, gamma, scale.

    Parameters
    ----------
    image : ndarray of float32
        Scaled as the network takes it; absent channels are 0 and stay so.
    inside : ndarray of bool, shape (X, Y, Z)
        Where the image is not 0 by the rules of the network.
    dice : Dice
    """
    import torch

    if dice.chance(_UNCHANGED) or not inside.any():
        return image
    mask = torch.from_numpy(inside.astype(np.float32)).to(dice.device)
    return np.stack(
        [
            _acquired(torch.from_numpy(channel).to(dice.device), mask, dice).cpu().numpy()
            if channel.any()
            else channel
            for channel in image
        ]
    )


def _acquired(channel: torch.Tensor, mask: torch.Tensor, dice: Dice) -> torch.Tensor:
    """One channel acquired anew, with the mean and deviation that it had, but for a little."""
    where = mask > 0.5
    mean, sd = channel[where].mean(), channel[where].std().clamp(min=1e-3)
    # A scanner's magnitudes are positive and near 1; what is scaled is not.
    image = acquire(((channel - mean) / (4 * sd) + 1).clamp(min=0), mask, dice)
    after = image[where]
    image = (image - after.mean()) / after.std().clamp(min=1e-3)
    return (image * dice.uniform(0.85, 1.2) * sd + mean + dice.uniform(-0.2, 0.2) * sd) * mask
