"""Regions made out of other regions: unions, differences, shells, single lesions, sides, mirror images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from scipy import ndimage

from voxelome.columns import BRAIN
from voxelome.errors import DataError, suggest
from voxelome.imageio import Affine, MaskArray, voxel_sizes

# Operations on one region, and whether they need a distance.
SINGLE = {
    "shell": True,
    "grow": True,
    "shrink": True,
    "largest": False,
    "each": False,
    "left": False,
    "right": False,
    "mirror": False,
}
SEVERAL = ("union", "intersection", "difference")
OPERATIONS = (*SEVERAL, *SINGLE)
_LATERAL = ("left", "right", "mirror")
# Voxels that touch by a corner belong to one lesion.
_TOUCHING = np.ones((3, 3, 3), dtype=bool)
_FLIP = np.diag([-1.0, 1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Recipe:
    """How one region is made out of others.

    Attributes
    ----------
    name : str
        Name of the new region.
    operation : str
        One of :data:`OPERATIONS`.
    sources : tuple of str
        Names of regions; of a union, an intersection and what a difference takes away also patterns such as
        ``tumor-*``.
    mm : float
        How far a shell, growth or shrinkage reaches.
    minimum_ml : float
        A smaller result is left out; of ``each`` and ``largest``, a smaller lesion.
    """

    name: str
    operation: str
    sources: tuple[str, ...]
    mm: float = 0.0
    minimum_ml: float = 0.0


@dataclass
class MadeRegions:
    """Regions that were made, and what was not: pairs of what and why."""

    masks: dict[str, MaskArray] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def parse_recipes(items: Sequence[Mapping[str, Any]]) -> list[Recipe]:
    """Return the recipes of a study's settings, checked.

    Raises
    ------
    DataError
        A name is missing, used twice or that of the brain; there is not exactly one operation; a distance is
        missing or not positive; a key is unknown.
    """
    recipes: list[Recipe] = []
    for item in items:
        recipe = _parse(item)
        if recipe.name in (BRAIN, *(other.name for other in recipes)):
            raise DataError(f"there are two regions {recipe.name}", "give each a name of its own")
        recipes.append(recipe)
    return recipes


def make_regions(
    recipes: Sequence[Recipe],
    masks: Mapping[str, MaskArray],
    affine: Affine,
    to_midplane: Affine | None = None,
) -> MadeRegions:
    """Return the regions that recipes make, in their order; a recipe may use what came before it.

    Parameters
    ----------
    recipes : sequence of Recipe
        What to make.
    masks : mapping of str to ndarray of bool, shape (x, y, z)
        The regions that there are, on one grid; ``brain`` bounds shells, growth and mirror images.
    affine : ndarray, shape (4, 4)
        Voxel to world (RAS+, mm).
    to_midplane : ndarray, shape (4, 4), optional
        World (mm) to a space whose first coordinate is 0 in the plane between the hemispheres and positive
        on the right. Without it sides and mirror images are not made.

    Notes
    -----
    A source that is not there counts as empty in a union and in what a difference takes away, and is noted;
    otherwise the region is not made.
    """
    made = MadeRegions()
    known = dict(masks)
    for recipe in recipes:
        for name, mask in _made(recipe, known, affine, to_midplane, made):
            voxel = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
            volume = float(np.count_nonzero(mask)) * voxel
            if volume == 0:
                made.skipped.append((name, "it has no voxel"))
            elif volume < recipe.minimum_ml:
                reason = f"{volume:.3g} ml is less than {recipe.minimum_ml:g} ml"
                made.skipped.append((name, reason))
            else:
                known[name] = made.masks[name] = mask
    return made


def mirrored(mask: MaskArray, affine: Affine, to_midplane: Affine) -> MaskArray:
    """Return the mirror image of a region across the plane between the hemispheres.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
        The region.
    affine, to_midplane : ndarray, shape (4, 4)
        As in :func:`make_regions`.
    """
    result = np.zeros_like(mask)
    (box,) = ndimage.find_objects(mask.astype(np.uint8), 1)
    if box is None:
        return result
    to_plane = to_midplane @ affine
    # A mirror is its own inverse: it takes a voxel to where it is looked up.
    lookup = np.linalg.inv(to_plane) @ _FLIP @ to_plane
    corners = np.array(np.meshgrid(*[(part.start - 1, part.stop) for part in box])).reshape(3, -1)
    reached = lookup[:3, :3] @ corners + lookup[:3, 3:]
    low = np.clip(np.floor(reached.min(axis=1)).astype(int), 0, mask.shape)
    high = np.clip(np.ceil(reached.max(axis=1)).astype(int) + 1, low, mask.shape)
    offset = lookup[:3, :3] @ low + lookup[:3, 3]
    flipped = ndimage.affine_transform(
        mask.view(np.uint8), lookup[:3, :3], offset, output_shape=tuple(high - low), order=0
    )
    result[tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))] = flipped.astype(bool)
    return result


def _parse(item: Mapping[str, Any]) -> Recipe:
    name = str(item.get("name") or "")
    if not name:
        raise DataError(f"a region has no name: {dict(item)}", "give it one, such as name: tumor-ring")
    known = ("name", "mm", "minimum_ml", *OPERATIONS)
    for key in item:
        if key not in known:
            raise DataError(f"region {name} has an unknown setting {key!r}", suggest(str(key), known))
    chosen = [key for key in item if key in OPERATIONS]
    if len(chosen) != 1:
        found = " and ".join(chosen) or "none"
        raise DataError(f"region {name} has the operations: {found}", f"give one of {', '.join(OPERATIONS)}")
    (operation,) = chosen
    given = item[operation]
    sources = tuple(str(source) for source in ([given] if isinstance(given, str) else given))
    if operation in SINGLE and len(sources) != 1:
        raise DataError(f"region {name}: {operation} takes one region", "name one; a union makes one of many")
    if operation in SEVERAL and len(sources) < (1 if operation == "union" else 2):
        raise DataError(f"region {name}: {operation} of {len(sources)} regions", "name two or more")
    mm = float(item.get("mm", 0.0))
    if SINGLE.get(operation, False) != (mm > 0):
        needs = "has no positive distance" if mm <= 0 else f"has a distance, which {operation} does not use"
        raise DataError(f"region {name} {needs}", "write such as: {name: ring, shell: tumor, mm: 5}")
    return Recipe(name, operation, sources, mm, float(item.get("minimum_ml", 0.0)))


def _made(
    recipe: Recipe,
    known: Mapping[str, MaskArray],
    affine: Affine,
    to_midplane: Affine | None,
    made: MadeRegions,
) -> list[tuple[str, MaskArray]]:
    """Return the region or, of `each`, the regions of one recipe; what cannot be is noted."""
    found = [_matching(source, known) for source in recipe.sources]
    absent = [source for source, names in zip(recipe.sources, found, strict=True) if not names]
    needed = {"union": [], "difference": recipe.sources[:1]}.get(recipe.operation, recipe.sources)
    if any(source in needed for source in absent) or not any(found):
        made.skipped.append((recipe.name, f"there is no region {', '.join(absent)}"))
        return []
    made.skipped += [(f"{source} in {recipe.name}", "there is no such region") for source in absent]
    if recipe.operation in _LATERAL and to_midplane is None:
        reason = "the plane between the hemispheres is not known without a template space"
        made.skipped.append((recipe.name, reason))
        return []
    if (recipe.operation in ("shell", "grow", "mirror")) and BRAIN not in known:
        made.skipped.append((recipe.name, "there is no brain mask to stay in"))
        return []
    masks = [np.logical_or.reduce([known[name] for name in names]) for names in found if names]
    if recipe.operation == "each":
        parts = _lesions(masks[0], affine, recipe.minimum_ml)
        return [(f"{recipe.name}-{count}", part) for count, part in enumerate(parts, 1)]
    return [(recipe.name, _one(recipe, masks, known.get(BRAIN), affine, to_midplane))]


def _one(
    recipe: Recipe,
    masks: list[MaskArray],
    brain: MaskArray | None,
    affine: Affine,
    to_midplane: Affine | None,
) -> MaskArray:
    """Return the region of one recipe whose sources are all there."""
    first, rest = masks[0], masks[1:]
    inside = np.ones_like(first) if brain is None else brain
    plane = np.eye(4) if to_midplane is None else to_midplane
    operations: dict[str, Callable[[], MaskArray]] = {
        "union": lambda: np.logical_or.reduce(masks),
        "intersection": lambda: np.logical_and.reduce(masks),
        "difference": lambda: first & ~np.logical_or.reduce([np.zeros_like(first), *rest]),
        "shell": lambda: _within(first, affine, recipe.mm) & ~first & inside,
        "grow": lambda: first | (_within(first, affine, recipe.mm) & inside),
        "shrink": lambda: first & ~_within(~first, affine, recipe.mm, around=first),
        "largest": lambda: next(iter(_lesions(first, affine, 0.0)), first),
        "left": lambda: first & (_first_coordinate(first.shape, plane @ affine) < 0),
        "right": lambda: first & (_first_coordinate(first.shape, plane @ affine) >= 0),
        "mirror": lambda: mirrored(first, affine, plane) & inside & ~first,
    }
    return operations[recipe.operation]()


def _matching(source: str, known: Mapping[str, MaskArray]) -> list[str]:
    return [name for name in known if fnmatchcase(name, source)]


def _within(mask: MaskArray, affine: Affine, mm: float, around: MaskArray | None = None) -> MaskArray:
    """Return voxels whose centre lies at most `mm` from that of a voxel of the mask."""
    sizes = voxel_sizes(affine)
    result = np.zeros_like(mask)
    found = ndimage.find_objects((mask if around is None else around).astype(np.uint8), 1)
    if not found or found[0] is None:
        return result
    margins = [int(np.ceil(mm / size)) + 1 for size in sizes]
    box = tuple(
        slice(max(part.start - margin, 0), part.stop + margin)
        for part, margin in zip(found[0], margins, strict=True)
    )
    distance = ndimage.distance_transform_edt(~mask[box], sampling=sizes)
    result[box] = distance <= mm + 1e-6
    return result


def _lesions(mask: MaskArray, affine: Affine, minimum_ml: float) -> list[MaskArray]:
    """Return the connected parts of a region, the largest first."""
    labels, count = ndimage.label(mask, structure=_TOUCHING)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    voxel = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    order = np.argsort(-sizes, kind="stable")
    return [labels == index + 1 for index in order if sizes[index] * voxel >= minimum_ml]


def _first_coordinate(shape: tuple[int, ...], matrix: Affine) -> Any:
    """Return the first coordinate of every voxel's centre."""
    x, y, z = np.ogrid[tuple(slice(size) for size in shape)]
    a, b, c, offset = matrix[0]
    return a * x + b * y + c * z + offset
