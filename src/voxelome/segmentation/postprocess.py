"""What is done with a network's labels afterwards, by name: parts left out, holes filled, labels nested."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError, listed
from voxelome.imageio import Array, FloatArray, MaskArray
from voxelome.segmentation.parts import (
    TOUCHING,
    box_of,
    boxes_of,
    connected_parts,
    part_sizes,
    same_shape,
    voxel_ml,
)
from voxelome.segmentation.postprocess_settings import check_steps

# Above it a voxel belongs to a region of a network whose regions overlap.
_INSIDE = 0.5
_ROUNDING = 1e-9


@dataclass(frozen=True)
class _Case:
    """What every step may ask for."""

    names: Mapping[int, str]
    spacing: tuple[float, ...]
    voxel: float
    probabilities: Mapping[int, FloatArray] | None

    def values(self, chosen: Sequence[str] | None) -> list[int]:
        """Label values of names; all of them where none are chosen."""
        by_name = {name: value for value, name in self.names.items()}
        return list(self.names) if chosen is None else [by_name[name] for name in chosen]

    def groups(self, settings: Mapping[str, Any]) -> list[list[int]]:
        """Label values that a step takes together: all that are chosen, or each by itself."""
        values = self.values(settings.get("labels"))
        return [[value] for value in values] if settings.get("each", False) else [values]

    def called(self, values: Sequence[int]) -> str:
        return listed(self.names[value] for value in values)

    def under(self, voxels: Any, ml: float) -> MaskArray:
        """Whether counts of voxels are less than `ml`; what is equal but for rounding is not."""
        return np.asarray(voxels * self.voxel < ml * (1 - _ROUNDING))

    def ml(self, voxels: int) -> str:
        return f"{voxels * self.voxel:.3g} ml"


Step = Callable[[Array, _Case, Mapping[str, Any]], tuple[Array, list[str]]]


def postprocess(
    labels: Array,
    spacing: Sequence[float],
    steps: Sequence[Mapping[str, Any]],
    names: Mapping[int, str],
    probabilities: Mapping[int, FloatArray] | None = None,
) -> tuple[Array, list[str]]:
    """Labels after each step in turn, and sentences that say what the steps removed, filled and relabelled.

    A part is a set of voxels connected by faces, edges or corners. ``labels`` of a step are the names of
    those that it works on, all if not given; together, as one mask, unless ``each`` is true. Steps:

    ``largest_component``
        All parts but the largest are removed (the first in the order of the array of parts of one size).
    ``minimum_volume``
        Parts of less than ``ml`` are removed.
    ``fill_holes``
        Background enclosed on all sides gets the label of the nearest voxel.
    ``hierarchy``
        ``order`` names labels from the outermost to the innermost, such as whole, core, enhancing; a region
        is a label and all further inside. By ``parts``, the default: a part of a region in which the
        region's own label does not occur is an inner label without its outer one, such as a core with no
        whole around. ``orphans`` says whether it is removed (``remove``, the default: it gets the innermost
        label further out that it touches, or becomes background) or gets the missing label (``relabel``).
        By ``probabilities``, those of regions that overlap (sigmoid): a voxel keeps its label only if all
        regions around it have at least 0.5 there too, and else gets the innermost label of which this
        holds, or none.
    ``relabel_small``
        ``label`` becomes ``into`` where there is less than ``ml`` of it in all, or with ``each`` in a part:
        of so little enhancing tumour, say, most is false (Isensee et al., nnU-Net for Brain Tumor
        Segmentation, 2021).

    Parameters
    ----------
    labels : ndarray of int, shape (x, y, z)
        0 is the background.
    spacing : sequence of 3 float
        Voxel sizes in mm.
    steps : sequence of mapping
        Each with ``name`` and its settings.
    names : mapping
        Name by label value.
    probabilities : mapping, optional
        By label value, shape (x, y, z).

    Raises
    ------
    DataError
        A step, a setting or a label is unknown, a setting is missing or no number, or shapes differ.
    """
    check_steps(steps, names)
    if labels.ndim != 3 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"the labels are {labels.ndim}D of type {labels.dtype}", "give whole numbers in 3D")
    for value, probability in (probabilities or {}).items():
        same_shape(labels.shape, **{f"the probability of label {value}": probability})
    case = _Case(names, tuple(spacing), voxel_ml(spacing), probabilities)
    sentences: list[str] = []
    for settings in steps:
        labels, said = _STEPS[settings["name"]](labels, case, settings)
        sentences += [f"{settings['name']}: {sentence}" for sentence in said or ["nothing changed"]]
    return labels, sentences


def _largest_component(labels: Array, case: _Case, settings: Mapping[str, Any]) -> tuple[Array, list[str]]:
    def others(sizes: Array) -> MaskArray:
        return np.asarray(np.arange(len(sizes)) != np.argmax(sizes))

    return _without(labels, case, case.groups(settings), others, "beside the largest one")


def _minimum_volume(labels: Array, case: _Case, settings: Mapping[str, Any]) -> tuple[Array, list[str]]:
    def small(sizes: Array) -> MaskArray:
        return case.under(sizes, settings["ml"])

    return _without(labels, case, case.groups(settings), small, f"of less than {settings['ml']:g} ml")


def _without(
    labels: Array,
    case: _Case,
    groups: Sequence[Sequence[int]],
    unwanted: Callable[[Array], MaskArray],
    which: str,
) -> tuple[Array, list[str]]:
    """Labels without the parts that `unwanted` picks by their sizes."""
    labels, said = labels.copy(), []
    for group in groups:
        parts, count = connected_parts(np.isin(labels, group))
        if not count:
            continue
        sizes = part_sizes(parts, count)
        bad = unwanted(sizes)
        labels[np.r_[False, bad][parts]] = 0
        if bad.any():
            lost = case.ml(int(sizes[bad].sum()))
            said.append(f"removed {int(bad.sum())} of {count} parts of {case.called(group)} {which}, {lost}")
    return labels, said


def _fill_holes(labels: Array, case: _Case, settings: Mapping[str, Any]) -> tuple[Array, list[str]]:
    labels, said = labels.copy(), []
    for group in case.groups(settings):
        mask = np.isin(labels, group)
        box = box_of(mask)
        if box is None:
            continue
        inside, inner = mask[box], labels[box]
        holes = ndimage.binary_fill_holes(inside) & (inner == 0)
        if holes.any():
            nearest = ndimage.distance_transform_edt(
                ~inside, sampling=case.spacing, return_distances=False, return_indices=True
            )
            inner[holes] = inner[tuple(axis[holes] for axis in nearest)]
            said.append(f"filled {case.ml(int(holes.sum()))} inside {case.called(group)}")
    return labels, said


def _hierarchy(labels: Array, case: _Case, settings: Mapping[str, Any]) -> tuple[Array, list[str]]:
    order = case.values(settings["order"])
    if settings.get("by", "parts") == "probabilities":
        return _nested(labels, case, order)
    labels, said = labels.copy(), []
    relabel = settings.get("orphans", "remove") == "relabel"
    # From the inside, so that what gets another label is itself looked at next.
    for depth in range(len(order) - 2, -1, -1):
        outer, inner = order[depth], order[depth + 1 :]
        parts, count = connected_parts(np.isin(labels, order[depth:]))
        alone = np.ones(count + 1, dtype=bool)
        alone[np.unique(parts[labels == outer])] = False
        orphans = alone[parts] & (parts > 0)
        if not orphans.any():
            continue
        for index, box in boxes_of(np.where(orphans, parts, 0), margin=1):
            orphan = parts[box] == index
            labels[box][orphan] = outer if relabel else _around(labels[box], orphan, order[:depth])
        done = f"made {case.names[outer]} of" if relabel else "removed"
        lost = case.ml(int(orphans.sum()))
        said.append(f"{done} {lost} of {case.called(inner)} without {case.names[outer]}")
    return labels, said


def _around(labels: Array, part: MaskArray, order: Sequence[int]) -> int:
    """Innermost of the labels in `order` that touches a part; 0 where none does."""
    shell = labels[ndimage.binary_dilation(part, TOUCHING) & ~part]
    return next((value for value in reversed(order) if (shell == value).any()), 0)


def _nested(labels: Array, case: _Case, order: Sequence[int]) -> tuple[Array, list[str]]:
    """Labels that each lie inside all regions around them, by the probabilities of these."""
    given = case.probabilities or {}
    if missing := [case.names[value] for value in order[:-1] if value not in given]:
        raise DataError(
            f"the step hierarchy lacks the probability of {', '.join(missing)}",
            "give the probabilities, or leave out by: probabilities",
        )
    result, said = labels.copy(), []
    for depth in range(1, len(order)):
        deepest, held = np.zeros(labels.shape, dtype=labels.dtype), labels == order[depth]
        inside = held.copy()
        for outer in order[:depth]:
            inside &= given[outer] >= _INSIDE
            deepest[inside] = outer
        moved = held & ~inside
        result[moved] = deepest[moved]
        if moved.any():
            lost = case.ml(int(moved.sum()))
            around = case.called(order[:depth])
            said.append(f"took the label from {lost} of {case.names[order[depth]]} outside of {around}")
    return result, said


def _relabel_small(labels: Array, case: _Case, settings: Mapping[str, Any]) -> tuple[Array, list[str]]:
    value, into = case.values([settings["label"], settings["into"]])
    mask = labels == value
    if settings.get("each", False):
        parts, count = connected_parts(mask)
        small = np.r_[False, case.under(part_sizes(parts, count), settings["ml"])][parts]
    else:
        small = mask & case.under(mask.sum(), settings["ml"])
    if not small.any():
        return labels, []
    limit = f"less than {settings['ml']:g} ml {'in a part' if settings.get('each', False) else 'in all'}"
    said = f"made {settings['into']} of {case.ml(int(small.sum()))} of {settings['label']} ({limit})"
    return np.where(small, np.asarray(into, dtype=labels.dtype), labels), [said]


_STEPS: dict[str, Step] = {
    "largest_component": _largest_component,
    "minimum_volume": _minimum_volume,
    "fill_holes": _fill_holes,
    "hierarchy": _hierarchy,
    "relabel_small": _relabel_small,
}
