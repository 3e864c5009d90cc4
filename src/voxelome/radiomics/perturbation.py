"""Features of a region that was measured a little differently: chains of perturbations.

A chain adds noise, rotates and moves image and region in one interpolation, lets the region grow or shrink,
and draws its outline anew, in this order (that of the paper's software, mirp). Only what lies around the
regions is perturbed; farther away the image stays as it is.

References
----------
Zwanenburg A, Leger S, Agolli L, et al. Assessing robustness of radiomic features by image perturbation. Sci
Rep 9 (2019) 614.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import numpy as np
import pywt

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, MaskArray, voxel_sizes
from voxelome.radiomics.checks import Box
from voxelome.radiomics.extract import extract_regions, shape_features
from voxelome.radiomics.perturbed_image import Pose, Voxels, around, everywhere
from voxelome.radiomics.perturbed_outline import LARGEST_CHANGE
from voxelome.radiomics.perturbed_scene import Motion, MovedRegion, Outline, Scene, Shift, scene_of
from voxelome.radiomics.results import RegionFeatures
from voxelome.radiomics.settings import RadiomicsSettings

Item = TypeVar("Item")
# Name of a region and number of a chain.
Case: TypeAlias = tuple[str, int]
# Chains that share a pose, and with it the interpolation and the derived images of those without noise.
_CHAINS_PER_POSE = 5
_LARGEST_SEED = 2**31
# Derived images that depend on a neighborhood only, so that a box of the image gives them to the bit.
_LOCAL = frozenset({"Original", "Wavelet", "Gradient"})
# Options that make every voxel of the image count.
_GLOBAL = ("normalize", "preCrop")
# Standard deviations that a Gaussian reaches, and voxels that PyRadiomics' splines do.
_GAUSSIAN_REACH, _SPLINE_REACH = 4.0, 12
# What PyRadiomics takes where nothing is given.
_PAD, _WAVELET = 5, "coif1"


@dataclass(frozen=True)
class Perturbation:
    """One chain; without arguments nothing is perturbed.

    Attributes
    ----------
    rotation : float
        Degrees about the axis across slices (that of the largest voxel size; the third where all are alike).
    translation : tuple of three float
        In voxels.
    noise : int or None
        Seed of Gaussian noise as strong as that of the image; None: no noise.
    volume : float
        Share of its volume by which the region grows, or shrinks where negative; at most a half.
    contour : int or None
        Seed of another outline along supervoxels; None: the outline stays.
    rim : int
        Seed for which of the voxels at the last distance growth and shrinkage take.

    Raises
    ------
    DataError
        A number is not finite, the volume changes by more than a half, or a seed is negative.
    """

    rotation: float = 0.0
    translation: Shift = (0.0, 0.0, 0.0)
    noise: int | None = None
    volume: float = 0.0
    contour: int | None = None
    rim: int = 0

    def __post_init__(self) -> None:
        if not np.isfinite([self.rotation, *self.translation]).all():
            problem = f"a perturbation rotates by {self.rotation} and moves by {self.translation}"
            raise DataError(problem, "give finite numbers")
        if not abs(self.volume) <= LARGEST_CHANGE:
            problem = f"a perturbation changes the volume by {self.volume:.0%}"
            raise DataError(problem, f"give at most {LARGEST_CHANGE:.0%}")
        if wrong := [seed for seed in (self.noise, self.contour, self.rim) if seed is not None and seed < 0]:
            raise DataError(f"a perturbation has the seed {wrong[0]}", "give seeds from 0")

    @property
    def motion(self) -> Motion:
        """Rotation and translation."""
        return self.rotation, self.translation


def perturbations(
    count: int,
    seed: int,
    *,
    rotation: float = 6.0,
    shifts: Sequence[float] = (0.25, 0.75),
    volume: float = 0.2,
    noise: bool = True,
    contour: bool = True,
) -> list[Perturbation]:
    """Return chains drawn at random, the same for the same seed.

    Five chains share a pose (as the paper's do, which are a grid of values); of these every other one has
    noise. Each changes volume and outline in its own way. None is the unperturbed one.

    Parameters
    ----------
    count, seed : int
    rotation : float
        Largest rotation in degrees, both ways; 13 in the paper.
    shifts : sequence of float
        Shifts in voxels, one of which is drawn for each axis.
    volume : float
        Largest change of the volume as a share, both ways; 0 leaves it out.
    noise, contour : bool
        Whether noise is added, and outlines are drawn anew.

    Raises
    ------
    DataError
        There is no chain to draw, or no shift to draw from.
    """
    if count < 1 or not shifts:
        raise DataError(
            f"{count} perturbations with shifts of {tuple(shifts)}", "ask for at least one of each"
        )
    rng = np.random.default_rng(seed)
    poses = [
        (float(rng.uniform(-rotation, rotation)), tuple(float(s) for s in rng.choice(shifts, 3)))
        for _ in range(-(-count // _CHAINS_PER_POSE))
    ]
    chains = []
    for number in range(count):
        turn, which = divmod(number, len(poses))
        angle, (x, y, z) = poses[which]
        first, second, third = (int(one) for one in rng.integers(_LARGEST_SEED, size=3))
        chains.append(
            Perturbation(
                rotation=angle,
                translation=(x, y, z),
                noise=first if noise and turn % 2 else None,
                volume=float(rng.uniform(-volume, volume)),
                contour=second if contour else None,
                rim=third,
            )
        )
    return chains


def perturb(
    image: Array,
    mask: MaskArray,
    affine: Affine,
    perturbation: Perturbation,
    *,
    reach: Voxels = (0, 0, 0),
    centre: Shift | None = None,
) -> tuple[Array, MaskArray]:
    """Return image and region after one chain of perturbations.

    Parameters
    ----------
    image : ndarray, shape (x, y, z)
        Intensities; exactly 0 or not finite where they are not known, which stays so.
    mask : ndarray of bool, shape (x, y, z)
        The region. The new one may hold voxels whose intensity is not known.
    affine : ndarray, shape (4, 4)
        Voxel to world (mm); only the voxel sizes count.
    perturbation : Perturbation
        The chain.
    reach : tuple of three int
        How many voxels from the region the image is perturbed as well, beside those where its new outline
        may lie: what filters need, as :func:`filter_reach` tells.
    centre : tuple of three float, or None
        The voxel that rotation leaves where it is; None: the centre of the region.

    Returns
    -------
    image : ndarray, shape (x, y, z)
        Integers have become floating point. Beyond the reach, the image is as it was.
    mask : ndarray of bool, shape (x, y, z)
        The voxels of which at least half lies in the moved region, larger or smaller, drawn anew.

    Raises
    ------
    DataError
        Arrays do not fit, the region is empty or nothing is left of it, or the noise is not to be told.
    """
    motion = perturbation.motion
    scene = scene_of(image, {"": mask}, voxel_sizes(affine), [motion], reach, centre)
    pose, whole = scene.pose(motion), everywhere(image.shape)
    outline = _outline(MovedRegion(scene.regions[""], pose), perturbation)
    perturbed = scene.image(pose, whole, perturbation.noise, scene.moved(pose, whole))
    return perturbed, outline.placed(whole)


def filter_reach(settings: RadiomicsSettings, affine: Affine) -> Voxels:
    """Return how many voxels around a region its features depend on, along x, y and z.

    A Gaussian is cut off at four standard deviations.
    """
    sizes = np.array(voxel_sizes(affine))
    reach = np.zeros(3)
    for kind in settings.image_types:
        options = settings.of(kind)
        if kind == "LoG":
            reach = np.maximum(reach, _GAUSSIAN_REACH * max(options["sigma"]) / sizes)
        elif kind == "Wavelet":
            levels = options.get("start_level", 0) + options.get("level", 1)
            # One more where the box has an odd size.
            reach = np.maximum(reach, pywt.Wavelet(options.get("wavelet", _WAVELET)).dec_len * levels + 1)
        elif kind == "Gradient":
            reach = np.maximum(reach, 1)
        elif kind == "LBP3D":
            reach = np.maximum(reach, options.get("lbp3DIcosphereRadius", 1) + _SPLINE_REACH)
    if settings.resamples:
        wanted = np.maximum(settings.options["resampledPixelSpacing"], sizes)
        reach = reach + settings.options.get("padDistance", _PAD) * wanted / sizes + _SPLINE_REACH
    first, second, third = (int(np.ceil(one)) for one in reach)
    return first, second, third


def perturbed_features(
    image: Array,
    masks: Mapping[str, MaskArray],
    affine: Affine,
    settings: RadiomicsSettings,
    chains: Sequence[Perturbation],
) -> dict[str, list[RegionFeatures]]:
    """Return shape, intensity and texture features of regions of an image after each chain.

    All regions rotate about their common centre. Chains of one pose share its interpolation; those without
    noise share the derived images, too. Intensity and texture are measured where the intensity is known, the
    shape everywhere.

    Parameters
    ----------
    image : ndarray, shape (x, y, z)
        Intensities; exactly 0 where they are not known.
    masks : mapping of str to ndarray of bool, shape (x, y, z)
        The regions; they may overlap.
    affine : ndarray, shape (4, 4)
        Voxel to world (mm).
    settings : RadiomicsSettings
        Derived images, gray levels, classes and shapes.
    chains : sequence of Perturbation

    Returns
    -------
    dict of str to list of RegionFeatures
        For each region the features after each chain, those of the shape first. Where the region is empty or
        the chain cannot be applied to it, no feature has a value, and the reason is that.

    Raises
    ------
    DataError
        Image and masks are not three-dimensional arrays of one shape.
    """
    drawable = {name: mask for name, mask in masks.items() if mask.any()}
    empty = _without(DataError("the region is empty", "leave it out"), settings)
    found: dict[Case, RegionFeatures] = {
        (name, number): empty for name in masks.keys() - drawable.keys() for number in range(len(chains))
    }
    motions = [chain.motion for chain in chains] if drawable else []
    scene = scene_of(image, drawable, voxel_sizes(affine), motions, filter_reach(settings, affine))
    for same_motion in _grouped(range(len(motions)), motions.__getitem__):
        pose = scene.pose(motions[same_motion[0]])
        drawn: dict[Case, Outline] = {}
        for name, region in scene.regions.items():
            moved = MovedRegion(region, pose)
            for number in same_motion:
                try:
                    drawn[name, number] = _outline(moved, chains[number])
                except DataError as error:
                    found[name, number] = _without(error, settings)
        if drawn:
            found |= _measured(scene, pose, drawn, chains, affine, settings)
    return {name: [found[name, number] for number in range(len(chains))] for name in masks}


def _measured(
    scene: Scene,
    pose: Pose,
    drawn: Mapping[Case, Outline],
    chains: Sequence[Perturbation],
    affine: Affine,
    settings: RadiomicsSettings,
) -> dict[Case, RegionFeatures]:
    """Return the features of outlines in one pose."""
    box = _measured_box(scene, drawn.values(), settings)
    moved = scene.moved(pose, box)
    found: dict[Case, RegionFeatures] = {}
    for cases in _grouped(drawn, lambda case: chains[case[1]].noise):
        try:
            image = scene.image(pose, box, chains[cases[0][1]].noise, moved)
        except DataError as error:
            found |= {case: _without(error, settings) for case in cases}
            continue
        known = image != 0
        masks = [drawn[case].placed(box) for case in cases]
        # In one call, so that all these outlines share the derived images.
        inside = {str(index): mask & known for index, mask in enumerate(masks)}
        extracted = extract_regions(image, inside, affine, settings).values()
        for case, mask, features in zip(cases, masks, extracted, strict=True):
            shape = shape_features(mask, affine, settings)
            found[case] = RegionFeatures([*shape, *features.values], features.levels)
    return found


def _measured_box(scene: Scene, drawn: Iterable[Outline], settings: RadiomicsSettings) -> Box:
    """Return the part of the image that gives outlines the same features as all of it."""
    size = scene.whole.shape
    options = settings.options
    if settings.resamples or any(map(options.get, _GLOBAL)) or not _LOCAL.issuperset(settings.image_types):
        return everywhere(size)
    inner = around(outline.box for outline in drawn)
    # Wavelets wrap around at the ends of the image: where they reach one, the whole axis counts.
    first, second, third = (
        slice(part.start - reach, part.stop + reach)
        if reach <= part.start and part.stop + reach <= length
        else slice(0, length)
        for part, reach, length in zip(inner, scene.reach, size, strict=True)
    )
    return first, second, third


def _outline(moved: MovedRegion, chain: Perturbation) -> Outline:
    return moved.outline(chain.volume, chain.rim, chain.contour)


def _grouped(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    """Return items with the same key together, in the order of their first."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def _without(error: DataError, settings: RadiomicsSettings) -> RegionFeatures:
    """Return every feature without a value, and why."""
    # The features of an empty region have the names and units of all others.
    nothing = np.zeros((1, 1, 1), dtype=bool)
    features = extract_regions(nothing.astype(float), {"": nothing}, np.eye(4), settings)[""]
    values = [*shape_features(nothing, np.eye(4), settings), *features.values]
    reason = f"{error.problem[0].upper()}{error.problem[1:]}."
    return RegionFeatures([replace(value, reason=reason) for value in values])
