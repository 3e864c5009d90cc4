"""Pictures of segmentations: outlines over three axial slices, and where they err."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture
from scipy import ndimage

from voxelome.imageio import voxel_sizes
from voxelome.segmentation.parts import box_of

RED, GREEN, YELLOW, BLUE = (255, 60, 60), (60, 255, 60), (255, 220, 0), (80, 160, 255)
_WIDTH = 400
_SLICES = 3
_FINER = 4


def draw(
    folder: Path | None,
    name: str,
    image: Any,
    affine: Any,
    masks: Sequence[tuple[Any, tuple[int, ...]]],
    *,
    on: Any = None,
) -> None:
    """Save slices of an image by itself and with the outline of each mask, the first one on top.

    Nothing is saved without a folder.

    Of two masks, ours and the reference, a third column shows the errors: red only ours, green only the
    reference. The slices are those that hold most of `on`, by default of the last mask.
    """
    if folder is None:
        return
    where = masks[-1][0] if on is None else on
    if not where.any():
        where = np.asarray(image != 0)
    box = box_of(image != 0)
    where, image = where[box], image[box]
    low, high = np.percentile(image[image != 0], [1, 99.7])
    gray = (np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    rows = []
    for level in _levels(where):
        plain = np.repeat(_finer(gray[:, :, level])[:, :, None], 3, axis=2)
        drawn = plain.copy()
        flat = [_finer(mask[box][:, :, level]) for mask, _ in masks]
        for mask, (_, colour) in list(zip(flat, masks, strict=True))[::-1]:
            drawn[mask & ~ndimage.binary_erosion(mask)] = colour
        panels = [plain, drawn]
        if len(masks) == 2:
            wrong = plain // 2
            wrong[flat[0] & ~flat[1]], wrong[flat[1] & ~flat[0]] = RED, GREEN
            panels.append(wrong)
        # Radiological: the patient's right on the left side.
        rows.append(np.concatenate([panel[::-1, ::-1].transpose(1, 0, 2) for panel in panels], axis=1))
    folder.mkdir(parents=True, exist_ok=True)
    sizes = voxel_sizes(affine)
    shown = Picture.fromarray(np.concatenate(rows))
    scale = _WIDTH / gray.shape[0] / _FINER
    shown.resize((int(shown.width * scale), int(shown.height * scale * sizes[1] / sizes[0]))).save(
        folder / f"{name}.png"
    )


def _finer(image: Any) -> Any:
    """Slice with more pixels than voxels, so that outlines hide little."""
    return np.kron(image, np.ones((_FINER, _FINER), dtype=image.dtype))


def colours(count: int) -> list[tuple[int, int, int]]:
    """Colours far apart."""
    return [(80 + value * 97 % 175, 80 + value * 53 % 175, 80 + value * 151 % 175) for value in range(count)]


def _levels(where: Any) -> list[int]:
    """Axial slices apart from each other that hold much of a mask."""
    areas = where.sum(axis=(0, 1))
    filled = np.flatnonzero(areas)
    thirds = np.array_split(filled, min(_SLICES, len(filled)))
    return [int(third[areas[third].argmax()]) for third in thirds[::-1]]
