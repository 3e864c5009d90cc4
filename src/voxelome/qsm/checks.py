"""What is wrong in the images of a gradient echo inside its mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Array, MaskArray

FEWEST_VOXELS = 1000
_LEAST_SLICE = 50  # voxels; a slice that holds fewer is the tip of the mask
_NEIGHBOURS = 4
_FILLED_SHARE = 0.01
_HOLES_SHARE = 0.001
_AXES = ("first", "second", "third")
_MOST_NAMED = 8

Part = Literal["magnitude", "phase"]


def check_mask(mask: MaskArray) -> list[str]:
    """Warnings about a mask that can be used.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)

    Raises
    ------
    DataError
        The mask has fewer than 1000 voxels, too few to tell tissue from noise and background, or is thinner
        than 3 voxels everywhere.
    """
    count = int(mask.sum())
    if count < FEWEST_VOXELS:
        raise DataError(
            f"its mask has {count} voxels, and the maps need at least {FEWEST_VOXELS}",
            "check the brain mask and its registration to the gradient echo",
        )
    if not ndimage.binary_opening(mask).any():
        raise DataError(
            "its mask is nowhere 3 voxels thick",
            "check the brain mask and its registration to the gradient echo",
        )
    # Filled through the complement's parts: filling by repeated dilation takes minutes on a whole head.
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    parts, found = ndimage.label(np.pad(~mask[box], 1, constant_values=True))
    inside = int((parts > 0).sum() - (parts == parts[0, 0, 0]).sum())
    if inside <= _HOLES_SHARE * count:
        return []
    return [f"The mask has {found - 1} hole(s) of {inside} voxels together: there is no map in them."]


def check_image(image: Array, mask: MaskArray, part: Part) -> list[str]:
    """What is wrong with one echo's magnitude or phase, as words that follow its name.

    A slice counts where it has 50 voxels of the mask or more.

    Parameters
    ----------
    image : ndarray, shape (x, y, z)
        Magnitude, or phase in rad.
    mask : ndarray of bool, shape (x, y, z)
    part : {"magnitude", "phase"}

    Returns
    -------
    list of str
        Such as ``"is exactly 0 in 12% of the mask, ..."``.

    Raises
    ------
    DataError
        The image has one value in the mask, or a slice in the middle of the mask holds nothing (0; of phase
        also pi, which is what 0 in the scanner's numbers may come to).
    """
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    start = [cut.start for cut in box]
    image, mask = image[box], mask[box]
    if np.ptp(image[mask]) == 0:
        raise DataError(f"{part} is {image[mask][0]:g} everywhere in the mask", "export the series again")
    found = []
    for axis in range(3):
        empty, constant = _dead_slices(image, mask, axis, part)
        missing = [index for index in empty if _between(index, constant, mask, axis)]
        names = _slices([index + start[axis] for index in missing or constant], axis)
        if missing:
            raise DataError(
                f"holds no {part} in {names}, in the middle of the head",
                "export the series again; if slices were lost, crop the images to what is whole",
            )
        if constant:
            found.append(f"is constant in {names}")
    share = filled_share(image[mask]) if part == "phase" else float(np.mean(image[mask] == 0))
    if part == "phase" and share > _FILLED_SHARE:
        found.append(
            f"is exactly 0 or pi in {share:.0%} of the mask: something was masked out of it before, "
            "and what lies there is not known"
        )
    if part == "magnitude" and share > _HOLES_SHARE:
        found.append(f"is exactly 0 in {share:.1%} of the mask")
    return found


def filled_share(values: Array) -> float:
    """Share of phase values that are exactly 0, pi or -pi, beyond what is chance.

    Phase in steps (12 bits make 4096 a turn) meets these numbers by chance, as often as the numbers next to
    them; what was masked out holds one of them in far more voxels.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Phase in rad.

    Examples
    --------
    >>> steps = np.linspace(-3, 3, 600)
    >>> filled_share(np.concatenate([steps, np.zeros(201)]))
    0.25
    """
    share = 0.0
    for value in (np.float32(0), np.float32(np.pi), np.float32(-np.pi)):
        same = int((values == value).sum())
        if same <= _FILLED_SHARE / 2 * values.size:
            continue
        levels, counts = np.unique(values[values != value], return_counts=True)
        nearest = np.argsort(np.abs(levels - value))[:_NEIGHBOURS]
        by_chance = float(counts[nearest].max()) if nearest.size else 0.0
        share += (same - by_chance) / values.size
    return round(share, 3)


def together(found: Sequence[Sequence[str]], part: Part) -> list[str]:
    """Sentences from what :func:`check_image` found in each echo, those that are the same put together.

    Examples
    --------
    >>> together([["is constant in slice 3"], [], ["is constant in slice 3"]], "magnitude")
    ['The magnitude of echo 1, 3 is constant in slice 3.']
    """
    echoes: dict[str, list[str]] = {}
    for number, words in enumerate(found, 1):
        for text in words:
            echoes.setdefault(text, []).append(str(number))
    return [f"The {part} of echo {', '.join(numbers)} {text}." for text, numbers in echoes.items()]


def _dead_slices(image: Array, mask: MaskArray, axis: int, part: Part) -> tuple[list[int], list[int]]:
    """Slices across an axis that hold nothing in the mask, and those (they too) that hold one value."""
    others = tuple(i for i in range(3) if i != axis)
    low = np.where(mask, image, np.inf).min(axis=others)
    high = np.where(mask, image, -np.inf).max(axis=others)
    constant = (low == high) & (mask.sum(axis=others) >= _LEAST_SLICE)
    nothing = low == 0
    if part == "phase":
        nothing |= np.abs(low) == np.float32(np.pi)
    return [int(i) for i in np.flatnonzero(constant & nothing)], [int(i) for i in np.flatnonzero(constant)]


def _between(index: int, constant: Sequence[int], mask: MaskArray, axis: int) -> bool:
    """Whether slices of the mask that hold an image lie on both sides of one."""
    size = mask.sum(axis=tuple(i for i in range(3) if i != axis))
    alive = [i for i, count in enumerate(size) if count >= _LEAST_SLICE and i not in constant]
    return bool(alive) and alive[0] < index < alive[-1]


def _slices(indices: Sequence[int], axis: int) -> str:
    """Slices by their voxel indices, in words."""
    named = ", ".join(map(str, indices[:_MOST_NAMED])) + (" ..." if len(indices) > _MOST_NAMED else "")
    plural = "s" if len(indices) > 1 else ""
    return f"slice{plural} {named} (counted from 0) of the {_AXES[axis]} axis"
