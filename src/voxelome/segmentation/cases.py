"""Networks that give probabilities or a value for a whole image, and how far these vary when it is varied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, MaskArray, voxel_sizes
from voxelome.segmentation.grids import FloatVolume, NetworkGrid
from voxelome.segmentation.interpolate import linear
from voxelome.segmentation.prepare import Prepared, prepare
from voxelome.segmentation.spec import NetworkSpec

Batch = NDArray[np.float32]


class CaseNetwork(Protocol):
    """Anything that takes a batch (N, C, X, Y, Z) to numbers (N, K)."""

    def __call__(self, batch: Batch, /) -> Batch:
        """Numbers of the batch."""
        ...


@runtime_checkable
class Attending(Protocol):
    """A network that can also say which slices its numbers come from."""

    def attend(self, batch: Batch, /) -> Batch | None:
        """Attention (N, S) over the slices; None where the network has none."""
        ...


@dataclass(frozen=True)
class Variation:
    """How a case is varied.

    Attributes
    ----------
    count : int
        Random passes, after the plain and the mirrored ones.
    shift, angle, size : float
        Largest shift in mm and rotation in degrees about each axis, largest relative change of size.
    seed : int
    """

    count: int = 8
    shift: float = 3.0
    angle: float = 4.0
    size: float = 0.03
    seed: int = 0


@dataclass(frozen=True)
class CasePrediction:
    """What networks say of a case.

    Attributes
    ----------
    values : ndarray, shape (K,)
        Probability of each class, or the value: mean over all passes of all members.
    sd : ndarray, shape (K,)
        Standard deviation over the passes of the members' mean; zeros where there is one pass only.
    members : ndarray, shape (M, K)
        Mean of each member's passes.
    passes : ndarray, shape (P, K)
        Members' mean of each pass; the first is the image as it is.
    attention : ndarray, shape (S,), or None
        Share of each position along the network's first axis in the plain pass, mean of the members.
    slices : ndarray, shape (S, 3)
        Middles of these positions, RAS+ mm.
    notes : list of str
        Sentences for the user on what is odd about the images.
    """

    values: FloatArray
    sd: FloatArray
    members: FloatArray
    passes: FloatArray
    attention: FloatArray | None
    slices: FloatArray
    notes: list[str] = field(default_factory=list)


def predict_case(
    volumes: Sequence[Array | None],
    affine: Affine,
    brain: MaskArray | None,
    spec: NetworkSpec,
    members: Sequence[CaseNetwork],
    variation: Variation | None = None,
) -> CasePrediction:
    """Probabilities or value of a case, with their spread under test-time variation [1]_.

    Parameters
    ----------
    volumes : sequence of (ndarray, shape (x, y, z), or None)
        One an input of the network, all on one grid; None where it is absent.
    affine : ndarray, shape (4, 4)
        Their voxels to RAS+ mm.
    brain : ndarray of bool, shape (x, y, z), or None
        Brain mask, where the network needs one.
    spec : NetworkSpec
        A classification or a regression, with the grid ``cube``.
    members : sequence of callable
        Networks of the ensemble.
    variation : Variation, optional
        How the case is varied.

    Raises
    ------
    DataError
        A needed image is missing, one cannot be scaled, or a network gives other numbers than `spec` says.

    References
    ----------
    .. [1] Wang et al., Aleatoric uncertainty estimation with test-time augmentation for medical image
       segmentation with convolutional neural networks, Neurocomputing 338 (2019) 34.
    """
    if not members:
        raise DataError(f"{spec.name} has no network", "name its members in its entry in the registry")
    if spec.grid.kind != "cube":
        problem = f"{spec.name} works on a grid of kind {spec.grid.kind}, of no fixed size"
        raise DataError(problem, "give a network of whole cases the grid kind cube in its entry")
    case = prepare(volumes, affine, brain, spec)
    passes = [
        np.stack([numbers_of(member, stack[np.newaxis], spec)[0] for member in members])
        for stack in varied(case, spec.grid.mirror, variation or Variation())
    ]
    numbers = np.stack(passes)
    means = numbers.mean(axis=1)
    found = [member.attend(case.stack[np.newaxis]) for member in members if isinstance(member, Attending)]
    attention = [item[0] for item in found if item is not None]
    return CasePrediction(
        means.mean(axis=0),
        means.std(axis=0, ddof=1) if len(means) > 1 else np.zeros(means.shape[1]),
        numbers.mean(axis=0),
        means,
        np.mean(attention, axis=0) if attention else None,
        slice_centres(case.grid),
        case.notes,
    )


def slice_centres(grid: NetworkGrid) -> FloatArray:
    """Middle of each position along the grid's first axis, shape (S, 3), RAS+ mm: where attention lies."""
    count, *others = grid.shape
    middle = [(size - 1) / 2 for size in others]
    voxels = np.array([[index, *middle, 1] for index in range(count)])
    return np.asarray((voxels @ grid.affine.T)[:, :3])


def varied(case: Prepared, mirror: Sequence[int], variation: Variation) -> Iterator[FloatVolume]:
    """Stacks of a case: as it is, mirrored along all choices of the axes, and randomly moved and mirrored."""
    yield case.stack
    flips = [axes for count in range(1, len(mirror) + 1) for axes in combinations(mirror, count)]
    for axes in flips:
        yield np.ascontiguousarray(np.flip(case.stack, [axis + 1 for axis in axes]))
    rng = np.random.default_rng(variation.seed)
    for _ in range(variation.count):
        mapping = _random_map(rng, case.grid, variation)
        moved = np.stack([linear(channel, mapping, case.grid.shape) for channel in case.stack])
        turned = [axis + 1 for axis in mirror if rng.uniform() < 0.5]
        yield np.ascontiguousarray(np.flip(moved, turned))


def numbers_of(member: CaseNetwork, batch: Batch, spec: NetworkSpec) -> FloatArray:
    """Probabilities (N, K) of the classes, or the values (N, 1) of a regression, of a batch.

    Raises
    ------
    DataError
        The network gives another number of outputs, or numbers that are not finite.
    """
    numbers = np.asarray(member(batch), dtype=np.float64)
    if numbers.shape != (len(batch), spec.outputs):
        problem = f"the network {spec.name} gives numbers of shape {numbers.shape} for {len(batch)} case(s)"
        raise DataError(problem, f"its entry says {spec.outputs} a case; mend the outputs in the entry")
    if not np.isfinite(numbers).all():
        raise DataError(f"the network {spec.name} gives NaN or infinite numbers", "look at the image")
    if spec.task == "regression" or spec.activation == "none":
        return numbers
    if spec.activation == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-numbers)))
    raised = np.exp(numbers - numbers.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _random_map(rng: np.random.Generator, grid: NetworkGrid, variation: Variation) -> Affine:
    """Where in the stack a voxel of a moved one comes from: voxels to voxels, shape (4, 4)."""
    angles = np.radians(rng.uniform(-variation.angle, variation.angle, 3))
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [other for other in range(3) if other != axis]
        step = np.eye(3)
        step[a, a] = step[b, b] = np.cos(angle)
        step[a, b], step[b, a] = -np.sin(angle), np.sin(angle)
        turn = step @ turn
    turn *= 1 + rng.uniform(-variation.size, variation.size)
    sizes = np.array(voxel_sizes(grid.affine))
    mapping = np.eye(4)
    mapping[:3, :3] = turn * sizes / sizes[:, None]
    middle = (np.array(grid.shape) - 1) / 2
    shift = rng.uniform(-variation.shift, variation.shift, 3) / sizes
    mapping[:3, 3] = middle + shift - mapping[:3, :3] @ middle
    return mapping
