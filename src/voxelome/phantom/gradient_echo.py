"""A multi-echo gradient echo of a magnetised head: dipole field on a finer grid, complex signal, noise.

Nothing here is shared with the reconstruction. The forward model works on voxels half as long, adds the
complex signal of the small voxels up, and so has the dephasing inside a voxel that a scanner has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft

from voxelome.imageio import Array, FloatArray
from voxelome.phantom.anatomy import NUCLEI, Tissues, nucleus_fraction
from voxelome.phantom.contrasts import bias_field, tissue_sum
from voxelome.phantom.deform import Grid
from voxelome.phantom.lesion import Tumour
from voxelome.phantom.person import Person

# Gyromagnetic ratio of the proton over 2 pi, in MHz/T: MHz/T times ppm is Hz/T.
GAMMA_BAR = 42.577478518
FIELD_STRENGTH = 3.0
ECHO_TIMES = (0.006, 0.013, 0.020)
REPETITION_TIME, FLIP_ANGLE = 0.030, 15.0
# Susceptibility relative to cerebrospinal fluid (ppm), R2* (1/s) and signal at TE = 0 at 3 T.
_CHI = {
    "wm": -0.030,
    "gm": 0.015,
    "csf": 0.0,
    "bone": -2.0,
    "fat": 0.2,
    "muscle": 0.0,
    "eye": 0.0,
    "vein": 0.30,
    "air": 9.4,
}
_R2STAR = {
    "wm": 21.0,
    "gm": 17.0,
    "csf": 3.0,
    "bone": 250.0,
    "fat": 40.0,
    "muscle": 32.0,
    "eye": 3.0,
    "vein": 55.0,
    "air": 0.0,
}
_DENSITY = {
    "wm": 0.78,
    "gm": 0.90,
    "csf": 1.0,
    "bone": 0.12,
    "fat": 0.85,
    "muscle": 0.70,
    "eye": 1.0,
    "vein": 0.80,
    "air": 0.0,
}
_TUMOUR_CHI = {"core": 0.0, "oedema": -0.005}
_TUMOUR_R2STAR = {"core": 6.0, "oedema": 11.0}
_TUMOUR_DENSITY = {"core": 1.0, "oedema": 0.98, "rim": 0.9}
# A neck does not end at the edge of the image: this much more of it is magnetised (mm).
_NECK = 24.0
_PHASE_LEVELS = 4096


@dataclass(frozen=True)
class MagneticHead:
    """Head on the voxels of the finer grid, and the field in it.

    Attributes
    ----------
    density, r2star, chi : ndarray
        Signal at TE = 0, R2* in 1/s, susceptibility in ppm.
    field : ndarray
        Relative field shift along z in ppm.
    nuclei : ndarray of uint8, on the coarse grid
        Number (from 1) of the deep nucleus that fills most of each voxel.
    """

    density: FloatArray
    r2star: FloatArray
    chi: FloatArray
    field: FloatArray
    nuclei: Array


def dipole_field(
    chi: FloatArray, spacing: Sequence[float], direction: Sequence[float] = (0.0, 0.0, 1.0)
) -> FloatArray:
    """Relative field shift (ppm, with the Lorentz correction) of a susceptibility (ppm).

    ``F^-1[(1/3 - (k.b)^2/k^2) F[chi]]`` with the main field along the unit vector b; the mean field is set
    to 0 and the surroundings repeat periodically, whose fields are harmonic inside, as every background
    field is.

    References
    ----------
    Marques and Bowtell, Concepts Magn Reson B 25 (2005) 65; Salomir et al., ibid. 19 (2003) 26.
    """
    kx, ky = (
        fft.fftfreq(count, size).astype(np.float32)
        for count, size in zip(chi.shape[:2], spacing[:2], strict=True)
    )
    kz = fft.rfftfreq(chi.shape[2], spacing[2]).astype(np.float32)
    bx, by, bz = (np.float32(part) for part in direction)
    spectrum = fft.rfftn(chi)
    for i, k in enumerate(kx):
        total = k**2 + ky[:, None] ** 2 + kz**2
        if i == 0:
            total[0, 0] = 1
        kernel = np.float32(1 / 3) - (bx * k + by * ky[:, None] + bz * kz) ** 2 / total
        if i == 0:
            kernel[0, 0] = 0
        spectrum[i] *= kernel
    return np.asarray(fft.irfftn(spectrum, chi.shape, overwrite_x=True))


def refine(data: FloatArray) -> FloatArray:
    """Image on voxels half as long, by linear interpolation; means over 2x2x2 voxels stay smooth."""
    for axis in (2, 1, 0):
        shape = list(data.shape)
        shape[axis] *= 2
        fine = np.empty(shape, dtype=data.dtype)
        # With the refined axis first: views, no copies.
        out, source = np.moveaxis(fine, axis, 0), np.moveaxis(data, axis, 0)
        quarter = np.float32(0.25) * source
        np.multiply(source, np.float32(0.75), out=out[0::2])
        out[1::2] = out[0::2]
        out[2::2] += quarter[:-1]
        out[0] += quarter[0]
        out[1:-1:2] += quarter[1:]
        out[-1] += quarter[-1]
        data = fine
    return data


def coarsen(data: Array) -> Array:
    """Mean over 2x2x2 voxels."""
    data = data[0::2] + data[1::2]
    data = data[:, 0::2] + data[:, 1::2]
    return np.asarray((data[..., 0::2] + data[..., 1::2]) * np.float32(0.125))


def magnetise(
    person: Person,
    tumour: Tumour,
    points: FloatArray,
    tissues: Tissues,
    parts: dict[str, FloatArray],
    spacing: float,
) -> MagneticHead:
    """Magnetic properties and field of a head whose voxels lie at these template points (3, X, Y, Z)."""
    density, r2star, chi, labels = magnetic_properties(person, tumour, points, tissues, parts, spacing)
    field = field_of_head(chi, spacing / 2)
    field -= linear_shim(field, tissues.brain)
    return MagneticHead(density, r2star, chi, field, labels)


def magnetic_properties(
    person: Person,
    tumour: Tumour,
    points: FloatArray,
    tissues: Tissues,
    parts: dict[str, FloatArray],
    spacing: float,
) -> tuple[FloatArray, FloatArray, FloatArray, Array]:
    """Signal at TE = 0, R2* and susceptibility on the finer grid, and the numbers of the nuclei."""
    rest = 1 - parts["core"] - parts["oedema"] - parts["rim"]
    maps = []
    for tissue, own in (
        (_DENSITY, _TUMOUR_DENSITY),
        (_R2STAR, {**_TUMOUR_R2STAR, "rim": tumour.r2star}),
        (_CHI, {**_TUMOUR_CHI, "rim": tumour.chi}),
    ):
        image: FloatArray = tissue_sum(tissues, tissue) * rest
        for name, value in own.items():
            image += np.float32(value) * parts[name]
        maps.append(refine(image))
    density, r2star, chi = maps
    labels = np.zeros(tissues.depth.shape, dtype=np.uint8)
    for number, nucleus in enumerate(NUCLEI, start=1):
        box = _box(points, nucleus.centre, max(nucleus.radii) + 8)
        fraction = nucleus_fraction(_refine_points(points, box), nucleus, spacing / 2)
        inner = tuple(slice(2 * part.start, 2 * part.stop) for part in box)
        for image, value in ((chi, person.chi[nucleus.name]), (r2star, person.r2star[nucleus.name])):
            image[inner] += fraction * (np.float32(value) - image[inner])
        labels[box][coarsen(fraction) > 0.5] = number
    return density, r2star, chi, labels


def _box(points: FloatArray, centre: Sequence[float], reach: float) -> tuple[slice, slice, slice]:
    """Smallest box of voxels that holds all points within `reach` mm of a centre, one voxel wider."""
    near = np.max([np.abs(points[axis] - np.float32(centre[axis])) for axis in range(3)], axis=0) < reach
    first, second, third = (
        slice(max(int(found[0]) - 1, 0), int(found[-1]) + 2)
        for found in (np.flatnonzero(near.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    )
    return first, second, third


def _refine_points(points: FloatArray, box: tuple[slice, slice, slice]) -> FloatArray:
    return np.stack([refine(np.ascontiguousarray(axis[box])) for axis in points])


def field_of_head(
    chi: FloatArray,
    spacing: float,
    direction: Sequence[float] = (0.0, 0.0, 1.0),
    outside: float = _CHI["air"],
) -> FloatArray:
    """Field of the whole head in ppm, with its neck continued below, in air or what else is outside."""
    below = round(_NECK / spacing)
    size = [fft.next_fast_len(count, real=True) for count in (*chi.shape[:2], chi.shape[2] + below)]
    size = [count + count % 2 for count in size]
    x, y, z = chi.shape
    wide = np.zeros(size, dtype=np.float32)
    inner = wide[:x, :y, below : below + z]
    np.subtract(chi, np.float32(outside), out=inner)
    wide[:x, :y, :below] = inner[:, :, :1]
    return dipole_field(wide, [spacing] * 3, direction)[:x, :y, below : below + z]


def linear_shim(field: FloatArray, brain: Array) -> FloatArray:
    """Linear function of position that fits the field of the finer grid in the brain best."""
    found = np.argwhere(brain)[::23]
    values = field[tuple(2 * found.T)]
    design = np.column_stack([np.ones(len(found)), 2 * found])
    a, *slopes = np.linalg.lstsq(design, values, rcond=None)[0]
    i, j, k = (
        np.float32(slope) * np.arange(count, dtype=np.float32)
        for slope, count in zip(slopes, field.shape, strict=True)
    )
    return np.asarray(i[:, None, None] + j[:, None] + (k + np.float32(a)))


def complex_signal(head: MagneticHead, echo_times: Sequence[float] = ECHO_TIMES) -> list[Array]:
    """Noise-free complex images on the coarse grid, one an echo.

    ``S0 exp(-R2* TE + 2 pi i gamma B0 dB 1e-6 TE)``, summed over the small voxels: a field above
    the nominal one turns the phase forwards.
    """
    turn = np.float32(2 * np.pi * GAMMA_BAR * FIELD_STRENGTH)
    shape = tuple(count // 2 for count in head.field.shape)
    echoes = [np.empty(shape, dtype=np.complex64) for _ in echo_times]
    # One layer of voxels at a time: it stays in the processor's cache.
    for layer in range(shape[0]):
        part = slice(2 * layer, 2 * layer + 2)
        field, r2star, density = head.field[part], head.r2star[part], head.density[part]
        for echo, time in zip(echoes, echo_times, strict=True):
            phase = (turn * np.float32(time)) * field
            signal = np.empty(phase.shape, dtype=np.complex64)
            np.cos(phase, out=signal.real)
            np.sin(phase, out=signal.imag)
            signal *= density * np.exp(-np.float32(time) * r2star)
            echo[layer] = coarsen(signal)[0]
    return echoes


def acquire_echoes(
    rng: np.random.Generator, echoes: Sequence[Array], grid: Grid, person: Person
) -> tuple[list[Array], list[Array]]:
    """Return stored magnitude (int16) and phase (rad, in (-pi, pi]) of every echo.

    One receive sensitivity and one smooth phase offset for all echoes; complex Gaussian noise; the
    phase is rounded to 4096 levels, as scanners store it.
    """
    site = person.site
    offset = np.pi * np.log(bias_field(rng, grid, 0.25)) + rng.uniform(-np.pi, np.pi)
    receive = bias_field(rng, grid, site.bias) * np.exp(1j * offset)
    magnitude, phase = [], []
    for echo in echoes:
        noise = rng.standard_normal((2, *grid.shape), dtype=np.float32) * np.float32(0.5 * site.noise)
        signal = echo * receive.astype(np.complex64) + (noise[0] + 1j * noise[1])
        magnitude.append(np.rint(np.abs(signal) * np.float32(site.scale)).astype(np.int16))
        step = 2 * np.pi / _PHASE_LEVELS
        level = np.rint(np.angle(signal) / step)
        level[level == -_PHASE_LEVELS // 2] += _PHASE_LEVELS
        phase.append((level * step).astype(np.float32))
    return magnitude, phase
