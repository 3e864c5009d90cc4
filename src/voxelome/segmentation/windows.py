"""Probabilities of a whole image from a network that sees a window of it at a time.

References
----------
Isensee et al., nnU-Net, Nat Methods 18 (2021) 203: windows that overlap, each weighted by a Gaussian of 1/8
of its size, and mirrored passes. Disagreement is the mutual information of Houlsby et al., arXiv:1112.5745
(BALD).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.imageio import MaskArray
from voxelome.segmentation.engine import Forward
from voxelome.segmentation.spec import Activation, GridSpec
from voxelome.segmentation.uncertainty import entropy

FloatArray = NDArray[np.float32]
Window = tuple[slice, slice, slice]

_SIGMA = 1 / 8


@dataclass(frozen=True)
class Mapped:
    """Probabilities of an image.

    Attributes
    ----------
    probabilities : ndarray of float32, shape (K, x, y, z)
    disagreement : ndarray of float32, shape (x, y, z), or None
        Mutual information between the passes and the answer, from 0 (all alike) to 1; None with one pass.
    passes : int
        Members of the ensemble times mirrored passes.
    """

    probabilities: FloatArray
    disagreement: FloatArray | None
    passes: int


def probabilities_of(
    stack: FloatArray,
    members: Sequence[Forward],
    grid: GridSpec,
    outputs: int,
    activation: Activation,
    inside: MaskArray | None = None,
) -> Mapped:
    """Mean probabilities of the members and of their mirrored passes.

    Parameters
    ----------
    stack : ndarray of float32, shape (C, x, y, z)
    members : sequence of callables
        Each takes (1, C, *patch) to (1, K, *patch).
    grid : GridSpec
        Window, overlap and mirrored axes. Smaller images are filled up with zeros on both sides. With the
        kind ``conform`` the whole image is the window.
    outputs : int
        K.
    activation : {'softmax', 'sigmoid', 'none'}
        What is applied to the members' outputs.
    inside : ndarray of bool, shape (x, y, z), or None
        A window without any of it is left out: it is background.

    Raises
    ------
    DataError
        A member gives another shape, or values that are not finite.
    """
    shape = stack.shape[1:]
    patch = shape if grid.kind == "conform" else grid.patch
    room = [
        (max(0, size - count) // 2, max(0, size - count + 1) // 2)
        for size, count in zip(patch, shape, strict=True)
    ]
    if any(before or after for before, after in room):
        stack = np.pad(stack, [(0, 0), *room])
        inside = None if inside is None else np.pad(inside, room)
    windows = [part for part in _windows(stack.shape[1:], patch, grid.overlap) if _seen(inside, part)]
    passes = len(members) * 2 ** len(grid.mirror)
    ensemble = _Ensemble(members, grid.mirror, outputs, activation)
    mapped, unsure = _blend(stack, windows, ensemble, outputs, passes > 1)
    middle = tuple(slice(before, before + count) for (before, _), count in zip(room, shape, strict=True))
    return Mapped(mapped[(slice(None), *middle)], None if unsure is None else unsure[middle], passes)


def _blend(
    stack: FloatArray, windows: Sequence[Window], ensemble: _Ensemble, outputs: int, several: bool
) -> tuple[FloatArray, FloatArray | None]:
    """Mean of the windows by their weights; where none reaches, the background."""
    shape = stack.shape[1:]
    if len(windows) == 1 and all(
        part.stop - part.start == size for part, size in zip(windows[0], shape, strict=True)
    ):
        return ensemble(stack)
    total = np.zeros((outputs, *shape), dtype=np.float32)
    unsure = np.zeros(shape, dtype=np.float32) if several else None
    weights = np.zeros(shape, dtype=np.float32)
    weight = _gaussian([part.stop - part.start for part in windows[0]]) if windows else weights
    for window in windows:
        part = stack[(slice(None), *window)]
        _add(
            total[(slice(None), *window)], None if unsure is None else unsure[window], weight, ensemble(part)
        )
        weights[window] += weight
    empty = weights == 0
    weights[empty] = 1
    total /= weights
    if unsure is not None:
        unsure /= weights
    if ensemble.has_background:
        total[0][empty] = 1
    return total, unsure


def _add(
    total: FloatArray,
    unsure: FloatArray | None,
    weight: FloatArray,
    found: tuple[FloatArray, FloatArray | None],
) -> None:
    """Add a window's probabilities and disagreement to the sums; the window's own are used up."""
    here, differ = found
    here *= weight
    total += here
    if unsure is not None and differ is not None:
        unsure += weight * differ


class _Ensemble:
    """Mean probabilities of all passes over one window, and how far the passes disagree."""

    def __init__(
        self, members: Sequence[Forward], mirror: Sequence[int], outputs: int, activation: Activation
    ) -> None:
        self._members = members
        self._outputs = outputs
        self._activation = activation
        self._flips = list(chain.from_iterable(combinations(mirror, n) for n in range(len(mirror) + 1)))
        self.has_background = activation != "sigmoid"

    def __call__(self, window: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Mean (K, ...), and disagreement (...) or None with one pass."""
        passes = list(product(self._flips, self._members))
        mean = self._pass(window, *passes[0])
        if len(passes) == 1:
            return mean, None
        within = entropy(mean, not self.has_background)
        for flip, member in passes[1:]:
            self._add(mean, within, self._pass(window, flip, member))
        mean /= np.float32(len(passes))
        within /= np.float32(len(passes))
        # What rounding leaves below 0.
        return mean, np.maximum(entropy(mean, not self.has_background) - within, 0)

    def _add(self, mean: FloatArray, within: FloatArray, probabilities: FloatArray) -> None:
        mean += probabilities
        within += entropy(probabilities, not self.has_background)

    def _pass(self, window: FloatArray, flip: tuple[int, ...], member: Forward) -> FloatArray:
        # Axes 2, 3, 4 of a batch.
        axes = tuple(2 + axis for axis in flip)
        result = member(np.ascontiguousarray(np.flip(window[np.newaxis], axes)))
        expected = (1, self._outputs, *window.shape[1:])
        if result.shape != expected:
            problem = f"the network gives an array of {result.shape}, not {expected}"
            raise DataError(problem, "mend outputs and patch in its entry in the registry")
        probabilities = activate(result[0], self._activation)
        # In the memory order of the window, which every later step reads along.
        return np.ascontiguousarray(np.flip(probabilities, tuple(1 + axis for axis in flip)))


