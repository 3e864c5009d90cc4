"""The grid that a network works on: an image brought to it, and probabilities brought back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, MaskArray, voxel_sizes
from voxelome.segmentation.conform import SHAPE, conformed_affine
from voxelome.segmentation.interpolate import linear
from voxelome.segmentation.spec import GridSpec

FloatVolume = NDArray[np.float32]
Box = tuple[slice, slice, slice]

# Grids that differ by less than this (voxels, over the whole axis) are the same: headers round.
_SAME = 0.05


@dataclass(frozen=True)
class NetworkGrid:
    """Grid of a network's input beside the grid of the image that it was made for.

    Attributes
    ----------
    shape : tuple of int
    affine : ndarray, shape (4, 4)
        Voxels to world, RAS+ mm.
    native_shape : tuple of int
    native_affine : ndarray, shape (4, 4)
    box : tuple of slice
        Part of the image's grid that the network's covers.
    """

    shape: tuple[int, int, int]
    affine: Affine
    native_shape: tuple[int, int, int]
    native_affine: Affine

    @property
    def box(self) -> Box:
        """Part of the image's grid that the network's covers; may be empty."""
        return _covered(np.linalg.inv(self.native_affine) @ self.affine, self.shape, self.native_shape, 0)


def network_grid(
    shape: Sequence[int], affine: Affine, spec: GridSpec, brain: MaskArray | None = None
) -> NetworkGrid:
    """Grid that a network of `spec` works on.

    ``spacing`` and ``cube`` run along the image's own axes, flipped and swapped to the orientation nearest to
    the one wanted; ``conform`` is always LIA and square to the scanner. With `brain_only` or `crop` the grid
    is cut to the box of the brain and its margin (a ``cube`` then spans that box).

    Parameters
    ----------
    shape : sequence of 3 int
    affine : ndarray, shape (4, 4)
        Grid of the image, voxels to world, RAS+ mm.
    spec : GridSpec
    brain : ndarray of bool, shape `shape`, or None
        Brain mask; needed for a crop.

    Raises
    ------
    DataError
        The affine cannot be inverted, or the brain is missing or empty and the grid is cut to it.
    """
    native = (int(shape[0]), int(shape[1]), int(shape[2]))
    if abs(np.linalg.det(affine[:3, :3])) < np.finfo(np.float32).tiny:
        raise DataError("the affine has no inverse", "mend the image's header (sform and qform)")
    brain_box = _brain_box(brain, spec)
    if spec.kind == "conform":
        return _cut(SHAPE, conformed_affine(native, affine), native, affine, brain_box, spec.margin)
    ordered, turned = _reordered(native, affine, spec.orientation)
    if spec.kind == "cube":
        cut = _cut(ordered, turned, native, affine, brain_box, spec.margin)
        sizes = tuple(edge / count for edge, count in zip(cut.shape, spec.patch, strict=True))
        return NetworkGrid(spec.patch, _resized(cut.affine, cut.shape, spec.patch, sizes), native, affine)
    ratios = [_ratio(*pair) for pair in zip(spec.spacing, voxel_sizes(turned), ordered, strict=True)]
    counts = [
        max(1, int(np.ceil(count / ratio - 1e-3))) for count, ratio in zip(ordered, ratios, strict=True)
    ]
    whole = (counts[0], counts[1], counts[2])
    return _cut(whole, _resized(turned, ordered, whole, ratios), native, affine, brain_box, spec.margin)


def to_network(volume: Array, target: NetworkGrid) -> FloatVolume:
    """Image on the network's grid, interpolated linearly, smoothed first along axes that get coarser.

    Parameters
    ----------
    volume : ndarray, shape `target.native_shape`
    target : NetworkGrid

    Returns
    -------
    ndarray of float32, shape `target.shape`
    """
    return linear(volume, np.linalg.inv(target.native_affine) @ target.affine, target.shape)


def from_network(
    probabilities: Iterable[Array], source: NetworkGrid, background: bool = True
) -> Iterator[FloatVolume]:
    """Probabilities on the image's grid, one channel after the other, only inside of `source.box`.

    Parameters
    ----------
    probabilities : iterable of ndarray, shape `source.shape`
        Channels, the background first.
    source : NetworkGrid
    background : bool
        Whether the first channel is the background: it is 1 where the network's grid does not reach, and the
        others are 0.

    Yields
    ------
    ndarray of float32, the shape of the box
    """
    back = np.linalg.inv(source.affine) @ source.native_affine
    start = np.eye(4)
    start[:3, 3] = [part.start for part in source.box]
    mapping = back @ start
    shape = tuple(part.stop - part.start for part in source.box)
    for index, channel in enumerate(probabilities):
        if index == 0 and background:
            # One minus what is no background: then everything beyond the grid is background.
            yield 1 - linear(1 - channel, mapping, shape)
        else:
            yield linear(channel, mapping, shape)


def _reordered(shape: tuple[int, int, int], affine: Affine, axes: str) -> tuple[tuple[int, int, int], Affine]:
    """Shape and affine after flips and swaps to the order nearest to `axes`."""
    wanted = nib.orientations.axcodes2ornt(tuple(axes))
    change = nib.orientations.ornt_transform(nib.io_orientation(affine), wanted)
    turned = affine @ nib.orientations.inv_ornt_aff(change, shape)
    counts = [0, 0, 0]
    for old, new in enumerate(change[:, 0].astype(int)):
        counts[new] = shape[old]
    return (counts[0], counts[1], counts[2]), turned


def _ratio(wanted: float, size: float, count: int) -> float:
    """New voxel size in old voxels; exactly 1 where the difference is a header's rounding."""
    ratio = wanted / size
    return 1.0 if abs(ratio - 1) * count < _SAME else ratio


