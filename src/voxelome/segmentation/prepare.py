"""Images made ready for a network: its channels, scaled, on its grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, MaskArray
from voxelome.segmentation.conform import conform
from voxelome.segmentation.grids import NetworkGrid, network_grid, to_network
from voxelome.segmentation.intensity import far_outside, scale
from voxelome.segmentation.spec import ImageError, InputSpec, NetworkSpec

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """What a network takes.

    Attributes
    ----------
    stack : ndarray of float32, shape (C, x, y, z)
        Channels in the order of the inputs; those of an absent input are 0.
    grid : NetworkGrid
    inside : ndarray of bool, shape (x, y, z), or None
        Brain on that grid; None where the network sees what is outside, too.
    notes : list of str
        Sentences for the user on what is odd.
    """

    stack: FloatArray
    grid: NetworkGrid
    inside: MaskArray | None
    notes: list[str] = field(default_factory=list)


def prepare(
    volumes: Sequence[Array | None], affine: Affine, brain: MaskArray | None, spec: NetworkSpec
) -> Prepared:
    """Channels of a network on its grid.

    Parameters
    ----------
    volumes : sequence of (ndarray, shape (x, y, z), or None)
        One for each input of `spec`, on one grid; None where there is no such image.
    affine : ndarray, shape (4, 4)
        Voxels to world, RAS+ mm.
    brain : ndarray of bool, shape (x, y, z), or None
        Brain mask, where `spec` needs one.
    spec : NetworkSpec

    Raises
    ------
    ImageError
        An image is not finite, or without contrast.
    DataError
        An image that the network needs is missing; images are not on one grid; the brain mask is needed and
        missing or empty.
    """
    shape = check_inputs(volumes, brain, spec)
    target = network_grid(shape, affine, spec.grid, brain)
    inside = None
    keep = brain if spec.grid.brain_only else None
    if keep is not None:
        inside = to_network(keep.astype(np.float32), target) > 0.5
    stack = np.zeros((spec.channels, *target.shape), dtype=np.float32)
    notes, first = [], 0
    conformed = spec.grid.kind == "conform"
    for index, (volume, item) in enumerate(zip(volumes, spec.inputs, strict=True)):
        channels = stack[first : first + item.channels]
        first += item.channels
        if volume is None:
            continue
        try:
            notes.append(far_outside(volume, brain, item))
            _fill(channels, volume, affine, brain, item, target, conformed=conformed, keep=keep)
        except DataError as error:
            raise ImageError(error.problem, error.remedy, index) from error
        if inside is not None:
            channels *= inside
    return Prepared(stack, target, inside, [note for note in notes if note])


def check_inputs(
    volumes: Sequence[Array | None], brain: MaskArray | None, spec: NetworkSpec
) -> tuple[int, ...]:
    """Shape of the images, after a check that all are there that the network needs.

    Raises
    ------
    DataError
        One is missing, or they have different shapes.
    """
    if len(volumes) != len(spec.inputs):
        problem = f"{spec.name} takes {len(spec.inputs)} images, and {len(volumes)} were given"
        raise DataError(problem, "give one for each input, or none in its place")
    if lacking := spec.lacking([volume is not None for volume in volumes]):
        raise DataError(f"{spec.name} needs {lacking}", "acquire it, or choose another network")
    given = [volume for volume in volumes if volume is not None]
    shapes = {volume.shape for volume in given} | ({brain.shape} if brain is not None else set())
    if len(shapes) > 1 or given[0].ndim != 3:
        listed = ", ".join(str(shape) for shape in sorted(shapes))
        raise DataError(f"images and brain mask have the shapes {listed}", "bring them to one 3D grid")
    return tuple(given[0].shape)


def _fill(
    channels: FloatArray,
    volume: Array,
    affine: Affine,
    brain: MaskArray | None,
    item: InputSpec,
    target: NetworkGrid,
    *,
    conformed: bool,
    keep: MaskArray | None,
) -> None:
    """Write the channels of one image, of which only `keep` is shown where it is given."""
    if not conformed:
        for channel, scaled in zip(channels, scale(volume, brain, item), strict=True):
            # Cut before it is resampled: scalp beside the brain would shine into its edge, and images that
            # come without a scalp would look otherwise.
            channel[:] = to_network(scaled if keep is None else scaled * keep, target)
        return
    # The figures come from the whole conformed image, as bytes; it is cut afterwards.
    image, frame = conform(volume, affine)
    whole = NetworkGrid(image.shape, frame, target.native_shape, affine)
    mask = None if brain is None else to_network(brain.astype(np.float32), whole) > 0.5
    start = np.rint((np.linalg.inv(frame) @ target.affine)[:3, 3]).astype(int)
    part = tuple(slice(int(low), int(low) + size) for low, size in zip(start, target.shape, strict=True))
    channels[:] = scale(image, mask, item)[(slice(None), *part)]
