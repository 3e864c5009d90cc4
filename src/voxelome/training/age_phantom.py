"""Simulated T1w brains with a planted age, which shows in ventricles, cortex, white matter and contrast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from voxelome.imageio import Affine, FloatArray, MaskArray
from voxelome.phantom.anatomy import Tissues, tissues_at
from voxelome.phantom.contrasts import bias_field
from voxelome.phantom.deform import Grid, centred_grid, random_warp, rigid_matrix

YOUNGEST, OLDEST = 20.0, 90.0
# Bodies of the lateral ventricles, from which they widen, with the reach of the widening in mm.
_VENTRICLES = tuple((sign * 13.0, y, z) for sign in (-1, 1) for y, z in ((8.0, 12.0), (-22.0, 18.0)))
_REACH = 13.0
_CENTRE = (0.0, -18.0, 8.0)
# Standard deviation in years of how old a person's brain looks, in whole and each sign of it by itself.
_WHOLE, _EACH = 2.0, 5.0


@dataclass(frozen=True)
class Scanner:
    """Ranges from which the acquisition of a brain is drawn.

    Attributes
    ----------
    spacing : tuple of float
        Voxel size in mm.
    elongation : tuple of float
        Slice distance as a multiple of it.
    noise : tuple of float
        Standard deviation, white matter being 1.
    bias : tuple of float
        Standard deviation of the logarithm of the receive sensitivity.
    exponent : tuple of float
        Contrast: what the signal is raised to.
    """

    spacing: tuple[float, float] = (2.6, 3.6)
    elongation: tuple[float, float] = (0.9, 1.4)
    noise: tuple[float, float] = (0.01, 0.06)
    bias: tuple[float, float] = (0.0, 0.15)
    exponent: tuple[float, float] = (0.85, 1.15)


# Beyond every brain of the training: the size of voxels within a slice, how much longer they are across it,
# the noise and the bias. Partly beyond: the distance of slices (3.6 to 5.5 mm; 2.3 to 5.0 there) and the
# contrast (a quarter of the exponents). Not new: what kinds of brains there are, and the signs of age.
UNSEEN = Scanner((2.0, 2.5), (1.8, 2.2), (0.07, 0.1), (0.16, 0.2), (0.8, 1.2))


@dataclass(frozen=True)
class AgedBrain:
    """A simulated T1w image.

    Attributes
    ----------
    image : ndarray of float32, shape (X, Y, Z)
        Signal, about 1 in white matter; 0 outside the brain.
    affine : ndarray, shape (4, 4)
        Voxels to RAS+ mm.
    brain : ndarray of bool, shape (X, Y, Z)
    age : float
        Years.
    """

    image: FloatArray
    affine: Affine
    brain: MaskArray
    age: float


def simulate_brain(
    rng: np.random.Generator, *, age: float | None = None, scanner: Scanner | None = None
) -> AgedBrain:
    """T1w image of a new person's brain.

    With age the lateral ventricles widen, fluid takes the place of cortex, lesions appear in the white matter
    around the ventricles, and gray matter comes nearer to white [1]_. Each of the four is that of an age
    which differs from the person's by some years, so that none of them gives it away.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of everything that varies.
    age : float, optional
        Years, 20 to 90; random by default.
    scanner : Scanner, optional
        Acquisition; the one of the training by default.

    References
    ----------
    .. [1] Franke and Gaser, Ten years of BrainAGE as a neuroimaging biomarker of brain aging, Frontiers in
       Neurology 10 (2019) 789.
    """
    scanner = scanner or Scanner()
    age = rng.uniform(YOUNGEST, OLDEST) if age is None else age
    looks = age + rng.normal(0, _WHOLE) + rng.normal(0, _EACH, 4)
    ventricles, cortex, lesions, contrast = np.clip((looks - YOUNGEST) / (OLDEST - YOUNGEST), -0.15, 1.15)
    grid = _grid(rng, scanner)
    pose = rigid_matrix(rng.uniform(-8, 8, 3), rng.uniform(-4, 4, 3), _CENTRE)
    warp = random_warp(rng, rng.uniform(0.88, 0.98) + rng.normal(0, 0.012, 3), pose)
    points = widened(warp.to_template(grid.points()), float(0.55 * ventricles - 0.05))
    tissues = tissues_at(points, float(np.diag(grid.affine)[:3].mean()))
    signal = _signal(rng, points, tissues, float(cortex), float(lesions), float(contrast))
    signal = np.maximum(signal, 0) ** np.float32(rng.uniform(*scanner.exponent))
    signal = signal * bias_field(rng, grid, rng.uniform(*scanner.bias))
    real, imaginary = rng.standard_normal((2, *grid.shape), dtype=np.float32)
    noise = np.float32(rng.uniform(*scanner.noise))
    image = np.hypot(signal + noise * real, noise * imaginary) * tissues.brain
    return AgedBrain(image.astype(np.float32), grid.affine, tissues.brain, float(age))


def widened(points: FloatArray, amount: float) -> FloatArray:
    """Template points, shape (3, ...), drawn towards the ventricles: an image taken there has wider ones.

    A point at distance ``r`` of a centre comes nearer by ``amount r exp(-r^2 / 2 reach^2)``, which keeps
    the order of points for amounts below 1; the centres share what each point gets.
    """
    weights, shifts = np.zeros(points.shape[1:], dtype=np.float32), np.zeros_like(points)
    nearest = np.zeros(points.shape[1:], dtype=np.float32)
    for centre in _VENTRICLES:
        away = points - np.array(centre, dtype=np.float32)[:, None, None, None]
        weight = np.exp(-0.5 * (away**2).sum(axis=0) / np.float32(_REACH**2))
        shifts += weight * away
        weights += weight
        np.maximum(nearest, weight, out=nearest)
    return np.asarray(points - np.float32(amount) * shifts * nearest / np.maximum(weights, 1e-6))


def _grid(rng: np.random.Generator, scanner: Scanner) -> Grid:
    """Grid that holds the brain of every person."""
    side = rng.uniform(*scanner.spacing)
    spacing = np.array([side, side, side * rng.uniform(*scanner.elongation)])
    shape = np.ceil(np.array([172.0, 204.0, 176.0]) / spacing).astype(int)
    return centred_grid((int(shape[0]), int(shape[1]), int(shape[2])), list(spacing), _CENTRE)


def _signal(
    rng: np.random.Generator,
    points: FloatArray,
    tissues: Tissues,
    cortex: float,
    lesions: float,
    contrast: float,
) -> FloatArray:
    """Noise-free signal, white matter being 1; the three shares run from 0 at 20 to 1 at 90 years."""
    parts = tissues.fractions
    shell = np.clip(1 + tissues.depth / np.float32(24), 0, 1)
    near_fluid = ndimage.gaussian_filter(parts["csf"], 1.0)
    lost = parts["gm"] * np.clip(np.float32(1.6 * cortex) * shell * near_fluid, 0, 0.9)
    gray, fluid = parts["gm"] - lost, parts["csf"] + lost
    load = np.float32(0.9 * max(lesions - 0.25, 0) ** 1.5) * _periventricular(rng, points)
    white = parts["wm"] * (1 - np.clip(load, 0, 0.45))
    level = np.float32(0.66 + 0.12 * contrast)
    return np.asarray(white + level * gray + np.float32(0.22) * fluid)


def _periventricular(rng: np.random.Generator, points: FloatArray) -> FloatArray:
    """Where white matter lesions lie: patches, dense around the ventricles."""
    distance = np.min(
        [np.linalg.norm(points - np.array(c, np.float32)[:, None, None, None], axis=0) for c in _VENTRICLES],
        axis=0,
    )
    texture = ndimage.gaussian_filter(rng.standard_normal(points.shape[1:], dtype=np.float32), 1.0)
    patches = np.clip(0.5 + texture / (2 * texture.std()), 0, 1)
    return np.asarray(patches * np.exp(-0.5 * ((distance - 18) / np.float32(9)) ** 2))
