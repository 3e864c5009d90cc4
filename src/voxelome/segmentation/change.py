"""What became of lesions between two visits: new, grown, shrunk, vanished or stable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, MaskArray, voxel_sizes
from voxelome.segmentation.parts import Parts, boxes_of, connected_parts, part_sizes, same_shape, voxel_ml

Change = Literal["new", "grown", "shrunk", "vanished", "stable", "too small"]
# Values of the map of changes; of a lesion that grew or shrank, the part that it gained or lost.
NEW, GROWN, SHRUNK, VANISHED, STABLE = 1, 2, 3, 4, 5
MAP_NAMES = {NEW: "new", GROWN: "grown part", SHRUNK: "shrunk part", VANISHED: "vanished", STABLE: "stable"}
CHANGES: tuple[Change, ...] = ("new", "grown", "shrunk", "vanished", "stable", "too small")
_ROUNDING = 1e-9


@dataclass(frozen=True)
class ChangeRules:
    """When a difference of two masks is a change.

    Attributes
    ----------
    smallest_ml : float
        What is new or vanished and smaller is ``too small``: no more than noise. A ball of 3 mm, the least
        diameter of a lesion (Thompson et al., Lancet Neurol 17:162, 2018), has 0.014 ml, and a lesion as
        long and thinner less.
    shell : int
        Voxels by which borders differ without a change: resampling and drawing move them by about one.
    beyond_ml : float
        A lesion that grew has at least so much outside of what it was with that shell around it; one that
        shrank, the other way round.
    relative : float
        Its volume changed by this share at least.
    focal_ml : float
        Or, whatever its volume, one connected piece beyond the shell has so much: a new lesion that touches
        a large one.
    """

    smallest_ml: float = 0.01
    shell: int = 1
    beyond_ml: float = 0.01
    relative: float = 0.25
    focal_ml: float = 0.05


@dataclass(frozen=True)
class Group:
    """Lesions of two visits that are the same ones, or parts of them.

    Attributes
    ----------
    number : int
        From 1, the largest first (by the larger of its two volumes).
    change : str
        One of :data:`CHANGES`.
    first_ml, second_ml : float
        Volumes at both visits.
    beyond_ml : float
        Volume gained beyond the shell, or lost where that is more (negative).
    centroid : tuple of float
        Of both together, world mm.
    """

    number: int
    change: Change
    first_ml: float
    second_ml: float
    beyond_ml: float
    centroid: tuple[float, float, float]


@dataclass(frozen=True)
class Comparison:
    """Lesions of two visits compared.

    Attributes
    ----------
    groups : list of Group
        The largest first.
    map : ndarray of uint8, shape (x, y, z)
        1 new, 2 the part that a lesion gained, 3 the part it lost, 4 vanished, 5 all else that is lesion at
        either visit; what is too small is 0.
    numbers : ndarray of int, shape (x, y, z)
        Number of each voxel's group.
    first_ml, second_ml : float
        Volumes of all lesions at both visits.
    """

    groups: list[Group]
    map: Array
    numbers: Parts
    first_ml: float
    second_ml: float

    @property
    def counts(self) -> dict[Change, int]:
        """Groups of each change; those that are none too."""
        return {change: sum(group.change == change for group in self.groups) for change in CHANGES}


def compare_visits(
    first: MaskArray, second: MaskArray, affine: Affine, rules: ChangeRules | None = None
) -> Comparison:
    """Lesions of two visits, matched, and what became of them.

    Lesions (26 neighbours) of the two visits that overlap are the same; those of the first count as one shell
    of voxels wider, so that what lies side by side is matched too. A lesion may overlap several, as where it
    fell apart or merged with others: all that are linked so, directly or by others, are one group, and are
    judged by their volumes together.

    Parameters
    ----------
    first, second : ndarray of bool, shape (x, y, z)
        Lesions at each visit, on one grid.
    affine : ndarray, shape (4, 4)
        Voxels to world, mm.
    rules : ChangeRules, optional

    Raises
    ------
    DataError
        The masks are not on one grid, or not 3D.
    """
    rules = rules or ChangeRules()
    same_shape(first.shape, the_mask_of_the_second_visit=second)
    _check(rules)
    numbers = _grouped(first, second, rules.shell)
    voxel = voxel_ml(voxel_sizes(affine))
    changes = np.zeros(first.shape, dtype=np.uint8)
    groups = []
    for number, box in boxes_of(numbers, margin=rules.shell + 1):
        here = numbers[box] == number
        one, other = first[box] & here, second[box] & here
        change, beyond = _judge(one, other, voxel, rules)
        _draw(changes[box], one, other, change)
        middle = np.argwhere(here).mean(axis=0) + [side.start for side in box]
        x, y, z = affine[:3, :3] @ middle + affine[:3, 3]
        groups.append(
            Group(
                number,
                change,
                float(one.sum()) * voxel,
                float(other.sum()) * voxel,
                beyond,
                (float(x), float(y), float(z)),
            )
        )
    return Comparison(groups, changes, numbers, first.sum() * voxel, second.sum() * voxel)


def _check(rules: ChangeRules) -> None:
    values = (rules.smallest_ml, rules.beyond_ml, rules.relative, rules.focal_ml, rules.shell)
    if min(values) < 0 or int(rules.shell) != rules.shell:
        raise DataError(
            f"the rules of change {rules} are not all 0 or more", "give volumes, and whole voxels"
        )


def _grouped(first: MaskArray, second: MaskArray, shell: int) -> Parts:
    """Number of each voxel's group."""
    parts, count = connected_parts(first)
    others, other_count = connected_parts(second)
    group = _linked(parts, count, others, other_count, shell)
    sizes = np.r_[part_sizes(parts, count), part_sizes(others, other_count)]
    visit = np.repeat([0, 1], [count, other_count])
    volumes = np.zeros((group.max(initial=-1) + 1, 2), dtype=np.int64)
    np.add.at(volumes, (group, visit), sizes)
    order = np.argsort(-volumes.max(axis=1), kind="stable")
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(1, len(order) + 1)
    number = rank[group]
    numbers: Parts = np.maximum(np.r_[0, number[:count]][parts], np.r_[0, number[count:]][others])
    return numbers.astype(np.int32)


