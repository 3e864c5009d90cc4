"""Mosaics of slices as PNG: what the eye needs to judge an image, a mask, a registration.

Numpy and Pillow draw straight into a palette image: no plotting library, a fraction of a second each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from PIL import Image

from voxelome.imageio import Affine, Array, FloatArray, MaskArray
from voxelome.reports.canvas import LEVELS, Canvas, Levels, contour_colour
from voxelome.reports.view import AXES, GAP, check_grid, filled_bounds, make_view, mask_bounds, positions

Plane = Literal["axial", "coronal", "sagittal"]

# Letters at the left, right, top and bottom: radiological, so the patient's right is on the left.
_LETTERS = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
_HALF = 0.5


def mosaic(
    data: Array,
    affine: Affine,
    *,
    window: tuple[float, float] | None = None,
    overlay: Array | None = None,
    names: Mapping[int, str] | None = None,
    planes: Sequence[Plane] = ("axial", "coronal", "sagittal"),
    slices: int = 6,
    box: MaskArray | None = None,
    crop: MaskArray | None = None,
    unit: str | None = None,
    width: int = 960,
) -> bytes:
    """Slices through an image as one PNG, a row a plane, radiological, at the right aspect.

    Axial slices go from inferior to superior, coronal from posterior to anterior, sagittal from the
    patient's right to left. Each says its world coordinate in mm. Two mosaics with the same grid,
    `box`, `crop`, `planes`, `slices` and `width` show the same anatomy at the same pixels.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
        Image on a RAS+ grid. Values that are not finite count as background, 0.
    affine : ndarray, shape (4, 4)
        Voxel indices to world coordinates (RAS+, mm).
    window : (float, float), optional
        Values shown darkest and brightest; by default percentiles 1 and 99.5 of the nonzero values
        (inside `crop` where given).
    overlay : ndarray, shape (x, y, z), optional
        Mask or labels, drawn as outlines; 0 is background.
    names : mapping of int to str, optional
        Name of each label, for a legend.
    planes : sequence of {'axial', 'coronal', 'sagittal'}
        Rows, from the top.
    slices : int
        Slices in each row.
    box : ndarray of bool, shape (x, y, z), optional
        Slices are spread over its bounding box; by default over what `crop` or the image fills.
    crop : ndarray of bool, shape (x, y, z), optional
        Its bounding box, and a small margin, is the field of view; by default what the image fills.
    unit : str, optional
        Unit of the values; a bar of grays is drawn where it is given.
    width : int
        Width in pixels.

    Returns
    -------
    bytes
        A PNG file; the same input gives the same bytes.

    Raises
    ------
    DataError
        The image is not 3D, the grid is not RAS+, or the overlay, box or crop is on another grid.
    """
    check_grid(data, affine, overlay, box, crop)
    values = np.asarray(data, dtype=np.float32)
    values = np.where(np.isfinite(values), values, np.float32(0))
    shown = mask_bounds(crop) if crop is not None and crop.any() else filled_bounds(values)
    through = mask_bounds(box) if box is not None and box.any() else shown
    view = make_view(shown, affine, values.shape, planes, (width - GAP * (slices + 1)) // slices)
    limits = _limits(window or _window(values, crop))
    hide_zero = limits[0] < 0
    height = sum(view.pixels(plane)[1] + GAP for plane in planes) + GAP
    canvas = Canvas(width, height)
    labels = _labels(overlay)
    top = GAP
    for plane in planes:
        axis = AXES[plane][0]
        chosen = positions(*through[axis], slices, values.shape[axis])
        wide, high = view.pixels(plane)
        # From the patient's right to the left, as the other planes show it.
        for column, index in enumerate(chosen[::-1] if plane == "sagittal" else chosen):
            left = GAP + column * (view.cell + GAP) + (view.cell - wide) // 2
            tile = _tile(view.cut(values, plane, index), (wide, high), limits, background_black=hide_zero)
            canvas.paste(left, top, tile)
            if overlay is not None:
                canvas.draw_over(left, top, _outline(view.cut(overlay, plane, index), (wide, high), labels))
            canvas.note(left + wide - 2, top + high - 2, view.coordinate(affine, plane, index))
            if column == 0:
                canvas.letters((left, top, wide, high), _LETTERS[plane])
        top += high + GAP
    canvas.footer(limits if unit is not None else None, unit or "", _legend(labels, names))
    return canvas.png()


def _limits(window: tuple[float, float]) -> tuple[float, float]:
    """Values shown darkest and brightest, in order and never equal."""
    low, high = window
    return low, high if high > low else low + 1.0


def _window(values: FloatArray, crop: MaskArray | None) -> tuple[float, float]:
    inside = values[crop] if crop is not None and crop.any() else values
    inside = inside[inside != 0]
    if inside.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(inside[:: max(1, inside.size // 500_000)], (1, 99.5))
    return float(low), float(high)


def _resized(picture: Array, size: tuple[int, int], filter_: Image.Resampling) -> FloatArray:
    image = Image.fromarray(np.ascontiguousarray(picture, dtype=np.float32))
    return np.asarray(image.resize(size, filter_), dtype=np.float32)


def _tile(
    picture: FloatArray, size: tuple[int, int], limits: tuple[float, float], *, background_black: bool
) -> Levels:
    """Slice as levels of gray."""
    low, high = limits
    shade = (_resized(picture, size, Image.Resampling.BICUBIC) - low) / (high - low)
    levels: Levels = np.clip(np.rint(shade * (LEVELS - 1)), 0, LEVELS - 1).astype(np.uint8)
    if background_black:
        # A z-score is 0 where there is no image; mid-gray there would look like tissue.
        levels[_resized(picture != 0, size, Image.Resampling.BILINEAR) < _HALF] = 0
    return levels


def _labels(overlay: Array | None) -> Array:
    """Label values that occur, in ascending order, without 0."""
    if overlay is None:
        return np.empty(0)
    if overlay.dtype == np.bool_ or (np.issubdtype(overlay.dtype, np.integer) and overlay.min() >= 0):
        return np.asarray(np.flatnonzero(np.bincount(overlay.ravel())[1:]) + 1)
    return np.setdiff1d(overlay, [0])


def _outline(picture: Array, size: tuple[int, int], labels: Array) -> Levels:
    """Palette entry of the outline at each pixel, 0 where there is none."""
    width, height = size
    drawn: Levels = np.zeros((height, width), dtype=np.uint8)
    for label in np.unique(picture[picture != 0]):
        inside = _resized(picture == label, size, Image.Resampling.BILINEAR) >= _HALF
        rows, columns = np.nonzero(picture == label)
        # A lesion smaller than a pixel is still seen: the pixel of each voxel's centre belongs to it.
        inside[
            ((rows + 0.5) * height / picture.shape[0]).astype(int),
            ((columns + 0.5) * width / picture.shape[1]).astype(int),
        ] = True
        padded = np.pad(inside, 1)
        core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        drawn[inside & ~core] = contour_colour(int(np.searchsorted(labels, label)) + 1)
    return drawn


def _legend(labels: Array, names: Mapping[int, str] | None) -> list[tuple[int, str]]:
    """Palette entry and name of each label that occurs and has a name."""
    ranked = enumerate((int(value) for value in labels), 1)
    return [(contour_colour(rank), names[value]) for rank, value in ranked if names and value in names]
