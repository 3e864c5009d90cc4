"""A whole head in the template's coordinates: brain from the MNI template, skull, scalp, face, air."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import ndimage

from voxelome.imageio import Array, FloatArray

# Gray levels of the template (its largest value is 1) for cerebrospinal fluid, gray and white matter.
_T1_CSF, _T1_GM, _T1_WM = 0.30, 0.66, 0.87
# Box of the distance maps: corner, voxel counts, voxel size (mm).
_CORNER = np.array([-112.0, -150.0, -146.0], dtype=np.float32)
_COUNTS = (113, 141, 134)
_STEP = 2.0
# Where the template ends below; the medulla continues as the cord, on which no brain mask counts.
_FORAMEN = -71.0
_CORD_CENTRE = (0.0, -45.0)
_CORD_RADIUS = 6.0
_CLOSING = 12.0
_BEYOND, _EDGE, _FAR = 10.0, 8.0, 99.0
_SUBARACHNOID, _SKULL, _SCALP = 2.5, 8.5, 15.5

# Air cavities and soft parts of the face: centre and radii in mm, right side; mirrored where off the midline.
_AIR = (
    ((0.0, 78.5, -14.0), (17.0, 3.8, 9.0)),
    ((0.0, 17.0, -45.0), (11.0, 13.0, 8.0)),
    ((0.0, 46.0, -52.0), (11.0, 25.0, 15.0)),
    ((32.0, 50.0, -68.0), (12.0, 15.0, 14.0)),
    ((0.0, -2.0, -85.0), (11.0, 8.0, 30.0)),
    ((62.0, -30.0, -44.0), (7.0, 10.0, 11.0)),
    ((70.0, -14.0, -46.0), (16.0, 3.5, 3.5)),
)
_EYE = ((33.0, 62.0, -40.0), (12.0, 12.0, 12.0))
_ORBIT = ((31.0, 56.0, -40.0), (19.0, 24.0, 18.0))
_FACE = ((0.0, 38.0, -72.0), (60.0, 62.0, 74.0))
_NOSE = ((0.0, 98.0, -68.0), (15.0, 16.0, 24.0))
_NECK = ((0.0, -38.0, -130.0), (62.0, 66.0, 90.0))


@dataclass(frozen=True)
class Nucleus:
    """A deep gray nucleus: an ellipsoid in MNI coordinates (mm) with a typical susceptibility (ppm)."""

    name: str
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    chi: float


# Centres after the MNI template; susceptibilities after Langkammer et al., NeuroImage 62 (2012) 1593.
_RIGHT = (
    Nucleus("caudate", (13.0, 14.0, 9.0), (4.5, 8.5, 7.0), 0.055),
    Nucleus("putamen", (27.0, 3.0, 1.0), (4.6, 14.0, 8.5), 0.065),
    Nucleus("pallidum", (18.5, -3.0, -1.0), (3.8, 8.0, 5.5), 0.135),
    Nucleus("rednucleus", (5.0, -20.5, -8.0), (3.4, 3.6, 4.2), 0.115),
    Nucleus("substantianigra", (10.5, -16.0, -12.5), (3.0, 6.0, 4.0), 0.130),
    Nucleus("dentate", (14.5, -57.0, -35.0), (6.5, 8.0, 4.5), 0.095),
)
NUCLEI: tuple[Nucleus, ...] = tuple(
    Nucleus(f"{side}_{item.name}", (sign * item.centre[0], *item.centre[1:]), item.radii, item.chi)
    for item in _RIGHT
    for side, sign in (("left", -1.0), ("right", 1.0))
)
TISSUES = ("wm", "gm", "csf", "bone", "fat", "muscle", "eye", "vein", "air")


def soft(distance: FloatArray, width: float) -> FloatArray:
    """Fraction of a voxel inside a surface: 1 deep inside, 0 outside, linear over `width` mm."""
    return np.asarray(np.clip(0.5 - distance / np.float32(width), 0.0, 1.0))


def ellipsoid_distance(points: FloatArray, centre: Any, radii: Any) -> FloatArray:
    """Signed distance in mm to an ellipsoid, negative inside; of first order near its surface.

    ``k0 (k0 - 1) / k1`` with ``k0 = |p / r|`` and ``k1 = |p / r^2|``, for points of shape (3, ...).
    """
    k0 = np.zeros(points.shape[1:], dtype=np.float32)
    k1 = np.zeros(points.shape[1:], dtype=np.float32)
    for axis in range(3):
        scaled = (points[axis] - np.float32(centre[axis])) / np.float32(radii[axis])
        k0 += scaled**2
        k1 += (scaled / np.float32(radii[axis])) ** 2
    np.sqrt(k0, out=k0)
    return np.asarray(k0 * (k0 - 1) / np.sqrt(np.maximum(k1, 1e-12)))


def smooth_minimum(first: FloatArray, second: FloatArray, width: float) -> FloatArray:
    """Union of two signed distances whose crease is rounded over `width` mm."""
    overlap = np.clip(np.float32(width) - np.abs(first - second), 0, None) / np.float32(width)
    return np.asarray(np.minimum(first, second) - overlap**2 * np.float32(width / 4))


@dataclass(frozen=True)
class HeadModel:
    """The template head: its sharpened T1 image at 1 mm, and signed distances (mm) to its surfaces."""

    intensity: FloatArray
    origin: FloatArray
    distances: dict[str, FloatArray]

    def sample(self, points: FloatArray) -> dict[str, FloatArray]:
        """Template intensity and all distances at template points of shape (3, ...).

        What a place cannot need is not looked up: far outside the head all distances but that to the
        head are a large constant, and so are deep in the brain those to what surrounds it.
        """
        flat = points.reshape(3, -1)
        coarse = (flat - _CORNER[:, None]) / np.float32(_STEP)
        head = _sample(self.distances["head"], coarse)
        # Half of a field of view is air, of which nothing else needs to be known.
        near = np.flatnonzero(head < _BEYOND)
        neural = np.full_like(head, _FAR)
        neural[near] = _sample(self.distances["neural"], coarse[:, near])
        inner = near[neural[near] < _EDGE]
        outer = near[neural[near] > -_EDGE]
        found = {"head": head, "neural": neural, "intensity": np.zeros_like(head)}
        found["intensity"][inner] = _sample(self.intensity, flat[:, inner] - self.origin[:, None])
        for name in self.distances.keys() - found.keys():
            found[name] = np.full_like(head, _FAR)
            found[name][outer] = _sample(self.distances[name], coarse[:, outer])
        return {name: values.reshape(points.shape[1:]) for name, values in found.items()}


@dataclass(frozen=True)
class Tissues:
    """Tissue of every voxel of a grid.

    Attributes
    ----------
    fractions : dict of ndarray
        Fraction of each of :data:`TISSUES` in every voxel; they add up to 1.
    brain : ndarray of bool
        Brain with the fluid in its sulci, ending at the foramen magnum.
    depth : ndarray
        Signed distance to the brain's surface in mm, negative inside.
    """

    fractions: dict[str, FloatArray]
    brain: Array
    depth: FloatArray


def _sample(table: FloatArray, where: FloatArray) -> FloatArray:
    return np.asarray(ndimage.map_coordinates(table, where, order=1, mode="nearest", output=np.float32))


@cache
def load_head_model() -> HeadModel:
    """Read the MNI152 template that comes with nilearn and build the head around it."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    image = load_mni152_template(resolution=1)
    template = np.asarray(image.dataobj, dtype=np.float32)
    mask = np.asarray(load_mni152_brain_mask(resolution=1).dataobj) > 0
    # An average of many brains has shallow sulci: an unsharp mask gives them one person's depth.
    weight = ndimage.gaussian_filter(mask.astype(np.float32), 3.0, truncate=2.5)
    smooth = ndimage.gaussian_filter(template, 3.0, truncate=2.5) / np.maximum(weight, 0.05)
    sharp = np.where(mask, template + 0.8 * (template - smooth), 0.0).astype(np.float32)
    origin = image.affine[:3, 3].astype(np.float32)
    return HeadModel(sharp, origin, _distances(mask, origin))


