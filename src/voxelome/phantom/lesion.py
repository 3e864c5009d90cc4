"""A brain tumour: necrotic core, enhancing rim and oedema in the white matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxelome.imageio import Array, FloatArray
from voxelome.phantom.anatomy import (
    NUCLEI,
    Tissues,
    ellipsoid_distance,
    load_head_model,
    smooth_minimum,
    soft,
)
from voxelome.phantom.person import Person

LABELS = {1: "core", 2: "oedema", 3: "rim"}
# Half width (mm) of the box outside which no tumour reaches.
_REACH = 48.0
# Wavelength and height (mm) of the bumps on its surface.
_WAVELENGTH, _BUMPS = 24.0, 2.5


@dataclass(frozen=True)
class Tumour:
    """Shape, contrast and magnetic properties of one tumour, in template coordinates (mm).

    Attributes
    ----------
    centre, second : ndarray, shape (3,)
        Centres of the two ellipsoids that the enhancing body is made of.
    radii, second_radii : ndarray, shape (3,)
        Their radii, to the outer edge of the rim.
    rim, oedema : float
        Thickness of the rim and reach of the oedema.
    waves, phases : ndarray, shapes (6, 3) and (6,)
        Plane waves (rad/mm) that make the surface irregular.
    enhancement : float
        Brightness of the rim after contrast agent, white matter being 1.
    oedema_flair : float
        Brightness of the oedema in FLAIR.
    texture : float
        Standard deviation of the relative intensity inside the oedema.
    chi, r2star : float
        Susceptibility (ppm) and R2* (1/s) of the rim.
    """

    centre: FloatArray
    second: FloatArray
    radii: FloatArray
    second_radii: FloatArray
    rim: float
    oedema: float
    waves: FloatArray
    phases: FloatArray
    enhancement: float
    oedema_flair: float
    texture: float
    chi: float
    r2star: float


def make_tumour(person: Person) -> Tumour:
    """Tumour of a participant.

    The mutation makes the rim thin and weakly enhancing, the oedema brighter and coarser in FLAIR, and
    the rim poorer in blood products: less susceptibility and R2*.
    """
    rng, mutated = person.rng(1), person.mutation
    radii: FloatArray = rng.uniform(11.0, 15.5) * rng.uniform(0.88, 1.12, 3)
    second_radii = radii * rng.uniform(0.55, 0.85)
    oedema = rng.uniform(5.0, 9.0)
    centre = _place(rng, float(radii.max() + oedema) + 2.0)
    direction = rng.normal(size=3)
    second = centre + direction / np.linalg.norm(direction) * radii.mean() * 0.7
    waves = rng.normal(size=(6, 3))
    waves *= 2 * np.pi / _WAVELENGTH / np.linalg.norm(waves, axis=1, keepdims=True)
    chi = max(0.0, (0.03 if mutated else 0.12) + rng.normal(0, 0.012))
    return Tumour(
        centre,
        second,
        radii,
        second_radii,
        rim=(3.0 if mutated else 4.8) + rng.normal(0, 0.25),
        oedema=oedema,
        waves=waves,
        phases=rng.uniform(0, 2 * np.pi, 6),
        enhancement=(1.0 if mutated else 1.5) + rng.normal(0, 0.07),
        oedema_flair=(1.25 if mutated else 0.98) + rng.normal(0, 0.05),
        texture=0.10 if mutated else 0.04,
        chi=chi,
        r2star=17.0 + 160.0 * chi,
    )


def _place(rng: np.random.Generator, reach: float) -> FloatArray:
    """Centre of a tumour: deep white matter whose surroundings of `reach` mm hold no deep nucleus."""
    axes = [np.arange(low, high, 4.0, dtype=np.float32) for low, high in ((-52, 53), (-84, 60), (-10, 56))]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    at = load_head_model().sample(points)
    apart = np.min(
        [np.linalg.norm(points.T - item.centre, axis=1) - max(item.radii) for item in NUCLEI], axis=0
    )
    white = (at["intensity"] > 0.82) & (at["neural"] < -13.0) & (np.abs(points[0]) > 14.0)
    allowed = np.flatnonzero(white & (apart > min(reach, np.quantile(apart[white], 0.9))))
    return np.asarray(points[:, rng.choice(allowed)], dtype=np.float64)


def tumour_fractions(
    tumour: Tumour, points: FloatArray, tissues: Tissues, width: float
) -> dict[str, FloatArray]:
    """Fractions of core, oedema and rim in every voxel at template points of shape (3, X, Y, Z).

    The tumour ends 2 mm below the brain's surface; oedema follows the white matter.
    """
    parts = {name: np.zeros(points.shape[1:], dtype=np.float32) for name in ("core", "oedema", "rim")}
    centre = tumour.centre.astype(np.float32)
    near = np.flatnonzero(np.max([np.abs(points[i] - centre[i]) for i in range(3)], axis=0).ravel() < _REACH)
    where = points.reshape(3, -1)[:, near]
    body = smooth_minimum(
        ellipsoid_distance(where, tumour.centre, tumour.radii),
        ellipsoid_distance(where, tumour.second, tumour.second_radii),
        5.0,
    )
    waves, phases = tumour.waves.astype(np.float32), tumour.phases[:, None].astype(np.float32)
    body += np.sin(waves @ where + phases).mean(axis=0) * _BUMPS
    limit = soft(tissues.depth.ravel()[near] + 2.0, width)
    white = np.clip(1.5 * tissues.fractions["wm"].ravel()[near], 0, 1)
    core = soft(body + tumour.rim, width)
    whole = soft(body, width)
    parts["core"].ravel()[near] = core * limit
    parts["rim"].ravel()[near] = (whole - core) * limit
    parts["oedema"].ravel()[near] = (soft(body - tumour.oedema, 2 * width) - whole).clip(0) * limit * white
    return parts


def label_image(fractions: dict[str, FloatArray]) -> Array:
    """Label of the part that fills most of each voxel; 0 where the tumour fills less than half."""
    stack = np.stack([fractions[name] for name in LABELS.values()])
    values = np.array(list(LABELS), dtype=np.uint8)
    return np.asarray(np.where(stack.sum(axis=0) >= 0.5, values[stack.argmax(axis=0)], 0).astype(np.uint8))
