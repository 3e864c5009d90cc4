"""Simulated head CT, with a haemorrhage or without."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from voxelome.imageio import Affine, FloatArray
from voxelome.phantom.anatomy import TISSUES, load_head_model, soft, tissues_at
from voxelome.phantom.contrasts import tissue_sum
from voxelome.phantom.deform import Grid, centred_grid, random_warp, rigid_matrix
from voxelome.training.bleeds import KINDS, Place, blood, imitate

# Typical attenuation in Hounsfield units, in the order of TISSUES: wm gm csf bone fat muscle eye vein air.
_HU = (29.0, 38.0, 7.0, 1150.0, -90.0, 55.0, 14.0, 52.0, -1000.0)
_SPREAD = (2.0, 2.0, 2.0, 200.0, 10.0, 6.0, 3.0, 8.0, 0.0)
_CENTRE = (0.0, -18.0, 8.0)
# A bleeding of less is beyond what voxels of some 3.5 mm can show.
_LEAST = 1.0


@dataclass(frozen=True)
class Scanner:
    """Ranges from which the acquisition of a head is drawn.

    Attributes
    ----------
    shape : tuple of int
        Voxels of an image.
    field : tuple of float
        Field of view within a slice, in mm.
    height : tuple of float
        Extent along the slices, in mm.
    thickness : tuple of float
        Thickness of a slice as a multiple of their distance.
    noise : tuple of float
        Standard deviation in HU, on voxels of this size.
    tilt : float
        Largest rotation of the head about the axis from ear to ear, in degrees; of half that about others.
    streaks : tuple of float
        Height of beam hardening in HU: under the skull, and between the petrous bones.
    """

    shape: tuple[int, int, int] = (64, 64, 32)
    field: tuple[float, float] = (205.0, 250.0)
    height: tuple[float, float] = (138.0, 168.0)
    thickness: tuple[float, float] = (0.8, 1.4)
    noise: tuple[float, float] = (0.8, 4.0)
    tilt: float = 18.0
    streaks: tuple[float, float] = (0.0, 9.0)


# Beyond every head of the training: the size of voxels (2.2 to 2.4 mm; 3.2 to 3.9 there), the distance of
# slices (5.6 to 6.4 mm; 4.3 to 5.3 there) and the noise. Partly beyond: the thickness of slices (6.7 to
# 10.2 mm; 3.5 to 7.4 there), the streaks (9 HU are known) and the tilt (18 degrees are known). Not new: the
# field of view, and what kinds of heads and haemorrhages there are.
UNSEEN = Scanner((100, 100, 25), (220, 240), (140, 160), (1.2, 1.6), (5.0, 9.0), 22.0, (6.0, 14.0))


@dataclass(frozen=True)
class HeadCT:
    """A simulated head CT.

    Attributes
    ----------
    image : ndarray of float32, shape (X, Y, Z)
        Hounsfield units.
    affine : ndarray, shape (4, 4)
        Voxels to RAS+ mm.
    blood : ndarray of float32, shape (X, Y, Z)
        Share of each voxel that is fresh blood outside of vessels.
    kind : str
        A key of :data:`voxelome.training.bleeds.KINDS`, empty without haemorrhage.
    """

    image: FloatArray
    affine: Affine
    blood: FloatArray
    kind: str

    @property
    def millilitres(self) -> float:
        """Volume of the blood."""
        return float(self.blood.sum()) * abs(float(np.linalg.det(self.affine))) / 1000


def simulate_head_ct(
    rng: np.random.Generator, *, bleeding: bool, scanner: Scanner | None = None, kind: str = ""
) -> HeadCT:
    """Head CT of a new person.

    The head is that of the demonstration cohort (the MNI template in a skull), deformed, tilted, with its
    tissues' attenuation; then come imitations, blood, slice thickness, beam hardening and noise.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of everything that varies.
    bleeding : bool
        Whether there is a haemorrhage.
    scanner : Scanner, optional
        Acquisition; the one of the training by default.
    kind : str
        Kind of haemorrhage; a random one by default.
    """
    scanner = scanner or Scanner()
    grid = _grid(rng, scanner)
    pose = rigid_matrix(scanner.tilt * rng.uniform(-1, 1, 3) * (1, 0.5, 0.5), rng.uniform(-6, 6, 3), _CENTRE)
    points = random_warp(rng, rng.uniform(0.87, 0.98) + rng.normal(0, 0.012, 3), pose).to_template(
        grid.points()
    )
    spacing = np.diag(grid.affine)[:3]
    width = float(spacing[:2].mean())
    tissues = tissues_at(points, width)
    place = Place(points, tissues, load_head_model().sample(points)["hull"], width)
    values = rng.normal(_HU, _SPREAD)
    image = imitate(rng, place, tissue_sum(tissues, dict(zip(TISSUES, values, strict=True))))
    share = np.zeros(grid.shape, dtype=np.float32)
    if bleeding:
        kind = kind or str(rng.choice(list(KINDS)))
        share = blood(rng, place, kind, _LEAST, float(spacing.prod()) / 1000)
        image = _bleeding(rng, image, share, kind, spacing)
    image = _acquired(rng, _held(rng, image, place), place, scanner)
    return HeadCT(image, grid.affine, share, kind if bleeding else "")


def _grid(rng: np.random.Generator, scanner: Scanner) -> Grid:
    spacing = np.array([rng.uniform(*scanner.field)] * 2 + [rng.uniform(*scanner.height)]) / scanner.shape
    return centred_grid(scanner.shape, list(spacing), np.add(_CENTRE, rng.normal(0, 4, 3)).tolist())


def _bleeding(
    rng: np.random.Generator, image: FloatArray, share: FloatArray, kind: str, spacing: FloatArray
) -> FloatArray:
    """Image with blood of 50 to 80 HU, uneven, and around a clot in the brain the edema."""
    if kind == "intraparenchymal":
        around = ndimage.gaussian_filter(share, rng.uniform(3, 8) / spacing) * (1 - share)
        image = image - np.float32(rng.uniform(5, 14)) * np.clip(2 * around, 0, 1) * (image > 0)
    uneven = ndimage.gaussian_filter(rng.standard_normal(image.shape, dtype=np.float32), 1.2)
    attenuation = np.float32(rng.uniform(52, 80)) + np.float32(rng.uniform(0, 10)) * uneven
    return np.asarray(image * (1 - share) + share * attenuation)


def _acquired(rng: np.random.Generator, image: FloatArray, place: Place, scanner: Scanner) -> FloatArray:
    """Image as a scanner gives it: slice thickness, beam hardening, streaks of metal, noise."""
    thickness = rng.uniform(*scanner.thickness)
    image = ndimage.gaussian_filter1d(image, 0.42 * thickness, axis=2)
    under_skull, between = rng.uniform(*scanner.streaks, 2).astype(np.float32)
    inside = place.soft_tissue
    image = image + inside * under_skull * np.exp(np.minimum(place.hull, 0) / np.float32(7))
    x, y, z = place.points
    bar = np.exp(-0.5 * ((y + 22) / 5) ** 2 - 0.5 * ((z + 38) / 8) ** 2) * (np.abs(x) < 45)
    image = image - 2 * between * inside * bar.astype(np.float32)
    if rng.uniform() < 0.15:
        image = image + _metal(rng, x, y, z) * np.float32(rng.uniform(5, 25))
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape, dtype=np.float32), (0.5, 0.5, 0))
    noise *= np.float32(rng.uniform(*scanner.noise)) / noise.std()
    # Noise grows with what the rays pass: strongest in the middle of the head.
    noise *= np.clip(1 - place.hull / np.float32(80), 0.3, 1.6)
    return np.asarray(np.clip(image + noise, -1024, 3071), dtype=np.float32)


def _held(rng: np.random.Generator, image: FloatArray, place: Place) -> FloatArray:
    """Image with the shell that the head lies in, in half of all heads."""
    if rng.uniform() < 0.5:
        return image
    _, y, z = place.points
    gap = place.hull - np.float32(rng.uniform(28, 40))
    share = (
        soft(np.abs(gap) - np.float32(rng.uniform(0.5, 2)), place.width)
        * (y < rng.uniform(-60, 20))
        * (z > -70)
    )
    return np.asarray(image * (1 - share) + share * np.float32(rng.uniform(50, 500)), dtype=np.float32)


def _metal(rng: np.random.Generator, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Streaks within the slices around a clip or a tooth, between -1 and 1."""
    a, b, c = rng.uniform(-60, 60), rng.uniform(-60, 70), rng.uniform(-60, 40)
    angle, distance = np.arctan2(y - b, x - a), np.hypot(x - a, y - b)
    rays = np.sin(angle * rng.integers(5, 11) + rng.uniform(0, 6))
    return np.asarray(rays * np.exp(-distance / 40 - np.abs(z - c) / 6), dtype=np.float32)
