"""Rigid registration of two images of the same head, whatever their contrasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, MaskArray, voxel_sizes
from voxelome.registration.metrics import mutual_information
from voxelome.registration.stages import Grid, Stage, run_stages

WORKING_SPACING = 2.0
# The scalp's inner side moves with the brain and makes the brain's border count.
MASK_MARGIN = 6.0
# Below this, what the two images share does not tell where they belong.
WEAK_INFORMATION = 0.05

_COARSE = (Stage("Rigid[0.1]", "MI", "32,Regular,0.25", (100,), (4,), (2,)),)
_FINE = (
    Stage("Rigid[0.1]", "MI", "32,Regular,0.25", (40,), (2,), (1,)),
    Stage("Rigid[0.1]", "MI", "32,Regular,0.1", (12,), (1,), (0,)),
)
_SMALLEST_OVERLAP = 0.02
_CENTRES_MUST_GAIN = 1.02


@dataclass(frozen=True)
class RigidResult:
    """A rigid transform and what it gained.

    Attributes
    ----------
    matrix : ndarray, shape (4, 4)
        Takes a world point of the fixed image to the moving image's world (RAS+, mm).
    mutual_information_before, mutual_information_after : float
        Bits per voxel of the fixed mask, with the headers' alignment and with `matrix`; a voxel outside
        the moving image's field of view adds nothing.
    notes : list of str
        Sentences for the user; empty if all went well.
    """

    matrix: Affine
    mutual_information_before: float
    mutual_information_after: float
    notes: list[str] = field(default_factory=list)


def register_rigid(
    moving: Array,
    moving_affine: Affine,
    fixed: Array,
    fixed_affine: Affine,
    *,
    fixed_mask: MaskArray | None = None,
    moving_mask: MaskArray | None = None,
    seed: int = 0,
    threads: int = 1,
) -> RigidResult:
    """Rigid transform that aligns the moving image with the fixed one.

    ANTs maximises Mattes' mutual information [1]_ in the fixed mask widened by 6 mm, from 8 mm to 2 mm
    voxels, starting from the headers' alignment and from matched centres of mass. The start with more
    mutual information after the coarsest level goes on; the headers win unless the other is clearly
    better. A result with less mutual information than the headers' alignment is not used.

    Parameters
    ----------
    moving, fixed : ndarray, shape (X, Y, Z)
        Images of the same head, of any contrast, voxel size and field of view (slabs, thick slices).
    moving_affine, fixed_affine : ndarray, shape (4, 4)
        Voxels to world (RAS+, mm).
    fixed_mask, moving_mask : ndarray of bool, optional
        Brain in the fixed image; what of the moving image may be compared. Everything if not given.
    seed : int
        Of the metric's sampling. With one thread the same seed gives the same matrix.
    threads : int
        Threads of ITK.

    Returns
    -------
    RigidResult
        The transform, the mutual information before and after, and notes.

    Raises
    ------
    DataError
        An image is not three-dimensional, constant or not finite, or the mask is empty or on another grid.

    References
    ----------
    .. [1] Mattes et al., IEEE Trans Med Imaging 22:120, 2003.
    """
    target = _prepare(fixed, fixed_affine, fixed_mask, "fixed")
    source = _prepare(moving, moving_affine, moving_mask, "moving")
    target = _crop_to_mask(_widen_mask(target))
    # Rotations about the origin of the world are well conditioned only if the head is there.
    centre = _centre_of_mass(target)
    target, source = _moved(target, -centre), _moved(source, -centre)
    found = _search(target, source, seed, threads)
    before, after = shared_information(target, source, np.eye(4)), shared_information(target, source, found)
    notes = []
    if after < before:
        notes.append(
            f"Registration lowered the mutual information from {before:.3f} to {after:.3f} bits and was not used; "
            "the alignment is that of the image headers. Look at it before you use the result."
        )
        found, after = np.eye(4), before
    if after < WEAK_INFORMATION:
        notes.append(
            f"The images share only {after:.3f} bits of mutual information: "
            "the alignment is uncertain. Look at it before you use the result."
        )
    matrix = _translation(centre) @ found @ _translation(-centre)
    return RigidResult(matrix, before, after, notes)


def shared_information(fixed: Grid, moving: Grid, matrix: Affine) -> float:
    """Mutual information in bits per voxel of the fixed mask.

    The mutual information where the fields of view overlap, times the share of the mask that they
    overlap in: moving the images apart cannot raise it by leaving few voxels to compare.

    Parameters
    ----------
    fixed, moving : Grid
        Images; the mask of the fixed one says where (everywhere if None).
    matrix : ndarray, shape (4, 4)
        Fixed world to moving world, mm.
    """
    mask = np.ones(fixed.data.shape, dtype=bool) if fixed.mask is None else fixed.mask
    voxels = np.linalg.inv(moving.affine) @ matrix @ fixed.affine
    points = voxels[:3, :3] @ np.argwhere(mask).T + voxels[:3, 3:]
    last = np.array(moving.data.shape)[:, np.newaxis] - 1
    inside = ((points >= -0.5) & (points <= last + 0.5)).all(axis=0)
    if moving.mask is not None:
        nearest = np.clip(np.rint(points).astype(np.intp), 0, last)
        inside &= moving.mask[tuple(nearest)]
    if not inside.any():
        return 0.0
    values = ndimage.map_coordinates(moving.data, points[:, inside], order=1, mode="nearest")
    return mutual_information(fixed.data[mask][inside], values) * float(inside.mean())


def reduce_resolution(data: Array, affine: Affine, spacing: float = WORKING_SPACING) -> tuple[FloatArray, Affine]:
    """Image averaged over blocks of voxels about `spacing` mm long, and its affine.

    Averaging, unlike picking, neither aliases nor keeps the noise; an axis with thick slices stays as
    it is. Voxels that fill no block at the far end of an axis are left out.
    """
    factors = np.maximum(1, np.rint(spacing / np.array(voxel_sizes(affine))).astype(int))
    factors = np.minimum(factors, data.shape)
    counts = np.array(data.shape) // factors
    kept = data[tuple(slice(0, count * factor) for count, factor in zip(counts, factors, strict=True))]
    split = [number for pair in zip(counts, factors, strict=True) for number in pair]
    blocks = kept.reshape(split).mean(axis=(1, 3, 5), dtype=np.float32)
    voxels = np.eye(4)
    voxels[:3, :3] = np.diag(factors)
    voxels[:3, 3] = (factors - 1) / 2
    return blocks, affine @ voxels


def _search(target: Grid, source: Grid, seed: int, threads: int) -> Affine:
    """Optimised rigid matrix from the better of two starts."""
    headers = np.eye(4)
    starts = [headers, _translation(_centre_of_mass(source) - _centre_of_mass(target))]
    candidates = [
        _optimise(target, source, _COARSE, start, seed, threads)
        for start in starts
        if _overlap(target, source, start) > _SMALLEST_OVERLAP
    ]
    if not candidates:
        return headers
    scores = [shared_information(target, source, matrix) for matrix in candidates]
    best = candidates[0]
    if len(scores) > 1 and scores[1] > _CENTRES_MUST_GAIN * scores[0]:
        best = candidates[1]
    return _optimise(target, source, _FINE, best, seed, threads)


def _optimise(
    target: Grid, source: Grid, stages: Sequence[Stage], start: Affine, seed: int, threads: int
) -> Affine:
    return run_stages(target, source, stages, start=start, seed=seed, threads=threads)[0]


def _prepare(data: Array, affine: Affine, mask: MaskArray | None, name: str) -> Grid:
    """Image at the working resolution, its brightest and darkest percent clipped."""
    if data.ndim != 3:
        raise DataError(f"the {name} image has {data.ndim} dimensions, not 3", "give one volume of it")
    if mask is not None and (mask.shape != data.shape or not mask.any()):
        raise DataError(
            f"the {name} mask of shape {mask.shape} with {int(mask.sum())} voxels does not fit the image {data.shape}",
            "give a mask of the brain on the image's grid",
        )
    if not np.isfinite(data).all():
        raise DataError(f"the {name} image holds values that are not finite", "replace NaN and infinity in it")
    reduced, grid = reduce_resolution(data, affine)
    low, high = np.percentile(reduced, [0.5, 99.5])
    if high <= low:
        low, high = float(reduced.min()), float(reduced.max())
    if high <= low:
        raise DataError(f"the {name} image holds only the value {low:g}", "check the image: there is nothing to align")
    kept = None if mask is None else reduce_resolution(mask, affine)[0] >= 0.5
    return Grid(np.clip((reduced - low) / (high - low), 0, 1), grid, kept)


def _widen_mask(grid: Grid) -> Grid:
    if grid.mask is None:
        return grid
    distance = ndimage.distance_transform_edt(~grid.mask, sampling=voxel_sizes(grid.affine))
    return replace(grid, mask=distance <= MASK_MARGIN)


def _crop_to_mask(grid: Grid, margin: int = 4) -> Grid:
    """Part of the image around its mask: less to smooth and to shrink."""
    if grid.mask is None:
        return grid
    found = np.argwhere(grid.mask)
    low = np.maximum(found.min(axis=0) - margin, 0)
    high = np.minimum(found.max(axis=0) + margin + 1, grid.data.shape)
    box = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
    shift = np.eye(4)
    shift[:3, 3] = low
    return Grid(grid.data[box], grid.affine @ shift, grid.mask[box])


def _overlap(fixed: Grid, moving: Grid, matrix: Affine) -> float:
    """Share of the fixed mask that lies in the moving image's field of view."""
    mask = np.ones(fixed.data.shape, dtype=bool) if fixed.mask is None else fixed.mask
    voxels = np.linalg.inv(moving.affine) @ matrix @ fixed.affine
    points = np.argwhere(mask) @ voxels[:3, :3].T + voxels[:3, 3]
    return float(((points >= -0.5) & (points <= np.array(moving.data.shape) - 0.5)).all(axis=1).mean())


def _centre_of_mass(grid: Grid) -> FloatArray:
    """Centre of mass of the intensities in world mm."""
    centre = np.array(ndimage.center_of_mass(grid.data))
    return np.asarray(grid.affine[:3, :3] @ centre + grid.affine[:3, 3])


def _moved(grid: Grid, shift: FloatArray) -> Grid:
    return replace(grid, affine=_translation(shift) @ grid.affine)


def _translation(shift: FloatArray) -> Affine:
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return matrix
