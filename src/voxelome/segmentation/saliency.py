"""Where in an image a network's number comes from, found by covering its parts: no gradient is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, MaskArray, voxel_sizes
from voxelome.segmentation.cases import CaseNetwork, numbers_of
from voxelome.segmentation.grids import FloatVolume, from_network
from voxelome.segmentation.prepare import prepare
from voxelome.segmentation.spec import NetworkSpec

Fill = Literal["around", "zero"]
Box = tuple[slice, slice, slice]

_BATCH = 8
_GROWTH = 1.2


@dataclass(frozen=True)
class Occlusion:
    """How the parts of an image are covered.

    Attributes
    ----------
    side : float
        Side of the boxes in mm, which overlap by half.
    most : int
        Passes of each member at most: where more would be needed the boxes are made larger.
    fill : {'around', 'zero'}
        What a box is filled with: the mean of a shell around it, half a side thick, so that an object
        becomes like its surroundings; or 0.
    """

    side: float = 24.0
    most: int = 600
    fill: Fill = "around"


@dataclass(frozen=True)
class Saliency:
    """An occlusion map.

    Attributes
    ----------
    change : ndarray of float32, shape (x, y, z)
        On the image's grid: how much the probability or the value falls when the place is covered, mean of
        the boxes that cover it. Positive where the image speaks for it, negative where it speaks against.
    output : int
        Index of the number that it is about.
    value : float
        That number of the image as it is.
    box : tuple of float
        Sides of the boxes in mm along the network's axes.
    passes : int
        Passes of each member.
    """

    change: FloatVolume
    output: int
    value: float
    box: tuple[float, float, float]
    passes: int


def occlusion_map(
    volumes: Sequence[Array | None],
    affine: Affine,
    brain: MaskArray | None,
    spec: NetworkSpec,
    members: Sequence[CaseNetwork],
    output: int | None = None,
    occlusion: Occlusion | None = None,
) -> Saliency:
    """Occlusion map [1]_ of a case, mean of the members.

    Parameters
    ----------
    volumes, affine, brain, spec, members
        As for :func:`voxelome.segmentation.cases.predict_case`.
    output : int, optional
        Index of the number to explain; by default the most probable class, or the value of a regression.
    occlusion : Occlusion, optional
        Size, number and filling of the boxes.

    Raises
    ------
    DataError
        There is no such output; or as for ``predict_case``.

    References
    ----------
    .. [1] Zeiler and Fergus, Visualizing and understanding convolutional networks, ECCV 2014.
    """
    occlusion = occlusion or Occlusion()
    case = prepare(volumes, affine, brain, spec)
    plain = _mean_numbers(members, case.stack[np.newaxis], spec)[0]
    chosen = int(np.argmax(plain)) if output is None else output
    if not 0 <= chosen < len(plain):
        problem = f"{spec.name} has no output {chosen}"
        raise DataError(problem, f"choose one from 0 to {len(plain) - 1}")
    sizes = voxel_sizes(case.grid.affine)
    sides = box_sides(case.grid.shape, sizes, occlusion)
    total, covers = np.zeros((2, *case.grid.shape), dtype=np.float32)
    waiting: list[tuple[Box, FloatVolume]] = []
    passes = 1

    def settle() -> None:
        numbers = _mean_numbers(members, np.stack([stack for _, stack in waiting]), spec)[:, chosen]
        for (box, _), number in zip(waiting, numbers, strict=True):
            total[box] += np.float32(plain[chosen] - number)
        waiting.clear()

    for box in boxes(case.grid.shape, sides):
        covers[box] += 1
        covered = cover(case.stack, box, occlusion.fill)
        # Covering what is even changes nothing: air costs no pass.
        if covered is None:
            continue
        waiting.append((box, covered))
        passes += 1
        if len(waiting) == _BATCH:
            settle()
    if waiting:
        settle()
    change = np.zeros(case.grid.native_shape, dtype=np.float32)
    (change[case.grid.box],) = from_network([total / covers], case.grid, background=False)
    first, second, third = (side * size for side, size in zip(sides, sizes, strict=True))
    return Saliency(change, chosen, float(plain[chosen]), (first, second, third), passes)


def box_sides(shape: Sequence[int], sizes: Sequence[float], occlusion: Occlusion) -> tuple[int, int, int]:
    """Sides of the boxes in voxels, even so that they overlap by half, grown until they are few enough."""
    side = occlusion.side
    while True:
        sides = [
            min(2 * max(1, round(side / size / 2)), 2 * ((count + 1) // 2))
            for size, count in zip(sizes, shape, strict=True)
        ]
        whole = all(one >= count for one, count in zip(sides, shape, strict=True))
        needed = np.prod([len(_starts(count, one)) for count, one in zip(shape, sides, strict=True)])
        if whole or needed < occlusion.most:
            return sides[0], sides[1], sides[2]
        side *= _GROWTH


def boxes(shape: Sequence[int], sides: Sequence[int]) -> Iterator[Box]:
    """Boxes of these sides that overlap by half and cover a grid."""
    ranges = [_starts(count, side) for count, side in zip(shape, sides, strict=True)]
    for i, j, k in product(*ranges):
        yield slice(i, i + sides[0]), slice(j, j + sides[1]), slice(k, k + sides[2])


def cover(stack: FloatVolume, box: Box, fill: Fill) -> FloatVolume | None:
    """Copy of a stack (C, X, Y, Z) with a box covered; None where that changes nothing."""
    part = (slice(None), *box)
    inner = stack[part]
    value: FloatArray = np.zeros((len(stack), 1, 1, 1), dtype=np.float32)
    if fill == "around":
        wide = (slice(None), *(_widened(axis) for axis in box))
        outer = stack[wide]
        axes = (1, 2, 3)
        count = outer[0].size - inner[0].size
        if count:
            rest = outer.sum(axes, dtype=np.float64) - inner.sum(axes, dtype=np.float64)
            value = (rest / count).astype(np.float32)[:, None, None, None]
    if np.abs(inner - value).max() < 1e-6:
        return None
    covered = stack.copy()
    covered[part] = value
    return covered


def _widened(axis: slice) -> slice:
    half = (axis.stop - axis.start) // 2
    return slice(max(axis.start - half, 0), axis.stop + half)


def _starts(count: int, side: int) -> list[int]:
    """Where boxes of a side begin, half a side apart; the last one ends with the grid."""
    if side >= count:
        return [0]
    last = count - side
    return [*range(0, last, side // 2), last]


def _mean_numbers(members: Sequence[CaseNetwork], batch: FloatVolume, spec: NetworkSpec) -> FloatArray:
    """Numbers (N, K) of a batch, mean of the members."""
    return np.asarray(np.mean([numbers_of(member, batch, spec) for member in members], axis=0))