def _linked(parts: Parts, count: int, others: Parts, other_count: int, shell: int) -> NDArray[np.intp]:
    """Group from 0 of each part of the first visit, then of the second: components of the overlap graph."""
    pairs = []
    for number, box in boxes_of(parts, margin=shell):
        near = _widened(parts[box] == number, shell)
        pairs += [(number - 1, count + other - 1) for other in np.unique(others[box][near]) if other]
    total = count + other_count
    if not total:
        return np.zeros(0, dtype=np.intp)
    rows, columns = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(total, total))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.intp)


def _widened(mask: MaskArray, shell: int) -> MaskArray:
    return np.asarray(ndimage.binary_dilation(mask, iterations=shell)) if shell else mask


def _judge(one: MaskArray, other: MaskArray, voxel: float, rules: ChangeRules) -> tuple[Change, float]:
    """What became of a group, and the volume gained (negative: lost) beyond the shell."""
    before, after = float(one.sum()) * voxel, float(other.sum()) * voxel
    gained, lost = other & ~_widened(one, rules.shell), one & ~_widened(other, rules.shell)
    if not before or not after:
        if max(before, after) < rules.smallest_ml * (1 - _ROUNDING):
            return "too small", after - before
        return ("vanished", -before) if before else ("new", after)
    more = after >= before
    far = gained if more else lost
    beyond = float(far.sum()) * voxel
    parts, count = connected_parts(far)
    focal = float(part_sizes(parts, count).max(initial=0)) * voxel
    enough = abs(after - before) >= rules.relative * before or focal >= rules.focal_ml
    if not enough or not count or beyond < rules.beyond_ml * (1 - _ROUNDING):
        return "stable", beyond if more else -beyond
    return ("grown", beyond) if more else ("shrunk", -beyond)


def _draw(changes: Array, one: MaskArray, other: MaskArray, change: Change) -> None:
    """Put a group into its part of the map of changes, in place."""
    if change == "too small":
        return
    changes[one | other] = {"new": NEW, "vanished": VANISHED}.get(change, STABLE)
    if change == "grown":
        changes[other & ~one] = GROWN
    elif change == "shrunk":
        changes[one & ~other] = SHRUNK
