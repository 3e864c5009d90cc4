"""Brain extraction by an atlas: the template's brain mask, carried to a whole head by registration.

It has nothing in common with a network: what misleads the one need not mislead the other.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy import ndimage
from scipy.special import expit

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, MaskArray
from voxelome.regions import largest_region, otsu_threshold
from voxelome.registration.prepare import crop_to_mask, prepare_image, reduce_resolution
from voxelome.registration.resample import resample
from voxelome.registration.rigid import WEAK_INFORMATION, shared_information
from voxelome.registration.stages import Grid, Stage, run_stages
from voxelome.registration.template import interpolate_field, load_template

# Scale of the logistic in mm, whose standard deviation is 1.8 times that. The carried edge differs from
# deepbet's by 1.4 to 2.5 mm (standard deviation; five real images); simulated heads, whose brain is this very
# template's, would say 0.6 to 0.9 mm.
EDGE_SCALE = 1.2

_SPACING = 3.0
# Beyond the brain (mm) the template is 0 and the head is fluid, skull and scalp. With much of it in the
# comparison, the linear stages fit the brain to the outline of the head, the strongest edge there is; the
# last stage, which moves little, sees more.
_NARROW, _WIDE = 4.0, 8.0
_FIND = (
    Stage("Rigid[0.1]", "MI", "32,Regular,0.5", (100,), (3,), (1,)),
    Stage("Similarity[0.1]", "MI", "32,Regular,0.5", (100,), (2,), (1,)),
)
_FIT = (Stage("Affine[0.1]", "MI", "32,Regular,0.5", (100, 40), (2, 1), (1, 0.5)),)
# Levels of 9 and 6 mm. With 32 bins the joint histogram of so few voxels is too sparse.
_SHAPE = (Stage("SyN[0.2,3,1]", "MI", "16", (30, 15), (3, 2), (1, 0.5)),)

# How a head holds its brain, in mm: skull and scalp at the sides, at both ends, above.
_SIDES, _ENDS, _ABOVE = 13.0, 15.0, (8.0, 16.0)
_VAULT = 110.0
_PITCHES = (-20.0, 0.0, 20.0)
_SCALE_RANGE = (0.75, 1.05)
_STARTS = 3
_FAR = 50.0


@dataclass(frozen=True)
class AtlasBrain:
    """Brain in an image, by the atlas.

    Attributes
    ----------
    probability : ndarray of float32, shape (x, y, z)
        ``1 / (1 + exp(-d / s))`` of the signed distance `d` (mm, positive inside) to the edge of the carried
        mask, with the scale `s` of :data:`EDGE_SCALE`; 0 far away.
    mutual_information : float
        Bits per voxel of the template's brain and its surroundings after the linear stages: how much hold the
        registration had. Six real heads had 0.47 to 0.84, noise has 0.01.
    """

    probability: FloatArray
    mutual_information: float


@dataclass(frozen=True)
class _Atlas:
    """The template as registration uses it: its brain, and the distance (mm) to its edge, positive inside."""

    brain: Grid
    distance: FloatArray

    def within(self, margin: float) -> Grid:
        """Template compared up to `margin` mm beyond the brain."""
        return replace(self.brain, mask=self.distance > -margin)


def atlas_brain(data: Array, affine: Affine, *, seed: int = 0, threads: int = 1) -> AtlasBrain:
    """Probability of brain in a whole head of any contrast, from the template's brain mask.

    The skull-stripped template MNI152NLin2009aSym is registered to the head itself by mutual information,
    which needs no particular contrast [1]_: its brain and some millimetres of nothing around it have their
    like in the head's brain and what is around that. Rigid and similarity stages from several starts, an
    affine and a coarse SyN stage [2]_ follow each other on voxels of 9 to 3 mm.

    A bias field costs accuracy: correct it beforehand (with a mask of the head). Voxels are not classified by
    intensity at the end: that cut off dark fluid in T1w and FLAIR images and let bright fluid in in T2w ones.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
        Whole head, or most of one: T1w, with contrast agent or without, T2w, FLAIR, PDw; thick slices too.
    affine : ndarray, shape (4, 4)
        Voxel to world (RAS+, mm). The world's axes must be about the patient's; its origin may be anywhere.
    seed : int
        Of the metric's sampling. With one thread the same seed gives the same result.
    threads : int
        Threads of ITK.

    Raises
    ------
    DataError
        The image is not three-dimensional, not finite or constant, or shows nothing that can be registered.

    References
    ----------
    .. [1] Mattes et al., IEEE Trans Med Imaging 22:120, 2003.
    .. [2] Avants et al., Med Image Anal 12:26, 2008.
    """
    head = prepare_image(data, affine, None, "whole-head")
    atlas = _load_atlas()
    wide, narrow = atlas.within(_WIDE), atlas.within(_NARROW)
    linear = _find(atlas, head, seed, threads)
    linear = run_stages(narrow, head, _FIT, start=linear, seed=seed, threads=threads).affine
    found = run_stages(wide, head, _SHAPE, start=linear, seed=seed, threads=threads)
    assert found.inverse is not None  # the last stage is deformable
    moved = interpolate_field(found.inverse, atlas.distance.shape, atlas.brain.affine)
    carried = _resample_distance(
        atlas.distance, atlas.brain.affine, atlas.distance.shape, atlas.brain.affine, displacement=moved
    )
    probability = _on_image(Grid(carried, atlas.brain.affine), found.affine, data.shape, affine)
    return AtlasBrain(probability, shared_information(wide, head, linear))


@cache
def _load_atlas() -> _Atlas:
    """Template at the working resolution, cropped to what is compared."""
    brain, affine, mask = load_template(1)
    margin = 2 * int(_WIDE + _SPACING)
    shift = np.eye(4)
    shift[:3, 3] = -margin
    brain, mask, affine = np.pad(brain, margin), np.pad(mask, margin), affine @ shift
    reduced, grid = reduce_resolution(brain, affine, _SPACING)
    # Distances at 2 mm cost a tenth of those at 1 mm; smoothed, they differ from them by 0.3 mm.
    share, coarse = reduce_resolution(mask, affine, 2.0)
    distance = ndimage.gaussian_filter(_signed_distance(share >= 0.5, 2.0), 0.7)
    fine = resample(distance, coarse, reduced.shape, grid)
    cropped = crop_to_mask(Grid(reduced, grid, fine > -_WIDE), margin=2)
    distance = resample(distance, coarse, cropped.data.shape, cropped.affine)
    return _Atlas(replace(cropped, mask=None), distance)


def _signed_distance(mask: MaskArray, spacing: float) -> FloatArray:
    """Distance in mm to the edge of a mask, positive inside; the edge lies between voxel centres."""
    inner = ndimage.distance_transform_edt(mask, sampling=spacing)
    outer = ndimage.distance_transform_edt(~mask, sampling=spacing)
    return np.where(mask, inner - spacing / 2, spacing / 2 - outer).astype(np.float32)


def _find(atlas: _Atlas, head: Grid, seed: int, threads: int) -> Affine:
    """Matrix (template world to head world) of the best of several registrations without shear."""
    wide, narrow = atlas.within(_WIDE), atlas.within(_NARROW)
    starts = sorted(_starts(atlas, head), key=lambda start: -shared_information(wide, head, start))
    best, best_score = None, 0.0
    for start in starts[:_STARTS]:
        with suppress(DataError):  # ANTs gives up where too few samples meet; another start may do
            matrix = run_stages(narrow, head, _FIND, start=start, seed=seed, threads=threads).affine
            score = shared_information(wide, head, matrix)
            if score > best_score:
                best, best_score = matrix, score
    if best is None or best_score < WEAK_INFORMATION:
        raise DataError(
            f"the template and the image share only {best_score:.3f} bits of mutual information",
            "check that the image shows a whole head, and its orientation in the header",
        )
    return best


def _starts(atlas: _Atlas, head: Grid) -> list[Affine]:
    """Where the template's brain may lie, by the size and the top of the head, and by the header's origin."""
    inside = largest_region(head.data > otsu_threshold(head.data) * 0.5)
    points = _world_points(inside, head.affine)
    # The lowest thousandth of what is above: a stray voxel of noise is no top.
    top = float(np.percentile(points[2], 99.9))
    vault = points[:2, points[2] > top - _VAULT]
    first, last = np.percentile(vault, [0.5, 99.5], axis=1)
    brain = _world_points(atlas.distance > 0, atlas.brain.affine)
    low, high = np.percentile(brain, [0.1, 99.9], axis=1)
    middle = (low + high) / 2
    room = last - first - 2 * np.array([_SIDES, _ENDS])
    scale = float(np.clip(np.mean(room / (high - low)[:2]), *_SCALE_RANGE))
    starts = [_pose(scale, 0.0, np.zeros(3), np.zeros(3))]
    for above in _ABOVE:
        height = top - above - scale * (high[2] - middle[2])
        centre = np.array([*(first + last) / 2, height])
        starts += [_pose(scale, pitch, middle, centre) for pitch in _PITCHES]
    return starts


def _world_points(mask: MaskArray, affine: Affine) -> FloatArray:
    """World points (3, N) of the voxels of a mask."""
    return np.asarray(affine[:3, :3] @ np.argwhere(mask).T + affine[:3, 3:])


def _pose(scale: float, pitch: float, source: FloatArray, target: FloatArray) -> Affine:
    """Matrix that scales, nods by `pitch` degrees, and takes `source` to `target`."""
    cosine, sine = np.cos(np.deg2rad(pitch)), np.sin(np.deg2rad(pitch))
    matrix = np.eye(4)
    matrix[:3, :3] = scale * np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    matrix[:3, 3] = target - matrix[:3, :3] @ source
    return matrix


def _on_image(distance: Grid, matrix: Affine, shape: tuple[int, ...], affine: Affine) -> FloatArray:
    """Probability on the image's grid from distances in the template's space and the linear transform."""
    ends = np.array(distance.data.shape) - 1
    corners = np.array([[x, y, z] for x in (0, ends[0]) for y in (0, ends[1]) for z in (0, ends[2])]).T
    to_image = np.linalg.inv(affine) @ matrix @ distance.affine
    reached = to_image[:3, :3] @ corners + to_image[:3, 3:]
    low = np.clip(np.floor(reached.min(axis=1)).astype(int), 0, shape)
    high = np.clip(np.ceil(reached.max(axis=1)).astype(int) + 1, low, shape)
    box = tuple(slice(first, end) for first, end in zip(low, high, strict=True))
    probability = np.zeros(shape, dtype=np.float32)
    if not probability[box].size:
        raise DataError("the template was registered to a place outside of the image", "check the image")
    shift = np.eye(4)
    shift[:3, 3] = low
    values = _resample_distance(
        distance.data,
        distance.affine,
        probability[box].shape,
        affine @ shift,
        matrix=np.asarray(np.linalg.inv(matrix)),
    )
    # What was a millimetre in the template is one times this in the head.
    stretch = abs(float(np.linalg.det(matrix[:3, :3]))) ** (1 / 3)
    probability[box] = expit(values * np.float32(stretch / EDGE_SCALE))
    return probability


def _resample_distance(
    distance: FloatArray,
    affine: Affine,
    shape: tuple[int, ...],
    target: Affine,
    *,
    matrix: Affine | None = None,
    displacement: FloatArray | None = None,
) -> FloatArray:
    """Distances on another grid; beyond their own they are far outside, not 0 as at the edge."""
    raised = resample(distance + _FAR, affine, shape, target, matrix=matrix, displacement=displacement)
    return np.asarray(raised - np.float32(_FAR))
