"""A table of lesions: how large each is, where it lies, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from voxelome.errors import DataError, listed
from voxelome.imageio import Affine, Array, FloatArray, MaskArray
from voxelome.segmentation.confidence import lesion_confidence
from voxelome.segmentation.location import Labelled, Structures, region_of, side_of
from voxelome.segmentation.parts import Parts, boxes_of, connected_parts, part_sizes, same_shape
from voxelome.segmentation.template_points import PointMap

Row = dict[str, str | float | int | None]
# Column: what it says, and its unit. Of several labels there is also one column <label>_ml each.
COLUMNS: dict[str, tuple[str, str]] = {
    "lesion": ("Number of the lesion, by volume, the largest first; its value in the image of lesions", ""),
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
    "place": ("Place among the brain's structures", ""),
    "ventricle_mm": ("Least distance to the lateral ventricles", "mm"),
    "cortex_mm": ("Least distance to the cortex", "mm"),
    "region": ("Region of the atlas that holds most of it", ""),
    "region_share": ("Share of it in that region", "1"),
    "probability_mean": ("Mean probability of lesion in it", "1"),
    "probability_highest": ("Largest probability of lesion in it", "1"),
    "certainty": ("1 less the mean binary entropy in bits in it", "1"),
    "agreement": ("Mean intersection over union with the lesions of the ensemble's members", "1"),
}
# Of a lesion with more voxels, as many evenly spread ones tell where it lies in the template.
_MOST_POINTS = 2000


def number_lesions(labels: Array, values: Sequence[int] | None = None) -> Parts:
    """Image of lesions numbered by volume, the largest first; of one volume, in the order of the array.

    Parameters
    ----------
    labels : ndarray of int, shape (x, y, z)
    values : sequence of int, optional
        Labels that lesions are made of; all but 0 if not given. Touching voxels of different labels are one
        lesion.
    """
    parts, count = connected_parts(labels != 0 if values is None else np.isin(labels, values))
    number = np.zeros(count + 1, dtype=np.int32)
    number[1 + np.argsort(-part_sizes(parts, count), kind="stable")] = np.arange(1, count + 1)
    return number[parts]


def lesion_table(
    labels: Array,
    affine: Affine,
    names: Mapping[int, str],
    *,
    probability: FloatArray | None = None,
    members: Sequence[MaskArray] = (),
    to_template: PointMap | None = None,
    structures: Labelled | None = None,
    atlas: Labelled | None = None,
) -> list[Row]:
    """Rows of a table of lesions, one each, the largest first; columns as in :data:`COLUMNS`.

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
    members : sequence of ndarray of bool, shape (x, y, z), optional
        Segmentation of each member of an ensemble; used with `probability`.
    to_template : callable, optional
        World points of shape (n, 3) to points of the template, NaN where it cannot.
    structures : Labelled, optional
        Brain structures, named as FreeSurfer does.
    atlas : Labelled, optional
        Regions, such as lobes or vascular territories.

    Raises
    ------
    DataError
        A label has no name, an image is on another grid, or structures lack ventricles or cortex.
    """
    _check(labels, names, probability, structures, atlas)
    parts = number_lesions(labels)
    sizes = np.bincount(parts.ravel())[1:]
    placed = None if structures is None else Structures(structures, affine)
    rows: list[Row] = []
    for number, box in boxes_of(parts):
        voxels = np.argwhere(parts[box] == number) + [side.start for side in box]
        row: Row = dict.fromkeys(COLUMNS)
        row |= {"lesion": number, "voxels": int(sizes[number - 1])}
        row |= _measures(labels[tuple(voxels.T)], voxels, affine, names)
        if to_template is not None:
            row |= _in_template(voxels, affine, to_template)
        if placed is not None:
            place = placed.place(voxels)
            row |= {"place": place.name, "ventricle_mm": place.ventricle_mm, "cortex_mm": place.cortex_mm}
        if atlas is not None:
            row["region"], row["region_share"] = region_of(voxels, atlas)
        rows.append(row)
    if probability is not None:
        _add_confidence(rows, parts, probability, members)
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


def _check(
    labels: Array,
    names: Mapping[int, str],
    probability: FloatArray | None,
    structures: Labelled | None,
    atlas: Labelled | None,
) -> None:
    if labels.ndim != 3 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"the labels are {labels.ndim}D of type {labels.dtype}", "give whole numbers in 3D")
    if unnamed := sorted({int(value) for value in np.unique(labels)} - {0, *names}):
        raise DataError(f"the labels {listed(unnamed)} have no name", "name every label")
    same_shape(
        labels.shape,
        the_probability=probability,
        the_image_of_brain_structures=None if structures is None else structures.data,
        the_atlas=None if atlas is None else atlas.data,
    )


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


def _add_confidence(
    rows: Sequence[Row], parts: Parts, probability: FloatArray, members: Sequence[MaskArray]
) -> None:
    found = lesion_confidence(parts, probability, members)
    for index, row in enumerate(rows):
        row |= {
            "probability_mean": float(found.mean[index]),
            "probability_highest": float(found.highest[index]),
            "certainty": float(found.certainty[index]),
            "agreement": None if found.agreement is None else float(found.agreement[index]),
        }
