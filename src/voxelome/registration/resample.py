"""One interpolation from an image's grid to another, and transforms in ITK's form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.io import savemat

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, MaskArray, replacing

Order = Literal["linear", "cubic", "nearest", "label"]

_SPLINE_ORDER = {"linear": 1, "cubic": 3, "nearest": 0}
_FLIP_XY = np.diag([-1.0, -1.0, 1.0, 1.0])
# Coarser than this, samples of a trilinear interpolation skip source voxels altogether.
_COARSENING_THAT_ALIASES = 1.5
_ROUNDING = 1e-4


def resample(
    data: Array,
    affine: Affine,
    shape: Sequence[int],
    target_affine: Affine,
    *,
    matrix: Affine | None = None,
    displacement: FloatArray | None = None,
    order: Order = "linear",
) -> Array:
    """Image on the target grid, in one interpolation.

    The target voxel at world point ``p`` gets the value of `data` at
    ``matrix @ (p + displacement(p))``. A voxel reaches half a voxel beyond its centre, so the outermost
    ones hold up to the edge of the field of view; beyond it the result is 0.

    Where the target voxels are more than 1.5 times as long as the source voxels along a source axis,
    linear interpolation would skip voxels (noise, aliasing). The source is then smoothed along that
    axis with a Gaussian of full width ``sqrt(target^2 - source^2)``, the width that takes the one
    voxel's point spread to the other's [1]_. Other orders never smooth.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        Source image.
    affine : ndarray, shape (4, 4)
        Source voxels to world (RAS+, mm).
    shape : sequence of 3 int
        Target grid.
    target_affine : ndarray, shape (4, 4)
        Target voxels to world (RAS+, mm).
    matrix : ndarray, shape (4, 4), optional
        Takes a target world point to the source's world; identity if not given.
    displacement : ndarray, shape (*shape, 3), optional
        RAS mm on the target grid, added before `matrix`.
    order : {'linear', 'cubic', 'nearest', 'label'}
        ``cubic`` is an interpolating B-spline, which overshoots at edges. ``label`` gives the label whose
        linearly interpolated indicator is largest (the smallest such label in a tie): smoother than
        nearest, and like it makes no new labels. Where the target is coarser, each indicator is first
        smoothed as for linear (multi-label Gaussian), so that thin structures win where they fill most.

    Returns
    -------
    ndarray, shape `shape`
        float32 for linear and cubic, the type of `data` for nearest and label.

    Raises
    ------
    DataError
        The image is not three-dimensional, an affine cannot be inverted, or the displacement is not
        on the target grid.

    References
    ----------
    .. [1] Cardoso et al., Scale factor point spread function matching, MICCAI 2015.
    """
    _check(data, affine, shape, displacement)
    to_source = np.linalg.inv(affine) @ (np.eye(4) if matrix is None else matrix)
    if order == "label":
        points = _source_coordinates(to_source, shape, target_affine, displacement)
        if _coarser_axes(data, to_source @ target_affine).any():
            return _smooth_labels(data, points, to_source @ target_affine)
        return _resample_labels(data, points)
    if order == "linear":
        data = _smooth_for_coarser_grid(data, to_source @ target_affine)
    kind = data.dtype if order == "nearest" else np.dtype(np.float32)
    source = data.astype(np.uint8) if data.dtype == np.bool_ else data
    options = {"order": _SPLINE_ORDER[order], "mode": "nearest", "prefilter": order == "cubic"}
    output = np.uint8 if kind == np.bool_ else kind
    if displacement is None:
        voxels = to_source @ target_affine
        result = ndimage.affine_transform(
            source, voxels[:3, :3], voxels[:3, 3], tuple(shape), output=output, **options
        )
        result[_beyond(_axis_coordinates(voxels, shape), data.shape)] = 0
    else:
        points = _source_coordinates(to_source, shape, target_affine, displacement)
        result = ndimage.map_coordinates(source, points, output=output, **options)
        result[_beyond(points, data.shape)] = 0
    return np.asarray(result.astype(kind, copy=False))


def save_itk_affine(path: Path | str, matrix: Affine) -> Path:
    """Write an affine transform as ANTs writes it (binary ``.mat``) and return `path`.

    ``antsApplyTransforms -i moving -r fixed -t path`` then brings the moving image to the fixed one.

    Parameters
    ----------
    path : path
        File to write, ending in ``.mat``.
    matrix : ndarray, shape (4, 4)
        Takes a world point of the fixed image to the moving image's world, RAS mm.

    Notes
    -----
    The file is MATLAB level 4 with ``AffineTransform_double_3_3`` (the 3x3 matrix by rows, then the
    translation) and ``fixed`` (the centre of rotation, here the origin), in LPS mm.
    """
    lps = _FLIP_XY @ np.asarray(matrix, dtype=np.float64) @ _FLIP_XY
    content = {
        "AffineTransform_double_3_3": np.concatenate([lps[:3, :3].ravel(), lps[:3, 3]])[:, np.newaxis],
        "fixed": np.zeros((3, 1)),
    }
    path = Path(path)
    with replacing(path) as temporary:
        savemat(temporary, content, appendmat=False, format="4")
    return path


def save_itk_warp(path: Path | str, displacement: FloatArray, affine: Affine, matrix: Affine) -> Path:
    """Write a deformation, linear part and all, as ITK reads it (``.nii.gz``) and return `path`.

    ``antsApplyTransforms -i moving -r fixed -t path`` then brings the moving image to the fixed one.

    Parameters
    ----------
    path : path
        File to write, ending in ``.nii.gz``.
    displacement : ndarray, shape (X, Y, Z, 3)
        RAS mm on the fixed grid, added to a point before `matrix`.
    affine : ndarray, shape (4, 4)
        Fixed voxels to world, RAS mm.
    matrix : ndarray, shape (4, 4)
        Takes the displaced point to the moving image's world, RAS mm.

    Notes
    -----
    The vectors lie along the fifth axis, intent 1007, in LPS mm.
    """
    points = np.stack(_axis_coordinates(affine, displacement.shape[:3]), axis=-1)
    moved = (points + displacement) @ matrix[:3, :3].T.astype(np.float32) + matrix[:3, 3].astype(np.float32)
    vectors = (moved - points) * np.array([-1, -1, 1], dtype=np.float32)
    image = nib.Nifti1Image(vectors[..., np.newaxis, :].astype(np.float32), affine)
    image.header.set_intent("vector")
    image.header.set_xyzt_units("mm")
    path = Path(path)
    with replacing(path) as temporary:
        nib.save(image, temporary)
    return path


def load_itk_warp(path: Path | str) -> tuple[FloatArray, Affine]:
    """Displacement in RAS mm, shape (X, Y, Z, 3), and affine of a deformation as ITK stores it."""
    image = nib.load(path)
    assert isinstance(image, nib.Nifti1Image)
    vectors = np.asarray(image.dataobj, dtype=np.float32)[..., 0, :]
    return vectors * np.array([-1, -1, 1], dtype=np.float32), np.asarray(image.affine, dtype=np.float64)


def _check(data: Array, affine: Affine, shape: Sequence[int], displacement: FloatArray | None) -> None:
    if data.ndim != 3:
        raise DataError(f"the image has {data.ndim} dimensions, not 3", "give one volume of it")
    if abs(np.linalg.det(affine[:3, :3])) < np.finfo(np.float32).tiny:
        raise DataError("the affine has no inverse", "mend the image's header (sform and qform)")
    if displacement is not None and displacement.shape != (*shape, 3):
        raise DataError(
            f"the displacement's shape {displacement.shape} is not {(*shape, 3)}",
            "give the displacement on the target grid",
        )


def _axis_coordinates(voxels: Affine, shape: Sequence[int]) -> list[FloatArray]:
    """Source voxel coordinates of a whole grid: three arrays of shape `shape`."""
    i, j, k = (np.arange(count, dtype=np.float32) for count in shape)
    rows = voxels[:3].astype(np.float32)
    return [
        (a * i + offset)[:, np.newaxis, np.newaxis] + (b * j)[:, np.newaxis] + c * k
        for a, b, c, offset in rows
    ]


def _source_coordinates(
    to_source: Affine, shape: Sequence[int], target_affine: Affine, displacement: FloatArray | None
) -> list[FloatArray]:
    """Source voxel coordinates of every target voxel, displaced first."""
    points = _axis_coordinates(to_source @ target_affine, shape)
    if displacement is not None:
        rows = to_source[:3, :3].astype(np.float32)
        points = [axis + displacement @ row for axis, row in zip(points, rows, strict=True)]
    return points


def _beyond(points: Sequence[FloatArray], shape: Sequence[int]) -> MaskArray:
    """Where source coordinates lie more than half a voxel beyond the outermost voxel centres."""
    outside = np.zeros(points[0].shape, dtype=bool)
    for axis, count in zip(points, shape, strict=True):
        outside |= (axis < -0.5 - _ROUNDING) | (axis > count - 0.5 + _ROUNDING)
    return outside


def _smooth_for_coarser_grid(data: Array, voxels: Affine) -> Array:
    """Source smoothed along the axes in which the target voxels are much longer.

    The extent of a target voxel along a source axis is the norm of that axis' row: the variance of a
    box is its squared length / 12, and the variances of the target's three axes add up.
    """
    extent = np.linalg.norm(voxels[:3, :3], axis=1)
    coarser = _coarser_axes(data, voxels)
    if not coarser.any():
        return data
    fwhm = np.sqrt(np.where(coarser, extent**2 - 1, 0))
    sigma = fwhm / np.sqrt(8 * np.log(2))
    return np.asarray(ndimage.gaussian_filter(data.astype(np.float32), sigma, mode="nearest", truncate=3))


def _coarser_axes(data: Array, voxels: Affine) -> MaskArray:
    """Source axes along which the target voxels are so much longer that voxels would be skipped."""
    extent = np.linalg.norm(voxels[:3, :3], axis=1)
    return np.asarray((extent > _COARSENING_THAT_ALIASES) & (np.array(data.shape) > 1))


def _smooth_labels(labels: Array, points: Sequence[FloatArray], voxels: Affine) -> Array:
    """Label whose smoothed indicator is largest at each point; 0 beyond the field of view."""
    result = np.zeros(points[0].shape, dtype=labels.dtype)
    best = np.zeros(points[0].shape, dtype=np.float32)
    for label in np.unique(labels):
        share = _smooth_for_coarser_grid((labels == label).astype(np.float32), voxels)
        here = ndimage.map_coordinates(share, points, order=1, mode="nearest")
        better = here > best + _ROUNDING
        result[better], best[better] = label, here[better]
    result[_beyond(points, labels.shape)] = 0
    return result


def _resample_labels(labels: Array, points: Sequence[FloatArray]) -> Array:
    """Label with the largest sum of trilinear weights among the eight voxels around each point.

    That is the argmax of the linearly interpolated indicators, at a cost that does not grow with the
    number of labels: away from borders all eight agree.
    """
    inside = ~_beyond(points, labels.shape)
    where = np.stack([axis[inside] for axis in points])
    limits = np.array(labels.shape)[:, np.newaxis] - 1
    where = np.clip(where, 0, limits)
    low = np.minimum(where.astype(np.intp), np.maximum(limits - 1, 0))
    high = np.minimum(low + 1, limits)
    steps = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    ends = (low, high)
    corners = np.stack([labels[ends[x][0], ends[y][1], ends[z][2]] for x, y, z in steps])
    chosen = corners[0].copy()
    mixed = (corners != corners[0]).any(axis=0)
    fraction = (where - low)[:, mixed]
    shares = (1 - fraction, fraction)
    weights = np.stack([shares[x][0] * shares[y][1] * shares[z][2] for x, y, z in steps])
    chosen[mixed] = _heaviest(corners[:, mixed], weights)
    result = np.zeros(points[0].shape, dtype=labels.dtype)
    result[inside] = chosen
    return result


def _heaviest(corners: Array, weights: FloatArray) -> Array:
    """Label of largest total weight in each column; the smallest label in a tie."""
    best, best_weight = corners[0].copy(), np.full(corners.shape[1], -1.0)
    for corner in corners:
        total = (weights * (corners == corner)).sum(axis=0)
        tie = np.abs(total - best_weight) <= _ROUNDING
        better = np.where(tie, corner < best, total > best_weight)
        best[better], best_weight[better] = corner[better], total[better]
    return np.asarray(best)
