"""Connected parts of a mask: voxels that share a face, an edge or a corner belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Array, MaskArray

Parts = NDArray[np.int32]
Box = tuple[slice, ...]
# 26 neighbours.
TOUCHING = np.ones((3, 3, 3), dtype=bool)


def connected_parts(mask: MaskArray) -> tuple[Parts, int]:
    """Number of the connected part that each voxel belongs to (0: none), and the count of parts.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)

    Raises
    ------
    DataError
        The mask is not 3D.
    """
    if mask.ndim != 3:
        raise DataError(f"the mask has {mask.ndim} dimensions, not 3", "give one 3D image")
    parts = np.zeros(mask.shape, dtype=np.int32)
    box = box_of(mask)
    count = 0
    if box is not None:
        count = int(ndimage.label(mask[box], structure=TOUCHING, output=parts[box]))
    return parts, count


def part_sizes(parts: Parts, count: int) -> NDArray[np.int64]:
    """Voxels of each part, shape (count,)."""
    return np.bincount(parts.ravel(), minlength=count + 1)[1 : count + 1]


def boxes_of(parts: Parts, margin: int = 0) -> Iterator[tuple[int, Box]]:
    """Each part's number and the box around it, `margin` voxels wider where the image goes on."""
    for index, box in enumerate(ndimage.find_objects(parts)):
        if box is not None:
            yield index + 1, _wider(box, margin, parts.shape)


def box_of(mask: MaskArray, margin: int = 0) -> Box | None:
    """Box around a mask, `margin` voxels wider where the image goes on; None of an empty mask."""
    found = ndimage.find_objects(mask.view(np.uint8) if mask.flags.c_contiguous else mask.astype(np.uint8))
    return _wider(found[0], margin, mask.shape) if found else None


def _wider(box: Box, margin: int, shape: Sequence[int]) -> Box:
    return tuple(
        slice(max(0, side.start - margin), min(size, side.stop + margin))
        for side, size in zip(box, shape, strict=True)
    )


def dice(one: MaskArray, other: MaskArray, empty: float = float("nan")) -> float:
    """Dice overlap of two masks; `empty` where both are empty.

    Examples
    --------
    >>> dice(np.array([True, True, False]), np.array([True, False, False]))
    0.6666666666666666
    """
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else empty


def voxel_ml(spacing: Sequence[float]) -> float:
    """Volume of a voxel in ml.

    Raises
    ------
    DataError
        Not three positive sizes.
    """
    sizes = tuple(float(size) for size in spacing)
    if len(sizes) != 3 or not all(np.isfinite(size) and size > 0 for size in sizes):
        raise DataError(f"the voxel sizes {sizes} are not three positive numbers", "give them in mm")
    return sizes[0] * sizes[1] * sizes[2] / 1000


def same_shape(shape: tuple[int, ...], **images: Array | None) -> None:
    """Refuse images whose shape is not `shape`, naming the first such one.

    Raises
    ------
    DataError
    """
    for name, image in images.items():
        if image is not None and image.shape != shape:
            raise DataError(
                f"{name.replace('_', ' ')} has the shape {image.shape}, not {shape}",
                "resample it to the grid of the others",
            )
