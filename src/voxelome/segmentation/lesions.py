"""A table of lesions: how large each is, where it lies, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from voxelome.errors import DataError, listed
from voxelome.imageio import Affine, Array, FloatArray
from voxelome.segmentation.confidence import lesion_confidence
from voxelome.segmentation.parts import Parts, boxes_of, connected_parts, part_sizes, same_shape
from voxelome.segmentation.template_points import PointMap

Row = dict[str, str | float | int | None]
# Column: what it says, and its unit; those of all tables.
COLUMNS: dict[str, tuple[str, str]] = {
    "lesion": ("Number of the lesion, by volume, the largest first", ""),
    "label": ("Names of its labels, the largest first", ""),
    "voxels": ("Number of its voxels", ""),
    "volume_ml": ("Volume", "ml"),
    "diameter_mm": ("Largest distance of two points of its surface (marching cubes)", "mm"),
    "x_mm": ("Centroid in the image's world, to the right", "mm"),
    "y_mm": ("Centroid in the image's world, to the front", "mm"),
    "z_mm": ("Centroid in the image's world, upwards", "mm"),
    "template_x_mm": ("Centroid in the template, to the right", "mm"),
    "template_y_mm": ("Centroid in the template, to the front", "mm"),
    "template_z_mm": ("Centroid in the template, upwards", "mm"),
    "side": ("left or right (nine tenths of it are, in the template), or midline", ""),
    "probability_mean": ("Mean probability of lesion in it", "1"),
    "probability_highest": ("Largest probability of lesion in it", "1"),
    "certainty": ("1 less the mean binary entropy in bits in it", "1"),
}
# Of a lesion with more voxels, as many evenly spread ones tell where it lies in the template.
_MOST_POINTS = 2000
# Voxels nearer than this (mm) to the midplane are on neither side, and so much of a lesion is on one side.
_MIDLINE_MM, _ON_ONE_SIDE = 2.0, 0.9


def lesion_columns(names: Mapping[int, str]) -> dict[str, tuple[str, str]]:
    """Columns of the table of these labels: what each says, and its unit."""
    parts = names.values() if len(names) > 1 else ()
    return COLUMNS | {f"{name}_ml": (f"Volume of its part that is {name}", "ml") for name in parts}


def number_lesions(labels: Array) -> Parts:
    """Image of lesions numbered by volume, the largest first; of one volume, in the order of the array.

    Touching voxels of different labels are one lesion.

    Parameters
    ----------
    labels : ndarray of int, shape (x, y, z)
    """
    parts, count = connected_parts(labels != 0)
    number = np.zeros(count + 1, dtype=np.int32)
    number[1 + np.argsort(-part_sizes(parts, count), kind="stable")] = np.arange(1, count + 1)
    return number[parts]


def lesion_table(
    labels: Array,
    affine: Affine,
    names: Mapping[int, str],
    *,
    probability: FloatArray | None = None,
    to_template: PointMap | None = None,
) -> list[Row]:
    """Rows of a table of lesions, one each, the largest first; columns as in :func:`lesion_columns`.

    A lesion is a connected part (26 neighbours) of all labels together. What the input does not tell is None.

    Parameters
    ----------
    labels : ndarray of int, shape (x, y, z)
        0 is no lesion.
    affine : ndarray, shape (4, 4)
        Voxels to world, RAS mm.
    names : mapping
        Name by label value.
    probability : ndarray, shape (x, y, z), optional
        Of lesion, whatever its label.
    to_template : callable, optional
        World points of shape (n, 3) to points of the template, NaN where it cannot.

    Raises
    ------
    DataError
        A label has no name, or the probability is on another grid.
    """
    _check(labels, names, probability)
    parts = number_lesions(labels)
    sizes = np.bincount(parts.ravel())[1:]
    rows: list[Row] = []
    for number, box in boxes_of(parts):
        voxels = np.argwhere(parts[box] == number) + [side.start for side in box]
        row: Row = dict.fromkeys(lesion_columns(names))
        row |= {"lesion": number, "voxels": int(sizes[number - 1])}
        row |= _measures(labels[tuple(voxels.T)], voxels, affine, names)
        if to_template is not None:
            row |= _in_template(voxels, affine, to_template)
        rows.append(row)
    if probability is not None:
        _add_confidence(rows, parts, probability)
    return rows


def largest_diameter(voxels: Array, affine: Affine) -> float:
    """Largest distance in mm of two points of the surface of a region, given its voxels, shape (n, 3).

    The surface is that of marching cubes: it crosses half way between a voxel inside and one outside, so a
    single voxel is as wide as its longest side. It is IBSI's maximum 3D diameter (L0JK).
    """
    half = np.eye(3) / 2
    ends = np.concatenate([voxels + sign * step for step in half for sign in (1, -1)])
    points = ends @ affine[:3, :3].T
    return float(pdist(points[ConvexHull(points).vertices]).max())


def _check(labels: Array, names: Mapping[int, str], probability: FloatArray | None) -> None:
    if labels.ndim != 3 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"the labels are {labels.ndim}D of type {labels.dtype}", "give whole numbers in 3D")
    if unnamed := sorted({int(value) for value in np.unique(labels)} - {0, *names}):
        raise DataError(f"the labels {listed(unnamed)} have no name", "name every label")
    same_shape(labels.shape, the_probability=probability)


def _measures(values: Array, voxels: Array, affine: Affine, names: Mapping[int, str]) -> Row:
    voxel = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    counts = {value: int((values == value).sum()) for value in names}
    found = sorted((value for value in names if counts[value]), key=lambda value: -counts[value])
    x, y, z = affine[:3, :3] @ voxels.mean(axis=0) + affine[:3, 3]
    row: Row = {
        "label": ", ".join(names[value] for value in found),
        "volume_ml": len(voxels) * voxel,
        "diameter_mm": largest_diameter(voxels, affine),
        **{"x_mm": float(x), "y_mm": float(y), "z_mm": float(z)},
    }
    if len(names) > 1:
        row |= {f"{name}_ml": counts[value] * voxel for value, name in names.items()}
    return row


def _in_template(voxels: Array, affine: Affine, to_template: PointMap) -> Row:
    """Centroid and side in the template: the mean of the voxels there, not the centroid's own place."""
    some = voxels[:: 1 + (len(voxels) - 1) // _MOST_POINTS]
    points = to_template(some @ affine[:3, :3].T + affine[:3, 3])
    known = points[np.isfinite(points).all(axis=1)]
    row: Row = {"side": side_of(points)}
    if len(known):
        row |= {
            f"template_{axis}_mm": float(mean) for axis, mean in zip("xyz", known.mean(axis=0), strict=True)
        }
    return row


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


def _add_confidence(rows: Sequence[Row], parts: Parts, probability: FloatArray) -> None:
    found = lesion_confidence(parts, probability)
    for index, row in enumerate(rows):
        row |= {
            "probability_mean": float(found.mean[index]),
            "probability_highest": float(found.highest[index]),
            "certainty": float(found.certainty[index]),
        }
