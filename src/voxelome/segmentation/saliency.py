"""Where in an image a network's number comes from, found by covering its parts: no gradient is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, MaskArray, voxel_sizes
from voxelome.segmentation.cases import CaseNetwork, numbers_of
from voxelome.segmentation.grids import FloatVolume, from_network
from voxelome.segmentation.prepare import prepare
from voxelome.segmentation.spec import NetworkSpec

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
        Passes of each member at most: where more would be needed the boxes are made larger. Covering what is
        even, such as air, changes nothing and costs no pass.
    odds : bool
        Whether what falls is the log odds of a classification's probability.
    """

    side: float = 24.0
    most: int = 1200
    odds: bool = False


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
    sides, chosen_boxes = few_boxes(case.stack, sizes, occlusion)
    odds = occlusion.odds and spec.task == "classification"
    total, covers = np.zeros((2, *case.grid.shape), dtype=np.float32)
    for box in boxes(case.grid.shape, sides):
        covers[box] += 1
    for first in range(0, len(chosen_boxes), _BATCH):
        batch = chosen_boxes[first : first + _BATCH]
        covered = np.stack([cover(case.stack, box) for box in batch])
        numbers = _mean_numbers(members, covered, spec)[:, chosen]
        for box, number in zip(batch, numbers, strict=True):
            fall = _log_odds(plain[chosen]) - _log_odds(number) if odds else plain[chosen] - number
            total[box] += np.float32(fall)
    change = np.zeros(case.grid.native_shape, dtype=np.float32)
    (change[case.grid.box],) = from_network([total / covers], case.grid, background=False)
    x, y, z = (side * size for side, size in zip(sides, sizes, strict=True))
    return Saliency(change, chosen, float(plain[chosen]), (x, y, z), len(chosen_boxes) + 1)


def few_boxes(
    stack: FloatVolume, sizes: Sequence[float], occlusion: Occlusion
) -> tuple[tuple[int, int, int], list[Box]]:
    """Sides of the boxes in voxels, and the boxes of which covering changes something.

    The sides are even, so that boxes overlap by half, and grow until the boxes are few enough.

    Parameters
    ----------
    stack : ndarray, shape (C, X, Y, Z)
        What the network gets.
    sizes : sequence of 3 float
        Voxel sizes in mm.
    occlusion : Occlusion
    """
    shape = stack.shape[1:]
    telling = _telling(stack)
    side = occlusion.side
    while True:
        x, y, z = (
            min(2 * max(1, round(side / size / 2)), 2 * ((count + 1) // 2))
            for size, count in zip(sizes, shape, strict=True)
        )
        needed = [box for box in boxes(shape, (x, y, z)) if telling[_shell(box)].any()]
        whole = all(one >= count for one, count in zip((x, y, z), shape, strict=True))
        if whole or len(needed) < occlusion.most:
            return (x, y, z), needed
        side *= _GROWTH


def boxes(shape: Sequence[int], sides: Sequence[int]) -> Iterator[Box]:
    """Boxes of these sides that overlap by half and cover a grid."""
    ranges = [_starts(count, side) for count, side in zip(shape, sides, strict=True)]
    for i, j, k in product(*ranges):
        yield slice(i, i + sides[0]), slice(j, j + sides[1]), slice(k, k + sides[2])


def cover(stack: FloatVolume, box: Box) -> FloatVolume:
    """Copy of a stack (C, X, Y, Z) with a box filled with the mean of a shell around it, half a side thick.

    So an object becomes like its surroundings.
    """
    part = (slice(None), *box)
    covered = stack.copy()
    covered[part] = 0
    shell = covered[(slice(None), *_shell(box))]
    count = shell[0].size - covered[part][0].size
    mean = shell.sum((1, 2, 3), dtype=np.float64) / max(count, 1)
    covered[part] = mean.astype(np.float32)[:, None, None, None]
    return covered


def _telling(stack: FloatVolume) -> MaskArray:
    """Voxels that make covering a box with them change something."""
    uneven = np.zeros(stack.shape[1:], dtype=np.bool_)
    for axis in range(3):
        steps = np.diff(stack, axis=axis + 1).any(axis=0)
        pair = [slice(None)] * 3
        for pair[axis] in (slice(None, -1), slice(1, None)):
            uneven[tuple(pair)] |= steps
    return uneven


def _log_odds(probability: float) -> float:
    kept = min(max(probability, 1e-6), 1 - 1e-6)
    return float(np.log(kept / (1 - kept)))


def _shell(box: Box) -> Box:
    """Box with half a side more on every side."""
    x, y, z = (
        slice(max(axis.start - (axis.stop - axis.start) // 2, 0), axis.stop + (axis.stop - axis.start) // 2)
        for axis in box
    )
    return x, y, z


def _starts(count: int, side: int) -> list[int]:
    """Where boxes of a side begin, half a side apart; the last one ends with the grid."""
    if side >= count:
        return [0]
    last = count - side
    return [*range(0, last, side // 2), last]


def _mean_numbers(members: Sequence[CaseNetwork], batch: FloatVolume, spec: NetworkSpec) -> FloatArray:
    """Numbers (N, K) of a batch, mean of the members."""
    return np.asarray(np.mean([numbers_of(member, batch, spec) for member in members], axis=0))
