"""Where a lesion lies: side, place in the white matter, region of an atlas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from voxelome.errors import DataError, listed
from voxelome.imageio import Affine, Array, FloatArray, MaskArray

# Nearer than this (mm) to a lateral ventricle is periventricular: the juxtaventricular zone of Kim et al.,
# Biol Psychiatry 64:273, 2008, and, within what a mask is off by, contact (Thompson et al., Lancet Neurol
# 17:162, 2018: the 2017 McDonald criteria).
VENTRICLE_MM = 3.0
# Nearer than this to the cortex is in contact with it: juxtacortical by the McDonald criteria.
CORTEX_MM = 2.0
# Voxels nearer than this to the midplane are on neither side, and so much of a lesion is on one side.
_MIDLINE_MM, _ON_ONE_SIDE = 2.0, 0.9

_INFRATENTORIAL = (
    *("cerebell", "brain-stem", "brainstem", "brain stem"),
    *("pons", "medulla", "midbrain", "vermis"),
)
_DEEP_GRAY = (
    *("thalamus", "caudate", "putamen", "pallid", "accumbens", "hippocamp", "amygdala"),
    *("ventraldc", "ventral dc", "ventral-dc", "basal ganglia", "basal-ganglia", "deep gray", "deep grey"),
)
_OTHER_VENTRICLES = ("3rd", "4th", "5th", "third", "fourth", "fifth")


@dataclass(frozen=True)
class Labelled:
    """A label image on the grid of the lesions, and the name of each label."""

    data: Array
    names: Mapping[int, str]


@dataclass(frozen=True)
class Place:
    """Where a lesion lies among the brain's structures.

    Attributes
    ----------
    name : str
        ``infratentorial`` or ``deep gray matter`` (most of it is), ``periventricular``, ``juxtacortical``,
        ``periventricular and juxtacortical``, or ``deep white matter``.
    ventricle_mm, cortex_mm : float
        Least distance between centres of its voxels and of those of the lateral ventricles and the cortex.
    """

    name: str
    ventricle_mm: float
    cortex_mm: float


class Structures:
    """Brain structures in which lesions are placed.

    Parameters
    ----------
    labelled : Labelled
        Structures named as FreeSurfer does: Left-Lateral-Ventricle, ctx-lh-insula, Cerebellum-Cortex ...
    affine : ndarray, shape (4, 4)
        Voxels to world, mm.

    Raises
    ------
    DataError
        Lateral ventricles or cortex are not named, or do not occur.
    """

    def __init__(self, labelled: Labelled, affine: Affine) -> None:
        roles = {value: structure_role(name) for value, name in labelled.names.items()}
        masks = {
            role: np.isin(labelled.data, [value for value, its in roles.items() if its == role])
            for role in ("lateral ventricle", "cortex", "infratentorial", "deep gray matter", "other")
        }
        for role in ("lateral ventricle", "cortex"):
            if not masks[role].any():
                raise DataError(
                    f"the brain structures hold no {role} (names: {listed(labelled.names.values())})",
                    "give labels named as FreeSurfer does, with Lateral-Ventricle and Cerebral-Cortex",
                )
        self._reach = {role: _Reach(mask, affine) for role, mask in masks.items() if mask.any()}

    def place(self, voxels: Array) -> Place:
        """Where a lesion lies, from the indices of its voxels, shape (n, 3).

        A voxel of the lesion that has no label counts for the structure nearest to it.
        """
        distance = {role: reach.distance(voxels) for role, reach in self._reach.items()}
        ventricle, cortex = (float(distance[role].min()) for role in ("lateral ventricle", "cortex"))
        roles = list(distance)
        nearest = np.argmin(np.stack(list(distance.values())), axis=0)
        for role in ("infratentorial", "deep gray matter"):
            if role in roles and np.mean(nearest == roles.index(role)) > 0.5:
                return Place(role, ventricle, cortex)
        near = [
            *(["periventricular"] if ventricle <= VENTRICLE_MM else []),
            *(["juxtacortical"] if cortex <= CORTEX_MM else []),
        ]
        return Place(" and ".join(near) or "deep white matter", ventricle, cortex)


class _Reach:
    """Distances in mm to a mask: between centres of voxels, 0 inside."""

    def __init__(self, mask: MaskArray, affine: Affine) -> None:
        self._mask, self._steps = mask, affine[:3, :3]
        surface = np.argwhere(mask & ~ndimage.binary_erosion(mask))
        self._tree = cKDTree(surface @ self._steps.T)

    def distance(self, voxels: Array) -> FloatArray:
        """Distance of each voxel, from indices of shape (n, 3)."""
        found = np.zeros(len(voxels))
        outside = ~self._mask[tuple(voxels.T)]
        found[outside] = self._tree.query(voxels[outside] @ self._steps.T)[0]
        return found


def structure_role(name: str) -> str:
    """What a structure of this name is for the place of a lesion.

    Examples
    --------
    >>> [structure_role(name) for name in ("Left-Lateral-Ventricle", "ctx-lh-insula", "4th-Ventricle")]
    ['lateral ventricle', 'cortex', 'other']
    """
    folded = name.casefold()
    if any(word in folded for word in _INFRATENTORIAL):
        return "infratentorial"
    if any(word in folded for word in _DEEP_GRAY):
        return "deep gray matter"
    if "ventric" in folded or folded.endswith("lat-vent"):
        return "other" if any(word in folded for word in _OTHER_VENTRICLES) else "lateral ventricle"
    cortical = "cortex" in folded or "cortical gr" in folded or folded.startswith("ctx")
    return "cortex" if cortical else "other"


def side_of(points: FloatArray) -> str | None:
    """Side that points of shape (n, 3) in a template's world, RAS mm, lie on.

    Returns
    -------
    str or None
        ``left`` or ``right`` where at least nine tenths of them lie more than 2 mm from the midplane on
        that side, else ``midline``; None where no point is known (NaN).
    """
    x = points[np.isfinite(points).all(axis=1), 0]
    if len(x) == 0:
        return None
    if np.mean(x < -_MIDLINE_MM) >= _ON_ONE_SIDE:
        return "left"
    return "right" if np.mean(x > _MIDLINE_MM) >= _ON_ONE_SIDE else "midline"


def region_of(voxels: Array, atlas: Labelled) -> tuple[str | None, float]:
    """Label of an atlas that most of a lesion's voxels (indices, shape (n, 3)) have, and its share of them.

    None and 0 where the lesion lies in no label.
    """
    values, counts = np.unique(atlas.data[tuple(voxels.T)], return_counts=True)
    named = [
        (int(count), int(value)) for value, count in zip(values, counts, strict=True) if value in atlas.names
    ]
    if not named:
        return None, 0.0
    count, value = max(named, key=lambda item: (item[0], -item[1]))
    return atlas.names[value], count / len(voxels)