def activate(outputs: FloatArray, activation: Activation) -> FloatArray:
    """Probabilities, computed in place, from outputs of shape (K, ...).

    Raises
    ------
    DataError
        The outputs are not finite.
    """
    if not np.isfinite(outputs.sum(dtype=np.float64)):
        raise DataError(
            "the network gives values that are not finite", "look at the image, and verify the network's file"
        )
    if not outputs.flags.writeable:
        outputs = outputs.copy()
    # Slab by slab, because a slab of all channels fits into the cache.
    for slab in np.moveaxis(outputs, 1, 0) if outputs.ndim > 2 else [outputs]:
        if activation == "softmax":
            _softmax(slab)
        elif activation == "sigmoid":
            _sigmoid(slab)
    return outputs


def _softmax(outputs: FloatArray) -> None:
    outputs -= outputs.max(axis=0)
    np.exp(outputs, out=outputs)
    outputs /= outputs.sum(axis=0)


def _sigmoid(outputs: FloatArray) -> None:
    # exp of a large number would be infinite: right in the end, but with a warning.
    np.negative(np.clip(outputs, -80, 80, out=outputs), out=outputs)
    np.exp(outputs, out=outputs)
    outputs += 1
    np.reciprocal(outputs, out=outputs)


def _windows(shape: Sequence[int], patch: Sequence[int], overlap: float) -> Iterator[Window]:
    """Windows that cover a grid, spread evenly, neighbours sharing at least `overlap` of their width."""
    starts = []
    for size, edge in zip(shape, patch, strict=True):
        step = max(1.0, edge * (1 - overlap))
        count = int(np.ceil((size - edge) / step - 1e-9)) + 1
        starts.append(np.rint(np.linspace(0, size - edge, count)).astype(int))
    for x, y, z in product(*starts):
        yield slice(x, x + patch[0]), slice(y, y + patch[1]), slice(z, z + patch[2])


def _gaussian(shape: Sequence[int]) -> FloatArray:
    """Weights of a window, 1 in its middle."""
    along = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n * _SIGMA)) ** 2) for n in shape]
    first, second, third = along
    weight = first[:, np.newaxis, np.newaxis] * second[:, np.newaxis] * third
    return np.asarray(weight, dtype=np.float32)


def _seen(inside: MaskArray | None, window: Window) -> bool:
    return inside is None or bool(inside[window].any())
