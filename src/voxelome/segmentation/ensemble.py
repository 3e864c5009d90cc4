"""One brain mask from two methods that have nothing in common, and how far they agree."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import FloatArray, MaskArray
from voxelome.quality import MEASURES
from voxelome.regions import largest_region
from voxelome.segmentation.parts import dice

AGREEMENT = MEASURES["brain mask agreement"]
# Probability of brain above which a voxel is brain.
BRAIN = 0.5
# Dice was 0.974 to 0.983 where both methods were right (fifteen images), 0.939 to 0.955 where at least one
# was off at the edge (T2w with a rim of fluid, T1w with wide sulci), 0.93 with slices of 6.5 mm, and 0.75
# when a registration had fitted the brain to the outline of the head.
GOOD, DOUBTFUL = (limits[0] for limits in (AGREEMENT.green, AGREEMENT.amber))
# Of 1 (no restraint) and 0.8, the latter makes masks found in T1w and in FLAIR of two real visits more alike:
# Dice 0.986 and 0.982, not 0.981 and 0.977. Simulated heads cannot tell how low it should be: they are made
# of the atlas' own template, and so get better down to where the atlas alone decides.
SUREST = 0.8


@dataclass(frozen=True)
class Fused:
    """A brain mask of two methods.

    Attributes
    ----------
    mask : ndarray of bool, shape (x, y, z)
        Largest part, holes filled, of where the mean probability is above one half.
    agreement : float
        Dice of the two methods' own masks, from 0 to 1. From :data:`GOOD` on both are as right as such masks
        are; below, at least one is off at the edge; below :data:`DOUBTFUL`, at least one has gone wrong.
    notes : list of str
        Sentences for the user on why to look; empty if the two agree well.
    """

    mask: MaskArray
    agreement: float
    notes: list[str] = field(default_factory=list)


def fuse(network: FloatArray, atlas: FloatArray) -> Fused:
    """Brain where the mean of two probabilities is above one half, the network's held back.

    A network says nearly 0 or nearly 1 everywhere, also where it is wrong; an atlas' probability falls off
    over the millimetres that its edge is uncertain by. So the network counts as no surer than
    :data:`SUREST`: near the atlas' edge it decides, and where it leaves that edge by more than 1.7 mm
    the atlas does.

    That holds for edges, not for failures. Where the two agree by less than :data:`DOUBTFUL`, nothing tells
    which one is wrong; the mean is taken as it is, which is mostly the network's, and the notes say so.

    Parameters
    ----------
    network, atlas : ndarray, shape (x, y, z)
        Probability of brain by each method, from 0 to 1.

    Raises
    ------
    DataError
        The two are on different grids, or nothing is brain by both together.
    """
    if network.shape != atlas.shape:
        raise DataError(
            f"probabilities of shapes {network.shape} and {atlas.shape} cannot be fused",
            "resample them to one grid",
        )
    one, other = network > BRAIN, atlas > BRAIN
    agreement = dice(one, other, empty=0.0)
    surest = SUREST if agreement >= DOUBTFUL else 1.0
    mean = (np.clip(network, 1 - surest, surest) + atlas) / np.float32(2)
    ratio = float(one.sum()) / max(1.0, float(other.sum()))
    return Fused(largest_region(mean > BRAIN), agreement, _notes(agreement, ratio))


def _notes(agreement: float, ratio: float) -> list[str]:
    """What the agreement means; `ratio` is the network's volume in atlas' volumes."""
    if agreement >= GOOD:
        return []
    found = f"(Dice {agreement:.2f}, the network's brain is {ratio:.2f} times the atlas')"
    if agreement >= DOUBTFUL:
        return [f"Network and atlas differ at the edge of the brain {found}; look at the outline."]
    return [
        f"Network and atlas disagree about the brain {found}: at least one is wrong, and nothing tells "
        "which. The mask follows mostly the network; do not use it before you have looked at its outline."
    ]
