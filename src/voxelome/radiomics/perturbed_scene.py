"""An image and its regions, ready to be perturbed many times: what several perturbations share is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import Array, FloatArray, MaskArray
from voxelome.radiomics import perturbed_outline as outlines
from voxelome.radiomics.checks import DIMENSIONS, NOWHERE, Box, box_of
from voxelome.radiomics.perturbed_image import (
    Pose,
    Source,
    Voxels,
    around,
    common,
    grown,
    moved_labels,
    moved_mask,
    pose_of,
    source_of,
    within,
)

Shift: TypeAlias = tuple[float, float, float]
# Rotation in degrees and translation in voxels.
Motion: TypeAlias = tuple[float, Shift]


@dataclass(frozen=True)
class Outline:
    """A region in the smallest box around it."""

    mask: MaskArray
    box: Box

    def placed(self, box: Box) -> MaskArray:
        """Return the region in a box around its own."""
        result = np.zeros([part.stop - part.start for part in box], dtype=bool)
        result[within(self.box, box)] = self.mask
        return result


@dataclass(frozen=True)
class Region:
    """A region as it was drawn, and the part of the image in which it may get another outline.

    Attributes
    ----------
    drawn : Outline
    whole : ndarray, shape (x, y, z)
        The image.
    sizes : tuple of three float
        Voxel sizes in mm.
    part : tuple of three slice
        Where the new outline may lie.
    growth : tuple of three int
        How many voxels from the region it may grow.
    room : tuple of three int
        How many voxels from the region the part goes on, unless the image ends.
    """

    drawn: Outline
    whole: Array
    sizes: tuple[float, ...]
    part: Box
    growth: Voxels
    room: Voxels

    @cached_property
    def supervoxels(self) -> Array:
        """Numbers of the supervoxels of that part."""
        return outlines.supervoxels(self.whole[self.part], self.drawn.placed(self.part), self.sizes)


@dataclass(frozen=True)
class MovedRegion:
    """A region in a pose, with what its outlines there have in common."""

    region: Region
    pose: Pose

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.region.whole.shape

    @cached_property
    def _moved(self) -> Outline:
        drawn = self.region.drawn
        return _outline(*moved_mask(drawn.mask, drawn.box, self.pose, self._shape))

    @cached_property
    def _ground(self) -> Box:
        """Where the region may grow."""
        return grown(self._moved.box, self.region.growth, self._shape)

    @cached_property
    def _outwards(self) -> FloatArray:
        mask = self._moved.placed(self._ground)
        return outlines.distance_map(mask, self.region.sizes, outwards=True)

    @cached_property
    def _inwards(self) -> FloatArray:
        return outlines.distance_map(self._moved.mask, self.region.sizes, outwards=False)

    @cached_property
    def _surroundings(self) -> Box:
        """Where another outline may lie."""
        return grown(self._moved.box, self.region.room, self._shape)

    @cached_property
    def _supervoxels(self) -> Array:
        labels = self.region.supervoxels
        return moved_labels(labels, self.region.part, self.pose, self._surroundings)

    def outline(self, volume: float, rim: int, contour: int | None) -> Outline:
        """Return the region larger or smaller, and drawn anew.

        Parameters
        ----------
        volume : float
            Share of its volume by which it grows, negative to shrink.
        rim : int
            Seed of which voxels at the last distance that takes.
        contour : int or None
            Seed of the new outline; None: it stays.

        Raises
        ------
        DataError
            Nothing is left of the region, or it has no room to grow.
        """
        outline = self._moved
        if volume > 0:
            mask = outlines.resized(outline.placed(self._ground), self._outwards, volume, rim)
            outline = _outline(mask, self._ground)
        elif volume < 0:
            outline = _outline(outlines.resized(outline.mask, self._inwards, volume, rim), outline.box)
        if contour is not None:
            mask = outlines.randomised(outline.placed(self._surroundings), self._supervoxels, contour)
            outline = _outline(mask, self._surroundings)
        return outline


@dataclass(frozen=True)
class Scene:
    """An image with regions that move together.

    Attributes
    ----------
    whole : ndarray, shape (x, y, z)
    sizes : tuple of three float
        Voxel sizes in mm.
    regions : mapping of str to Region
    centre : ndarray, shape (3,)
        The voxel that rotation leaves where it is.
    reach : tuple of three int
        How many voxels from where outlines may lie the image is perturbed.
    motions : sequence of (float, tuple of three float)
        Every motion that will be asked for.
    """

    whole: Array
    sizes: tuple[float, ...]
    regions: Mapping[str, Region]
    centre: FloatArray
    reach: Voxels
    motions: Sequence[Motion]

    @cached_property
    def _source(self) -> Source:
        poses = [self.pose(motion) for motion in dict.fromkeys(self.motions)]
        return source_of(self.whole, self.sizes, [(pose, self._extent(pose)) for pose in poses])

    def pose(self, motion: Motion) -> Pose:
        """Return the pose after a motion."""
        return pose_of(*motion, self.centre, self.sizes)

    def _extent(self, pose: Pose) -> Box:
        """Return the box in which the image is perturbed."""
        boxes = []
        for region in self.regions.values():
            first, second, third = (a + b for a, b in zip(region.room, self.reach, strict=True))
            boxes.append(pose.moved_box(region.drawn.box, (first, second, third), self.whole.shape))
        return around(boxes)

    def moved(self, pose: Pose, box: Box) -> FloatArray:
        """Return that part of a box in which the image is perturbed, without noise."""
        return self._source.moved(pose, common(box, self._extent(pose)))

    def image(self, pose: Pose, box: Box, noise: int | None, moved: FloatArray) -> Array:
        """Return a box of the perturbed image, given what :meth:`moved` gives of it.

        Raises
        ------
        DataError
            The strength of the noise cannot be told.
        """
        part = common(box, self._extent(pose))
        values = moved if noise is None else moved + self._source.moved_noise(pose, part, noise)
        finished = self._source.finished(values, pose, part)
        result: Array = self.whole[box].astype(finished.dtype)
        result[within(part, box)] = finished
        return result


def scene_of(
    image: Array,
    masks: Mapping[str, MaskArray],
    sizes: tuple[float, ...],
    motions: Sequence[Motion],
    reach: Voxels,
    centre: Shift | None = None,
) -> Scene:
    """Return an image and its regions, checked; without a centre, that of all regions together.

    Raises
    ------
    DataError
        Image and masks are not three-dimensional arrays of one shape, or a region is empty.
    """
    if image.ndim != DIMENSIONS:
        raise DataError(f"the image has {image.ndim} dimensions", "give one of three")
    regions = {}
    for name, mask in masks.items():
        if mask.shape != image.shape:
            problem = f"the image is {image.shape} and the region {mask.shape}"
            raise DataError(problem, "resample one to the other's grid")
        if (box := box_of(mask)) == NOWHERE:
            raise DataError(f"the region {name} is empty", "leave it out")
        regions[name] = _region(image, Outline(mask[box].astype(bool), box), sizes)
    if not regions:
        middle: FloatArray = np.zeros(DIMENSIONS)
    elif centre is None:
        box = around(region.drawn.box for region in regions.values())
        together = np.logical_or.reduce([mask[box] for mask in masks.values()])
        middle = np.argwhere(together).mean(axis=0) + [part.start for part in box]
    else:
        middle = np.array(centre, dtype=np.float64)
    return Scene(image, sizes, regions, middle, reach, motions)


def _region(image: Array, drawn: Outline, sizes: tuple[float, ...]) -> Region:
    """Return a region with the part of the image around it."""
    count = int(np.count_nonzero(drawn.mask))
    growth = outlines.growth_reach(count, sizes)
    first, second, third = (
        # A supervoxel ends within twice its size from its middle.
        a + 2 * b
        for a, b in zip(growth, outlines.supervoxel_size(count, sizes), strict=True)
    )
    room = (first, second, third)
    return Region(drawn, image, sizes, grown(drawn.box, room, image.shape), growth, room)


def _outline(mask: MaskArray, box: Box) -> Outline:
    """Return the outline of a region that lies somewhere in a box."""
    inner = box_of(mask)
    if inner == NOWHERE:
        raise DataError("nothing is left of the region where it moved", "leave the region out")
    first, second, third = (
        slice(a.start + b.start, a.stop + b.start) for a, b in zip(inner, box, strict=True)
    )
    return Outline(mask[inner], (first, second, third))
