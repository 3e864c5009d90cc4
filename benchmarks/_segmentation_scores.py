"""How well a segmentation agrees with a reference, voxel by voxel and lesion by lesion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxelome.imageio import voxel_sizes
from voxelome.segmentation.parts import connected_parts, part_sizes

# Smaller lesions of a reference (ml) are not asked for: a ball of 2.7 mm.
SMALLEST_ML = 0.01


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
            f"{self.found_ml:.2f} ml found, {self.true_ml:.2f} ml true; lesions hit {self.hit} of "
            f"{self.lesions}; parts false {self.false} of {self.parts}"
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


def together(scores: Sequence[Score]) -> str:
    """Sums over cases in words."""
    hit, lesions, false = (sum(getattr(one, name) for one in scores) for name in ("hit", "lesions", "false"))
    return f"lesions hit {hit} of {lesions}; false parts a case {false / len(scores):.1f}"
