"""The template space: the template itself, and a brain's non-linear registration to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from nilearn.datasets import load_mni152_brain_mask, load_mni152_template
from scipy import ndimage
from scipy.interpolate import make_interp_spline

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, MaskArray
from voxelome.registration.prepare import (
    centre_of_mass,
    crop_to_mask,
    prepare_image,
    reduce_resolution,
    translation,
)
from voxelome.registration.resample import resample
from voxelome.registration.rigid import shared_information
from voxelome.registration.stages import Grid, Stage, run_stages

_SPACINGS = (1, 2)
# The deformable stages that were tried at 2 mm, measured as benchmarks/registration.py does: seconds of one
# core, Dice of the tissues of sub-chris and of two simulated heads, error of the heads' maps.
#   MI, 40 x 10 iterations at 8, 4 mm            2.7 s   0.556   0.897   1.04 mm   (any contrast)
#   MI, 60 x 40 at 8, 4 mm                       5.2 s   0.564   0.898   1.01 mm
#   MI, 60 x 40 x 10 at 8, 4, 2 mm              20.1 s   0.584   0.913   0.98 mm
#   MI, 30 x 20 at 8, 6 mm                       1.4 s   0.544   0.857   1.30 mm
#   CC of radius 1, 15 x 6 x 2 at 8, 6, 4 mm     2.7 s   0.575   0.911   0.69 mm   (one contrast)
#   CC of radius 2, 60 x 40 at 8, 4 mm          25.5 s   0.594   0.914   0.69 mm
#   ANTsPy's SyN, linear stages and all         10.5 s   0.555   0.889   1.10 mm
# CC is the best between images of one contrast, but fails where the reference is a FLAIR (3.1 mm; MI: 1.0) or
# a T2w (1.4; MI: 0.9) and the template a T1w. Larger gradient steps, a flow smoothed less, and 4 mm for the
# affine stage gained nothing.
_LINEAR = (
    Stage("Rigid[0.1]", "MI", "32,Regular,0.25", (50,), (4,), (2,)),
    Stage("Affine[0.1]", "MI", "32,Regular,0.25", (60, 20), (4, 3), (2, 1)),
)
_SAME_CONTRAST = Stage("SyN[0.25,3,0]", "CC", "1", (15, 6, 2), (4, 3, 2), (2, 1, 0.5))
_ANY_CONTRAST = Stage("SyN[0.25,3,0]", "MI", "32", (40, 10), (4, 2), (2, 0.5))
_MARGIN = 6
# Voxels of the working resolution around a lesion whose brightness it is filled with; fewer tell too little.
_AROUND, _FEWEST_AROUND = 6, 50


@dataclass(frozen=True)
class TemplateResult:
    """Where each point of the template lies in the subject.

    ``subject point = affine @ (template point + displacement(template point))``, RAS+ mm.

    Attributes
    ----------
    affine : ndarray, shape (4, 4)
        Template world to subject world, after the displacement.
    displacement : ndarray of float32, shape (X, Y, Z, 3)
        RAS mm on the template's grid.
    jacobian_min, jacobian_max : float
        Of the Jacobian determinant of the displacement alone, in the template's mask. 0 or less: the
        field folds; 0.5: half the volume.
    inverse_consistency : float
        Mean distance in mm in the template's mask after the displacement and its inverse.
    mutual_information_before, mutual_information_after : float
        Bits per voxel of the template's mask, with the centres of the brains matched, and at the end.
    """

    affine: Affine
    displacement: FloatArray
    jacobian_min: float
    jacobian_max: float
    inverse_consistency: float
    mutual_information_before: float
    mutual_information_after: float


def load_template(spacing: float) -> tuple[FloatArray, Affine, MaskArray]:
    """Skull-stripped T1w template MNI152NLin2009aSym, its affine, and its brain mask.

    nilearn ships the template, so nothing is downloaded [1]_.

    Parameters
    ----------
    spacing : {1, 2}
        Voxel size in mm.

    Returns
    -------
    brain : ndarray of float32, shape (X, Y, Z)
        From 0 to 1; 0 outside the brain.
    affine : ndarray, shape (4, 4)
        Voxels to world (RAS+, mm).
    mask : ndarray of bool, shape (X, Y, Z)
        Brain, ventricles included.

    Raises
    ------
    DataError
        Another spacing.

    References
    ----------
    .. [1] Fonov et al., NeuroImage 54:313, 2011.
    """
    if spacing not in _SPACINGS:
        raise DataError(f"the template has no voxel size of {spacing:g} mm", "use 1 or 2")
    image = load_mni152_template(resolution=int(spacing))
    inside = np.asarray(load_mni152_brain_mask(resolution=int(spacing)).dataobj) > 0
    # nilearn's mask is a threshold: dark cerebrospinal fluid inside is left out of it.
    mask = np.asarray(ndimage.binary_fill_holes(inside), dtype=bool)
    brain = np.where(mask, np.asarray(image.dataobj), 0).clip(min=0).astype(np.float32)
    return brain, np.asarray(image.affine, dtype=np.float64), mask


def register_template(
    brain: Array,
    affine: Affine,
    mask: MaskArray,
    template: FloatArray,
    template_affine: Affine,
    template_mask: MaskArray,
    *,
    lesion: MaskArray | None = None,
    same_contrast: bool = False,
    threads: int = 1,
    seed: int = 0,
) -> TemplateResult:
    """Affine and displacement that bring a brain to the template.

    Rigid, affine and symmetric diffeomorphic (SyN) stages of ANTs [1]_ with Mattes' mutual information
    (SyN of one contrast with cross-correlation), from 8 mm to 4 mm voxels of images at 2 mm, starting from
    matched centres of the masks.

    Parameters
    ----------
    brain : ndarray, shape (X, Y, Z)
        Skull-stripped image of any contrast, 0 outside the brain.
    affine : ndarray, shape (4, 4)
        Its voxels to world (RAS+, mm).
    mask : ndarray of bool, shape (X, Y, Z)
        Its brain.
    template, template_affine, template_mask
        As :func:`load_template` gives them.
    lesion : ndarray of bool, shape (X, Y, Z), optional
        What of the brain has no counterpart in the template: it is left out of the comparison, so that
        nothing is pulled over it (Brett et al., NeuroImage 14:486, 2001); between images of one contrast it
        is filled with the template's tissue.
    same_contrast : bool
        Whether brain and template are of one contrast: then cross-correlation drives SyN, which follows
        the anatomy better, instead of mutual information, which serves all contrasts.
    threads : int
        Threads of ITK.
    seed : int
        Of the metric's sampling in the linear stages.

    Returns
    -------
    TemplateResult
        Template points to subject points, and the range of the Jacobian.

    Raises
    ------
    DataError
        The image is constant or not finite, or a mask is empty or on another grid.

    References
    ----------
    .. [1] Avants et al., Med Image Anal 12:26, 2008.
    """
    subject = prepare_image(brain, affine, mask, "brain")
    target = crop_to_mask(prepare_image(template, template_affine, template_mask, "template"), _MARGIN)
    centre = _mask_centre(target)
    start = translation(_mask_centre(subject) - centre)
    # The metric sees everything in the box: where the brain ends is what matters most at first.
    compared = None if lesion is None or not lesion.any() else ~_reduced_lesion(lesion, affine)
    fixed = Grid(target.data, translation(-centre) @ target.affine)
    moving = Grid(subject.data, translation(-centre) @ subject.affine, compared)
    options: dict[str, int] = {"seed": seed, "threads": threads}
    linear = run_stages(fixed, moving, _LINEAR, start=start, **options).affine
    if same_contrast and compared is not None:
        moving = _fill_lesion(fixed, moving, subject.mask, linear)
    # A mask that is left cuts the windows of cross-correlation.
    stage = _SAME_CONTRAST if same_contrast and moving.mask is None else _ANY_CONTRAST
    found = run_stages(fixed, moving, (stage,), start=linear, **options)
    assert found.displacement is not None  # the last stage is deformable
    assert found.inverse is not None
    inside = replace(fixed, mask=target.mask)
    field = replace(found.displacement, affine=translation(centre) @ found.displacement.affine)
    own = interpolate_field(found.displacement, fixed.data.shape, fixed.affine)
    # At the working resolution: the field is smooth, and on 1 mm this would take 2 GB.
    jacobian = jacobian_determinant(own, fixed.affine)[target.mask]
    return TemplateResult(
        translation(centre) @ found.affine @ translation(-centre),
        interpolate_field(field, template.shape, template_affine),
        float(jacobian.min()),
        float(jacobian.max()),
        _inverse_consistency(found.displacement, found.inverse, inside),
        shared_information(inside, moving, start),
        shared_information(inside, moving, found.affine, own),
    )


def _fill_lesion(fixed: Grid, moving: Grid, brain: MaskArray | None, matrix: Affine) -> Grid:
    """Moving image whose lesion holds the template's tissue, at the brightness of the brain around it.

    There the two then agree, and nothing is pulled. On four simulated heads with tumours this left 0.6 mm
    of error around them (at most 1.9), a mask in the cost function 0.8 (2.8), nothing 0.9 (4.3): windows of
    cross-correlation that a mask cuts are unreliable.
    """
    assert moving.mask is not None
    lesion = ~moving.mask
    tissue = resample(
        fixed.data, fixed.affine, moving.data.shape, moving.affine, matrix=np.asarray(np.linalg.inv(matrix))
    )
    around = ndimage.binary_dilation(lesion, iterations=_AROUND) & ~lesion & (tissue > 0)
    if brain is not None:
        around &= brain
    if around.sum() < _FEWEST_AROUND:
        return moving
    slope, offset = np.polyfit(tissue[around], moving.data[around], 1)
    # A soft edge: a step would be anatomy of its own.
    share = np.where(lesion, 1, ndimage.gaussian_filter(lesion.astype(np.float32), 1))
    filled = np.where(tissue > 0, np.clip(slope * tissue + offset, 0, 1), 0)
    data = (1 - share) * moving.data + share * filled
    return replace(moving, data=data.astype(np.float32), mask=None)


def _reduced_lesion(lesion: MaskArray, affine: Affine) -> MaskArray:
    """Lesion at the working resolution, a voxel wider: its rim is no counterpart of anything, either."""
    touched: MaskArray = reduce_resolution(lesion, affine)[0] > 0
    return np.asarray(ndimage.binary_dilation(touched))


def _inverse_consistency(there: Grid, back: Grid, fixed: Grid) -> float:
    """Mean distance in mm of the fixed mask's voxels after a displacement and the one that undoes it."""
    assert fixed.mask is not None
    points = fixed.affine @ np.c_[np.argwhere(fixed.mask)[::7], np.ones(fixed.mask.sum())[::7]].T
    moved = _displaced(there, points[:3])
    return float(np.linalg.norm(_displaced(back, moved) - points[:3], axis=0).mean())


