"""Rigid registration of two images of the same head, whatever their contrasts."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, MaskArray, voxel_sizes
from voxelome.registration.metrics import mutual_information
from voxelome.registration.prepare import centre_of_mass, crop_to_mask, prepare_image, translation
from voxelome.registration.stages import Grid, Stage, run_stages

# The scalp's inner side moves with the brain and makes the brain's border count.
MASK_MARGIN = 6.0
# Below this, what the two images share does not tell where they belong.
WEAK_INFORMATION = 0.05
# Headers that share this much (bits) need no better alignment to be trusted.
ALIGNED_INFORMATION = 0.3

_COARSE = (Stage("Rigid[0.1]", "MI", "32,Regular,0.25", (100,), (4,), (2,)),)
_FINE = (
    Stage("Rigid[0.1]", "MI", "32,Regular,0.25", (40,), (2,), (1,)),
    Stage("Rigid[0.1]", "MI", "32,Regular,0.1", (12,), (1,), (0,)),
)
_AFFINE = (Stage("Affine[0.1]", "MI", "32,Regular,0.25", (40, 12), (2, 1), (1, 0)),)
_SMALLEST_OVERLAP = 0.02
# Two starts that differ by less (mm) than the coarsest voxels end in the same place.
_SAME_START = 6.0
_LATER_MUST_GAIN = 1.02


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
    doubtful : bool
        Whether the notes are a reason to look: not when the headers' alignment was simply the best.
    """

    matrix: Affine
    mutual_information_before: float
    mutual_information_after: float
    notes: list[str] = field(default_factory=list)
    doubtful: bool = False


def register_rigid(
    moving: Array,
    moving_affine: Affine,
    fixed: Array,
    fixed_affine: Affine,
    *,
    fixed_mask: MaskArray | None = None,
    moving_mask: MaskArray | None = None,
    affine: bool = False,
    seed: int = 0,
    threads: int = 1,
) -> RigidResult:
    """Rigid transform that aligns the moving image with the fixed one.

    ANTs maximises Mattes' mutual information [1]_ in the fixed mask widened by 6 mm, from 8 mm to 2 mm
    voxels, starting from the headers' alignment and from matched centres of mass. The start with more
    mutual information after the coarsest level goes on; the headers win unless the other is clearly
    better. A result is not used if it has less mutual information than the headers' alignment, or so
    little (0.05 bits where the images overlap) that noise could give it.

    Parameters
    ----------
    moving, fixed : ndarray, shape (X, Y, Z)
        Images of the same head, of any contrast, voxel size and field of view (slabs, thick slices).
    moving_affine, fixed_affine : ndarray, shape (4, 4)
        Voxels to world (RAS+, mm).
    fixed_mask, moving_mask : ndarray of bool, optional
        Brain in the fixed image; what of the moving image may be compared. Everything if not given.
    affine : bool
        Whether scales and shears are fitted after the rigid transform (images with distortions).
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
    target = prepare_image(fixed, fixed_affine, fixed_mask, "fixed")
    source = prepare_image(moving, moving_affine, moving_mask, "moving")
    target = crop_to_mask(_widen_mask(target))
    # Rotations about the origin of the world are well conditioned only if the head is there.
    centre = centre_of_mass(target)
    target, source = _moved(target, -centre), _moved(source, -centre)
    headers = np.eye(4)
    found = _search(target, source, _FINE + (_AFFINE if affine else ()), seed, threads)
    before = shared_information(target, source, headers)
    if found is None:
        notes = ["The alignment of the image headers was kept: the images overlap too little to register."]
    else:
        notes = _reasons_to_refuse(target, source, found, before)
    if found is None or notes:
        found = headers
    after = shared_information(target, source, found)
    matrix = translation(centre) @ found @ translation(-centre)
    return RigidResult(matrix, before, after, notes, doubtful=bool(notes) and after < ALIGNED_INFORMATION)


def _reasons_to_refuse(target: Grid, source: Grid, found: Affine, before: float) -> list[str]:
    """Sentences that say why the headers' alignment is better than what was found; empty if it is not."""
    after = shared_information(target, source, found)
    if after < before:
        return [
            "The alignment of the image headers was kept: registration would not have raised the mutual "
            f"information ({before:.3f} bits before, {after:.3f} after)."
        ]
    within = after / max(_matched_voxels(target, source, found)[2].mean(), _SMALLEST_OVERLAP)
    if within < WEAK_INFORMATION:
        return [
            f"The alignment of the image headers was kept: the images share only {within:.3f} bits of mutual "
            "information where they overlap. Check that they show the same head."
        ]
    return []


