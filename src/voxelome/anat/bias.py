"""Bias field correction with N4, and a rough mask of the head."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from voxelome.ants_image import AntsImage, run_ants
from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, MaskArray, voxel_sizes
from voxelome.regions import largest_region, otsu_threshold

# N4 fits a smooth field: it needs no finer grid than this (mm).
WORKING_SPACING = 8.0
ITERATIONS = (50, 50, 30)
# Distance (mm) between the control points of the coarsest B-spline.
KNOTS = 200


def correct_bias(
    data: Array,
    affine: Affine,
    mask: MaskArray,
    *,
    iterations: tuple[int, ...] = ITERATIONS,
    working_spacing: float = WORKING_SPACING,
) -> tuple[FloatArray, FloatArray]:
    """Image without its bias field, and the field.

    N4 (Tustison 2010) is fitted on a coarse grid inside the mask; the field is smooth, so it is brought
    back to the image's grid by cubic interpolation of its logarithm. It has geometric mean 1 in the mask.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
        Values; negative ones (from earlier interpolation) are clipped for the fit.
    affine : ndarray, shape (4, 4)
    mask : ndarray of bool, shape (x, y, z)
        Where the field is fitted.
    iterations : tuple of int
        Most iterations of each level.
    working_spacing : float
        Voxel size of the coarse grid in mm; axes that are coarser already stay as they are.

    Raises
    ------
    DataError
        The mask holds too little of the image.
    """
    usable = mask & (data > 0)
    if usable.sum() < 100:
        raise DataError(
            f"only {int(usable.sum())} voxels have signal in the mask", "check the image and its mask"
        )
    factors = [max(1, round(working_spacing / size)) for size in voxel_sizes(affine)]
    values, weights = _shrink(np.where(usable, data, 0), factors), _shrink(usable, factors)
    coarse = np.where(weights > 0, values / np.maximum(weights, 1e-6), 0)
    inside = weights > 0.5
    if inside.sum() < 100:
        inside = weights > 0
    coarse_affine = affine @ np.diag([*factors, 1.0])
    # The scale of the intensities must not matter: N4's histogram and stopping rule see values near 100.
    scale = 100 / float(np.median(coarse[inside]))
    field = _fit_field((coarse * scale).astype(np.float32), inside, coarse_affine, iterations)
    full = _enlarge(np.log(np.maximum(field, 1e-3)), data.shape, factors)
    full -= float(full[usable].mean())
    bias = np.exp(full).astype(np.float32)
    return (data / bias).astype(np.float32), bias


def _fit_field(data: FloatArray, mask: MaskArray, affine: Affine, iterations: tuple[int, ...]) -> FloatArray:
    """Bias field that N4 finds in a small image."""
    image, corrected, field = (AntsImage(data, affine) for _ in range(3))
    # N4 reads its mask as it reads the image, in single precision; it cannot tell another type.
    region = AntsImage(mask.astype(np.float32), affine)
    options = {
        "-d": "3",
        "-i": image.argument,
        "-x": region.argument,
        "-s": "1",
        "-c": f"[{'x'.join(map(str, iterations))},1e-6]",
        "-b": f"[{KNOTS}]",
        "-o": f"[{corrected.argument},{field.argument}]",
    }
    run_ants("N4BiasFieldCorrection", [text for option in options.items() for text in option])
    return field.array()


def _shrink(data: Array, factors: list[int]) -> FloatArray:
    """Mean over blocks of voxels; blocks at the far edge may be incomplete."""
    padded = np.pad(
        data.astype(np.float32), [(0, -size % f) for size, f in zip(data.shape, factors, strict=True)]
    )
    x, y, z = (size // f for size, f in zip(padded.shape, factors, strict=True))
    blocks = padded.reshape(x, factors[0], y, factors[1], z, factors[2])
    means: FloatArray = blocks.mean(axis=(1, 3, 5))
    return means


def _enlarge(coarse: FloatArray, shape: tuple[int, ...], factors: list[int]) -> FloatArray:
    """Smooth map on the fine grid: the middle of a block of `f` voxels lies at its index (f - 1) / 2.

    Interpolated one axis after the other: cubic splines are separable, and this is many times faster
    than in three dimensions at once.
    """
    result = coarse.astype(np.float64)
    for axis, (size, f) in enumerate(zip(shape, factors, strict=True)):
        where = np.clip((np.arange(size) - (f - 1) / 2) / f, 0, result.shape[axis] - 1)
        basis = np.eye(result.shape[axis])
        rows = np.stack([ndimage.map_coordinates(row, [where], order=3, mode="nearest") for row in basis])
        result = np.moveaxis(np.tensordot(result, rows, axes=(axis, 0)), -1, axis)
    return result


def head_mask(data: Array) -> MaskArray:
    """Mask of the head: voxels well above the air, largest part, holes filled.

    Raises
    ------
    DataError
        Nothing stands out from the background.
    """
    # Otsu's threshold lies halfway between air and bright tissue; muscle and marrow lie below it.
    return largest_region(data > otsu_threshold(data) * 0.5)