def _displaced(field: Grid, points: FloatArray) -> FloatArray:
    """Points (3, N) in world mm moved by a displacement, interpolated linearly."""
    to_voxels = np.linalg.inv(field.affine)
    voxels = to_voxels[:3, :3] @ points + to_voxels[:3, 3:]
    axes = [
        ndimage.map_coordinates(field.data[..., axis], voxels, order=1, mode="nearest") for axis in range(3)
    ]
    return np.asarray(points + np.stack(axes))


def interpolate_field(field: Grid, shape: Sequence[int], affine: Affine) -> FloatArray:
    """Vector field on a finer grid with parallel axes, shape (*shape, 3).

    Cubic splines along one axis after another; beyond the field's grid its border values go on.

    Parameters
    ----------
    field : Grid
        Vectors of shape (X, Y, Z, 3).
    shape : sequence of 3 int
        Grid to interpolate to.
    affine : ndarray, shape (4, 4)
        Its voxels to world, mm.
    """
    voxels = np.linalg.inv(field.affine) @ affine
    result = np.asarray(field.data, dtype=np.float32)
    for axis, count in enumerate(shape):
        length = result.shape[axis]
        places = np.clip(voxels[axis, axis] * np.arange(count) + voxels[axis, 3], 0, length - 1)
        weights = make_interp_spline(np.arange(length), np.eye(length), k=3)(places).astype(np.float32)
        result = np.moveaxis(np.tensordot(weights, result, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(result)


def jacobian_determinant(displacement: FloatArray, affine: Affine) -> FloatArray:
    """Jacobian determinant of ``p + displacement(p)`` with respect to world mm, shape (X, Y, Z)."""
    by_voxel = np.stack(np.gradient(displacement, axis=(0, 1, 2)), axis=-1)
    by_mm = by_voxel @ np.linalg.inv(affine[:3, :3]).astype(np.float32)
    return np.asarray(np.linalg.det(by_mm + np.eye(3, dtype=np.float32)))


def _mask_centre(grid: Grid) -> FloatArray:
    assert grid.mask is not None
    return centre_of_mass(Grid(grid.mask.astype(np.float32), grid.affine))
