"""Which slices of a volume are shown, and how its voxels become pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, MaskArray, voxel_sizes

Bounds = list[tuple[int, int]]

AXES: dict[str, tuple[int, int, int]] = {"axial": (2, 0, 1), "coronal": (1, 0, 2), "sagittal": (0, 1, 2)}
"""Axis that the slices of a plane go through, axis across the picture, axis up the picture."""

GAP = 5
"""Pixels between tiles."""

_DIMENSIONS = 3
_MARGIN = 0.05


@dataclass(frozen=True)
class View:
    """How voxels become pixels.

    Attributes
    ----------
    field : list of (int, int)
        Field of view: first index and one past the last, along each axis.
    spacing : tuple of float
        Voxel sizes in mm.
    scale : float
        Pixels a mm, the same for all planes.
    cell : int
        Width in pixels that each slice may take.
    """

    field: Bounds
    spacing: tuple[float, ...]
    scale: float
    cell: int

    def cut(self, data: Array, plane: str, index: int) -> Array:
        """Slice as a picture, a pixel a voxel: superior or anterior on top, right or anterior left."""
        through, across, up = AXES[plane]
        where: list[int | slice] = [0, 0, 0]
        where[through] = index
        where[across], where[up] = (slice(*self.field[axis]) for axis in (across, up))
        return np.asarray(data[tuple(where)][::-1, ::-1].T)

    def pixels(self, plane: str) -> tuple[int, int]:
        """Width and height in pixels of a slice."""
        _, across, up = AXES[plane]
        return self._length(across), self._length(up)

    def _length(self, axis: int) -> int:
        low, high = self.field[axis]
        return max(1, round((high - low) * self.spacing[axis] * self.scale))

    def coordinate(self, affine: Affine, plane: str, index: int) -> str:
        """World coordinate of a slice in the middle of the field of view, such as ``z -12``."""
        axis = AXES[plane][0]
        voxel = np.array([(low + high - 1) / 2 for low, high in self.field] + [1.0])
        voxel[axis] = index
        return f"{'xyz'[axis]} {round(float(affine[axis] @ voxel))}"


def make_view(
    shown: Bounds, affine: Affine, shape: tuple[int, ...], planes: Sequence[str], cell: int
) -> View:
    """View of bounds and a margin around them, scaled so that the widest plane fills its cell."""
    field = []
    for (low, high), size in zip(shown, shape, strict=True):
        margin = max(1, round(_MARGIN * (high - low)))
        field.append((max(0, low - margin), min(size, high + margin)))
    spacing = voxel_sizes(affine)
    extents = [(high - low) * size for (low, high), size in zip(field, spacing, strict=True)]
    return View(field, spacing, cell / max(extents[AXES[plane][1]] for plane in planes), cell)


def check_grid(data: Array, affine: Affine, *others: Array | None) -> None:
    """Refuse what would be drawn wrongly, above all a grid that would swap left and right."""
    if data.ndim != _DIMENSIONS or 0 in data.shape:
        raise DataError(f"the image has shape {data.shape}", "give one 3D volume")
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    nearest = np.argmax(np.abs(directions), axis=0)
    if nearest.tolist() != [0, 1, 2] or (np.diag(directions) <= 0).any():
        raise DataError("the image's axes are not RAS+", "reorient it to RAS+ before it is drawn")
    for other in others:
        if other is not None and other.shape != data.shape:
            problem = f"a mask of shape {other.shape} lies over an image of shape {data.shape}"
            raise DataError(problem, "resample the mask to the image")


def mask_bounds(mask: MaskArray) -> Bounds:
    """First index and one past the last index of a mask along each axis."""
    found = []
    for axis in range(_DIMENSIONS):
        hits = np.flatnonzero(mask.any(axis=_others(axis)))
        found.append((int(hits[0]), int(hits[-1]) + 1))
    return found


def filled_bounds(values: FloatArray) -> Bounds:
    """Bounds of what the image fills: noise in air and single bright voxels do not count."""
    magnitude = np.abs(values)
    nonzero = magnitude[magnitude > 0]
    if nonzero.size == 0:
        return [(0, size) for size in values.shape]
    solid = magnitude > 0.1 * np.percentile(nonzero[:: max(1, nonzero.size // 500_000)], 99)
    found = []
    for axis in range(_DIMENSIONS):
        profile = solid.mean(axis=_others(axis))
        hits = np.flatnonzero(profile > 0.02 * profile.max())
        found.append((int(hits[0]), int(hits[-1]) + 1))
    return found


def positions(low: int, high: int, count: int, size: int) -> list[int]:
    """Slice numbers spread over [low, high); where that is thinner than `count`, its neighbours too."""
    extent = high - low
    if extent >= count:
        return [low + int((i + 0.5) * extent / count) for i in range(count)]
    start = min(max(0, (low + high - count + 1) // 2), max(0, size - count))
    return list(range(start, min(start + count, size)))


def _others(axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(_DIMENSIONS) if other != axis)
