"""A head for susceptibility mapping, with strong sources, veins, and everything that is true of it.

The field is computed on voxels half as long, over the whole head and its air, and the complex signal of the
small voxels is added up: nothing is solved with what made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from voxelome.imageio import Affine, Array, FloatArray, MaskArray
from voxelome.phantom.anatomy import Tissues, soft, tissues_at
from voxelome.phantom.contrasts import bias_field
from voxelome.phantom.deform import Grid, centred_grid, rigid_matrix
from voxelome.phantom.gradient_echo import (
    FIELD_STRENGTH,
    MagneticHead,
    coarsen,
    complex_signal,
    field_of_head,
    linear_shim,
    magnetic_properties,
    refine,
)
from voxelome.phantom.lesion import make_tumour
from voxelome.phantom.person import HEAD_CENTRE, Person, make_person

ECHO_TIMES = (0.004, 0.012, 0.020, 0.028)
# Extent (mm) of the simulated head, and of what is stored of it.
_WHOLE = (200.0, 240.0, 216.0)
_STORED = (164.0, 205.0, 205.0)
_CENTRE = (0.0, -14.0, -4.0)
# Susceptibility (ppm), R2* (1/s) and density of strong sources, and their radii (mm).
_CALCIFICATION = (-1.2, 120.0, 0.35, (2.6, 3.4))
_HAEMORRHAGE = (0.9, 150.0, 0.60, (3.0, 4.5))
_VEIN = (0.35, 60.0, 0.80)
# Course of veins in the template (mm), right side or midline, and their radii (mm).
_VEINS: tuple[tuple[float, tuple[tuple[float, float, float], ...]], ...] = (
    (1.1, ((4, 26, 10), (4, 12, 20), (3, -4, 19), (3, -22, 14), (1, -38, 8))),
    (0.8, ((24, 22, 22), (14, 16, 20), (5, 10, 19))),
    (0.8, ((26, -22, 26), (16, -18, 24), (4, -12, 18))),
    (1.0, ((12, -8, -14), (14, -22, -6), (8, -34, 4), (1, -38, 8))),
    (1.2, ((1, -38, 8), (0, -46, 12), (0, -56, 22))),
    (0.7, ((40, -40, 34), (32, -36, 30), (24, -30, 27))),
    (0.7, ((38, 8, 36), (30, 12, 30), (22, 16, 25))),
)
_TEXTURE = 0.006  # ppm, of gray and white matter: standard deviation of a texture that no image shows


@dataclass(frozen=True)
class SusceptibilityHead:
    """Signal of a head without noise, and the truth on the same grid.

    Attributes
    ----------
    signal : ndarray of complex64, shape (x, y, z, echo)
        With the coils' phase offset and sensitivity; a raised field turns the phase forwards.
    echo_times, field_strength : sequence of float, float
        s and T.
    affine : ndarray, shape (4, 4)
        Oblique where the field is tilted against the voxels: it lies along the world's z.
    brain : ndarray of bool
        Brain with the fluid around it.
    chi, r2star : ndarray
        ppm relative to cerebrospinal fluid, and 1/s: means over each voxel.
    field, local_field : ndarray
        ppm: of all sources after the shim, and of those in the brain alone.
    labels : ndarray of uint8
        Deep nuclei (from 1, in the order of ``NUCLEI``), then calcification and haemorrhage.
    """

    signal: Array
    echo_times: tuple[float, ...]
    field_strength: float
    affine: Affine
    brain: MaskArray
    chi: FloatArray
    r2star: FloatArray
    field: FloatArray
    local_field: FloatArray
    labels: Array

    def acquire(self, snr: float, seed: int = 0) -> tuple[FloatArray, FloatArray]:
        """Magnitude and wrapped phase (rad) with noise.

        Parameters
        ----------
        snr : float
            Median signal of the brain in the first echo over the noise's standard deviation.
        seed : int
            Of the noise.
        """
        rng = np.random.default_rng([seed, round(snr)])
        noise = np.float32(np.median(np.abs(self.signal[..., 0][self.brain])) / snr)
        magnitude = np.empty(self.signal.shape, dtype=np.float32)
        phase = np.empty_like(magnitude)
        for echo in range(self.signal.shape[-1]):
            real, imaginary = (noise * rng.standard_normal(self.brain.shape, dtype=np.float32) for _ in "ri")
            noisy = self.signal[..., echo] + (real + 1j * imaginary)
            magnitude[..., echo], phase[..., echo] = np.abs(noisy), np.angle(noisy)
        return magnitude, phase


def make_susceptibility_head(
    index: int,
    *,
    seed: int,
    spacing: float = 1.0,
    tilt: Sequence[float] = (0.0, 0.0, 0.0),
    echo_times: Sequence[float] = ECHO_TIMES,
) -> SusceptibilityHead:
    """Simulated multi-echo acquisition of one head.

    Parameters
    ----------
    index, seed : int
        Which person, of which cohort.
    spacing : float
        Voxel size in mm.
    tilt : sequence of 3 float
        Degrees by which the image's axes are turned about x, y and z.
    echo_times : sequence of float
        s.
    """
    person = make_person(index, 1, seed)
    turn = rigid_matrix(tilt, (0, 0, 0), HEAD_CENTRE)
    x, y, z = (2 * round(length / spacing / 2) for length in _WHOLE)
    upright = centred_grid((x, y, z), (spacing,) * 3, _CENTRE)
    grid = Grid(upright.shape, turn @ upright.affine)
    points = person.warp.to_template(grid.points())
    tissues = tissues_at(points, spacing)
    tumour = make_tumour(person)
    nothing = dict.fromkeys(("core", "oedema", "rim"), np.zeros(grid.shape, dtype=np.float32))
    density, r2star, chi, labels = magnetic_properties(person, tumour, points, tissues, nothing, spacing)
    _add_structures(person, points, tissues, (chi, r2star, density), labels, spacing)
    direction = tuple(float(part) for part in turn[2, :3])
    field = field_of_head(chi, spacing / 2, direction)
    for _ in range(2):
        field -= linear_shim(field, tissues.brain)
        field -= _second_order_shim(field, tissues.brain, spacing / 2)
    inner = refine(tissues.brain.astype(np.float32)) * chi
    local = coarsen(field_of_head(inner, spacing / 2, direction, outside=0.0))
    head = MagneticHead(density, r2star, chi, field, labels)
    part = _stored_part(grid.shape, spacing)
    receive = _receive(person, grid)
    signal = np.stack([(echo * receive)[part] for echo in complex_signal(head, echo_times)], axis=-1)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.affine[:3] @ (*(piece.start for piece in part), 1)
    return SusceptibilityHead(
        signal,
        tuple(echo_times),
        FIELD_STRENGTH,
        affine,
        tissues.brain[part],
        coarsen(chi)[part],
        coarsen(r2star)[part],
        coarsen(field)[part],
        local[part],
        labels[part],
    )


def _stored_part(shape: Sequence[int], spacing: float) -> tuple[slice, ...]:
    counts = [min(round(length / spacing), n) for length, n in zip(_STORED, shape, strict=True)]
    return tuple(
        slice((n - count) // 2, (n - count) // 2 + count) for n, count in zip(shape, counts, strict=True)
    )


def _add_structures(
    person: Person,
    points: FloatArray,
    tissues: Tissues,
    maps: tuple[FloatArray, FloatArray, FloatArray],
    labels: Array,
    spacing: float,
) -> None:
    """Put veins, a calcification, a haemorrhage and uneven tissue into susceptibility, R2* and density."""
    chi = maps[0]
    rng = person.rng(20)
    noise = ndimage.gaussian_filter(rng.standard_normal(labels.shape, dtype=np.float32), 1.5 / spacing)
    matter = tissues.fractions["wm"] + tissues.fractions["gm"]
    chi += refine(np.float32(_TEXTURE) * matter * noise / noise.std())
    fine = np.stack([refine(axis) for axis in points])
    veins = _vein_fraction(fine, spacing / 2)
    veins *= refine(soft(tissues.depth + 1.0, spacing))
    _fill(maps, veins, _VEIN)
    for number, (*values, radii) in enumerate((_CALCIFICATION, _HAEMORRHAGE), start=int(labels.max()) + 1):
        places = np.argwhere((tissues.depth < -12) & (tissues.fractions["wm"] > 0.7) & (labels == 0))
        centre = points[(slice(None), *places[rng.integers(len(places))])]
        radius = np.float32(rng.uniform(*radii))
        distance = np.sqrt(sum((fine[axis] - centre[axis]) ** 2 for axis in range(3))) - radius
        fraction = soft(distance, spacing / 2)
        _fill(maps, fraction, values)
        labels[coarsen(fraction) > 0.5] = number


def _fill(maps: Sequence[FloatArray], fraction: FloatArray, values: Sequence[float]) -> None:
    """Put a structure of which each voxel holds a fraction into every map."""
    for number, value in enumerate(values):
        maps[number][...] += fraction * (np.float32(value) - maps[number])


def _vein_fraction(points: FloatArray, width: float) -> FloatArray:
    """Fraction of each voxel in a vein, both sides of the head."""
    side = np.abs(points[0])
    total = np.zeros(side.shape, dtype=np.float32)
    for radius, course in _VEINS:
        for start, end in pairwise(course):
            low, high = np.minimum(start, end) - radius - 2, np.maximum(start, end) + radius + 2
            near = np.ones(side.shape, bool)
            for values, least, most in zip((side, points[1], points[2]), low, high, strict=True):
                near &= (values > least) & (values < most)
            found = np.flatnonzero(near)
            where = np.stack([side.ravel()[found], points[1].ravel()[found], points[2].ravel()[found]])
            along = np.subtract(end, start).astype(np.float32)
            offset = where - np.asarray(start, dtype=np.float32)[:, None]
            share = np.clip(along @ offset / (along @ along), 0, 1)
            distance = np.linalg.norm(offset - along[:, None] * share, axis=0) - radius
            total.ravel()[found] = np.maximum(total.ravel()[found], soft(distance, width))
    return total


def _second_order_shim(field: FloatArray, brain: Array, spacing: float) -> FloatArray:
    """Harmonic function of second order that fits the field in the brain best."""
    found = np.argwhere(brain)[::23] * 2
    middle = found.mean(axis=0)
    axes = [
        (np.arange(count, dtype=np.float32) - np.float32(centre)) * np.float32(spacing / 100)
        for count, centre in zip(field.shape, middle, strict=True)
    ]
    x, y, z = (axis[found[:, number]] for number, axis in enumerate(axes))
    design = np.column_stack([x * y, x * z, y * z, x**2 - y**2, 2 * z**2 - x**2 - y**2])
    xy, xz, yz, xx, zz = (
        np.float32(part) for part in np.linalg.lstsq(design, field[tuple(found.T)], rcond=None)[0]
    )
    x, y, z = axes[0][:, None, None], axes[1][:, None], axes[2]
    plane = xy * x * y + xx * (x**2 - y**2) - zz * (x**2 + y**2)
    return np.asarray(plane + (xz * x + yz * y) * z + 2 * zz * z**2)


def _receive(person: Person, grid: Grid) -> Array:
    """Sensitivity and phase offset of the combined coils."""
    rng = person.rng(21)
    offset = np.pi * np.log(bias_field(rng, grid, 0.35)) + rng.uniform(-np.pi, np.pi)
    receive: Array = (bias_field(rng, grid, 0.15) * np.exp(1j * offset)).astype(np.complex64)
    return receive
