"""Segmentation of one case by a network or an ensemble: labels, probabilities, and how sure they are."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, MaskArray
from voxelome.segmentation.engine import CPU, Batch, Forward, Network
from voxelome.segmentation.grids import NetworkGrid, from_network, network_grid
from voxelome.segmentation.memory import activation_memory, check_memory, memory_needed
from voxelome.segmentation.prepare import check_inputs, prepare
from voxelome.segmentation.spec import NetworkSpec
from voxelome.segmentation.uncertainty import most_entropy, surprise
from voxelome.segmentation.windows import Mapped, probabilities_of

FloatVolume = NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """A segmentation on the grid of the images.

    Attributes
    ----------
    labels : ndarray of int16, shape (x, y, z)
        0 is the background. All 0 where nothing was found, which is a result.
    probabilities : dict of int to ndarray of float32, shape (x, y, z)
        Of the labels that were asked for, from 0 to 1.
    entropy : ndarray of float32, shape (x, y, z)
        Of the mean probability, from 0 (sure) to 1 (all classes alike).
    disagreement : ndarray of float32, shape (x, y, z)
        Mutual information between the passes and the answer (BALD), from 0 to 1. It is 0 everywhere with one
        pass, which has nothing to disagree with.
    passes : int
        Members times mirrored passes.
    network_seconds : float
        Time spent in the networks.
    seconds : float
        Time of everything, the networks' included.
    notes : list of str
        Sentences for the user on what is odd.
    """

    labels: NDArray[np.int16]
    probabilities: dict[int, FloatVolume]
    entropy: FloatVolume
    disagreement: FloatVolume
    passes: int
    network_seconds: float
    seconds: float
    notes: list[str] = field(default_factory=list)


def segment(
    volumes: Sequence[Array | None],
    affine: Affine,
    brain: MaskArray | None,
    spec: NetworkSpec,
    members: Sequence[Forward],
    wanted_probabilities: Iterable[int] = (),
) -> Prediction:
    """Segmentation of one case.

    The images go to the network's grid, the members' probabilities are averaged over windows, mirrored passes
    and members, and come back to the images' grid by linear interpolation, class by class, before the largest
    is taken (``sigmoid``: before each is compared with one half).

    Parameters
    ----------
    volumes : sequence of (ndarray, shape (x, y, z), or None)
        One for each input of `spec`, on one grid; None where there is no such image.
    affine : ndarray, shape (4, 4)
        Voxels to world, RAS+ mm.
    brain : ndarray of bool, shape (x, y, z), or None
        Brain mask, where `spec` needs one.
    spec : NetworkSpec
    members : sequence of callables
        Networks of the ensemble, such as :func:`~voxelome.segmentation.engine.open_members` gives.
    wanted_probabilities : iterable of int
        Labels whose probabilities are kept.

    Raises
    ------
    DataError
        An image that the network needs is missing, the images do not fit together or hold what no network can
        take, a label asked for is not the network's, or there is not enough memory.
    """
    start = time.perf_counter()
    wanted = _known(wanted_probabilities, spec)
    shape = check_inputs(volumes, brain, spec)
    if not members:
        raise DataError(f"{spec.name} has no network", "name its members in its entry in the registry")
    _check_memory(shape, network_grid(shape, affine, spec.grid, brain), spec, members, len(wanted))
    ready = prepare(volumes, affine, brain, spec)
    timed = [_Timed(member) for member in members]
    mapped = probabilities_of(ready.stack, timed, spec.grid, spec.outputs, spec.activation, ready.inside)
    labels, entropy, kept = _decide(mapped, ready.grid, spec, wanted)
    return Prediction(
        labels=labels,
        probabilities=kept,
        entropy=entropy,
        disagreement=_spread_of(mapped, ready.grid),
        passes=mapped.passes,
        network_seconds=sum(member.seconds for member in timed),
        seconds=time.perf_counter() - start,
        notes=ready.notes,
    )


def _decide(
    mapped: Mapped, grid: NetworkGrid, spec: NetworkSpec, wanted: Sequence[int]
) -> tuple[NDArray[np.int16], FloatVolume, dict[int, FloatVolume]]:
    """Labels, entropy and probabilities wanted: one channel at a time, so that few are there at once."""
    binary = spec.activation == "sigmoid"
    box = grid.box
    labels = np.zeros(grid.native_shape, dtype=np.int16)
    unsure = np.zeros(grid.native_shape, dtype=np.float32)
    kept = {label: np.zeros(grid.native_shape, dtype=np.float32) for label in wanted}
    values = [*([] if binary else [0]), *spec.labels]
    inside, total = labels[box], unsure[box]
    # A label must have more than the background, or, where each is a question of its own, than one half.
    best = np.full(inside.shape, 0.5, dtype=np.float32)
    channels = from_network(mapped.probabilities, grid, background=not binary)
    for value, channel in zip(values, channels, strict=True):
        total += surprise(channel, binary)
        if value in kept:
            kept[value][box] = np.clip(channel, 0, 1)
        if value == 0:
            best = channel.copy()
            continue
        inside[channel > best] = value
        if not binary:
            np.maximum(best, channel, out=best)
    total /= np.float32(most_entropy(spec.outputs, binary))
    return labels, unsure, kept


def _spread_of(mapped: Mapped, grid: NetworkGrid) -> FloatVolume:
    """Disagreement on the images' grid."""
    result = np.zeros(grid.native_shape, dtype=np.float32)
    if mapped.disagreement is not None:
        (result[grid.box],) = from_network([mapped.disagreement], grid, background=False)
    return result


def _known(labels: Iterable[int], spec: NetworkSpec) -> list[int]:
    """Labels asked for, each once."""
    wanted = sorted(set(labels))
    unknown = [label for label in wanted if label not in spec.labels]
    if unknown:
        known = ", ".join(f"{value} ({name})" for value, name in spec.labels.items())
        problem = f"{spec.name} has no label {', '.join(map(str, unknown))}"
        raise DataError(problem, f"its labels are {known}")
    return wanted


def _check_memory(
    shape: Sequence[int], grid: NetworkGrid, spec: NetworkSpec, members: Sequence[Forward], kept: int
) -> None:
    window = grid.shape if spec.grid.kind == "conform" else spec.grid.patch
    # A GPU has memory of its own, which nothing here knows.
    own = [member for member in members if isinstance(member, Network) and member.provider == CPU]
    batch = (1, spec.channels, *window)
    activations = max((activation_memory(member.path, batch) for member in own), default=0)
    check_memory(memory_needed(spec, grid.shape, shape, activations, kept))


class _Timed:
    """A member, and the time spent in it."""

    def __init__(self, member: Forward) -> None:
        self._member = member
        self.seconds = 0.0

    def __call__(self, batch: Batch, /) -> Batch:
        start = time.perf_counter()
        result = self._member(batch)
        self.seconds += time.perf_counter() - start
        return result