def shared_information(
    fixed: Grid, moving: Grid, matrix: Affine, displacement: FloatArray | None = None
) -> float:
    """Mutual information in bits per voxel of the fixed mask.

    The mutual information where the fields of view overlap, times the share of the mask that they
    overlap in: moving the images apart cannot raise it by leaving few voxels to compare.

    Parameters
    ----------
    fixed, moving : Grid
        Images; the mask of the fixed one says where (everywhere if None).
    matrix : ndarray, shape (4, 4)
        Fixed world to moving world, mm.
    displacement : ndarray, shape (X, Y, Z, 3), optional
        World mm on the fixed grid, added before `matrix`.
    """
    mask, points, inside = _matched_voxels(fixed, moving, matrix, displacement)
    if not inside.any():
        return 0.0
    values = ndimage.map_coordinates(moving.data, points[:, inside], order=1, mode="nearest")
    return mutual_information(fixed.data[mask][inside], values) * float(inside.mean())


def _matched_voxels(
    fixed: Grid, moving: Grid, matrix: Affine, displacement: FloatArray | None = None
) -> tuple[MaskArray, FloatArray, MaskArray]:
    """Mask of the fixed image, the moving voxel coordinates (3, N) there, and which can be compared."""
    mask: MaskArray = np.ones(fixed.data.shape, dtype=bool) if fixed.mask is None else fixed.mask
    to_moving = np.linalg.inv(moving.affine) @ matrix
    voxels = to_moving @ fixed.affine
    points = voxels[:3, :3] @ np.argwhere(mask).T + voxels[:3, 3:]
    if displacement is not None:
        points += to_moving[:3, :3] @ displacement[mask].T
    last = np.array(moving.data.shape)[:, np.newaxis] - 1
    inside: MaskArray = np.all(np.abs(points - last / 2) <= (last + 1) / 2, axis=0)
    if moving.mask is not None:
        inside &= moving.mask[tuple(np.clip(np.rint(points).astype(np.intp), 0, last))]
    return mask, points, inside


def inverse_consistency(forward: Affine, backward: Affine, mask: MaskArray, affine: Affine) -> float:
    """Mean displacement in mm of the voxels of a mask that go there with one matrix and back with another.

    Parameters
    ----------
    forward, backward : ndarray, shape (4, 4)
        World to world, RAS mm; exact inverses of each other give 0.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels that `forward` starts from.
    affine : ndarray, shape (4, 4)
        Voxels to world, RAS mm.
    """
    voxels = np.argwhere(mask)[:: max(1, int(mask.sum()) // 10_000)]
    points = affine @ np.c_[voxels, np.ones(len(voxels))].T
    gaps = (backward @ forward - np.eye(4)) @ points
    return float(np.linalg.norm(gaps[:3], axis=0).mean())


def _search(target: Grid, source: Grid, stages: tuple[Stage, ...], seed: int, threads: int) -> Affine | None:
    """Optimised matrix from the better of two starts; None if neither gives a hold."""
    headers = np.eye(4)
    centres = translation(centre_of_mass(source) - centre_of_mass(target))
    optimise = partial(run_stages, target, source, seed=seed, threads=threads)
    best, best_score = None, 0.0
    starts = (headers, centres) if np.linalg.norm(centres[:3, 3]) > _SAME_START else (headers,)
    for start in starts:
        if _matched_voxels(target, source, start)[2].mean() < _SMALLEST_OVERLAP:
            continue
        with suppress(DataError):  # ANTs gives up where too few samples meet; the other start may do
            matrix = optimise(_COARSE, start=start).affine
            score = shared_information(target, source, matrix)
            if score > _LATER_MUST_GAIN * best_score:
                best, best_score = matrix, score
    return None if best is None else optimise(stages, start=best).affine


def _widen_mask(grid: Grid) -> Grid:
    if grid.mask is None:
        return grid
    distance = ndimage.distance_transform_edt(~grid.mask, sampling=voxel_sizes(grid.affine))
    return replace(grid, mask=distance <= MASK_MARGIN)


def _moved(grid: Grid, shift: FloatArray) -> Grid:
    return replace(grid, affine=translation(shift) @ grid.affine)