def _distances(mask: Array, origin: FloatArray) -> dict[str, FloatArray]:
    """Signed distances (mm) on the coarse box to brain, inner skull, head, air and eyes."""
    axes = [corner + _STEP * np.arange(count) for corner, count in zip(_CORNER, _COUNTS, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    where = (points - origin[:, None, None, None]).reshape(3, -1)
    inside = ndimage.map_coordinates(
        ndimage.gaussian_filter(mask.astype(np.float32), 0.8), where, order=1, mode="constant"
    ).reshape(_COUNTS)
    brain = _signed(inside > 0.5)
    cord = np.hypot(points[0] - _CORD_CENTRE[0], points[1] - _CORD_CENTRE[1]) - _CORD_RADIUS
    neural = np.minimum(brain, np.maximum(cord, points[2] - _FORAMEN))
    hull = _signed(brain < _CLOSING) + _CLOSING
    canal = np.maximum(cord - 4.0, points[2] + 60.0)
    head = smooth_minimum(hull - _SCALP, _mirrored(points, *_FACE), 14.0)
    head = smooth_minimum(head, _mirrored(points, *_NECK), 20.0)
    head = smooth_minimum(head, _mirrored(points, *_NOSE), 8.0)
    air = np.min([_mirrored(points, *cavity) for cavity in _AIR], axis=0)
    rng = np.random.default_rng(20)
    texture = ndimage.gaussian_filter(rng.standard_normal(_COUNTS).astype(np.float32), 2.5)
    return {
        "neural": neural.astype(np.float32),
        "hull": hull.astype(np.float32),
        "csf": np.minimum(hull - _SUBARACHNOID, canal).astype(np.float32),
        "head": head.astype(np.float32),
        "air": np.maximum(air, 3.0 - brain).astype(np.float32),
        "eye": np.maximum(_mirrored(points, *_EYE), 4.0 - brain).astype(np.float32),
        "orbit": _mirrored(points, *_ORBIT).astype(np.float32),
        "texture": (texture / texture.std()).astype(np.float32),
    }


def _signed(inside: Array) -> FloatArray:
    """Signed distance to the surface of a mask on the coarse box, in mm, smoothed below the voxel size."""
    outer = ndimage.distance_transform_edt(~inside, sampling=_STEP)
    inner = ndimage.distance_transform_edt(inside, sampling=_STEP)
    half = _STEP / 2
    signed = np.where(inside, half - inner, outer - half)
    return np.asarray(ndimage.gaussian_filter(signed.astype(np.float32), 0.7))


def _mirrored(points: FloatArray, centre: Any, radii: Any) -> FloatArray:
    """Distance to an ellipsoid and its mirror image on the other side."""
    folded = np.stack([np.abs(points[0]), points[1], points[2]])
    return ellipsoid_distance(folded, centre, radii)


def tissues_at(points: FloatArray, width: float) -> Tissues:
    """Tissue fractions at template points of shape (3, X, Y, Z); edges are `width` mm soft."""
    at = load_head_model().sample(points)
    neural, head = soft(at["neural"], width), soft(at["head"], width)
    white = np.clip((at["intensity"] - _T1_GM) / (_T1_WM - _T1_GM), 0, 1)
    fluid = np.clip((0.9 * _T1_GM - at["intensity"]) / (0.9 * _T1_GM - _T1_CSF), 0, 1)
    parts: dict[str, FloatArray] = {
        "wm": neural * white,
        "gm": neural * (1 - white - fluid),
        "csf": neural * fluid,
    }
    left = head * (1 - neural)

    def take(name: str, fraction: FloatArray) -> None:
        nonlocal left
        parts[name] = parts.get(name, 0) + left * fraction
        left = left * (1 - fraction)

    take("air", soft(at["air"], width))
    take("eye", soft(at["eye"], width))
    take("vein", _sagittal_sinus(points, at, width))
    take("csf", soft(at["csf"], width))
    marrow = soft(np.abs(at["hull"] - (_SUBARACHNOID + _SKULL) / 2) - 0.8, 2.5) * np.float32(0.45)
    skull = soft(at["hull"] - _SKULL, width)
    take("fat", skull * marrow)
    take("bone", skull)
    # Skin and fat below it; deeper, muscle with some fat between its parts.
    subcutaneous = soft(-at["head"] - 6.5, 3.0) * soft(1.0 + at["head"], width)
    between = np.clip(0.25 + 0.2 * at["texture"], 0, 0.8)
    take("fat", np.maximum(np.maximum(subcutaneous, between), soft(at["orbit"], width)))
    take("muscle", np.ones_like(left))
    parts["air"] = parts["air"] + (1 - head) * (1 - neural)
    total = np.sum([parts[name] for name in TISSUES], axis=0)
    brain = (at["neural"] < 0) & (points[2] > _FORAMEN)
    return Tissues({name: parts[name] / total for name in TISSUES}, brain, at["neural"])


def _sagittal_sinus(points: FloatArray, at: dict[str, FloatArray], width: float) -> FloatArray:
    """Superior sagittal sinus: along the midline between brain and skull, above and behind."""
    tube = np.maximum(np.abs(points[0]) - 3.5, np.abs(at["hull"]) - 3.0)
    above = np.maximum(-(points[2] + 0.4 * (-60 - points[1])), points[1] - 55.0)
    return soft(np.maximum(tube, above / 3), width)


def nucleus_fraction(points: FloatArray, nucleus: Nucleus, width: float) -> FloatArray:
    """Fraction of each voxel at template points (3, ...) that belongs to a nucleus."""
    return soft(ellipsoid_distance(points, nucleus.centre, nucleus.radii), width)
