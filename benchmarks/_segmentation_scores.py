"""How well a segmentation agrees with a reference, voxel by voxel and lesion by lesion, and pictures of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture
from scipy import ndimage

from voxelome.imageio import voxel_sizes
from voxelome.segmentation.parts import connected_parts, part_sizes

# Smaller lesions of a reference (ml) are not asked for: a ball of 2.7 mm.
SMALLEST_ML = 0.01
RED, GREEN, YELLOW = (255, 60, 60), (60, 255, 60), (255, 220, 0)


@dataclass(frozen=True)
class Score:
    """Agreement of a mask with a reference.

    Attributes
    ----------
    dice : float
    found_ml, true_ml : float
    hit, lesions : int
        Lesions of the reference that are touched, of all.
    false, parts : int
        Parts of the mask that touch none, of all.
    """

    dice: float
    found_ml: float
    true_ml: float
    hit: int
    lesions: int
    false: int
    parts: int

    def __str__(self) -> str:
        return (
            f"Dice {self.dice:.3f}, {self.found_ml:.1f} ml of {self.true_ml:.1f} ml, lesions hit "
            f"{self.hit} of {self.lesions}, false {self.false} of {self.parts}"
        )


def dice(one: Any, other: Any) -> float:
    """Dice of two masks; 1 where both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def score(found: Any, truth: Any, affine: Any) -> Score:
    """Agreement of a mask with a reference on one grid; lesions are parts of at least 0.01 ml."""
    voxel = float(np.prod(voxel_sizes(affine))) / 1000
    true_parts, lesions = connected_parts(truth)
    parts, count = connected_parts(found)
    asked = part_sizes(true_parts, lesions) * voxel >= SMALLEST_ML
    touched = np.isin(np.arange(1, lesions + 1), np.unique(true_parts[found]))
    right = np.setdiff1d(np.unique(parts[truth]), [0])
    return Score(
        dice(found, truth),
        float(found.sum()) * voxel,
        float(truth.sum()) * voxel,
        int((touched & asked).sum()),
        int(asked.sum()),
        count - len(right),
        count,
    )


def picture(
    path: Path, image: Any, masks: Sequence[tuple[Any, tuple[int, int, int]]], affine: Any, *, on: Any = None
) -> None:
    """Three axial slices: the image by itself, with the outline of each mask, and where two masks differ.

    The first mask is ours, the second the reference. Of the errors, red is what only ours has, green what
    only the reference has. The slices hold most of `on`, or of the reference.
    """
    where = masks[-1][0] if on is None else on
    if not where.any():
        where = np.asarray(image != 0)
    low, high = np.percentile(image[image != 0], [1, 99.7])
    gray = (np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    sizes = voxel_sizes(affine)
    rows = []
    for level in _levels(where):
        plain = np.repeat(gray[:, :, level, None], 3, axis=2)
        drawn = plain.copy()
        for mask, colour in masks[::-1]:
            flat = mask[:, :, level]
            drawn[flat & ~ndimage.binary_erosion(flat)] = colour
        panels = [plain, drawn]
        if len(masks) > 1:
            ours, reference = masks[0][0][:, :, level], masks[1][0][:, :, level]
            wrong = plain // 2
            wrong[ours & ~reference], wrong[reference & ~ours] = RED, GREEN
            panels.append(wrong)
        rows.append(np.concatenate([panel[::-1, ::-1].transpose(1, 0, 2) for panel in panels], axis=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = Picture.fromarray(np.concatenate(rows))
    scale = 256 / gray.shape[0]
    size = int(shown.width * scale), int(shown.height * scale * sizes[1] / sizes[0])
    shown.resize(size).save(path)


def _levels(where: Any, count: int = 3) -> list[int]:
    """Axial slices, apart from each other, that hold much of a mask."""
    areas = where.sum(axis=(0, 1)).astype(float)
    filled = np.flatnonzero(areas)
    return [
        int(part[areas[part].argmax()]) for part in np.array_split(filled, min(count, len(filled))) if part.size
    ]


def label_picture(path: Path, image: Any, labels: Any, affine: Any, names: Mapping[int, str]) -> None:
    """Three axial slices of an image, and of it with the outlines of all labels, a colour each."""
    wheel = [(value * 97 % 255, 255 - value * 53 % 200, value * 151 % 255) for value in names]
    masks = [(labels == value, colour) for value, colour in zip(names, wheel, strict=True)]
    flat = np.zeros(labels.shape, dtype=bool)
    picture_many(path, image, masks, affine, labels > 0 if labels.any() else flat)


def picture_many(
    path: Path, image: Any, masks: Sequence[tuple[Any, tuple[int, int, int]]], affine: Any, on: Any
) -> None:
    """Like :func:`picture`, with any number of outlines and no errors."""
    low, high = np.percentile(image[image != 0], [1, 99.7])
    gray = (np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
