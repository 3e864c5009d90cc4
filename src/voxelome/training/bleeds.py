"""Haemorrhages in a head, and what looks like them: shares of voxels in template coordinates (mm)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from voxelome.imageio import FloatArray
from voxelome.phantom.anatomy import Tissues, ellipsoid_distance, soft

_CENTRE = np.array([0.0, -18.0, 10.0], dtype=np.float32)
# Where a spot of calcium is harmless: choroid plexus, pineal gland, pallidum, falx.
_CALCIFIED = (
    *((sign * 24.0, -42.0, 10.0) for sign in (-1, 1)),
    *((sign * 19.0, -3.0, -1.0) for sign in (-1, 1)),
    (0.0, -31.0, 2.0),
    (0.0, 25.0, 45.0),
)
# Basal cisterns, both Sylvian fissures, the fissure between the hemispheres, cisterns behind the midbrain.
_CISTERNS = (
    *((0.0, 2.0, -18.0), (-40.0, 2.0, -6.0), (40.0, 2.0, -6.0)),
    *((0.0, 40.0, 10.0), (0.0, -32.0, -8.0)),
)


@dataclass(frozen=True)
class Place:
    """Voxels of a head.

    Attributes
    ----------
    points : ndarray, shape (3, X, Y, Z)
        Template coordinates in mm.
    tissues : Tissues
        Fractions there.
    hull : ndarray, shape (X, Y, Z)
        Signed distance in mm to the smooth surface around the brain, negative inside.
    width : float
        Softness of edges in mm: about a voxel.
    """

    points: FloatArray
    tissues: Tissues
    hull: FloatArray
    width: float

    @property
    def soft_tissue(self) -> FloatArray:
        """Fraction of brain and fluid: where blood can be."""
        fractions = self.tissues.fractions
        return np.asarray(fractions["wm"] + fractions["gm"] + fractions["csf"])


def intraparenchymal(rng: np.random.Generator, place: Place) -> FloatArray:
    """Share of a bleeding within the brain: a bumpy ellipsoid of 1.5 to 60 ml."""
    radius = (3 * np.exp(rng.uniform(np.log(1500), np.log(60000))) / (4 * np.pi)) ** (1 / 3)
    deep = np.argwhere(place.tissues.brain & (place.tissues.depth < -min(radius, 9.0)))
    centre = place.points[:, *rng.choice(deep)]
    distance = ellipsoid_distance(place.points, centre, radius * rng.uniform(0.75, 1.3, 3))
    waves = rng.normal(size=(4, 3)) * 0.9 / radius
    for wave, phase in zip(waves, rng.uniform(0, 2 * np.pi, 4), strict=True):
        turned = np.tensordot(wave.astype(np.float32), place.points, axes=1)
        distance = distance + np.float32(0.08 * radius) * np.sin(turned + np.float32(phase))
    return np.asarray(soft(distance, place.width) * soft(place.tissues.depth + 2, place.width))


def subdural(rng: np.random.Generator, place: Place) -> FloatArray:
    """Share of a crescent under the skull, 4 to 16 mm thick."""
    direction = np.array([rng.choice([-1, 1]), rng.uniform(-0.7, 0.7), rng.uniform(-0.1, 0.8)])
    direction /= np.linalg.norm(direction)
    away = place.points - _CENTRE[:, None, None, None]
    cosine = np.tensordot(direction.astype(np.float32), away, axes=1) / (
        np.linalg.norm(away, axis=0) + np.float32(1e-3)
    )
    angle = np.arccos(np.clip(cosine, -1, 1)) / np.radians(rng.uniform(30, 65))
    thickness = np.float32(rng.uniform(4, 16)) * np.clip(1 - angle**2, 0, None)
    inner = soft(-(place.hull + thickness), place.width)
    return np.asarray(inner * np.clip(thickness / 2, 0, 1) * soft(place.hull - 2.5, place.width))


def subarachnoid(rng: np.random.Generator, place: Place) -> FloatArray:
    """Share of blood in the fluid of the cisterns and sulci around a random one of them."""
    centre = np.array(_CISTERNS[rng.integers(len(_CISTERNS))]) + rng.normal(0, 6, 3)
    distance = np.linalg.norm(place.points - centre.astype(np.float32)[:, None, None, None], axis=0)
    reach = np.float32(rng.uniform(16, 42))
    return np.asarray(
        np.exp(-0.5 * (distance / reach) ** 4) * np.float32(rng.uniform(0.7, 1)) * _fluid(place)
    )


def intraventricular(rng: np.random.Generator, place: Place) -> FloatArray:
    """Share of blood in the lateral ventricles, up to a level behind which it lies."""
    x, y, z = place.points
    inside = (np.abs(x) < 32) & (y < rng.uniform(-25, 25)) & (y > -70) & (z > -12) & (z < 36)
    return np.asarray(inside * soft(place.tissues.depth + 12, 4.0) * _fluid(place))


KINDS: dict[str, Callable[[np.random.Generator, Place], FloatArray]] = {
    "intraparenchymal": intraparenchymal,
    "subdural": subdural,
    "subarachnoid": subarachnoid,
    "intraventricular": intraventricular,
}


def _fluid(place: Place) -> FloatArray:
    """Where blood spreads in the fluid: half filled voxels count as full, for it clots there."""
    return np.asarray(np.clip(2 * place.tissues.fractions["csf"], 0, 1))


def blood(rng: np.random.Generator, place: Place, kind: str, least: float, voxel: float) -> FloatArray:
    """Share of blood in every voxel, drawn anew until there are `least` ml of it; `voxel` is one's ml."""
    for _ in range(50):
        share = np.clip(KINDS[kind](rng, place), 0, 1) * place.soft_tissue
        if float(share.sum()) * voxel >= least:
            return np.asarray(share, dtype=np.float32)
    # A small draw at the edge of the image: the deepest voxel always has room for the least.
    deepest = place.points.reshape(3, -1)[:, int(np.argmin(place.tissues.depth))]
    radius = (3000 * least / (2 * np.pi)) ** (1 / 3)
    distance = ellipsoid_distance(place.points, deepest, np.full(3, radius))
    return np.asarray(soft(distance, place.width) * place.soft_tissue, dtype=np.float32)


def imitate(rng: np.random.Generator, place: Place, image: FloatArray) -> FloatArray:
    """Image in HU with what is no bleeding: calcium, old infarcts, hygromas, a dense falx."""
    image = _calcified(rng, place, image)
    x = place.points[0]
    falx = soft(np.abs(x) - 0.8, place.width) * (place.points[2] > 15) * (place.tissues.depth < 4)
    image = image + falx * place.soft_tissue * np.float32(rng.uniform(0, 25))
    if rng.uniform() < 0.25:
        infarct = intraparenchymal(rng, place) * place.soft_tissue
        image = image * (1 - infarct) + infarct * np.float32(rng.uniform(8, 24))
    if rng.uniform() < 0.2:
        hygroma = subdural(rng, place) * place.soft_tissue
        image = image * (1 - hygroma) + hygroma * np.float32(rng.uniform(4, 22))
    return np.asarray(image, dtype=np.float32)


def _calcified(rng: np.random.Generator, place: Place, image: FloatArray) -> FloatArray:
    for centre in _CALCIFIED:
        if rng.uniform() < 0.4:
            where = np.array(centre) + rng.normal(0, 2, 3)
            distance = ellipsoid_distance(place.points, where, rng.uniform(1.5, 4.5, 3))
            share = soft(distance, place.width) * place.soft_tissue
            image = image * (1 - share) + share * np.float32(rng.uniform(90, 400))
    return image