def _resized(
    affine: Affine, shape: tuple[int, ...], counts: tuple[int, ...], ratios: Sequence[float]
) -> Affine:
    """Affine of a grid of `counts` voxels, `ratios` old voxels long, with the same middle."""
    change = np.diag([*ratios, 1.0])
    for axis, (old, new) in enumerate(zip(shape, counts, strict=True)):
        change[axis, 3] = (old - 1) / 2 - ratios[axis] * (new - 1) / 2
    resized: Affine = affine @ change
    return resized


def _brain_box(brain: MaskArray | None, spec: GridSpec) -> Box | None:
    """Box of the brain in the image; None where the grid is not cut to it."""
    if not (spec.brain_only or spec.crop):
        return None
    if brain is None:
        raise DataError("the network looks at the brain only, and there is no brain mask", "give one")
    if not brain.any():
        raise DataError("the brain mask is empty", "check the brain extraction")
    found = [np.flatnonzero(brain.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    first, second, third = (slice(int(where[0]), int(where[-1]) + 1) for where in found)
    return first, second, third


def _cut(
    shape: tuple[int, int, int],
    affine: Affine,
    native_shape: tuple[int, int, int],
    native_affine: Affine,
    box: Box | None,
    margin: float,
) -> NetworkGrid:
    """Grid of `shape` and `affine`, cut to where it covers the box of the image and a margin in mm."""
    if box is None:
        return NetworkGrid(shape, affine, native_shape, native_affine)
    start = np.eye(4)
    start[:3, 3] = [part.start for part in box]
    counts = tuple(part.stop - part.start for part in box)
    mapping = np.linalg.inv(affine) @ native_affine @ start
    part = _covered(mapping, counts, shape, margin / np.array(voxel_sizes(affine)))
    moved = np.eye(4)
    moved[:3, 3] = [axis.start for axis in part]
    first, second, third = (axis.stop - axis.start for axis in part)
    if min(first, second, third) == 0:
        problem = "the brain lies outside of the network's field of view"
        raise DataError(problem, "check the brain mask, and the image's position in its header")
    return NetworkGrid((first, second, third), affine @ moved, native_shape, native_affine)


def _covered(
    mapping: Affine, counts: Sequence[int], shape: Sequence[int], margin: float | NDArray[np.float64]
) -> Box:
    """Part of a grid of `shape` whose voxel centres can lie in another of `counts` voxels and a margin."""
    ends = [(-0.5, count - 0.5) for count in counts]
    corners = np.array(np.meshgrid(*ends, [1.0], indexing="ij")).reshape(4, -1)
    reached = (mapping @ corners)[:3]
    low = np.ceil(reached.min(axis=1) - margin - 1e-3).astype(int)
    high = np.floor(reached.max(axis=1) + margin + 1e-3).astype(int) + 1
    low = np.clip(low, 0, shape)
    high = np.clip(high, low, shape)
    first, second, third = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return first, second, third
